//! What `sys.broker` can be asked: its methods as it describes them itself, and how their arguments are read.
//!
//! Owns the words for what is not understood: they are for whoever asks, in JSON's terms and not in those of this program. It answers
//! nothing; called by the built-in object.

use crate::actors::observe::tap::{PAYLOAD_MAX, RATE_MAX};
use crate::error::{CallError, ErrorCode};
use crate::message::Payload;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// A key of an argument, and what its value is.
type KeyOf = (&'static str, &'static str);

/// One method.
#[derive(Debug)]
pub(super) struct Method {
    /// Its name.
    pub(super) name: &'static str,
    /// What it answers.
    answer: &'static str,
    /// The keys of its argument, all of them optional.
    keys: &'static [KeyOf],
}

const LIMIT: &[KeyOf] = &[(
    "limit",
    "a whole number: so many rows at most, 1,000 without it, never more than 20,000",
)];
const FILTER: &[KeyOf] = &[
    ("kinds", "a list of the words call, reply, event, presence"),
    ("object", "a text: a pattern over objects"),
    ("member", "a text: a pattern over methods and topics"),
    ("peer", "a whole number: a connection, at either end"),
    ("pid", "a whole number: a process, at either end"),
    (
        "payloads",
        "a whole number: bytes of each payload that are shown, at most 1,048,576, 0 without it",
    ),
    (
        "rate",
        "a whole number: records a second, 1 to 1,000,000, 5,000 without it",
    ),
];
const _: () = assert!(PAYLOAD_MAX == 1_048_576 && RATE_MAX == 1_000_000);

/// All of them.
pub(super) const METHODS: [Method; 8] = [
    method("ping", "\"pong\"", &[]),
    method(
        "status",
        "how the broker is: counters, budgets, sums, the last notable happenings",
        &[],
    ),
    method("connections", "who is connected, the busiest first", LIMIT),
    method(
        "objects",
        "the objects and what became of their calls: those that are there first, those called most before others",
        LIMIT,
    ),
    method(
        "topics",
        "what is subscribed to, what is published most first",
        LIMIT,
    ),
    method(
        "services",
        "services that start on demand, with states and last failures",
        &[],
    ),
    method(
        "monitor",
        "a stream: what passes through the broker, from now on",
        FILTER,
    ),
    method(
        "mark",
        "a number; each monitor's stream says it as `mark` when all that passed before was told",
        &[],
    ),
];

const fn method(name: &'static str, answer: &'static str, keys: &'static [KeyOf]) -> Method {
    Method { name, answer, keys }
}

/// What the object says of itself, as `describe` shows it.
pub(super) fn description() -> Value {
    let methods = METHODS.iter().map(|method| {
        let keys = method
            .keys
            .iter()
            .map(|(key, what)| ((*key).to_owned(), Value::from(*what)));
        let argument: Map<String, Value> = keys.collect();
        let mut described = json!({ "name": method.name, "answer": method.answer });
        if let (Some(described), false) = (described.as_object_mut(), argument.is_empty()) {
            described.insert("argument".to_owned(), argument.into());
        }
        described
    });
    json!({
        "text": "The broker itself. Arguments are JSON objects with the keys that are named, all optional; answers are JSON.",
        "methods": methods.collect::<Vec<_>>(),
    })
}

/// The method of this name.
///
/// # Errors
/// [`ErrorCode::NoSuchMethod`], with the methods that there are.
pub(super) fn find(object: &str, name: &str) -> Result<&'static Method, CallError> {
    METHODS.iter().find(|method| method.name == name).ok_or_else(|| {
        let all: Vec<&str> = METHODS.iter().map(|method| method.name).collect();
        let text = format!("{object} has no method {name:?}; it has: {}", all.join(", "));
        CallError::new(ErrorCode::NoSuchMethod, text)
    })
}

