//! The turns in a connection's life: made, lost, restored, closed, and the tick that ends what the broker has forgotten.
//!
//! Owns what each turn means for everything that is open. Called by the socket's task only.

use super::after::After;
use super::builder::SharedMemory;
use super::connection_events::ConnectionEvent;
use super::inbound::Ended;
use super::lasting::{Fact, Standing};
use super::link::Link;
use super::peer::Role;
use super::presence::Notice;
use super::shared::Shared;
use super::state::{GRACE, Next, Phase, Ring, State};
use crate::error::{CallError, CloseReason, ErrorCode};
use crate::message::{Draft, Epoch, Kind};
use crate::text;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the broker may take to answer a goodbye.
const LINGER: Duration = Duration::from_secs(2);

/// The outcome of a restoration.
#[derive(Debug)]
pub(crate) struct Report {
    epoch: Epoch,
    same_broker: bool,
    restored: usize,
    lost: Vec<(String, CallError)>,
}

impl State {
    /// The report of a restoration whose last answer has come, once.
    pub(crate) fn take_report(&mut self) -> Option<Report> {
        let outcome = self.lasting.take_restoration()?;
        let before = self.epoch_before?;
        let epoch = self.grants.epoch;
        Some(Report {
            epoch,
            same_broker: before == epoch,
            restored: outcome.restored,
            lost: outcome.lost,
        })
    }

    fn up(&mut self, link: &Link, rings: bool, call_window: i64, after: &mut After) {
        self.epoch_before = (self.life > 0).then_some(self.grants.epoch);
        self.life = self.life.wrapping_add(1);
        self.out.clear(&mut after.dead);
        self.grants = link.welcome;
        self.peer = link.peer;
        self.met.clone_from(&link.met);
        (self.call_window, self.call_window_all) = (call_window, call_window);
        self.publish_window = i64::from(link.welcome.publish_window);
        self.phase = Phase::Up(Arc::clone(&link.stream));
        let granted = rings && link.welcome.ring_bytes > 0 && link.stream.has_rings();
        self.ring = if granted { Ring::Granted } else { Ring::Done };
        self.void_publishes.clear();
        let again = self.life > 1;
        self.sends.up(link.welcome.send_window, again, Instant::now());
        self.lasting.limit(link.welcome.open_calls);
        self.lasting.restore();
        self.lasting
            .pump(&mut self.out, Instant::now(), self.grants.max_deadline_ms);
    }

    fn fail_requests(&mut self, reason: &str, after: &mut After) {
        let written = self.out.written();
        for (_, request) in self.requests.iter_mut() {
            let error = CallError::new(
                ErrorCode::BrokerGone,
                format!("the connection to {} ended: {reason}", self.role.other()),
            );
            request.finish(Err(error.ran(request.end <= written)), &mut after.dead);
            after.wakers.extend(request.waker.take());
        }
    }

    fn interrupt_lasting(&mut self, after: &mut After) {
        self.lasting.interrupt();
        for (_, entry) in self.lasting.iter_mut() {
            entry.restoring = false;
            entry.retry_at = None;
            match &mut entry.what {
                Fact::Subscription(queue) => queue.interrupt(&mut after.dead),
                Fact::Watch(queue) => after.notice(queue, Notice::Interrupted),
                Fact::Object { standing, .. } => {
                    if matches!(*standing.borrow(), Ok(Standing::Owner | Standing::Queued)) {
                        after.standing(standing, Ok(Standing::Asked));
                    }
                }
                Fact::Endpoint { joined, .. } => *joined = false,
                Fact::Wait { .. } | Fact::Will => {}
            }
        }
    }

    fn close_lasting(&mut self, error: &CallError, after: &mut After) {
        for (_, entry) in self.lasting.iter_mut() {
            if let Some(first) = entry.first.take() {
                after.answer(first, Err(error.clone()));
            }
            match &entry.what {
                Fact::Subscription(queue) => queue.close(&mut after.wakers),
                Fact::Watch(queue) => after.no_more(queue),
                Fact::Object { standing, .. } => {
                    after.standing(standing, Err(error.clone()));
                }
                Fact::Endpoint { port, .. } => port.end(error.clone(), &mut after.wakers),
                Fact::Wait { .. } | Fact::Will => {}
            }
        }
        self.closed.drain(&mut after.wakers);
    }

