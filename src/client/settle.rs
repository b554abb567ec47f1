//! The broker's answers to what lasts: registrations, subscriptions, waits, watches, the will.
//!
//! Owns what each answer means: for whoever waits for the first one, for a restoration that counts them, and for a
//! name that is refused because our own lost connection still holds it. Called by [`super::inbound`] under the lock.

use super::after::After;
use super::lasting::{Fact, Standing};
use super::presence::Notice;
use super::state::State;
use crate::error::{CallError, ErrorCode};
use crate::message::frame::FrameView;
use std::time::{Duration, Instant};

/// How long to wait before a name that our own lost connection may still hold is asked for again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// The broker has answered for something lasting.
pub(crate) fn settle(state: &mut State, id: u64, result: Result<u32, CallError>, after: &mut After) {
    let now = Instant::now();
    let give_up = state.lasting.answered(id).filter(|_| result.is_ok());
    // Behind a goodbye nothing is asked for, and all is given up.
    if state.is_up() {
        give_up.into_iter().for_each(|give_up| {
            state.out.push(&[&give_up]);
        });
        let max_deadline = state.grants.max_deadline_ms;
        state.lasting.pump(&mut state.out, now, max_deadline);
    }
    let Some(entry) = state.lasting.get_mut(id) else {
        return;
    };
    if matches!(entry.what, Fact::Endpoint { .. }) {
        return endpoint(state, id, result, after);
    }
    if let Fact::Wait { until } = entry.what {
        let leaving = result
            .as_ref()
            .is_err_and(|error| error.code == ErrorCode::Draining);
        if leaving {
            // The next broker is asked again; without one, the end of the connection ends the wait.
            return;
        }
        let late = result
            .as_ref()
            .is_err_and(|error| error.code == ErrorCode::Deadline);
        if late && until.is_none_or(|until| until > now) {
            return state.ask_lasting(id, now);
        }
        return tell_first(state, id, result, true, after);
    }
    let taken = result
        .as_ref()
        .is_err_and(|error| error.code == ErrorCode::NameTaken);
    if taken && entry.first.is_none() && entry.retries > 0 {
        entry.retries = entry.retries.saturating_sub(1);
        entry.retry_at = Some(now + RETRY_PAUSE);
        // The tick sees to it.
        state.coarse_now();
        return;
    }
    if let Fact::Object { standing, .. } = &entry.what {
        let now = match &result {
            Ok(1) => Ok(Standing::Queued),
            Ok(_) => Ok(Standing::Owner),
            Err(error) => Err(error.clone()),
        };
        after.standing(standing, now);
    }
    if let (Fact::Subscription(queue), Ok(_)) = (&entry.what, &result) {
        queue.stands(&mut after.wakers);
    }
    if entry.first.is_some() {
        let failed = result.is_err();
        return tell_first(state, id, result, failed, after);
    }
    if let Err(error) = &result
        && !entry.restoring
    {
        return revoked(state, id, error, after);
    }
    state.lasting.note_restored(id, result.map(|_| ()));
}

/// The broker has let an endpoint in, or not. One that is leaving does not decide that: the next host is asked.
fn endpoint(state: &mut State, id: u64, result: Result<u32, CallError>, after: &mut After) {
    if result.is_ok() {
        state.endpoint_joined(id, after);
    }
    let Some(entry) = state.lasting.get(id) else {
        return;
    };
    let refused = result
        .as_ref()
        .err()
        .filter(|error| error.code != ErrorCode::Draining);
    if entry.first.is_some() {
        let failed = result.is_err();
        return tell_first(state, id, result, failed, after);
    }
    if let (Fact::Endpoint { port, .. }, Some(error)) = (&entry.what, refused) {
        // No other host is asked. What is still held is told as lost, and who waits to send is woken; then the program is told.
        state.sends.close(after);
        port.end(error.clone(), &mut after.wakers);
    }
    let refused = refused.is_some();
    state.lasting.note_restored(id, result.map(|_| ()));
    if refused {
        state.lasting.forget(id);
    }
}

/// The broker has ended what it had granted: its policy has changed.
fn revoked(state: &mut State, id: u64, error: &CallError, after: &mut After) {
    match state.lasting.get(id).map(|entry| &entry.what) {
        Some(Fact::Subscription(queue)) => queue.end(error.to_string(), &mut after.wakers),
        Some(Fact::Watch(queue)) => after.no_more(queue),
        Some(Fact::Object { .. } | Fact::Wait { .. } | Fact::Will | Fact::Endpoint { .. }) | None => return,
    }
    tracing::warn!(reason = %error, "the broker has ended a subscription or watch");
    state.lasting.forget(id);
}

fn tell_first(state: &mut State, id: u64, result: Result<u32, CallError>, remove: bool, after: &mut After) {
    let first = match remove {
        true => state.lasting.forget(id).and_then(|entry| entry.first),
        false => state.lasting.get_mut(id).and_then(|entry| entry.first.take()),
    };
    if let Some(first) = first {
        after.answer(first, result);
    }
}

/// A registration has become its name's owner, or was replaced.
pub(crate) fn ownership(state: &State, id: u64, aux: u32, after: &mut After) {
    let Some(Fact::Object { standing, name }) = state.lasting.get(id).map(|entry| &entry.what) else {
        return;
    };
    let now = match aux {
        0 => Err(CallError::new(
            ErrorCode::NotRegistered,
            format!("another connection has replaced {name}, or the broker's policy has changed"),
        )),
        _ => Ok(Standing::Owner),
    };
    if let Err(error) = &now {
        after.replaced(name, error.to_string());
    }
    after.standing(standing, now);
}

/// A change that a watch tells.
pub(crate) fn notice(state: &State, view: &FrameView<'_>, after: &mut After) {
    let Some(Fact::Watch(queue)) = state.lasting.get(view.header.id).map(|entry| &entry.what) else {
        return;
    };
    let name = String::from_utf8_lossy(view.key).into_owned();
    if let Some(notice) = Notice::new(view.header.aux, name, view.origin.unwrap_or_default()) {
        after.notice(queue, notice);
    }
}
