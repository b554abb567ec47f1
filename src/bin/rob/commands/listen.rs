//! `rob listen`: a subscription on the terminal, over lost connections.
//!
//! Owns the "Listening" line, when names are patterns, the count, and what is told of gaps on standard error. Called by `commands`.

use super::news;
use super::session::Session;
use crate::colour;
use crate::exit::{Exit, Failure};
use crate::options::name;
use crate::output::{Output, compact, json_line};
use crate::say;
use actix_ipc::client::{ConnectionEvents, Event, Subscription, Update};
use actix_ipc::terminal::printable;
use clap::Args;

/// What goes on after a lost connection.
const LISTENING: &str = "listening; what was published in between is missing";

const EXAMPLES: &str = "\
Examples:
  rob listen sensor temperature
  rob listen sensor temperature --count 1 --timeout 10 --json    one event for a script, exit code 4 without
  rob listen 'sensor.*' '**'              every topic of sensor.hall, sensor.attic, …
  rob listen '**' '**' --json | jq .      everything that is published; each with its object and topic
  rob listen jobs new --group workers     each event to one listener of the group

In a pattern, levels are separated by dots: * is one level, ** at the end one or more. Quote it: the shell has a use for * as well.";

/// `rob listen`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Listen {
    /// The object's name, or a pattern with * or **.
    #[arg(value_name = "OBJECT", value_parser = name)]
    pub(crate) object: String,
    /// The topic, or a pattern. When either has a *, both are patterns.
    #[arg(value_name = "TOPIC", value_parser = name)]
    pub(crate) topic: String,
    /// Take * as a letter of the names.
    #[arg(long)]
    exact: bool,
    /// Join this group: each event goes to one of its listeners.
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Only what is published from now on, not the values that were retained.
    #[arg(long)]
    new: bool,
}

impl Listen {
    fn is_pattern(&self) -> bool {
        !self.exact && [&self.object, &self.topic].iter().any(|name| name.contains('*'))
    }

    async fn subscribe(&self, session: &Session, context: &str) -> Result<Subscription, Failure> {
        let mut builder = session.client.subscribe(&self.object, &self.topic);
        if self.is_pattern() {
            builder = builder.pattern();
        }
        if let Some(group) = &self.group {
            builder = builder.group(group);
        }
        if self.new {
            builder = builder.without_retained();
        }
        let opened = session.within(context, builder).await;
        opened.map_err(|mut failure| {
            if self.is_pattern() && failure.exit == Exit::Usage {
                failure.message.push_str("; --exact takes * as a letter");
            }
            failure
        })
    }
}

/// Prints events until there were as many as were asked for.
pub(crate) async fn run(wanted: &Listen, session: &mut Session) -> Result<(), Failure> {
    let Listen { object, topic, .. } = wanted;
    let context = format!("listen {object}.{topic}");
    let mut connection = session.client.connection_events();
    let mut events = wanted.subscribe(session, &context).await?;
    let Session { options, output, .. } = session;
    // The broker has acknowledged the subscription: from here on nothing is overlooked.
    let (object, topic) = (printable(object), printable(topic));
    let listening = format!("Listening for: object={object} method={topic}. Press ctrl+c to exit.");
    if options.quiet {
        // What was asked for is what comes.
    } else if output.json() {
        say::note(&listening);
    } else {
        output.text(&format!("{listening}\n"))?;
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
        if wanted.is_pattern() {
            show_with_names(&event, output)?;
        } else {
            output.result(&event.payload)?;
        }
        left = left.map(|left| left.saturating_sub(1));
    }
    Ok(())
}

/// An event whose object and topic the command line does not say.
fn show_with_names(event: &Event, output: &mut Output) -> Result<(), Failure> {
    if output.json() {
        let name = |name: &str| compact(&serde_json::Value::from(name).to_string());
        let (object, topic) = (name(event.object()), name(event.topic()));
        let value = json_line(&event.payload);
        output.text(&format!(
            "{{\"object\":{object},\"topic\":{topic},\"value\":{value}}}\n"
        ))?;
    } else {
        let (object, topic) = (printable(event.object()), printable(event.topic()));
        let line = format!("Event: object={object} method={topic}");
        let line = colour::heading(&line, output.coloured());
        output.text(&format!("{line}\n"))?;
        output.result(&event.payload)?;
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
                Some(Update::Ended(reason)) => return Err(reason),
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
    say::warn(&format!(
        "{count} {events} {were} missed here, which came faster than they were read"
    ));
}
