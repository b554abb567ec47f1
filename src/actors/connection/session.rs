//! What one ready peer may do, and what its frames ask of the rest of the broker.
//!
//! Owns the protocol state of one connection after the handshake: open requests, slots, the publish window. Each frame is one
//! step: state in, [`Effects`] out; `Connection` (or `LocalPeer`, or the simulator) performs them. Pure: no socket, no
//! actor, no clock.

mod access;
mod asks;
mod attached;
mod bus;
mod effects;
mod guesses;
mod pieces;
mod ring;
mod started;
mod waits;

pub(super) use bus::message_charge;
pub use effects::{Closing, Effects, RingStep};
pub use guesses::Guesses;
pub(in crate::actors) use pieces::message_too_large;

use super::open_calls::OpenCalls;
use super::slots::{NewCall, Outcome, Slots};
use crate::actors::accounts::{CALL_COST, OverShare};
use crate::actors::credit::Window;
use crate::actors::messages::{Answer, Control, Invoke};
use crate::actors::peer::PeerRef;
use crate::actors::planted::{self, Bug};
use crate::config::{Limits, raise};
use crate::error::{CallError, CloseReason, ErrorCode};
use crate::message::frame::FrameView;
use crate::message::{Attachment, Batch, CallId, Draft, Flags, Header, Key, Kind, Ticket, metadata};
use crate::policy::{Rights, Slot};
use asks::{Needs, Target};
use bus::Member;
use ring::Ring;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

/// The state of one ready peer.
#[derive(Debug)]
pub struct Session {
    /// Calls and requests of this peer.
    pub open: OpenCalls,
    /// Calls for this peer.
    pub slots: Slots,
    me: PeerRef,
    publish: Window,
    /// Nothing until it uses the label bus, where it need not join one first.
    bus: Option<Box<Member>>,
    limits: Arc<Limits>,
    tickets: Arc<AtomicU64>,
    /// Nothing until it does one of these.
    rare: Option<Box<Rare>>,
    /// The broker's policy, and what this peer may do under it; `None`: nobody asks.
    policy: Option<Arc<Slot>>,
    /// Nothing until the policy is asked for the first time.
    rights: Option<Box<Rights>>,
    /// How often the policy denied something.
    denied: u64,
    draining: bool,
    said_goodbye: bool,
    ring: Ring,
}

/// What few peers do.
#[derive(Debug, Default)]
struct Rare {
    /// Publishes in pieces that are not complete.
    publishing: BTreeSet<u64>,
    /// Listings that it has asked for and, as far as is known, not got.
    listings: Vec<(CallId, Ticket)>,
}

/// What stops the reading of a batch.
type Stop = Result<(), Closing>;

impl Session {
    /// A session that begins.
    #[must_use]
    pub fn new(me: PeerRef, limits: Arc<Limits>, tickets: Arc<AtomicU64>) -> Self {
        let publish = Window::new(limits.publish_window);
        Self {
            open: OpenCalls::default(),
            slots: Slots::default(),
            me,
            publish,
            bus: None,
            limits,
            tickets,
            rare: None,
            policy: None,
            rights: None,
            denied: 0,
            draining: false,
            said_goodbye: false,
            ring: Ring::Never,
        }
    }

    /// The same under a policy.
    #[must_use]
    pub fn guarded(self, policy: Arc<Slot>) -> Self {
        Self {
            policy: Some(policy),
            ..self
        }
    }

    /// Whose session it is.
    #[must_use]
    pub const fn me(&self) -> &PeerRef {
        &self.me
    }

    /// Whether the peer has announced its end.
    #[must_use]
    pub const fn said_goodbye(&self) -> bool {
        self.said_goodbye
    }

    /// Whether the broker is stopping.
    #[must_use]
    pub const fn is_draining(&self) -> bool {
        self.draining
    }

