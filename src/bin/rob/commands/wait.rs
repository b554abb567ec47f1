//! `rob wait`: until all of these objects are there.
//!
//! Owns the waiting for a broker before, and the words for what is missing at the end. Called by `commands`.

use super::news;
use super::session::{self, Session};
use crate::exit::{Exit, Failure};
use crate::options::{Options, name};
use crate::say;
use crate::value;
use actix_ipc::client::{ConnectionEvent, IpcClient};
use actix_ipc::error::{CallError, ErrorCode};
use actix_ipc::terminal::nearest;
use clap::Args;
use futures::FutureExt;
use std::collections::HashSet;
use std::time::{Duration, Instant};

const EXAMPLES: &str = "\
Examples:
  rob wait math && rob call math add {ii} a 1 b 2
  rob wait math store --timeout 10        exit code 4 when one of them is not there after 10 s
  rob wait sys.broker --timeout 10        for a broker: this object is its own; exit code 5";

/// The most that can be waited for at once.
const OBJECTS_MAX: usize = 256;
/// The broker's own object.
const BROKER: &str = "sys.broker";
/// As good as for ever, where a limit is needed.
const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// `rob wait`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Wait {
    /// The objects' names, at most 256.
    #[arg(value_name = "OBJECT", required = true, value_parser = name)]
    pub(crate) objects: Vec<String>,
}

/// Waits for the broker and for the objects; `--timeout` is for both together.
pub(crate) async fn run(wanted: &Wait, options: &Options) -> Result<(), Failure> {
    let start = Instant::now();
    let left = || options.timeout.map(|limit| limit.saturating_sub(start.elapsed()));
    let mut seen = HashSet::new();
    let each = wanted.objects.iter().filter(|name| seen.insert(*name));
    let objects: Vec<String> = each.cloned().collect();
    if objects.len() > OBJECTS_MAX {
        let text = format!(
            "wait: {} objects, and at most {OBJECTS_MAX} at once",
            objects.len()
        );
        return Err(Failure::new(Exit::Usage, text));
    }
    let objects = &objects;
    let client = connect(options, &|| left().unwrap_or(YEAR)).await?;
    let mut session = Session::with(client, options);
    let waited = until_there(&session, objects, left()).await?;
    if let Err(error) = waited {
        return Err(missing(objects, &session, error).await);
    }
    if session.output.json() {
        let waited_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let line = serde_json::json!({ "objects": objects, "waited_ms": waited_ms });
        session.output.result(&value::payload(line.to_string()))?;
    } else if !options.quiet {
        session
            .output
            .text(&format!("Registered: {}\n", listed(objects.iter())))?;
    }
    session.close().await;
    Ok(())
}

/// Waits, and tells when the broker goes and is back.
///
/// # Errors
/// When the connection will not be made again.
async fn until_there(
    session: &Session,
    objects: &[String],
    left: Option<Duration>,
) -> Result<Result<(), CallError>, Failure> {
    let mut connection = session.client.connection_events();
    // It may have been lost before anybody listened.
    if !session.client.is_connected() {
        let event = connection.next().now_or_never().flatten();
        let reason = "the broker went away".to_owned();
        let event = event.unwrap_or(ConnectionEvent::Lost { reason });
        let why = news::of_connection(&event, "waiting");
        why.map_err(|why| Failure::new(Exit::Lost, format!("wait: {why}")))?;
    }
    // Whom the broker serves knows that it is there, and need not see the object.
    let others: Vec<String> = objects.iter().filter(|name| *name != BROKER).cloned().collect();
    let waiting = async {
        match left {
            _ if others.is_empty() => Ok(()),
            None => session.client.wait_for_objects(&others).await,
            Some(left) => session.client.wait_for_objects_timeout(&others, left).await,
        }
    };
    tokio::pin!(waiting);
    loop {
        tokio::select! {
            biased;
            Some(event) = connection.next() => {
                let why = news::of_connection(&event, "waiting");
                why.map_err(|why| Failure::new(Exit::Lost, format!("wait: {why}")))?;
            }
            waited = &mut waiting => return Ok(waited),
        }
    }
}

/// A connection to a broker that need not be there yet.
async fn connect(options: &Options, left: &dyn Fn() -> Duration) -> Result<IpcClient, Failure> {
    let first = session::builder(options)?.reconnect(true).connect();
    let Ok(first) = tokio::time::timeout(left(), first).await else {
        let limit = options.timeout.unwrap_or(YEAR).as_secs_f64();
        let text = format!("wait: no broker answered within {limit} s; --timeout SECONDS waits longer");
        return Err(Failure::new(Exit::NoBroker, text));
    };
    match first {
        Ok(client) => Ok(client),
        Err(error) if error.code() == ErrorCode::NotConnected => {
            say::warn(match error.unanswered {
                true => "a broker is there and does not answer; waiting for it",
                false => "no broker is there yet; waiting for one",
            });
            let builder = session::builder(options)?.reconnect(true);
            builder.connect_wait(left()).await.map_err(Failure::of_connect)
        }
        Err(error) => Err(Failure::of_connect(error)),
    }
}

/// Why the waiting ended without all of them, and which are missing.
async fn missing(objects: &[String], session: &Session, error: CallError) -> Failure {
    let (Some(limit), ErrorCode::Deadline) = (session.options.timeout, error.code) else {
        return Failure::of_call(&format!("wait {}", objects.join(" ")), error);
    };
    if !session.client.is_connected() {
        let text = format!(
            "wait: the broker is gone, and was not there again after {} s in all",
            limit.as_secs_f64()
        );
        return Failure::new(Exit::NoBroker, text);
    }
    let there = session.object_names().await;
    let (found, gone): (Vec<_>, Vec<_>) = objects.iter().partition(|name| there.contains(name));
    // All are there now: they were not at once, or came at the last moment.
    let gone = if gone.is_empty() {
        objects.iter().collect()
    } else {
        gone
    };
    let verb = if gone.len() == 1 { "is" } else { "are" };
    let mut text = format!(
        "wait: {} {verb} not registered after {} s",
        listed(gone.iter().copied()),
        limit.as_secs_f64()
    );
    if !found.is_empty() && found.len() < objects.len() {
        let verb = if found.len() == 1 { "is" } else { "are" };
        text.push_str(&format!(", {} {verb}", listed(found.iter().copied())));
    }
    let near = gone
        .iter()
        .find_map(|name| nearest(name, there.iter().map(String::as_str)));
    match near.filter(|near| !objects.iter().any(|object| object == near)) {
        Some(near) => text.push_str(&format!("; did you mean {near:?}?")),
        None => text.push_str("; --timeout SECONDS waits longer, `rob list` shows what is registered"),
    }
    Failure::new(Exit::Timeout, text)
}

fn listed<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<String> = names
        .map(|name| actix_ipc::terminal::printable(name).into_owned())
        .collect();
    names.join(", ")
}
