//! The client for plain threads, without async.
//!
//! Owns one small executor: it parks the calling thread. The work is [`IpcClient`]'s, whose socket lives on the
//! background thread of the library, so nothing here runs on the caller's thread but the encoding and decoding.

use super::builder::ClientBuilder;
use super::event::Event;
use super::handle::IpcClient;
use super::handler::{Handler, SharedObject};
use super::register::Registration;
use super::runtime::is_executor_thread;
use super::subscription;
use crate::error::{CallError, ErrorCode};
use crate::transport::Endpoint;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

thread_local! {
    /// Wakes this thread: made once, because waiting for a message must not allocate.
    static PARKED: Waker = Waker::from(Arc::new(Unpark(thread::current())));
}

/// Runs a future on the calling thread, which sleeps while there is nothing to do.
///
/// # Errors
/// Invalid on a thread that runs an executor: blocking it would stop the tasks that the future may wait for.
pub fn block_on<T>(future: impl Future<Output = T>) -> Result<T, CallError> {
    let forever = || {
        thread::park();
        true
    };
    // It ends with a value only, because it parks for ever.
    drive(future, forever)?.ok_or_else(|| CallError::from(ErrorCode::Internal))
}

/// Polls a future until it is ready or `park`, which is called in between, says that it has been long enough.
fn drive<T>(future: impl Future<Output = T>, park: impl Fn() -> bool) -> Result<Option<T>, CallError> {
    if is_executor_thread() {
        let text = "the blocking client was used on a thread that runs an executor; use IpcClient there";
        return Err(CallError::new(ErrorCode::Invalid, text).ran(false));
    }
    // What a thread drops at its end may wait, too, when its own things are gone already.
    let waker = PARKED
        .try_with(Waker::clone)
        .unwrap_or_else(|_| Waker::from(Arc::new(Unpark(thread::current()))));
    let mut cx = Context::from_waker(&waker);
    futures::pin_mut!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut cx) {
            return Ok(Some(value));
        }
        if !park() {
            return Ok(None);
        }
    }
}

/// A connection to a broker, for plain threads. Cloning shares it. Every method blocks the calling thread and fails
/// with Invalid on one that runs an executor.
#[derive(Clone, Debug)]
pub struct Client {
    inner: IpcClient,
}

impl Client {
    /// Connects as [`IpcClient::connect`] does.
    ///
    /// # Errors
    /// As there, as a CallError with the code NotConnected.
    pub fn connect() -> Result<Self, CallError> {
        block_on(IpcClient::connect())?
            .map(Self::from)
            .map_err(CallError::from)
    }