    /// The broker stops: new calls are refused, and what waits for objects has waited in vain.
    pub fn drain(&mut self, effects: &mut Effects) {
        self.draining = true;
        self.give_up_waiting(ErrorCode::Draining, effects);
    }

    /// Publish credit that is being returned on the wire.
    pub fn refill_publish(&mut self, bytes: u32) {
        self.publish.refill(bytes);
    }

    /// Makes sure that there is memory for so many more calls and bytes that wait with them. The caller pays for both ends of a call:
    /// a callee cannot refuse one.
    ///
    /// # Errors
    /// [`OverShare`] when this peer's process has no more.
    pub fn cover_calls(&self, calls: usize, bytes: usize) -> Result<(), OverShare> {
        let needed = self.calls_memory(calls).saturating_add(bytes);
        self.me.account.memory.calls().cover(needed)
    }

    fn calls_memory(&self, more: usize) -> usize {
        let entries = self
            .open
            .len()
            .saturating_add(self.publishing())
            .saturating_add(more);
        entries
            .saturating_mul(CALL_COST)
            .saturating_add(self.open.parked_bytes())
    }

    /// How many publishes in pieces are not complete.
    fn publishing(&self) -> usize {
        self.rare.as_ref().map_or(0, |rare| rare.publishing.len())
    }

    /// Gives back memory that calls have left, once nothing is to be read.
    pub fn settle(&self) {
        self.me.account.memory.calls().settle(self.calls_memory(0));
    }

    /// The deadlines of the last calls have passed, and no new one has come: what is empty goes, until there is a call again.
    pub fn rest(&mut self) {
        self.open.rest();
        self.slots.rest();
    }

    /// Steps through a batch; a protocol error ends it with `effects.close`.
    pub fn handle(&mut self, now: Instant, batch: &Arc<Batch>, effects: &mut Effects) {
        let (mut last_key, mut last_selector): (&[u8], &[u8]) = (&[], &[]);
        let mut next = 0_usize;
        while effects.close.is_none() && !self.said_goodbye {
            let index = next;
            let Some(view) = batch.view(index) else { return };
            next = next.saturating_add(1);
            // Publishers and callers send runs of one key: it is checked once.
            let known_key = match view.header.kind {
                Kind::Publish | Kind::Call => {
                    (!last_key.is_empty() && view.key == last_key) || Key::pair(view.key).is_ok()
                }
                Kind::Send => !last_selector.is_empty() && view.key == last_selector,
                _ => false,
            };
            let frame = u32::try_from(index).unwrap_or(u32::MAX);
            if let Err(closing) = self.step(now, batch, frame, &view, known_key, effects) {
                effects.close = Some(closing);
            }
            if view.header.kind == Kind::Send {
                last_selector = view.key;
                if bus::goes_with_others(view.header, view.key) {
                    next = next.saturating_add(self.send_run(batch, next, view.key, effects));
                }
            } else if known_key {
                last_key = view.key;
                if asks::is_plain_publish(view.header) {
                    next = next.saturating_add(self.publish_run(batch, next, last_key, effects));
                }
            }
        }
    }

    /// What holds for frames of every kind.
    fn check(&self, view: &FrameView<'_>) -> Stop {
        let header = view.header;
        self.may_say(header.kind)?;
        if header.flags.has(Flags::ORIGIN) {
            return Err(protocol("only the broker sets an origin"));
        }
        if view.payload.len() > self.limits.frame_bytes {
            // The decoder allows a body with the largest parts; a receiver's may have other parts beside this payload.
            return Err(protocol(&format!(
                "a payload has at most {} bytes (limits.frame_bytes); send more in pieces, or {}",
                self.limits.frame_bytes,
                raise("frame_bytes")
            )));
        }
        if is_piece(header) && header.flags.has(Flags::ABORT.with(Flags::CONTINUED)) {
            return Err(protocol("a piece that aborts its message has no continuation"));
        }
        if header.is_region() {
            check_region(view)?;
        }
        if !view.meta.is_empty() {
            metadata::check_from_peer(view.meta).map_err(|error| protocol(&error.to_string()))?;
        }
        Ok(())
    }

