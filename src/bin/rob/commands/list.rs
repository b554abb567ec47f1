//! `rob list`: what is registered, who is connected.
//!
//! Called by `commands`; the layout is `tables`'.

use super::session::Session;
use super::tables;
use crate::exit::Failure;
use crate::value;

/// Prints the broker's list.
pub(crate) async fn run(session: &mut Session) -> Result<(), Failure> {
    let list = session.within("list", session.client.list()).await?;
    if session.output.json() {
        session.output.result(&value::payload(list.to_string()))?;
    } else {
        let text = tables::list(&list, session.output.coloured());
        session.output.text(&text)?;
    }
    Ok(())
}
