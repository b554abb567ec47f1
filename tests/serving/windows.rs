//! The commands of the tests of `rob serve`, for `cmd.exe`, and how it is seen that they run.
//!
//! What `cmd.exe` has not, `rob` itself does: it gives values back through an object of the test, and listens for ever. Who has a file open is
//! alive: nobody else can have it for himself.

use crate::support::{Broker, until};
use std::fs::{File, OpenOptions};
use std::os::windows::fs::OpenOptionsExt;
use std::path::PathBuf;

/// Command, words of the value, what `rob --json call` prints.
pub const RESULTS: [(&str, &str, &str); 8] = [
    (GIVES_BACK, "j {\"a\":[1,2]}", "{\"a\":[1,2]}\n"),
    (GIVES_BACK, "", "null\n"),
    ("rem", "i 1", "null\n"),
    ("echo hello", "", "\"hello\"\n"),
    ("echo !ROB_OBJECT! !ROB_METHOD!", "", "\"o any\"\n"),
    ("echo !ROB_CALLER!", "", "\"rob\"\n"),
    ("if defined TRACEPARENT echo yes", "", "null\n"),
    (
        "echo \"a b\"& if defined ROB_CALLER_PID if defined ROB_CALLER_PEER if defined ROB_CALLER_UID echo 1",
        "",
        "\"\\\"a b\\\"\\r\\n1\"\n",
    ),
];

/// Prints what it reads.
pub const GIVES_BACK: &str = "rob --json call math echo -";
/// Says something that drives a terminal, and fails.
pub const FAILS: &str = "echo no \u{1b}[31mdisk>&2& exit 3";
/// Prints for ever.
pub const PRINTS: &str = concat!(
    "for /l %i in (1,0,2) do @echo ",
    "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
    "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
    "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
);
/// Fails with the number that is the method.
pub const EXITS: &str = "exit !ROB_METHOD!";
/// Prints where the broker is.
pub const ADDRESS: &str = "echo \"!IPC_BROKER_ADDR!\"";
/// Fails when another one runs.
pub const ALONE: &str = "mkdir busy && rob --json call math echo - && rmdir busy";
/// Says something and never ends.
pub const COMPLAINS: &str = "echo I wait for the disk>&2& rob listen never never >nul";
/// Says that it runs and then does not end, with a child that holds the file.
pub const HANGS: &str = "rob listen never never >alive";
/// Longer than a command needs to begin.
pub const SOON: &str = "--timeout 8";
/// Says that it runs, and prints 7 when it is let go.
pub const WAITS: &str = "rob listen gate open --count 1 >alive& echo 7";
/// `give` cannot end without `take`, nor that without the other.
pub const MEETS: &str = "mkdir !ROB_METHOD!& for /l %i in (1,0,2) do @if exist give if exist take exit 0";
pub const TAKEN: &str = "null\n";

/// Makes what the commands above need.
pub fn prepare(_: &Broker) {}

/// Lets a command go that waits.
pub fn let_go(broker: &Broker) {
    broker.rob("send gate open i 7").success();
}

/// A command that runs.
pub struct Alive(PathBuf);

fn is_held(file: &PathBuf) -> bool {
    let alone: std::io::Result<File> = OpenOptions::new().write(true).share_mode(0).open(file);
    alone.is_err()
}

/// Waits until one runs.
#[track_caller]
pub fn alive(broker: &Broker) -> Alive {
    let file = broker.folder().join("alive");
    until("it runs", || {
        std::fs::read_to_string(&file).is_ok_and(|text| text.contains("Listening"))
    });
    assert!(is_held(&file), "its command holds the file");
    Alive(file)
}

/// Waits until nothing of it is left.
#[track_caller]
pub fn gone(alive: Alive) {
    until("all are killed", || !is_held(&alive.0));
}
