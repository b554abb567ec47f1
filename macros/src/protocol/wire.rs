//! What serde's attributes in a protocol do to what crosses the wire.
//!
//! Owns which of them cannot be, since postcard writes neither names nor gaps, and the names that fields have in JSON. It refuses to know
//! what else serde makes of its attributes: what is wrong in them, its derives say. Called by checks, and by what describes a protocol.

use super::attributes::mentions;
use super::syntax::Field;
use syn::ext::IdentExt;
use syn::meta::ParseNestedMeta;
use syn::{Attribute, Lit, LitStr, Result, Token};

/// What makes a value that the other side cannot read, or reads as another one, with what to write instead.
const LOST: [(&[&str], &str); 3] = [
    (
        &["skip_serializing_if", "skip_serializing", "skip_deserializing"],
        "values cross the wire without names, so a field that one side leaves out makes the other read everything behind it wrongly: leave \
         this out (an `Option` that is `None` takes one byte), or write #[serde(skip)] for a field that never crosses",
    ),
    (
        &["flatten"],
        "values cross the wire without names, and a flattened field cannot be read without: write its fields here, or leave this out",
    ),
    (
        &["untagged", "tag", "content"],
        "values cross the wire without names, and what this makes cannot be read without: leave it out",
    ),
];

/// Which way a value goes: serde can name its fields differently.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// To who handles it: its names are those that are read.
    In,
    /// From there: its names are those that are written.
    Out,
}

/// Why an attribute cannot stand in a protocol.
pub(crate) fn lost(attribute: &Attribute) -> Option<&'static str> {
    let lost = LOST.iter().find(|(words, _)| mentions(attribute, "serde", words));
    lost.map(|(_, text)| *text)
}

/// Whether a field never crosses.
pub(crate) fn is_skipped(field: &Field) -> bool {
    let mut attributes = field.attributes.iter();
    attributes.any(|attribute| mentions(attribute, "serde", &["skip"]))
}

/// The name of a field in JSON, in a structure with these attributes.
pub(crate) fn name(field: &Field, of_all: &[Attribute], way: Way) -> Option<String> {
    let own = field.name.as_ref()?.unraw().to_string();
    let said = |attributes: &[Attribute], word| {
        let serde = |attribute: &&Attribute| attribute.path().is_ident("serde");
        let mut named = attributes.iter().filter(serde);
        named.find_map(|attribute| value(attribute, word, way))
    };
    if let Some(name) = said(&field.attributes, "rename") {
        return Some(name);
    }
    Some(match said(of_all, "rename_all") {
        Some(rule) => renamed(&own, &rule),
        None => own,
    })
}

/// The text of `#[serde(word = "text")]`, or of `#[serde(word(serialize = "text"))]` for values that go out. What is no such thing is
/// serde's to refuse.
fn value(attribute: &Attribute, word: &str, way: Way) -> Option<String> {
    let mut found = None;
    let _ = attribute.parse_nested_meta(|meta| {
        if !meta.path.is_ident(word) {
            return passed_over(&meta);
        }
        if meta.input.peek(Token![=]) {
            found = Some(meta.value()?.parse::<LitStr>()?.value());
            return Ok(());
        }
        let direction = match way {
            Way::In => "deserialize",
            Way::Out => "serialize",
        };
        meta.parse_nested_meta(|meta| {
            if meta.path.is_ident(direction) {
                found = Some(meta.value()?.parse::<LitStr>()?.value());
                return Ok(());
            }
            passed_over(&meta)
        })
    });
    found
}

fn passed_over(meta: &ParseNestedMeta<'_>) -> Result<()> {
    if meta.input.peek(Token![=]) {
        meta.value()?.parse::<Lit>()?;
    } else if !meta.input.is_empty() && !meta.input.peek(Token![,]) {
        meta.parse_nested_meta(|meta| passed_over(&meta))?;
    }
    Ok(())
}

/// A name of Rust by one of serde's rules.
fn renamed(name: &str, rule: &str) -> String {
    let pascal = || {
        let words = name.split('_').map(|word| {
            let mut letters = word.chars();
            let first = letters.next().map(|first| first.to_ascii_uppercase());
            first.into_iter().chain(letters).collect::<String>()
        });
        words.collect::<String>()
    };
    match rule {
        "PascalCase" => pascal(),
        "camelCase" => {
            let pascal = pascal();
            let mut letters = pascal.chars();
            let first = letters.next().map(|first| first.to_ascii_lowercase());
            first.into_iter().chain(letters).collect()
        }
        "UPPERCASE" | "SCREAMING_SNAKE_CASE" => name.to_ascii_uppercase(),
        "kebab-case" => name.replace('_', "-"),
        "SCREAMING-KEBAB-CASE" => name.to_ascii_uppercase().replace('_', "-"),
        _ => name.to_owned(),
    }
}
