//! What lasting commands say of their connection.
//!
//! Owns the words. Called by the commands that go on when the connection was lost.

use crate::say::warn;
use actix_ipc::client::ConnectionEvent;

/// Tells what happened to the connection. `doing` says what goes on afterwards, and what is missing then.
///
/// # Errors
/// When it will not come back: why.
pub(crate) fn of_connection(news: &ConnectionEvent, doing: &str) -> Result<(), String> {
    match news {
        ConnectionEvent::Lost { reason } => {
            warn(&format!("the connection was lost ({reason}); trying again"));
        }
        ConnectionEvent::Reconnected { lost, .. } => match lost.as_slice() {
            [] => warn(&format!("connected again and {doing}")),
            lost => lost
                .iter()
                .for_each(|(what, error)| warn(&format!("connected again, but not {what}: {error}"))),
        },
        ConnectionEvent::Closed { reason } => return Err(reason.clone()),
        _ => {}
    }
    Ok(())
}