    fn step(
        &mut self,
        now: Instant,
        batch: &Arc<Batch>,
        frame: u32,
        view: &FrameView<'_>,
        known_key: bool,
        effects: &mut Effects,
    ) -> Stop {
        self.check(view)?;
        let header = view.header;
        // An empty one ends items, which are no large message.
        let ends = is_last_piece(header) && header.body_len > 0;
        effects.in_pieces = effects.in_pieces.saturating_add(u64::from(ends));
        if header.attachments > 0 && !self.attached(batch, frame, header, effects)? {
            return Ok(());
        }
        match header.kind {
            Kind::Call => self.call(now, frame, view, known_key, effects),
            Kind::Publish => self.publish(frame, view, known_key, effects),
            Kind::Reply | Kind::ReplyPiece | Kind::Error => self.answer(now, (batch, frame), view, effects),
            Kind::CallPiece | Kind::PublishPiece => self.piece(batch, frame, view, effects),
            Kind::Cancel => {
                self.cancel(CallId(header.id), effects);
                Ok(())
            }
            Kind::ReplyCredit | Kind::CallCredit => {
                self.credit(now, header, effects);
                Ok(())
            }
            Kind::Register | Kind::Unregister | Kind::Describe => {
                self.request(now, frame, view, Target::Registry(Needs::Name), effects)
            }
            Kind::Wait | Kind::Watch | Kind::Unwatch | Kind::List => {
                self.request(now, frame, view, Target::Registry(Needs::Nothing), effects)
            }
            Kind::Subscribe => self.request(now, frame, view, Target::Hub(Needs::Pair), effects),
            Kind::Unsubscribe => self.request(now, frame, view, Target::Hub(Needs::Nothing), effects),
            Kind::Will if view.key.is_empty() => {
                self.request(now, frame, view, Target::Hub(Needs::Nothing), effects)
            }
            Kind::Will => self.request(now, frame, view, Target::Hub(Needs::Pair), effects),
            Kind::Send => self.send(batch, frame, view, known_key, effects),
            Kind::Taken => self.taken(now, header, effects),
            Kind::Join => self.join(now, frame, view, effects),
            Kind::Leave => self.leave(now, frame, view, effects),
            Kind::Ping => ping(view, effects),
            Kind::Pong => Ok(()),
            Kind::Ring => self.ring(frame as usize + 1 == batch.len(), header, effects),
            Kind::Goodbye => {
                self.said_goodbye = true;
                Ok(())
            }
            Kind::Hello
            | Kind::Welcome
            | Kind::Meet
            | Kind::Done
            | Kind::Ownership
            | Kind::Notice
            | Kind::PublishCredit
            | Kind::Accepted
            | Kind::Event
            | Kind::EventPiece
            | Kind::Gap
            | Kind::Message
            | Kind::Settled
            | Kind::Takes => Err(not_a_clients(header.kind)),
        }
    }

