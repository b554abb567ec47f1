//! Process groups that end with this process, however it ends.
//!
//! Owns a shell beside this process, which is told the groups and kills those that are left when the pipe to it ends: after `kill -9` nothing
//! in this process can do that. It refuses to know what the groups do. `rob serve` starts it, `filter` has it hold each command.
//!
//! A process tells the shell of itself, before it becomes the command: told by its parent, it would be unknown to the shell for as long as the
//! parent needs to come to it, and outlive one that is killed in between. The pipe does not end before that line is in it, for until it is the
//! command the child has the pipe open, too.

use rustix::process::getpid;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Reads `+ TAG GROUP` and `- TAG`, a line each; the second may come without the first. Signals are for others: it ends when its input does.
const SCRIPT: &str = r#"
trap '' HUP INT QUIT TERM
groups=' '
while read -r sign tag group; do
  case $sign$groups in
    +*) groups="$groups$tag:$group " ;;
    -*" $tag:"*) rest=${groups#*" $tag:"}; groups="${groups%%" $tag:"*} ${rest#* }" ;;
  esac
done
for entry in $groups; do kill -KILL "-${entry#*:}"; done
"#;

/// A sign, two numbers, what is between them, and the end.
const LINE_MAX: usize = "+ 4294967295 -2147483648\n".len();

/// The shell that holds on to the groups. Dropped, it kills those that are left.
#[derive(Debug)]
pub struct Leash {
    input: Mutex<ChildStdin>,
    /// Tells one group from another before it has a number.
    tags: AtomicU32,
}

impl Leash {
    /// Starts the shell, in a group of its own.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start() -> io::Result<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT]).current_dir("/").process_group(0);
        Self::to(command)
    }

    fn to(mut command: Command) -> io::Result<Self> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let input = command.spawn()?.stdin.take();
        let input = input.map(|input| Self {
            input: Mutex::new(input),
            tags: AtomicU32::new(0),
        });
        // It was asked for.
        input.ok_or_else(|| io::Error::other("the shell has no input"))
    }

    /// Has the command, which is to begin a group of its own, be held on to from its beginning until what is returned is dropped: when it
    /// could not be started, or while its number is still its own.
    ///
    /// # Errors
    /// There is no descriptor left for the command's end of the pipe.
    #[allow(
        unsafe_code,
        reason = "no safe call has a child say its number before it runs"
    )]
    pub(super) fn hold(&self, command: &mut Command) -> io::Result<Held<'_>> {
        let tag = self.tags.fetch_add(1, Ordering::Relaxed);
        let input = self.locked().as_fd().try_clone_to_owned()?;
        // SAFETY: between fork and exec the closure makes system calls that signal handlers may make, and writes into an array on its stack:
        // it allocates nothing and takes no lock. The descriptor is its own, and open: the command keeps it.
        unsafe {
            command.pre_exec(move || {
                say(&input, tag);
                Ok(())
            });
        }
        Ok(Held { leash: self, tag })
    }

    fn locked(&self) -> MutexGuard<'_, ChildStdin> {
        self.input.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the shell of this process: in one write, which nobody else's can be amidst. A shell that somebody has killed holds nothing; the
/// command goes on.
#[allow(
    unsafe_code,
    reason = "no safe call makes a child survive a pipe that nobody reads"
)]
fn say(input: &OwnedFd, tag: u32) {
    let mut line = [0; LINE_MAX];
    let mut rest = &mut line[..];
    // What it is made of has room: two numbers of 32 bits.
    let _ = writeln!(rest, "+ {tag} {}", getpid().as_raw_nonzero());
    let left = rest.len();
    let line = line.get(..LINE_MAX.saturating_sub(left)).unwrap_or_default();
    // SAFETY: plain numbers; the former disposition is put back. The thread is the only one of this process.
    let before = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    let _ = rustix::io::write(input, line);
    // SAFETY: as above.
    unsafe { libc::signal(libc::SIGPIPE, before) };
}

/// A group that is held on to.
#[derive(Debug)]
pub(super) struct Held<'a> {
    leash: &'a Leash,
    tag: u32,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let line = format!("- {}\n", self.tag);
        // As in `say`.
        let _ = self.leash.locked().write_all(line.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::process::Child;

    /// A process that holds its output open, in a group of its own.
    fn sleeper(leash: &Leash) -> (Child, Held<'_>) {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & echo; wait"]).process_group(0);
        let held = leash.hold(&mut command).unwrap();
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        (child, held)
    }

    #[test]
    fn what_is_held_ends_with_it_and_nothing_else() {
        let leash = Leash::start().unwrap();
        let mut absent = Command::new("/nowhere/such-a-command");
        let [first, second, third] = std::array::from_fn(|_| {
            // One that never came to be is let go as well.
            let never = leash.hold(&mut absent).unwrap();
            assert!(absent.spawn().is_err());
            drop(never);
            sleeper(&leash)
        });
        let ((mut one, first), (mut two, second), (mut three, third)) = (first, second, third);
        drop(second);
        let _held_until_it_ends = std::mem::ManuallyDrop::new((first, third));
        drop(absent);
        drop(leash);
        for child in [&mut one, &mut three] {
            // The end of the output: the child of the leader is gone as well.
            child.stdout.take().unwrap().read_to_end(&mut Vec::new()).unwrap();
            assert!(!child.wait().unwrap().success());
        }
        assert!(two.try_wait().unwrap().is_none(), "it was let go");
        let two_group = rustix::process::Pid::from_child(&two);
        let _ = rustix::process::kill_process_group(two_group, rustix::process::Signal::KILL);
        two.wait().unwrap();
    }

    #[test]
    fn a_command_runs_also_when_the_shell_has_ended() {
        let leash = Leash::to(Command::new("true")).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo fine"]).process_group(0);
        // Its end is told by the pipe.
        while leash.locked().write_all(b"\n").is_ok() {
            std::thread::yield_now();
        }
        let _held = leash.hold(&mut command).unwrap();
        assert_eq!(command.output().unwrap().stdout, b"fine\n");
    }
}
