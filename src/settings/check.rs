//! What may be wrong with settings, and how it is said.
//!
//! Owns every complaint: unknown keys, wrong kinds, values that contradict each other. All of them are found in
//! one go. It reads no file. Called by `settings` alone.

use super::layer::{self, Layer};
use super::{ARBITERS_MAX, PREFIX, Values, dialects, limits};
use crate::bus::host::unhostable;
use crate::terminal::{LogFormat, nearest, printable};
use crate::transport::Endpoint;
use crate::transport::check::open_to_others;
use crate::transport::dialect::Dialects;
use figment::value::Value;
use std::fmt;
use std::path::Path;
use tracing_subscriber::filter::LevelFilter;

/// What a filter of the log may say by itself.
const LOG_LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
/// The library and the daemon, whose lines the log has.
const LOG_TARGETS: [&str; 2] = ["actix_ipc", "ipc_broker"];

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, variable or flag.
    pub origin: String,
    /// The key, when there is one.
    pub key: Option<String>,
    /// What is wrong and what to write instead.
    pub text: String,
}

impl Problem {
    pub(super) fn new(origin: &str, key: Option<&str>, text: impl Into<String>) -> Self {
        Self {
            origin: origin.to_owned(),
            key: key.map(str::to_owned),
            text: text.into(),
        }
    }
}

impl Problem {
    /// Whether it is about this key or one of this table, or mentions it.
    pub(super) fn is_about(&self, key: &str) -> bool {
        let own = self.key.as_deref().unwrap_or_default();
        let inside = own.strip_prefix(key).is_some_and(|rest| rest.starts_with('.'));
        let mut words = self
            .text
            .split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.')));
        own == key || inside || words.any(|word| word == key)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.origin))?;
        // A variable or flag says its key already.
        if let Some(key) = self.key.as_ref().filter(|_| !is_name(&self.origin)) {
            write!(f, ": {}", printable(key))?;
        }
        // The complaint of the TOML reader has several lines, and all of them quote what was written.
        f.write_str(": ")?;
        for (index, line) in self.text.trim_end().lines().enumerate() {
            write!(f, "{}{}", if index == 0 { "" } else { "\n" }, printable(line))?;
        }
        Ok(())
    }
}

