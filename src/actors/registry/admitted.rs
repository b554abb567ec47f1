//! Whether the owner of an object is given a call, and what it is charged for that.
//!
//! Owns the charge until the call is on its way: a panic in between gives it back. Called by the step that routes.

use crate::actors::deliver::{Class, Verdict, charge};
use crate::actors::messages::Invoke;
use crate::actors::peer::PeerRef;
use crate::error::{CallError, ErrorCode};
use crate::message::frame::FrameView;

/// A call's charge on the account of its owner; dropping it gives that back.
#[derive(Debug)]
pub(super) struct Admitted<'a> {
    owner: &'a PeerRef,
    charged: usize,
}

impl Admitted<'_> {
    /// From now on who takes the call gives its charge back.
    #[inline]
    pub(super) fn sent(mut self) {
        self.charged = 0;
    }
}

impl Drop for Admitted<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.charged > 0 {
            self.owner.account.release(self.charged);
        }
    }
}

/// Whether the owner of an object is given a call; it is charged for it then.
#[inline]
pub(super) fn takes<'a>(
    owner: &'a PeerRef,
    view: &FrameView<'_>,
    invoke: &Invoke,
) -> Result<Admitted<'a>, CallError> {
    if u32::from(view.header.attachments) > owner.max_attachments() {
        let text = "the object's connection takes fewer attachments";
        return Err(CallError::new(ErrorCode::TooLarge, text).ran(false));
    }
    let class = if invoke.reply.is_some() {
        Class::Call
    } else {
        Class::OneWay
    };
    let bytes = view.header.wire_len();
    if owner.account.admit(class, bytes) == Verdict::Overflow {
        let text = format!("the object takes no more: {}", owner.account.why_full());
        return Err(CallError::new(ErrorCode::Overloaded, text).ran(false));
    }
    let charged = charge(bytes);
    Ok(Admitted { owner, charged })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::inbox::Deaf;
    use crate::actors::peer::{Account, Peer};
    use crate::message::{Batch, Draft, Kind, Origin, Ticket};
    use std::time::Instant;

    #[test]
    fn a_call_that_gets_lost_before_it_is_on_its_way_costs_its_owner_nothing() {
        let owner = Peer::new(
            Origin::default(),
            "",
            0,
            Account::new(1_000_000, 1),
            Box::new(Deaf),
        );
        let call = Draft::new(Kind::Call, 1).pair("o", "m").to_vec();
        let batch = Batch::from_bytes(call.into(), 1_000).unwrap();
        let view = batch.view(0).unwrap();
        let invoke = Invoke {
            frame: 0,
            ticket: Ticket(1),
            reply: None,
            deadline: Instant::now(),
        };
        drop(takes(&owner, &view, &invoke).unwrap());
        assert_eq!(owner.account.queued(), 0);
        takes(&owner, &view, &invoke).unwrap().sent();
        assert_eq!(owner.account.queued(), charge(view.header.wire_len()));
    }
}
