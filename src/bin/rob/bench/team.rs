//! The processes of one measurement: started, told what to do, awaited, and ended together.
//!
//! Owns their pipes and the temporary folder. However the measurement ends (done, failed, interrupted), every process is ended
//! and the folder removed; should this process be killed, each of them sees the end of its standard input and does the same. When
//! all are killed at once, the next measurement removes the folder.
//! What they measure is not known here. Called by `bench` and `measure`.

use super::protocol::{Order, Part, Said, Slice, Spec, confused};
use crate::exit::{Exit, Failure};
use crate::options::Options;
use actix_ipc::error::{CallError, ErrorCode};
use actix_ipc::platform::scratch::{self, Kind, Scratch};
use actix_ipc::platform::signals::EndSignals;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// How long any process may be silent when it should say something, beside the time that it was told to work; `--timeout`
/// says otherwise.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a failure waits for news of a process that is the reason for it: they come from the system at the same time.
const NEWS_PATIENCE: Duration = Duration::from_millis(200);

/// The temporary folder: the sockets of the relay and of the private broker, and the lock beside that.
const FOLDER: Kind = Kind {
    prefix: "rob-bench.tmp-",
    contents: &["relay.sock", "broker.sock", "broker.sock.lock"],
};

/// The place of a process in its team.
pub(super) type Member = usize;

/// What one of them said; `None`: it closed its output.
type News = (Member, Option<Said>);

/// The processes.
pub(super) struct Team {
    processes: Vec<Process>,
    sender: UnboundedSender<News>,
    news: UnboundedReceiver<News>,
    signals: EndSignals,
    folder: Scratch,
    options: Options,
}

struct Process {
    part: Part,
    child: Child,
    stdin: Option<ChildStdin>,
    /// It has been set up: a broker that it does not reach any more is lost.
    ready: bool,
}

impl Team {
    /// Nobody yet. Those that are started get these options.
    ///
    /// # Errors
    /// When there is no temporary folder or the system refuses signals.
    pub(super) fn new(options: Options) -> Result<Self, Failure> {
        let folder = Scratch::new(FOLDER).map_err(|error| {
            let place = std::env::temp_dir();
            let text = format!(
                "bench: no folder can be made in {} ({error}); set {}",
                place.display(),
                scratch::VARIABLE
            );
            Failure::new(Exit::Refused, text)
        })?;
        let signals = EndSignals::receive()
            .map_err(|error| Failure::new(Exit::Refused, format!("bench: no signals: {error}")))?;
        let (sender, news) = unbounded_channel();
        Ok(Self {
            processes: Vec::new(),
            sender,
            news,
            signals,
            folder,
            options,
        })
    }

    /// The folder that lasts as long as the team.
    pub(super) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// The process's number in the system.
    pub(super) fn pid(&self, member: Member) -> Option<u32> {
        self.processes.get(member).map(|process| process.child.id())
    }

    /// Starts a process and waits until it is set up. Returns where it listens, too.
    ///
    /// # Errors
    /// When it cannot be started or cannot set itself up.
    pub(super) async fn start(&mut self, spec: &Spec) -> Result<(Member, String), Failure> {
        let cannot = |error: std::io::Error| {
            let text = format!("bench: {} cannot be started: {error}", spec.part.name());
            Failure::new(Exit::Refused, text)
        };
        let program = std::env::current_exe().map_err(cannot)?;
        let mut child = Command::new(program)
            .args(["bench", "role"])
            .args(self.role_options(spec))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(cannot)?;
        let member = self.processes.len();
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        // In the team before anything else can fail: it is ended with it.
        self.processes.push(Process {
            part: spec.part,
            child,
            stdin,
            ready: false,
        });
        if let Some(stdout) = stdout {
            let sender = self.sender.clone();
            std::thread::Builder::new()
                .spawn(move || listen(member, BufReader::new(stdout), &sender))
                .map_err(cannot)?;
        }
        self.write(member, spec)?;
        match self.next(Duration::ZERO).await? {
            (from, Said::Ready { address }) if from == member => {
                if let Some(process) = self.processes.get_mut(member) {
                    process.ready = true;
                }
                Ok((member, address))
            }
            (_, said) => Err(unexpected(&said)),
        }
    }

    /// Tells a process what to do.
    ///
    /// # Errors
    /// When it has ended.
    pub(super) fn order(&mut self, member: Member, order: Order) -> Result<(), Failure> {
        self.write(member, &order)
    }

