//! The language of the cases.
//!
//! ```text
//! # a comment
//! with kind = Ping Pong          each case up to the next empty line is read once for each value; several multiply
//! ready | {kind} aux=1 ; Ping id=5 | Pong 5
//! state | what is sent           | what comes back
//! ```
//! States: `fresh` (nothing sent), `preface` (its eight bytes sent), `ready` (welcomed), `called FLAGS` (an honest caller
//! has called this connection's object `mine`; `$t` is the ticket), `calling FLAGS` (this connection has call 5 open at an
//! honest worker that does not answer).
//!
//! Sent, separated by ` ; `: `Kind field=value…` with the fields `id aux enc flags att resv` (numbers), `key meta data` (texts),
//! `len key-len meta-len` (numbers, or `+1` `-1` beside what is right); `0x40` in the place of a kind is its code; `hex 00 ff` are
//! bytes as they are; `text …` is text up to the end; `preface`; `eof` ends the sending direction.
//! Texts: `'math\0add'`, `x*300` (a text so many times), `0xff00` (bytes), and these joined by `+`. Values of variables are separated by
//! blanks; a `~` in them stands for a blank.
//!
//! What comes back, separated by ` ; `: `Done 5`, `Error 5 14`, `Pong 5`, … with the id and (for some) aux, in order; then nothing else, and
//! the connection lives. Or, last: `goodbye 3 (part of its text)`, or `closed`: not one more byte (for `fresh` and `preface`: none
//! at all). `nothing`: it lives and nothing came. `caller: Error 14` is what the honest caller gets.

use crate::wire::Got;
use actix_ipc::message::{Flags, Kind};

/// Where a connection is when the case begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum State {
    Fresh,
    Preface,
    Ready,
    Called(Flags),
    Calling(Flags),
}

/// How a connection is afterwards.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    Alive,
    Closed,
    Goodbye(u32, String),
}

/// A frame that comes back.
#[derive(Clone, Debug)]
pub struct Wanted {
    kind: Kind,
    id: Option<u64>,
    aux: Option<u32>,
    text: String,
}

impl Wanted {
    pub fn fits(&self, got: &Got, ticket: u64) -> bool {
        let id = self.id.map(|id| if id == TICKET { ticket } else { id });
        got.kind == self.kind
            && id.is_none_or(|id| id == got.id)
            && self.aux.is_none_or(|aux| aux == got.aux)
            && got.text().contains(&self.text)
    }
}

#[derive(Clone, Debug)]
pub struct Expected {
    pub frames: Vec<Wanted>,
    pub end: End,
    pub caller: Option<Wanted>,
}

#[derive(Clone, Debug)]
pub struct Case {
    pub family: &'static str,
    pub title: String,
    pub state: State,
    sent: Vec<u8>,
    /// Where the ticket goes.
    tickets: Vec<usize>,
    pub ends_sending: bool,
    /// Only where descriptors travel, or only where they do not.
    pub needs_attachments: Option<bool>,
    pub expected: Expected,
}

/// Stands for the ticket until it is known.
const TICKET: u64 = u64::MAX - 1;

impl Case {
    /// What is sent.
    pub fn bytes(&self, ticket: u64) -> Vec<u8> {
        let mut bytes = self.sent.clone();
        for at in &self.tickets {
            bytes[*at..at + 8].copy_from_slice(&ticket.to_le_bytes());
        }
        bytes
    }
}

/// Reads a file of cases.
pub fn read(family: &'static str, text: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut variables: Vec<(String, Vec<String>)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() {
            variables.clear();
        } else if let Some(rest) = line.strip_prefix("with ") {
            let (name, values) = rest.split_once(" = ").expect("with name = values");
            variables.retain(|(other, _)| other != name);
            variables.push((
                name.to_owned(),
                values
                    .split_whitespace()
                    .map(|value| value.replace('~', " "))
                    .collect(),
            ));
        } else if !line.starts_with('#') {
            for line in expanded(line, &variables) {
                cases.push(case(family, number + 1, &line));
            }
        }
    }
    cases
}

