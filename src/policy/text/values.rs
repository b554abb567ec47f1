//! The values in a policy file: numbers, names, patterns, each in a list or alone.
//!
//! Owns what each key takes and how a wrong value is complained of. Called by [`parse`](super::parse) alone.

use super::{Fault, Faults, Users};
use crate::message::metadata::RESERVED_PREFIX;
use crate::message::{Pattern, PatternError};
use crate::policy::principal::{check_name, sid};
use crate::policy::rule::{Right, Selection, Who};
use std::ops::Range;
use toml_edit::{InlineTable, Item, Value};

type Span = Option<Range<usize>>;

/// Reads values and gathers what is wrong with them.
pub(super) struct Reader<'a> {
    text: &'a str,
    users: &'a dyn Users,
    faults: Vec<Fault>,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(text: &'a str, users: &'a dyn Users) -> Self {
        Self {
            text,
            users,
            faults: Vec::new(),
        }
    }

    /// The line of a span, from 1.
    pub(super) fn line(&self, span: Span) -> u32 {
        let end = span.map_or(0, |span| span.start);
        let before = self.text.as_bytes().get(..end).unwrap_or(self.text.as_bytes());
        let newlines = before.iter().filter(|byte| **byte == b'\n').count();
        u32::try_from(newlines).unwrap_or(u32::MAX).saturating_add(1)
    }

    pub(super) fn fault(&self, span: Span, text: String) -> Fault {
        Fault {
            line: self.line(span),
            text,
        }
    }

    pub(super) fn complain(&mut self, span: Span, text: String) {
        let fault = self.fault(span, text);
        self.faults.push(fault);
    }

    pub(super) fn complain_at(&mut self, line: u32, text: String) {
        self.faults.push(Fault { line, text });
    }

    pub(super) const fn has_faults(&self) -> bool {
        !self.faults.is_empty()
    }

    pub(super) fn finish(mut self) -> Result<(), Faults> {
        if self.faults.is_empty() {
            return Ok(());
        }
        self.faults.sort_by_key(|fault| fault.line);
        Err(Faults(self.faults))
    }

    /// The items of a list, or the one value that stands alone.
    fn items<'i>(&mut self, key: &str, item: &'i Item, span: Span) -> Vec<&'i Value> {
        match item {
            Item::Value(Value::Array(items)) if items.is_empty() => {
                self.complain(
                    span,
                    format!(
                        "{key} is an empty list, which selects nothing; remove the key or name something"
                    ),
                );
                Vec::new()
            }
            Item::Value(Value::Array(items)) => items.iter().collect(),
            Item::Value(value) => vec![value],
            other => {
                let text = format!(
                    "{key} wants a value or a list of values, not {}",
                    a(other.type_name())
                );
                self.complain(span, text);
                Vec::new()
            }
        }
    }

    pub(super) fn is_true(&mut self, key: &str, item: &Item, span: Span) -> bool {
        match item.as_value() {
            Some(Value::Boolean(value)) if *value.value() => return true,
            Some(Value::Boolean(_)) => self.complain(
                span,
                format!("{key} = false says nothing, for what is not allowed is denied; remove it, or write {key} = true in a [[deny]] rule"),
            ),
            _ => self.complain(span, format!("{key} wants true, not {}", a(item.type_name()))),
        }
        false
    }

    pub(super) fn who(&mut self, key: &str, item: &Item, span: Span) -> Vec<Who> {
        if key == "everyone" {
            return Vec::from_iter(self.is_true(key, item, span).then_some(Who::Everyone));
        }
        let items = self.items(key, item, span.clone());
        let read = |value: &Value| {
            let at = value.span().or_else(|| span.clone());
            let who = match key {
                "uid" => number(key, value).map(Who::Uid),
                "sid" => self.sid(value).map(Who::Sid),
                "gid" => number(key, value).map(Who::Gid),
                "user" => self.user(value).map(Who::Uid),
                "group" => self.group(value).map(Who::Gid),
                _ => proven(value).map(|name| Who::Name(name.into())),
            };
            match who {
                Ok(who) => Some(who),
                Err(text) => {
                    self.complain(at, text);
                    None
                }
            }
        };
        items.into_iter().filter_map(read).collect()
    }

    fn sid(&self, value: &Value) -> Result<Box<str>, String> {
        let text = string("sid", value)?;
        if !self.users.are_sids() {
            return Err("sid names a user of Windows; write uid or user here".into());
        }
        let wrong = || format!("sid {text:?} is none; `whoami /user` shows one, as in S-1-5-21-1-2-3-1001");
        sid(text).map(String::into_boxed_str).ok_or_else(wrong)
    }

    fn user(&self, value: &Value) -> Result<u32, String> {
        let name = string("user", value)?;
        if self.users.are_sids() {
            return Err(format!(
                "user {name:?}: names of users are not looked up under Windows; write sid = \"S-1-…\" (`whoami /user` shows it)"
            ));
        }
        let unknown = || {
            format!(
                "there is no user {name:?} in /etc/passwd; write uid = NUMBER for a user that is kept elsewhere"
            )
        };
        self.users.uid(name).ok_or_else(unknown)
    }

    fn group(&self, value: &Value) -> Result<u32, String> {
        let name = string("group", value)?;
        if self.users.are_sids() {
            return Err(format!(
                "group {name:?}: groups are not known under Windows; write sid = \"S-1-…\" for each user"
            ));
        }
        let unknown = || {
            format!(
                "there is no group {name:?} in /etc/group; write gid = NUMBER for a group that is kept elsewhere"
            )
        };
        self.users.gid(name).ok_or_else(unknown)
    }

    pub(super) fn selections(&mut self, right: Right, item: &Item, span: Span) -> Vec<Selection> {
        let items = match item {
            // A table below the rule, [allow.own], would be one: it is not how a rule is written.
            Item::Table(_) | Item::ArrayOfTables(_) => {
                let text = format!(
                    "{right} wants patterns, as in {right} = [\"com.example.**\"], not a table of its own"
                );
                self.complain(span, text);
                return Vec::new();
            }
            item => self.items(right.name(), item, span.clone()),
        };
        let mut found = Vec::new();
        for value in items {
            let at = value.span().or_else(|| span.clone());
            match selection(right, value) {
                Ok(selection) => found.push(selection),
                Err(text) => self.complain(at, text),
            }
        }
        found
    }
}

