//! The label bus: joining and leaving, messages sent, messages taken.
//!
//! Owns what a peer must have done and how much it may have under way. Whom a selector means is Registry's business; what became
//! of a message comes back from whoever has it. Steps of [`Session`], in a file of their own.

use super::asks::{Needs, Target, refuse};
use super::guesses::{Answer, Guesses};
use super::{Closing, Effects, Session, Stop, protocol};
use crate::actors::bus::BusOptions;
use crate::actors::connection::endpoints::Endpoints;
use crate::actors::credit::Window;
use crate::actors::messages::{MessageItem, RegistryItem, SendRun};
use crate::actors::peer::{PeerRef, error_frame};
use crate::actors::receipt::{Owed, Settled};
use crate::config::Limits;
use crate::error::{CallError, CloseReason, ErrorCode};
use crate::message::bus::{BUS_VERSION, Join, Outcome, TYPE_LEN, VERSION_KEY};
use crate::message::frame::FrameView;
use crate::message::selector::{Mode, Selector};
use crate::message::{Batch, Draft, Encoding, Flags, Header, Kind, Metadata, RequestId};
use crate::policy::Slot;
use crate::transport::passing;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a peer has to do with the label bus.
#[derive(Debug)]
pub(super) struct Member {
    /// Its endpoints.
    pub(super) endpoints: Endpoints,
    /// Messages that it may still send.
    sending: Window,
    /// Messages of it of which it has not been told what became of them.
    unsettled: u64,
    /// What it must know before anything else, and what it has guessed; nothing where no bus is hosted.
    asked: Option<(Arc<BusOptions>, Guesses)>,
    /// It has joined.
    has_joined: bool,
}

impl Member {
    fn new(limits: &Limits, asked: Option<(Arc<BusOptions>, Guesses)>) -> Box<Self> {
        Box::new(Self {
            endpoints: Endpoints::default(),
            sending: Window::new(limits.send_window),
            unsettled: 0,
            asked,
            has_joined: false,
        })
    }
}

impl Session {
    /// The same with a bus that it must join first.
    #[must_use]
    pub fn on_bus(mut self, asked: Option<(Arc<BusOptions>, Guesses)>) -> Self {
        self.bus = asked.map(|asked| Member::new(&self.limits, Some(asked)));
        self
    }

    fn member(&mut self) -> &mut Member {
        let limits = &self.limits;
        self.bus.get_or_insert_with(|| Member::new(limits, None))
    }

    fn has_endpoint(&self, number: RequestId) -> bool {
        let bus = self.bus.as_ref();
        bus.is_some_and(|bus| bus.endpoints.contains(number))
    }

    /// Whether the peer may send this before it has joined.
    pub(super) fn may_say(&self, kind: Kind) -> Stop {
        let always = matches!(
            kind,
            Kind::Join | Kind::Ping | Kind::Pong | Kind::Goodbye | Kind::Ring
        );
        let outside = |bus: &Member| bus.asked.is_some() && !bus.has_joined;
        if always || !self.bus.as_deref().is_some_and(outside) {
            return Ok(());
        }
        let text = "this broker hosts a label bus; join it first";
        Err((CloseReason::Denied, text.into()))
    }

    /// Whether there is a policy.
    pub(super) fn is_guarded(&self) -> bool {
        self.policy.as_deref().is_some_and(Slot::is_set)
    }

    pub(super) fn join(
        &mut self,
        now: Instant,
        frame: u32,
        view: &FrameView<'_>,
        effects: &mut Effects,
    ) -> Stop {
        let header = view.header;
        if let Err(error) = self.may_join(view) {
            if error.code == ErrorCode::BusVersion {
                effects.send.push(version_error(header.id, &error));
                return Ok(());
            }
            effects.denied = effects.denied.saturating_add(u64::from(matches!(
                error.code,
                ErrorCode::Denied | ErrorCode::TokenRefused
            )));
            if error.code == ErrorCode::TokenRefused {
                return self.refuse_token(now, header, effects);
            }
            return refuse(effects, header, false, &error);
        }
        self.member().has_joined = true;
        let before = effects.registry.len();
        self.request(now, frame, view, Target::Registry(Needs::Nothing), effects)?;
        if effects.registry.len() > before {
            self.member().endpoints.open(now, RequestId(header.id));
        }
        Ok(())
    }

