//! Requests other than calls: each has exactly one answer of the right kind, and Waits keep their deadline.
//!
//! Owns the table of what is asked and the rules `one-answer`, `answer-kind`, `unasked`, `deadline`, `late`, `internal`. What an answer
//! means is the matter of names, watches and events, which get each answered request.

use crate::run::{Found, Moment, Run, step};
use crate::{Core, Frame};
use actix_ipc::message::{Flags, Kind};
use std::collections::{HashMap, VecDeque};

/// A request that has arrived.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) frame: Frame,
    pub(crate) asked: Moment,
    /// The client took it back.
    cancelled: bool,
}

/// The rules' state.
#[derive(Debug, Default)]
pub(crate) struct Asks {
    /// Oldest first: the end of a watch or subscription may be asked under its number before its own answer was read.
    open: HashMap<(u32, u64), VecDeque<Ask>>,
}

impl Asks {
    /// Whether a request of this number waits for its answer.
    pub(crate) fn is_open(&self, client: u32, id: u64) -> bool {
        self.open.get(&(client, id)).is_some_and(|asks| !asks.is_empty())
    }

    /// A frame that arrived. `true`: it uses a number whose answer its client has not read, which may be a breach.
    pub(crate) fn arrived(&mut self, client: u32, frame: &Frame, now: Moment) -> bool {
        match frame.kind {
            Kind::Register
            | Kind::Unregister
            | Kind::Wait
            | Kind::Watch
            | Kind::Unwatch
            | Kind::List
            | Kind::Describe
            | Kind::Subscribe
            | Kind::Unsubscribe
            | Kind::Will => {}
            Kind::Publish if frame.has(Flags::ACK) => {}
            Kind::Cancel => {
                for ask in self.open.get_mut(&(client, frame.id)).into_iter().flatten() {
                    ask.cancelled = true;
                }
                return false;
            }
            Kind::PublishPiece if frame.has(Flags::ABORT) => {
                for ask in self.open.get_mut(&(client, frame.id)).into_iter().flatten() {
                    ask.cancelled = true;
                }
                return false;
            }
            _ => return false,
        }
        let ask = Ask {
            frame: frame.clone(),
            asked: now,
            cancelled: false,
        };
        let asks = self.open.entry((client, frame.id)).or_default();
        asks.push_back(ask);
        asks.len() > 1
    }

    /// A frame that the client read. An answer closes its request, which is returned.
    pub(crate) fn received(
        &mut self,
        run: &Run,
        client: u32,
        frame: &Frame,
        now: Moment,
        found: &mut Found,
    ) -> Option<Ask> {
        let wanted = |ask: &Ask| match ask.frame.kind {
            Kind::List | Kind::Describe => Kind::Reply,
            Kind::Publish => Kind::Accepted,
            _ => Kind::Done,
        };
        if !matches!(
            frame.kind,
            Kind::Done | Kind::Accepted | Kind::Error | Kind::Reply
        ) {
            return None;
        }
        let asks = self.open.get_mut(&(client, frame.id));
        let Some(ask) = asks.and_then(VecDeque::pop_front) else {
            let text = format!("{:?} {} answers nothing that is open", frame.kind, frame.id);
            found.add("unasked", client, now.at, text);
            return None;
        };
        if frame.kind != Kind::Error && frame.kind != wanted(&ask) {
            let text = format!(
                "{:?} {} is answered by {:?}",
                ask.frame.kind, frame.id, frame.kind
            );
            found.add("answer-kind", client, now.at, text);
        }
        if frame.kind == Kind::Error {
            error(run, client, &ask, frame, now, found);
        }
        Some(ask)
    }

    /// At the end of a drained run nothing is open.
    pub(crate) fn finish(&self, run: &Run, drained: bool, found: &mut Found) {
        let mut open: Vec<_> = self.open.iter().collect();
        open.sort_by_key(|(key, _)| **key);
        let each = open
            .into_iter()
            .flat_map(|(key, asks)| asks.iter().map(move |ask| (key, ask)));
        for ((client, id), ask) in each {
            let before_goodbye = run.client(*client).is_some_and(|client| {
                let until = client.goodbye.into_iter().chain(client.half_closed).min();
                until.is_none_or(|until| ask.asked.at <= until)
            });
            if drained && run.is_owed(*client) && before_goodbye {
                let text = format!(
                    "{:?} {id} of step {} was never answered",
                    ask.frame.kind,
                    step(ask.asked.at)
                );
                found.add("one-answer", *client, u64::MAX, text);
            }
        }
    }
}

/// Whether the broker may answer this request so, now.
fn error(run: &Run, client: u32, ask: &Ask, frame: &Frame, now: Moment, found: &mut Found) {
    let core = match ask.frame.kind {
        Kind::Subscribe | Kind::Unsubscribe | Kind::Publish | Kind::Will => Core::TopicHub,
        _ => Core::Registry,
    };
    if frame.aux == 16 && !run.panicked(core, client, ask.asked.at) {
        let text = format!(
            "{:?} {} failed with Internal, and no core panicked for it",
            ask.frame.kind, frame.id
        );
        found.add("internal", client, now.at, text);
    }
    let due = ask.asked.ms.saturating_add(run.patience(ask.frame.aux));
    if frame.aux == 7 {
        if ask.frame.kind != Kind::Wait {
            let text = format!(
                "{:?} {} has no deadline, and ended with one",
                ask.frame.kind, frame.id
            );
            return found.add("deadline", client, now.at, text);
        }
        if now.ms < due {
            let text = format!(
                "Wait {} ended at {} ms, its deadline is {due} ms",
                frame.id, now.ms
            );
            found.add("deadline", client, now.at, text);
        }
    }
    let gone = run.client(client).is_some_and(|client| !client.lives());
    if frame.aux == 6 && !ask.cancelled && !gone {
        let text = format!("{:?} {} was cancelled by nobody", ask.frame.kind, frame.id);
        found.add("cancelled", client, now.at, text);
    }
    if let Some(calm) = run.calm
        && ask.frame.kind == Kind::Wait
        && now.ms > due.max(calm.ms).saturating_add(run.setup.slack_ms)
    {
        let text = format!(
            "Wait {} ended at {} ms, its deadline is {due} ms",
            frame.id, now.ms
        );
        found.add("late", client, now.at, text);
    }
}