fn a(kind: &str) -> String {
    match kind.starts_with(['a', 'i']) {
        true => format!("an {kind}"),
        false => format!("a {kind}"),
    }
}

fn number(key: &str, value: &Value) -> Result<u32, String> {
    let Some(number) = value.as_integer() else {
        let mend = match (key, value.as_str()) {
            ("uid", Some(name)) => format!("; write user = {name:?}"),
            ("gid", Some(name)) => format!("; write group = {name:?}"),
            _ => String::new(),
        };
        return Err(format!(
            "{key} wants a number, not {}{mend}",
            a(value.type_name())
        ));
    };
    // The largest number means "unknown" to the system and on the wire.
    u32::try_from(number)
        .ok()
        .filter(|number| *number != u32::MAX)
        .ok_or_else(|| format!("{key} wants a number from 0 to {}, not {number}", u32::MAX - 1))
}

fn string<'v>(key: &str, value: &'v Value) -> Result<&'v str, String> {
    let wanted = || format!("{key} wants a string, not {}", a(value.type_name()));
    value.as_str().ok_or_else(wanted)
}

fn proven(value: &Value) -> Result<&str, String> {
    let name = string("name", value)?;
    check_name(name).map_err(|error| format!("name {name:?}: {error}"))
}

fn pattern(key: &str, text: &str) -> Result<Pattern, String> {
    Pattern::new(text).map_err(|error| match error {
        PatternError::Wildcard(_) => format!(
            "{key} {text:?}: `*` must be a whole level between dots, and `**` the last one, as in \"com.example.**\""
        ),
        other => format!("{key} {text:?}: {other}"),
    })
}

fn selection(right: Right, value: &Value) -> Result<Selection, String> {
    let selection = match value {
        Value::String(text) => Selection {
            object: pattern(right.name(), text.value())?,
            member: None,
        },
        Value::InlineTable(table) => pair(right, table)?,
        other => {
            let table = right.member().map_or_else(String::new, |member| {
                format!(" or a table {{ object = \"…\", {member} = \"…\" }}")
            });
            return Err(format!(
                "{right} wants patterns{table}, not {}",
                a(other.type_name())
            ));
        }
    };
    let object = selection.object.as_str();
    if object.starts_with(RESERVED_PREFIX) {
        return Err(format!(
            "{right} {object:?}: names that begin with `sys.` are the broker's own; who may ask and hear them has monitor = true"
        ));
    }
    if right == Right::Call && object == "rob" {
        return Err("call \"rob\": the object is the broker's own; who may ask it has monitor = true".into());
    }
    Ok(selection)
}

fn pair(right: Right, table: &InlineTable) -> Result<Selection, String> {
    let Some(member) = right.member() else {
        return Err(format!(
            "{right} is about whole objects; write their pattern as a string"
        ));
    };
    if let Some((key, _)) = table.iter().find(|(key, _)| *key != "object" && *key != member) {
        return Err(format!(
            "{right}: unknown key {key:?}; such a table has object and {member}"
        ));
    }
    let part = |key: &str| match table.get(key) {
        Some(value) => string(key, value).and_then(|text| pattern(key, text)),
        None => Err(format!(
            "{right}: {key} is missing; such a table has object and {member}"
        )),
    };
    Ok(Selection {
        object: part("object")?,
        member: Some(part(member)?),
    })
}
