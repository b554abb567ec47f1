//! What is refused, and what is said: a table of wrong texts. `tests/refused` shows how the compiler prints some of them.

use super::{handler, protocol, sender};
use proc_macro2::TokenStream;

/// What `protocol!` says about a module of these commands.
fn refusal(commands: &str) -> String {
    whole(&format!("pub mod shop {{ {commands} }}"))
}

fn whole(text: &str) -> String {
    let tokens: TokenStream = text.parse().unwrap();
    let error = protocol(tokens).expect_err(text);
    let said: Vec<String> = error.into_iter().map(|error| error.to_string()).collect();
    said.join("\n")
}

#[test]
fn what_is_wrong_in_a_command_is_said_with_what_to_do() {
    refused_with(&[
        (
            "echo { a: i32 } tick;",
            "a `;` is missing behind the command `echo`",
        ),
        ("echo { a: i32 } => { b: i32 };", "is written behind `->`"),
        ("echo: String;", "stand in braces"),
        ("echo { a: i32 b: i32 };", "a `,` is missing"),
        ("echo { a };", "the type of `a` is missing"),
        ("echo { pub a: i32 };", "public without `pub`"),
        ("echo -> String;", "`echo return Type;`"),
        ("echo -> stream String;", "`return stream`"),
        ("echo stream String -> {};", "`stream { field: Type }`"),
        ("echo(a: i32);", "in parentheses stand types only"),
        ("fn echo(a: i32);", "no `pub`, `async` or `fn`"),
        ("async echo;", "no `pub`, `async` or `fn`"),
        ("type;", "write `r#type`; on the wire it stays `type`"),
        ("echo { type: i32 };", "write `r#type`"),
        ("echo { self: i32 };", "`self` cannot be the name of a field"),
        ("_;", "`_` cannot be the name of a command"),
        ("7;", "here the name of a command is expected"),
        ("echo<T> { a: T };", "but no types"),
        ("echo; tick; echo;", "another command `echo` above"),
        ("r#echo; echo;", "another command `echo` above"),
        ("echo { a: i32, a: i32 };", "another field `a` above"),
        ("ActorReceive;", "a type of the generated module"),
    ]);
}

#[test]
fn names_and_types_that_cannot_be_are_said_with_what_to_do() {
    refused_with(&[
        ("new;", "a method of the generated code"),
        ("into_receiver;", "a method of the generated code"),
        ("Sender { a: i32 };", "`Sender` is a type of the generated module"),
        (
            "echo { a: Receiver };",
            "`Receiver` is the protocol's own type here",
        ),
        (
            "echo { a: Vec<Request> };",
            "`Request` is the command's own type here",
        ),
        (
            "echo stream { a: Item } -> {};",
            "`Item` is the command's own type here",
        ),
        (
            "echo { a: tick::Kind }; tick;",
            "the module of the command of this name",
        ),
        ("echo { a: super::Kind };", "write it from `crate`"),
        ("echo { a: &str };", "`echo<'a>` with `&'a` here"),
        (
            "echo { a: &'a str };",
            "does not declare this lifetime: write `echo<'a>`",
        ),
        ("echo<'a> { a: &'static str, b: &'a str };", "does not last"),
        ("echo<'a> { a: i32 };", "no field of `echo` has this lifetime"),
        (
            "echo<'a> { a: &'a str } -> { b: &'a str };",
            "only the fields of a request may borrow",
        ),
        (
            "echo<'a> { a: &'a str } return &'a str;",
            "only the fields of a request may borrow",
        ),
        (
            "echo stream { a: &str } -> {};",
            "only the fields of a request may borrow",
        ),
        ("upload stream { a: i32 };", "so it has an answer"),
        ("#[derive(Debug, Serialize)] echo;", "derived already"),
        ("echo -> #[derive(Deserialize)] {};", "derived already"),
        ("echo { #[cfg(unix)] a: i32 };", "a field is always there"),
        ("#[version(2)] echo;", "belongs above the module"),
        (
            "echo { #[serde(default, skip_serializing_if = \"Option::is_none\")] a: Option<i32>, b: i32 };",
            "an `Option` that is `None` takes one byte",
        ),
        ("echo -> { #[serde(flatten)] a: Kind };", "write its fields here"),
        ("#[serde(tag = \"kind\")] echo { a: i32 };", "leave it out"),
        ("echo stream #[serde(untagged)] { a: i32 } -> {};", "leave it out"),
    ]);
}