    /// Ends requests whose time is over although the broker did not say so. Returns when the first of the others is over.
    fn expire(&mut self, now: Instant, after: &mut After) -> Option<Instant> {
        let mut cancelled = Vec::new();
        let mut first: Option<Instant> = None;
        for (key, request) in self.requests.iter_mut() {
            if request.is_answered() || request.has_items() {
                continue;
            }
            if request.expires > now {
                first = Some(first.map_or(request.expires, |first| first.min(request.expires)));
                continue;
            }
            let text = match self.role {
                Role::Broker => {
                    "the deadline passed, and the broker did not answer either; it may be stopped"
                }
                Role::Peer => "the deadline passed before the peer answered",
            };
            request.finish(Err(CallError::new(ErrorCode::Deadline, text)), &mut after.dead);
            after.wakers.extend(request.waker.take());
            if request.cancellable {
                cancelled.push(key);
            }
        }
        for key in cancelled {
            let _ = self.control(&Draft::new(Kind::Cancel, key));
        }
        first
    }

    /// Looks after lasting things that wait for a moment. Returns whether any is left.
    fn tend_lasting(&mut self, now: Instant, after: &mut After) -> bool {
        let mut left = false;
        let mut late = Vec::new();
        let up = matches!(self.phase, Phase::Up(_));
        // Without a connection no answer can still be on its way.
        let grace = if up { GRACE } else { Duration::ZERO };
        let mut again = Vec::new();
        for (key, entry) in self.lasting.iter_mut() {
            if entry.retry_at.is_some_and(|at| at <= now) && up {
                entry.retry_at = None;
                again.push(key);
            }
            if let Fact::Wait { until: Some(until) } = entry.what {
                left = true;
                if until + grace <= now {
                    late.push(key);
                }
            }
            left |= entry.retry_at.is_some();
        }
        for key in again {
            self.ask_lasting(key, now);
        }
        for key in late {
            if let Some(first) = self.lasting.forget(key).and_then(|entry| entry.first) {
                after.answer(first, Err(CallError::from(ErrorCode::Deadline)));
            }
        }
        left
    }
}

impl Shared {
    /// A connection is there: everything lasting is asked for again, in its order, and as much of it as may be asked at once before
    /// anything new; the rest goes as answers come.
    pub(crate) fn connected(&self, link: &Link) {
        let mut after = After::default();
        let mut state = self.lock();
        let sharing = self.options.shared_memory;
        let terms = self.options.peer.as_ref().zip(link.met.as_ref());
        let terms = terms.map(|(own, met)| own.meet.terms.common(met.meet.terms));
        let call_window = terms.map_or(0, |terms| i64::from(terms.call_window));
        state.up(link, sharing != SharedMemory::Never, call_window, &mut after);
        if let Some(terms) = terms {
            self.serving.oneway.begin(state.life, terms);
            self.serving.lock().met.clone_from(&link.met);
        }
        if sharing == SharedMemory::AtOnce {
            state.ask_for_ring();
        }
        let mut next = Next::Nothing;
        if let Some(since) = state.closing.take() {
            // It was closed while there was no connection: the goodbye is still owed.
            next = state.begin_close();
            state.closing = Some(since);
        }
        state.ticking = true;
        state.drain_waiters(&mut after.wakers);
        let report = state.take_report();
        drop(state);
        after.perform();
        self.perform(next);
        if let Some(report) = report {
            self.report(report);
        }
    }

    /// The connection is gone. Returns whether to make another.
    pub(crate) fn disconnected(&self, ended: &Ended) -> bool {
        let mut after = After::default();
        let mut state = self.lock();
        let again = self.options.reconnect && state.closing.is_none();
        state.fail_requests(&ended.text, &mut after);
        state.interrupt_sends(&mut after);
        state.out.clear(&mut after.dead);
        state.phase = Phase::Down;
        state.met = None;
        state.io_active = false;
        // Whoever asked for the end need not be told that it came, but for the end itself.
        let orderly = state.closing.is_some();
        if !orderly {
            state.interrupt_lasting(&mut after);
        }
        state.drain_waiters(&mut after.wakers);
        let expected = orderly || ended.reason == CloseReason::Finished;
        drop(state);
        after.perform();
        // Who asked for the end has had its time for what was sent to it.
        match self.options.role().is_peer() && ended.is_parting() && !orderly {
            true => self.serving.abort_answered(),
            false => self.serving.abort_all(),
        }
        if !expected {
            let reason = text::text(&ended.text);
            match self.options.role() {
                Role::Broker => tracing::warn!(%reason, "the connection to the broker ended"),
                Role::Peer => tracing::info!(%reason, "the connection to another program ended"),
            }
        }
        if !orderly {
            self.watchers.tell(&ConnectionEvent::Lost {
                reason: ended.text.clone(),
            });
        }
        again
    }

