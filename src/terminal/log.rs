//! The way of a log line to standard error: never in an actor's way, never able to drive the terminal.
//!
//! Owns the queue between those who log and the one thread that writes. When nobody reads standard error, the
//! queue fills up; when it fails, as on a full disk, so does a line. Both are dropped and counted; the broker goes on. Used by `ipc-broker` as tracing's writer.

use super::{json_safe, printable};
use crate::metrics::LOST_LOGS;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

/// Lines that wait to be written; at some hundred bytes each, less than a megabyte.
const QUEUE: usize = 4_096;

/// How the lines of a log are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs: each line is one JSON object.
    Json,
}

impl LogFormat {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Text, Self::Json];

    /// Its name in settings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }

    /// The one with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// A line of the program itself, as tracing's own lines look in JSON; in text the words alone.
    #[must_use]
    pub fn line(self, level: &str, words: &str) -> String {
        match self {
            Self::Text => words.to_owned(),
            Self::Json => {
                let line = serde_json::json!({
                    "timestamp": timestamp(),
                    "level": level,
                    "message": words,
                    "target": "ipc_broker",
                });
                line.to_string()
            }
        }
    }

    /// The line without anything that could drive a terminal or make two lines of one.
    fn safe(self, line: &str) -> String {
        match self {
            Self::Text => printable(line).into_owned(),
            Self::Json => json_safe(line).into_owned(),
        }
    }
}

/// The time as the lines of the log have it.
#[must_use]
pub fn timestamp() -> String {
    let mut text = String::new();
    // A string takes what is written to it.
    let _ = SystemTime.format_time(&mut Writer::new(&mut text));
    text
}

/// Where log lines go. Clones share the queue.
///
/// Each `write` must be one whole line, as tracing's formatter makes them, in JSON an object; it is written as one line, whatever it
/// holds. Writing never blocks and never fails.
#[derive(Clone, Debug)]
pub struct LogWriter {
    queue: SyncSender<Entry>,
    lost: Arc<AtomicU64>,
    format: LogFormat,
}

#[derive(Debug)]
enum Entry {
    Line(String),
    /// Answered when everything before it is written.
    Flush(SyncSender<()>),
}

