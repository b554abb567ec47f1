//! The same commands for the clients of a broker: their calls wait until the loop polls.
//!
//! Owns the queue between the client library's handler and the loop; it knows no socket. The path of a call: broker → client library → queue →
//! [`LazyObject::handle_new_messages`] → [`IpcServerCommand::process`] → the handler's answer → broker → caller.

use super::IpcServerCommand;
use super::budget::{Budget, Left};
use super::method::{self, Mismatch};
use crate::client::{
    CallContext, Handler, HandlerError, IncomingCall, IpcClient, Registration, Response, Standing,
};
use crate::error::{CallError, ErrorCode};
use crate::message::{Encoding, Payload};
use async_trait::async_trait;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// Calls that may wait for the loop, unless [`ObjectLimits`] say otherwise.
pub const WAITING_MAX: usize = 4_096;
/// Bytes of parameters that may wait for the loop, together, unless [`ObjectLimits`] say otherwise.
pub const WAITING_BYTES: usize = 256 * 1024 * 1024;

/// What may wait for the loop. Calls beyond it are refused with `Overloaded`; they did not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectLimits {
    /// Calls: [`WAITING_MAX`], as many as a loop of sixty rounds a second gets to in a moment. Fewer where callers should rather be told early.
    pub calls: usize,
    /// Bytes of their parameters, together: [`WAITING_BYTES`], as much as a lazy server's connections hold. One call may be larger.
    pub bytes: usize,
}

impl Default for ObjectLimits {
    fn default() -> Self {
        Self {
            calls: WAITING_MAX,
            bytes: WAITING_BYTES,
        }
    }
}

type Answer = Result<Response, HandlerError>;

struct Waiting<C> {
    command: C,
    context: CallContext,
    bytes: usize,
    answer: oneshot::Sender<Answer>,
}

struct Queue<C> {
    calls: VecDeque<Waiting<C>>,
    bytes: usize,
    closed: bool,
    /// The loop was woken and has not come since.
    told: bool,
}

impl<C> Queue<C> {
    /// Calls whose callers do not wait any more keep no place from those who do. They are the program's, so they are dropped when the lock
    /// is given back.
    #[must_use]
    fn without_those_given_up(&mut self) -> Vec<Waiting<C>> {
        let (gone, calls): (Vec<_>, Vec<_>) = std::mem::take(&mut self.calls)
            .into_iter()
            .partition(|call| call.answer.is_closed());
        self.calls = calls.into();
        self.bytes = self.calls.iter().map(|call| call.bytes).sum();
        gone
    }
}

struct Shared<C> {
    queue: Mutex<Queue<C>>,
    wake: Box<dyn Fn() + Send + Sync>,
    limits: ObjectLimits,
}

impl<C> Shared<C> {
    fn lock(&self) -> std::sync::MutexGuard<'_, Queue<C>> {
        // Nothing that can panic runs under the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Doorkeeper<C>(Arc<Shared<C>>);

/// Registers `name` at the broker of `client`, to be served by polls of this program's own loop. `rob call NAME METHOD …` works on it.
///
/// Parameters in JSON: the method names the variant of the command (`add_user`, `AddUser` and `add-user` are the same), the
/// parameters are its fields. In postcard: the parameters are the whole command, whatever the method is. The response has the encoding of the call.
///
/// Its future may be dropped: the name is given up then, and calls that came are refused, as when the object is dropped.
///
/// # Errors
/// As [`IpcClient::register`]: the name is taken, not allowed, or there is no broker.
pub async fn serve_lazily<C>(client: &IpcClient, name: &str) -> Result<LazyObject<C>, CallError>
where
    C: IpcServerCommand + Send + 'static,
{
    serve_lazily_with(client, name, || {}).await
}

/// Like [`serve_lazily`], for loops that sleep: `wake` runs once for all the calls that begin to wait until the loop polls: on the client's
/// thread when the first of them comes, whether or not a poll is going on; and on the loop's own thread at the end of a poll that leaves
/// calls waiting, be it for its budget or for a panic. So a loop that polls once for each wake leaves no call behind. It must not block, panic or poll.
///
/// # Errors
/// As there.
pub async fn serve_lazily_with<C>(
    client: &IpcClient,
    name: &str,
    wake: impl Fn() + Send + Sync + 'static,
) -> Result<LazyObject<C>, CallError>
where
    C: IpcServerCommand + Send + 'static,
{
    serve_lazily_within(client, name, ObjectLimits::default(), wake).await
}

/// Like [`serve_lazily_with`], with other limits.
///
/// # Errors
/// As there.
pub async fn serve_lazily_within<C>(
    client: &IpcClient,
    name: &str,
    limits: ObjectLimits,
    wake: impl Fn() + Send + Sync + 'static,
) -> Result<LazyObject<C>, CallError>
where
    C: IpcServerCommand + Send + 'static,
{
    let shared = Arc::new(Shared {
        queue: Mutex::new(Queue {
            calls: VecDeque::new(),
            bytes: 0,
            closed: false,
            told: false,
        }),
        wake: Box::new(wake),
        limits,
    });
    // What waits here is a call that runs, as the client library counts; one more comes to be refused.
    let registration = client
        .register(name, Doorkeeper(Arc::clone(&shared)))
        .concurrency(limits.calls.saturating_add(1))
        .await?;
    Ok(LazyObject { shared, registration })
}

/// An object at a broker whose calls wait for this program's loop. Dropping it gives the name up and refuses the calls that wait.
pub struct LazyObject<C> {
    shared: Arc<Shared<C>>,
    registration: Registration,
}

impl<C> fmt::Debug for LazyObject<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LazyObject")
            .field("name", &self.registration.name())
            .field("waiting", &self.shared.lock().calls.len())
            .finish_non_exhaustive()
    }
}