    /// There will be no connection any more.
    pub(crate) fn closed(&self, reason: &str) {
        let mut after = After::default();
        let mut state = self.lock();
        if matches!(state.phase, Phase::Closed(_)) {
            return;
        }
        let error = CallError::new(ErrorCode::NotConnected, reason);
        state.fail_requests(reason, &mut after);
        state.interrupt_sends(&mut after);
        state.sends.close(&mut after);
        state.out.clear(&mut after.dead);
        state.phase = Phase::Closed(error.clone());
        state.close_lasting(&error, &mut after);
        state.drain_waiters(&mut after.wakers);
        drop(state);
        after.perform();
        self.serving.abort_all();
        self.watchers.tell(&ConnectionEvent::Closed {
            reason: reason.to_owned(),
        });
    }

    /// Tells, once per reconnection, what came back.
    pub(crate) fn report(&self, report: Report) {
        let Report {
            epoch,
            same_broker,
            restored,
            lost,
        } = report;
        for (what, error) in &lost {
            let what = text::text(what);
            tracing::warn!(%what, %error, "not restored after the reconnection");
        }
        let to = self.options.role().other();
        tracing::info!(%epoch, same_broker, restored, lost = lost.len(), "connected to {to} again");
        self.watchers.tell(&ConnectionEvent::Reconnected {
            epoch,
            same_broker,
            restored,
            lost,
        });
    }

    /// Looks through everything that has a time limit.
    ///
    /// # Errors
    /// The connection is to be given up.
    pub(crate) fn tick(&self, now: Instant, after: &mut After) -> Result<(), Ended> {
        let mut state = self.lock();
        state.now = now;
        if state
            .closing
            .is_some_and(|since| now.duration_since(since) > LINGER)
        {
            return Err(Ended::new(
                CloseReason::Finished,
                format!("{} did not answer the goodbye", state.role.other()),
            ));
        }
        let first = state.expire(now, after);
        let left = state.tend_lasting(now, after);
        let open = state.tend_room(now, after) || !state.requests.is_empty();
        state.tick = state.next_tick(first, now);
        state.ticking = left || state.closing.is_some() || open;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::request::Request;
    use crate::client::state::TICK;

    const LONG: Duration = Duration::from_secs(30);

    /// A request with this deadline, as a caller makes it.
    fn open(state: &mut State, patience: Duration) -> u64 {
        let (expires, patience, _) = state.expiry(Some(patience));
        let request = Request::new(expires, patience, 0);
        state.requests.insert(request).unwrap()
    }

    fn tick(state: &mut State, now: Instant) -> Duration {
        let mut after = After::default();
        let first = state.expire(now, &mut after);
        state.next_tick(first, now)
    }

    #[test]
    fn between_programs_the_next_tick_is_when_the_first_deadline_is_over() {
        let now = Instant::now();
        let mut state = State::new(100, Role::Peer, now);
        open(&mut state, LONG);
        assert_eq!(state.tick, TICK, "long deadlines are kept to a tick");
        let short = Duration::from_millis(40);
        let quick = open(&mut state, short);
        assert_eq!(state.tick, short);
        let at = now + Duration::from_millis(10);
        let next = tick(&mut state, at);
        assert!(next >= Duration::from_millis(30) && next < TICK, "{next:?}");
        // What is over once is over, and the long one alone needs no exact time.
        assert_eq!(tick(&mut state, now + TICK), TICK);
        let ended = state.requests.get_mut(quick).unwrap().answer.take();
        assert_eq!(ended.unwrap().unwrap_err().code, ErrorCode::Deadline);
        // The last moments are not counted more finely than they can be kept.
        let mut state = State::new(100, Role::Peer, now);
        open(&mut state, Duration::ZERO);
        assert!(state.tick > Duration::ZERO && state.tick < short);
    }

    #[test]
    fn a_request_that_goes_on_has_its_whole_patience_again_however_old_the_clock_is() {
        for patience in [40, 300, 30_000].map(Duration::from_millis) {
            let old = Instant::now() - TICK / 2;
            let mut state = State::new(100, Role::Peer, old);
            state.ticking = true;
            let key = open(&mut state, patience);
            let (again, now) = (state.again(), Instant::now());
            let request = state.requests.get_mut(key).unwrap();
            request.go_on(again);
            assert!(request.expires >= now + patience, "{patience:?}");
        }
    }

    #[test]
    fn a_stream_whose_last_item_was_taken_in_time_is_not_late() {
        let now = Instant::now();
        let mut state = State::new(100, Role::Peer, now);
        let key = open(&mut state, LONG);
        let request = state.requests.get_mut(key).unwrap();
        request.items = Some(Box::default());
        request.items.as_mut().unwrap().complete = true;
        tick(&mut state, now + 2 * LONG);
        assert!(state.requests.get_mut(key).unwrap().answer.is_none());
    }

    #[test]
    fn a_broker_keeps_the_time_of_its_clients() {
        let now = Instant::now();
        let mut state = State::new(100, Role::Broker, now);
        open(&mut state, Duration::from_millis(1));
        assert_eq!(tick(&mut state, now), TICK);
    }
}
