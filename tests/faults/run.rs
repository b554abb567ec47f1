//! One runner for all faults: processes under load, a plan of who is hit by what and how often, and the judgement of all journals.
//!
//! Owns the processes and their journals. The short runs of CI, the nights of `ci/soak` and a repetition by seed are the same code with
//! other numbers.

use crate::check::{Counts, Journals, check};
use crate::journal::read;
use crate::rig::{Random, Rig, pause, state, until};
use crate::roles::{ENDPOINT, JOURNAL, PAYLOAD, PROCESS, ROLE};
use crate::second;
use crate::support::{Ended, Process, this_program};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::io::PipeWriter;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Who is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whom {
    Broker,
    Caller,
    Worker,
    Publisher,
    Subscriber,
    /// Only connects, in flood tests.
    Connector,
}

impl Whom {
    pub const CLIENTS: [Self; 4] = [Self::Caller, Self::Worker, Self::Publisher, Self::Subscriber];

    const fn role(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Caller => "caller",
            Self::Worker => "worker",
            Self::Publisher => "publisher",
            Self::Subscriber => "subscriber",
            Self::Connector => "connector",
        }
    }
}

/// What hits them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// `kill -9`; another one is started in its place.
    Kill,
    /// SIGSTOP, and SIGCONT after so many milliseconds.
    Stop(u64),
}

/// A process of the run.
pub struct Part {
    whom: Whom,
    process: u64,
    child: Process,
    /// It ends when this does.
    input: Option<PipeWriter>,
}

/// Processes under load around one broker.
pub struct Run {
    pub rig: Rig,
    pub random: Random,
    parts: Vec<Part>,
    next: u64,
    payload: usize,
    /// What was done to whom, how often.
    pub done: BTreeMap<(Whom, What), usize>,
}

impl Run {
    pub fn start(rig: Rig, random: Random, payload: usize, crew: &[(Whom, usize)]) -> Self {
        let mut run = Self {
            rig,
            random,
            parts: Vec::new(),
            next: 1,
            payload,
            done: BTreeMap::new(),
        };
        for (whom, count) in crew {
            for _ in 0..*count {
                run.add(*whom);
            }
        }
        run.parts.iter().for_each(Part::wait_ready);
        run
    }

    /// More processes, once the others work.
    pub fn add_and_wait(&mut self, whom: Whom, count: usize) {
        for _ in 0..count {
            self.add(whom);
            self.parts.last().expect("it was just added").wait_ready();
        }
    }

    fn journal(&self, process: u64) -> PathBuf {
        journal(&self.rig, process)
    }

    /// Starts one more process.
    fn add(&mut self, whom: Whom) {
        let process = self.next;
        self.next += 1;
        self.parts
            .push(Part::spawn(&self.rig, whom, process, self.payload));
    }

    fn pid_of(&self, whom: Whom, at: usize) -> Pid {
        let id = match whom {
            Whom::Broker => self.rig.pid(),
            _ => self.parts[at].child.id(),
        };
        Pid::from_raw(i32::try_from(id).unwrap()).unwrap()
    }

    /// One of these, by chance; the process's place among the parts.
    fn pick(&mut self, whom: Whom) -> usize {
        let places: Vec<usize> = (0..self.parts.len())
            .filter(|at| self.parts[*at].whom == whom)
            .collect();
        if places.is_empty() {
            assert_eq!(whom, Whom::Broker, "nobody of that kind is there");
            return 0;
        }
        places[usize::try_from(self.random.below(places.len() as u64)).unwrap()]
    }

    /// Lets one fault happen, from its beginning to its end. Returns the process that was hit; 0 is the broker.
    pub fn hit(&mut self, whom: Whom, what: What) -> u64 {
        let at = self.pick(whom);
        let process = if whom == Whom::Broker {
            0
        } else {
            self.parts[at].process
        };
        *self.done.entry((whom, what)).or_default() += 1;
        match (whom, what) {
            (Whom::Broker, What::Kill) => {
                self.rig.kill_broker();
                self.rig.start_broker();
            }
            (_, What::Kill) => {
                self.parts.swap_remove(at).child.kill();
                self.add(whom);
            }
            (_, What::Stop(ms)) => {
                let pid = self.pid_of(whom, at);
                kill_process(pid, Signal::STOP).unwrap();
                let raw = u32::try_from(pid.as_raw_nonzero().get()).unwrap();
                until("it is stopped", || state(raw) == Some('T'));
                self.pass(Duration::from_millis(ms));
                kill_process(pid, Signal::CONT).unwrap();
                until("it goes on", || state(raw) != Some('T'));
            }
        }
        process
    }

