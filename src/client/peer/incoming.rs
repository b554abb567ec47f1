//! What another program may send, and what it has sent without being given an answer.
//!
//! Owns the checks of frames that a broker would make, and the window of calls without an answer. Called by the engine for each frame
//! that comes; what it refuses ends the connection.

use super::{Met, Role};
use crate::client::inbound::Ended;
use crate::client::serving::OpenCall;
use crate::client::shared::Shared;
use crate::error::{CallError, CloseReason, ErrorCode};
use crate::message::frame::FrameView;
use crate::message::meet::crosses;
use crate::message::{Draft, Encoding, Flags, Header, Kind, Terms, key, metadata};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The window of the calls without an answer that come in on one connection.
#[derive(Debug, Default)]
pub(crate) struct OneWay {
    account: Mutex<Account>,
    /// Calls with an answer that may be open.
    open_calls: AtomicUsize,
    /// New calls are refused: this end is about to leave.
    draining: AtomicBool,
}

/// What belongs to one connection: under one lock, as a call of the connection before may end while this one begins.
#[derive(Debug, Default)]
struct Account {
    /// Which connection it is.
    life: u64,
    window: u64,
    /// What the other end may send more, in bytes on the wire.
    left: i64,
    /// What was handled and is not given back yet.
    owed: u64,
}

