//! The broker and the roles as processes, and what they cost.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use tempfile::TempDir;

/// Limits far above what the parts need: growth is measured, not refusal.
const LIMITS: &str = "[limits]\n\
    names = 2000000\nsubscriptions = 2000000\nconnections = 262144\nhandshakes = 262144\n\
    memory_bytes_total = 68719476736\nhold_ms = 10000\n";

/// A process whose lines are read.
struct Process {
    child: Child,
    stdin: ChildStdin,
    out: BufReader<ChildStdout>,
}

impl Process {
    fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdin, out }
    }

    fn line(&mut self, begins: &str) -> String {
        loop {
            let mut line = String::new();
            let read = self.out.read_line(&mut line).unwrap();
            assert!(read > 0, "a process ended before it said {begins:?}");
            if line.starts_with(begins) {
                return line;
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `ipc-broker` on a Unix socket.
pub struct Broker {
    process: Process,
    folder: TempDir,
}

impl Broker {
    pub fn start(arbiters: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = folder.path().join("settings.toml");
        std::fs::write(&settings, LIMITS).unwrap();
        let program = env!("CARGO_BIN_EXE_ipc-broker");
        let mut command = Command::new(program);
        let listen = format!("unix:{}", folder.path().join("s").display());
        command.arg("--config").arg(settings).args(["--listen", &listen]);
        command.args(["--arbiters", &arbiters.to_string()]);
        let mut process = Process::start(&mut command);
        process.line("listening");
        Self { process, folder }
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    /// Processor time so far in microseconds: the first thread, which has the core actors, and all others.
    pub fn processor(&self) -> (f64, f64) {
        processor(self.process.child.id())
    }
}

fn processor(process: u32) -> (f64, f64) {
    let (mut first, mut others) = (0.0, 0.0);
    let Ok(threads) = std::fs::read_dir(format!("/proc/{process}/task")) else {
        return (f64::NAN, f64::NAN);
    };
    for thread in threads.flatten() {
        let schedstat = std::fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        let nanos = schedstat
            .split_whitespace()
            .next()
            .and_then(|word| word.parse().ok());
        let micros = nanos.unwrap_or(f64::NAN) / 1000.0;
        if thread.file_name().to_string_lossy() == process.to_string() {
            first += micros;
        } else {
            others += micros;
        }
    }
    (first, others)
}

/// One role of the load.
pub struct Role(Process);

impl Role {
    /// Starts a role and waits until it is ready.
    pub fn start(socket: &Path, role: &str, arguments: &[usize]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--role", role]).arg(socket);
        command.args(arguments.iter().map(usize::to_string));
        let mut process = Process::start(&mut command);
        process.line("ready");
        Self(process)
    }

    /// Lets it begin.
    pub fn go(&mut self) {
        self.0.stdin.write_all(b"go\n").unwrap();
    }

    /// What it has measured.
    pub fn figures(&mut self) -> BTreeMap<String, f64> {
        let line = self.0.line("figures");
        let pair = |word: &str| {
            Some(word.split_once('=')?).map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        };
        line.split_whitespace().filter_map(pair).collect()
    }

    pub fn processor(&self) -> f64 {
        let (first, others) = processor(self.0.child.id());
        first + others
    }
}

/// What a role prints when it may begin; it begins when it is told to.
pub fn ready() {
    println!("ready");
    std::io::stdout().flush().unwrap();
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

/// What a role prints at its end.
pub fn report(figures: &[(&str, f64)]) {
    let words: Vec<String> = figures
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    println!("figures {}", words.join(" "));
}
