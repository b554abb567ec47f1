//! Malformed input in the formats of older brokers: two families of cases, in one column more for what is heard.
//!
//! ```text
//! framed {"HasObject":{"object_name":"x"}} | heard HasObjectResult
//! length 70000 ; text {} | closed
//! ```
//! Sent, separated by ` ; `: `framed TEXT` (a length of four bytes, big-endian, and the text), `length N`, `text TEXT`, `hex …`,
//! `bytes TEXTS` and `framed-bytes TEXTS` (texts of the language's grammar), `times N PIECE`, `eof`. Comes back, separated by ` ; `:
//! `heard PART` for each answer, in order; last `closed`, or nothing: the connection lives, and a well-formed question gets its answer
//! next. `nothing`: that answer alone.

use crate::honest::Honest;
use crate::language::{bytes_of_hex, expanded, number, text_of, unescaped};
use crate::wire::Wire;
use actix_ipc::Endpoint;
use std::collections::HashSet;
use std::time::Duration;

/// How messages are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// ipc-broker 1.1.5.
    Lengths,
    /// ipc-server 0.1.10.
    Documents,
}

pub struct Case {
    pub title: String,
    framing: Framing,
    sent: Vec<u8>,
    pub ends_sending: bool,
    heard: Vec<String>,
    closed: bool,
}

/// Reads a family.
pub fn read(family: &str, framing: Framing, text: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut variables: Vec<(String, Vec<String>)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            variables.clear();
        } else if let Some(rest) = line.strip_prefix("with ") {
            let (name, values) = rest.split_once(" = ").expect("with name = values");
            variables.retain(|(other, _)| other != name);
            let values = values.split_whitespace().map(|value| value.replace('~', " "));
            variables.push((name.to_owned(), values.collect()));
        } else if !line.starts_with('#') {
            for line in expanded(line, &variables) {
                cases.push(case(
                    format!("{family}.txt:{}: {line}", number + 1),
                    framing,
                    &line,
                ));
            }
        }
    }
    cases
}

/// How many of them send something that no other does.
pub fn distinct(cases: &[Case]) -> usize {
    let sent = |case: &Case| (case.sent.clone(), case.ends_sending);
    cases.iter().map(sent).collect::<HashSet<_>>().len()
}

fn case(title: String, framing: Framing, line: &str) -> Case {
    let (sent, expected) = line
        .rsplit_once(" | ")
        .unwrap_or_else(|| panic!("{title}: sent | heard"));
    let mut case = Case {
        title,
        framing,
        sent: Vec::new(),
        ends_sending: false,
        heard: Vec::new(),
        closed: false,
    };
    for piece in sent.split(" ; ") {
        match piece.trim() {
            "eof" => case.ends_sending = true,
            piece => case.sent.extend(bytes(piece)),
        }
    }
    for part in expected.split(" ; ").map(str::trim) {
        match part {
            "closed" => case.closed = true,
            "nothing" => {}
            part => case
                .heard
                .push(part.strip_prefix("heard ").expect("heard").to_owned()),
        }
    }
    case
}

fn framed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("a small body");
    [&length.to_be_bytes()[..], body].concat()
}

fn bytes(piece: &str) -> Vec<u8> {
    let (word, rest) = piece.split_once(' ').unwrap_or((piece, ""));
    match word {
        "framed" => framed(&unescaped(rest)),
        "framed-bytes" => framed(&text_of(rest)),
        "bytes" => text_of(rest),
        "length" => u32::try_from(number(rest))
            .expect("a length")
            .to_be_bytes()
            .to_vec(),
        "text" => unescaped(rest),
        "hex" => bytes_of_hex(rest),
        "times" => {
            let (count, piece) = rest.split_once(' ').expect("times N PIECE");
            bytes(piece).repeat(number(count) as usize)
        }
        other => panic!("nothing is sent by {other:?}"),
    }
}

impl Case {
    /// A question that anybody may ask, and its answer.
    fn question(&self) -> (Vec<u8>, &'static str) {
        match self.framing {
            Framing::Lengths => (
                framed(br#"{"HasObject":{"object_name":"honest"}}"#),
                r#"{"HasObjectResult":{"object_name":"honest","exists":true}}"#,
            ),
            Framing::Documents => (br#"{"list":["honest"]}"#.to_vec(), r#"{"list":["honest"]}"#),
        }
    }

    /// The first answer of some bytes.
    fn first(&self, heard: &[u8]) -> Option<usize> {
        match self.framing {
            Framing::Lengths => {
                let (head, body) = heard.split_first_chunk::<4>()?;
                let length = u32::from_be_bytes(*head) as usize;
                (body.len() >= length).then_some(length + 4)
            }
            Framing::Documents => {
                let mut documents =
                    serde_json::Deserializer::from_slice(heard).into_iter::<serde_json::Value>();
                documents.next()?.ok()?;
                Some(documents.byte_offset())
            }
        }
    }

    /// Plays it. What is heard is no longer than it should be: the question's answer comes right behind it.
    /// What becomes of a subscription, and the answer to an event, are told when a client waits for nothing else.
    fn is_told_later(&self) -> bool {
        let late = ["Subscribe", "\"event\""];
        !self.heard.is_empty() && late.iter().any(|word| self.title.contains(word))
    }

    async fn played(&self, wire: &Wire) -> Result<(), String> {
        wire.send(&self.sent).await;
        let (question, answer) = self.question();
        if self.ends_sending {
            let _ = wire.stream.shutdown_write();
        } else if !self.closed && !self.is_told_later() {
            wire.send(&question).await;
        }
        let ends = self.closed || self.ends_sending;
        let mut expected: Vec<&str> = self.heard.iter().map(String::as_str).collect();
        if !ends {
            expected.push(answer);
        }
        let mut heard = Vec::new();
        for part in expected {
            if part == answer && self.is_told_later() {
                wire.send(&question).await;
            }
            let length = loop {
                if let Some(length) = self.first(&heard) {
                    break length;
                }
                match wire.read_bytes().await {
                    Some(more) => heard.extend(more),
                    None => return Err(format!("the end instead of {part:?}")),
                }
            };
            let text = String::from_utf8_lossy(&heard[..length]).into_owned();
            if !text.contains(part) {
                return Err(format!("{text:?} instead of {part:?}"));
            }
            heard.drain(..length);
        }
        while ends && let Some(more) = wire.read_bytes().await {
            heard.extend(more);
        }
        match heard.trim_ascii().is_empty() {
            true => Ok(()),
            false => Err(format!("and then {:?}", String::from_utf8_lossy(&heard))),
        }
    }
}

/// Plays a case against the broker, and waits until nothing is left of it. Returns what was wrong.
pub async fn play(
    case: &Case,
    endpoint: &Endpoint,
    patience: Duration,
    honest: &mut Honest,
) -> Option<String> {
    let wire = Wire::connect(endpoint).await;
    let played = tokio::time::timeout(patience, case.played(&wire)).await;
    let wrong = match played {
        Ok(played) => played.err(),
        Err(_) => Some(format!("no end within {patience:?}")),
    };
    drop(wire);
    let clean = tokio::time::timeout(patience, async {
        // Nobody knows its number; it is gone when the list is as it was.
        while let Err(text) = honest.is_served().await {
            assert!(text.contains("left"), "{text}");
        }
    });
    match clean.await {
        Ok(()) => wrong,
        Err(_) => Some("something of it is never gone".to_owned()),
    }
    .map(|text| format!("{endpoint} {}: {text}", case.title))
}
