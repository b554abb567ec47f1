//! What a peer asks of Registry and TopicHub: calls, publishes and all other requests.
//!
//! Each is checked, admitted within the limits and given the one answer that it is owed. Steps of
//! [`Session`], in a file of their own.

use super::pieces::publish_window_exceeded;
use super::{Closing, Effects, Session, Stop, protocol};
use crate::actors::connection::open_calls::Upload;
use crate::actors::messages::{HubItem, Invoke, RegistryItem};
use crate::actors::observe::refused::Refused;
use crate::actors::peer::{ReplyTo, error_frame};
use crate::config::raise;
use crate::error::{CallError, ErrorCode};
use crate::message::frame::FrameView;
use crate::message::metadata::METADATA_MAX;
use crate::message::{Batch, CallId, Flags, Header, Key, Kind, Ticket};
use crate::policy::Right;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Listings of one peer that may be under way at once.
const LISTINGS_MAX: usize = 4;

impl Session {
    pub(super) fn call(
        &mut self,
        now: Instant,
        frame: u32,
        view: &FrameView<'_>,
        known_key: bool,
        effects: &mut Effects,
    ) -> Stop {
        let header = view.header;
        let silent = header.flags.has(Flags::NO_REPLY);
        if silent && header.flags.has(Flags::CONTINUED) {
            return Err(protocol("a call without reply cannot be sent in pieces"));
        }
        if header.flags.has(Flags::ITEMS) && !header.flags.has(Flags::CONTINUED) {
            return Err(protocol(
                "a call with items (ITEMS) goes on in pieces (CONTINUED)",
            ));
        }
        if !known_key && let Err(error) = Key::pair(view.key) {
            let error = CallError::new(ErrorCode::Invalid, error.to_string());
            return self.turn_away(effects, frame, header, error);
        }
        if let Some(denied) = self.denied(Right::Call, view.key, effects) {
            return self.turn_away(effects, frame, header, denied);
        }
        if view.meta.len().saturating_add(self.me.sys_meta().len()) > METADATA_MAX {
            let text = format!(
                "with the name of its caller, the metadata of a call has at most {METADATA_MAX} bytes"
            );
            return self.turn_away(effects, frame, header, CallError::new(ErrorCode::TooLarge, text));
        }
        if self.draining {
            return self.turn_away(effects, frame, header, CallError::from(ErrorCode::Draining));
        }
        let ticket = Ticket(self.tickets.fetch_add(1, Ordering::Relaxed));
        let patience = self.patience(header.aux);
        let deadline = now.checked_add(patience).unwrap_or(now);
        let reply = if silent {
            None
        } else {
            let upload = header.flags.has(Flags::CONTINUED).then(|| {
                let upload = Upload::new(self.limits.stream_window, view.payload.len());
                match header.flags.has(Flags::ITEMS) {
                    true => upload.of_items(now, patience),
                    false => upload.offered(header.is_offer()),
                }
            });
            match self.admit(header, upload, ticket)? {
                Ok(reply) => Some(reply),
                Err(error) => return self.turn_away(effects, frame, header, error),
            }
        };
        effects.registry.push(RegistryItem::Call(Invoke {
            frame,
            ticket,
            deadline,
            reply,
        }));
        Ok(())
    }

    /// A call or an event goes nowhere: its peer is told, and who watches.
    fn turn_away(&self, effects: &mut Effects, frame: u32, header: &Header, error: CallError) -> Stop {
        let silent = header.kind == Kind::Call && header.flags.has(Flags::NO_REPLY);
        let _ = refuse(effects, header, silent, &error);
        self.note_refused(effects, frame, header, error);
        Ok(())
    }

    /// Who watches is told of it.
    pub(super) fn note_refused(&self, effects: &mut Effects, frame: u32, header: &Header, error: CallError) {
        effects.refused.push(Refused {
            frame,
            batch: None,
            ticket: Ticket(self.tickets.fetch_add(1, Ordering::Relaxed)),
            silent: header.kind == Kind::Call && header.flags.has(Flags::NO_REPLY),
            error,
        });
    }

    /// Opens an entry for a request that wants an answer. An error within: it is to be refused with that.
    fn admit(
        &mut self,
        header: &Header,
        upload: Option<Upload>,
        ticket: Ticket,
    ) -> Result<Result<ReplyTo, CallError>, Closing> {
        let call = CallId(header.id);
        // What gives something back must not fail for want of room: its asker could not even become smaller. Its number is
        // bounded by the read gate, because Registry and TopicHub answer it at once.
        let gives_back = matches!(
            header.kind,
            Kind::Unregister | Kind::Unsubscribe | Kind::Unwatch | Kind::Leave
        );
        if self.open.len() >= self.limits.open_calls && !gives_back {
            let (open, how) = (self.open.len(), raise("open_calls"));
            let text = format!(
                "{open} calls of this connection are open (limits.open_calls); wait for some to end, or {how}"
            );
            return Ok(Err(CallError::new(ErrorCode::TooMany, text)));
        }
        if !gives_back && let Err(over) = self.cover_calls(1, 0) {
            return Ok(Err(over.error()));
        }
        if !self.open.insert(call, ticket, upload) {
            return Err(protocol(&format!("request number {call} is still open")));
        }
        Ok(Ok(ReplyTo::new(self.me.clone(), call, ticket)))
    }

