//! The thread that looks after one bus for all endpoints of this process.
//!
//! Owns the lock, the watches and, while this process hosts, the broker; it performs what [`Election`] decides and tells it what came of it.
//! It begins with the first endpoint and ends with the last. Called by [`super::attach`].

use super::election::{Election, Input, LOOK_AGAIN, Lock, Step};
use super::place::Place;
use super::watched::Watched;
use super::{AttachError, Host, Hosting, hosted};
use crate::actors::{BrokerHandle, EndReason};
use crate::client::ClientHook;
use crate::platform::record_lock::{Holder, RecordLock};
use crate::platform::watch::{Changes, is_stopped};
use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};

/// How often a host is looked at that cannot be watched: the system has no watches left, or has none.
const UNWATCHED: Duration = Duration::from_millis(500);
/// The pause before a look that follows another one at once.
const BREATH: Duration = Duration::from_millis(1);

/// One endpoint.
#[derive(Debug)]
pub(super) struct Interest {
    pub(super) id: u64,
    pub(super) may_host: bool,
    /// In a box: it is large, and most endpoints never need it.
    pub(super) hosting: Box<Hosting>,
}

/// Whom an endpoint that waits for a host is told by.
type Reply = oneshot::Sender<Result<(), AttachError>>;

/// What endpoints ask for.
#[derive(Debug)]
pub(super) enum Ask {
    /// To be told, at the latest at the time given, that somebody hosts.
    Join(Interest, Option<Instant>, Reply),
    /// To be forgotten; to be told when it is done.
    Leave(u64, Option<oneshot::Sender<()>>),
    /// That the lock is looked at again.
    LookAgain,
    /// That this client is told of new hosts.
    LookAfter(ClientHook),
}

struct Waiting {
    id: u64,
    until: Option<Instant>,
    reply: Reply,
}

/// See the module's documentation.
pub(super) struct Keeper {
    place: Place,
    label: Vec<u8>,
    lock: RecordLock,
    election: Election,
    asks: mpsc::UnboundedReceiver<Ask>,
    host: watch::Sender<Host>,
    interests: Vec<Interest>,
    waiting: Vec<Waiting>,
    /// Who wants to know of the end, when this is the end of all.
    leaving: Vec<oneshot::Sender<()>>,
    changes: Option<Changes>,
    /// The file cannot be watched, or is not to be.
    unwatched: bool,
    watched: Watched,
    pause: Option<Instant>,
    broker: Option<BrokerHandle>,
    /// Brokers that were told to stop.
    stopping: Vec<tokio::task::JoinHandle<EndReason>>,
    /// Why this process does not host although it tried.
    trouble: Option<String>,
    /// The stopped host that was reported.
    reported: Option<u32>,
    over: bool,
    /// How often it has looked although it was told nothing.
    #[cfg(test)]
    looks: Option<std::sync::Arc<std::sync::atomic::AtomicU32>>,
}

/// What the loop woke up for.
enum Event {
    Asked(Option<Ask>),
    Learned(Input),
    Died(u32),
    BrokerEnded(EndReason),
    Time,
}

impl Keeper {
    pub(super) const fn new(
        place: Place,
        label: Vec<u8>,
        lock: RecordLock,
        asks: mpsc::UnboundedReceiver<Ask>,
        host: watch::Sender<Host>,
    ) -> Self {
        Self {
            place,
            label,
            lock,
            election: Election::new(),
            asks,
            host,
            interests: Vec::new(),
            waiting: Vec::new(),
            leaving: Vec::new(),
            changes: None,
            unwatched: false,
            watched: Watched::new(),
            pause: None,
            broker: None,
            stopping: Vec::new(),
            trouble: None,
            reported: None,
            over: false,
            #[cfg(test)]
            looks: None,
        }
    }

