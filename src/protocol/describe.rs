//! What an object says of its protocols: a JSON text for people, for scripts, and for clients that compare it with what they have.
//!
//! Owns its form and what is left out when it grows too long. Pure. Written when an object is registered, read by
//! [`IpcClient::protocol`](crate::client::IpcClient::protocol) and by `rob describe`.
//!
//! ```json
//! {"protocols": [{"name": "calc", "version": 2, "crate": "shop", "id": "93a1…0002", "doc": "…", "commands": [
//!   {"name": "echo", "doc": "…", "request": [{"name": "message", "type": "String"}], "answer": [{"name": "response", "type": "String"}]},
//!   {"name": "pair", "request": {"tuple": ["i32", "String"]}, "answer": "i64"},
//!   {"name": "rows", "request": [], "stream": [{"name": "row", "type": "String"}]},
//!   {"name": "upload", "request": [], "items": [{"name": "chunk", "type": "Vec<u8>"}], "answer": "u64"},
//!   {"name": "tick", "request": []}]}]}
//! ```
//!
//! A command without `answer` and `stream` is one-way. What is too long loses its texts first, then the types, then the fields (a
//! command is its name alone then), and at last commands and protocols; `more` counts these.

use super::info::{Answer, CommandInfo, FieldInfo, ProtocolInfo, Shape};
use super::negotiate::Served;
use crate::text::cut;
use serde_json::{Map, Value, json};

/// The longest description, in bytes. The brokers of others keep as much for each name.
pub(super) const DESCRIPTION_MAX: usize = 4 * 1024;

/// How much is told, from everything to names.
#[derive(Clone, Copy)]
struct Detail {
    /// Bytes of each text.
    doc: usize,
    /// Bytes of the text of each field.
    field_doc: usize,
    types: bool,
    fields: bool,
    /// Commands of each protocol.
    commands: usize,
    protocols: usize,
}

const EVERYTHING: Detail = Detail {
    doc: usize::MAX,
    field_doc: usize::MAX,
    types: true,
    fields: true,
    commands: usize::MAX,
    protocols: usize::MAX,
};