impl LogWriter {
    /// Starts the thread that writes to standard error. It ends with the last clone.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(format: LogFormat) -> io::Result<Self> {
        Self::start_with(io::stderr(), format)
    }

    /// The same for another sink, which only that thread touches.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start_with(sink: impl Write + Send + 'static, format: LogFormat) -> io::Result<Self> {
        let (queue, entries) = sync_channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&lost);
        std::thread::Builder::new()
            .name("log".into())
            .spawn(move || write_all(sink, format, &entries, &counter))?;
        Ok(Self { queue, lost, format })
    }

    /// Waits until everything that was logged before is written, but no longer than `patience`. For the end of the
    /// process; it blocks the thread.
    pub fn finish(&self, patience: Duration) {
        let (done, wait) = sync_channel(1);
        match self.queue.try_send(Entry::Flush(done)) {
            Ok(()) => {}
            // It waits for a place in the queue as long as the process lives, which is about to end.
            Err(TrySendError::Full(flush)) => {
                let queue = self.queue.clone();
                let waiting = std::thread::Builder::new().name("log-end".into());
                let waiting = waiting.spawn(move || drop(queue.send(flush)));
                drop(waiting);
            }
            Err(TrySendError::Disconnected(_)) => return,
        }
        // An error means that the time is up or a thread gone; there is nobody to tell.
        let _ = wait.recv_timeout(patience);
    }
}

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let mut safe = self.format.safe(text.trim_end_matches('\n'));
        safe.push('\n');
        // Full: nobody reads. Disconnected: the thread is gone.
        if self.queue.try_send(Entry::Line(safe)).is_err() {
            lose(&self.lost, 1);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_all(mut sink: impl Write, format: LogFormat, entries: &Receiver<Entry>, lost: &AtomicU64) {
    // A closed or full standard error is no reason to end: it may take lines later, and the queue must not fill up.
    while let Ok(entry) = entries.recv() {
        match entry {
            Entry::Line(line) => {
                if sink.write_all(line.as_bytes()).is_err() {
                    lose(lost, 1);
                }
            }
            Entry::Flush(done) => {
                let _ = sink.flush();
                let _ = done.try_send(());
            }
        }
        let count = lost.swap(0, Ordering::Relaxed);
        if count > 0 {
            let words =
                format!("{count} log lines were lost: standard error was not read fast enough, or failed");
            let mut line = format.line("WARN", &words);
            line.push('\n');
            if sink.write_all(line.as_bytes()).is_err() {
                // To be told when it works again.
                lost.fetch_add(count, Ordering::Relaxed);
            }
        }
    }
}

/// Counts lines that nobody will read: here to be told, and in the counters of the process.
fn lose(lost: &AtomicU64, count: u64) {
    lost.fetch_add(count, Ordering::Relaxed);
    LOST_LOGS.add(count);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Sender, channel};

    const PATIENCE: Duration = Duration::from_secs(30);

    /// A sink that waits for permission before each write, as a pipe does that nobody reads.
    struct Gate(Receiver<()>, Sender<String>);

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            let _ = self.1.send(String::from_utf8_lossy(bytes).into_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A log into such a sink, what permits its writes, and what was written.
    fn gated(format: LogFormat) -> (LogWriter, Sender<()>, Receiver<String>) {
        let (permit, gate) = channel();
        let (written, lines) = channel();
        let log = LogWriter::start_with(Gate(gate, written), format).unwrap();
        (log, permit, lines)
    }

    /// More lines than may wait.
    fn flood(log: &mut LogWriter, line: &str) {
        for _ in 0..QUEUE + 100 {
            log.write_all(line.as_bytes()).unwrap();
        }
    }

    #[test]
    fn lines_arrive_in_order_and_cannot_drive_a_terminal() {
        let (mut log, permit, lines) = gated(LogFormat::Text);
        for line in ["one\n", "two \x1b[2J\nforged line\n"] {
            permit.send(()).unwrap();
            log.write_all(line.as_bytes()).unwrap();
        }
        log.finish(PATIENCE);
        assert_eq!(
            lines.try_iter().collect::<Vec<_>>(),
            ["one\n", "two \\u{1b}[2J\\nforged line\n"]
        );
    }

    #[test]
    fn nobody_who_logs_waits_for_a_reader_and_the_loss_is_told() {
        let (mut log, permit, lines) = gated(LogFormat::Text);
        flood(&mut log, "line\n");
        log.finish(Duration::ZERO);
        drop(permit);
        // One line may be in the writer's hands beside those in the queue.
        let told = lines.iter().find(|line| !line.starts_with("line")).unwrap();
        let count: usize = told.split(' ').next().unwrap().parse().unwrap();
        assert!((99..=100).contains(&count), "{told}");
    }

    #[test]
    fn what_waits_in_a_full_queue_is_waited_for() {
        let (mut log, permit, lines) = gated(LogFormat::Text);
        flood(&mut log, "line\n");
        // Who reads it begins now.
        drop(permit);
        log.finish(PATIENCE);
        let count = lines.try_iter().filter(|line| line.starts_with("line")).count();
        assert!(count >= QUEUE, "{count}");
    }

    #[test]
    fn in_json_each_line_is_an_object_whatever_was_lost() {
        let (mut log, permit, lines) = gated(LogFormat::Json);
        flood(&mut log, "{\"object\":\"\u{9b}2J\u{202e}\"}\n");
        log.finish(Duration::ZERO);
        drop(permit);
        drop(log);
        let all: Vec<serde_json::Value> = lines
            .iter()
            .map(|line| {
                assert!(line.is_ascii() && line.matches('\n').count() == 1, "{line}");
                serde_json::from_str(&line).unwrap()
            })
            .collect();
        let lost: Vec<_> = all.iter().filter_map(|line| line["message"].as_str()).collect();
        assert!(
            lost.first()
                .is_some_and(|words| words.contains("log lines were lost")),
            "{lost:?}"
        );
        assert_eq!(all[0]["object"], "\u{9b}2J\u{202e}");
    }

    /// A sink that fails, as a full disk does, until it is told to work.
    struct Failing(Arc<std::sync::atomic::AtomicBool>, Sender<String>);

    impl Write for Failing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if !self.0.load(Ordering::SeqCst) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let _ = self.1.send(String::from_utf8_lossy(bytes).into_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_a_full_disk_did_not_take_is_told_when_it_does() {
        let works = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (written, lines) = channel();
        let mut log = LogWriter::start_with(Failing(works.clone(), written), LogFormat::Text).unwrap();
        let before = LOST_LOGS.get();
        for _ in 0..7 {
            log.write_all(b"line\n").unwrap();
        }
        log.finish(PATIENCE);
        assert!(LOST_LOGS.get() >= before + 7);
        works.store(true, Ordering::SeqCst);
        log.write_all(b"works\n").unwrap();
        log.finish(PATIENCE);
        let told: String = lines.try_iter().collect();
        // The thread looks at the loss after each entry, so after the first flush as well: in either order.
        assert!(
            told.contains("works\n") && told.contains("7 log lines were lost"),
            "{told}"
        );
    }
}
