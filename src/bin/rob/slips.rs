//! What was probably meant by a command line that cannot be read.
//!
//! Owns the words of other tools, the commands that are proposed, and what of clap's own words is left out. It knows no broker. Called by
//! `arguments`.

use crate::arguments::Rob;
use actix_ipc::terminal::nearest;
use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::ffi::OsString;

/// What people type who come from other tools, and what it is called here.
const ELSEWHERE: &[(&str, &str)] = &[
    ("pub", "send"),
    ("publish", "send"),
    ("emit", "send"),
    ("signal", "send"),
    ("sub", "listen"),
    ("subscribe", "listen"),
    ("psubscribe", "listen"),
    ("introspect", "describe"),
    ("info", "describe"),
    ("tree", "list"),
    ("ls", "list"),
    ("objects", "list"),
    ("request", "call"),
    ("req", "call"),
    ("invoke", "call"),
    ("stats", "status"),
    ("stat", "status"),
    ("health", "status"),
    ("reply", "serve"),
    ("capture", "record"),
    ("dump", "record"),
    ("tail", "monitor"),
    ("benchmark", "bench"),
    ("rtt", "ping"),
    ("completion", "completions"),
];

/// The error in words that help: commands that exist instead of one that does not, and the usage of the command without what was guessed.
pub(crate) fn explained(mut error: clap::Error, words: &[OsString]) -> clap::Error {
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let tip = with_choices(&error);
            error.remove(ContextKind::SuggestedSubcommand);
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
        }
        ErrorKind::UnknownArgument => {
            error.insert(ContextKind::Usage, ContextValue::StyledStr(usage(words)));
        }
        _ => {}
    }
    error
}

/// What there is instead of a command that does not exist.
fn with_choices(error: &clap::Error) -> String {
    let rob = Rob::command();
    let usage = error.get(ContextKind::Usage).map(ToString::to_string);
    let of_bench = usage.is_some_and(|usage| usage.contains("rob bench") || usage.contains("rob.exe bench"));
    let among = rob.find_subcommand("bench").filter(|_| of_bench).unwrap_or(&rob);
    let names: Vec<&str> = among
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .map(clap::Command::get_name)
        .collect();
    let near = match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(word)) => meant(word, &names),
        _ => None,
    };
    let near = near.map_or_else(String::new, |near| format!("did you mean `{near}`? "));
    format!("{near}there are {}", names.join(", "))
}

/// The command that a word is meant for: what another tool calls so, or what is written almost so.
pub(crate) fn meant<'a>(word: &str, names: &[&'a str]) -> Option<&'a str> {
    let here = ELSEWHERE.iter().find(|(elsewhere, _)| *elsewhere == word);
    let here = here.and_then(|(_, here)| names.iter().find(|name| *name == here).copied());
    here.or_else(|| nearest(word, names.iter().copied()))
}

/// The usage of the command that the words name.
fn usage(words: &[OsString]) -> clap::builder::StyledStr {
    let mut rob = Rob::command();
    rob.build();
    let mut command = &rob;
    for word in words.iter().skip(1).filter_map(|word| word.to_str()) {
        if let Some(below) = command.find_subcommand(word) {
            command = below;
        }
    }
    command.clone().render_usage()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_other_tools_have_a_meaning() {
        let names = ["call", "send", "listen", "list", "describe", "status", "top"];
        let table = [
            ("pub", Some("send")),
            ("sub", Some("listen")),
            ("publish", Some("send")),
            ("subscribe", Some("listen")),
            ("introspect", Some("describe")),
            ("stats", Some("status")),
            ("lst", Some("list")),
            ("ping", None),
            ("fetch", None),
        ];
        for (word, expected) in table {
            assert_eq!(meant(word, &names), expected, "{word}");
        }
    }

    #[test]
    fn every_meaning_is_a_command() {
        let rob = Rob::command();
        for (word, here) in ELSEWHERE {
            assert!(rob.find_subcommand(here).is_some(), "{word}: {here}");
            assert!(rob.find_subcommand(word).is_none(), "{word} is a command itself");
        }
    }
}
