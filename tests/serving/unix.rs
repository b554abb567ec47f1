//! The commands of the tests of `rob serve`, for `sh`, and how it is seen that they run.
//!
//! Who holds a named pipe open for writing is alive: its reader sees the end when the last of them has gone.

use crate::support::{Broker, PATIENCE};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::sync::mpsc::channel;

/// Command, words of the value, what `rob --json call` prints.
pub const RESULTS: [(&str, &str, &str); 9] = [
    ("cat", "j {\"a\":[1,2]}", "{\"a\":[1,2]}\n"),
    ("cat", "", "null\n"),
    ("true", "i 1", "null\n"),
    ("echo hello", "", "\"hello\"\n"),
    (
        "printf '%s %s' \"$ROB_OBJECT\" \"$ROB_METHOD\"",
        "",
        "\"o any\"\n",
    ),
    ("echo \"$ROB_CALLER\"", "", "\"rob\"\n"),
    (
        "test $ROB_CALLER_UID = $(id -u) && test $ROB_CALLER_PID -gt 0 && test $ROB_CALLER_PEER -gt 0 && echo '\"\"'",
        "",
        "\"\"\n",
    ),
    ("echo \"[$TRACEPARENT]\"", "", "[]\n"),
    (
        "printf '\\377'",
        "",
        "{\"encoding\":\"raw\",\"hex\":\"ff\",\"length\":1}\n",
    ),
];

/// Prints what it reads.
pub const GIVES_BACK: &str = "cat";
/// Says something that drives a terminal, and fails.
pub const FAILS: &str = "printf 'no \\033[31mdisk\\n' >&2; exit 3";
/// Prints for ever.
pub const PRINTS: &str = "yes";
/// Fails with the number that is the method.
pub const EXITS: &str = "exit $ROB_METHOD";
/// Prints where the broker is.
pub const ADDRESS: &str = "printf '\"%s\"' \"$IPC_BROKER_ADDR\"";
/// Fails when another one runs.
pub const ALONE: &str = "mkdir busy || exit 9; cat; rmdir busy";
/// Says something and never ends.
pub const COMPLAINS: &str = "echo I wait for the disk >&2; exec sleep 600";
/// Says that it runs and then does not end, with a child that holds the pipe as well.
pub const HANGS: &str = "exec 3>alive; echo running >&3; sleep 600 & wait";
/// Longer than a command needs to begin.
pub const SOON: &str = "--timeout 5";
/// Says that it runs, and prints 7 when it is let go.
pub const WAITS: &str = "exec 3>alive; echo running >&3; cat go";
/// `give` cannot end without `take`, nor that without the other, which prints this.
pub const MEETS: &str = "case $ROB_METHOD in give) echo taken >meeting;; take) cat meeting;; esac";
pub const TAKEN: &str = "\"taken\"\n";

/// A named pipe in the broker's folder.
fn fifo(broker: &Broker, name: &str) -> PathBuf {
    let path = broker.folder().join(name);
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.unwrap().success());
    path
}

/// Makes what the commands above need.
pub fn prepare(broker: &Broker) {
    for name in ["alive", "go", "meeting"] {
        fifo(broker, name);
    }
}

/// Lets a command go that waits.
#[track_caller]
pub fn let_go(broker: &Broker) {
    let path = broker.folder().join("go");
    in_time("nobody waits", move || {
        let mut go = File::options().write(true).open(path).unwrap();
        go.write_all(b"7").unwrap();
    });
}

/// A pipe that nobody has at its other end is waited for as long as it takes.
#[track_caller]
fn in_time<T: Send + 'static>(otherwise: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, told) = channel();
    std::thread::spawn(move || done.send(work()));
    let told = told.recv_timeout(PATIENCE);
    told.unwrap_or_else(|why| panic!("{otherwise}: {why}"))
}

/// A command that runs.
pub struct Alive(BufReader<File>);

/// Waits until one runs.
#[track_caller]
pub fn alive(broker: &Broker) -> Alive {
    let path = broker.folder().join("alive");
    in_time("none runs", move || {
        let mut alive = BufReader::new(File::open(path).unwrap());
        let mut line = String::new();
        alive.read_line(&mut line).unwrap();
        assert_eq!(line, "running\n");
        Alive(alive)
    })
}

/// Waits until nothing of it is left.
#[track_caller]
pub fn gone(mut alive: Alive) {
    let read = in_time("not all are killed", move || alive.0.read_to_end(&mut Vec::new()));
    assert_eq!(read.unwrap(), 0);
}
