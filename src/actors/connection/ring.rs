//! A connection's way into memory that it shares with its client: who may, what counts against its limit, and when each direction moves.
//!
//! Part of the connection's actor. What may be said when is the session's decision; how the memory works is the transport's
//! business. The client asks, the broker offers, the client takes (its last frame on the socket), the broker follows (its last one).

use super::Connection;
use super::life::{Life, Phase};
use super::outbox::RingOffer;
use super::perform::Rooms;
use super::session::RingStep;
use crate::actors::accounts::Charge;
use crate::actors::core::Shared;
use crate::actors::descriptors::RESERVED;
use crate::error::CloseReason;
use crate::message::{Attachment, Attachments, Draft, Kind};
use crate::platform::{open_files, process};
use crate::transport::ring::is_ring_size;
use crate::transport::{Stream, current_uid, descriptor_number};
use std::sync::Arc;

/// What a connection has of it.
#[derive(Debug, Default)]
pub(super) struct Ring {
    /// Nothing before the offer.
    held: Option<Box<Held>>,
}

/// The memory in the account of the broker, until the connection ends, or does not take it.
#[derive(Debug)]
struct Held {
    /// The last frame on the socket is being written; what follows it goes to the memory.
    moves: bool,
    shared: Arc<Shared>,
    _charge: Charge,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shared.metrics.rings.lower(1);
    }
}

impl Ring {
    /// The last frame on the socket is being written.
    pub(super) fn last_on_socket(&mut self) {
        if let Some(held) = &mut self.held {
            held.moves = true;
        }
    }

    /// Whether the next byte is the first one for the memory. True once.
    pub(super) fn moves(&mut self) -> bool {
        let held = self.held.as_mut();
        held.is_some_and(|held| std::mem::take(&mut held.moves))
    }
}

/// The answer that offers nothing.
fn not_now() -> Vec<u8> {
    Draft::new(Kind::Ring, 0).to_vec()
}

/// Bytes of each direction that a client on this stream may ask for; 0: none. Only processes of the broker's own user, and (see
/// [`Connection::offer_ring`]) of its own namespace of processes: who shares a bell could stop the broker, but these may kill it.
pub(super) fn granted<R: Rooms>(stream: &Stream, life: &Life<R>) -> u32 {
    let bytes = life.rooms.shared().limits.ring_bytes;
    let uid = life
        .evidence
        .as_ref()
        .and_then(|evidence| evidence.credentials.uid);
    let own = uid.is_some() && uid == current_uid();
    let carries = life.max_attachments >= 3;
    // What no ring can have is not told to anybody: limits of an embedded broker are not checked before.
    let size = u32::try_from(bytes).ok().filter(|bytes| is_ring_size(*bytes));
    if stream.has_rings() && own && carries {
        size.unwrap_or(0)
    } else {
        0
    }
}

impl Connection {
    /// `with_attachments`: some came with the read that brought the step.
    pub(super) fn ring_step(&mut self, step: RingStep, with_attachments: bool) {
        // One read brings the last frame on the socket together with what was sent at once behind it for the first frame in the memory:
        // attachments, and the byte that they travel with.
        let early = with_attachments && self.life.decoder.buffered() == 1;
        match step {
            RingStep::Asked => {
                if self.offer_ring().is_none() {
                    self.life.rooms.shared.metrics.rings_refused.add(1);
                    self.life.outbox.push_frame(not_now().into());
                }
            }
            RingStep::Declined => self.withdraw_ring(),
            RingStep::Taken if self.life.decoder.buffered() > 0 && !early => self.life.close(
                CloseReason::Protocol,
                "the Ring that takes is the last frame on the socket",
            ),
            RingStep::Taken => {
                self.life.decoder.forget_partial();
                self.life.waiting_since = None;
                self.io.stream.read_from_ring(early);
                let last = Draft::new(Kind::Ring, 0).aux(1).to_vec();
                self.life.outbox.push_last_on_socket(last.into());
            }
        }
    }

    /// The offer was not sent: the client goes on as it did, and is told so.
    pub(super) fn ring_not_sent(&mut self) {
        self.withdraw_ring();
        if let Phase::Ready(session) | Phase::Lingering(session) = &mut self.life.phase {
            session.ring_withdrawn();
        }
        self.life.outbox.push_frame(not_now().into());
    }

    fn withdraw_ring(&mut self) {
        self.io.stream.withdraw_ring();
        self.io.ring.held = None;
    }

    /// `None`: there is no memory for it, or no descriptor, or others have it.
    fn offer_ring(&mut self) -> Option<()> {
        let Phase::Ready(session) = &mut self.life.phase else {
            return None;
        };
        let shared = &self.life.rooms.shared;
        let bytes = self.life.ring_bytes;
        let all = (bytes as usize).saturating_mul(2);
        // It has a budget of its own: what makes a connection fast must not take from what its calls and events need.
        let charge = self.life.admission.as_ref()?.ring(all).ok()?;
        shared.metrics.rings.add(1);
        let held = Held {
            moves: false,
            shared: shared.clone(),
            _charge: charge,
        };
        if !self
            .life
            .pid
            .is_some_and(|pid| process::is_in_own_namespace(pid.get()))
        {
            return None;
        }
        let short =
            |number: usize| open_files::limit().is_some_and(|limit| number.saturating_add(RESERVED) >= limit);
        let fits = |given: &[Attachment]| !given.iter().filter_map(descriptor_number).any(short);
        let given = self.io.stream.offer_ring(bytes, fits).ok()?;
        session.ring_offered();
        let draft = Draft::new(Kind::Ring, 0).aux(bytes);
        let frame = Draft {
            attachments: 3,
            ..draft
        }
        .to_vec();
        let attachments = Attachments::from(given);
        self.life.outbox.push_ring(RingOffer { frame, attachments });
        self.io.ring.held = Some(Box::new(held));
        Some(())
    }
}
