//! A child process and all that it starts, from its start to its end.
//!
//! Owns the stages of its life, how anybody ends it in each of them, and the pipe that it prints into. How the system starts a process, keeps
//! those together that it starts, and reaps it, `system` knows. It refuses to know why the process runs. `activation` calls it, on a
//! thread that may block.

#[cfg_attr(unix, path = "child/unix.rs")]
#[cfg_attr(not(unix), path = "child/windows.rs")]
mod system;

#[cfg_attr(target_os = "linux", path = "child/left.rs")]
#[cfg_attr(not(target_os = "linux"), path = "child/no_left.rs")]
mod left;

pub use left::Left;
pub use system::HAS_UNITS;
#[cfg(unix)]
pub(super) use system::Tie;
#[cfg(all(unix, feature = "cli"))]
pub(super) use system::reap;
#[cfg(all(not(unix), feature = "cli"))]
pub(super) use system::{start_held, wait as reap};

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
#[cfg(not(unix))]
use system::Tie;

/// Whether a program is named by its path; a name alone is looked up in `PATH`.
#[must_use]
pub fn is_path(program: &str) -> bool {
    is_path_where(program, cfg!(windows))
}

fn is_path_where(program: &str, windows: bool) -> bool {
    let of_windows = || program.contains('\\') || program.as_bytes().get(1) == Some(&b':');
    program.contains('/') || (windows && of_windows())
}

/// The file that is started when a program is named by this path: Windows looks for one that ends with `.exe` first.
#[must_use]
pub fn file_of(program: &str) -> PathBuf {
    file_where(program, cfg!(windows), Path::is_file)
}

fn file_where(program: &str, windows: bool, there: impl Fn(&Path) -> bool) -> PathBuf {
    let ends = |path: &str| path.to_ascii_lowercase().ends_with(".exe");
    let longer = (windows && !ends(program)).then(|| PathBuf::from(format!("{program}.exe")));
    longer
        .filter(|longer| there(longer))
        .unwrap_or_else(|| program.into())
}

/// Where its life stands.
#[derive(Debug)]
enum Stage {
    Before,
    /// It is not to be started any more.
    CalledOff,
    Live(Tie),
    Over,
}

/// The process and all that it has started and that has not left its group: the way to end them, from any thread.
#[derive(Debug)]
pub struct Group(Mutex<Stage>);

impl Default for Group {
    fn default() -> Self {
        Self(Mutex::new(Stage::Before))
    }
}

impl Group {
    /// Asks the group to end, where the system has a way to ask, or kills it. One that is not started yet will not be.
    pub fn end(&self, kill: bool) {
        let mut stage = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*stage {
            Stage::Before => *stage = Stage::CalledOff,
            Stage::Live(tie) => tie.end(kill),
            Stage::CalledOff | Stage::Over => {}
        }
    }

    /// `false`: it was called off meanwhile.
    pub(super) fn live(&self, tie: Tie) -> bool {
        let mut stage = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = matches!(*stage, Stage::Before);
        *stage = Stage::Live(tie);
        wanted
    }

    pub(super) fn is_called_off(&self) -> bool {
        matches!(
            *self.0.lock().unwrap_or_else(PoisonError::into_inner),
            Stage::CalledOff
        )
    }

    /// The last thing that is done with it: nobody ends it meanwhile, or later.
    fn over<T>(&self, last: impl FnOnce() -> T) -> T {
        let mut stage = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let done = last();
        *stage = Stage::Over;
        done
    }
}

/// Why nobody can say how a process ended.
#[derive(Debug)]
pub enum Trouble {
    /// It was not started ([`io::ErrorKind::Interrupted`]: it was called off).
    NotStarted(io::Error),
    /// It was started and has ended, and somebody else has reaped it.
    Lost(io::Error),
}

/// Starts the command, waits for its end and reaps it; what is left of its group then is killed. Each line that it prints is told, unless its
/// output is to go nowhere.
///
/// # Errors
/// See [`Trouble`].
pub fn run(
    mut command: Command,
    group: &Group,
    told: Option<&(dyn Fn(&str) + Sync)>,
) -> Result<ExitStatus, Trouble> {
    let mut start = || {
        command.stdin(Stdio::null());
        let mut output = None;
        if told.is_some() {
            let (reader, writer) = io::pipe()?;
            let (over, is_over) = system::over(&writer)?;
            command.stdout(writer.try_clone()?).stderr(writer);
            output = Some((reader, over, is_over));
        } else {
            command.stdout(Stdio::null()).stderr(Stdio::null());
        }
        if group.is_called_off() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let (child, tie) = system::start(&mut command)?;
        Ok((child, tie, output))
    };
    let (mut child, tie, output) = start().map_err(Trouble::NotStarted)?;
    // It holds the writing end of the output, which is to end with the child.
    drop(command);
    if !group.live(tie) {
        group.end(true);
    }
    std::thread::scope(|threads| {
        let mut is_over = None;
        if let (Some((output, over, its_end)), Some(told)) = (output, told) {
            let reader = std::thread::Builder::new().name("service-output".into());
            // Without a thread nobody reads; the pipe's other end is closed then, and the child learns of it.
            let _ = reader.spawn_scoped(threads, move || system::read(output, &over, told));
            is_over = Some(its_end);
        }
        let status = system::wait(&mut child, group);
        drop(is_over);
        status.map_err(Trouble::Lost)
    })
}

/// Waits for the end of what an earlier process of the program has left; nothing of it is read or reaped.
#[cfg_attr(
    not(target_os = "linux"),
    allow(unreachable_code, reason = "nothing is found there that was left")
)]
pub fn attend(left: Left, group: &Group) {
    if !group.live(Tie::of_left(left.clone())) {
        group.end(true);
    }
    left.wait();
    group.over(|| ());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_path_depends_on_the_system() {
        for (program, unix, windows) in [
            ("worker", false, false),
            ("worker.exe", false, false),
            ("/usr/bin/worker", true, true),
            ("C:/none.exe", true, true),
            (r"C:\none.exe", false, true),
            (r"\\server\share\none.exe", false, true),
            (r"tools\worker", false, true),
            ("C:worker", false, true),
            ("", false, false),
        ] {
            let found = [false, true].map(|is_windows| is_path_where(program, is_windows));
            assert_eq!(found, [unix, windows], "{program}");
        }
    }

    #[test]
    fn windows_starts_what_ends_with_exe() {
        let there = |path: &Path| path == Path::new(r"C:\a.exe");
        for (program, windows, file) in [
            (r"C:\a", true, r"C:\a.exe"),
            (r"C:\a", false, r"C:\a"),
            (r"C:\b", true, r"C:\b"),
            (r"C:\a.EXE", true, r"C:\a.EXE"),
        ] {
            assert_eq!(
                file_where(program, windows, there),
                PathBuf::from(file),
                "{program}"
            );
        }
    }
}