impl<C> Drop for LazyObject<C> {
    fn drop(&mut self) {
        let mut queue = self.shared.lock();
        queue.closed = true;
        let calls = std::mem::take(&mut queue.calls);
        drop(queue);
        for call in calls {
            let _ = call.answer.send(Err(given_up()));
        }
    }
}

impl<C: IpcServerCommand> LazyObject<C> {
    /// Handles the calls that waited when it was called, in their order, and returns how many. Calls whose caller has given up are left
    /// out. No system call when nothing waits; never waits itself.
    pub fn handle_new_messages(&self, context: C::Context<'_>) -> usize {
        self.handle_within(context, Budget::default())
    }

    /// Like [`handle_new_messages`](Self::handle_new_messages), but no more than `budget` allows.
    pub fn handle_within(&self, mut context: C::Context<'_>, budget: Budget) -> usize {
        let mut left = Left::of(budget);
        let mut handled = 0;
        let waiting = {
            let mut queue = self.shared.lock();
            queue.told = false;
            queue.calls.len()
        };
        let _again = Again(&self.shared);
        for _ in 0..waiting {
            if !left.has_some(handled > 0) {
                break;
            }
            let Some(call) = self.next() else { break };
            if call.answer.is_closed() {
                continue;
            }
            left.take();
            handled += 1;
            // If this panics, the sender is dropped, and the caller is told.
            let response = call.command.process(&mut context);
            let _ = call.answer.send(call.context.reply(&response));
        }
        handled
    }

    fn next(&self) -> Option<Waiting<C>> {
        let mut queue = self.shared.lock();
        let call = queue.calls.pop_front()?;
        queue.bytes = queue.bytes.saturating_sub(call.bytes);
        Some(call)
    }

    /// Calls that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.lock().calls.len()
    }

    /// The name's state at the broker, see [`Registration::standing`].
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.registration.standing()
    }
}

/// Wakes the loop again if a poll, however it ends, leaves calls for which nobody was told.
struct Again<'a, C>(&'a Shared<C>);

impl<C> Drop for Again<'_, C> {
    fn drop(&mut self) {
        let wake = {
            let mut queue = self.0.lock();
            !queue.calls.is_empty() && !std::mem::replace(&mut queue.told, true)
        };
        if wake {
            (self.0.wake)();
        }
    }
}

fn given_up() -> HandlerError {
    HandlerError {
        code: ErrorCode::NoSuchObject,
        ..HandlerError::new("the object was given up before its program's loop came to the call")
    }
}

fn panicked() -> HandlerError {
    HandlerError {
        code: ErrorCode::HandlerPanicked,
        ..HandlerError::new("the command panicked; it may have done a part of its work")
    }
}

fn overloaded(what: &str) -> HandlerError {
    HandlerError {
        code: ErrorCode::Overloaded,
        ..HandlerError::new(format!(
            "{what}; the program's loop does not come to them: try again later"
        ))
    }
}

fn command_of<C: IpcServerCommand>(call: &IncomingCall) -> Result<C, HandlerError> {
    let Payload { encoding, bytes } = &call.payload;
    if *encoding != Encoding::JSON {
        return call.args();
    }
    let parameters = if bytes.is_empty() {
        serde_json::Value::Null
    } else {
        call.args()?
    };
    method::command(&call.context.method, parameters).map_err(|mismatch| match mismatch {
        Mismatch::NoSuchMethod(text) => HandlerError {
            code: ErrorCode::NoSuchMethod,
            ..HandlerError::new(text)
        },
        Mismatch::Parameters(text) => HandlerError {
            code: ErrorCode::Invalid,
            ..HandlerError::new(text)
        },
    })
}

#[async_trait]
impl<C: IpcServerCommand + Send + 'static> Handler for Doorkeeper<C> {
    async fn handle(&self, call: IncomingCall) -> Answer {
        let command = command_of::<C>(&call)?;
        let bytes = call.payload.bytes.len();
        let (answer, answered) = oneshot::channel();
        let wake = {
            // Before the lock: what is in it, and the command, are dropped when that is given back.
            let mut _gone = Vec::new();
            let mut queue = self.0.lock();
            if queue.closed {
                return Err(given_up());
            }
            let limits = self.0.limits;
            if queue.calls.len() >= limits.calls || queue.bytes.saturating_add(bytes) > limits.bytes {
                _gone = queue.without_those_given_up();
            }
            if queue.calls.len() >= limits.calls {
                return Err(overloaded(&format!("{} calls wait already", limits.calls)));
            }
            if queue.bytes > 0 && queue.bytes.saturating_add(bytes) > limits.bytes {
                return Err(overloaded(&format!(
                    "{} bytes of calls wait already",
                    queue.bytes
                )));
            }
            queue.bytes = queue.bytes.saturating_add(bytes);
            queue.calls.push_back(Waiting {
                command,
                context: call.context,
                bytes,
                answer,
            });
            !std::mem::replace(&mut queue.told, true)
        };
        if wake {
            (self.0.wake)();
        }
        answered.await.unwrap_or_else(|_| Err(panicked()))
    }
}
