//! Processes that an earlier process of this program has started, and left when it was killed or told to leave them.
//!
//! Owns how such a process is known: by a variable that it was started with, by its arguments, by being the leader of its process group, and by
//! living where this process lives (its user, and its namespaces of processes, files and networks). It refuses to know what the
//! variable says. `activation` calls it, on a thread that may block.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal, getuid, pidfd_open, pidfd_send_signal};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

/// Namespaces in which one name may mean something else.
const NAMESPACES: [&str; 3] = ["pid", "mnt", "net"];

/// A process that another one has left. Its number may be given to others once it has ended; what is done here is done to it alone.
#[derive(Clone, Debug)]
pub struct Left {
    pid: u32,
    process: Arc<OwnedFd>,
}

impl Left {
    /// The process that was started with this variable and these arguments, if one lives. One whose environment cannot be read, or that
    /// has written over its arguments, is not found.
    #[must_use]
    pub fn find(mark: (&str, &str), argv: &[String]) -> Option<Self> {
        let mark = format!("{}={}", mark.0, mark.1);
        let numbers = fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| {
            let number: i32 = entry.file_name().to_str()?.parse().ok()?;
            Pid::from_raw(number)
        });
        numbers.filter(|pid| is_left(*pid, &mark, argv)).find_map(|pid| {
            let process = pidfd_open(pid, PidfdFlags::empty()).ok()?;
            // The number may have been another's when the process was held.
            is_left(pid, &mark, argv).then(|| Self {
                pid: pid.as_raw_nonzero().get().unsigned_abs(),
                process: Arc::new(process),
            })
        })
    }

    /// Its number.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Asks it to end, or kills it. What it has started is left alone: its group may be another's once it has ended.
    pub(super) fn signal(&self, kill: bool) {
        let _ = pidfd_send_signal(&*self.process, if kill { Signal::KILL } else { Signal::TERM });
    }

    /// Waits until it has ended.
    pub(super) fn wait(&self) {
        let mut ended = [PollFd::new(&*self.process, PollFlags::IN)];
        while poll(&mut ended, None) == Err(rustix::io::Errno::INTR) {}
    }
}

fn is_left(pid: Pid, mark: &str, argv: &[String]) -> bool {
    let own = Path::new("/proc/self");
    let its = Path::new("/proc").join(pid.as_raw_nonzero().to_string());
    let namespace = |of: &Path, name| fs::read_link(of.join("ns").join(name)).ok();
    fs::metadata(&its).is_ok_and(|about| about.uid() == getuid().as_raw())
        && leads_its_group(&its, pid)
        && fs::read(its.join("environ")).is_ok_and(|all| has_variable(&all, mark))
        && fs::read(its.join("cmdline")).is_ok_and(|all| ends_with(&all, argv))
        && NAMESPACES
            .iter()
            .all(|name| namespace(&its, name).is_some_and(|its| namespace(own, name) == Some(its)))
}

/// It lives, and is the first of its process group, as a process is that a broker starts.
fn leads_its_group(its: &Path, pid: Pid) -> bool {
    let stat = fs::read_to_string(its.join("stat")).unwrap_or_default();
    // Behind the name, which may contain anything: state, parent, group.
    let mut words = stat
        .rsplit_once(')')
        .map_or("", |(_, rest)| rest)
        .split_whitespace();
    let lives = words.next().is_some_and(|state| !matches!(state, "Z" | "X"));
    lives && words.nth(1).and_then(|group| group.parse().ok()) == Some(pid.as_raw_nonzero().get())
}

fn has_variable(environment: &[u8], mark: &str) -> bool {
    environment
        .split(|byte| *byte == 0)
        .any(|one| one == mark.as_bytes())
}

/// A script has the words of its interpreter in front of its own.
fn ends_with(command_line: &[u8], argv: &[String]) -> bool {
    let line = command_line.strip_suffix(&[0]).unwrap_or(command_line);
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    let behind = words.len().checked_sub(argv.len());
    let last = behind.and_then(|behind| words.get(behind..));
    last.is_some_and(|last| last.iter().zip(argv).all(|(word, own)| *word == own.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_all_its_variable_and_the_end_of_its_arguments() {
        let environment = b"A=1\0MARK=unix:/a math\0B=2\0";
        assert!(has_variable(environment, "MARK=unix:/a math"));
        for other in ["MARK=unix:/a", "MARK=unix:/a math2", "ARK=unix:/a math", ""] {
            assert!(!has_variable(b"A=1\0MARK=unix:/a math", other), "{other}");
        }
        let argv = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        for (line, words, is) in [
            (&b"/bin/worker\0-x\0"[..], &["/bin/worker", "-x"][..], true),
            (b"/bin/sh\0/bin/worker\0-x\0", &["/bin/worker", "-x"], true),
            (b"/bin/worker\0\0", &["/bin/worker", ""], true),
            (b"/bin/worker\0-x\0-y\0", &["/bin/worker", "-x"], false),
            (b"-x\0", &["/bin/worker", "-x"], false),
            (b"", &["/bin/worker"], false),
        ] {
            assert_eq!(ends_with(line, &argv(words)), is, "{words:?}");
        }
    }

    #[test]
    fn this_process_bears_no_mark() {
        let argv: Vec<String> = std::env::args().collect();
        assert!(Left::find(("ACTIX_IPC_NO_SUCH_MARK", "x"), &argv).is_none());
    }
}