    /// As on a system that has no watches left.
    #[cfg(test)]
    pub(super) fn without_watch(mut self, looks: &std::sync::Arc<std::sync::atomic::AtomicU32>) -> Self {
        self.unwatched = true;
        self.looks = Some(looks.clone());
        self
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// There is none to be had.
    pub(super) fn start(self) -> io::Result<()> {
        std::thread::Builder::new()
            .name("actix-ipc bus".into())
            .spawn(move || actix::System::new().block_on(self.run()))
            .map(|_| ())
    }

    async fn run(mut self) {
        self.watch_file();
        while !self.over {
            match self.event().await {
                Event::Asked(Some(ask)) => self.asked(ask),
                // Every endpoint says that it leaves, so this is one that could not.
                Event::Asked(None) => self.wanted(),
                Event::Learned(input) => self.learn(input),
                Event::Died(pid) => self.died(pid),
                Event::BrokerEnded(reason) => self.broker_ended(&reason),
                Event::Time => self.time(),
            }
            self.answer();
        }
        // Who has asked meanwhile asks the next thread, which waits for the lock.
        self.asks.close();
        while self.asks.try_recv().is_ok() {}
        for stopping in self.stopping.drain(..) {
            // A broker that has failed meanwhile has ended as well.
            let _ = stopping.await;
        }
        // The lock's file is closed before anybody is told.
        let leaving = std::mem::take(&mut self.leaving);
        drop(self);
        for leaving in leaving {
            let _ = leaving.send(());
        }
    }

    async fn event(&mut self) -> Event {
        let (changes, broker) = (&self.changes, &self.broker);
        let next = self.next_time();
        let died = self.watched.next_end();
        let changed = async {
            match changes {
                Some(changes) => changes.wait().await,
                None => pending().await,
            }
        };
        let ended = async {
            match broker {
                Some(broker) => broker.ended().await,
                None => pending().await,
            }
        };
        let time = async {
            match next {
                Some(next) => tokio::time::sleep_until(next.into()).await,
                None => pending().await,
            }
        };
        tokio::select! {
            // What endpoints say first: it may be about what follows.
            biased;
            ask = self.asks.recv() => Event::Asked(ask),
            pid = died => Event::Died(pid),
            () = changed => Event::Learned(Input::Changed),
            reason = ended => Event::BrokerEnded(reason),
            () = time => Event::Time,
        }
    }

    /// When there is something to do although nothing happens.
    fn next_time(&self) -> Option<Instant> {
        let stopped = self.reported.filter(|_| !self.waiting.is_empty());
        let again = stopped.and_then(|_| Instant::now().checked_add(LOOK_AGAIN));
        let deadlines = self.waiting.iter().filter_map(|waiting| waiting.until);
        deadlines.chain(self.pause).chain(again).min()
    }

    fn time(&mut self) {
        // It is over, whatever comes of it: a new one begins only where there is reason for it.
        if self.pause.take_if(|pause| *pause <= Instant::now()).is_some() {
            #[cfg(test)]
            if let Some(looks) = &self.looks {
                looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
            // A host that is not told of changes looks whether its lock is the one that others find.
            self.learn(match self.broker {
                Some(_) => Input::Changed,
                None => Input::PauseOver,
            });
        }
    }

    fn asked(&mut self, ask: Ask) {
        match ask {
            Ask::Join(interest, until, reply) => {
                self.waiting.push(Waiting {
                    id: interest.id,
                    until,
                    reply,
                });
                self.interests.push(interest);
                self.wanted();
            }
            Ask::Leave(id, done) => {
                self.waiting.retain(|waiting| waiting.id != id);
                self.interests.retain(|interest| interest.id != id);
                match done {
                    Some(done) if self.interests.is_empty() => self.leaving.push(done),
                    // The others go on; for this one there is nothing to wait for.
                    Some(done) => drop(done.send(())),
                    None => {}
                }
                self.wanted();
            }
            Ask::LookAgain => self.learn(Input::Changed),
            Ask::LookAfter(client) => self.watched.look_after(client),
        }
    }

    /// A process has ended that hosts the bus, or did.
    fn died(&mut self, pid: u32) {
        if self.watched.died(pid) {
            self.learn(Input::HolderDied);
        }
    }

    fn wanted(&mut self) {
        if self.asks.is_closed() && self.asks.is_empty() {
            self.interests.clear();
        }
        let candidates = self.interests.iter().filter(|interest| interest.may_host);
        let wanted = Input::Wanted {
            endpoints: self.interests.len(),
            candidates: candidates.count(),
        };
        self.learn(wanted);
    }

    /// Decides, and performs what was decided until nothing more comes of it.
    fn learn(&mut self, input: Input) {
        if input == Input::Changed && self.broker.is_some() && !self.lock.is_there() {
            // Somebody has removed the lock's file: the next one makes another, and may host as well.
            tracing::warn!(path = %self.lock.path().display(), "the lock of a bus was removed; hosting it ends");
            return self.broker_ended(&EndReason::Failed("the lock file was removed"));
        }
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            // What decides nothing leaves the next look where it was.
            let pause = self.pause.take();
            let steps = self.election.on(input);
            if steps.is_empty() && input != Input::PauseOver {
                self.pause = pause;
            }
            for step in steps {
                inputs.extend(self.perform(step));
            }
        }
        if self.changes.is_none() && self.pause.is_none() {
            self.pause = Instant::now().checked_add(UNWATCHED);
        }
    }

    fn perform(&mut self, step: Step) -> Option<Input> {
        match step {
            Step::TryLock => return Some(Input::Lock(self.look(RecordLock::take, Lock::Taken))),
            Step::LookAtLock => return Some(Input::Lock(self.look(RecordLock::holder, Lock::Free))),
            Step::Start => return Some(self.start_broker()),
            Step::Stop => {
                self.give_up();
                return Some(Input::Stopped);
            }
            Step::Release => self.give_up(),
            Step::Watch(pid) => self.follow(pid),
            Step::LookAfter(pause) => self.pause = Instant::now().checked_add(pause),
            Step::TellHere => self.tell(Host::Here),
            Step::TellElsewhere(pid) => self.tell(Host::Elsewhere { pid }),
            Step::TellNobody => self.tell(Host::Nobody),
            Step::End => self.over = true,
        }
        None
    }

    /// Asks about the lock; `nobody` is what it means that nobody else has it.
    fn look(&mut self, ask: fn(&RecordLock) -> io::Result<Holder>, nobody: Lock) -> Lock {
        let mut asked = ask(&self.lock);
        if asked
            .as_ref()
            .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        {
            asked = self.open_again().and_then(|()| ask(&self.lock));
        }
        match asked {
            Ok(Holder::Nobody) => nobody,
            Ok(Holder::Here) => Lock::Ending,
            Ok(Holder::Process(pid)) => Lock::Held(pid),
            Err(error) => {
                self.trouble = Some(format!("its lock cannot be used: {error}"));
                Lock::Failed
            }
        }
    }

    /// The file was removed: there is a new one, or there will be.
    fn open_again(&mut self) -> io::Result<()> {
        self.lock = RecordLock::open(&self.place.lock)?;
        self.watch_file();
        Ok(())
    }

    fn watch_file(&mut self) {
        if self.unwatched {
            return;
        }
        self.changes = match Changes::of(self.lock.path()) {
            Ok(changes) => Some(changes),
            Err(error) => {
                tracing::debug!(%error, "the lock of a bus cannot be watched; looking at it from time to time");
                None
            }
        };
    }

    fn start_broker(&mut self) -> Input {
        let hosting = self.interests.iter().find(|interest| interest.may_host);
        let hosting = hosting
            .map(|interest| (*interest.hosting).clone())
            .unwrap_or_default();
        let labelled = self.lock.set_label(&self.label);
        let started = labelled
            .map_err(|error| format!("its lock cannot be written: {error}"))
            .and_then(|()| hosted::start(&self.place, &hosting));
        match started {
            Ok(broker) => {
                tracing::info!(endpoint = %self.place.endpoint, "hosting a bus");
                self.broker = Some(broker);
                self.trouble = None;
                self.touch();
                Input::Started
            }
            Err(reason) => {
                tracing::warn!(%reason, endpoint = %self.place.endpoint, "this process cannot host a bus");
                self.trouble = Some(reason);
                Input::Failed
            }
        }
    }

    fn broker_ended(&mut self, reason: &EndReason) {
        tracing::error!(%reason, endpoint = %self.place.endpoint, "the hosting of a bus has ended");
        self.trouble = Some(format!("hosting it ended: {reason}"));
        self.learn(Input::Failed);
    }

    /// The path and the lock first, so that the endpoints that are told to go find the next host.
    fn give_up(&mut self) {
        if self.lock.is_there() {
            hosted::leave_path(&self.place);
        }
        if let Err(error) = self.lock.release() {
            tracing::error!(%error, "the lock of a bus cannot be given back before this process ends");
        }
        self.touch();
        if let Some(broker) = self.broker.take() {
            self.stopping
                .push(actix_rt::spawn(async move { broker.stop().await }));
        }
    }

    /// Tells the other processes that something has changed.
    fn touch(&self) {
        if let Err(error) = self.lock.touch() {
            tracing::debug!(%error, "the lock of a bus cannot be touched; others notice later");
        }
    }

    fn follow(&mut self, pid: u32) {
        let pause = match self.watched.follow(pid) {
            // The number may be another process's by now, unless that one has the lock.
            Ok(true)
                if self
                    .lock
                    .holder()
                    .is_ok_and(|holder| holder == Holder::Process(Some(pid))) =>
            {
                return;
            }
            Ok(_) => {
                self.watched.unfollow();
                BREATH
            }
            Err(error) => {
                tracing::debug!(%error, pid, "the host of a bus cannot be watched; looking at its lock from time to time");
                LOOK_AGAIN
            }
        };
        self.pause = Instant::now().checked_add(pause);
    }

    fn tell(&mut self, host: Host) {
        if !matches!(host, Host::Elsewhere { .. }) {
            self.watched.unfollow();
        }
        self.host.send_if_modified(|now| {
            let modified = *now != host;
            *now = host;
            modified
        });
        if host != Host::Nobody {
            self.watched.try_now();
        }
    }

    /// Answers the endpoints that wait, as far as there is an answer.
    fn answer(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let host = *self.host.borrow();
        let stopped = match host {
            Host::Elsewhere { pid } => pid.filter(|pid| is_stopped(*pid)),
            Host::Nobody | Host::Here | Host::Forked => None,
        };
        if let Some(pid) = stopped.filter(|_| self.reported != stopped) {
            tracing::warn!(pid, "the process that hosts the bus has been stopped");
        }
        self.reported = stopped;
        let there = host != Host::Nobody && stopped.is_none();
        let now = Instant::now();
        let waiting = std::mem::take(&mut self.waiting);
        for waiting in waiting {
            let late = waiting.until.is_some_and(|until| until <= now);
            let answer = match (there, late, stopped) {
                (true, ..) => Ok(()),
                (false, true, Some(pid)) => Err(AttachError::HostStopped { pid }),
                (false, true, None) => Err(AttachError::NoHost {
                    reason: self.trouble.clone(),
                }),
                (false, false, _) => {
                    self.waiting.push(waiting);
                    continue;
                }
            };
            // Whoever gave up has said so.
            let _ = waiting.reply.send(answer);
        }
    }
}