    fn write(&mut self, member: Member, value: &impl serde::Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value).map_err(|error| confused(&error.to_string()))?;
        let process = self.processes.get_mut(member);
        let written = process
            .and_then(|process| process.stdin.as_mut())
            .is_some_and(|stdin| stdin.write_all(format!("{text}\n").as_bytes()).is_ok());
        if written { Ok(()) } else { Err(self.ended(member)) }
    }

    /// Waits until all of `members` listen.
    ///
    /// # Errors
    /// As [`Team::done`].
    pub(super) async fn listening(&mut self, members: &[Member]) -> Result<(), Failure> {
        for _ in members {
            match self.next(Duration::ZERO).await? {
                (_, Said::Listening) => {}
                (_, said) => return Err(unexpected(&said)),
            }
        }
        Ok(())
    }

    /// Waits until all of `members` have done what they were told, which takes them `work`; what each did, in their order.
    ///
    /// # Errors
    /// When any process fails or ends, when one is silent for too long, and when a signal asks for the end.
    pub(super) async fn done(&mut self, members: &[Member], work: Duration) -> Result<Vec<Slice>, Failure> {
        let mut slices: Vec<Option<Slice>> = vec![None; members.len()];
        while slices.iter().any(Option::is_none) {
            let (from, said) = self.next(work).await?;
            let at = members.iter().position(|member| *member == from);
            match (said, at.and_then(|at| slices.get_mut(at))) {
                (Said::Done(slice), Some(place)) => *place = Some(slice),
                (said, _) => return Err(unexpected(&said)),
            }
        }
        Ok(slices.into_iter().flatten().collect())
    }

    async fn next(&mut self, work: Duration) -> Result<(Member, Said), Failure> {
        let patience = self.options.timeout.unwrap_or(PATIENCE);
        let news = tokio::select! {
            signal = self.signals.next() => return Err(Failure::new(
                Exit::of_signal(signal),
                String::new(),
            )),
            news = tokio::time::timeout(work.saturating_add(patience), self.news.recv()) => news,
        };
        match news {
            Err(_) => Err(Failure::new(
                Exit::Timeout,
                format!(
                    "bench: no process has said anything for {} s; --timeout SECONDS waits longer",
                    patience.as_secs_f64()
                ),
            )),
            // The sender is held here, so there is always one.
            Ok(None) => Err(confused("nobody is left to measure")),
            Ok(Some((member, None))) => Err(self.ended(member)),
            Ok(Some((member, Some(Said::Failed { exit, message, call })))) => {
                let mut failure = self.failed(member, exit, &message).await;
                // When another process is the reason, its end is told, and not what this one saw of it.
                if failure.exit as u8 == exit {
                    failure.call = call.map(|(code, ran)| {
                        let error = CallError::new(ErrorCode::from_code(code), &*failure.message);
                        Box::new(error.ran(ran))
                    });
                }
                Err(failure)
            }
            Ok(Some((member, Some(said)))) => Ok((member, said)),
        }
    }

    /// What a process that cannot go on leaves to be told. When another one was killed, that is the reason, and not what
    /// this one saw of it.
    async fn failed(&mut self, member: Member, exit: u8, message: &str) -> Failure {
        while let Ok(Some((other, said))) = tokio::time::timeout(NEWS_PATIENCE, self.news.recv()).await {
            if said.is_none() && other != member && self.was_killed(other) {
                return self.ended(other);
            }
        }
        let process = self.processes.get(member);
        let part = process.map_or("a process", |process| process.part.name());
        let exit = match Exit::of_number(exit) {
            Exit::NoBroker if process.is_some_and(|process| process.ready) => Exit::Lost,
            exit => exit,
        };
        Failure::new(exit, format!("bench: {part}: {message}"))
    }

    /// Whether a process that has closed its output has ended otherwise than by itself.
    fn was_killed(&mut self, member: Member) -> bool {
        let process = self.processes.get_mut(member);
        process.is_some_and(|process| {
            process.stdin = None;
            process.child.wait().is_ok_and(|status| !status.success())
        })
    }

    /// The failure of a process that ended before its time.
    fn ended(&mut self, member: Member) -> Failure {
        let Some(process) = self.processes.get_mut(member) else {
            return confused("there is no such process");
        };
        // Its output is closed, so it has ended or does so now.
        process.stdin = None;
        let how = process
            .child
            .wait()
            .map_or_else(|error| error.to_string(), |status| status.to_string());
        let text = format!(
            "bench: {} (pid {}) ended before the measurement did: {how}; the others were ended too",
            process.part.name(),
            process.child.id()
        );
        Failure::new(Exit::Lost, text)
    }

    /// The options of a role, as words.
    fn role_options(&self, spec: &Spec) -> Vec<std::ffi::OsString> {
        let mut words = Vec::new();
        let mut add = |flag: &str, value: Option<std::ffi::OsString>| {
            if let Some(value) = value {
                words.push(flag.into());
                words.push(value);
            }
        };
        let options = &self.options;
        let private = (!spec.broker.is_empty()).then(|| spec.broker.clone());
        add("--addr", private.or_else(|| options.addr.clone()).map(Into::into));
        add("--token-file", options.token_file.clone().map(Into::into));
        add("--tls-ca", options.tls_ca.clone().map(Into::into));
        add("--tls-pin", options.tls_pin.clone().map(Into::into));
        add("--tls-name", options.tls_name.clone().map(Into::into));
        add("--tls-cert", options.tls_cert.clone().map(Into::into));
        add("--tls-key", options.tls_key.clone().map(Into::into));
        words
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // Nothing is kept that would have to be saved; what fails has ended already.
            let _ = process.child.kill();
        }
        for process in &mut self.processes {
            let _ = process.child.wait();
        }
    }
}

/// Hands on what a process says, line by line, then that it has closed its output.
fn listen(member: Member, output: impl BufRead, sender: &UnboundedSender<News>) {
    for line in output.lines() {
        let Ok(line) = line else { break };
        let Ok(said) = serde_json::from_str(&line) else {
            break;
        };
        if sender.send((member, Some(said))).is_err() {
            return;
        }
    }
    let _ = sender.send((member, None));
}

fn unexpected(said: &Said) -> Failure {
    confused(&format!("a process said {said:?} out of turn"))
}