impl Method {
    /// Reads the argument: a JSON object, or nothing.
    ///
    /// # Errors
    /// [`ErrorCode::Invalid`], with what is wrong where and what was expected.
    pub(super) fn argument<T: DeserializeOwned + Default>(&self, payload: &Payload) -> Result<T, CallError> {
        if payload.bytes.is_empty() {
            return Ok(T::default());
        }
        let value = serde_json::from_slice(&payload.bytes)
            .map_err(|error| self.wrong(&format!("is no JSON ({error})")))?;
        let object = match value {
            Value::Null => return Ok(T::default()),
            Value::Object(object) => object,
            // What `rob call` sends where nothing is said.
            Value::Array(all) if all.is_empty() => return Ok(T::default()),
            other => return Err(self.wrong(&format!("is {}", named(&other)))),
        };
        for (key, value) in &object {
            let Some((_, what)) = self.keys.iter().find(|(own, _)| own == key) else {
                return Err(self.wrong(&format!("has the key {key:?}")));
            };
            let alone = Map::from_iter([(key.clone(), value.clone())]);
            if serde_json::from_value::<T>(alone.into()).is_err() {
                let text = format!(
                    "sys.broker.{}: {key:?} is {}; it is to be {what}",
                    self.name,
                    named(value)
                );
                return Err(CallError::new(ErrorCode::Invalid, text));
            }
        }
        serde_json::from_value(object.into())
            .map_err(|error| self.wrong(&format!("is not understood ({error})")))
    }

    fn wrong(&self, how: &str) -> CallError {
        let keys: Vec<&str> = self.keys.iter().map(|(key, _)| *key).collect();
        let expected = match keys.is_empty() {
            true => "it takes none".to_owned(),
            false => format!(
                "it is to be a JSON object with some of the keys {}",
                keys.join(", ")
            ),
        };
        let text = format!("the argument of sys.broker.{} {how}; {expected}", self.name);
        CallError::new(ErrorCode::Invalid, text)
    }
}

fn named(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(_) => "a text".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::observe::tap::Filter;

    fn filter(text: &str) -> Result<Filter, String> {
        let payload = Payload::json(&serde_json::from_str::<Value>(text).unwrap()).unwrap();
        let monitor = find("sys.broker", "monitor").unwrap();
        monitor.argument(&payload).map_err(|error| error.message)
    }

    #[test]
    fn what_is_not_understood_is_said_in_jsons_words() {
        for (text, expected) in [
            (
                "3",
                "the argument of sys.broker.monitor is the number 3; it is to be a JSON object with some of the keys kinds, object",
            ),
            (
                r#"{"objekt":1}"#,
                "the argument of sys.broker.monitor has the key \"objekt\"; it is to be a JSON object with",
            ),
            (
                r#"{"object":1}"#,
                "sys.broker.monitor: \"object\" is the number 1; it is to be a text: a pattern over objects",
            ),
            (
                r#"{"kinds":["cal"]}"#,
                "sys.broker.monitor: \"kinds\" is a list; it is to be a list of the words call, reply",
            ),
            (
                r#"{"peer":-1}"#,
                "sys.broker.monitor: \"peer\" is the number -1; it is to be a whole number",
            ),
        ] {
            let error = filter(text).unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
            assert!(
                !error.contains("struct") && !error.contains("usize") && !error.contains("u64"),
                "{error}"
            );
        }
        for text in ["null", "{}", "[]"] {
            assert_eq!(filter(text).unwrap().rate, None);
        }
        assert_eq!(filter(r#"{"rate":7,"kinds":["event"]}"#).unwrap().rate, Some(7));
        let status = find("sys.broker", "status").unwrap();
        let error = status.argument::<()>(&Payload::json("x").unwrap()).unwrap_err();
        assert!(error.message.ends_with("is a text; it takes none"), "{error}");
    }

    #[test]
    fn it_describes_itself_within_what_a_description_may_have() {
        let text = description().to_string();
        assert!(text.len() <= 4 * 1024, "{} bytes", text.len());
        let error = find("sys.broker", "nope").unwrap_err().message;
        assert!(
            error.ends_with("it has: ping, status, connections, objects, topics, services, monitor, mark"),
            "{error}"
        );
    }
}