    /// The first wrong tokens of a source are answered at once, further ones late.
    fn refuse_token(&mut self, now: Instant, header: &Header, effects: &mut Effects) -> Stop {
        let asked = self.bus.as_mut().and_then(|bus| bus.asked.as_mut());
        let answer = asked.map_or(Answer::Now, |(_, guesses)| guesses.refuse(now, header.id));
        match answer {
            Answer::Now => refuse(effects, header, false, &token_error()),
            Answer::Late => Ok(()),
            Answer::End => Err((CloseReason::Denied, ErrorCode::TokenRefused.text().into())),
        }
    }

    /// Answers wrong tokens that have waited long enough.
    pub(super) fn answer_guesses(&mut self, now: Instant, effects: &mut Effects) {
        let asked = self.bus.as_mut().and_then(|bus| bus.asked.as_mut());
        for request in asked.into_iter().flat_map(|(_, guesses)| guesses.due(now)) {
            effects.send.push(error_frame(request, &token_error()));
        }
    }

    /// When something of it is due.
    pub(super) fn bus_deadline(&self) -> Option<Instant> {
        let bus = self.bus.as_ref()?;
        let guesses = bus
            .asked
            .as_ref()
            .and_then(|(_, guesses)| guesses.next_deadline());
        guesses.into_iter().chain(bus.endpoints.next_deadline()).min()
    }

    fn may_join(&self, view: &FrameView<'_>) -> Result<(), CallError> {
        let fail = |code, text: &str| Err(CallError::new(code, text).ran(false));
        // Nobody uses the bus then.
        if self.is_guarded() {
            return fail(
                ErrorCode::Denied,
                "policy: a broker under a policy has no label bus",
            );
        }
        match Join::version_of(view.payload) {
            Some(BUS_VERSION) => {}
            Some(theirs) => {
                let text = format!(
                    "this bus speaks version {BUS_VERSION} of its protocol, not {theirs}; update the older of the two programs"
                );
                return fail(ErrorCode::BusVersion, &text);
            }
            None => return fail(ErrorCode::Invalid, "the payload of a Join is cut off"),
        }
        let join = Join::decode(view.payload)
            .map_err(|error| CallError::new(ErrorCode::Invalid, error.to_string()).ran(false))?;
        let asked = self.bus.as_ref().and_then(|bus| bus.asked.as_ref());
        let admitted = asked.map_or(join.token.is_empty(), |(bus, guesses)| {
            !guesses.is_waiting() && bus.admits(join.token)
        });
        if !admitted {
            return Err(token_error());
        }
        if self.draining {
            return fail(ErrorCode::Draining, ErrorCode::Draining.text());
        }
        if self.has_endpoint(RequestId(view.header.id)) {
            return fail(ErrorCode::Invalid, "an endpoint of this number has joined");
        }
        Ok(())
    }

    /// Registry has answered a request; a Join that it refused leaves no endpoint.
    pub(in crate::actors::connection) fn refused(&mut self, request: u64, frame: &[u8]) {
        let number = RequestId(request);
        let failed = frame.get(4) == Some(&(Kind::Error as u8));
        if failed && self.has_endpoint(number) {
            let bytes = self.member().endpoints.close(number, &mut post);
            self.me.account.release(bytes);
        }
    }

    pub(super) fn leave(
        &mut self,
        now: Instant,
        frame: u32,
        view: &FrameView<'_>,
        effects: &mut Effects,
    ) -> Stop {
        let settled = &mut effects.settled;
        let mut told = |to: &PeerRef, what| settled.push(to, what);
        if let Some(bus) = &mut self.bus {
            let bytes = bus.endpoints.close(RequestId(view.header.id), &mut told);
            self.me.account.release(bytes);
        }
        self.request(now, frame, view, Target::Registry(Needs::Nothing), effects)
    }