fn refused_with(table: &[(&str, &str)]) {
    for (text, says) in table {
        let said = refusal(text);
        assert!(said.contains(says), "{text}: {said}");
    }
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let said = refusal("new; echo { a: &str, a: i32 }; upload stream { b: i32 };");
    assert_eq!(said.lines().count(), 4, "{said}");
}

#[test]
fn what_is_wrong_above_or_around_a_module_is_said_with_what_to_do() {
    let table = [
        ("#[version(0)] mod a {}", "from 1 to 65535"),
        ("#[version(65536)] mod a {}", "from 1 to 65535"),
        ("#[version(-1)] mod a {}", "from 1 to 65535"),
        ("#[version = 2] mod a {}", "as in #[version(2)]"),
        ("#[version] mod a {}", "as in #[version(2)]"),
        ("#[version(2)] #[version(3)] mod a {}", "said twice"),
        ("#[versoin(2)] mod a {}", "no such attribute"),
        ("#[crate_name = \"a\"] mod a {}", "#[crate_name(\"shop\")]"),
        ("#[crate_name(\"\")] mod a {}", "empty"),
        ("#[actix_ipc(path = a)] mod a {}", "#[actix_ipc(crate = path)]"),
        ("struct A {}", "`pub mod name { commands }`"),
        ("mod a {} mod b {}", "another `protocol!`"),
        ("mod match {}", "write `r#match`"),
    ];
    for (text, says) in table {
        let said = whole(text);
        assert!(said.contains(says), "{text}: {said}");
    }
}

#[test]
fn what_is_wrong_in_several_protocols_is_said_with_what_to_do() {
    let said = |wrong: bool, text: &str| {
        let tokens: TokenStream = text.parse().unwrap();
        let made = if wrong { sender(tokens) } else { handler(tokens) };
        made.expect_err(text).to_string()
    };
    let table = [
        (true, "App [a, b]", "here `impl` and the protocols are expected"),
        (true, "App impl a", "stand in brackets"),
        (
            true,
            "App impl []",
            "here the modules of the protocols are expected",
        ),
        (true, "App impl [a] with Handler", "nothing is expected here"),
        (
            true,
            "#[derive(Debug)] App impl [a]",
            "only #[actix_ipc(crate = path)]",
        ),
        (false, "App impl [a] with", "expected"),
        (false, "App impl [a] for Handler", "nothing is expected here"),
    ];
    for (of_sender, text, says) in table {
        let said = said(of_sender, text);
        assert!(said.contains(says), "{text}: {said}");
    }
}

#[test]
fn names_that_only_look_wrong_are_taken() {
    for commands in [
        "stream { stream: i32 } stream { stream: u8 } -> stream { stream: u8 }",
        "echo { a: Item, b: Response } return Item",
        "plain return stream",
        "plain return stream::Kind; other",
        "actor; handler; request; answer; echo; Request2",
        "Request { a: i32 }; echo { a: some::Request, b: ::tick::Kind, c: crate::Sender }; tick",
        "view<'a> { #[serde(borrow)] a: std::borrow::Cow<'a, str> }",
        "echo { #[serde(rename = \"tag\", default)] flatten: i32, #[serde(skip)] tag: i32, #[serde(with = \"own\")] b: i32 }",
    ] {
        let tokens: TokenStream = format!("mod a {{ {commands} }}").parse().unwrap();
        if let Err(error) = protocol(tokens) {
            panic!("{commands}: {error}");
        }
    }
}
