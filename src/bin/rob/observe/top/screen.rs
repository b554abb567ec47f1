//! The terminal while `rob top` has it.
//!
//! Owns how it is taken and that it is given back: at the end, after a failure, after a panic. What is shown is `draw`'s. Called by
//! `live`.

use super::view::Key;
use actix_ipc::platform::suspend::Suspension;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
    disable_raw_mode, enable_raw_mode,
};
use ratatui::{Frame, Terminal};
use std::io::{self, Stdout};
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// The terminal is not as it was.
static TAKEN: AtomicBool = AtomicBool::new(false);
/// A panic is told on a screen that can be read.
static HOOK: Once = Once::new();

/// The terminal, taken; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    /// Takes it.
    ///
    /// # Errors
    /// When it is none, or goes away.
    pub(super) fn take() -> io::Result<Self> {
        HOOK.call_once(|| {
            let before = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                give_back();
                before(info);
            }));
        });
        TAKEN.store(true, Ordering::SeqCst);
        let taken = enable_raw_mode()
            .and_then(|()| execute!(io::stdout(), EnterAlternateScreen))
            .and_then(|()| Terminal::new(CrosstermBackend::new(io::stdout())));
        let screen = taken.map(|terminal| Self { terminal });
        if screen.is_err() {
            give_back();
        }
        screen
    }

    /// Gives it back for a while, as long as the shell has stopped this program.
    ///
    /// # Errors
    /// When it is gone afterwards.
    pub(super) async fn suspend(&mut self, suspension: &mut Suspension) -> io::Result<()> {
        give_back();
        suspension.stop().await;
        TAKEN.store(true, Ordering::SeqCst);
        enable_raw_mode()?;
        execute!(io::stdout(), EnterAlternateScreen, Hide)?;
        // Nobody knows what stands there now: the next frame is drawn whole.
        self.terminal = Terminal::new(CrosstermBackend::new(io::stdout()))?;
        Ok(())
    }

    /// Draws a frame, which appears as a whole where the terminal can do that.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub(super) fn draw(&mut self, frame: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        execute!(io::stdout(), BeginSynchronizedUpdate)?;
        self.terminal.draw(frame)?;
        execute!(io::stdout(), EndSynchronizedUpdate)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Makes the terminal what it was. Whoever is not there any more needs no terminal.
fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}

/// What comes from the terminal.
#[derive(Debug)]
pub(super) enum Input {
    /// A key.
    Key(Key),
    /// It has another size.
    Resized,
    /// Nothing will come any more.
    Ended(io::Error),
}

/// Reads keys on a thread of its own, which lasts as long as the process: the system cannot be asked to stop waiting for one.
///
/// # Errors
/// When there is no thread.
pub(super) fn keys() -> io::Result<UnboundedReceiver<Input>> {
    let (sender, inputs) = unbounded_channel();
    let read = move || {
        loop {
            let input = match event::read() {
                Ok(Event::Key(key)) => key_of(key).map(Input::Key),
                Ok(Event::Resize(..)) => Some(Input::Resized),
                Ok(_) => None,
                Err(error) => {
                    let _ = sender.send(Input::Ended(error));
                    return;
                }
            };
            if input.is_some_and(|input| sender.send(input).is_err()) {
                return;
            }
        }
    };
    std::thread::Builder::new().name("keys".into()).spawn(read)?;
    Ok(inputs)
}

fn key_of(event: KeyEvent) -> Option<Key> {
    if event.kind == KeyEventKind::Release {
        return None;
    }
    let held = event
        .modifiers
        .intersects(KeyModifiers::CONTROL | KeyModifiers::ALT);
    Some(match event.code {
        KeyCode::Char('c') if event.modifiers.contains(KeyModifiers::CONTROL) => Key::Interrupt,
        KeyCode::Char('z') if event.modifiers.contains(KeyModifiers::CONTROL) => Key::Suspend,
        KeyCode::Char(letter) if !held => Key::Char(letter),
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        KeyCode::Up => Key::Rows(-1),
        KeyCode::Down => Key::Rows(1),
        KeyCode::PageUp => Key::Pages(-1),
        KeyCode::PageDown => Key::Pages(1),
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Left | KeyCode::BackTab => Key::Left,
        KeyCode::Right | KeyCode::Tab => Key::Right,
        _ => return None,
    })
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use pty_process::blocking::{Command, open};
    use std::io::Read;

    const HERE: &str = "observe::top::screen::tests::a_panic_with_the_terminal_taken";

    #[test]
    #[ignore = "is started by the test below, in a terminal of its own"]
    #[should_panic(expected = "on purpose")]
    fn a_panic_with_the_terminal_taken() {
        let _screen = Screen::take().unwrap();
        panic!("on purpose");
    }

    #[test]
    fn a_panic_is_told_on_the_screen_that_stays() {
        let (mut pty, pts) = open().unwrap();
        let program = std::env::current_exe().unwrap();
        let arguments = ["--ignored", "--exact", "--nocapture", HERE];
        let mut child = Command::new(program).args(arguments).spawn(pts).unwrap();
        let mut parser = vt100::Parser::new(100, 200, 0);
        let (mut buffer, mut taken) = ([0; 1024], false);
        while let Ok(count @ 1..) = pty.read(&mut buffer) {
            for byte in &buffer[..count] {
                parser.process(&[*byte]);
                taken |= parser.screen().alternate_screen();
            }
        }
        assert!(child.wait().unwrap().success());
        let screen = parser.screen();
        assert!(taken && !screen.alternate_screen() && !screen.hide_cursor());
        // What was written to the other screen is gone.
        assert!(screen.contents().contains("on purpose"), "{}", screen.contents());
    }
}