/// Everything that is wrong, at least one problem.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// What was loaded, if there is no problem.
    pub(super) fn or<T>(loaded: Option<T>, problems: Vec<Problem>) -> Result<T, Self> {
        match loaded {
            Some(loaded) if problems.is_empty() => Ok(loaded),
            _ => Err(Self(problems)),
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if index == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

/// Whether the origin is a variable or a flag, which names its key, and not a file.
fn is_name(origin: &str) -> bool {
    origin.starts_with(PREFIX) || origin.starts_with("--")
}

/// Checks that every key of a layer is known and every value is of its key's kind. What is not is taken out, so that the rest can
/// be looked at; returns its keys.
pub(super) fn layer(layer: &mut Layer, problems: &mut Vec<Problem>) -> Vec<String> {
    let before = problems.len();
    find_wrong(layer, problems);
    let found = problems.iter().skip(before);
    let wrong: Vec<String> = found.filter_map(|problem| problem.key.clone()).collect();
    for key in &wrong {
        layer.remove(key);
    }
    wrong
}

fn find_wrong(layer: &Layer, problems: &mut Vec<Problem>) {
    let known = layer::flat(&Layer::of_values(&Values::default()));
    for (key, value) in layer::flat(layer) {
        match known.iter().find(|(known, _)| *known == key) {
            Some((_, default)) => {
                if let Some(text) = wrong_kind(&key, default, &value) {
                    problems.push(Problem::new(&layer.origin, Some(&key), text));
                }
            }
            None if is_table(&key, &known) => {
                if value.as_dict().is_none() {
                    let text = format!("is a table; write [{key}] and its keys below");
                    problems.push(Problem::new(&layer.origin, Some(&key), text));
                }
            }
            None => problems.push(Problem::new(
                &layer.origin,
                Some(&key),
                unknown(&layer.origin, &key, &known),
            )),
        }
    }
}

fn is_table(key: &str, known: &[(String, Value)]) -> bool {
    known
        .iter()
        .any(|(known, _)| known.split_once('.').is_some_and(|(table, _)| table == key))
}

fn unknown(origin: &str, key: &str, known: &[(String, Value)]) -> String {
    let tables = known.iter().filter_map(|(key, _)| Some(key.split_once('.')?.0));
    let all = known.iter().map(|(key, _)| key.as_str()).chain(tables);
    // A key in the wrong table is the commonest slip after a misspelling.
    let last = |key: &str| key.rsplit('.').next().map(str::to_owned);
    let elsewhere = || {
        known
            .iter()
            .map(|(key, _)| key.as_str())
            .find(|known| last(known) == last(key))
    };
    let variable = origin.starts_with(PREFIX);
    let written = |key: &str| {
        if variable {
            layer::variable_of_key(key)
        } else {
            key.to_owned()
        }
    };
    let what = if variable { "variable" } else { "key" };
    let beginning = || {
        known
            .iter()
            .map(|(key, _)| key.as_str())
            .find(|known| known.starts_with(key))
    };
    match nearest(key, all).or_else(elsewhere).or_else(beginning) {
        Some(key) => format!("unknown {what}; did you mean {}?", written(key)),
        None => format!("unknown {what}; `ipc-broker config show` lists those there are"),
    }
}

/// A number without a fraction; figment tells signed and unsigned ones apart.
pub(super) fn whole(number: figment::value::Num) -> Option<i128> {
    number
        .to_i128()
        .or_else(|| number.to_u128().and_then(|number| i128::try_from(number).ok()))
}

/// What a number must be that is not just any; said of whatever else was written.
fn wanted(key: &str) -> Option<String> {
    match key {
        "arbiters" => Some(format!("a whole number from 0 to {ARBITERS_MAX}")),
        key => limits::wanted(key),
    }
}

fn wrong_kind(key: &str, default: &Value, value: &Value) -> Option<String> {
    let found = || match value {
        Value::String(_, text) => format!("{text:?}"),
        Value::Char(_, c) => format!("{c:?}"),
        Value::Bool(_, value) => value.to_string(),
        Value::Num(_, number) => match (whole(*number), number.to_f64()) {
            (Some(number), _) => number.to_string(),
            (None, Some(number)) => number.to_string(),
            (None, None) => "a number".into(),
        },
        Value::Empty(..) => "nothing".into(),
        Value::Dict(..) => "a table".into(),
        Value::Array(..) => "a list".into(),
    };
    if let (Value::Num(..), Some(wanted)) = (default, wanted(key)) {
        let number = match value {
            Value::Num(_, number) => whole(*number),
            _ => None,
        };
        let fits = number.is_some_and(|number| u64::try_from(number).is_ok());
        return (!fits).then(|| format!("wants {wanted}, not {}", found()));
    }
    match (default, value) {
        (Value::Num(_, default), Value::Num(_, number)) => {
            let largest = match default {
                figment::value::Num::U32(_) => u128::from(u32::MAX),
                _ => usize::MAX as u128,
            };
            let fits = whole(*number)
                .and_then(|number| u128::try_from(number).ok())
                .is_some_and(|n| n <= largest);
            (!fits).then(|| format!("wants a whole number from 0 to {largest}, not {}", found()))
        }
        (Value::Num(..), _) => Some(format!("wants a whole number, not {}", found())),
        (Value::Array(..), Value::Array(_, items)) => items
            .iter()
            .any(|item| item.as_str().is_none())
            .then(|| format!("wants a list of strings, as in {key} = [{}]", example(key))),
        (Value::Array(..), _) => Some(format!(
            "wants a list, as in {key} = [{}], not {}",
            example(key),
            found()
        )),
        (Value::Bool(..), Value::Bool(..)) => None,
        (Value::Bool(..), _) => Some(format!("wants true or false, not {}", found())),
        (Value::String(..), Value::String(..)) => None,
        (Value::String(..), _) => Some(format!("wants a string, not {}", found())),
        _ => None,
    }
}

/// An item of a list.
fn example(key: &str) -> &'static str {
    match key {
        "bus" => "\"com.solar\"",
        "compat" | "dialects" => "\"ipc-server\"",
        _ => "\"unix:/tmp/ipc_broker.sock\"",
    }
}

/// What figment itself complains of; `layer` finds everything before it, so this is the safety net.
pub(super) fn of_figment(error: &figment::Error) -> Problem {
    let origin = error
        .metadata
        .as_ref()
        .map_or("settings", |metadata| metadata.name.as_ref());
    Problem::new(origin, Some(&error.path.join(".")), error.kind.to_string())
}

/// Checks values of the right kinds against each other; returns the endpoints.
pub(super) fn values(
    values: &Values,
    origin: &dyn Fn(&str) -> String,
    problems: &mut Vec<Problem>,
) -> Vec<Endpoint> {
    let set = |key: &str| origin(key) != layer::DEFAULT;
    let mut complain = |key: &str, text: String| problems.push(Problem::new(&origin(key), Some(key), text));
    let listen = endpoints(&values.listen, &mut |text| complain("listen", text));
    let tls = &values.tls;
    if tls.certificate.is_empty() != tls.key.is_empty() {
        let (has, lacks) = if tls.key.is_empty() {
            ("tls.certificate", "tls.key")
        } else {
            ("tls.key", "tls.certificate")
        };
        complain(
            has,
            format!("needs {lacks} beside it: a certificate is of use only with its key"),
        );
    }
    let wants_tls = listen
        .iter()
        .find(|endpoint| matches!(endpoint, Endpoint::Tls(_)));
    if let Some(endpoint) = wants_tls.filter(|_| tls.certificate.is_empty() && tls.key.is_empty()) {
        // Files would be of no use where there is no TLS.
        let text = match endpoint.lacking() {
            Some(why) => format!("{endpoint}: {why}"),
            None => format!("{endpoint} needs a certificate and its key: set tls.certificate and tls.key"),
        };
        complain("listen", text);
    }
    if values.arbiters > ARBITERS_MAX {
        complain(
            "arbiters",
            format!(
                "at most {ARBITERS_MAX} (each is a thread), not {}",
                values.arbiters
            ),
        );
    }
    if let Err(text) = log_filter(&values.log) {
        complain("log", text);
    }
    if let Err(text) = log_format(&values.log_format) {
        complain("log_format", text);
    }
    for (at, bus) in values.bus.iter().enumerate() {
        if values.bus.iter().take(at).any(|before| before == bus) {
            complain("bus", format!("{bus:?} is there twice"));
        }
        if let Some(why) = unhostable(bus) {
            complain("bus", format!("{bus:?} cannot be hosted: {why}"));
        }
    }
    if !values.bus_tokens.is_empty() && values.bus.is_empty() {
        complain("bus_tokens", "is of use only with buses to host: set bus".into());
    }
    limits::check(&values.limits, &set, &mut complain);
    listen
}

/// The endpoints that can be had; of the others, what is wrong with them.
fn endpoints(texts: &[String], complain: &mut dyn FnMut(String)) -> Vec<Endpoint> {
    let mut listen = Vec::new();
    for text in texts {
        match text.parse::<Endpoint>() {
            Ok(endpoint) if listen.contains(&endpoint) => complain(format!("{endpoint} is there twice")),
            Ok(Endpoint::Memory(_)) => {
                complain(format!(
                    "{text}: mem: is for brokers inside a program; nobody could reach it here"
                ));
            }
            Ok(endpoint) => match open_to_others(&endpoint) {
                Some(error) => complain(error.to_string()),
                None => listen.push(endpoint),
            },
            Err(error) => complain(error.to_string()),
        }
    }
    listen
}

/// Checks that what starts units is not looked up anywhere.
pub(super) fn systemctl(values: &Values, origin: &dyn Fn(&str) -> String, problems: &mut Vec<Problem>) {
    let path = &values.systemctl;
    if !(path.is_empty() || Path::new(path).is_absolute()) {
        let text = format!("{path:?} is no whole path; write one as in /usr/bin/systemctl");
        problems.push(Problem::new(&origin("systemctl"), Some("systemctl"), text));
    }
}

/// The older formats that are understood, and the endpoints that are added for their clients.
pub(super) fn dialects(
    values: &Values,
    listen: &[Endpoint],
    address: Option<&str>,
    origin: &dyn Fn(&str) -> String,
    problems: &mut Vec<Problem>,
) -> (Dialects, Vec<Endpoint>) {
    let (mut added, wrong) = match dialects::endpoints(&values.compat, address) {
        Ok(added) => (added, None),
        Err((Some(variable), text)) => (Vec::new(), Some(Problem::new(variable, None, text))),
        Err((None, text)) => {
            let problem = Problem::new(&origin("compat"), Some("compat"), text);
            (Vec::new(), Some(problem))
        }
    };
    problems.extend(wrong);
    let mut complain = |key: &str, text: String| problems.push(Problem::new(&origin(key), Some(key), text));
    let understood = dialects::named(&values.dialects).unwrap_or_else(|text| {
        complain("dialects", text);
        Dialects::NONE
    });
    for name in &values.compat {
        // What is no name of any was complained of already.
        if !values.dialects.contains(name) && dialects::all().contains(name) {
            let text = format!(
                "the setting dialects leaves {name} out, so its clients would be turned away; add it there"
            );
            complain("compat", text);
        }
    }
    let usual = if listen.is_empty() && !values.system {
        super::default_endpoints()
    } else {
        Vec::new()
    };
    added.retain(|endpoint| !listen.contains(endpoint) && !usual.contains(endpoint));
    (understood, added)
}

/// Checks the filter of the log. A word by itself that is no level would be the target of a filter that shows next to nothing,
/// so only targets of this program may stand alone.
fn log_filter(filter: &str) -> Result<(), String> {
    if let Err(error) = tracing_subscriber::EnvFilter::try_new(filter) {
        return Err(format!(
            "{filter:?} is no log filter ({error}); write info, debug or actix_ipc=trace"
        ));
    }
    let own = |word: &str| {
        let crate_name = word.split("::").next();
        crate_name.is_some_and(|name| LOG_TARGETS.contains(&name))
    };
    let wrong = filter.split(',').map(str::trim).find(|part| {
        let bare = !part.contains(['=', '[']);
        bare && part.parse::<LevelFilter>().is_err() && !own(part)
    });
    match wrong {
        None => Ok(()),
        Some(word) => {
            let meant = nearest(word, LOG_LEVELS.into_iter().chain(LOG_TARGETS))
                .map_or_else(String::new, |like| format!(", did you mean {like}?"));
            Err(format!(
                "{word:?} is no level ({}){meant}; for all of a target write it with its level, as in actix_ipc=debug",
                LOG_LEVELS.join(", ")
            ))
        }
    }
}

/// Checks the form of the log.
fn log_format(format: &str) -> Result<(), String> {
    if LogFormat::named(format).is_some() {
        return Ok(());
    }
    let near = nearest(format, LogFormat::ALL.map(LogFormat::name));
    let near = near.map_or_else(String::new, |near| format!(", did you mean {near}?"));
    Err(format!(
        "{format:?} is no format of the log; write text or json{near}"
    ))
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
