//! A command as a filter on Windows: bytes in, bytes out, and lines for people beside them.
//!
//! Owns the three pipes of one command, each with a thread of its own, because the system does not wait for several of them at once; the
//! bound of what it may print; and how `cmd.exe` is given a line. That nothing of its job is left is `child`'s work. It refuses to know what
//! the bytes mean. `rob serve` calls it, on a thread that may block.

pub use super::filtered::Filtered;

use super::child::{Group, reap, start_held};
use super::leash::Leash;
use super::lines::Lines;
use std::io::{self, Read, Write};
use std::os::windows::process::CommandExt;
use std::process::{ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::Builder;

/// What means something to `cmd.exe` outside of quotes, or ends them.
const SIGNS: &str = "&|<>()^%!\"";

/// The command that runs a line of `cmd.exe`, in which `!NAME!` is the value of a variable, put in when the line is understood already.
#[must_use]
pub fn shell(line: &str) -> Command {
    let mut command = Command::new("cmd.exe");
    // With /s the outer quotes go, and what is between them is the line as it was written; /d: what the registry says is nobody's wish here.
    command.raw_arg(format!("/d /v:on /s /c \"{line}\""));
    command
}

/// The first of these variables that `cmd.exe` would make a part of the line before it reads it: who has chosen the value could write
/// commands into it.
#[must_use]
pub fn read_as_commands<'n>(line: &str, names: &[&'n str]) -> Option<&'n str> {
    let line = line.to_ascii_uppercase();
    let is_in = |name: &str| line.contains(&format!("%{name}%")) || line.contains(&format!("%{name}:"));
    names.iter().copied().find(|name| is_in(name))
}

/// Whether `cmd.exe` could read a part of the value as a part of the line. `!NAME!` is put in when the line is understood, but some parts of a
/// line are read once more then: the sides of a pipe, what `for /f` runs, what `call` calls.
#[must_use]
pub fn has_signs(value: &str) -> bool {
    value.contains(|letter: char| SIGNS.contains(letter) || letter.is_control())
}

/// Starts the command in a job and with an invisible console of its own, writes `input` to it, reads up to `most` bytes of what it prints,
/// tells each line of its standard error, waits for its end, and ends what is left of its job. A command that does not read its input loses
/// it. With a leash the job ends with this process, too.
///
/// # Errors
/// It cannot be started ([`io::ErrorKind::Interrupted`]: it was called off), or its pipes cannot be served.
pub fn filter(
    mut command: Command,
    group: &Group,
    input: &[u8],
    most: usize,
    told: &(dyn Fn(&str) + Sync),
    leash: Option<&Leash>,
) -> io::Result<Filtered> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if group.is_called_off() {
        return Err(io::ErrorKind::Interrupted.into());
    }
    let (mut child, tie) = start_held(&mut command, leash.is_some())?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    if !group.live(tie) {
        group.end(true);
    }
    std::thread::scope(|threads| {
        let thread = |name: &str| Builder::new().name(name.to_owned());
        let feeder = thread("command-input").spawn_scoped(threads, || feed(stdin, input));
        let taker = thread("command-output").spawn_scoped(threads, || take(stdout, most, group));
        let listener = thread("command-errors").spawn_scoped(threads, || listen(stderr, told));
        if feeder.is_err() || taker.is_err() || listener.is_err() {
            group.end(true);
        }
        // All who have an end of these pipes are of the job, so the threads end after it.
        let status = reap(&mut child, group);
        let failed = |_| io::Error::other("the pipes of the command could not be served");
        feeder?.join().map_err(failed)?;
        listener?.join().map_err(failed)?;
        let (output, complete) = taker?.join().map_err(failed)?;
        Ok(Filtered {
            status: status?,
            output,
            complete,
        })
    })
}

/// Gives it its input, and the end of it.
fn feed(pipe: Option<ChildStdin>, input: &[u8]) {
    if let Some(mut pipe) = pipe {
        // It may not want all of it.
        let _ = pipe.write_all(input);
    }
}