    pub(super) fn send(
        &mut self,
        batch: &Batch,
        frame: u32,
        view: &FrameView<'_>,
        known_key: bool,
        effects: &mut Effects,
    ) -> Stop {
        let header = view.header;
        if !known_key {
            Selector::parse(view.key).map_err(|error| protocol(&error.to_string()))?;
        }
        if view.payload.len() < TYPE_LEN {
            return Err(protocol("a message begins with the 16 bytes of its type"));
        }
        let owed = self.owe(header)?;
        let refused = if self.is_guarded() {
            effects.denied = effects.denied.saturating_add(1);
            Outcome::Denied
        } else if self.draining {
            Outcome::Cancelled
        } else {
            effects.registry.push(RegistryItem::Send(SendRun { frame, owed }));
            return Ok(());
        };
        owed.fail(refused);
        batch
            .attachments(frame as usize)
            .iter()
            .for_each(passing::release);
        Ok(())
    }

    /// What a message carried was refused on its arrival.
    pub(super) fn send_refused(&mut self, header: &Header) -> Stop {
        self.owe(header)?.fail(Outcome::Attachments);
        Ok(())
    }

    /// There is no memory for a message.
    pub(super) fn send_beyond(&mut self, header: &Header) -> Stop {
        self.owe(header)?.fail(Outcome::TooLarge);
        Ok(())
    }

    /// Charges a message to the window; from now on its sender is owed an outcome.
    fn owe(&mut self, header: &Header) -> Result<Owed, Closing> {
        let bus = self.member();
        if !bus.sending.spend(header.wire_len()) {
            let text = "the window for messages was exceeded (limits.send_window); wait for Settled";
            return Err((CloseReason::Window, text.into()));
        }
        bus.unsettled = bus.unsettled.saturating_add(1);
        Ok(Owed::new(self.me.clone(), header.id, 1, header.wire_len()))
    }

    /// Takes as many frames from `first` on as are like the message before them, which goes to Registry: of the same size, with the
    /// same selector and time to wait, and numbered on. Returns how many.
    pub(super) fn send_run(
        &mut self,
        batch: &Batch,
        first: usize,
        key: &[u8],
        effects: &mut Effects,
    ) -> usize {
        let Some(like) = first.checked_sub(1).and_then(|before| batch.header(before)) else {
            return 0;
        };
        let Some(RegistryItem::Send(run)) = effects.registry.last_mut() else {
            return 0;
        };
        if run.frame as usize + 1 != first {
            return 0;
        }
        let Some(bus) = &mut self.bus else { return 0 };
        let (mut taken, mut number) = (0_u32, like.id);
        for (header, body) in batch.bodies(first) {
            number = number.wrapping_add(1);
            let next = Header { id: number, ..*like };
            if *header != next || !body.starts_with(key) || !bus.sending.is_open() {
                break;
            }
            // It was open.
            let _ = bus.sending.spend(header.wire_len());
            taken = taken.saturating_add(1);
        }
        run.owed.extend(taken);
        bus.unsettled = bus.unsettled.saturating_add(u64::from(taken));
        taken as usize
    }

    pub(super) fn taken(&mut self, now: Instant, header: &Header, effects: &mut Effects) -> Stop {
        let settled = &mut effects.settled;
        let mut told = |to: &PeerRef, what| settled.push(to, what);
        let Some(bus) = &mut self.bus else { return Ok(()) };
        let number = RequestId(header.id);
        let taken = bus.endpoints.taken(now, number, header.aux, &mut told);
        let bytes = taken.map_err(|_| protocol("more messages were taken than were given"))?;
        self.me.account.release(bytes);
        Ok(())
    }