impl OneWay {
    fn lock(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection begins.
    pub(crate) fn begin(&self, life: u64, terms: Terms) {
        let window = terms.call_window;
        self.open_calls
            .store(terms.open_calls as usize, Ordering::Relaxed);
        *self.lock() = Account {
            life,
            window: u64::from(window),
            left: i64::from(window),
            owed: 0,
        };
    }

    /// A call has come; whether the window allowed it.
    fn charge(&self, bytes: u32) -> bool {
        let mut account = self.lock();
        let allowed = account.left > 0;
        account.left = account.left.saturating_sub(i64::from(bytes));
        allowed
    }

    /// A call has ended: what is to be given back now, if it is worth a frame.
    fn pay(&self, life: u64, bytes: u32) -> Option<u32> {
        let mut account = self.lock();
        if account.life != life {
            return None;
        }
        account.owed = account.owed.saturating_add(u64::from(bytes));
        if account.owed < account.window.div_ceil(2) {
            return None;
        }
        let owed = u32::try_from(std::mem::take(&mut account.owed)).unwrap_or(u32::MAX);
        account.left = account.left.saturating_add(i64::from(owed));
        Some(owed).filter(|owed| *owed > 0)
    }

    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

/// Why a frame of this kind ends the connection, when that is to another program.
#[inline]
pub(crate) fn refused(role: Role, header: &Header) -> Option<Ended> {
    match role {
        Role::Broker => None,
        Role::Peer => refused_of_peer(header),
    }
}

fn refused_of_peer(header: &Header) -> Option<Ended> {
    let what = match crosses(header.kind) {
        true if header.flags.has(Flags::ORIGIN) => " with an origin, which is for brokers",
        true if header.is_region() => " with a region, which goes through brokers only",
        true => return None,
        false if header.kind == Kind::Meet => " again, which is for the beginning of a connection",
        false => ", which is for brokers",
    };
    let text = format!("the peer sent a {} frame{what}", header.kind.name());
    Some(Ended::new(CloseReason::Protocol, text))
}

/// What a call is, before its object is looked up.
pub(crate) enum Checked {
    /// It is charged so many bytes of the window.
    Admitted(u32),
    /// Its caller is told.
    Refused(CallError),
    Ended(Ended),
}

/// What no call can be at once.
const fn contradiction(flags: Flags) -> Option<&'static str> {
    let alone = !flags.has(Flags::CONTINUED) && !flags.has(Flags::STREAM) && !flags.has(Flags::ITEMS);
    if flags.has(Flags::NO_REPLY) && !alone {
        return Some("the peer sent a call without an answer in pieces, with items, or for a stream");
    }
    if flags.has(Flags::ITEMS) && !flags.has(Flags::CONTINUED) {
        return Some("the peer sent a call with items that does not go on; ITEMS goes with CONTINUED");
    }
    None
}

/// Checks a call of another program.
pub(crate) fn check(shared: &Shared, view: &FrameView<'_>) -> Checked {
    let Header { id, flags, .. } = *view.header;
    let ended = |reason, text: String| Checked::Ended(Ended::new(reason, text));
    if !view.meta.is_empty()
        && let Err(error) = metadata::check_from_peer(view.meta)
    {
        return ended(CloseReason::Protocol, format!("the peer sent metadata: {error}"));
    }
    if id == 0 {
        // Credit for no call in particular has this number.
        return ended(CloseReason::Protocol, "the peer sent a call 0".to_owned());
    }
    if let Some(text) = contradiction(flags) {
        return ended(CloseReason::Protocol, text.to_owned());
    }
    let (open, answered) = {
        let table = shared.serving.lock();
        let open = table.open.contains_key(&id) || table.partial.contains_key(&id);
        (open, table.answered().saturating_add(table.partial.len()))
    };
    if open {
        let text = format!("the peer sent a call {id}, which is open already");
        return ended(CloseReason::Protocol, text);
    }
    let charge = if flags.has(Flags::NO_REPLY) {
        let bytes = u32::try_from(view.header.wire_len()).unwrap_or(u32::MAX);
        if !shared.serving.oneway.charge(bytes) {
            let text = "the peer sent more calls without an answer than their window allows; wait for CallCredit with id 0";
            return ended(CloseReason::Window, text.to_owned());
        }
        bytes
    } else {
        let open_calls = shared.serving.oneway.open_calls.load(Ordering::Relaxed);
        if answered >= open_calls {
            let text = format!("the peer sent more than {open_calls} calls that are not answered");
            return ended(CloseReason::Window, text);
        }
        0
    };
    if charge == 0 && shared.serving.oneway.is_draining() {
        let text = "this program is about to leave and takes no more calls";
        return Checked::Refused(CallError::new(ErrorCode::Draining, text).ran(false));
    }
    Checked::Admitted(charge)
}

/// Takes the descriptors of a call of another program into its account.
///
/// # Errors
/// They are more than this end keeps.
pub(crate) fn charge_descriptors(shared: &Shared, open: &OpenCall, header: &Header) -> Result<(), CallError> {
    let more = u32::from(header.attachments);
    if more == 0 {
        return Ok(());
    }
    let limit = shared
        .options
        .peer
        .as_ref()
        .map_or(u32::MAX, |offer| offer.descriptors);
    let held = shared.serving.lock().descriptors();
    if held.saturating_add(more) > limit {
        let text = format!(
            "calls of one connection have at most {limit} descriptors together, and {held} are in use"
        );
        return Err(CallError::new(ErrorCode::TooMany, text).ran(false));
    }
    open.descriptors.store(more, Ordering::Relaxed);
    Ok(())
}

/// What a call ends with whose object is not served here.
pub(crate) fn missing(shared: &Shared, view: &FrameView<'_>) -> Option<CallError> {
    let offer = shared.options.peer.as_ref()?;
    let (object, _) = key::split(view.key);
    let id = match view.header.encoding {
        Encoding::PROTOCOL => view
            .payload
            .first_chunk::<8>()
            .map_or(0, |id| u64::from_le_bytes(*id)),
        _ => 0,
    };
    let name = String::from_utf8_lossy(object);
    let served = Arc::clone(&shared.serving.lock().serves);
    let error = (offer.missing)(id, &name, &served, "this program");
    if view.header.flags.has(Flags::NO_REPLY) {
        // Nobody is told, but here.
        tracing::debug!(%error, "a call without an answer was not taken");
    }
    Some(error)
}

impl Shared {
    /// A call without an answer of that connection has ended: its bytes may be sent again.
    pub(crate) fn pay(&self, life: u64, bytes: u32) {
        if bytes == 0 {
            return;
        }
        if let Some(owed) = self.serving.oneway.pay(life, bytes) {
            let mut state = self.lock();
            if state.life == life {
                let next = state.control(&Draft::new(Kind::CallCredit, 0).aux(owed));
                drop(state);
                self.perform(next);
            }
        }
    }

