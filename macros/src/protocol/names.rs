//! The names that a protocol may give.
//!
//! Owns which words are keywords and which names the generated module has itself. Called while a protocol is read and checked.

use syn::ext::IdentExt;
use syn::parse::ParseStream;
use syn::{Error, Ident, Result};

/// Words that cannot be written as `r#word` either.
const NEVER: [&str; 5] = ["_", "crate", "self", "super", "Self"];

/// Methods of what is generated, whose names no command can have.
const METHODS: [(&str, &str); 5] = [
    ("new", "makes a sender"),
    ("clone", "clones a sender"),
    ("caller", "says what a sender sends with"),
    ("protocols", "lists the protocols of a sender"),
    ("into_receiver", "makes the receiver of a handler"),
];

/// Types of a protocol's module. A field's type cannot mean another of such a name, and a command none at all.
const TYPES: [&str; 8] = [
    "Sender",
    "Receive",
    "Receiver",
    "ReceiverWrapper",
    "Commands",
    "ActorReceive",
    "ProtocolMarker",
    "Requests",
];

/// A name, with what it is the name of: keywords are refused with how to write them.
pub(crate) fn parse(input: ParseStream<'_>, whose: &str) -> Result<Ident> {
    if !input.peek(Ident::peek_any) {
        return Err(input.error(format_args!("here the name of {whose} is expected")));
    }
    let name = input.call(Ident::parse_any)?;
    let word = name.to_string();
    if NEVER.contains(&word.as_str()) {
        let text = format!("`{word}` cannot be the name of {whose}: choose another");
        return Err(Error::new(name.span(), text));
    }
    if syn::parse_str::<Ident>(&word).is_err() {
        let text = format!(
            "`{word}` is a keyword of Rust: as the name of {whose} write `r#{word}`; on the wire it stays `{word}`"
        );
        return Err(Error::new(name.span(), text));
    }
    Ok(name)
}

/// Why a command cannot have this name, when it cannot.
pub(crate) fn reserved(name: &Ident) -> Option<String> {
    let word = name.unraw().to_string();
    if let Some((_, does)) = METHODS.iter().find(|(method, _)| *method == word) {
        return Some(format!(
            "`{word}` is a method of the generated code, which {does}: give the command another name"
        ));
    }
    TYPES
        .contains(&word.as_str())
        .then(|| format!("`{word}` is a type of the generated module: give the command another name"))
}

/// What a name at the start of a field's type means in the generated module, when that is not what is outside: `own` are the types of
/// the command.
pub(crate) fn shadowed(word: &str, own: &[&str]) -> Option<&'static str> {
    if TYPES.contains(&word) {
        return Some("the protocol's own type");
    }
    own.contains(&word).then_some("the command's own type")
}
