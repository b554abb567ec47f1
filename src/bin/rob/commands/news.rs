//! What lasting commands say on standard error: what happens to the connection, and warnings.
//!
//! Owns the words. Called by the commands that go on when the connection was lost.

use actix_ipc::client::ConnectionEvent;
use actix_ipc::terminal::printable;
use std::io::{self, Write};

/// Tells what happened to the connection. `doing` says what goes on afterwards, and what is missing then.
///
/// # Errors
/// When it will not come back: why.
pub(crate) fn of_connection(news: &ConnectionEvent, doing: &str) -> Result<(), String> {
    match news {
        ConnectionEvent::Lost { reason } => {
            tell(&format!("the connection was lost ({reason}); trying again"));
        }
        ConnectionEvent::Reconnected { lost, .. } => match lost.as_slice() {
            [] => tell(&format!("connected again and {doing}")),
            lost => lost
                .iter()
                .for_each(|(what, error)| tell(&format!("connected again, but not {what}: {error}"))),
        },
        ConnectionEvent::Closed { reason } => return Err(reason.clone()),
        _ => {}
    }
    Ok(())
}

/// One line on standard error. Who has closed it does not want to know.
pub(crate) fn tell(text: &str) {
    let _ = writeln!(io::stderr().lock(), "rob: {}", printable(text));
}
