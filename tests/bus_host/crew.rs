//! Several members of buses in one folder, and what the system says of them.
//!
//! Owns the processes, their standard input and the lines that they said. Who holds the lock is asked of the system, not of them.

use crate::member::{BUS, LIMIT, MAY_HOST, READY};
use crate::support::{PATIENCE, Process, this_program};
#[cfg(unix)]
use rustix::process::{Flock, FlockType, Pid, Signal, fcntl_getlk, kill_process};
use std::cell::RefCell;
use std::io::{PipeWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use tempfile::TempDir;

/// Where a member looks for its user's folder.
pub const FOLDER: &str = if cfg!(windows) {
    "LOCALAPPDATA"
} else {
    "XDG_RUNTIME_DIR"
};

/// A folder that stands for a user's.
pub struct Crew {
    folder: TempDir,
}

pub struct Member {
    pub process: Process,
    said: RefCell<Vec<String>>,
    input: PipeWriter,
}

/// A process that is nobody's child here; killed at the end, whatever that is.
#[cfg(unix)]
pub struct Stray(pub u32);

#[cfg(unix)]
impl Drop for Stray {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.0).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

impl Crew {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        #[cfg(unix)]
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        Self { folder }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn command(&self, bus: &str) -> Command {
        let mut command = this_program("as_a_member");
        command.env(FOLDER, self.folder.path()).env(BUS, bus);
        command
    }

    /// A member that has attached or not, as its lines will say.
    pub fn start(&self, bus: &str) -> Member {
        Member::start(&mut self.command(bus))
    }

    /// One that never hosts, and gives up after so many milliseconds.
    pub fn start_follower(&self, bus: &str, limit: u32) -> Member {
        Member::start(self.command(bus).env(MAY_HOST, "0").env(LIMIT, limit.to_string()))
    }

    /// One that gives up after so many milliseconds.
    pub fn start_limited(&self, bus: &str, limit: u32) -> Member {
        Member::start(self.command(bus).env(LIMIT, limit.to_string()))
    }

    /// One that waits for a line before it attaches.
    pub fn start_ready(&self, bus: &str) -> Member {
        let member = Member::start(self.command(bus).env(READY, "1"));
        member.wait("ready");
        member
    }

    /// A member that is connected.
    pub fn member(&self, bus: &str) -> Member {
        let member = self.start(bus);
        member.wait("up");
        member
    }

    /// The files of the buses with this ending, in order.
    pub fn files(&self, ending: &str) -> Vec<PathBuf> {
        let folder = self.folder.path().join("actix-ipc/bus");
        let entries = std::fs::read_dir(folder).unwrap();
        let mut files: Vec<PathBuf> = entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == ending))
            .collect();
        files.sort();
        files
    }

    /// Who has the lock of the only bus.
    pub fn holder(&self) -> Option<u32> {
        let [path] = &self.files("lock")[..] else {
            panic!("there is not one bus");
        };
        holder(path)
    }
}

/// Who has the lock of a bus.
#[cfg(unix)]
pub fn holder(lock: &Path) -> Option<u32> {
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(lock)
        .unwrap();
    let asked = fcntl_getlk(&file, &Flock::from(FlockType::WriteLock)).unwrap();
    asked.map(|lock| u32::try_from(lock.pid.unwrap().as_raw_nonzero().get()).unwrap())
}

/// Who has the lock of a bus: the system says that somebody has, the file who.
#[cfg(windows)]
#[allow(unsafe_code, reason = "locks of a part of a file have no safe interface")]
pub fn holder(lock: &Path) -> Option<u32> {
    use std::os::windows::fs::FileExt;
    use std::os::windows::io::AsRawHandle;
    use windows_sys::Win32::Storage::FileSystem::{LOCKFILE_FAIL_IMMEDIATELY, LockFileEx};
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(lock)
        .unwrap();
    let mut place = windows_sys::Win32::System::IO::OVERLAPPED::default();
    place.Anonymous.Anonymous.OffsetHigh = 0x4000_0000;
    // SAFETY: the handle is open until the end of this function, and `place` lives as long; closing the file gives the lock back.
    let free = unsafe {
        LockFileEx(
            file.as_raw_handle(),
            LOCKFILE_FAIL_IMMEDIATELY,
            0,
            1,
            0,
            &raw mut place,
        )
    };
    if free != 0 {
        return None;
    }
    let mut number = [0; 4];
    assert_eq!(file.seek_read(&mut number, 0).unwrap(), 4);
    Some(u32::from_le_bytes(number))
}

impl Member {
    fn start(command: &mut Command) -> Self {
        let (reader, input) = std::io::pipe().unwrap();
        let process = Process::spawn(command.stdin(reader));
        // The command keeps the reading end, which must not outlive its process.
        command.stdin(std::process::Stdio::null());
        Self {
            process,
            said: RefCell::default(),
            input,
        }
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    pub fn tell(&mut self, line: &str) {
        self.input.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// The rest of the first line that begins with these words; it may have been said before others that were read already.
    #[track_caller]
    pub fn wait(&self, words: &str) -> String {
        let mut looked = 0;
        let limit = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < limit, "not within {PATIENCE:?}: {words:?}");
            let mut said = self.said.borrow_mut();
            let found = said.iter().skip(looked).position(|line| line.starts_with(words));
            if let Some(at) = found {
                let line = said.remove(looked + at);
                return line[words.len()..].trim().to_owned();
            }
            looked = said.len();
            drop(said);
            let line = self.process.error_line();
            if let Some(line) = line.strip_prefix("= ") {
                self.said.borrow_mut().push(line.to_owned());
                // What may be waited for differs; these are only ever waited for themselves.
                let ending = ["error", "no connection", "no pong"].map(|bad| line.starts_with(bad));
                let waited = ["error", "no connection", "no pong"].contains(&words);
                assert!(waited || !ending.contains(&true), "waiting for {words:?}: {line}");
            } else if line.contains("panicked") {
                panic!("a member failed: {line} {}", self.process.error_line());
            }
        }
    }

    #[track_caller]
    pub fn ask(&mut self, line: &str, answer: &str) -> String {
        self.tell(line);
        self.wait(answer)
    }

    /// Says sooner or later that this is the host. Its connection and its view of the lock are told by different descriptors.
    #[track_caller]
    pub fn learns(&mut self, host: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let is = self.ask("host", "is");
            if is == host {
                return;
            }
            assert!(Instant::now() < until, "{is} instead of {host}");
        }
    }

    /// It is connected to a broker that answers.
    #[track_caller]
    pub fn works(&mut self) {
        self.ask("ping", "pong");
    }
}
