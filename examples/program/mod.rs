//! What the example programs of typed protocols have in common: where they meet, when they end, and what they say then.
//!
//! Not an example itself. Owns nothing of protocols; each of `basic`, `bidirectional`, `file_transfer`, `database` and
//! `service_mesh` includes it.
#![allow(dead_code, reason = "each program uses its part")]

use actix_ipc::Endpoint;
use actix_ipc::client::ConnectError;
use actix_ipc::error::CallError;
use actix_ipc::protocol::ProtocolSender;
use std::error::Error;
use std::process::ExitCode;
use tempfile::TempDir;

/// What ends a program.
pub(crate) type Ended = Result<(), Box<dyn Error + Send + Sync>>;

/// Where a program meets its others when `--addr` does not say: in the folder of the user's run-time files.
pub(crate) fn usual(name: &str) -> Result<Endpoint, Box<dyn Error + Send + Sync>> {
    let folder = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, Into::into);
    Ok(match cfg!(unix) {
        true => format!("unix:{}", folder.join(format!("actix-ipc-{name}.sock")).display()).parse()?,
        false => format!("pipe:actix-ipc-{name}").parse()?,
    })
}

/// A connection, or why there is none, with the command that starts what is missing. Somebody who is there and refuses, or is stopped,
/// is not helped by a second one.
pub(crate) fn reached<T>(
    connected: Result<T, ConnectError>,
    command: &str,
) -> Result<T, Box<dyn Error + Send + Sync>> {
    connected.map_err(|error| match error.unanswered || error.refusal.is_some() {
        true => error.into(),
        false => format!("{error}; start one with `cargo run --example {command}`").into(),
    })
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

/// Until somebody wants the program to end: Ctrl-C, or SIGTERM where there is such a thing.
pub(crate) async fn interrupted() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            pressed = tokio::signal::ctrl_c() => pressed,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
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
            #[allow(clippy::print_stderr, reason = "a program tells its user why it ends")]
            {
                eprintln!("{name}: {error}");
            }
            ExitCode::FAILURE
        }
    }
}
