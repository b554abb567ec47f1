//! The signatures of `rob`'s command line against a reader of its own.

use crate::input::Input;
use crate::signature;
use serde_json::{Map, Number, Value};
use std::collections::BTreeSet;

/// Letters of signatures, more often than others.
const LETTERS: &[char] = &[
    's', 's', 'i', 'n', 'b', 'd', 'j', '{', '}', '{', '}', '(', ')', '[', ']', 'x', ' ', '\u{e9}', '\0',
];

/// Words that mean something somewhere.
const WORDS: &[&str] = &[
    "",
    "a",
    "key",
    "--json",
    "--",
    "-5",
    "10",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775809",
    "+1",
    "007",
    "1e3",
    "1e999",
    "NaN",
    "inf",
    "-0",
    "0.1",
    "true",
    "false",
    "True",
    "null",
    "{\"z\":1,\"a\":[true,null]}",
    " [1, 2] ",
    "{\"a\":",
    "\"\\u0000\"",
    "\u{1b}[31m",
    "25.6\u{b0}C",
    "\u{202e}",
];

fn word(input: &mut Input<'_>) -> String {
    if input.byte() < 220 {
        return input.pick(WORDS).to_owned();
    }
    let count = input.below(40);
    String::from_utf8_lossy(input.bytes(count)).into_owned()
}

fn signature_text(input: &mut Input<'_>) -> String {
    match input.byte() {
        0..=219 => (0..input.below(12)).map(|_| input.pick(LETTERS)).collect(),
        220..=235 => "(".repeat(input.below(256)),
        _ => {
            let depth = input.below(110);
            format!("{}n{}", "[".repeat(depth), "]".repeat(depth))
        }
    }
}

/// Input: a signature and its arguments.
pub fn signatures(data: &[u8]) {
    let mut input = Input::new(data);
    let text = signature_text(&mut input);
    let arguments: Vec<String> = (0..input.below(12)).map(|_| word(&mut input)).collect();
    let letters: Vec<char> = text.chars().collect();
    let mut model = Model {
        letters: &letters,
        at: 0,
        arguments: &arguments,
        used: 0,
    };
    let wanted = match letters.is_empty() {
        true => Some(Value::Null),
        false => model.value(0).filter(|_| model.at == letters.len()),
    };
    match (signature::encode(&text, &arguments), wanted) {
        (Ok(encoded), Some(value)) => {
            assert_eq!(encoded.used, model.used, "{text:?} {arguments:?}");
            let got: Value = serde_json::from_str(&encoded.json).expect("JSON");
            assert_eq!(got, value, "{text:?} {arguments:?}");
        }
        (Err(error), None) => {
            // The words of a user are quoted, so that they cannot drive a terminal.
            let shown = error.to_string();
            assert!(!shown.chars().any(|letter| letter.is_control()), "{shown:?}");
        }
        (got, wanted) => panic!("{text:?} {arguments:?}: {got:?} instead of {wanted:?}"),
    }
}

/// `docs/rob.md` as a reader that builds a tree.
struct Model<'a> {
    letters: &'a [char],
    at: usize,
    arguments: &'a [String],
    used: usize,
}

impl Model<'_> {
    fn next_argument(&mut self) -> Option<String> {
        let found = self.arguments.get(self.used)?;
        self.used += 1;
        Some(found.clone())
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > 100 {
            return None;
        }
        let letter = *self.letters.get(self.at)?;
        self.at += 1;
        match letter {
            's' => self.next_argument().map(Value::String),
            'n' => Some(Value::Null),
            'i' => {
                let text = self.next_argument()?;
                let number: i128 = text.parse().ok()?;
                i64::try_from(number)
                    .map(Number::from)
                    .or_else(|_| u64::try_from(number).map(Number::from))
                    .ok()
                    .map(Value::Number)
            }
            'd' => Number::from_f64(self.next_argument()?.parse().ok()?).map(Value::Number),
            'b' => match &self.next_argument()?[..] {
                "true" => Some(true.into()),
                "false" => Some(false.into()),
                _ => None,
            },
            'j' => serde_json::from_str(&self.next_argument()?).ok(),
            '(' => self.list(')', depth),
            '[' => self.list(']', depth),
            '{' => self.map(depth),
            _ => None,
        }
    }

    fn list(&mut self, closer: char, depth: usize) -> Option<Value> {
        let mut items = Vec::new();
        while *self.letters.get(self.at)? != closer {
            items.push(self.value(depth + 1)?);
        }
        self.at += 1;
        Some(items.into())
    }

    fn map(&mut self, depth: usize) -> Option<Value> {
        let (mut map, mut keys) = (Map::new(), BTreeSet::new());
        while *self.letters.get(self.at)? != '}' {
            let key = self.next_argument()?;
            if !keys.insert(key.clone()) {
                return None;
            }
            let value = self.value(depth + 1)?;
            map.insert(key, value);
        }
        self.at += 1;
        Some(map.into())
    }
}
