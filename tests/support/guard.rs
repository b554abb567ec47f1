//! The leak guard: what a broker had when it began is what is left when its clients have gone, and nothing when it has ended.
//!
//! Owns the comparisons, which all harnesses make when a test's broker ends: charges and peers by its own count, its sockets in
//! the kernel's table and on disk, the descriptors and threads of its process. Each is counted for one broker alone, because tests run
//! beside each other. What is not given back at once is waited for; after the limit the test fails and says what is left.
#![allow(
    dead_code,
    unreachable_pub,
    missing_debug_implementations,
    clippy::unwrap_used,
    clippy::panic,
    reason = "each test file uses its own part of the harness, and what is not as expected fails the test"
)]

use actix_ipc::actors::{BrokerHandle, Levels};
use actix_ipc::transport::Endpoint;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longer than anything takes on a machine that is shared by many.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Asks until nothing is left, at most so long; the error says what is.
pub fn wait(limit: Duration, left: impl Fn() -> Option<String>) -> Result<(), String> {
    let until = Instant::now() + limit;
    while let Some(what) = left() {
        if Instant::now() >= until {
            return Err(what);
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    Ok(())
}

/// A broker of this process has ended, and its thread with it: nothing of it is left.
#[track_caller]
pub fn ended(handle: &BrokerHandle) {
    if let Err(what) = wait(PATIENCE, || left(handle)) {
        panic!("the broker leaks: {what}");
    }
}

/// What a broker that should have ended has still.
pub fn left(handle: &BrokerHandle) -> Option<String> {
    let levels = handle.levels();
    if levels != Levels::default() {
        return Some(format!("charges: {levels:?}"));
    }
    handle.endpoints().iter().find_map(|endpoint| match endpoint {
        Endpoint::Unix(path) => socket_left(path),
        _ => None,
    })
}

/// What is left of a Unix socket: its file or its lock file, or an end of it that the broker has open. Accepted ends have
/// the path of their listener in the kernel's table, the clients' ends have none.
pub fn socket_left(path: &Path) -> Option<String> {
    let mut lock = path.as_os_str().to_owned();
    lock.push(".lock");
    for file in [path.to_owned(), PathBuf::from(lock)] {
        if file.symlink_metadata().is_ok() {
            return Some(format!("the file {}", file.display()));
        }
    }
    let open = open_ends(path);
    (open > 0).then(|| format!("{open} open sockets of {}", path.display()))
}

/// How many ends of a socket its broker has open, the listening one included; 0 where the system does not tell.
pub fn open_ends(path: &Path) -> usize {
    let table = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let path = path.display().to_string();
    table.lines().filter(|line| line.ends_with(&path)).count()
}

/// The descriptors and threads of a process as they were at a moment; dropping it compares them, unless the process has ended, stands
/// still or the test has failed already.
#[derive(Debug)]
pub struct AsBefore {
    pid: u32,
    before: Option<Facts>,
    patience: Duration,
}

/// Of a process, where the system tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    pub descriptors: usize,
    pub threads: usize,
    /// When it started, in the kernel's ticks: tells it from a later process with its number.
    started: u64,
}

impl Facts {
    /// `None` when the process has ended or stands still.
    pub fn of(pid: u32) -> Option<Self> {
        // Wine shows the files of the system below it, whose processes have other numbers.
        if cfg!(windows) {
            return None;
        }
        let count = |what| {
            let entries = std::fs::read_dir(format!("/proc/{pid}/{what}")).ok()?;
            Some(entries.filter(Result::is_ok).count())
        };
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The program's name, in parentheses, may hold anything.
        let mut fields = stat.rsplit_once(") ")?.1.split(' ');
        if matches!(fields.next()?, "Z" | "X" | "T" | "t") {
            return None;
        }
        let started = fields.nth(18)?.parse().ok()?;
        // An ending process closes everything before it is a zombie; what is read then is no more than there was.
        Some(Self {
            descriptors: count("fd")?,
            threads: count("task")?,
            started,
        })
    }

    /// What there is now beyond what there was.
    pub fn beyond(self, before: Self) -> bool {
        self.started == before.started
            && (self.descriptors > before.descriptors || self.threads > before.threads)
    }
}

impl AsBefore {
    /// Remembers what the process has now.
    pub fn of(pid: u32) -> Self {
        Self {
            pid,
            before: Facts::of(pid),
            patience: PATIENCE,
        }
    }

    /// Remembers what the process has now instead: what begins beside the broker has begun.
    pub fn again(&mut self) {
        self.before = Facts::of(self.pid);
    }

    /// The same with another limit of the wait.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// What the process has now and had not then.
    pub fn left(&self) -> Option<String> {
        let (before, now) = (self.before?, Facts::of(self.pid)?);
        now.beyond(before)
            .then(|| format!("{now:?}, at first {before:?}; open: {}", open_files(self.pid)))
    }
}

impl Drop for AsBefore {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        if let Err(what) = wait(self.patience, || self.left()) {
            panic!("the process leaks: {what}");
        }
    }
}

fn open_files(pid: u32) -> String {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd"));
    let targets = entries.into_iter().flatten().flatten();
    let named = targets.filter_map(|entry| {
        let number = entry.file_name().display().to_string();
        let target = std::fs::read_link(entry.path()).ok()?;
        Some(format!("{number} {}", target.display()))
    });
    named.collect::<Vec<_>>().join(", ")
}
