//! The bytes that a connection reads: the preface, the Hello and its answer, then batches.
//!
//! Part of [`Life`]; owns no state of its own. What a stranger sends is checked here before anything is answered.

use super::identity::{Evidence, Unproven};
use super::life::{Handles, Life, Phase};
use super::perform::Rooms;
use super::session::{Guesses, Session};
use crate::actors::access;
use crate::actors::admission::Admission;
use crate::actors::core::{GoneGuard, Shared};
use crate::actors::memory::Memory;
use crate::actors::peer::{Account, Peer, PeerRef, Post};
use crate::actors::tokens::Source;
use crate::error::CloseReason;
use crate::message::codec::body_limit;
use crate::message::handshake::{PREFACE, choose_version};
use crate::message::{Attachment, Batch, Draft, Hello, Kind, Origin, PROTOCOL_VERSION, Welcome};
use crate::policy::Principal;
use crate::text;
use crate::transport::{Named, region};
use std::num::NonZeroU32;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

impl<R: Rooms> Life<R> {
    /// What one read brought: so many complete frames. `inbox` makes the peer's inbox when it is welcomed.
    pub fn received(
        &mut self,
        mut bytes: &[u8],
        attachments: Vec<Attachment>,
        inbox: &dyn Fn() -> Post,
    ) -> usize {
        if matches!(self.phase, Phase::Refused(_)) {
            self.answer_refused(bytes.first());
            return 0;
        }
        let (read, now) = (bytes.len(), self.rooms.shared().now());
        if let Some(keepalive) = &mut self.keepalive {
            keepalive.heard();
        }
        if !self.arrived(now, attachments) || matches!(self.phase, Phase::Lingering(_)) {
            // It has said goodbye; only the end of file is still of interest.
            return 0;
        }
        if let Phase::Preface(seen) = self.phase {
            if self.limit.is_none() && !self.begins(now, bytes.first()) {
                return 0;
            }
            let seen = usize::from(seen);
            let (head, rest) = bytes
                .split_at_checked(PREFACE.len().saturating_sub(seen))
                .unwrap_or((bytes, &[]));
            if !PREFACE
                .get(seen..)
                .is_some_and(|expected| expected.starts_with(head))
            {
                // A stranger's protocol gets no byte from us.
                self.note_foreign(if seen == 0 { head.first().copied() } else { None });
                self.phase = Phase::Closing;
                return 0;
            }
            let seen = seen.saturating_add(head.len());
            self.phase = if seen == PREFACE.len() {
                Phase::Hello
            } else {
                Phase::Preface(u8::try_from(seen).unwrap_or(u8::MAX))
            };
            bytes = rest;
        }
        match self.decoder.decode(bytes) {
            Ok(mut batch) => {
                let frames = batch.len();
                self.waiting_since = self.decoder.has_begun().then_some(now);
                if !self.attach(&mut batch) {
                    return frames;
                }
                self.settle_frame();
                self.batch(now, batch, read, inbox);
                self.charge_frame();
                frames
            }
            Err(error) => {
                self.close(CloseReason::Protocol, &error.to_string());
                0
            }
        }
    }

    /// Who has begun has a place among the handshakes and is timed, however long it was silent before. `false`: there is none left.
    fn begins(&mut self, now: Instant, first: Option<&u8>) -> bool {
        let patience = Duration::from_millis(u64::from(self.rooms.shared().limits.handshake_ms));
        self.limit = now.checked_add(patience);
        let Some(Err(over)) = self.admission.as_mut().map(Admission::begins) else {
            return true;
        };
        if first == Some(&PREFACE[0]) {
            // It will understand why.
            self.phase = Phase::Hello;
        }
        self.close(CloseReason::TooMany, &over.to_string());
        false
    }

    pub(super) fn hello(&mut self, batch: &Batch, inbox: &dyn Fn() -> Post) {
        let Some(view) = batch.view(0) else { return };
        let header = view.header;
        if header.kind == Kind::Meet {
            let text = "this is a broker, not an RpcServer: connect with IpcClient";
            return self.close(CloseReason::Protocol, text);
        }
        if header.kind != Kind::Hello {
            return self.close(CloseReason::Protocol, "the first frame must be Hello");
        }
        if choose_version(header.id, header.aux).is_none() {
            let text = format!(
                "this broker speaks protocol version {PROTOCOL_VERSION}; the client needs {} to {}",
                header.id, header.aux
            );
            return self.close(CloseReason::Version, &text);
        }
        if self.rooms.shared().stopping.load(Ordering::Acquire) {
            return self.close_drained();
        }
        if header.attachments > 0 {
            return self.close(CloseReason::Protocol, "no attachments are granted before Welcome");
        }
        let Some(hello) = Hello::decode(view.payload) else {
            return self.close(CloseReason::Protocol, "the payload of Hello is malformed");
        };
        let Some(evidence) = self.evidence.take() else {
            return;
        };
        let tokens = self.rooms.shared().tokens();
        match evidence.principal(&hello, &tokens) {
            Ok(principal) => {
                let user = || principal.counted().map(Source::User);
                let source = evidence.address.map(Source::Address).or_else(user);
                self.welcome(&hello, principal, source, inbox);
            }
            Err(unproven) => self.unproven(unproven, &evidence),
        }
    }

