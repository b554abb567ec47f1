//! What is wrong in a protocol that can be read.
//!
//! Owns what the generated code could not do, or would do otherwise than its author thinks. Says all that is wrong at once. Called
//! between reading and generating.

use super::attributes::mentions;
use super::names;
use super::syntax::{Answer, Body, Command, Field, Protocol};
use super::types::{self, Borrow};
use super::wire;
use std::collections::BTreeMap;
use syn::ext::IdentExt;
use syn::{Attribute, Error, Ident, Lifetime, Result, Type};

/// Whatever was found.
#[derive(Default)]
struct Found(Option<Error>);

impl Found {
    fn add(&mut self, error: Error) {
        match &mut self.0 {
            Some(all) => all.combine(error),
            None => self.0 = Some(error),
        }
    }
}

/// # Errors
/// Everything that is wrong.
pub(crate) fn check(protocol: &Protocol) -> Result<()> {
    let mut found = Found::default();
    let names: Vec<String> = protocol
        .commands
        .iter()
        .map(|command| command.name.unraw().to_string())
        .collect();
    unique(
        protocol.commands.iter().map(|command| &command.name),
        "command",
        &mut found,
    );
    for command in &protocol.commands {
        if let Some(text) = names::reserved(&command.name) {
            found.add(Error::new(command.name.span(), text));
        }
        check_command(command, &names, &mut found);
    }
    found.0.map_or(Ok(()), Err)
}

fn check_command(command: &Command, commands: &[String], found: &mut Found) {
    let request = command.request.fields();
    derives(&command.attributes.passed, found);
    crosses(&command.attributes.passed, found);
    check_fields(request, found);
    lifetimes(&command.lifetimes, request, &command.name, found);
    for body in command.items.iter().chain(answered(&command.answer)) {
        derives(&body.attributes, found);
        crosses(&body.attributes, found);
        check_fields(&body.fields, found);
        body.fields.iter().for_each(|field| owned(&field.ty, found));
    }
    if command.items.is_some() && matches!(command.answer, Answer::Nothing) {
        let text = format!(
            "`{0}` takes a stream, so it has an answer, which says that all has arrived: `{0} stream {{ … }} -> {{}};`",
            command.name
        );
        found.add(Error::new(command.name.span(), text));
    }
    let plain = match &command.answer {
        Answer::Plain(ty) | Answer::PlainStream(ty) => Some(ty),
        _ => None,
    };
    plain.into_iter().for_each(|ty| owned(ty, found));
    let bodies = command.items.iter().chain(answered(&command.answer));
    let all = request
        .iter()
        .chain(bodies.flat_map(|body| &body.fields))
        .map(|field| &field.ty);
    let own = own_types(command);
    all.chain(plain).for_each(|ty| paths(ty, &own, commands, found));
}

/// The types that the command's module has.
fn own_types(command: &Command) -> Vec<&'static str> {
    let mut own = vec!["Request"];
    if answered(&command.answer).is_some() {
        own.push("Response");
    }
    if command.items.is_some() {
        own.extend(["Item", "Streamed"]);
    }
    if !command.lifetimes.is_empty() {
        own.push("Owned");
    }
    own
}

fn answered(answer: &Answer) -> Option<&Body> {
    match answer {
        Answer::One(body) | Answer::Stream(body) => Some(body),
        _ => None,
    }
}

fn unique<'a>(names: impl Iterator<Item = &'a Ident>, what: &str, found: &mut Found) {
    let mut seen = BTreeMap::new();
    for name in names {
        let word = name.unraw().to_string();
        if seen.insert(word.clone(), ()).is_some() {
            let text = format!("there is another {what} `{word}` above: each needs a name of its own");
            found.add(Error::new(name.span(), text));
        }
    }
}

fn check_fields(fields: &[Field], found: &mut Found) {
    unique(
        fields.iter().filter_map(|field| field.name.as_ref()),
        "field",
        found,
    );
    fields.iter().for_each(|field| crosses(&field.attributes, found));
    let conditions = fields.iter().flat_map(|field| &field.attributes);
    for attribute in conditions.filter(|attribute| attribute.path().is_ident("cfg")) {
        let text = "a field is always there, or the two sides would read each other wrongly; a command may have #[cfg]";
        found.add(Error::new_spanned(attribute, text));
    }
}

/// What is written can be read.
fn crosses(attributes: &[Attribute], found: &mut Found) {
    for attribute in attributes {
        if let Some(text) = wire::lost(attribute) {
            found.add(Error::new_spanned(attribute, text));
        }
    }
}

fn derives(attributes: &[Attribute], found: &mut Found) {
    for attribute in attributes {
        if mentions(attribute, "derive", &["Serialize", "Deserialize"]) {
            let text = "Serialize and Deserialize are derived already: leave them out here";
            found.add(Error::new_spanned(attribute, text));
        }
    }
}

/// The lifetimes of a request: those that it declares, each of them used.
fn lifetimes(declared: &[Lifetime], fields: &[Field], command: &Ident, found: &mut Found) {
    unique(declared.iter().map(|lifetime| &lifetime.ident), "lifetime", found);
    let mut used = Vec::new();
    for field in fields {
        for borrow in types::borrows(&field.ty) {
            match borrow {
                Borrow::Nameless(span) => {
                    let text = format!(
                        "what is borrowed needs the name of its lifetime: `{command}<'a>` with `&'a` here; or an owned type"
                    );
                    found.add(Error::new(span, text));
                }
                Borrow::Named(name) if declared.iter().any(|known| known.ident == name) => used.push(name),
                Borrow::Named(name) => {
                    let text = match name == "static" {
                        true => "a request is read from the frame that brings it, which does not last: use an owned type, or a \
                                 lifetime of the command"
                            .to_owned(),
                        false => format!("the command does not declare this lifetime: write `{command}<'{name}>`"),
                    };
                    found.add(Error::new(name.span(), text));
                }
            }
        }
    }
    for lifetime in declared {
        if !used.contains(&lifetime.ident) {
            let text = format!("no field of `{command}` has this lifetime: leave it out");
            found.add(Error::new(lifetime.span(), text));
        }
    }
}

/// Items and answers outlive the frame that brings them.
fn owned(ty: &Type, found: &mut Found) {
    for borrow in types::borrows(ty) {
        let span = match borrow {
            Borrow::Named(name) => name.span(),
            Borrow::Nameless(span) => span,
        };
        let text = "only the fields of a request may borrow; answers and streamed items outlive the frame that brings them: \
                    use an owned type";
        found.add(Error::new(span, text));
    }
}

/// Types whose names mean something else inside the module.
fn paths(ty: &Type, own: &[&str], commands: &[String], found: &mut Found) {
    for name in types::first_names(ty) {
        let word = name.to_string();
        let is = match word.as_str() {
            "self" | "super" => {
                let text = "the module has inner ones, in which this path leads elsewhere: write it from `crate`, or import the type \
                            beside the protocol, which begins with `use super::*`";
                found.add(Error::new(name.span(), text));
                continue;
            }
            word => names::shadowed(word, own),
        };
        let is = is.or_else(|| {
            commands
                .contains(&word)
                .then_some("the module of the command of this name")
        });
        if let Some(is) = is {
            let text = format!(
                "`{word}` is {is} here: write the path of your type from `crate`, or import it under another name"
            );
            found.add(Error::new(name.span(), text));
        }
    }
}
