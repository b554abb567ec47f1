//! A program in a pseudo-terminal, and what its screen shows.
//!
//! A thread reads what the program writes into a terminal's state (`vt100`); a test waits for the state that it expects, with a limit.
//! Expects the processes beside it, as `crate::support`.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    reason = "each test file uses its own part of the harness, and what is not as expected fails the test"
)]

use crate::support::{PATIENCE, until};
use pty_process::Size;
use pty_process::blocking::{Command, Pts, Pty};
use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{LocalModes, tcgetattr};
use std::io::{Read, Write};
use std::process::Child;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

/// Behind each frame of a program that draws whole ones: the end of a synchronized update.
const FRAME_END: &[u8] = b"\x1b[?2026l";

/// What the terminal shows.
struct Shown {
    parser: vt100::Parser,
    /// The last whole frame.
    frame: String,
    was_alternate: bool,
    ended: bool,
    /// All of it.
    written: Vec<u8>,
}

/// A terminal with one program in it.
pub struct Terminal {
    pty: Arc<Pty>,
    child: Child,
    /// Whom signals go to.
    subject: u32,
    shown: Arc<(Mutex<Shown>, Condvar)>,
    exit: Option<Option<i32>>,
}

impl Terminal {
    /// Starts the program in a terminal of so many rows and columns, with these variables and no others that matter.
    pub fn start<'a>(
        program: &str,
        arguments: impl Iterator<Item = &'a str>,
        variables: &[(&str, &str)],
        (rows, columns): (u16, u16),
    ) -> Self {
        let (pty, pts): (Pty, Pts) = pty_process::blocking::open().unwrap();
        pty.resize(Size::new(rows, columns)).unwrap();
        let mut command = Command::new(program).args(arguments);
        for name in crate::support::changing() {
            command = command.env_remove(name);
        }
        let child = command.envs(variables.iter().copied()).spawn(pts).unwrap();
        let (pty, subject) = (Arc::new(pty), child.id());
        let parser = vt100::Parser::new(rows, columns, 0);
        let shown = Shown {
            parser,
            frame: String::new(),
            was_alternate: false,
            ended: false,
            written: Vec::new(),
        };
        let shown = Arc::new((Mutex::new(shown), Condvar::new()));
        let (reader, seen) = (Arc::clone(&pty), Arc::clone(&shown));
        std::thread::spawn(move || read(&reader, &seen));
        Self {
            pty,
            child,
            subject,
            shown,
            exit: None,
        }
    }

    /// Waits until a whole frame is as expected, and returns it: lines without blanks at their ends, none below the last that has a text.
    #[track_caller]
    pub fn wait(&self, what: &str, expected: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        let (lock, changed) = &*self.shown;
        let mut shown = lock.lock().unwrap();
        loop {
            if expected(&shown.frame) {
                return shown.frame.clone();
            }
            let screen = text(&shown);
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero() && !shown.ended,
                "{what} did not come; the screen is\n{screen}"
            );
            shown = changed.wait_timeout(shown, left).unwrap().0;
        }
    }

    pub fn screen(&self) -> String {
        text(&self.shown.0.lock().unwrap())
    }

    /// Everything that the program has written.
    pub fn written(&self) -> String {
        String::from_utf8_lossy(&self.shown.0.lock().unwrap().written).into_owned()
    }

    /// Whether the program has a screen of its own now.
    pub fn is_alternate(&self) -> bool {
        self.shown.0.lock().unwrap().parser.screen().alternate_screen()
    }

    /// Whether it ever had.
    pub fn was_alternate(&self) -> bool {
        self.shown.0.lock().unwrap().was_alternate
    }

    pub fn hides_cursor(&self) -> bool {
        self.shown.0.lock().unwrap().parser.screen().hide_cursor()
    }

    pub fn is_coloured(&self) -> bool {
        let shown = self.shown.0.lock().unwrap();
        let screen = shown.parser.screen();
        let (rows, columns) = screen.size();
        let cells = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
        let mut cells = cells.filter_map(|(row, column)| screen.cell(row, column));
        cells.any(|cell| cell.fgcolor() != vt100::Color::Default || cell.bgcolor() != vt100::Color::Default)
    }

    /// How the terminal treats what is typed.
    pub fn modes(&self) -> LocalModes {
        tcgetattr(&*self.pty).unwrap().local_modes
    }

    pub fn keys(&self, keys: &str) {
        (&*self.pty).write_all(keys.as_bytes()).unwrap();
    }

    pub fn resize(&self, (rows, columns): (u16, u16)) {
        self.shown
            .0
            .lock()
            .unwrap()
            .parser
            .screen_mut()
            .set_size(rows, columns);
        self.pty.resize(Size::new(rows, columns)).unwrap();
    }

    /// The program is a shell, and what it runs now is meant by signals.
    #[track_caller]
    pub fn mean_the_job(&mut self) {
        let path = format!("/proc/{0}/task/{0}/children", self.child.id());
        let children = std::fs::read_to_string(path).unwrap();
        self.subject = children.trim().parse().expect("one job");
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.subject).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits until a signal has stopped the program and everything that it wrote before is on the screen that it shares with others.
    #[track_caller]
    pub fn stopped(&self) {
        let stat = format!("/proc/{}/stat", self.subject);
        until("it is stopped", || {
            std::fs::read_to_string(&stat).unwrap().contains(") T ")
        });
        until("the terminal is given back", || {
            !self.is_alternate() && !self.hides_cursor()
        });
    }

    /// Waits until the program has ended and everything that it wrote is on the screen; its exit code.
    #[track_caller]
    pub fn end(&mut self) -> Option<i32> {
        let (lock, changed) = &*self.shown;
        let shown = lock.lock().unwrap();
        let (shown, timeout) = changed
            .wait_timeout_while(shown, PATIENCE, |shown| !shown.ended)
            .unwrap();
        assert!(
            !timeout.timed_out(),
            "the program does not end; the screen is\n{}",
            text(&shown)
        );
        drop(shown);
        *self.exit.get_or_insert_with(|| self.child.wait().unwrap().code())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(shown: &Shown) -> String {
    let screen = shown.parser.screen();
    let lines: Vec<String> = screen
        .rows(0, screen.size().1)
        .map(|row| row.trim_end().to_owned())
        .collect();
    lines.join("\n").trim_end().to_owned()
}

/// Reads until nobody has the other end any more.
fn read(pty: &Pty, shown: &(Mutex<Shown>, Condvar)) {
    let mut buffer = [0; 4096];
    let mut pty: &Pty = pty;
    let mut last = Vec::new();
    loop {
        let count = pty.read(&mut buffer).unwrap_or(0);
        let mut state = shown.0.lock().unwrap();
        state
            .written
            .extend_from_slice(buffer.get(..count).unwrap_or_default());
        for byte in buffer.get(..count).unwrap_or_default() {
            state.parser.process(std::slice::from_ref(byte));
            state.was_alternate |= state.parser.screen().alternate_screen();
            last.push(*byte);
            if last.ends_with(FRAME_END) {
                state.frame = text(&state);
                last.clear();
                shown.1.notify_all();
            }
        }
        state.ended = count == 0;
        shown.1.notify_all();
        if count == 0 {
            return;
        }
    }
}