    pub(super) fn request(
        &mut self,
        now: Instant,
        frame: u32,
        view: &FrameView<'_>,
        target: Target,
        effects: &mut Effects,
    ) -> Stop {
        let header = view.header;
        let (Target::Registry(needs) | Target::Hub(needs)) = target;
        let checked = match needs {
            Needs::Name => Key::single(view.key).map(|_| ()),
            Needs::Pair => Key::pair(view.key).map(|_| ()),
            Needs::Nothing => Ok(()),
        };
        if let Err(error) = checked {
            return refuse(
                effects,
                header,
                false,
                &CallError::new(ErrorCode::Invalid, error.to_string()),
            );
        }
        let ticket = Ticket(self.tickets.fetch_add(1, Ordering::Relaxed));
        if header.kind == Kind::List
            && let Err(error) = self.may_list(CallId(header.id), ticket)
        {
            return refuse(effects, header, false, &error);
        }
        let reply = match self.admit(header, None, ticket)? {
            Ok(reply) => reply,
            Err(error) => return refuse(effects, header, false, &error),
        };
        if header.kind == Kind::Wait {
            let deadline = now.checked_add(self.patience(header.aux)).unwrap_or(now);
            self.open.wait_until(CallId(header.id), deadline);
        }
        match target {
            Target::Registry(_) => effects.registry.push(RegistryItem::Request(frame, reply)),
            Target::Hub(_) => effects.hub.push(HubItem::new(frame, Some(reply))),
        }
        Ok(())
    }

    /// A listing costs Registry as much as there are names: a peer that asks for more before it has some holds up all others.
    fn may_list(&mut self, call: CallId, ticket: Ticket) -> Result<(), CallError> {
        let open = &mut self.open;
        let listings = &mut self.rare.get_or_insert_default().listings;
        listings.retain(|(call, ticket)| open.get_mut(*call).is_some_and(|open| open.ticket == *ticket));
        if listings.len() >= LISTINGS_MAX {
            let text = format!("{LISTINGS_MAX} listings of this connection are under way; wait for one");
            return Err(CallError::new(ErrorCode::TooMany, text));
        }
        listings.push((call, ticket));
        Ok(())
    }

    pub(super) fn publish(
        &mut self,
        frame: u32,
        view: &FrameView<'_>,
        known_key: bool,
        effects: &mut Effects,
    ) -> Stop {
        let header = view.header;
        if !self.publish.spend(header.wire_len()) {
            return Err(publish_window_exceeded());
        }
        let (wants_answer, continued) = (header.flags.has(Flags::ACK), header.flags.has(Flags::CONTINUED));
        if continued {
            self.may_begin(header.id)?;
        }
        if !known_key && let Err(error) = Key::pair(view.key) {
            // The bytes were charged; they come back at once.
            self.me.grant(header.wire_len());
            return refuse(
                effects,
                header,
                !wants_answer,
                &CallError::new(ErrorCode::Invalid, error.to_string()),
            );
        }
        if let Some(denied) = self.denied(Right::Publish, view.key, effects) {
            // Told without being asked: that every event is lost must not look as if nobody listened.
            self.me.grant(header.wire_len());
            return self.turn_away(effects, frame, header, denied);
        }
        let reply = if wants_answer {
            let ticket = Ticket(self.tickets.fetch_add(1, Ordering::Relaxed));
            match self.admit(header, None, ticket)? {
                Ok(reply) => Some(reply),
                Err(error) => {
                    self.me.grant(header.wire_len());
                    return self.turn_away(effects, frame, header, error);
                }
            }
        } else {
            None
        };
        if continued {
            self.rare.get_or_insert_default().publishing.insert(header.id);
        }
        effects.hub.push(HubItem::new(frame, reply));
        Ok(())
    }

    /// Takes as many frames from `first` on as are like the publish before them, which has gone to TopicHub: a key and a payload, and
    /// the key the same. What holds for that one holds for them, but for the window. Returns how many.
    pub(super) fn publish_run(
        &mut self,
        batch: &Batch,
        first: usize,
        key: &[u8],
        effects: &mut Effects,
    ) -> usize {
        let guarded = self.is_guarded();
        let Some(run) = effects.hub.last_mut().filter(|_| !guarded) else {
            return 0;
        };
        if run.reply.is_some() || (run.frame as usize).saturating_add(run.count as usize) != first {
            return 0;
        }
        let mut taken = 0_u32;
        for (header, body) in batch.bodies(first) {
            let alike = is_plain_publish(header) && usize::from(header.key_len) == key.len();
            if !alike || !body.starts_with(key) || header.body_len as usize > self.limits.frame_bytes {
                break;
            }
            if !self.publish.is_open() {
                // The next step says so.
                break;
            }
            // It was open.
            let _ = self.publish.spend(header.wire_len());
            taken = taken.saturating_add(1);
        }
        run.count = run.count.saturating_add(taken);
        taken as usize
    }

    fn patience(&self, deadline_ms: u32) -> Duration {
        let ms = match deadline_ms {
            0 => self.limits.default_deadline_ms,
            ms => ms.min(self.limits.max_deadline_ms),
        };
        Duration::from_millis(u64::from(ms))
    }
}

/// A publish of nothing but a key and a payload.
pub(super) fn is_plain_publish(header: &Header) -> bool {
    header.kind == Kind::Publish && header.flags == Flags::NONE && header.attachments == 0
}

#[derive(Clone, Copy)]
pub(super) enum Target {
    Registry(Needs),
    Hub(Needs),
}

#[derive(Clone, Copy)]
pub(super) enum Needs {
    Name,
    Pair,
    Nothing,
}

pub(super) fn refuse(effects: &mut Effects, header: &Header, silent: bool, error: &CallError) -> Stop {
    if !silent {
        effects.send.push(error_frame(header.id, error));
    }
    Ok(())
}
