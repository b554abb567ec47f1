//! What the example programs of typed protocols have in common: where they meet, when they end, and what they say then.
//!
//! Not an example itself. Owns nothing of protocols; each of `basic`, `bidirectional`, `file_transfer`, `database` and
//! `service_mesh` includes it.
#![allow(dead_code, reason = "each program uses its part")]

use actix_ipc::Endpoint;
use actix_ipc::client::ConnectError;
use actix_ipc::error::{CallError, ErrorCode};
use actix_ipc::protocol::ProtocolSender;
use std::error::Error;
use std::fmt::Arguments;
use std::io::Write;
use std::process::ExitCode;
use tempfile::TempDir;

/// Prints a line for who looks on. Nobody may do so any more, as behind `| head` or when a terminal was closed: then `println!` panics,
/// in a handler for each command that it answers, and this goes on. What counts is what a program does.
macro_rules! say {
    ($($text:tt)*) => {
        $crate::program::print(format_args!($($text)*))
    };
}

/// What `say!` calls.
pub(crate) fn print(line: Arguments<'_>) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// What ends a program.
pub(crate) type Ended = Result<(), Box<dyn Error + Send + Sync>>;

/// Where a program meets its others when `--addr` does not say: in the folder of the user's run-time files.
pub(crate) fn usual(name: &str) -> Result<Endpoint, Box<dyn Error + Send + Sync>> {
    let folder = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, Into::into);
    let name = name.replace('_', "-");
    Ok(match cfg!(unix) {
        true => format!("unix:{}", folder.join(format!("actix-ipc-{name}.sock")).display()).parse()?,
        false => format!("pipe:actix-ipc-{name}").parse()?,
    })
}

/// A connection, or why there is none, with the command that starts what is missing: this program, in the mode that listens.
pub(crate) fn reached<T>(
    connected: Result<T, ConnectError>,
    name: &str,
    mode: &str,
) -> Result<T, Box<dyn Error + Send + Sync>> {
    connected.map_err(|error| match place_of_one_more(&error, name) {
        Some(place) => {
            format!("{error}; start one with `cargo run --example {name} -- {mode}{place}`").into()
        }
        None => error.into(),
    })
}

/// How the missing program is told where to listen, if it would help to start it. Somebody who is there and refuses, is stopped or lets
/// only others in is not helped by a second one; memory is seen by one process alone, and for TLS these programs have no certificate.
fn place_of_one_more(error: &ConnectError, name: &str) -> Option<String> {
    let is_there = error.unanswered || error.forbidden || error.refusal.is_some();
    let (endpoint, _) = error.tried.first().filter(|_| !is_there && !error.unsupported)?;
    let can_listen = matches!(endpoint, Endpoint::Unix(_) | Endpoint::Tcp(_) | Endpoint::Pipe(_));
    match usual(name) {
        Ok(usual) if usual == *endpoint => Some(String::new()),
        _ => can_listen.then(|| format!(" --addr '{endpoint}'")),
    }
}

/// What a handler at the other end says of its error, without whether it has run: it has.
pub(crate) fn said(error: &CallError) -> String {
    error.clone().ran(false).to_string()
}

/// A place of its own for a demo, which goes away with the folder.
pub(crate) fn temporary(name: &str) -> Result<(TempDir, Endpoint), Box<dyn Error + Send + Sync>> {
    let folder = tempfile::tempdir()?;
    let endpoint = match cfg!(unix) {
        true => format!("unix:{}", folder.path().join(format!("{name}.sock")).display()),
        false => format!("pipe:actix-ipc-{name}-{}", std::process::id()),
    };
    Ok((folder, endpoint.parse()?))
}

/// The program was to end before its work was done.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub(crate) struct Interrupted;

/// Somebody's wish that the program end: Ctrl-C, or SIGTERM where there is such a thing. It is heard from the moment this exists, so a
/// program makes it before it says anything: whoever reads a line may interrupt at once, and is not to kill what would have tidied up.
///
/// From then on the system does not end the program by itself, so it waits for nothing but by [`comes`](Self::comes) and
/// [`before`](Self::before), the tidying up included: who presses Ctrl-C a second time does not want to wait for that either.
pub(crate) struct Interrupt {
    #[cfg(unix)]
    signals: [tokio::signal::unix::Signal; 2],
    #[cfg(windows)]
    pressed: tokio::signal::windows::CtrlC,
}

impl Interrupt {
    #[cfg(unix)]
    pub(crate) fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let signals = [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?];
        Ok(Self { signals })
    }

    #[cfg(windows)]
    pub(crate) fn listen() -> std::io::Result<Self> {
        let pressed = tokio::signal::windows::ctrl_c()?;
        Ok(Self { pressed })
    }

    /// Until it comes. Cancel safe: a wish that nobody waited for is still there.
    pub(crate) async fn comes(&mut self) {
        #[cfg(unix)]
        {
            let [interrupt, terminate] = &mut self.signals;
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        #[cfg(windows)]
        self.pressed.recv().await;
    }

    /// What some work comes to, unless the wish comes before.
    pub(crate) async fn before<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Interrupted> {
        tokio::select! {
            done = work => Ok(done),
            () = self.comes() => Err(Interrupted),
        }
    }
}

/// The number of the connection that a server's handler has just been given, by which it is told of its end.
pub(crate) fn number(client: &impl ProtocolSender) -> u64 {
    client.caller().peer().map_or(0, |peer| peer.id)
}

/// The exit code, after the error on standard error.
pub(crate) fn exit(name: &str, ended: Ended) -> ExitCode {
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let call = error.downcast_ref::<CallError>();
            let text = match call.filter(|call| call.code == ErrorCode::Handler) {
                Some(call) => said(call),
                None => error.to_string(),
            };
            let _ = writeln!(std::io::stderr().lock(), "{name}: {text}");
            ExitCode::FAILURE
        }
    }
}
