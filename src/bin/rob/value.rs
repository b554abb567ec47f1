//! The value of a call or an event, as the command line or standard input says it.
//!
//! Owns where a value comes from: a signature and its arguments, standard input as one JSON value, or each line of it. It knows no
//! broker. Called by `arguments` (what the words mean) and by the commands (what is sent).

use crate::exit::{Exit, Failure};
use crate::options::{Leftover, Options};
use crate::signature::{self, JSON, SignatureError};
use actix_ipc::message::{Encoding, Payload};
use actix_ipc::terminal::nearest;
use clap::Args;
use serde_json::value::RawValue;
use std::io::Read;

/// What stands for one JSON value on standard input.
const STDIN: &str = "-";
/// The most that is read as one value: a message's limit, unless the broker's operator raised it.
pub(crate) const STDIN_MAX: u64 = 256 << 20;

/// The words behind the names.
#[derive(Args, Debug, Default, PartialEq)]
pub(crate) struct Words {
    /// How the arguments make one value (`rob --help` explains it), none for null, or - (or j -) for one JSON value on stdin.
    #[arg(
        value_name = "SIGNATURE ARGS",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    rest: Vec<String>,
    /// What they mean.
    #[arg(skip)]
    pub(crate) value: Value,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// The value, as JSON text.
    Json(String),
    /// Standard input is one JSON value.
    Stdin,
    /// Each line of standard input is the argument of this signature.
    Lines(String),
}

impl Default for Value {
    fn default() -> Self {
        Self::Json("null".to_owned())
    }
}

/// Why the words make no value.
pub(crate) enum Wrong {
    /// In words.
    Text(String),
    /// In clap's.
    Clap(clap::Error),
}

impl Words {
    /// Finds out what the words mean, and which options stand behind them. `rob` is the whole command line, `own` the command.
    pub(crate) fn read(
        &mut self,
        lines: bool,
        options: &mut Options,
        rob: &clap::Command,
        own: &str,
    ) -> Result<(), Wrong> {
        let rest = std::mem::take(&mut self.rest);
        let (signature, arguments) = rest
            .split_first()
            .map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
        // No signature begins so.
        if signature.starts_with('-') && signature != STDIN {
            return Err(Wrong::Text(no_option(signature, rob.find_subcommand(own), own)));
        }
        let mut used = 0;
        self.value = match signature {
            "" | STDIN if lines => Value::Lines("j".to_owned()),
            _ if lines => {
                takes_one(signature).map_err(Wrong::Text)?;
                Value::Lines(signature.to_owned())
            }
            STDIN => Value::Stdin,
            // No JSON text begins so.
            "j" if arguments.first().is_some_and(|word| word == STDIN) => {
                used = 1;
                Value::Stdin
            }
            _ => {
                let encoded = signature::encode(signature, arguments)
                    .map_err(|error| Wrong::Text(unfit(&error, arguments)))?;
                used = encoded.used;
                Value::Json(encoded.json)
            }
        };
        let tail = arguments.get(used..).unwrap_or_default();
        options.read_tail(tail, rob).map_err(|leftover| match leftover {
            Leftover::Word(word, near) => Wrong::Text(format!(
                "leftover argument {word:?}: the signature {signature:?} takes {used} argument{}{}",
                if used == 1 { "" } else { "s" },
                near.map(|near| format!("; did you mean {near}?"))
                    .unwrap_or_default(),
            )),
            Leftover::Clap(error) => Wrong::Clap(error),
        })
    }
}

/// Why words do not fit a signature. Who writes `-` among them wants standard input, perhaps; whose map or list has no quotes is better off
/// there.
fn unfit(error: &SignatureError, arguments: &[String]) -> String {
    let from_stdin = "`-` in place of the signature reads one JSON value from standard input";
    match error {
        _ if arguments.iter().any(|word| word == STDIN) => format!("{error}; {from_stdin}"),
        SignatureError::Invalid { text, wanted, .. } if *wanted == JSON && lost_quotes(text) => {
            format!("{error}; the shell has taken its quotes, perhaps: {from_stdin}")
        }
        _ => error.to_string(),
    }
}

/// Whether this may have been JSON before a shell read it.
fn lost_quotes(text: &str) -> bool {
    text.starts_with(['{', '[']) && text.ends_with(['}', ']']) && !text.contains('"')
}

/// A word where an option or a signature may stand, and that is neither.
fn no_option(word: &str, command: Option<&clap::Command>, own: &str) -> String {
    let of_command = command.into_iter().flat_map(clap::Command::get_arguments);
    let of_command = of_command.filter_map(|option| option.get_long().map(|long| format!("--{long}")));
    let names: Vec<String> = Options::names().into_iter().chain(of_command).collect();
    let typed = word.split('=').next().unwrap_or_default();
    match nearest(typed, names.iter().map(String::as_str)) {
        Some(near) => format!("there is no option {typed:?}; did you mean {near}?"),
        None => format!("there is no option {typed:?}; `rob {own} --help` shows those that there are"),
    }
}

/// A signature for lines takes exactly one argument, which is the line.
fn takes_one(signature: &str) -> Result<(), String> {
    // One of them fits whatever takes one argument.
    let one =
        |word: &str| signature::encode(signature, &[word.to_owned()]).is_ok_and(|found| found.used == 1);
    if one("0") || one("true") {
        return Ok(());
    }
    match signature::encode(signature, &[]) {
        Ok(_) | Err(SignatureError::Missing { .. }) => Err(format!(
            "--lines: the signature {signature:?} must take one argument, which is the line; s, i, d, b, j and (s) do"
        )),
        Err(error) => Err(error.to_string()),
    }
}

/// The payload of JSON text.
pub(crate) fn payload(json: impl Into<String>) -> Payload {
    Payload {
        encoding: Encoding::JSON,
        bytes: json.into().into(),
    }
}

/// Standard input, read to its end as one JSON value and passed on as it is written.
///
/// # Errors
/// It cannot be read, is too long, or is not one JSON value.
pub(crate) fn read_stdin() -> Result<Payload, Failure> {
    let mut text = String::new();
    let read = std::io::stdin().take(STDIN_MAX).read_to_string(&mut text);
    let failed = |why: String| Failure::new(Exit::Usage, format!("standard input, for `-`: {why}"));
    read.map_err(|error| failed(error.to_string()))?;
    if text.len() as u64 == STDIN_MAX {
        return Err(failed(format!("a value has less than {STDIN_MAX} bytes")));
    }
    one_value(&text).map_err(failed)
}

fn one_value(text: &str) -> Result<Payload, String> {
    let text = without_mark(text).trim();
    match serde_json::from_str::<&RawValue>(text) {
        Ok(_) => Ok(payload(text)),
        Err(error) => Err(format!(
            "not one JSON value: {error}; `rob send … --lines` sends each line as an event"
        )),
    }
}

/// A text without the U+FEFF in front with which programs of Windows say that it is UTF-8: it is no part of the text.
pub(crate) fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_of_utf_8_is_no_part_of_a_value() {
        for text in ["{\"a\": 1.0}", "\u{feff}{\"a\": 1.0}\r\n", " {\"a\": 1.0} "] {
            assert_eq!(one_value(text).unwrap().bytes, "{\"a\": 1.0}", "{text:?}");
        }
        for text in ["\u{feff}\u{feff}1", "1\u{feff}", "\u{feff}", "1 2"] {
            assert!(
                one_value(text).unwrap_err().contains("not one JSON value"),
                "{text:?}"
            );
        }
    }
}
