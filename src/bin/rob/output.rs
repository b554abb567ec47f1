//! What rob prints: payloads for people, payloads as JSON lines, and the one place that writes to stdout.
//!
//! Owns the layout (`Result:`, `Map:`, `   key :: value`) and the rule that no peer's control character reaches
//! the terminal. It knows no connection. Called by `commands`.

use crate::colour;
use actix_ipc::message::{Encoding, Payload};
use actix_ipc::terminal::{hex, json_safe, printable};
use serde_json::Value;
use std::borrow::Cow;
use std::io::{self, Write};

/// Indentation of each level of a map or list.
const INDENT: &str = "   ";

/// Standard output, one flushed write per result, so that a reader at the other end of a pipe sees each one at
/// once and a closed pipe is an error and not a panic.
pub(crate) struct Output {
    sink: Box<dyn Write>,
    json: bool,
    coloured: bool,
}

impl Output {
    /// Standard output; with `json` one compact JSON value per line and nothing else.
    pub(crate) fn stdout(json: bool) -> Self {
        let stdout = io::stdout();
        Self {
            coloured: !json && colour::wanted(&stdout),
            sink: Box::new(stdout),
            json,
        }
    }

    /// Whether what is for people may be coloured.
    pub(crate) const fn coloured(&self) -> bool {
        self.coloured
    }

    /// Whether JSON lines were asked for.
    pub(crate) const fn json(&self) -> bool {
        self.json
    }

    /// Prints one result.
    pub(crate) fn result(&mut self, payload: &Payload) -> io::Result<()> {
        let text = if self.json {
            let mut line = json_line(payload);
            line.push('\n');
            line
        } else {
            format!("Result:\n{}", people(payload))
        };
        self.text(&text)
    }

    /// Prints text that is safe already, as it is.
    pub(crate) fn text(&mut self, text: &str) -> io::Result<()> {
        self.sink.write_all(text.as_bytes())?;
        self.sink.flush()
    }

    /// Prints an empty line between results; nothing with `--json`.
    pub(crate) fn gap(&mut self) -> io::Result<()> {
        if self.json { Ok(()) } else { self.text("\n") }
    }
}

/// The payload for people, with its last line break.
pub(crate) fn people(payload: &Payload) -> String {
    match shown(payload) {
        Shown::Value(value) => {
            let mut out = String::new();
            tree(&mut out, &value, 0);
            out
        }
        Shown::Text(text) => format!("\"{}\"\n", printable(text)),
        Shown::Hex => {
            let (name, length) = (payload.encoding.name(), payload.bytes.len());
            let unit = if length == 1 { "byte" } else { "bytes" };
            format!("{name}, {length} {unit}: {}\n", hex(&payload.bytes))
        }
    }
}

/// The payload as one line of JSON, without the line break. JSON keeps its order of keys and all digits of its
/// numbers; text in the raw encoding becomes a string; anything else an object with `encoding`, `length` and `hex`.
pub(crate) fn json_line(payload: &Payload) -> String {
    match shown(payload) {
        Shown::Value(_) => compact(&String::from_utf8_lossy(&payload.bytes)),
        Shown::Text(text) => compact(&Value::from(text).to_string()),
        Shown::Hex => serde_json::json!({
            "encoding": payload.encoding.name(),
            "length": payload.bytes.len(),
            "hex": hex(&payload.bytes),
        })
        .to_string(),
    }
}

/// How a payload can be shown.
enum Shown<'a> {
    Value(Value),
    Text(&'a str),
    Hex,
}

fn shown(payload: &Payload) -> Shown<'_> {
    match payload.encoding {
        Encoding::JSON => payload.decode().map_or(Shown::Hex, Shown::Value),
        Encoding::RAW => std::str::from_utf8(&payload.bytes).map_or(Shown::Hex, Shown::Text),
        _ => Shown::Hex,
    }
}

/// Writes a value and the line break behind it; the members of maps and lists go on lines of their own.
/// serde_json reads at most 128 levels, which bounds the recursion.
fn tree(out: &mut String, value: &Value, depth: usize) {
    let member = |out: &mut String, key: &str, value: &Value| {
        out.push_str(&INDENT.repeat(depth.saturating_add(1)));
        out.push_str(&printable(key));
        out.push_str(" :: ");
        tree(out, value, depth.saturating_add(1));
    };
    match value {
        Value::Null => out.push_str("Null\n"),
        Value::Bool(_) | Value::Number(_) => {
            out.push_str(&value.to_string());
            out.push('\n');
        }
        Value::String(text) => {
            out.push('"');
            out.push_str(&printable(text));
            out.push_str("\"\n");
        }
        Value::Array(items) => {
            out.push_str("List:\n");
            for (index, item) in items.iter().enumerate() {
                member(out, &index.to_string(), item);
            }
        }
        Value::Object(entries) => {
            out.push_str("Map:\n");
            for (key, value) in entries {
                member(out, key, value);
            }
        }
    }
}

