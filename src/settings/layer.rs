//! The layers: each file, variable and flag as one set of keys with the name of its origin.
//!
//! Owns how text of the environment becomes a value of the kind its key has. It does not judge keys or values
//! beyond that; `check` does. Called by `settings` alone.

use super::check::Problem;
use super::{NOT_SETTINGS, PREFIX, Sources, Values};
use crate::platform::plain;
use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};
use std::path::Path;

/// The largest file of settings, in bytes.
const FILE_MAX: u64 = 1 << 20;
/// The origin of what nobody set.
pub(super) const DEFAULT: &str = "default";

/// Keys with values, from one origin.
pub(super) struct Layer {
    pub(super) origin: String,
    pub(super) values: Dict,
}

impl Layer {
    /// A layer of every key.
    pub(super) fn of_values(values: &Values) -> Self {
        let values = Value::serialize(values)
            .ok()
            .and_then(Value::into_dict)
            .unwrap_or_default();
        Self {
            origin: DEFAULT.into(),
            values,
        }
    }

    /// Takes a key out, and the table that it was in when nothing else is in there.
    pub(super) fn remove(&mut self, key: &str) {
        let Some((table, inner)) = key.split_once('.') else {
            self.values.remove(key);
            return;
        };
        if let Some(Value::Dict(_, keys)) = self.values.get_mut(table) {
            keys.remove(inner);
            if keys.is_empty() {
                self.values.remove(table);
            }
        }
    }

    fn one(origin: impl Into<String>, key: &str, value: impl Into<Value>) -> Self {
        Self {
            origin: origin.into(),
            values: figment::util::nest(key, value.into())
                .into_dict()
                .unwrap_or_default(),
        }
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}

/// The leaves of a layer with their dotted keys: single keys first, then those of tables. A table without keys
/// is a leaf itself, so that a misspelt one is not overlooked.
pub(super) fn flat(layer: &Layer) -> Vec<(String, Value)> {
    let mut leaves = Vec::new();
    let mut tables = Vec::new();
    for (key, value) in &layer.values {
        match value {
            Value::Dict(_, inner) if !inner.is_empty() => {
                tables.extend(
                    inner
                        .iter()
                        .map(|(inner, value)| (format!("{key}.{inner}"), value.clone())),
                );
            }
            value => leaves.push((key.clone(), value.clone())),
        }
    }
    leaves.append(&mut tables);
    leaves
}

/// Every layer that the sources give, the weakest first. What cannot be read becomes a problem.
pub(super) fn all(sources: &Sources, problems: &mut Vec<Problem>) -> Vec<Layer> {
    let mut layers = vec![Layer::of_values(&Values::default())];
    for path in &sources.usual_files {
        layers.extend(file(path, false, problems));
    }
    if let Some(path) = &sources.file {
        layers.extend(file(path, true, problems));
    }
    layers.extend(environment(sources, problems));
    let flags = &sources.flags;
    if !flags.listen.is_empty() {
        layers.push(Layer::one("--listen", "listen", flags.listen.clone()));
    }
    layers.extend(
        flags
            .arbiters
            .map(|number| Layer::one("--arbiters", "arbiters", number)),
    );
    layers.extend(flags.log.clone().map(|filter| Layer::one("--log", "log", filter)));
    let format = flags.log_format.clone();
    layers.extend(format.map(|format| Layer::one("--log-format", "log_format", format)));
    let policy = flags.policy.as_ref().map(|path| path.display().to_string());
    layers.extend(policy.map(|path| Layer::one("--policy", "policy", path)));
    if !flags.bus.is_empty() {
        layers.push(Layer::one("--bus", "bus", flags.bus.clone()));
    }
    let tokens = flags.bus_tokens.as_ref().map(|path| path.display().to_string());
    layers.extend(tokens.map(|path| Layer::one("--bus-tokens", "bus_tokens", path)));
    if !flags.compat.is_empty() {
        layers.push(Layer::one("--compat", "compat", flags.compat.clone()));
    }
    let activation = flags.activation.as_ref().map(|path| path.display().to_string());
    layers.extend(activation.map(|path| Layer::one("--activation", "activation", path)));
    let dashboard = flags.dashboard.clone();
    layers.extend(dashboard.map(|address| Layer::one("--dashboard", "dashboard", address)));
    let anyone = || Layer::one("--dashboard-anyone", "dashboard_anyone", true);
    layers.extend(flags.dashboard_anyone.then(anyone));
    layers.extend(flags.system.then(|| Layer::one("--system", "system", true)));
    layers
}

fn file(path: &Path, wanted: bool, problems: &mut Vec<Problem>) -> Option<Layer> {
    let origin = path.display().to_string();
    let text = match plain::read_text(path, FILE_MAX) {
        Ok(text) => text,
        // A usual file may be missing, and so may its folder.
        Err(error) if !wanted && matches!(error.kind(), std::io::ErrorKind::NotFound) => return None,
        Err(error) => {
            problems.push(Problem::new(
                &origin,
                None,
                format!("the file cannot be read: {error}"),
            ));
            return None;
        }
    };
    match Toml::from_str::<Dict>(&text) {
        Ok(values) => Some(Layer { origin, values }),
        Err(error) => {
            problems.push(Problem::new(
                &origin,
                None,
                format!("the file is not TOML: {error}"),
            ));
            None
        }
    }
}

fn environment(sources: &Sources, problems: &mut Vec<Problem>) -> Vec<Layer> {
    let known = flat(&Layer::of_values(&Values::default()));
    let mut layers = Vec::new();
    for (name, value) in &sources.environment {
        let Some(name) = name
            .to_str()
            .filter(|name| name.starts_with(PREFIX) && !NOT_SETTINGS.contains(name))
        else {
            continue;
        };
        let Some(text) = value.to_str() else {
            problems.push(Problem::new(name, None, "the value is not UTF-8"));
            continue;
        };
        let key = key_of_variable(name);
        let kind = known
            .iter()
            .find(|(known, _)| *known == key)
            .map(|(_, value)| value);
        layers.push(match kind {
            Some(Value::Num(..)) => match text.trim().parse::<u64>() {
                Ok(number) => Layer::one(name, &key, number),
                // The text itself, for `check` to complain of.
                Err(_) => Layer::one(name, &key, text),
            },
            // Other texts stay as they are, for `check` to complain of.
            Some(Value::Bool(..)) if matches!(text.trim(), "true" | "false") => {
                Layer::one(name, &key, text.trim() == "true")
            }
            Some(Value::Array(..)) => {
                let items: Vec<&str> = text
                    .split(',')
                    .map(str::trim)
                    .filter(|item| !item.is_empty())
                    .collect();
                Layer::one(name, &key, items)
            }
            _ => Layer::one(name, &key, text),
        });
    }
    layers.sort_by(|a, b| a.origin.cmp(&b.origin));
    layers
}

/// `IPC_BROKER_LIMITS__OUTBOX_BYTES` → `limits.outbox_bytes`.
fn key_of_variable(name: &str) -> String {
    name.strip_prefix(PREFIX)
        .unwrap_or(name)
        .to_ascii_lowercase()
        .replace("__", ".")
}

/// `limits.outbox_bytes` → `IPC_BROKER_LIMITS__OUTBOX_BYTES`.
pub(super) fn variable_of_key(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_ascii_uppercase())
}