    /// Connects to one endpoint.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_to(endpoint: Endpoint) -> Result<Self, CallError> {
        block_on(IpcClient::connect_to(endpoint))?
            .map(Self::from)
            .map_err(CallError::from)
    }

    /// Connects with the options of a builder: token, certificates, name and so on.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_with(builder: ClientBuilder) -> Result<Self, CallError> {
        block_on(builder.connect())?
            .map(Self::from)
            .map_err(CallError::from)
    }

    /// Waits up to `timeout` for a broker.
    ///
    /// # Errors
    /// As [`connect`](Self::connect), after `timeout`.
    pub fn connect_wait(timeout: Duration) -> Result<Self, CallError> {
        block_on(IpcClient::connect_wait(timeout))?
            .map(Self::from)
            .map_err(CallError::from)
    }

    /// The asynchronous client of the same connection; its futures can be run with [`block_on`].
    #[must_use]
    pub const fn inner(&self) -> &IpcClient {
        &self.inner
    }

    /// Calls a method and waits for the answer.
    ///
    /// # Errors
    /// As [`Call`](super::Call).
    pub fn call<P: Serialize, R: DeserializeOwned>(
        &self,
        object: &str,
        method: &str,
        params: P,
    ) -> Result<R, CallError> {
        block_on(self.inner.remote_call(object, method, params))?
    }

    /// The sender of what the object of that name serves, as [`IpcClient::protocol`] gives it. Its methods return futures:
    /// [`run`](Self::run) waits for one.
    ///
    /// # Errors
    /// As there.
    #[cfg(feature = "protocol")]
    pub fn protocol<S: crate::protocol::ProtocolSender>(&self, name: &str) -> Result<S, CallError> {
        self.run(self.inner.protocol(name))
    }

    /// Waits for a future of this client's, as the methods of a protocol's sender return them.
    ///
    /// # Errors
    /// The future's own; Invalid on a thread that runs an executor.
    pub fn run<T>(&self, future: impl Future<Output = Result<T, CallError>>) -> Result<T, CallError> {
        block_on(future)?
    }

    /// Publishes a value.
    ///
    /// # Errors
    /// As [`Publish`](super::Publish).
    pub fn publish<T: Serialize + ?Sized>(
        &self,
        object: &str,
        topic: &str,
        value: &T,
    ) -> Result<(), CallError> {
        block_on(self.inner.publish(object, topic, value).into_future())?
    }

    /// Publishes a value and waits until the broker has accepted it. Returns the number of subscribers it was
    /// queued to.
    ///
    /// # Errors
    /// As [`Acknowledged`](super::Acknowledged).
    pub fn publish_acknowledged<T: Serialize + ?Sized>(
        &self,
        object: &str,
        topic: &str,
        value: &T,
    ) -> Result<u32, CallError> {
        block_on(self.inner.publish(object, topic, value).acknowledged())?
    }

    /// Subscribes to a topic.
    ///
    /// # Errors
    /// As [`IpcClient::subscribe`].
    pub fn subscribe(&self, object: &str, topic: &str) -> Result<Subscription, CallError> {
        let inner = block_on(self.inner.subscribe(object, topic).into_future())??;
        Ok(Subscription { inner })
    }

    /// Waits until an object is registered, at most for `timeout`.
    ///
    /// # Errors
    /// As [`IpcClient::wait_for_object_timeout`].
    pub fn wait_for_object(&self, name: &str, timeout: Duration) -> Result<(), CallError> {
        block_on(self.inner.wait_for_object_timeout(name, timeout))?
    }

    /// Registers an object of JSON values. It runs on threads of the library.
    ///
    /// # Errors
    /// As [`IpcClient::register`].
    pub fn register_object(
        &self,
        name: &str,
        object: impl SharedObject + 'static,
    ) -> Result<Registration, CallError> {
        block_on(self.inner.register_object(name, object).into_future())?
    }

    /// Registers an object that sees the whole call. It runs on threads of the library.
    ///
    /// # Errors
    /// As [`IpcClient::register`].
    pub fn register(&self, name: &str, handler: impl Handler) -> Result<Registration, CallError> {
        block_on(self.inner.register(name, handler).into_future())?
    }

    /// Serves what is registered until the connection has ended for good. Returns why it has.
    ///
    /// # Errors
    /// Invalid on a thread that runs an executor.
    pub fn serve(&self) -> Result<CallError, CallError> {
        block_on(self.inner.closed())
    }

    /// Waits until the broker has read everything that was sent.
    ///
    /// # Errors
    /// As [`IpcClient::flush`].
    pub fn flush(&self) -> Result<(), CallError> {
        block_on(self.inner.flush())?
    }

    /// Ends the connection in order.
    ///
    /// # Errors
    /// Invalid on a thread that runs an executor.
    pub fn close(self) -> Result<(), CallError> {
        block_on(self.inner.close())
    }
}

impl From<IpcClient> for Client {
    fn from(inner: IpcClient) -> Self {
        Self { inner }
    }
}

/// The same for at most `timeout`; `None` when it is over first.
pub(crate) fn block_on_for<T>(
    future: impl Future<Output = T>,
    timeout: Duration,
) -> Result<Option<T>, CallError> {
    let until = Instant::now().checked_add(timeout);
    drive(future, || match until {
        None => {
            thread::park();
            true
        }
        Some(until) => {
            let left = until.saturating_duration_since(Instant::now());
            thread::park_timeout(left);
            !left.is_zero()
        }
    })
}

/// The events of a subscription, as an iterator that blocks. It ends when the client is closed.
#[derive(Debug)]
#[must_use = "dropping a subscription ends it"]
pub struct Subscription {
    inner: subscription::Subscription,
}

impl Subscription {
    /// The next event, when one comes within `timeout`.
    ///
    /// # Errors
    /// Invalid on a thread that runs an executor; NotConnected when no event will come any more.
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Event>, CallError> {
        match block_on_for(self.inner.next(), timeout)? {
            Some(None) => Err(CallError::from(ErrorCode::NotConnected)),
            Some(event) => Ok(event),
            None => Ok(None),
        }
    }
}

impl Iterator for Subscription {
    type Item = Event;

    /// The next event. `None` at the end, and on a thread that runs an executor, which must not be blocked.
    fn next(&mut self) -> Option<Event> {
        block_on(self.inner.next()).ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits when it is dropped, as the ends of a bus do.
    struct Waits(std::sync::mpsc::Sender<bool>);

    impl Drop for Waits {
        fn drop(&mut self) {
            let mut polls = 0;
            let twice = std::future::poll_fn(|cx| {
                polls += 1;
                cx.waker().wake_by_ref();
                if polls == 2 {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            });
            self.0.send(block_on(twice).is_ok()).unwrap();
        }
    }

    thread_local! {
        static LAST: std::cell::RefCell<Option<Waits>> = const { std::cell::RefCell::new(None) };
    }

    #[test]
    fn what_a_thread_drops_at_its_end_may_wait() {
        let (tell, told) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            // Things of a thread are dropped in the order in which they were first used, or the other way round: either is tried.
            LAST.with_borrow_mut(|last| *last = Some(Waits(tell.clone())));
            block_on(std::future::ready(())).unwrap();
            Waits(tell)
        });
        drop(thread.join().unwrap());
        assert_eq!(told.iter().collect::<Vec<_>>(), [true, true]);
    }
}