/// The line for each value of each variable that it names.
pub fn expanded(line: &str, variables: &[(String, Vec<String>)]) -> Vec<String> {
    let mut lines = vec![line.to_owned()];
    for (name, values) in variables {
        let place = format!("{{{name}}}");
        if !line.contains(&place) {
            continue;
        }
        lines = lines
            .iter()
            .flat_map(|line| {
                values
                    .iter()
                    .map(|value| line.replace(&place, value))
                    .collect::<Vec<_>>()
            })
            .collect();
    }
    lines
}

fn case(family: &'static str, number: usize, line: &str) -> Case {
    let title = format!("{family}.txt:{number}: {line}");
    let parts: Vec<&str> = line.split(" | ").map(str::trim).collect();
    let [state, sent, expected] = parts[..] else {
        panic!("{title}: a case is: state | sent | expected");
    };
    let mut case = Case {
        family,
        state: state_of(
            state
                .trim_start_matches("descriptors ")
                .trim_start_matches("streams "),
        ),
        sent: Vec::new(),
        tickets: Vec::new(),
        ends_sending: false,
        needs_attachments: match state.split(' ').next() {
            Some("descriptors") => Some(true),
            Some("streams") => Some(false),
            _ => None,
        },
        expected: expected_of(expected, &title),
        title,
    };
    for part in sent.split(" ; ") {
        piece(&mut case, part.trim());
    }
    case
}

fn state_of(text: &str) -> State {
    let (name, flags) = text.split_once(' ').unwrap_or((text, "0"));
    let flags = Flags(number(flags) as u16);
    match name {
        "fresh" => State::Fresh,
        "preface" => State::Preface,
        "ready" => State::Ready,
        "called" => State::Called(flags),
        "calling" => State::Calling(flags),
        other => panic!("no state is called {other:?}"),
    }
}

fn expected_of(text: &str, title: &str) -> Expected {
    let mut expected = Expected {
        frames: Vec::new(),
        end: End::Alive,
        caller: None,
    };
    for part in text.split(" ; ").map(str::trim) {
        let (words, shown) = part.split_once(" (").unwrap_or((part, ")"));
        let shown = shown.trim_end_matches(')').to_owned();
        if let Some(frame) = words.strip_prefix("caller: ") {
            expected.caller = Some(wanted(frame, shown, title));
        } else if words == "closed" {
            expected.end = End::Closed;
        } else if let Some(reason) = words.strip_prefix("goodbye ") {
            expected.end = End::Goodbye(number(reason) as u32, shown);
        } else if words != "nothing" {
            expected.frames.push(wanted(words, shown, title));
        }
    }
    expected
}

fn wanted(words: &str, text: String, title: &str) -> Wanted {
    let mut words = words.split_whitespace();
    let kind = words
        .next()
        .and_then(kind)
        .unwrap_or_else(|| panic!("{title}: which kind comes back?"));
    let id = words
        .next()
        .map(|word| if word == "$t" { TICKET } else { number(word) });
    Wanted {
        kind,
        id,
        aux: words.next().map(|word| number(word) as u32),
        text,
    }
}

fn kind(name: &str) -> Option<Kind> {
    Kind::ALL.iter().copied().find(|kind| kind.name() == name)
}

/// One thing that is sent.
fn piece(case: &mut Case, text: &str) {
    if let Some(hex) = text.strip_prefix("hex ") {
        case.sent.extend(bytes_of_hex(hex));
    } else if let Some(text) = text.strip_prefix("text ") {
        case.sent.extend(unescaped(text));
    } else if text == "preface" {
        case.sent.extend(actix_ipc::message::handshake::PREFACE);
    } else if text == "eof" {
        case.ends_sending = true;
    } else if text != "-" {
        frame(case, text);
    }
}

