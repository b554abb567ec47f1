//! The label bus: joining and leaving, messages sent, messages taken.
//!
//! Owns what a peer must have done and how much it may have under way. Whom a selector means is Registry's business; what became
//! of a message comes back from whoever has it. Steps of [`Session`], in a file of their own.

use super::asks::{Needs, Target, refuse};
use super::{Closing, Effects, Session, Stop, protocol};
use crate::actors::messages::{MessageItem, RegistryItem, SendRun};
use crate::actors::peer::PeerRef;
use crate::actors::receipt::{Owed, Settled};
use crate::error::{CallError, CloseReason, ErrorCode};
use crate::message::bus::{BUS_VERSION, Join, Outcome, TYPE_LEN, VERSION_KEY};
use crate::message::frame::FrameView;
use crate::message::selector::Selector;
use crate::message::{Batch, Draft, Encoding, Flags, Header, Kind, Metadata, RequestId};
use crate::policy::Slot;
use std::time::{Duration, Instant};

impl Session {
    /// Whether the peer may send this before it has joined.
    pub(super) fn may_say(&self, kind: Kind) -> Stop {
        let always = matches!(
            kind,
            Kind::Join | Kind::Ping | Kind::Pong | Kind::Goodbye | Kind::Ring
        );
        if self.is_member || always || self.bus.is_none() {
            return Ok(());
        }
        let text = "this broker hosts a label bus; join it first";
        Err((CloseReason::Denied, text.into()))
    }

    /// Whether there is a policy: then nobody uses the bus.
    fn is_guarded(&self) -> bool {
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
            return refuse(effects, header, false, &error);
        }
        self.is_member = true;
        let before = effects.registry.len();
        self.request(now, frame, view, Target::Registry(Needs::Nothing), effects)?;
        if effects.registry.len() > before {
            self.endpoints.open(now, RequestId(header.id));
        }
        Ok(())
    }

    fn may_join(&self, view: &FrameView<'_>) -> Result<(), CallError> {
        let fail = |code, text: &str| Err(CallError::new(code, text).ran(false));
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
        let admitted = self
            .bus
            .as_ref()
            .map_or(join.token.is_empty(), |bus| bus.admits(join.token));
        if !admitted {
            return fail(ErrorCode::TokenRefused, ErrorCode::TokenRefused.text());
        }
        if self.draining {
            return fail(ErrorCode::Draining, ErrorCode::Draining.text());
        }
        if self.endpoints.contains(RequestId(view.header.id)) {
            return fail(ErrorCode::Invalid, "an endpoint of this number has joined");
        }
        Ok(())
    }

    /// Registry has answered a request; a Join that it refused leaves no endpoint.
    pub(in crate::actors::connection) fn refused(&mut self, request: u64, frame: &[u8]) {
        let number = RequestId(request);
        let failed = frame.get(4) == Some(&(Kind::Error as u8));
        if failed && self.endpoints.contains(number) {
            let bytes = self.endpoints.close(number, &mut post);
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
        let bytes = self.endpoints.close(RequestId(view.header.id), &mut told);
        self.me.account.release(bytes);
        self.request(now, frame, view, Target::Registry(Needs::Nothing), effects)
    }

    pub(super) fn send(
        &mut self,
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
        if self.is_guarded() {
            effects.denied = effects.denied.saturating_add(1);
            owed.fail(Outcome::Denied);
        } else if self.draining {
            owed.fail(Outcome::Cancelled);
        } else {
            effects.registry.push(RegistryItem::Send(SendRun { frame, owed }));
        }
        Ok(())
    }

    /// What a message carried was refused on its arrival.
    pub(super) fn send_refused(&mut self, header: &Header) -> Stop {
        self.owe(header)?.fail(Outcome::Attachments);
        Ok(())
    }

    /// Charges a message to the window; from now on its sender is owed an outcome.
    fn owe(&mut self, header: &Header) -> Result<Owed, Closing> {
        if !self.sending.spend(header.wire_len()) {
            let text = "the window for messages was exceeded (limits.send_window); wait for Settled";
            return Err((CloseReason::Window, text.into()));
        }
        self.unsettled = self.unsettled.saturating_add(1);
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
        let (mut taken, mut number) = (0_u32, like.id);
        for (header, body) in batch.bodies(first) {
            number = number.wrapping_add(1);
            let next = Header { id: number, ..*like };
            if *header != next || !body.starts_with(key) || !self.sending.is_open() {
                break;
            }
            // It was open.
            let _ = self.sending.spend(header.wire_len());
            taken = taken.saturating_add(1);
        }
        run.owed.extend(taken);
        self.unsettled = self.unsettled.saturating_add(u64::from(taken));
        taken as usize
    }

    pub(super) fn taken(&mut self, now: Instant, header: &Header, effects: &mut Effects) -> Stop {
        let settled = &mut effects.settled;
        let mut told = |to: &PeerRef, what| settled.push(to, what);
        let taken = self
            .endpoints
            .taken(now, RequestId(header.id), header.aux, &mut told);
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
            let accepted = self
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
        effects.stalled = effects
            .stalled
            .saturating_add(self.endpoints.expire(now, patience, &mut told));
    }

    /// What became of messages of this peer: what they took of the window comes back.
    pub fn settled(&mut self, list: &[Settled]) {
        for settled in list {
            self.unsettled = self.unsettled.saturating_sub(u64::from(settled.entry.count));
            let bytes = u32::try_from(settled.bytes).unwrap_or(u32::MAX);
            self.sending.refill(bytes);
        }
    }

    /// A message with attachments could not be written.
    pub fn message_not_sent(&mut self, serial: u64) {
        let bytes = self.endpoints.not_sent(serial, &mut post);
        self.me.account.release(bytes);
    }

    /// Whether no message of this peer, and none for it, is under way.
    #[must_use]
    pub fn is_bus_idle(&self) -> bool {
        self.unsettled == 0 && self.endpoints.waiting() == 0
    }

    /// The end: what was given to this peer and not taken is lost.
    pub fn finish_endpoints(&mut self, effects: &mut Effects) {
        let settled = &mut effects.settled;
        let mut told = |to: &PeerRef, what| settled.push(to, what);
        let bytes = self.endpoints.close_all(&mut told);
        self.me.account.release(bytes);
    }
}

/// A message of nothing but a selector and a payload.
pub(super) fn is_plain_send(header: &Header) -> bool {
    header.kind == Kind::Send && header.flags == Flags::NONE && header.attachments == 0
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
