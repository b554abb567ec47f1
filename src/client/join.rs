//! An endpoint of the label bus on a client's connection: joining, sending, and telling what was taken.
//!
//! Owns the endpoint's side of its windows: a message is added while the window is above zero and its wire length is taken from it;
//! what was taken is told to the broker, which tells the senders. Selectors, types and payloads are the bus library's, which calls this.

use super::after::After;
use super::encoded::Encoded;
use super::handle::{Handle, IpcClient, Lease};
use super::lasting::Fact;
use super::outbox::Outbox;
use super::port::{Port, Taken};
use super::sends::Held;
use super::state::{Direct, Next, Phase, State};
use super::undelivered::{Reason, Undelivered};
use super::waiters::Place;
use crate::error::{CallError, ErrorCode};
use crate::message::bus::TAKES_UNIX_SOCKETS;
use crate::message::frame::HEADER_LEN;
use crate::message::id::MessageId;
use crate::message::{Attachments, Draft, Encoding, Kind};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// What was taken is told at the latest when this part of the window has come together.
const PARTS: usize = 8;

/// An endpoint that has joined. It leaves when this is dropped.
#[derive(Debug)]
pub(crate) struct Joined {
    lease: Lease,
    pub(crate) port: Arc<Port>,
    number: Numbered,
}

/// The number under which an endpoint is told what becomes of its messages. Given back when this is dropped.
#[derive(Debug)]
struct Numbered {
    handle: Arc<Handle>,
    number: u32,
}

impl Drop for Numbered {
    fn drop(&mut self) {
        self.handle.shared.lock().sends.remove_port(self.number);
    }
}

/// Where a message waits that cannot go yet.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    room: Option<Place>,
    window: Option<Place>,
}

impl Waiting {
    /// Whether there is a place to be left.
    pub(crate) const fn is_somewhere(&self) -> bool {
        self.room.is_some() || self.window.is_some()
    }
}

impl IpcClient {
    /// Joins the label bus of this connection's broker; `payload` is that of the Join. Dropping the future gives it up.
    ///
    /// # Errors
    /// The broker's reason for refusing it, or that the client is closed.
    pub(crate) async fn join_bus(&self, payload: &[u8], unix_sockets: bool) -> Result<Joined, CallError> {
        let port = Arc::new(Port::default());
        let number = Numbered {
            number: self.handle.shared.lock().sends.add_port(Arc::clone(&port)),
            handle: Arc::clone(&self.handle),
        };
        let fact = Fact::Endpoint {
            port: Arc::clone(&port),
            joined: false,
        };
        let aux = if unix_sockets { TAKES_UNIX_SOCKETS } else { 0 };
        let (lease, _) = self
            .handle
            .ask(fact, |key| {
                Draft::new(Kind::Join, key)
                    .aux(aux)
                    .payload(Encoding::RAW, payload)
                    .to_vec()
            })
            .await?;
        Ok(Joined { lease, port, number })
    }
}

impl Joined {
    /// The connection.
    pub(crate) fn client(&self) -> IpcClient {
        self.lease.client()
    }

    pub(crate) const fn handle(&self) -> &Arc<Handle> {
        &self.lease.handle
    }

    /// Adds a message, which is a whole Send frame but for its number (see [`super::encoded`]), as soon as the window, the out-buffer and the order allow.
    /// While there is no host it is kept, as far as the out-buffer's limit goes. `confirm`: somebody will ask for its outcome.
    ///
    /// # Errors
    /// TooLarge or Invalid for what can never be sent; else why this endpoint is no longer on the bus.
    pub(crate) fn poll_send(
        &self,
        cx: &Context<'_>,
        waiting: &mut Waiting,
        outgoing: &mut Encoded,
        confirm: bool,
    ) -> Poll<Result<MessageId, CallError>> {
        let Encoded {
            bytes: frame,
            attachments,
        } = outgoing;
        let shared = &self.handle().shared;
        let mut guard = shared.lock();
        let state = &mut *guard;
        if let Err(error) = self.check(state, frame.len(), attachments) {
            return Poll::Ready(Err(error));
        }
        let (id, next) = if state.sends.must_hold() {
            if state.sends.held_bytes() >= shared.options.out_buffer {
                let before = state.sends.waiters.wait(&mut waiting.window, cx.waker());
                state.bury(before);
                return Poll::Pending;
            }
            let frame = std::mem::take(frame);
            let id = state.sends.hold(self.number.number, frame, attachments.clone());
            (id, Next::Nothing)
        } else if !state.sends.may_go() {
            let before = state.sends.waiters.wait(&mut waiting.window, cx.waker());
            state.bury(before);
            return Poll::Pending;
        } else if !state.out.has_room() {
            let before = state.out.room.wait(&mut waiting.room, cx.waker());
            state.bury(before);
            return Poll::Pending;
        } else {
            let idle = state.out.is_idle();
            let id = state.sends.add(self.number.number, frame);
            state.out.take_in(frame, attachments);
            let direct = if confirm { Direct::Now } else { Direct::Unhurried };
            (id, state.after_push(idle, direct))
        };
        if confirm {
            state.sends.confirm(id);
        }
        drop(guard);
        shared.perform(next);
        Poll::Ready(Ok(id))
    }

