//! Process groups that end with this process, however it ends.
//!
//! Owns a shell beside this process, which is told the groups and kills those that are left when the pipe to it ends: after `kill -9` nothing
//! in this process can do that. It refuses to know what the groups do. `rob serve` starts it, `filter` tells it of each command.

use rustix::process::Pid;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// Reads `+ NUMBER` and `- NUMBER`, a line each. Signals are for others: it ends when its input does.
const SCRIPT: &str = r#"
trap '' HUP INT QUIT TERM
groups=' '
while read -r sign group; do
  case $sign in
    +) groups="$groups$group " ;;
    -) groups="${groups%%" $group "*} ${groups#*" $group "}" ;;
  esac
done
for group in $groups; do kill -KILL "-$group"; done
"#;

/// The shell that holds on to the groups. Dropped, it kills those that are left.
#[derive(Debug)]
pub struct Leash(Mutex<ChildStdin>);

impl Leash {
    /// Starts the shell, in a group of its own.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start() -> io::Result<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT]).current_dir("/").process_group(0);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let input = command.spawn()?.stdin.take();
        input.map(|input| Self(Mutex::new(input))).ok_or_else(|| {
            // It was asked for.
            io::Error::other("the shell has no input")
        })
    }

    /// Holds on to a group until what is returned is dropped, which is to be before its leader's number may be another's.
    pub(super) fn hold(&self, group: Pid) -> Held<'_> {
        self.tell('+', group);
        Held { leash: self, group }
    }

    fn tell(&self, sign: char, group: Pid) {
        let mut input = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let line = format!("{sign} {}\n", group.as_raw_nonzero());
        // A shell that somebody has killed holds nothing; the commands go on.
        let _ = input.write_all(line.as_bytes());
    }
}

/// A group that is held on to.
#[derive(Debug)]
pub(super) struct Held<'a> {
    leash: &'a Leash,
    group: Pid,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.leash.tell('-', self.group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::process::Child;

    /// A process that holds its output open, in a group of its own.
    fn sleeper() -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & echo; wait"]).process_group(0);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        child
    }

    #[test]
    fn what_is_held_ends_with_it_and_nothing_else() {
        let leash = Leash::start().unwrap();
        let [mut one, mut two, mut three] = [sleeper(), sleeper(), sleeper()];
        let first = leash.hold(Pid::from_child(&one));
        let second = leash.hold(Pid::from_child(&two));
        let third = leash.hold(Pid::from_child(&three));
        drop(second);
        let _held_until_it_ends = std::mem::ManuallyDrop::new((first, third));
        drop(leash);
        for child in [&mut one, &mut three] {
            // The end of the output: the child of the leader is gone as well.
            child.stdout.take().unwrap().read_to_end(&mut Vec::new()).unwrap();
            assert!(!child.wait().unwrap().success());
        }
        assert!(two.try_wait().unwrap().is_none(), "it was let go");
        let _ = rustix::process::kill_process_group(Pid::from_child(&two), rustix::process::Signal::KILL);
        two.wait().unwrap();
    }
}
