//! Records as lines for people: one each, in columns, with nothing in them that could drive a terminal.
//!
//! Owns the layout, and which call a reply belongs to. It reads no clock and asks nobody. Called by `monitor`, `watch` and `replay`.

use super::open_calls::OpenCalls;
use super::tap::Record;
use super::words::{bytes, cut, known, micros, safe, time_of_day};
use actix_ipc::terminal::printable;

/// The widest that the column of objects and members becomes.
const SUBJECT_MAX: usize = 48;
/// Its width at the beginning.
const SUBJECT_MIN: usize = 24;

/// How a part of a line is set off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// A call.
    Call,
    /// An answer.
    Reply,
    /// An error.
    Error,
    /// An event.
    Event,
    /// Who comes and goes.
    Presence,
    /// What matters less.
    Quiet,
}

impl Tone {
    const fn code(self) -> &'static str {
        match self {
            Self::Call => "\u{1b}[36m",
            Self::Reply => "\u{1b}[32m",
            Self::Error => "\u{1b}[31m",
            Self::Event => "\u{1b}[33m",
            Self::Presence => "\u{1b}[35m",
            Self::Quiet => "\u{1b}[2m",
        }
    }
}

/// The text in its tone, where colours are on.
pub(crate) fn paint(colours: bool, tone: Tone, text: &str) -> String {
    if colours {
        format!("{}{text}\u{1b}[0m", tone.code())
    } else {
        text.to_owned()
    }
}

/// A call that is not answered yet.
#[derive(Debug)]
struct Open {
    member: String,
    at_us: u64,
}

/// What is remembered from line to line.
#[derive(Debug)]
pub(crate) struct Lines {
    colours: bool,
    calls: OpenCalls<Open>,
    width: usize,
}

impl Lines {
    /// Nothing yet.
    pub(crate) fn new(colours: bool) -> Self {
        Self {
            colours,
            calls: OpenCalls::default(),
            width: SUBJECT_MIN,
        }
    }

    /// The line above all others, with its break. It is shown once the broker watches.
    pub(crate) fn heading(&self) -> String {
        let (time, kind, ends, subject) = ("TIME (UTC)", "KIND", "FROM → TO", "OBJECT.MEMBER");
        let text = format!(
            "{time:<15}  {kind:<8}  {ends:<11}  {subject:<width$}  {:>8}  NOTE",
            "SIZE",
            width = self.width
        );
        format!("{}\n", paint(self.colours, Tone::Quiet, &text))
    }

    /// The broker is another one, which counts its tickets from the beginning.
    pub(crate) fn forget(&mut self) {
        self.calls.clear();
    }

    /// One line, with its break.
    pub(crate) fn line(&mut self, record: &Record) -> String {
        let (kind, tone) = kind(record);
        let call = self.matched(record);
        let member = record
            .member
            .as_deref()
            .or_else(|| call.as_ref().map(|call| call.member.as_str()));
        let subject = match (record.object.as_deref(), member) {
            (None, _) => String::new(),
            (Some(object), None) => printable(object).into_owned(),
            (Some(object), Some(member)) => format!("{}.{}", printable(object), printable(member)),
        };
        let subject = cut(&subject, SUBJECT_MAX);
        self.width = self.width.max(subject.chars().count());
        let (ends, size) = match record.kind.as_str() {
            "presence" => (known(record.peer), String::new()),
            "event" => (
                format!("{} → {}×", end(record.from), known(record.subscribers)),
                bytes(record.bytes),
            ),
            _ => (
                format!("{} → {}", end(record.from), end(record.to)),
                bytes(record.bytes),
            ),
        };
        let note = note(
            record,
            call.as_ref().map(|call| record.at_us.saturating_sub(call.at_us)),
        );
        let width = self.width;
        let mut line = format!(
            "{}  {}  {ends:<11}  {subject:<width$}  {size:>8}",
            paint(self.colours, Tone::Quiet, &time_of_day(record.at_us)),
            paint(self.colours, tone, &format!("{kind:<8}")),
        );
        if !note.is_empty() {
            line.push_str("  ");
            line.push_str(&note);
        }
        let mut line = line.trim_end().to_owned();
        line.push('\n');
        line
    }

