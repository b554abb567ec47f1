//! `rob listen`: a subscription on the terminal, over lost connections.
//!
//! Owns the "Listening" line, the count, and what is told of gaps and lost connections on standard error. Called by
//! `commands`.

use super::news;
use super::session::Session;
use crate::exit::{Exit, Failure};
use actix_ipc::client::{ConnectionEvents, Event, Subscription, Update};
use actix_ipc::terminal::printable;
use clap::Args;
use std::io::{self, Write};

/// What goes on after a lost connection.
const LISTENING: &str = "listening; what was published in between is missing";

/// `rob listen`.
#[derive(Args, Debug, PartialEq)]
pub(crate) struct Listen {
    /// The object's name.
    #[arg(value_name = "OBJECT")]
    pub(crate) object: String,
    /// The topic.
    #[arg(value_name = "TOPIC")]
    pub(crate) topic: String,
}

/// Prints events until there were as many as were asked for.
pub(crate) async fn run(wanted: &Listen, session: &mut Session) -> Result<(), Failure> {
    let Listen { object, topic } = wanted;
    let context = format!("listen {object}.{topic}");
    let mut connection = session.client.connection_events();
    let mut events = session
        .within(&context, session.client.subscribe(object, topic))
        .await?;
    let Session { options, output, .. } = session;
    // The broker has acknowledged the subscription: from here on nothing is overlooked.
    let (object, topic) = (printable(object), printable(topic));
    let listening = format!("Listening for: object={object} method={topic}. Press ctrl+c to exit.\n");
    if options.quiet {
        // What was asked for is what comes.
    } else if output.json() {
        let _ = io::stderr().lock().write_all(listening.as_bytes());
    } else {
        output.text(&listening)?;
    }
    let mut left = options.count;
    while left != Some(0) {
        let next = next_event(&mut events, &mut connection);
        let event = match options.timeout {
            None => next.await,
            Some(patience) => tokio::time::timeout(patience, next).await.map_err(|_| {
                let text = format!("{context}: no event within {} s", patience.as_secs_f64());
                Failure::new(Exit::Timeout, text)
            })?,
        };
        let event = event.map_err(|reason| Failure::new(Exit::Lost, format!("{context}: {reason}")))?;
        output.gap()?;
        output.result(&event.payload)?;
        left = left.map(|left| left.saturating_sub(1));
    }
    Ok(())
}

/// The next event; gaps and what happens to the connection are told meanwhile.
///
/// # Errors
/// Why there will be none.
async fn next_event(events: &mut Subscription, connection: &mut ConnectionEvents) -> Result<Event, String> {
    loop {
        tokio::select! {
            // News of the connection explains the gap behind it.
            biased;
            Some(news) = connection.next() => news::of_connection(&news, LISTENING)?,
            update = events.next_update() => match update {
                Some(Update::Event(event)) => {
                    if event.missed > 0 {
                        missed(event.missed);
                    }
                    return Ok(event);
                }
                Some(Update::Missed(count)) => missed(count),
                // The news of the connection say so already; of later kinds nothing can be told.
                Some(_) => {}
                None => return Err("the subscription ended".into()),
            },
        }
    }
}

fn missed(count: u64) {
    let (events, were) = if count == 1 {
        ("event", "was")
    } else {
        ("events", "were")
    };
    news::tell(&format!(
        "{count} {events} {were} missed here, which came faster than they were read"
    ));
}
