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
    let most = protocols
        .iter()
        .map(|info| info.commands.len())
        .max()
        .unwrap_or(0);
    let fewer_commands = (0..most).rev().map(|commands| Detail {
        commands,
        ..bare(false, false)
    });
    let fewer_protocols = (0..protocols.len()).rev().map(|protocols| Detail {
        commands: 0,
        protocols,
        ..bare(false, false)
    });
    levels
        .into_iter()
        .chain(fewer_commands)
        .chain(fewer_protocols)
        .map(|detail| written(protocols, detail).to_string())
        .find(|text| text.len() <= DESCRIPTION_MAX)
        .unwrap_or_default()
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
    let end = (0..=most.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    match text.get(..end.unwrap_or(0)).unwrap_or_default() {
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
