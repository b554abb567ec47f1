//! What is attached to one message, for several receivers: who may have it, and the copy that each gets.
//!
//! Owns the rule: memory that is sealed may go to any number of receivers, anything else to one, unless its sender says that it
//! may be shared. A copy is the same object, charged to its receiver until it is sent on, so that one who does not read uses up
//! its own share and nobody else's. Whom a message is for is the caller's business (TopicHub, Registry).

use super::core::Shared;
use super::descriptors::Table;
use super::peer::Peer;
use crate::error::{CallError, ErrorCode};
use crate::message::{Attachment, Batch, Flags, Header};
use crate::platform::open_files;
use crate::transport::{self, passing};

/// Whether so many receivers may have what is attached to a frame.
///
/// # Errors
/// Invalid, for the sender: it was given to nobody.
pub fn may_go_to(receivers: usize, header: &Header, attachments: &[Attachment]) -> Result<(), CallError> {
    if receivers <= 1 || header.flags.has(Flags::SHARE) || transport::may_share(attachments) {
        return Ok(());
    }
    let text = format!(
        "{receivers} receivers would share what is attached, and it is not sealed memory; seal it, or allow sharing (SHARE)"
    );
    Err(CallError::new(ErrorCode::Invalid, text).ran(false))
}

/// Whether a peer's connection carries so many attachments.
#[must_use]
pub fn can_take(peer: &Peer, attachments: &[Attachment]) -> bool {
    attachments.len() <= peer.max_attachments() as usize
}

/// A frame in a batch of its own with what is attached to it, which the batch that it came in has no more: wherever the frame ends,
/// what it carries is closed with it, and not with the last of its neighbours. `None` when that was closed already.
#[must_use]
pub fn alone(batch: &Batch, frame: usize) -> Option<Batch> {
    let attachments: Option<Vec<_>> = batch.attachments(frame).iter().map(passing::moved).collect();
    Some(batch.only(frame).carrying(attachments?))
}

/// A receiver's copy of what is attached.
///
/// # Errors
/// TooMany when so many wait for this receiver, its user or all that it gets no more.
pub fn copy_for(
    peer: &Peer,
    shared: &Shared,
    attachments: &[Attachment],
) -> Result<Vec<Attachment>, CallError> {
    let table = Table {
        limit: open_files::limit(),
        number: None,
    };
    let account = shared.descriptors.copies(peer.id(), peer.principal.counted());
    let copy = |attachment| {
        let charge = account.charge(&shared.limits, table)?;
        passing::another(attachment, Box::new(charge)).ok_or_else(|| CallError::from(ErrorCode::Internal))
    };
    attachments.iter().map(copy).collect()
}
