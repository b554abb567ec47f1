//! Where things run: the socket's actor, and the handlers of a program.
//!
//! Owns the one background System of the process, which runs sockets only, and the small pool that runs handlers for
//! programs without a run-time of their own. Both start when they are first needed and live as long as the process.

use actix::{Arbiter, ArbiterHandle};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread::{self, ThreadId};
use std::time::Duration;
use tokio::runtime::RuntimeFlavor;

/// Threads that run the handlers and callbacks of plain threads.
const POOL_THREADS: usize = 2;

static BACKGROUND: Mutex<Option<ArbiterHandle>> = Mutex::new(None);
static POOL: Mutex<Vec<tokio::runtime::Handle>> = Mutex::new(Vec::new());
static NEXT_OF_POOL: AtomicUsize = AtomicUsize::new(0);

/// A future that can be spawned anywhere.
pub(crate) type Task = Pin<Box<dyn Future<Output = ()> + Send + 'static>>;

/// Runs `start` on the arbiter that is to carry a socket: the current one inside an actix System, otherwise that of
/// the background System.
///
/// # Errors
/// When the background thread could not be started, or the arbiter has stopped.
pub(crate) fn on_socket_arbiter(start: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let arbiter = match current_arbiter() {
        Some(current) => current,
        None => background()?,
    };
    if arbiter.spawn_fn(start) {
        return Ok(());
    }
    Err(io::Error::other(
        "the actix arbiter that was to carry the socket has stopped",
    ))
}

/// The arbiter that runs the calling task. A thread still names the one it had when its System has ended.
fn current_arbiter() -> Option<ArbiterHandle> {
    tokio::runtime::Handle::try_current().ok()?;
    Arbiter::try_current().filter(|arbiter| arbiter.spawn_fn(|| ()))
}

fn background() -> io::Result<ArbiterHandle> {
    let mut slot = BACKGROUND.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(arbiter) = slot.as_ref().filter(|arbiter| arbiter.spawn_fn(|| ())) {
        return Ok(arbiter.clone());
    }
    let (ready, started) = mpsc::sync_channel(1);
    thread::Builder::new()
        .name("actix-ipc sockets".into())
        .spawn(move || {
            let system = actix::System::new();
            let told = ready.send(actix::System::current().arbiter().clone());
            let ended = if told.is_ok() { system.run() } else { Ok(()) };
            if let Err(error) = ended {
                tracing::error!(%error, "the thread that carries the sockets of actix-ipc has ended");
            }
        })?;
    let arbiter = started
        .recv()
        .map_err(|_| io::Error::other("the thread that was to carry the socket did not start"))?;
    Ok(slot.insert(arbiter).clone())
}

/// Where the handlers and callbacks of one registration or subscription run: where it was made.
#[derive(Clone, Debug)]
pub(crate) enum Home {
    /// On this thread, which is an arbiter's; the socket may be there too.
    Arbiter(ThreadId, ArbiterHandle),
    /// On a tokio run-time.
    Tokio(tokio::runtime::Handle),
}

impl Home {
    /// The run-time of the calling thread, or the pool for plain threads.
    ///
    /// # Errors
    /// When a thread of the pool could not be started.
    pub(crate) fn current() -> io::Result<Self> {
        if let Some(arbiter) = current_arbiter() {
            return Ok(Self::Arbiter(thread::current().id(), arbiter));
        }
        if let Ok(handle) = tokio::runtime::Handle::try_current() {
            return Ok(Self::Tokio(handle));
        }
        pool().map(Self::Tokio)
    }

    /// Whether tasks of this home run on that thread, so that one may be polled there at once.
    pub(crate) fn is_on(&self, thread: ThreadId) -> bool {
        matches!(self, Self::Arbiter(own, _) if *own == thread)
    }

    /// Whether its tasks run one at a time, so that polling one here delays no other that could run meanwhile.
    pub(crate) fn is_single_threaded(&self) -> bool {
        match self {
            Self::Arbiter(..) => true,
            Self::Tokio(handle) => handle.runtime_flavor() == RuntimeFlavor::CurrentThread,
        }
    }

    /// Runs a task; to be called from a task of this home.
    pub(crate) fn spawn_here(&self, task: Task) {
        match self {
            Self::Arbiter(..) => {
                actix_rt::spawn(task);
            }
            Self::Tokio(handle) => {
                handle.spawn(task);
            }
        }
    }

    /// Runs a task. A task for a run-time that has ended is dropped.
    pub(crate) fn spawn(&self, task: Task) {
        match self {
            Self::Arbiter(_, arbiter) => {
                arbiter.spawn(task);
            }
            Self::Tokio(handle) => {
                handle.spawn(task);
            }
        }
    }
}

fn pool() -> io::Result<tokio::runtime::Handle> {
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    if pool.len() < POOL_THREADS {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        thread::Builder::new()
            .name("actix-ipc handlers".into())
            .spawn(move || runtime.block_on(std::future::pending::<()>()))?;
        pool.push(handle);
    }
    let index = NEXT_OF_POOL.fetch_add(1, Ordering::Relaxed);
    pool.get(index % pool.len().max(1))
        .cloned()
        .ok_or_else(|| io::Error::other("the pool of handlers is empty"))
}

/// Ready after `duration`, on any executor. At once when no thread can keep the time.
pub(crate) async fn sleep(duration: Duration) {
    let (mut done, over) = tokio::sync::oneshot::channel::<()>();
    let started = on_socket_arbiter(move || {
        actix_rt::spawn(async move {
            // Who no longer waits needs no timer.
            let _ = tokio::time::timeout(duration, done.closed()).await;
        });
    });
    if started.is_ok() {
        let _ = over.await;
    }
}

/// What `future` ends with, if that comes before the time is over; without a time, whenever it comes.
pub(crate) async fn at_most<F: Future>(time: Option<Duration>, future: F) -> Option<F::Output> {
    use futures::future::{Either, select};
    let Some(time) = time else {
        return Some(future.await);
    };
    futures::pin_mut!(future);
    let over = sleep(time);
    futures::pin_mut!(over);
    match select(future, over).await {
        Either::Left((value, _)) => Some(value),
        Either::Right(_) => None,
    }
}

/// Whether the calling thread runs an executor, so that blocking it would stop tasks. An actix System has a tokio
/// run-time too.
pub(crate) fn is_executor_thread() -> bool {
    tokio::runtime::Handle::try_current().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_threads_have_a_home_and_a_socket_arbiter() {
        assert!(!is_executor_thread());
        let (done, wait) = mpsc::channel();
        let here = thread::current().id();
        let tell = done.clone();
        on_socket_arbiter(move || tell.send(thread::current().id()).unwrap()).unwrap();
        let sockets = wait.recv().unwrap();
        Home::current().unwrap().spawn(Box::pin(
            async move { done.send(thread::current().id()).unwrap() },
        ));
        let handlers = wait.recv().unwrap();
        assert!(
            here != sockets && here != handlers && sockets != handlers,
            "handlers never run with the sockets"
        );
    }

    #[actix::test]
    async fn inside_a_system_everything_stays_there() {
        assert!(is_executor_thread());
        let here = thread::current().id();
        let (done, wait) = tokio::sync::oneshot::channel();
        on_socket_arbiter(move || done.send(thread::current().id()).unwrap()).unwrap();
        assert_eq!(wait.await.unwrap(), here);
        assert!(Home::current().unwrap().is_on(here));
    }
}
