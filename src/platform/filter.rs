//! A command as a filter: bytes in, bytes out, and lines for people beside them.
//!
//! Owns the three pipes of one command, the bound of what it may print, and that nothing of its process group is left. It refuses to know
//! what the bytes mean. `rob serve` calls it, on a thread that may block.

pub use super::filtered::Filtered;

use super::child::{Group, Tie, reap};
use super::leash::Leash;
use super::lines::Lines;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::Pid;
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};

/// What is written at once: a pipe that is ready to be written takes as much without waiting.
const CHUNK: usize = libc::PIPE_BUF;
/// What is read at most when the command has ended: others may still hold its output.
const REST_MAX: usize = 1024 * 1024;

/// The command that runs a line of a shell.
#[must_use]
pub fn shell(line: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", line]);
    command
}

/// The first of these variables whose value the shell would read as a part of the line: none, `sh` puts values in when it has read it.
#[must_use]
pub const fn read_as_commands<'n>(_line: &str, _names: &[&'n str]) -> Option<&'n str> {
    None
}

/// Whether the shell could read a part of the value as a part of the line: `sh` never does, unless the line asks it to.
#[must_use]
pub const fn has_signs(_value: &str) -> bool {
    false
}

/// Starts the command in a process group of its own, writes `input` to it, reads up to `most` bytes of what it prints, tells each line
/// of its standard error, waits for its end, kills what is left of its group, and reaps it. A command that does not read its input loses it.
/// With a leash the group ends with this process, too.
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
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if group.is_called_off() {
        return Err(io::ErrorKind::Interrupted.into());
    }
    let (over, is_over) = io::pipe()?;
    let held = leash.map(|leash| leash.hold(&mut command)).transpose()?;
    let mut child = command.spawn()?;
    if !group.live(Tie::Own(Pid::from_child(&child))) {
        group.end(true);
    }
    let pipes = Pipes::of(&mut child, input, most, told);
    std::thread::scope(|threads| {
        let pump = std::thread::Builder::new().name("command-pipes".into());
        let pump = pump.spawn_scoped(threads, || pipes.serve(&over, group));
        if pump.is_err() {
            group.end(true);
        }
        let status = reap(&mut child, group, || drop(held));
        drop(is_over);
        let failed = |_| io::Error::other("the pipes of the command could not be served");
        let (output, complete) = pump?.join().map_err(failed)?;
        Ok(Filtered {
            status: status?,
            output,
            complete,
        })
    })
}

/// The ends of a command's pipes that are ours; each is gone when it has come to its end.
struct Pipes<'a> {
    input: Option<ChildStdin>,
    rest: &'a [u8],
    output: Option<ChildStdout>,
    kept: Vec<u8>,
    most: usize,
    complete: bool,
    errors: Option<ChildStderr>,
    lines: Lines,
    told: &'a (dyn Fn(&str) + Sync),
}

/// Which of them something can be done with.
struct Ready {
    input: bool,
    output: bool,
    errors: bool,
    over: bool,
}

impl<'a> Pipes<'a> {
    fn of(child: &mut Child, input: &'a [u8], most: usize, told: &'a (dyn Fn(&str) + Sync)) -> Self {
        Self {
            input: child.stdin.take().filter(|_| !input.is_empty()),
            rest: input,
            output: child.stdout.take(),
            kept: Vec::new(),
            most,
            complete: true,
            errors: child.stderr.take(),
            lines: Lines::default(),
            told,
        }
    }

    /// Serves them until they have come to their ends, or the command to its own.
    fn serve(mut self, over: &PipeReader, group: &Group) -> (Vec<u8>, bool) {
        let mut rest = REST_MAX.saturating_add(self.most);
        while self.input.is_some() || self.output.is_some() || self.errors.is_some() {
            let Some(ready) = self.wait(over) else { break };
            if ready.over && (!(ready.output || ready.errors) || rest == 0) {
                break;
            }
            let before = self.kept.len();
            if ready.input {
                self.write();
            }
            let mut read = 0;
            if ready.output {
                read = self.read_output();
            }
            if ready.errors {
                read = self.read_errors().saturating_add(read);
            }
            if ready.over {
                rest = rest.saturating_sub(read);
            }
            if before <= self.most && self.kept.len() > self.most {
                self.complete = false;
                group.end(true);
            }
        }
        self.lines.end(self.told);
        self.kept.truncate(self.most);
        (self.kept, self.complete)
    }

