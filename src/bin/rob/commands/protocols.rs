//! What `rob describe` shows of an object's protocols.
//!
//! Owns how the description of protocols becomes text: each command as its definition says it, with its texts. The description is
//! another program's JSON: what is not as expected is left out. Called by `commands`.

use actix_ipc::terminal::printable;
use serde_json::Value;

/// The protocols of a description, for people. `None`: it is not one of protocols.
pub(crate) fn text(description: &Value) -> Option<String> {
    let protocols = description.get("protocols")?.as_array()?;
    let mut out = String::new();
    for protocol in protocols {
        if !out.is_empty() {
            out.push('\n');
        }
        one(&mut out, protocol);
    }
    more(&mut out, description, "protocols", "");
    Some(out)
}

fn one(out: &mut String, protocol: &Value) {
    out.push_str(&format!(
        "{} version {} (crate {})\n",
        word(protocol, "name"),
        protocol
            .get("version")
            .and_then(Value::as_u64)
            .unwrap_or_default(),
        word(protocol, "crate")
    ));
    docs(out, protocol, "   ");
    for command in list(protocol, "commands") {
        match command.as_str() {
            Some(name) => out.push_str(&format!("   {}\n", printable(name))),
            None => signature(out, command),
        }
    }
    more(out, protocol, "commands", "   ");
}

/// `name request stream items -> answer`, and the texts of the command and of its fields.
fn signature(out: &mut String, command: &Value) {
    out.push_str(&format!("   {}", word(command, "name")));
    let request = shape(command.get("request"));
    if request != "{}" {
        out.push_str(&format!(" {request}"));
    }
    if let Some(items) = command.get("items") {
        out.push_str(&format!(" stream {}", shape(Some(items))));
    }
    if let Some(answer) = command.get("answer") {
        out.push_str(&format!(" -> {}", shape(Some(answer))));
    }
    if let Some(item) = command.get("stream") {
        out.push_str(&format!(" -> stream {}", shape(Some(item))));
    }
    out.push('\n');
    docs(out, command, "      ");
    for part in ["request", "items", "answer", "stream"] {
        for field in list(command, part) {
            if field.get("doc").is_some() {
                out.push_str(&format!("      {}: ", word(field, "name")));
                out.push_str(docs_of(field).join(" ").trim());
                out.push('\n');
            }
        }
    }
}

fn shape(value: Option<&Value>) -> String {
    match value {
        Some(Value::Array(fields)) => {
            let fields: Vec<String> = fields.iter().map(field).collect();
            match fields.is_empty() {
                true => "{}".to_owned(),
                false => format!("{{ {} }}", fields.join(", ")),
            }
        }
        Some(Value::String(name)) => printable(name).into_owned(),
        Some(Value::Object(tuple)) => match tuple.get("tuple") {
            Some(Value::Array(types)) => {
                let types: Vec<_> = types.iter().filter_map(Value::as_str).map(printable).collect();
                format!("({})", types.join(", "))
            }
            _ => "(…)".to_owned(),
        },
        _ => "…".to_owned(),
    }
}

fn field(value: &Value) -> String {
    match value.as_str() {
        Some(name) => printable(name).into_owned(),
        None => format!("{}: {}", word(value, "name"), word(value, "type")),
    }
}

fn docs(out: &mut String, value: &Value, indent: &str) {
    for line in docs_of(value) {
        out.push_str(indent);
        out.push_str(&line);
        out.push('\n');
    }
}

fn docs_of(value: &Value) -> Vec<String> {
    let text = value.get("doc").and_then(Value::as_str).unwrap_or_default();
    text.lines()
        .map(|line| printable(line.trim()).into_owned())
        .filter(|line| !line.is_empty())
        .collect()
}

fn more(out: &mut String, value: &Value, what: &str, indent: &str) {
    if let Some(count) = value.get("more").and_then(Value::as_u64) {
        out.push_str(&format!("{indent}and {count} more {what}\n"));
    }
}

fn word(value: &Value, key: &str) -> String {
    printable(value.get(key).and_then(Value::as_str).unwrap_or("?")).into_owned()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value
        .get(key)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn commands_are_shown_as_their_definition_says_them() {
        let description = json!({"protocols": [
            {"name": "calc", "version": 2, "crate": "shop", "id": "2a", "doc": "Does sums.\n\nNo more.", "commands": [
                {"name": "echo", "doc": "Says it again.", "request": [{"name": "message", "type": "String", "doc": "What to say."}],
                 "answer": [{"name": "response", "type": "String"}]},
                {"name": "notify", "request": [{"name": "event", "type": "String"}]},
                {"name": "status", "request": [], "answer": "i64"},
                {"name": "pair", "request": {"tuple": ["i32", "String"]}, "answer": []},
                {"name": "chat", "request": [], "items": [{"name": "line", "type": "String"}], "stream": "u64"},
            ], "more": 3},
            {"name": "a\u{1b}[2J", "version": 1, "crate": "shop", "id": "2b", "commands": ["tick", {"name": "x", "request": ["a"]}]},
        ], "more": 1});
        let expected = "\
calc version 2 (crate shop)
   Does sums.
   No more.
   echo { message: String } -> { response: String }
      Says it again.
      message: What to say.
   notify { event: String }
   status -> i64
   pair (i32, String) -> {}
   chat stream { line: String } -> stream u64
   and 3 more commands

a\\u{1b}[2J version 1 (crate shop)
   tick
   x { a }
and 1 more protocols
";
        assert_eq!(text(&description).unwrap(), expected);
    }

    #[test]
    fn any_other_description_is_not_one_of_protocols() {
        for other in [
            json!(null),
            json!({"protocols": 7}),
            json!(["protocols"]),
            json!("x"),
        ] {
            assert_eq!(text(&other), None);
        }
        assert_eq!(
            text(&json!({"protocols": [7]})).unwrap(),
            "? version 0 (crate ?)\n"
        );
    }
}