    /// Bytes have come: of a peer that the system had not named it may now say who it is.
    pub(super) fn identify(&mut self, ask: impl FnOnce() -> Named) {
        let Some(evidence) = &mut self.evidence else {
            return;
        };
        if evidence.ask_again(ask) {
            self.pid = evidence.credentials.pid.and_then(NonZeroU32::new);
        }
    }

    /// The first failures of a source are answered at once, further ones late; nobody else waits for that.
    fn unproven(&mut self, unproven: Unproven, evidence: &Evidence) {
        let unproven = self.dialect.map_or(unproven, |_| Unproven::Left);
        let address = evidence.address;
        let shared = self.rooms.shared().clone();
        let now = shared.now();
        let reason = unproven.text();
        if unproven == Unproven::Left {
            // It has guessed nothing, and nobody is there to be told late.
            shared.metrics.unidentified_left.add(1);
            self.note_unproven(unproven, address);
            return self.close(CloseReason::Denied, reason);
        }
        shared.metrics.unproven_peers.add(1);
        self.note_unproven(unproven, address);
        let delay = shared.failure(address, now);
        if delay.is_zero() {
            return self.close(CloseReason::Denied, reason);
        }
        self.phase = Phase::Unproven(unproven);
        self.limit = now.checked_add(delay);
    }

    fn welcome(
        &mut self,
        hello: &Hello,
        principal: Principal,
        source: Option<Source>,
        inbox: &dyn Fn() -> Post,
    ) {
        let shared = self.rooms.shared().clone();
        if let Some(text) = access::refuses(&shared.policy, &principal) {
            self.note_denied(&text);
            return self.close(CloseReason::Denied, &text);
        }
        let limits = shared.limits.clone();
        let origin = Origin {
            peer: shared.next_peer(),
            uid: principal.uid.unwrap_or(u32::MAX),
            pid: self.pid.map_or(0, NonZeroU32::get),
        };
        let admission = self.admission.as_mut();
        let memory = admission.map_or_else(Memory::unlimited, Admission::welcomed);
        let account = Account::new(limits.outbox_bytes, (limits.publish_window / 4).max(1))
            .with_memory(memory)
            .with_regions(hello.regions)
            .with_dialect(self.dialect);
        self.settle_handles(hello);
        let attachments = u32::from(self.max_attachments);
        let me = Peer::with_principal(
            origin,
            shared.principal(principal),
            &hello.name,
            attachments,
            account,
            inbox(),
        );
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let welcome = Welcome {
            epoch: shared.epoch,
            frame_bytes: number(limits.frame_bytes),
            message_bytes: number(limits.message_bytes),
            publish_window: number(limits.publish_window),
            stream_window: number(limits.stream_window),
            open_calls: number(limits.open_calls),
            names: number(limits.names),
            subscriptions: number(limits.subscriptions),
            default_deadline_ms: limits.default_deadline_ms,
            max_deadline_ms: limits.max_deadline_ms,
            attachments,
            ring_bytes: self.ring_bytes,
            send_window: number(send_window(&shared)),
            region_bytes: region_bytes(limits.message_bytes, attachments),
        };
        let frame = Draft::new(Kind::Welcome, origin.peer.0)
            .aux(PROTOCOL_VERSION)
            .payload(crate::message::Encoding::RAW, &welcome.encode())
            .to_vec();
        self.outbox.push_frame(frame.into());
        self.decoder.set_limit(body_limit(limits.frame_bytes));
        self.rooms.joined(me.clone());
        self.me = Some(me.clone());
        self.gone = Some(GoneGuard::new(self.rooms.clone(), origin.peer));
        let who = me.clone();
        let session = self.session_of(me, source);
        self.phase = Phase::Ready(session);
        self.limit = None;
        shared.metrics.connections_opened.add(1);
        self.speakers().inspect(|count| count.add(1));
        tracing::debug!(peer = origin.peer.0, pid = origin.pid, principal = %who.principal, name = %text::name(&hello.name), "connected");
    }

    /// Where attachments travel only to a client that expects them, its word decides.
    fn settle_handles(&mut self, hello: &Hello) {
        if self.handles != Handles::Asked {
            return;
        }
        (self.handles, self.max_attachments) = match hello.handles && self.max_attachments > 0 {
            true => (Handles::Agreed, self.max_attachments),
            false => (Handles::Settled, 0),
        };
    }

    /// What a peer that has been welcomed may do.
    fn session_of(&self, me: PeerRef, source: Option<Source>) -> Session {
        let shared = self.rooms.shared();
        let bus = shared.bus.get().cloned();
        Session::new(me, shared.limits.clone(), shared.tickets.clone())
            .guarded(shared.policy.clone())
            .with_ring(self.ring_bytes > 0)
            .on_bus(bus.map(|bus| (bus, Guesses::new(shared.failures.clone(), source))))
    }
}

/// Up to which size a peer may send payloads as regions: 0 where its connection carries no descriptors.
fn region_bytes(message_bytes: usize, attachments: u32) -> u32 {
    match region::SUPPORTED && attachments > 0 {
        true => u32::try_from(message_bytes).unwrap_or(u32::MAX),
        false => 0,
    }
}

/// Buses know no policy: where there is one, nobody sends.
fn send_window(shared: &Shared) -> usize {
    match shared.policy.is_set() {
        true => 0,
        false => shared.limits.send_window,
    }
}