/// Takes what it prints, and whether that is all.
fn take(pipe: Option<ChildStdout>, most: usize, group: &Group) -> (Vec<u8>, bool) {
    let Some(mut pipe) = pipe else {
        return (Vec::new(), false);
    };
    let (mut kept, mut buffer) = (Vec::new(), [0; 16 * 1024]);
    while let Ok(length @ 1..) = pipe.read(&mut buffer) {
        let room = most.saturating_sub(kept.len());
        kept.extend_from_slice(buffer.get(..length.min(room)).unwrap_or_default());
        if length > room {
            group.end(true);
            return (kept, false);
        }
    }
    (kept, true)
}

/// Tells its lines.
fn listen(pipe: Option<ChildStderr>, told: &(dyn Fn(&str) + Sync)) {
    let Some(mut pipe) = pipe else { return };
    let (mut lines, mut buffer) = (Lines::default(), [0; 4 * 1024]);
    while let Ok(length @ 1..) = pipe.read(&mut buffer) {
        lines.take(buffer.get(..length).unwrap_or_default(), told);
    }
    lines.end(told);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    fn run(line: &str, input: &[u8], most: usize) -> (Filtered, Vec<String>) {
        let said = Mutex::new(Vec::new());
        let told = |line: &str| said.lock().unwrap().push(line.to_owned());
        let filtered = filter(shell(line), &Group::default(), input, most, &told, None).unwrap();
        (filtered, said.into_inner().unwrap())
    }

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let (filtered, said) = run("echo \"a b\"& echo one>&2& echo two>&2& exit 3", b"", 100);
        assert_eq!(filtered.output, b"\"a b\"\r\n");
        assert_eq!((filtered.complete, filtered.status.code()), (true, Some(3)));
        assert_eq!(said, ["one", "two"]);
    }

    #[test]
    fn what_goes_in_can_be_read() {
        let (filtered, _) = run("set /p value=& echo [!value!]", b"7\r\n", 100);
        assert_eq!(filtered.output, b"[7]\r\n");
    }

    #[test]
    fn input_that_is_not_read_is_no_error() {
        let (filtered, _) = run("echo fine", &vec![7; 1 << 20], 100);
        assert_eq!(filtered.output, b"fine\r\n");
        assert!(filtered.status.success());
    }

    #[test]
    fn who_prints_too_much_is_killed() {
        let line = format!("for /l %i in (1,0,2) do @echo {}", "y".repeat(100));
        let (filtered, _) = run(&line, b"", 1_000);
        assert_eq!((filtered.output.len(), filtered.complete), (1_000, false));
        assert!(!filtered.status.success());
        let (filtered, _) = run("echo 123", b"", 5);
        assert_eq!((&filtered.output[..], filtered.complete), (&b"123\r\n"[..], true));
    }

    #[test]
    fn a_group_that_is_called_off_is_not_started() {
        let group = Group::default();
        group.end(true);
        let error = filter(shell("echo no"), &group, b"", 9, &|_| {}, None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
    }

    #[test]
    fn values_with_signs_are_found() {
        for (value, has) in [
            ("plain-Name_1.2/3 ä", false),
            ("a&b", true),
            ("50%", true),
            ("a\nb", true),
        ] {
            assert_eq!(has_signs(value), has, "{value:?}");
        }
    }

    #[test]
    fn values_that_would_be_commands_are_found() {
        let names = ["ROB_METHOD", "ROB_CALLER"];
        for (line, found) in [
            ("echo %ROB_METHOD%", Some("ROB_METHOD")),
            ("echo %rob_caller:~0,3%", Some("ROB_CALLER")),
            ("echo !ROB_METHOD!", None),
            ("echo %ROB_OBJECT% ROB_METHOD%", None),
            ("echo %ROB_CALLER_PID%", None),
        ] {
            assert_eq!(read_as_commands(line, &names), found, "{line}");
        }
    }
}