fn frame(case: &mut Case, text: &str) {
    let mut words = text.split_whitespace();
    let name = words.next().unwrap_or_else(|| panic!("{}: a frame", case.title));
    let code = kind(name).map_or_else(|| number(name) as u8, |kind| kind as u8);
    let (mut numbers, mut texts) = (Vec::new(), Vec::new());
    for word in words {
        let (field, value) = word
            .split_once('=')
            .unwrap_or_else(|| panic!("{}: {word}", case.title));
        match field {
            "key" | "meta" | "data" => texts.push((field, text_of(value))),
            _ => numbers.push((field, value)),
        }
    }
    let of = |field: &str| {
        texts
            .iter()
            .find(|(name, _)| *name == field)
            .map(|(_, bytes)| bytes.clone())
    };
    let value = |field: &str, right: u64| match numbers.iter().find(|(name, _)| *name == field) {
        Some((_, value)) if value.starts_with('+') => right.wrapping_add(number(&value[1..])),
        Some((_, value)) if value.starts_with('-') => right.wrapping_sub(number(&value[1..])),
        Some((_, value)) => number(value),
        None => right,
    };
    let known = [
        "id", "aux", "enc", "flags", "att", "resv", "len", "key-len", "meta-len",
    ];
    let unknown = numbers
        .iter()
        .find(|(name, value)| !known.contains(name) || *name != "id" && *value == "$t");
    assert!(unknown.is_none(), "{}: {unknown:?}", case.title);
    let (key, meta) = (of("key").unwrap_or_default(), of("meta"));
    let mut body = Vec::new();
    if let Some(meta) = &meta {
        body.extend((value("meta-len", meta.len() as u64) as u16).to_le_bytes());
        body.extend(meta);
    }
    body.extend(&key);
    body.extend(of("data").unwrap_or_default());
    let flags = value("flags", 0) | u64::from(meta.is_some());
    case.sent
        .extend((value("len", body.len() as u64) as u32).to_le_bytes());
    case.sent.extend([code, value("enc", 0) as u8]);
    case.sent.extend((flags as u16).to_le_bytes());
    if numbers.contains(&("id", "$t")) {
        case.tickets.push(case.sent.len());
        case.sent.extend([0; 8]);
    } else {
        case.sent.extend(value("id", 0).to_le_bytes());
    }
    case.sent.extend((value("aux", 0) as u32).to_le_bytes());
    case.sent
        .extend((value("key-len", key.len() as u64) as u16).to_le_bytes());
    case.sent.extend([value("att", 0) as u8, value("resv", 0) as u8]);
    case.sent.extend(body);
}

pub fn text_of(value: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in value.split('+') {
        if let Some(quoted) = part.strip_prefix('\'') {
            bytes.extend(unescaped(quoted.strip_suffix('\'').expect("a closing quote")));
        } else if let Some((unit, count)) = part.split_once('*') {
            let unit = if unit.starts_with("0x") {
                text_of(unit)
            } else {
                unit.into()
            };
            bytes.extend(unit.repeat(number(count) as usize));
        } else {
            bytes.extend(bytes_of_hex(
                part.strip_prefix("0x")
                    .unwrap_or_else(|| panic!("{part:?} is no text")),
            ));
        }
    }
    bytes
}

/// `\0 \n \r \e \\ \_` (a blank) and `\u{…}`.
pub fn unescaped(text: &str) -> Vec<u8> {
    let mut out = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            out.push(letter);
            continue;
        }
        match letters.next() {
            Some('0') => out.push('\0'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('e') => out.push('\u{1b}'),
            Some('_') => out.push(' '),
            Some('u') => {
                let code: String = letters
                    .by_ref()
                    .skip(1)
                    .take_while(|letter| *letter != '}')
                    .collect();
                out.push(char::from_u32(u32::from_str_radix(&code, 16).unwrap()).unwrap());
            }
            Some(other) => out.push(other),
            None => panic!("{text:?} ends in an escape"),
        }
    }
    out.into_bytes()
}

pub fn number(text: &str) -> u64 {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.unwrap_or_else(|_| panic!("{text:?} is no number"))
}

pub fn bytes_of_hex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(|letter| !letter.is_whitespace()).collect();
    assert!(digits.len().is_multiple_of(2), "{text:?}");
    let pairs = digits.chunks(2).map(|pair| pair.iter().collect::<String>());
    pairs
        .map(|pair| u8::from_str_radix(&pair, 16).unwrap_or_else(|_| panic!("{text:?} is not hex")))
        .collect()
}
