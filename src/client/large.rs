//! Large payloads that go and come as regions: memory that one end fills and seals and the other maps.
//!
//! Owns from which size that is worth asking for, the filling in turns, and what is made of a region that came. The offer and its answer
//! are frames of calls, replies and publishes ([`super::exchange`], [`super::respond`], [`super::publish`]); what sealed memory is,
//! [`region`] knows. `docs/performance.md` has what the sizes were measured with.

use super::inbound::Ended;
use super::peer::Role;
use super::state::State;
use crate::error::CloseReason;
use crate::message::{Attachments, Batch, Draft, Flags, Kind};
use crate::transport::region::{self, Filling};
use bytes::Bytes;
use std::task::{Context, Poll};

/// From this size on payloads are offered as regions, in bytes: below it memory that was used before and is warm is faster.
pub(crate) const REGIONS_FROM: usize = 24 * 1024 * 1024;
/// What is copied in one turn, in bytes, before others of the same thread have theirs.
const TURN: usize = 1024 * 1024;

/// Whether a payload is to be offered, of a client that does so from so many bytes on.
pub(crate) fn is_offered(state: &State, bytes: usize, from: usize) -> bool {
    region::SUPPORTED && bytes > 0 && bytes >= from && bytes <= state.grants.region_bytes as usize
}

/// A payload that was offered as a region.
#[derive(Debug)]
pub(crate) enum Large {
    /// The broker has not answered.
    Asked,
    Filling(Filling),
    Full(Attachments),
}

impl Large {
    /// Ready with the sealed memory, or without any: then the payload goes in pieces. `answer` looks whether the broker has said how
    /// many receivers take it, and sees to it that the task is woken when it has. Dropping it gives the memory back.
    pub(crate) fn poll(
        &mut self,
        cx: &Context<'_>,
        bytes: &Bytes,
        answer: impl FnOnce() -> Option<u32>,
    ) -> Poll<Option<Attachments>> {
        if matches!(self, Self::Asked) {
            let Some(receivers) = answer() else {
                return Poll::Pending;
            };
            match (receivers > 0).then(|| Filling::new(bytes.len())) {
                Some(Ok(filling)) => *self = Self::Filling(filling),
                refused => return pieces(bytes, receivers, refused.and_then(Result::err)),
            }
        }
        if let Self::Filling(filling) = self {
            match filling.fill(bytes, TURN) {
                Ok(true) => {}
                Ok(false) => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Err(error) => return pieces(bytes, 1, Some(error)),
            }
        }
        match std::mem::replace(self, Self::Asked) {
            Self::Filling(filling) => match filling.seal() {
                Ok(memory) => *self = Self::Full(vec![memory].into()),
                Err(error) => return pieces(bytes, 1, Some(error)),
            },
            other => *self = other,
        }
        let Self::Full(attachments) = self else {
            return Poll::Pending;
        };
        tracing::trace!(bytes = bytes.len(), way = "region", "a large message");
        Poll::Ready(Some(attachments.clone()))
    }
}

fn pieces(bytes: &Bytes, receivers: u32, error: Option<std::io::Error>) -> Poll<Option<Attachments>> {
    tracing::trace!(
        bytes = bytes.len(),
        receivers,
        ?error,
        way = "pieces",
        "a large message"
    );
    Poll::Ready(None)
}

/// The piece that brings a region; `length` as [`length_of`] writes it.
pub(crate) fn region_piece(kind: Kind, id: u64, length: &[u8; 8]) -> Draft<'_> {
    let draft = Draft::new(kind, id)
        .flags(Flags::REGION)
        .payload(crate::message::Encoding::RAW, length);
    Draft {
        attachments: 1,
        ..draft
    }
}

/// The length of a payload of so many bytes, as the piece that brings it tells it.
pub(crate) const fn length_of(bytes: usize) -> [u8; 8] {
    (bytes as u64).to_le_bytes()
}

/// The regions that came with a batch, by the frames that bring them.
#[derive(Debug, Default)]
pub(crate) struct Regions(Vec<(usize, Bytes)>);

impl Regions {
    /// Takes them out of a batch of the broker's. Of another program nothing is mapped: such a frame of it is refused for what it is.
    ///
    /// # Errors
    /// What the broker should not have sent.
    pub(crate) fn take(batch: &mut Batch, role: Role) -> Result<Self, Ended> {
        if role.is_peer() || !batch.headers().any(|header| header.is_region()) {
            return Ok(Self::default());
        }
        let kinds = [Kind::CallPiece, Kind::ReplyPiece, Kind::EventPiece];
        let mut regions = Vec::new();
        let mut brought = Vec::new();
        for kind in kinds {
            brought.extend(batch.take_attachments(kind));
        }
        for (index, attachments) in brought {
            let view = batch.view(index).filter(|view| view.header.is_region());
            if let Some(length) = view.and_then(|view| view.brings())
                && let [attachment] = &attachments[..]
            {
                regions.push((index, region::open(attachment, length).map_err(wrong)?));
            }
        }
        let named = batch.headers().filter(|header| header.is_region()).count();
        match regions.len() == named {
            true => Ok(Self(regions)),
            false => Err(wrong("a frame that names a region and brings none".to_owned())),
        }
    }

    /// What frame `index` brings.
    pub(crate) fn get(&self, index: usize) -> Option<&Bytes> {
        self.0.iter().find(|(at, _)| *at == index).map(|(_, bytes)| bytes)
    }
}

fn wrong(what: String) -> Ended {
    Ended::new(
        CloseReason::Protocol,
        format!("the broker sent as a region {what}"),
    )
}