    /// Takes messages for endpoints of this peer: they are about to be written. Those that nobody is there for are taken out.
    pub(in crate::actors::connection) fn accept_messages(
        &mut self,
        now: Instant,
        batch: &Batch,
        items: &mut Vec<MessageItem>,
    ) {
        let patience = self.stall_patience();
        items.retain_mut(|item| {
            let header = batch.header(item.frame as usize);
            let (bytes, carries) =
                header.map_or((0, false), |header| (header.wire_len(), header.attachments > 0));
            let Some(receipt) = item.receipt.take() else {
                return false;
            };
            let accepted =
                self.member()
                    .endpoints
                    .accept(now, item.endpoint, receipt, bytes, carries, patience);
            match accepted {
                Some(serial) => item.serial = serial,
                None => self.me.account.release(message_charge(batch, item)),
            }
            accepted.is_some()
        });
    }

    fn stall_patience(&self) -> Duration {
        Duration::from_millis(u64::from(self.limits.endpoint_stall_ms))
    }

    /// Endpoints that take nothing keep their senders waiting no longer.
    pub(super) fn expire_endpoints(&mut self, now: Instant, effects: &mut Effects) {
        let patience = self.stall_patience();
        let settled = &mut effects.settled;
        let mut told = |to: &PeerRef, what| settled.push(to, what);
        if let Some(bus) = &mut self.bus {
            let stalled = bus.endpoints.expire(now, patience, &mut told);
            effects.stalled = effects.stalled.saturating_add(stalled);
        }
    }

    /// What became of messages of this peer: what they took of the window comes back.
    pub fn settled(&mut self, list: &[Settled]) {
        let bus = self.member();
        for settled in list {
            bus.unsettled = bus.unsettled.saturating_sub(u64::from(settled.entry.count));
            let bytes = u32::try_from(settled.bytes).unwrap_or(u32::MAX);
            bus.sending.refill(bytes);
        }
    }

    /// A message with attachments could not be written.
    pub fn message_not_sent(&mut self, serial: u64) {
        let bytes = self.member().endpoints.not_sent(serial, &mut post);
        self.me.account.release(bytes);
    }

    /// Whether no message of this peer, and none for it, is under way.
    #[must_use]
    pub fn is_bus_idle(&self) -> bool {
        let bus = self.bus.as_ref();
        bus.is_none_or(|bus| bus.unsettled == 0 && bus.endpoints.waiting() == 0)
    }

    /// The end: what was given to this peer and not taken is lost.
    pub fn finish_endpoints(&mut self, effects: &mut Effects) {
        let settled = &mut effects.settled;
        let mut told = |to: &PeerRef, what| settled.push(to, what);
        if let Some(bus) = &mut self.bus {
            let bytes = bus.endpoints.close_all(&mut told);
            self.me.account.release(bytes);
        }
    }
}

fn token_error() -> CallError {
    CallError::from(ErrorCode::TokenRefused).ran(false)
}

/// Whether others like it may be one item with it: it has nothing but a selector and a payload, and goes where the next one goes, too.
pub(super) fn goes_with_others(header: &Header, selector: &[u8]) -> bool {
    let in_turn = selector.first() == Some(&(Mode::RoundRobin as u8));
    header.flags == Flags::NONE && header.attachments == 0 && !in_turn
}

/// What the messages of an item were charged.
pub(in crate::actors::connection) fn message_charge(batch: &Batch, item: &MessageItem) -> usize {
    let bytes = batch.header(item.frame as usize).map_or(0, Header::wire_len);
    crate::actors::deliver::charge(bytes).saturating_mul(item.count as usize)
}

/// Tells a sender by a delivery of its own.
fn post(to: &PeerRef, settled: Settled) {
    to.post(crate::actors::messages::Deliver::Settled(vec![settled]));
}

/// The error of a Join in another version of the bus protocol, with the broker's own.
fn version_error(id: u64, error: &CallError) -> Vec<u8> {
    let mut meta = Metadata::new();
    // One short entry fits.
    let _ = meta.insert(VERSION_KEY, BUS_VERSION.to_le_bytes());
    Draft::new(Kind::Error, id)
        .aux(error.code.code())
        .meta(meta.as_bytes())
        .payload(Encoding::RAW, error.message.as_bytes())
        .to_vec()
}
