//! What a process says it did and saw: one line of JSON for each thing, written before the next is done.
//!
//! Owns the format and the file. A line is handed to the system in one write, so a process that is killed loses nothing that it wrote.
//! Times are nanoseconds of the machine's monotonic clock, so that the journals of several processes can be laid beside each other.
//! Written by `roles`, judged by `check`.

use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::sync::Mutex;

/// Something that a process did or saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// A caller is about to call. Numbers of calls are unique in a run.
    Called { call: u64 },
    /// Its outcome; no code: it was answered well.
    Ended {
        call: u64,
        code: Option<String>,
        may_have_run: bool,
    },
    /// A worker begins with a call.
    Ran { call: u64 },
    /// A publisher is about to publish, in ascending order.
    Publishing { number: u64 },
    /// It is in the order of the connection.
    Sent { number: u64 },
    /// The broker has acknowledged it.
    Accepted { number: u64 },
    /// It was not published, or nobody knows.
    Failed { number: u64, may_have_run: bool },
    /// A subscriber is about to subscribe.
    Subscribing,
    /// The broker has acknowledged a subscription to everything that is published.
    Subscribed,
    /// An event came.
    Heard {
        publisher: u64,
        number: u64,
        missed: u64,
        interrupted: bool,
    },
    /// A gap was told with no event behind it.
    Gap { missed: u64 },
    /// The connection was lost and made again; what was missed is unknown.
    Interrupted,
    /// A subscriber publishes an event of its own, to hear the end of the others.
    Asked,
    /// The process ended in order: what it had begun has ended, and what was accepted before has arrived or is lost.
    Stopped,
}

/// An entry with its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub at: u64,
    pub entry: Entry,
}

/// Nanoseconds of the monotonic clock, which all processes of a machine share.
pub fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(time.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap()
}

/// The file of one process.
pub struct Journal(Mutex<File>);

impl Journal {
    pub fn create(path: &Path) -> Self {
        let file = File::options().create(true).append(true).open(path).unwrap();
        Self(Mutex::new(file))
    }

    pub fn write(&self, entry: Entry) {
        let file = self.0.lock().unwrap();
        let mut line = serde_json::to_vec(&Line { at: now(), entry }).unwrap();
        line.push(b'\n');
        (&*file).write_all(&line).unwrap();
    }
}

/// The lines of a journal. A last line without an end was being written when its process was killed.
pub fn read(path: &Path) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut file = BufReader::new(File::open(path).unwrap());
    let mut text = String::new();
    while file.read_line(&mut text).unwrap() > 0 && text.ends_with('\n') {
        lines.push(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")));
        text.clear();
    }
    lines
}