/// The description of these protocols.
pub(super) fn describe(protocols: &[&'static ProtocolInfo]) -> String {
    let cut = |doc, field_doc| Detail {
        doc,
        field_doc,
        ..EVERYTHING
    };
    let bare = |types, fields| Detail {
        types,
        fields,
        ..cut(0, 0)
    };
    let levels = [
        EVERYTHING,
        cut(200, 100),
        cut(80, 40),
        cut(80, 0),
        cut(40, 0),
        bare(true, true),
        bare(false, true),
        bare(false, false),
    ];
    let fits =
        |detail| Some(written(protocols, detail).to_string()).filter(|text| text.len() <= DESCRIPTION_MAX);
    let most = protocols.iter().map(|info| info.commands.len()).max();
    let names = bare(false, false);
    levels
        .into_iter()
        .find_map(fits)
        .or_else(|| most_of(most.unwrap_or(0), |commands| fits(Detail { commands, ..names })))
        .or_else(|| {
            let names = Detail { commands: 0, ..names };
            most_of(protocols.len(), |protocols| fits(Detail { protocols, ..names }))
        })
        .unwrap_or_default()
}

/// What the largest number up to `most` gives for which there is something; there is for all smaller ones then.
fn most_of<T>(most: usize, give: impl Fn(usize) -> Option<T>) -> Option<T> {
    let (mut best, mut below, mut above) = (give(0)?, 0, most.saturating_add(1));
    while above.saturating_sub(below) > 1 {
        let middle = below.midpoint(above);
        match give(middle) {
            Some(found) => (best, below) = (found, middle),
            None => above = middle,
        }
    }
    Some(best)
}

fn written(protocols: &[&'static ProtocolInfo], detail: Detail) -> Value {
    let shown = protocols.iter().take(detail.protocols);
    let mut out = Map::new();
    out.insert(
        "protocols".into(),
        shown.map(|info| protocol(info, detail)).collect(),
    );
    more(&mut out, protocols.len(), detail.protocols);
    Value::Object(out)
}

fn protocol(info: &ProtocolInfo, detail: Detail) -> Value {
    let mut out = Map::new();
    out.insert("name".into(), info.name.into());
    out.insert("version".into(), info.version.into());
    out.insert("crate".into(), info.origin.into());
    out.insert("id".into(), format!("{:016x}", info.id).into());
    doc(&mut out, info.doc, detail.doc);
    let shown = info.commands.iter().take(detail.commands);
    out.insert("commands".into(), shown.map(|has| command(has, detail)).collect());
    more(&mut out, info.commands.len(), detail.commands);
    Value::Object(out)
}

fn command(info: &CommandInfo, detail: Detail) -> Value {
    if !detail.fields {
        return info.name.into();
    }
    let mut out = Map::new();
    out.insert("name".into(), info.name.into());
    doc(&mut out, info.doc, detail.doc);
    out.insert("request".into(), shape(&info.request, detail));
    if let Some(items) = &info.items {
        out.insert("items".into(), shape(items, detail));
    }
    match &info.answer {
        Answer::Nothing => {}
        Answer::One(answer) => {
            out.insert("answer".into(), shape(answer, detail));
        }
        Answer::Stream(item) => {
            out.insert("stream".into(), shape(item, detail));
        }
    }
    Value::Object(out)
}

fn shape(shape: &Shape, detail: Detail) -> Value {
    match shape {
        Shape::Empty => json!([]),
        Shape::Fields(fields) => fields.iter().map(|has| field(has, detail)).collect(),
        Shape::Tuple(fields) if detail.types => {
            let types: Value = fields.iter().map(|has| has.type_name).collect();
            json!({ "tuple": types })
        }
        Shape::Tuple(fields) => json!({ "tuple": fields.len() }),
        Shape::Plain(name) if detail.types => (*name).into(),
        Shape::Plain(_) => Value::Null,
    }
}

fn field(info: &FieldInfo, detail: Detail) -> Value {
    if !detail.types {
        return info.name.into();
    }
    let mut out = Map::new();
    out.insert("name".into(), info.name.into());
    out.insert("type".into(), info.type_name.into());
    doc(&mut out, info.doc, detail.field_doc);
    Value::Object(out)
}

fn doc(out: &mut Map<String, Value>, text: &str, most: usize) {
    let text = text.trim();
    match cut(text, most) {
        "" => {}
        whole if whole.len() == text.len() => {
            out.insert("doc".into(), whole.into());
        }
        part => {
            out.insert("doc".into(), format!("{}…", part.trim_end()).into());
        }
    }
}

fn more(out: &mut Map<String, Value>, all: usize, shown: usize) {
    match all.saturating_sub(shown) {
        0 => {}
        left => {
            out.insert("more".into(), left.into());
        }
    }
}

/// The protocols in a description, and whether there are more. `None`: it is not one of protocols.
pub(super) fn served(description: &Value) -> Option<(Vec<Served<'_>>, bool)> {
    let protocols = description.get("protocols")?.as_array()?;
    let found = protocols.iter().filter_map(read).collect();
    Some((found, description.get("more").is_some()))
}

fn read(value: &Value) -> Option<Served<'_>> {
    let text = |key| value.get(key).and_then(Value::as_str);
    Some(Served {
        id: u64::from_str_radix(text("id")?, 16).ok()?,
        name: text("name")?,
        origin: text("crate"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::protocol_id;

    static ONE: [FieldInfo; 2] = [
        FieldInfo::new("message", "String", " What to say. "),
        FieldInfo::new("times", "u32", ""),
    ];
    static COMMANDS: [CommandInfo; 4] = [
        CommandInfo::new(
            "echo",
            "Says it.",
            Shape::Fields(&ONE),
            None,
            Answer::One(Shape::Plain("i64")),
        ),
        CommandInfo::new("tick", "", Shape::Empty, None, Answer::Nothing),
        CommandInfo::new(
            "pair",
            "",
            Shape::Tuple(&ONE),
            Some(Shape::Empty),
            Answer::Stream(Shape::Fields(&ONE)),
        ),
        CommandInfo::new("get", "", Shape::Empty, None, Answer::One(Shape::Empty)),
    ];
    static CALC: ProtocolInfo = ProtocolInfo::new("shop", "calc", 2, "Sums.", &COMMANDS);

    #[test]
    fn everything_is_told_when_there_is_room() {
        let told: Value = serde_json::from_str(&describe(&[&CALC])).unwrap();
        let fields = json!([{"name": "message", "type": "String", "doc": "What to say."}, {"name": "times", "type": "u32"}]);
        let id = format!("{:016x}", protocol_id("shop", "calc", 2));
        assert_eq!(
            told,
            json!({"protocols": [{"name": "calc", "version": 2, "crate": "shop", "id": id, "doc": "Sums.", "commands": [
                {"name": "echo", "doc": "Says it.", "request": fields, "answer": "i64"},
                {"name": "tick", "request": []},
                {"name": "pair", "request": {"tuple": ["String", "u32"]}, "items": [], "stream": fields},
                {"name": "get", "request": [], "answer": []},
            ]}]})
        );
        let (found, more) = served(&told).unwrap();
        assert_eq!((found, more), (vec![Served::from(&CALC)], false));
    }

    /// A protocol with so many commands, each with a text and a type of these lengths.
    fn protocol(version: u16, commands: usize, doc: usize, type_name: usize) -> &'static ProtocolInfo {
        let text = |length: usize| -> &'static str { "é".repeat(length / 2).leak() };
        let fields: &'static [FieldInfo] = vec![FieldInfo::new("field", text(type_name), text(doc))].leak();
        let commands: Vec<CommandInfo> = (0..commands)
            .map(|number| {
                let name: &'static str = format!("command_{number}").leak();
                let answer = Answer::One(Shape::Fields(fields));
                CommandInfo::new(name, text(doc), Shape::Fields(fields), None, answer)
            })
            .collect();
        Box::leak(Box::new(ProtocolInfo::new(
            "shop",
            "long",
            version,
            text(doc),
            commands.leak(),
        )))
    }

    #[test]
    fn what_is_too_long_loses_texts_then_types_then_fields_and_counts_the_rest() {
        // Protocols, commands of each, bytes of a text, bytes of a type; texts, types and fields are told; commands and protocols left out.
        let table = [
            (1, 10, 20, 10, (true, true, true), (false, false)),
            (1, 10, 2_000, 10, (true, true, true), (false, false)),
            (1, 25, 60, 10, (false, true, true), (false, false)),
            (1, 20, 60, 300, (false, false, true), (false, false)),
            (1, 150, 60, 10, (false, false, false), (false, false)),
            (1, 1_000, 60, 10, (false, false, false), (true, false)),
            (20, 1_000, 60, 10, (false, false, false), (true, false)),
            (200, 3, 60, 10, (false, false, false), (true, true)),
        ];
        for (protocols, commands, doc, type_name, told, left_out) in table {
            let all: Vec<_> = (0..protocols)
                .map(|version| protocol(version, commands, doc, type_name))
                .collect();
            let text = describe(&all);
            assert!(text.len() <= DESCRIPTION_MAX, "{} bytes", text.len());
            let has = |part: &str| text.contains(part);
            let case = format!("{protocols} x {commands}, {doc}, {type_name}");
            assert_eq!(
                (has("\"doc\""), has("\"type\""), has("\"field\"")),
                told,
                "{case}"
            );
            let value: Value = serde_json::from_str(&text).unwrap();
            let count = |value: &Value| value.get("more").and_then(Value::as_u64).unwrap_or(0);
            let first = value["protocols"].get(0).unwrap();
            let listed = first["commands"].as_array().unwrap().len() as u64;
            assert_eq!(listed + count(first), commands as u64, "{case}");
            let (found, more) = served(&value).unwrap();
            assert_eq!(found.len() as u64 + count(&value), u64::from(protocols), "{case}");
            assert_eq!((count(first) > 0, more), left_out, "{case}");
        }
    }

    #[test]
    fn what_is_no_description_of_protocols_has_none() {
        for other in [json!(null), json!("x"), json!({"protocols": 5}), json!([])] {
            assert!(served(&other).is_none(), "{other}");
        }
        let odd = json!({"protocols": [5, {"id": "zz", "name": "a"}, {"id": "1", "name": "a"}]});
        let (found, _) = served(&odd).unwrap();
        let only = Served {
            id: 1,
            name: "a",
            origin: None,
        };
        assert_eq!(found, [only]);
    }
}