    fn answer(
        &mut self,
        now: Instant,
        (batch, frame): (&Batch, u32),
        view: &FrameView<'_>,
        effects: &mut Effects,
    ) -> Stop {
        let ticket = Ticket(view.header.id);
        if view.header.is_region() && self.slots.contains(ticket) {
            let seat = self.slots.take_seat(ticket);
            let seat = seat.ok_or_else(pieces::region_not_taken)?;
            seat.keep_with(batch.attachments(frame as usize));
        }
        let attachments: &[Attachment] = match view.header.is_region() {
            true => batch.attachments(frame as usize),
            false => &[],
        };
        match self.slots.answer(now, (view, attachments), &self.limits) {
            Outcome::Forward(caller, call, last) => {
                effects.answers.push(
                    &caller,
                    Answer {
                        frame,
                        call,
                        ticket,
                        last,
                    },
                );
                if view.header.is_offer() {
                    effects.answer_offer(ticket.0, self.slots.offered(ticket), true);
                }
            }
            Outcome::Late if planted::is(Bug::AnswerFromAnyone) => {
                let last = true;
                if let Some((caller, call)) = planted::asker(ticket) {
                    effects.answers.push(
                        &caller,
                        Answer {
                            frame,
                            call,
                            ticket,
                            last,
                        },
                    );
                }
            }
            Outcome::Late => effects.late = effects.late.saturating_add(1),
            Outcome::Stop => effects.send.push(Draft::new(Kind::Cancel, ticket.0).to_vec()),
            Outcome::WindowExceeded => {
                return Err((
                    CloseReason::Window,
                    format!(
                        "the window of the reply to {ticket} was exceeded (limits.stream_window); wait for ReplyCredit"
                    ),
                ));
            }
        }
        self.me.account.set_load(self.slots.len());
        Ok(())
    }

    fn cancel(&mut self, call: CallId, effects: &mut Effects) {
        self.cancel_with(call, &CallError::from(ErrorCode::Cancelled), effects);
    }

    /// Takes a call for this peer: it is about to be written. Who calls this tells the account the new load.
    pub fn accept(&mut self, now: Instant, header: &Header, invoke: &mut Invoke) {
        let Some(reply) = invoke.reply.take() else { return };
        let stream = header.flags.has(Flags::STREAM);
        let items = header.flags.has(Flags::ITEMS);
        // Even a single reply may come in pieces, so there is a window in any case.
        let window = Window::new(self.limits.stream_window);
        let (ticket, deadline) = (invoke.ticket, invoke.deadline);
        self.slots.open(
            now,
            NewCall {
                ticket,
                reply,
                deadline,
                stream,
                items,
                window,
            },
        );
    }

    /// The end: what this peer asked of others is taken back. Slots answer by being dropped.
    pub fn finish(&mut self, effects: &mut Effects) {
        let gone = CallError::from(ErrorCode::Cancelled).ran(false);
        for call in self.open.waits() {
            self.refuse_parked(call, &gone, effects);
        }
        for open in self.open.drain() {
            if let Some(callee) = open.callee {
                effects.tell.push((callee, Control::Cancel(open.ticket)));
            }
        }
        self.finish_endpoints(effects);
    }
}

fn protocol(what: &str) -> Closing {
    (CloseReason::Protocol, what.to_owned())
}

fn not_a_clients(kind: Kind) -> Closing {
    protocol(&format!("a client does not send {} here", kind.name()))
}

fn ping(view: &FrameView<'_>, effects: &mut Effects) -> Stop {
    if view.payload.len() > 64 {
        return Err(protocol("a ping carries at most 64 bytes"));
    }
    let pong = Draft::new(Kind::Pong, view.header.id).payload(view.header.encoding, view.payload);
    effects.send.push(pong.to_vec());
    Ok(())
}

const fn is_piece(header: &Header) -> bool {
    matches!(
        header.kind,
        Kind::CallPiece | Kind::PublishPiece | Kind::ReplyPiece
    )
}

/// Whether a message in pieces has come to its end.
const fn is_last_piece(header: &Header) -> bool {
    is_piece(header) && header.flags.0 & (Flags::CONTINUED.0 | Flags::ABORT.0 | Flags::REGION.0) == 0
}

/// A piece that brings a region brings nothing else, and nothing follows it.
fn check_region(view: &FrameView<'_>) -> Stop {
    let header = view.header;
    let alone = header.flags.0 & (Flags::CONTINUED.0 | Flags::ABORT.0) == 0;
    if alone && header.attachments == 1 && view.brings().is_some_and(|length| length > 0) {
        return Ok(());
    }
    Err(protocol(
        "a piece with a region is the last one, carries one descriptor, and has the region's length in 8 bytes",
    ))
}
