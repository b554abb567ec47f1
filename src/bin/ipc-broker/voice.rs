//! What the daemon says on standard output and standard error.
//!
//! Owns who writes: the calling thread, as long as there is no broker that could be made to wait; from [`start`] on threads of
//! their own, one for each, so that a full pipe, a closed one or a full disk holds nobody up. It knows no broker.

use actix_ipc::platform::log_file::LogFile;
use actix_ipc::terminal::{LogFormat, LogWriter, printable, timestamp};
use std::fmt::Display;
use std::io::{self, Write};
use std::sync::OnceLock;
use std::time::Duration;

/// How long the end waits for the readers.
const PATIENCE: Duration = Duration::from_millis(500);

static THREADS: OnceLock<(LogWriter, LogWriter)> = OnceLock::new();
static FORMAT: OnceLock<LogFormat> = OnceLock::new();

static FILE: OnceLock<LogFile> = OnceLock::new();

/// From now on everything that is said goes to the file: nobody reads the outputs of this process.
pub(crate) fn write_to(file: LogFile) {
    // Called once, before anything is said.
    let _ = FILE.set(file);
}

/// From now on no call here waits for a reader, and standard error is in this format. Returns where the log goes: there as well.
pub(crate) fn start(format: LogFormat) -> io::Result<LogWriter> {
    let _ = FORMAT.set(format);
    let (out, log) = match FILE.get() {
        // One thread for both, so that lines stand in the order in which they were said.
        Some(file) => {
            let log = LogWriter::start_with(file.clone(), format)?;
            (log.clone(), log)
        }
        None => (
            LogWriter::start_with(io::stdout(), LogFormat::Text)?,
            LogWriter::start(format)?,
        ),
    };
    let threads = (out, log.clone());
    // Called once; a second time would leave the first ones at work.
    let _ = THREADS.set(threads);
    // Rust's own hook writes to standard error itself, and would wait for its reader.
    std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "a thread panicked")));
    Ok(log)
}

/// One line on standard output. Nobody may be reading; the broker runs all the same.
pub(crate) fn say(line: impl Display) {
    if let Some((out, _)) = THREADS.get() {
        let line = match FILE.get() {
            // Where it stands between lines of the log it is one.
            Some(_) => in_the_log("INFO", &line.to_string()),
            None => line.to_string(),
        };
        // It takes every line, or counts it as lost.
        let _ = out.clone().write_all(line.as_bytes());
        return;
    }
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// A line of this program between those of the log in the file: as they are, with its time.
fn in_the_log(level: &str, words: &str) -> String {
    let format = FORMAT.get().copied().unwrap_or_default();
    match format {
        LogFormat::Text => format!("{} {level:>5} {}", timestamp(), printable(words)),
        LogFormat::Json => format.line(level, words),
    }
}

/// One line on standard error.
pub(crate) fn complain(line: impl Display) {
    let words = line.to_string();
    let line = match (FILE.get(), FORMAT.get()) {
        (Some(_), _) => in_the_log("ERROR", &words),
        (None, Some(LogFormat::Json)) => LogFormat::Json.line("ERROR", &words),
        (None, _) => format!("ipc-broker: {}", printable(&words)),
    };
    if let Some((_, log)) = THREADS.get() {
        let _ = log.clone().write_all(line.as_bytes());
        return;
    }
    let _ = match FILE.get() {
        Some(file) => writeln!(file.clone(), "{line}"),
        None => writeln!(io::stderr().lock(), "{line}"),
    };
}

/// Waits until everything is written, but not long.
pub(crate) fn finish() {
    if let Some((out, log)) = THREADS.get() {
        out.finish(PATIENCE);
        log.finish(PATIENCE);
    }
}
