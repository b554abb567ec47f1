//! `rob send`: one event, or one for each line of standard input.
//!
//! Owns the reading of lines beside the connection, which line is named in an error, and what is said of the subscribers. Called by `commands`.

use super::session::{self, Session};
use crate::exit::{Exit, Failure};
use crate::options::name;
use crate::say;
use crate::signature;
use crate::value::{self, Value, Words};
use actix_ipc::message::Payload;
use clap::Args;
use serde_json::json;
use std::io::{self, BufRead, Read};
use tokio::sync::mpsc;

const EXAMPLES: &str = "\
Examples:
  rob send sensor temperature s 25.6°C        a string
  rob send sensor reading {sd} room hall celsius 21.5
  rob send sensor reading - < reading.json    JSON from standard input
  tail -f app.log | rob send app log --lines s    each line as a string
  jq -c '.[]' all.json | rob send app row --lines     each line as JSON";

/// The longest line, in bytes.
const LINE_MAX: u64 = 16 << 20;
/// Lines that are read ahead of the broker.
const LINES_AHEAD: usize = 64;

/// `rob send`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Send {
    /// The object's name.
    #[arg(value_name = "OBJECT", value_parser = name)]
    object: String,
    /// The topic to publish to.
    #[arg(value_name = "TOPIC", value_parser = name)]
    topic: String,
    /// An event for each line of stdin: the line is the one argument of the signature, and JSON without a signature.
    #[arg(long)]
    pub(crate) lines: bool,
    /// The value.
    #[command(flatten)]
    pub(crate) words: Words,
}

/// Publishes; returns when the broker has accepted all of it.
pub(crate) async fn run(wanted: &Send, session: &mut Session) -> Result<(), Failure> {
    if [&wanted.object, &wanted.topic]
        .iter()
        .any(|name| name.contains('*'))
    {
        let (object, topic) = (&wanted.object, &wanted.topic);
        say::warn(&format!(
            "send {object}.{topic}: * is a letter here; patterns are for who listens"
        ));
    }
    let mut sent = Sent::default();
    match &wanted.words.value {
        Value::Json(text) => sent.add(publish(wanted, session, value::payload(text.as_str())).await?),
        Value::Stdin => sent.add(publish(wanted, session, value::read_stdin()?).await?),
        Value::Lines(signature) => {
            let mut lines = read_lines();
            let mut number = 0_u64;
            while let Some(line) = next_of(&mut lines, wanted, session).await? {
                number = number.saturating_add(1);
                let failed = |why: String| {
                    Failure::new(Exit::Usage, format!("line {number} of standard input: {why}"))
                };
                let line = line.map_err(|error| failed(error.to_string()))?;
                let encoded =
                    signature::encode(signature, &[line]).map_err(|error| failed(error.to_string()))?;
                let published = publish(wanted, session, value::payload(encoded.json)).await;
                sent.add(published.map_err(|mut failure| {
                    failure.message = format!("line {number} of standard input: {}", failure.message);
                    failure
                })?);
            }
        }
    }
    if session.options.quiet {
        return Ok(());
    }
    if session.output.json() {
        let line = json!({ "events": sent.events, "queued": sent.queued });
        session.output.result(&value::payload(line.to_string()))?;
    } else {
        session.output.result(&value::payload("null"))?;
        say::note(&sent.told(matches!(wanted.words.value, Value::Lines(_))));
    }
    Ok(())
}

/// What became of the events.
#[derive(Debug, Default)]
struct Sent {
    events: u64,
    /// Into the queues of so many subscribers, all events together.
    queued: u64,
}

impl Sent {
    fn add(&mut self, subscribers: u32) {
        self.events = self.events.saturating_add(1);
        self.queued = self.queued.saturating_add(u64::from(subscribers));
    }

    fn told(&self, lines: bool) -> String {
        let some = |count: u64, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        match lines {
            false => format!("Queued for {}.", some(self.queued, "subscriber")),
            true => format!(
                "Sent {}, queued {}.",
                some(self.events, "event"),
                some(self.queued, "time")
            ),
        }
    }
}

