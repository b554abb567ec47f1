//! What was probably meant by a command line that cannot be read.
//!
//! Owns the words of other tools, what shells of Windows make of words, the commands that are proposed, and what of clap's own words is left
//! out. It knows no broker. Called by `arguments` and `main`.

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

/// What PowerShell makes of `{…}` without quotes: the words of a call of itself.
const SCRIPT_BLOCK: &str = "-encodedCommand";
const SCRIPT_BLOCK_HINT: &str =
    "PowerShell has taken {…} for a block of its script; put it in quotes, as in \"{ii}\"";
const SINGLE_QUOTES_HINT: &str = "single quotes came with the words, as cmd.exe leaves them; write \"double quotes\" there, and JSON on \
                                  standard input: echo {\"a\":1}| rob call OBJECT METHOD -";

/// What a shell has probably made of the words, so that they mean something else than they were to mean. For when they are wrong: to a
/// program they may be right as they are.
pub(crate) fn of_shell(words: &[OsString]) -> Option<&'static str> {
    let words = || words.iter().skip(1).filter_map(|word| word.to_str());
    if words().any(|word| word.eq_ignore_ascii_case(SCRIPT_BLOCK)) {
        return Some(SCRIPT_BLOCK_HINT);
    }
    // What has blanks comes in several words.
    let quoted = words()
        .skip_while(|word| !word.starts_with('\''))
        .any(|word| word.len() > 1 && word.ends_with('\''));
    quoted.then_some(SINGLE_QUOTES_HINT)
}

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
    // Help and version are no errors.
    if let Some(hint) = of_shell(words).filter(|_| error.exit_code() != 0) {
        let mut tips = match error.remove(ContextKind::Suggested) {
            Some(ContextValue::StyledStrs(tips)) => tips,
            _ => Vec::new(),
        };
        tips.push(hint.into());
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
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
    fn what_a_shell_of_windows_has_made_of_words_is_told() {
        let table: [(&[&str], Option<&str>); 10] = [
            (
                &["call", "math", "add", "-encodedCommand", "YQ=="],
                Some(SCRIPT_BLOCK_HINT),
            ),
            (&["listen", "'sensor.*'", "'**'"], Some(SINGLE_QUOTES_HINT)),
            (&["call", "x", "y", "j", "'{a:1}'"], Some(SINGLE_QUOTES_HINT)),
            (&["call", "x", "y", "j", "'{a:", "1}'"], Some(SINGLE_QUOTES_HINT)),
            (&["call", "x", "y", "s", "'tis"], None),
            (&["call", "x", "y", "s", "dogs'"], None),
            (&["call", "x", "y", "s", "'"], None),
            (&["call", "x", "y", "s", "dogs'", "'tis"], None),
            (&["call", "math", "add", "{ii}"], None),
            (&[], None),
        ];
        for (words, expected) in table {
            let words: Vec<OsString> = ["rob"].iter().chain(words).map(OsString::from).collect();
            assert_eq!(of_shell(&words), expected, "{words:?}");
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