    /// The same for the call itself, once.
    pub(crate) fn pay_for(&self, open: &OpenCall) {
        self.pay(open.life, open.take_charge());
    }
}

/// The other end takes more calls without an answer.
pub(crate) fn credited(left: i64, window: i64, more: u32) -> Result<i64, Ended> {
    let left = left.saturating_add(i64::from(more));
    if left > window {
        let text = "the peer gave back more of the window of calls than was taken";
        return Err(Ended::new(CloseReason::Window, text));
    }
    Ok(left)
}

/// What the other end of a call is called in its context.
pub(crate) fn declared(met: Option<&Arc<Met>>) -> Option<String> {
    met.map(|met| &met.meet.name)
        .filter(|name| !name.is_empty())
        .cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_given_back_in_steps_of_half() {
        let oneway = OneWay::default();
        let terms = Terms {
            call_window: 100,
            ..Terms::default()
        };
        oneway.begin(1, terms);
        assert!(oneway.charge(60) && oneway.charge(60), "the last may exceed it");
        assert!(!oneway.charge(1), "it is used up");
        oneway.begin(2, terms);
        assert!(oneway.charge(90));
        assert_eq!(oneway.pay(1, 90), None, "of the connection before");
        assert_eq!(oneway.pay(2, 49), None);
        assert_eq!(oneway.pay(2, 1), Some(50));
        assert_eq!(oneway.pay(2, 40), None);
        assert!(oneway.charge(10));
        assert_eq!(oneway.pay(2, 10), Some(50));
    }

    #[test]
    fn what_ends_while_the_next_connection_begins_is_paid_for_on_its_own() {
        let terms = Terms {
            call_window: 100,
            ..Terms::default()
        };
        let oneway = OneWay::default();
        for life in 1..=500 {
            oneway.begin(life, terms);
            assert!(oneway.charge(100));
            let together = std::sync::Barrier::new(2);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    together.wait();
                    // Until the next one begins something may be given back.
                    (0..10).filter_map(|_| oneway.pay(life, 10)).count()
                });
                together.wait();
                oneway.begin(life + 1, terms);
            });
            // Nothing is owed on the new one, and its window is whole: the last call may exceed it.
            assert_eq!(oneway.pay(life + 1, 49), None, "life {life}");
            assert!(oneway.charge(99) && oneway.charge(1) && !oneway.charge(1));
        }
    }

    #[test]
    fn no_call_contradicts_itself() {
        let (no_reply, more) = (Flags::NO_REPLY, Flags::CONTINUED);
        let table = [
            (Flags::NONE, true),
            (no_reply, true),
            (more, true),
            (Flags::STREAM, true),
            (Flags::ITEMS.with(more), true),
            (Flags::ITEMS.with(more).with(Flags::STREAM), true),
            (no_reply.with(more), false),
            (no_reply.with(Flags::STREAM), false),
            (no_reply.with(Flags::ITEMS), false),
            (no_reply.with(Flags::ITEMS).with(more), false),
            (Flags::ITEMS, false),
        ];
        for (flags, allowed) in table {
            assert_eq!(contradiction(flags).is_none(), allowed, "{flags:?}");
        }
    }

    #[test]
    fn more_than_was_taken_is_not_given_back() {
        assert_eq!(credited(10, 100, 90).unwrap(), 100);
        assert_eq!(credited(-20, 100, 60).unwrap(), 40);
        assert_eq!(credited(10, 100, 91).unwrap_err().reason, CloseReason::Window);
    }
    #[test]
    fn a_frame_for_brokers_and_a_second_meet_are_told_apart() {
        let said = |kind| {
            let frame = Draft::new(kind, 1).to_vec();
            let batch = crate::message::Decoder::new(4096).decode(&frame).unwrap();
            refused(Role::Peer, batch.header(0).unwrap()).map(|ended| ended.text)
        };
        let publish = "the peer sent a Publish frame, which is for brokers";
        assert_eq!(said(Kind::Publish).as_deref(), Some(publish));
        let meet = "the peer sent a Meet frame again, which is for the beginning of a connection";
        assert_eq!(said(Kind::Meet).as_deref(), Some(meet));
        assert_eq!(said(Kind::Ping), None);
    }
}