/// Publishes an event, and says into how many subscribers' queues it went.
async fn publish(wanted: &Send, session: &Session, payload: Payload) -> Result<u32, Failure> {
    let Send { object, topic, .. } = wanted;
    let mut event = session.client.publish_payload(object, topic, payload);
    if let Some(parent) = session::trace() {
        event = event.traceparent(parent);
    }
    let accepted = event.acknowledged();
    session.within(&format!("send {object}.{topic}"), accepted).await
}

/// The next line, while there is somebody to send it to: the input may be silent for hours.
async fn next_of(
    lines: &mut mpsc::Receiver<io::Result<String>>,
    wanted: &Send,
    session: &Session,
) -> Result<Option<io::Result<String>>, Failure> {
    tokio::select! {
        biased;
        line = lines.recv() => Ok(line),
        gone = session.client.closed() => {
            Err(Failure::of_call(&format!("send {}.{}", wanted.object, wanted.topic), gone))
        }
    }
}

/// The next line without its end; nothing behind the last one.
fn next_line(input: &mut impl BufRead) -> Option<io::Result<String>> {
    let mut line = Vec::new();
    match input.by_ref().take(LINE_MAX).read_until(b'\n', &mut line) {
        Ok(0) => return None,
        Ok(_) => {}
        Err(error) => return Some(Err(error)),
    }
    let wrong = |text: String| Some(Err(io::Error::new(io::ErrorKind::InvalidData, text)));
    // Before a look at its letters: the last may be cut in two.
    if line.len() as u64 == LINE_MAX && !line.ends_with(b"\n") {
        let most = value::STDIN_MAX.div_euclid(1 << 20);
        return wrong(format!(
            "it is longer than {LINE_MAX} bytes; `-` takes one value of less than {most} MiB"
        ));
    }
    for end in [b'\n', b'\r'] {
        line.pop_if(|last| *last == end);
    }
    match String::from_utf8(line) {
        Ok(line) => Some(Ok(line)),
        Err(_) => wrong("it is not UTF-8".to_owned()),
    }
}

/// All lines, the first without the mark of UTF-8.
fn lines(mut input: impl BufRead) -> impl Iterator<Item = io::Result<String>> {
    let mut is_first = true;
    std::iter::from_fn(move || {
        let line = next_line(&mut input);
        match std::mem::take(&mut is_first) {
            true => line.map(|line| line.map(|line| value::without_mark(&line).to_owned())),
            false => line,
        }
    })
}

/// The lines of standard input as they come. The thread that reads them is not waited for: a terminal may never send the next one.
fn read_lines() -> mpsc::Receiver<io::Result<String>> {
    let (found, read) = mpsc::channel(LINES_AHEAD);
    std::thread::spawn(move || {
        for line in lines(io::stdin().lock()) {
            let last = line.is_err();
            if found.blocking_send(line).is_err() || last {
                break;
            }
        }
    });
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_no_ends_and_a_bound() {
        let input: &[u8] = b"one\n\r\ntwo\r\n\nthree";
        let all = |input| lines(input).map(Result::unwrap).collect::<Vec<_>>();
        assert_eq!(all(input), ["one", "", "two", "", "three"]);
        let marked = "\u{feff}one\r\n\u{feff}two";
        assert_eq!(all(marked.as_bytes()), ["one", "\u{feff}two"]);
        let most = usize::try_from(LINE_MAX).unwrap();
        let mut input = io::BufReader::new(io::repeat(b'x').take(LINE_MAX * 2));
        let error = next_line(&mut input).unwrap().unwrap_err();
        assert!(
            error.to_string().contains("longer than 16777216 bytes"),
            "{error}"
        );
        // A letter of two bytes lies across the bound.
        let long = format!("x{}", "é".repeat(most / 2));
        let error = next_line(&mut long.as_bytes()).unwrap().unwrap_err();
        assert!(error.to_string().contains("longer than"), "{error}");
        let error = next_line(&mut &b"\xff\n"[..]).unwrap().unwrap_err();
        assert!(error.to_string().contains("UTF-8"), "{error}");
        let mut text = "x".repeat(most - 1);
        text.push('\n');
        assert_eq!(next_line(&mut text.as_bytes()).unwrap().unwrap().len(), most - 1);
    }
}