    /// The call that a reply answers; remembers calls, and forgets those that are answered for good.
    fn matched(&mut self, record: &Record) -> Option<Open> {
        let ticket = record.ticket?;
        if record.kind == "call" && !record.one_way {
            let member = record.member.clone().unwrap_or_default();
            let at_us = record.at_us;
            self.calls.insert(ticket, Open { member, at_us });
            return None;
        }
        if record.last == Some(false) {
            let open = self.calls.get(ticket)?;
            let (member, at_us) = (open.member.clone(), open.at_us);
            return Some(Open { member, at_us });
        }
        self.calls.remove(ticket)
    }
}

/// The word for a record, and its tone.
fn kind(record: &Record) -> (String, Tone) {
    match record.kind.as_str() {
        "call" if record.one_way => ("one-way".to_owned(), Tone::Call),
        "call" => ("call".to_owned(), Tone::Call),
        "reply" if record.error.is_some() => ("error".to_owned(), Tone::Error),
        "reply" if record.last == Some(false) => ("item".to_owned(), Tone::Reply),
        "reply" => ("reply".to_owned(), Tone::Reply),
        "event" if record.error.is_some() => ("event".to_owned(), Tone::Error),
        "event" => ("event".to_owned(), Tone::Event),
        "presence" => ("presence".to_owned(), Tone::Presence),
        other => (cut(&safe(other), 8), Tone::Quiet),
    }
}

/// One end of a message: a connection, or the broker itself, or nobody.
fn end(peer: Option<u64>) -> String {
    known(peer)
}

/// What stands behind the columns.
fn note(record: &Record, since_call: Option<u64>) -> String {
    let mut parts = Vec::new();
    if record.kind == "presence" {
        parts.push(presence(record));
    }
    if let Some(ticket) = record.ticket {
        parts.push(format!("#{ticket}"));
    }
    if let Some(us) = record.us.or(since_call).filter(|_| record.kind == "reply") {
        parts.push(format!("after {}", micros(us)));
    }
    if let Some(error) = &record.error {
        let text = record.text.as_deref().filter(|text| !text.is_empty());
        parts.push(match text {
            Some(text) => format!("{}: {}", printable(error), printable(text)),
            None => printable(error).into_owned(),
        });
    }
    if record.kind == "call" && record.to.is_none() {
        parts.push("nobody has the object".to_owned());
    }
    if record.retain {
        parts.push("retained".to_owned());
    }
    if record.pieces {
        parts.push("never whole".to_owned());
    }
    if record.items {
        parts.push("with items".to_owned());
    }
    if record.attachments > 0 {
        parts.push(format!("attachments {}", record.attachments));
    }
    let metadata = record.meta.iter();
    parts.extend(metadata.map(|(key, value)| format!("{}={}", printable(key), printable(&plain(value)))));
    // The payload of an error may be its text, which stands there already.
    let again = record.error.is_some() && record.payload == record.text;
    parts.extend(payload(record).filter(|_| !again));
    parts.join("  ")
}

fn plain(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The payload, where it was asked for.
fn payload(record: &Record) -> Option<String> {
    let more = if record.truncated { "…" } else { "" };
    let hex = record.payload_hex.as_ref().map(|hex| {
        let encoding = record.encoding.as_ref().map(plain).unwrap_or_default();
        format!("{} {}{more}", printable(&encoding), printable(hex))
    });
    let text = || {
        record
            .payload
            .as_ref()
            .map(|text| format!("{}{more}", printable(text)))
    };
    hex.or_else(text).filter(|text| !text.is_empty())
}

/// Who came or went.
fn presence(record: &Record) -> String {
    let what = safe(record.what.as_deref().unwrap_or_default());
    let pattern = if record.pattern { " (a pattern)" } else { "" };
    let mut who = Vec::new();
    who.extend(
        record
            .name
            .as_deref()
            .filter(|name| !name.is_empty())
            .map(|name| format!("\"{}\"", printable(name))),
    );
    who.extend(record.pid.map(|pid| format!("pid {pid}")));
    who.extend(record.uid.map(|uid| format!("uid {uid}")));
    format!("{what}{pattern}  {}", who.join(" "))
        .trim_end()
        .to_owned()
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