    fn check(&self, state: &State, length: usize, attachments: &Attachments) -> Result<(), CallError> {
        if let Some(error) = self.port.ended() {
            return Err(error.clone());
        }
        match &state.phase {
            Phase::Closed(error) => return Err(error.clone()),
            Phase::Up(_) | Phase::Down if state.closing.is_some() => {
                return Err(CallError::new(
                    ErrorCode::NotConnected,
                    "this endpoint is leaving the bus",
                ));
            }
            // The limits of the next host are not known; they are those of this library by default.
            Phase::Down => {}
            // Whatever is wrong with them, it is not the size of the message.
            Phase::Up(_) => state.check_attachments(attachments).map_err(|error| CallError {
                code: ErrorCode::Invalid,
                ..error
            })?,
        }
        let limit = state.grants.frame_bytes as usize;
        if length > limit.saturating_add(HEADER_LEN) {
            let text = format!("the message has {length} bytes, the bus takes {limit}; use a memory region");
            return Err(CallError::new(ErrorCode::TooLarge, text).ran(false));
        }
        Ok(())
    }

    /// Leaves the places where a message waits.
    pub(crate) fn leave(&self, waiting: &mut Waiting) {
        let shared = &self.handle().shared;
        shared.leave(&mut waiting.room, |state| &mut state.out.room);
        shared.leave(&mut waiting.window, |state| &mut state.sends.waiters);
    }

    /// What became of a message for which that was to be kept.
    pub(crate) fn poll_outcome(&self, cx: &Context<'_>, id: MessageId) -> Poll<Result<u16, Undelivered>> {
        let mut state = self.handle().shared.lock();
        let State { sends, dead, .. } = &mut *state;
        sends
            .outcome(id, cx.waker(), dead)
            .map_or(Poll::Pending, Poll::Ready)
    }

    /// Nobody asks any more what became of a message: it is reported as that of any other.
    pub(crate) fn forget_outcome(&self, id: MessageId) {
        let mut state = self.handle().shared.lock();
        let State { sends, dead, .. } = &mut *state;
        let undelivered = sends.unconfirm(id, dead);
        drop(state);
        let woken = undelivered.and_then(|undelivered| self.port.reports.add(undelivered));
        woken.into_iter().for_each(Waker::wake);
    }

    /// How many bytes are told as taken at the latest.
    pub(crate) fn part(&self) -> usize {
        let window = self.handle().shared.lock().grants.send_window;
        (window as usize / PARTS).max(1)
    }

    /// Tells the broker how many messages the program has taken.
    pub(crate) fn taken(&self, taken: Taken) {
        let shared = &self.handle().shared;
        let mut state = shared.lock();
        if state.life != taken.life || !state.is_up() {
            return;
        }
        let idle = state.out.is_idle();
        let draft = Draft::new(Kind::Taken, self.lease.key).aux(taken.count);
        state.out.encode(&draft);
        // From here, unless the socket's task is at work: to wake it costs more than the frame does.
        let next = state.after_push(idle, Direct::Now);
        drop(state);
        shared.perform(next);
    }

    /// The program takes nothing any more, and sends all the same: the endpoint has no label from now on.
    pub(crate) fn deafen(&self) {
        self.port.deafen();
        let shared = &self.handle().shared;
        let mut state = shared.lock();
        let entry = state.lasting.get(self.lease.key).map(|entry| &entry.what);
        // Until it is let in, its number belongs to that question; the answer sees to it.
        let next = match entry {
            Some(Fact::Endpoint { joined: true, .. }) => {
                state.control(&Draft::new(Kind::Leave, self.lease.key))
            }
            _ => Next::Nothing,
        };
        drop(state);
        shared.perform(next);
    }
}

impl State {
    /// The broker has let an endpoint in, for the first time or again: what waited for that goes out.
    pub(crate) fn endpoint_joined(&mut self, key: u64, after: &mut After) {
        let Some(Fact::Endpoint { port, joined, .. }) =
            self.lasting.get_mut(key).map(|entry| &mut entry.what)
        else {
            return;
        };
        // The answer to a Leave has the same number.
        if std::mem::replace(joined, true) {
            return;
        }
        if port.is_deaf() {
            // The socket's task is at work and writes when it is through with the batch.
            let _ = self.control(&Draft::new(Kind::Leave, key));
        }
        self.sends.joined = self.sends.joined.saturating_add(1);
        self.send_held(after);
    }

    /// Sends what waits for a connection, as far as the window allows. The socket's task writes it.
    pub(crate) fn send_held(&mut self, after: &mut After) {
        while self.is_up()
            && let Some(mut held) = self.sends.next_held()
        {
            if self.check_attachments(&held.attachments).is_err() {
                self.sends.refuse(held, Reason::Attachments, after);
                continue;
            }
            self.out.take_in(&mut held.frame, &held.attachments);
        }
        if !self.sends.must_hold() {
            self.sends.waiters.drain(&mut after.wakers);
        }
    }

    /// The connection is gone: keeps what was not written of it.
    pub(crate) fn interrupt_sends(&mut self, after: &mut After) {
        let unwritten = unwritten(&self.out);
        self.sends.interrupt(unwritten, after);
    }
}

/// The messages of which the system has no byte.
fn unwritten(out: &Outbox) -> Vec<Held> {
    let mut found = Vec::new();
    out.each_unwritten(|frame, attachments| {
        let is_send = frame.get(4) == Some(&(Kind::Send as u8));
        if is_send {
            let frame = frame.to_vec();
            found.push(Held { frame, attachments });
        }
    });
    found
}
