//! The tables of `rob list`.
//!
//! Owns how the broker's list becomes columns. The list is JSON of which a later broker may say more: what is
//! not known here is left out, what is missing is shown as `-`. Called by `commands`.

use crate::colour;
use actix_ipc::terminal::printable;
use serde_json::Value;

/// Columns of a table: heading, and how a row's cell is found.
type Columns<'a> = [(&'static str, &'a dyn Fn(&Value) -> Option<String>)];

/// The broker's list for people.
pub(crate) fn list(list: &Value, coloured: bool) -> String {
    let field = |name: &'static str| move |row: &Value| cell(row.get(name)?);
    let owner = |name: &'static str| move |row: &Value| cell(row.get("owner")?.get(name)?);
    let objects: &Columns<'_> = &[
        ("NAME", &field("name")),
        ("OWNER", &owner("name")),
        ("PID", &owner("pid")),
        ("PEER", &owner("peer")),
        ("NOTE", &note),
    ];
    let connections: &Columns<'_> = &[
        ("PEER", &field("peer")),
        ("NAME", &field("name")),
        ("PID", &field("pid")),
        ("UID", &field("uid")),
        ("FORMAT", &field("format")),
    ];
    let mut out = table("Objects", &rows(list, "objects"), objects, coloured);
    out.push('\n');
    out.push_str(&table(
        "Connections",
        &rows(list, "connections"),
        connections,
        coloured,
    ));
    out
}

/// What is unusual about an object: that it is a group, that others wait for its name.
fn note(row: &Value) -> Option<String> {
    let group = row.get("balance").and_then(Value::as_str).map(|balance| {
        let members = row.get("members").and_then(Value::as_u64).unwrap_or_default();
        format!("group of {members}, {}", printable(balance))
    });
    let queued = row
        .get("queued")
        .and_then(Value::as_u64)
        .filter(|count| *count > 0);
    let notes: Vec<String> = group
        .into_iter()
        .chain(queued.map(|count| format!("{count} queued")))
        .collect();
    (!notes.is_empty()).then(|| notes.join(", "))
}

/// The names of all objects in the list.
pub(crate) fn object_names(list: &Value) -> Vec<String> {
    let name = |row: &&Value| row.get("name").and_then(Value::as_str).map(str::to_owned);
    rows(list, "objects").iter().filter_map(name).collect()
}

fn rows<'a>(list: &'a Value, key: &str) -> Vec<&'a Value> {
    list.get(key)
        .and_then(Value::as_array)
        .map(|rows| rows.iter().collect())
        .unwrap_or_default()
}

/// The widest text of a cell; `--json` has it in full.
const WIDEST: usize = 64;

fn cut(text: &str) -> String {
    if text.chars().count() <= WIDEST {
        return text.to_owned();
    }
    text.chars().take(WIDEST.saturating_sub(1)).chain(['…']).collect()
}

/// A cell's text; `None` for what is not there.
fn cell(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(cut(&printable(text))),
        other => Some(printable(&other.to_string()).into_owned()),
    }
}

fn table(title: &str, rows: &[&Value], columns: &Columns<'_>, coloured: bool) -> String {
    if rows.is_empty() {
        return format!("{title}: none\n");
    }
    let mut lines: Vec<Vec<String>> =
        vec![columns.iter().map(|(heading, _)| (*heading).to_owned()).collect()];
    lines.extend(rows.iter().map(|row| {
        columns
            .iter()
            .map(|(_, find)| find(row).unwrap_or_else(|| "-".into()))
            .collect::<Vec<_>>()
    }));
    let widest = |column: usize| {
        lines
            .iter()
            .filter_map(|line| line.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..columns.len())
        .map(|column| widest(column).unwrap_or_default())
        .collect();
    let mut out = format!("{}\n", colour::heading(&format!("{title}:"), coloured));
    for (index, line) in lines.iter().enumerate() {
        let mut text = String::from("  ");
        for (cell, width) in line.iter().zip(&widths) {
            text.push_str(&format!(" {cell:width$} "));
        }
        out.push_str(&colour::heading(text.trim_end(), coloured && index == 0));
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_are_shown_with_their_owners() {
        let value = json!({
            "objects": [
                {"name": "math", "owner": {"peer": 3, "name": "demo", "uid": 1000, "pid": 4242}, "members": 1, "queued": 0},
                {"name": "a longer name", "owner": {"peer": 12}, "members": 3, "queued": 2, "balance": "sticky"},
                {"name": "\u{1b}[2Jx", "owner": null, "queued": 1},
            ],
            "connections": [
                {"peer": 3, "name": "demo", "uid": 1000, "pid": 4242, "format": "native", "later": true},
                {"peer": 12, "name": "", "uid": 0, "pid": null},
            ],
        });
        let expected = "\
Objects:
   NAME           OWNER  PID   PEER  NOTE
   math           demo   4242  3     -
   a longer name  -      -     12    group of 3, sticky, 2 queued
   \\u{1b}[2Jx     -      -     -     1 queued

Connections:
   PEER  NAME  PID   UID   FORMAT
   3     demo  4242  1000  native
   12    -     -     0     -
";
        assert_eq!(list(&value, false), expected);
        let bold = |line: &str| format!("\u{1b}[1m{line}\u{1b}[0m");
        let coloured = list(&value, true);
        let lines: Vec<&str> = coloured.lines().collect();
        assert_eq!(
            lines[..2],
            [
                bold("Objects:"),
                bold("   NAME           OWNER  PID   PEER  NOTE")
            ]
        );
        assert!(!lines[2].contains('\u{1b}'));
        assert_eq!(object_names(&value)[..2], ["math", "a longer name"]);
    }

    #[test]
    fn nothing_and_nonsense_are_survived() {
        for value in [
            json!({}),
            json!(null),
            json!({"objects": 5, "connections": [] }),
            json!([1]),
        ] {
            assert_eq!(list(&value, false), "Objects: none\n\nConnections: none\n");
        }
        assert_eq!(
            list(&json!({"objects": [7]}), false).lines().nth(2),
            Some("   -     -      -    -     -")
        );
    }
}
