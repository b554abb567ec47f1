//! What was probably meant by a command that there is not.
//!
//! Owns the words of other tools and the tip that is given. It knows no broker. Called by `main`.

use super::Arguments;
use actix_ipc::terminal::nearest;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser};
use std::ffi::OsString;

/// What the service manager itself does, and the word of `sc.exe` for it.
const OF_MANAGER: &[(&str, &str)] = &[
    ("start", "start"),
    ("stop", "stop"),
    ("status", "query"),
    ("query", "query"),
];
/// What people type who come from other tools, and what it is called here.
const ELSEWHERE: &[(&str, &str)] = &[
    ("uninstall", "remove"),
    ("delete", "remove"),
    ("register", "install"),
    ("new", "create"),
    ("add", "create"),
    ("print", "show"),
    ("list", "show"),
    ("test", "check"),
    ("validate", "check"),
    ("settings", "config"),
    ("ask", "explain"),
];

/// The command line, or what is wrong with it, with the commands that there are instead of one that there is not.
pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Arguments, clap::Error> {
    Arguments::try_parse_from(words).map_err(|mut error| {
        if error.kind() == ErrorKind::InvalidSubcommand {
            let tip = tip(&error);
            error.remove(ContextKind::SuggestedSubcommand);
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
        }
        error
    })
}

fn tip(error: &clap::Error) -> String {
    let all = Arguments::command();
    let usage = error
        .get(ContextKind::Usage)
        .map(ToString::to_string)
        .unwrap_or_default();
    let is_of = |command: &&clap::Command| {
        let name = command.get_name();
        ["ipc-broker", "ipc-broker.exe"]
            .iter()
            .any(|own| usage.contains(&format!("{own} {name}")))
    };
    let of = all.get_subcommands().find(is_of);
    let among = of.unwrap_or(&all);
    let names: Vec<&str> = among.get_subcommands().map(clap::Command::get_name).collect();
    let word = match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(word)) => word.as_str(),
        _ => "",
    };
    tip_for(word, of.map(clap::Command::get_name), &names)
}

/// The tip for a word below a command, or below none, where there are these names.
fn tip_for(word: &str, below: Option<&str>, names: &[&str]) -> String {
    let manager = OF_MANAGER
        .iter()
        .find(|(known, _)| below == Some("service") && *known == word);
    let first = match (manager, meant(word, names)) {
        (Some((_, of_manager)), _) => format!("that is the manager's: `sc.exe {of_manager} NAME`; "),
        (None, Some(near)) => format!("did you mean `{near}`? "),
        (None, None) => String::new(),
    };
    let are = if names.len() == 1 { "is" } else { "are" };
    format!("{first}there {are} {}", names.join(", "))
}

fn meant<'a>(word: &str, names: &[&'a str]) -> Option<&'a str> {
    let mut here = ELSEWHERE.iter().filter(|(elsewhere, _)| *elsewhere == word);
    let here = here.find_map(|(_, here)| names.iter().find(|name| *name == here));
    here.copied().or_else(|| nearest(word, names.iter().copied()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> String {
        let words = line.split(' ').map(OsString::from);
        parse(words).map_or_else(|error| error.to_string(), |_| String::new())
    }

    #[test]
    fn a_command_that_there_is_not_names_those_that_there_are() {
        for (line, says) in [
            (
                "ipc-broker bogus",
                "tip: there are config, token, policy, service",
            ),
            ("ipc-broker confg", "tip: did you mean `config`? there are config"),
            ("ipc-broker token list", "tip: there is create"),
            (
                "ipc-broker token new",
                "tip: did you mean `create`? there is create",
            ),
            (
                "ipc-broker service start",
                "tip: that is the manager's: `sc.exe start NAME`; there are install, remove, run",
            ),
            (
                "ipc-broker service uninstall",
                "tip: did you mean `remove`? there are install",
            ),
            (
                "ipc-broker --listen service config chek",
                "tip: did you mean `check`? there are show, check",
            ),
        ] {
            let said = said(line);
            assert!(said.contains(says), "{line}: {said}");
        }
        // Nobody starts a broker so.
        assert!(!said("ipc-broker start").contains("sc.exe"));
    }

    #[test]
    fn every_meaning_is_a_command() {
        let all = Arguments::command();
        let below = all.get_subcommands().flat_map(clap::Command::get_subcommands);
        let names: Vec<&str> = all
            .get_subcommands()
            .chain(below)
            .map(clap::Command::get_name)
            .collect();
        for (word, here) in ELSEWHERE {
            assert!(names.contains(here) && !names.contains(word), "{word}: {here}");
        }
    }
}
