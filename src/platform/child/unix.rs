//! How a Unix system starts a process in a group of its own, ends the group and reaps its leader.
//!
//! Owns process groups, their signals, and the limit of open files that a child finds. The stages of its life are `child`'s, which calls it;
//! `filter` reaps with it.

use super::super::lines::Lines;
use super::super::open_files;
use super::{Group, Left};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};

/// Whether services can be units of systemd here.
pub const HAS_UNITS: bool = cfg!(target_os = "linux");

/// What is read at most when the process has ended: others may still write into its output.
const REST_MAX: usize = 64 * 1024;

/// What a process is ended by.
#[derive(Debug)]
pub(in crate::platform) enum Tie {
    /// The group whose leader is a child of this process.
    Own(Pid),
    /// A process that is nobody's child here.
    Left(Left),
}

impl Tie {
    pub(super) const fn of_left(left: Left) -> Self {
        Self::Left(left)
    }

    pub(super) fn end(&self, kill: bool) {
        match self {
            Self::Own(pid) => {
                // Its leader is not reaped, so the number is still its own. Nobody may be left in it.
                let _ = kill_process_group(*pid, if kill { Signal::KILL } else { Signal::TERM });
            }
            Self::Left(left) => left.signal(kill),
        }
    }
}

/// The two ends by which the reader of an output learns that its process is over: the output alone does not say it, for somebody else may
/// have it open.
pub(super) fn over(_: &PipeWriter) -> io::Result<(PipeReader, PipeWriter)> {
    io::pipe()
}

/// Starts the command in a process group of its own.
pub(super) fn start(command: &mut Command) -> io::Result<(Child, Tie)> {
    open_files::as_found(command.process_group(0));
    let child = command.spawn()?;
    let pid = Pid::from_child(&child);
    Ok((child, Tie::Own(pid)))
}

pub(super) fn wait(child: &mut Child, group: &Group) -> io::Result<ExitStatus> {
    reap(child, group, || ())
}

/// Waits for the end of a group's leader, kills what is left of the group, and reaps. `before`: the last thing that is done while its number
/// is its own.
pub(in crate::platform) fn reap(
    child: &mut Child,
    group: &Group,
    before: impl FnOnce(),
) -> io::Result<ExitStatus> {
    let pid = Pid::from_child(child);
    // Not reaped yet, so that its number is its own while it is killed.
    let not_reaped = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    let ended = loop {
        match waitid(WaitId::Pid(pid), not_reaped) {
            Err(rustix::io::Errno::INTR) => {}
            ended => break ended,
        }
    };
    // Where the system or somebody else reaps, the number may be another's by now.
    if ended.is_ok() {
        group.end(true);
    }
    group.over(|| {
        before();
        child.wait()
    })
}

/// Reads lines until the output ends, or the process.
pub(super) fn read(mut output: PipeReader, over: &PipeReader, told: &(dyn Fn(&str) + Sync)) {
    let mut lines = Lines::default();
    let mut rest = REST_MAX;
    let mut buffer = [0; 4096];
    loop {
        let mut ready = [
            PollFd::new(&output, PollFlags::IN),
            PollFd::new(over, PollFlags::IN),
        ];
        match poll(&mut ready, None) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => break,
            Ok(_) => {}
        }
        let [has_more, is_over] = ready.map(|one| !one.revents().is_empty());
        if is_over && (!has_more || rest == 0) {
            break;
        }
        let Ok(length @ 1..) = output.read(&mut buffer) else {
            break;
        };
        if is_over {
            rest = rest.saturating_sub(length);
        }
        lines.take(buffer.get(..length).unwrap_or_default(), told);
    }
    lines.end(told);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_it_is_reaped_its_number_is_its_own() {
        let mut child = Command::new("true").process_group(0).spawn().unwrap();
        let pid = Pid::from_child(&child);
        let is_there = || waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).is_ok();
        let mut was_there = false;
        let status = reap(&mut child, &Group::default(), || was_there = is_there()).unwrap();
        assert!(status.success() && was_there && !is_there());
    }
}