    /// Lets time pass under load. Whoever ends meanwhile, whom nobody has hit, is a failure.
    pub fn pass(&mut self, time: Duration) {
        let end = Instant::now() + time;
        loop {
            self.all_live();
            if Instant::now() >= end {
                return;
            }
            pause();
        }
    }

    fn all_live(&mut self) {
        let ended = self.parts.iter_mut().position(|part| part.child.has_ended());
        if let Some(at) = ended {
            let Part {
                whom, process, child, ..
            } = self.parts.swap_remove(at);
            panic!("{whom:?} {process} ended by itself: {:?}", child.end());
        }
    }

    /// Bytes that processes of a kind have written of what they did and saw.
    pub fn written(&self, whom: Whom) -> u64 {
        let of_kind = self.parts.iter().filter(|part| part.whom == whom);
        of_kind
            .map(|part| std::fs::metadata(self.journal(part.process)).map_or(0, |data| data.len()))
            .sum()
    }

    /// Waits until calls run and events are heard again.
    pub fn is_at_work(&mut self) {
        let kinds = [Whom::Worker, Whom::Subscriber];
        let before = kinds.map(|kind| self.written(kind));
        until("calls run and events are heard", || {
            self.all_live();
            kinds
                .iter()
                .zip(before)
                .all(|(kind, before)| self.written(*kind) > before + 1_000)
        });
    }

    /// Ends every process in order, publishers and callers first, and judges. The broker is as it was at first.
    pub async fn finish(mut self) -> (Counts, Journals) {
        for kinds in [
            &[Whom::Publisher, Whom::Caller][..],
            &[Whom::Subscriber, Whom::Worker],
        ] {
            let (ending, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.parts)
                .into_iter()
                .partition(|part| kinds.contains(&part.whom));
            self.parts = others;
            ending
                .into_iter()
                .map(Part::end)
                .collect::<Vec<_>>()
                .into_iter()
                .for_each(|part| drop(part.ended()));
        }
        let journals: Journals = (1..self.next)
            .filter(|process| self.journal(*process).exists())
            .map(|process| (process, read(&self.journal(process))))
            .collect();
        self.rig.is_as_before().await;
        let (counts, mut complaints) = check(&journals);
        match second::complaints(&journals) {
            Some(others) => complaints.extend(others),
            None => {
                eprintln!("faults: so much was heard that only the first of the two judges has judged it")
            }
        }
        eprintln!("faults: {:?}\n{counts:#?}", self.done);
        if !complaints.is_empty() {
            let kept = self.rig.folder.path().to_owned();
            std::mem::forget(std::mem::replace(
                &mut self.rig.folder,
                tempfile::tempdir().unwrap(),
            ));
            panic!(
                "{} complaints (journals in {}): {:#?}",
                complaints.len(),
                kept.display(),
                &complaints[..complaints.len().min(10)]
            );
        }
        self.rig.stop();
        (counts, journals)
    }
}

fn journal(rig: &Rig, process: u64) -> PathBuf {
    rig.folder.path().join(format!("{process}.journal"))
}

impl Part {
    /// Starts a process and waits until it works.
    pub fn start(rig: &Rig, whom: Whom, process: u64, payload: usize) -> Self {
        let part = Self::spawn(rig, whom, process, payload);
        part.wait_ready();
        part
    }

    fn spawn(rig: &Rig, whom: Whom, process: u64, payload: usize) -> Self {
        let (reader, input) = std::io::pipe().unwrap();
        let mut command = this_program("roles::as_a_role");
        command
            .env(ROLE, whom.role())
            .env(PROCESS, process.to_string())
            .env(ENDPOINT, rig.endpoint().to_string())
            .env(JOURNAL, journal(rig, process))
            .env(PAYLOAD, payload.to_string())
            .stdin(reader);
        Self {
            whom,
            process,
            child: Process::spawn(&mut command),
            input: Some(input),
        }
    }

    fn wait_ready(&self) {
        self.child.wait_for("ready");
    }

    /// Ends it, and returns the rest of the line that begins like this.
    pub fn last_word(self, beginning: &str) -> String {
        let ended = self.end().ended();
        let mut lines = ended.stdout.lines();
        let word = lines.find_map(|line| line.strip_prefix(beginning));
        word.expect("it says so").to_owned()
    }

    /// Tells it to end.
    fn end(mut self) -> Self {
        drop(self.input.take());
        self
    }

    fn ended(self) -> Ended {
        let Self { whom, process, .. } = self;
        let ended = self.child.end();
        assert!(ended.status.success(), "{whom:?} {process}: {ended:#?}");
        ended
    }
}