    /// Waits until one is ready. `None`: the system does not tell.
    fn wait(&self, over: &PipeReader) -> Option<Ready> {
        let (input, output, errors) = (self.input.as_ref(), self.output.as_ref(), self.errors.as_ref());
        let mut fds = vec![PollFd::new(over, PollFlags::IN)];
        fds.extend(input.map(|pipe| PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::OUT)));
        fds.extend(output.map(|pipe| PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN)));
        fds.extend(errors.map(|pipe| PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN)));
        while let Err(error) = poll(&mut fds, None) {
            if error != rustix::io::Errno::INTR {
                return None;
            }
        }
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        let mut next = |there: bool| there && ready.next().unwrap_or(false);
        Some(Ready {
            over: next(true),
            input: next(input.is_some()),
            output: next(output.is_some()),
            errors: next(errors.is_some()),
        })
    }

    fn write(&mut self) {
        let Some(pipe) = &mut self.input else { return };
        let chunk = self.rest.get(..CHUNK).unwrap_or(self.rest);
        match pipe.write(chunk) {
            Ok(length) => self.rest = self.rest.get(length..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // It does not want the rest.
            Err(_) => self.rest = &[],
        }
        if self.rest.is_empty() {
            self.input = None;
        }
    }

    fn read_output(&mut self) -> usize {
        let mut buffer = [0; 16 * 1024];
        let length = read(&mut self.output, &mut buffer);
        // One byte beyond the bound tells that it was passed; more is not kept.
        let room = self.most.saturating_add(1).saturating_sub(self.kept.len());
        let read = buffer.get(..length.min(room)).unwrap_or_default();
        self.kept.extend_from_slice(read);
        length
    }

    fn read_errors(&mut self) -> usize {
        let mut buffer = [0; 4 * 1024];
        let length = read(&mut self.errors, &mut buffer);
        self.lines
            .take(buffer.get(..length).unwrap_or_default(), self.told);
        length
    }
}

/// Reads what is there; the pipe is gone at its end.
fn read(pipe: &mut Option<impl Read>, buffer: &mut [u8]) -> usize {
    let Some(open) = pipe else { return 0 };
    match open.read(buffer) {
        Ok(length @ 1..) => length,
        Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
        Ok(0) | Err(_) => {
            *pipe = None;
            0
        }
    }
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
    fn what_goes_in_comes_out() {
        let large: Vec<u8> = (0..300_000_u32).map(|i| i.to_le_bytes()[0]).collect();
        let (filtered, said) = run("cat; echo one >&2; printf two >&2; exit 3", &large, 1 << 20);
        assert_eq!(filtered.output, large);
        assert_eq!((filtered.complete, filtered.status.code()), (true, Some(3)));
        assert_eq!(said, ["one", "two"]);
    }

    #[test]
    fn input_that_is_not_read_is_no_error() {
        let (filtered, _) = run("exec 0<&-; echo fine", &vec![7; 1 << 20], 100);
        assert_eq!(filtered.output, b"fine\n");
        let (filtered, _) = run("wc -c | tr -d ' '", b"", 100);
        assert_eq!(filtered.output, b"0\n");
    }

    #[test]
    fn who_prints_too_much_is_killed() {
        let (filtered, _) = run("yes", b"", 1_000);
        assert_eq!((filtered.output.len(), filtered.complete), (1_000, false));
        assert!(!filtered.status.success());
        let (filtered, _) = run("printf 12345", b"", 5);
        assert_eq!((&filtered.output[..], filtered.complete), (&b"12345"[..], true));
    }

    #[test]
    fn who_prints_nothing_more_still_gets_all_of_its_input() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("taken");
        let line = format!("exec >&- 2>&-; cat > '{}'", file.display());
        let (filtered, _) = run(&line, &vec![7; 1 << 20], 100);
        assert!(filtered.status.success());
        assert_eq!(std::fs::read(&file).unwrap().len(), 1 << 20);
    }

    #[test]
    fn what_it_leaves_behind_is_killed_and_not_waited_for() {
        let (filtered, _) = run("sleep 600 & echo $!", b"", 100);
        let pid: i32 = String::from_utf8(filtered.output)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
        loop {
            // Gone, or a zombie that its new parent has not reaped: it holds no memory and no descriptor.
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            if stat.is_empty() || stat.contains(") Z ") || stat.contains(") X ") {
                break;
            }
            assert!(std::time::Instant::now() < until, "{stat}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_group_that_is_called_off_is_not_started() {
        let group = Group::default();
        group.end(true);
        let error = filter(shell("echo no"), &group, b"", 9, &|_| {}, None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
    }
}