/// Valid JSON text without the blanks between its tokens, and with what could drive a terminal escaped.
pub(crate) fn compact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut in_string, mut escaped) = (false, false);
    for c in text.chars() {
        if !in_string && c.is_ascii_whitespace() {
            continue;
        }
        if c == '"' && !escaped {
            in_string = !in_string;
        }
        escaped = in_string && c == '\\' && !escaped;
        out.push(c);
    }
    match json_safe(&out) {
        Cow::Borrowed(_) => out,
        Cow::Owned(safe) => safe,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_ipc::terminal::is_unsafe;

    fn json(text: &str) -> Payload {
        Payload {
            encoding: Encoding::JSON,
            bytes: text.to_owned().into(),
        }
    }

    #[test]
    fn people_read_it_as_the_document_shows_it() {
        let table = [
            (json(r#"{"sum":42}"#), "Map:\n   sum :: 42\n"),
            (json(r#""25.6°C""#), "\"25.6°C\"\n"),
            (json("null"), "Null\n"),
            (json("true"), "true\n"),
            (json("2.5"), "2.5\n"),
            (json("-7"), "-7\n"),
            (
                json(r#"["rob","math"]"#),
                "List:\n   0 :: \"rob\"\n   1 :: \"math\"\n",
            ),
            (json("{}"), "Map:\n"),
            (
                json(r#"{"b":[1,{"x":null}],"a":{"c":"d"}}"#),
                "Map:\n   a :: Map:\n      c :: \"d\"\n   b :: List:\n      0 :: 1\n      1 :: Map:\n         x :: Null\n",
            ),
            (Payload::raw(&b"plain text"[..]), "\"plain text\"\n"),
            (Payload::raw(&b"\xff\x00\x01"[..]), "raw, 3 bytes: ff0001\n"),
            (
                Payload::encode(Encoding::POSTCARD, &7_u8).unwrap(),
                "postcard, 1 byte: 07\n",
            ),
            (
                Payload {
                    encoding: Encoding(200),
                    bytes: vec![1, 2].into(),
                },
                "unknown, 2 bytes: 0102\n",
            ),
            (json("{not json"), "JSON, 9 bytes: 7b6e6f74206a736f6e\n"),
        ];
        for (payload, expected) in table {
            assert_eq!(people(&payload), expected, "{payload:?}");
        }
    }

    #[test]
    fn programs_read_one_line() {
        let table = [
            (json("{ \"sum\" :\n 42 }"), r#"{"sum":42}"#),
            (json(r#"{"z":1,"a":" x  y "}"#), r#"{"z":1,"a":" x  y "}"#),
            (json(r#"["a\"b \\", "c d"]"#), r#"["a\"b \\","c d"]"#),
            (
                json("123456789012345678901234567890"),
                "123456789012345678901234567890",
            ),
            (Payload::raw(&b"text"[..]), r#""text""#),
            (
                Payload::raw(&b"\xff"[..]),
                r#"{"encoding":"raw","hex":"ff","length":1}"#,
            ),
            (
                Payload::encode(Encoding::POSTCARD, &7_u8).unwrap(),
                r#"{"encoding":"postcard","hex":"07","length":1}"#,
            ),
        ];
        for (payload, expected) in table {
            assert_eq!(json_line(&payload), expected, "{payload:?}");
        }
    }

    #[test]
    fn no_control_character_of_a_peer_gets_out() {
        let nasty = "\u{1b}]0;owned\u{7}\r\n\u{9b}2J\u{202e}";
        let value = serde_json::json!({ nasty: [nasty, { nasty: nasty }] });
        let pretty = Payload::json(&value).unwrap();
        for payload in [
            pretty,
            Payload::raw(nasty.to_owned()),
            Payload::json(nasty).unwrap(),
        ] {
            let shown = people(&payload);
            assert!(shown.chars().all(|c| c == '\n' || !is_unsafe(c)), "{shown:?}");
            let line = json_line(&payload);
            assert!(!line.chars().any(is_unsafe), "{line:?}");
            serde_json::from_str::<Value>(&line).unwrap();
        }
        assert_eq!(
            serde_json::from_str::<Value>(&json_line(&Payload::json(&value).unwrap())).unwrap(),
            value
        );
    }

    proptest::proptest! {
        #[test]
        fn a_line_means_what_the_payload_means(text in "\\PC{0,40}|[\\x00-\\x20\"\\\\]{0,10}", number: f64) {
            let value = serde_json::json!({ &text: [&text, number, null] });
            let payload = Payload { encoding: Encoding::JSON, bytes: serde_json::to_vec_pretty(&value).unwrap().into() };
            let line = json_line(&payload);
            assert!(!line.chars().any(is_unsafe), "{line:?}");
            assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), value);
            if !text.chars().any(is_unsafe) {
                assert_eq!(line, serde_json::to_string(&value).unwrap(), "nothing else is written in another way");
            }
        }
    }
}
