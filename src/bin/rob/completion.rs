//! What the shell proposes while a command line is typed.
//!
//! Owns which words are names of the running broker's, how long it may take to ask for them, and which of them are safe to put on a command line.
//! clap's engine does the rest: it calls rob again with [`VARIABLE`] set. Nothing is ever printed but proposals. Called by `main`, before
//! everything else, and by `rob completions`, which prints what makes a shell call it.

use crate::arguments::Rob;
use crate::commands::session;
use crate::options::Options;
use actix_ipc::client::IpcClient;
use actix_ipc::terminal::is_unsafe;
use clap::{ArgMatches, CommandFactory, FromArgMatches};
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use serde_json::Value;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::sync::mpsc::channel;
use std::time::Duration;

/// What a shell sets when it asks; the name of the shell.
pub(crate) const VARIABLE: &str = "ROB_COMPLETE";
/// How long the broker is asked at most: a person waits for a key.
const PATIENCE: Duration = Duration::from_millis(250);
/// Another time than that, in milliseconds: for machines that are slower than people.
const PATIENCE_VARIABLE: &str = "ROB_COMPLETE_PATIENCE_MS";

/// Answers when a shell asks, whatever it asks. `false`: rob was called for something else.
pub(crate) fn answered() -> bool {
    if std::env::var_os(VARIABLE).is_none_or(|shell| shell.is_empty()) {
        return false;
    }
    let here = std::env::current_dir().ok();
    let engine = CompleteEnv::with_factory(command)
        .var(VARIABLE)
        .bin("rob")
        .completer("rob");
    // An error would stand in the middle of what is being typed.
    let _ = engine.try_complete(std::env::args_os(), here.as_deref());
    true
}

/// The command line, with who knows the names.
fn command() -> clap::Command {
    // Options are proposed to who begins one, and where nothing else fits: a name is what is looked for.
    let is_option = std::env::args_os()
        .next_back()
        .is_some_and(|word| word.to_string_lossy().starts_with('-'));
    let show = move |argument: clap::Arg| match argument.get_long() {
        Some(_) if !is_option => argument.hide(true),
        _ => argument,
    };
    let mut rob = Rob::command().disable_help_flag(!is_option).mut_args(show);
    let names: Vec<String> = rob
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    for name in names {
        rob = rob.mut_subcommand(name, |command| {
            let command = command.disable_help_flag(!is_option).mut_args(show);
            command.mut_args(|argument| match argument.get_id().as_str() {
                "object" | "objects" => argument.add(ArgValueCompleter::new(objects)),
                "method" => argument.add(ArgValueCompleter::new(methods)),
                "topic" => argument.add(ArgValueCompleter::new(topics)),
                "member" => argument.add(ArgValueCompleter::new(members)),
                "pattern" => argument.add(ArgValueCompleter::new(objects)),
                "page" => argument.add(ArgValueCompleter::new(pages)),
                _ => argument,
            })
        });
    }
    rob
}

fn objects(typed: &OsStr) -> Vec<CompletionCandidate> {
    let list = ask(&typed_so_far(), async |client| client.list().await.ok());
    let names = rows(list.as_ref(), "objects").filter_map(|row| text(row, "name"));
    proposals(typed, names.collect())
}

/// The methods of an object that says what it has.
fn methods(typed: &OsStr) -> Vec<CompletionCandidate> {
    let words = typed_so_far();
    let Some(object) = word(&words, "object") else {
        return Vec::new();
    };
    let described = ask(&words, async move |client| client.describe(&object).await.ok());
    let description = described.as_ref().and_then(|all| all.get("description"));
    let commands = rows(description, "protocols").flat_map(|protocol| rows(Some(protocol), "commands"));
    let all = commands.chain(rows(description, "methods"));
    let names = all.filter_map(|one| one.as_str().map(str::to_owned).or_else(|| text(one, "name")));
    proposals(typed, names.collect())
}

/// Methods and topics of an object.
fn members(typed: &OsStr) -> Vec<CompletionCandidate> {
    let mut all = methods(typed);
    all.extend(topics(typed));
    all
}

/// The commands that have a manual page.
fn pages(typed: &OsStr) -> Vec<CompletionCandidate> {
    proposals(typed, crate::commands::man::names().into_iter().collect())
}

/// The topics of an object that somebody listens to.
fn topics(typed: &OsStr) -> Vec<CompletionCandidate> {
    let words = typed_so_far();
    let Some(object) = word(&words, "object") else {
        return Vec::new();
    };
    let topics = ask(&words, async |client| {
        client.call("sys.broker", "topics").send(&()).await.ok()
    });
    let topics: Option<Value> = topics;
    let of_object = |row: &&Value| row.get("object").and_then(Value::as_str) == Some(&object);
    let names = rows(topics.as_ref(), "topics")
        .filter(of_object)
        .filter_map(|row| text(row, "topic"));
    proposals(typed, names.collect())
}

/// Asks the broker that the words name, on a thread that nobody waits for longer than a person would.
fn ask<T: Send + 'static>(
    words: &ArgMatches,
    question: impl AsyncFnOnce(IpcClient) -> Option<T> + Send + 'static,
) -> Option<T> {
    let options = options(words);
    let (answer, answered) = channel();
    let ask = move || {
        let found = actix_rt::System::new().block_on(async {
            let client = session::connect(&options, false).await.ok()?;
            question(client).await
        });
        // Too late is nobody's business.
        let _ = answer.send(found);
    };
    std::thread::Builder::new().spawn(ask).ok()?;
    answered.recv_timeout(patience()).ok().flatten()
}

fn patience() -> Duration {
    let asked = std::env::var(PATIENCE_VARIABLE).ok();
    let millis = asked.and_then(|text| text.parse().ok());
    millis.map_or(PATIENCE, Duration::from_millis)
}

/// What is typed already, as far as it can be understood.
fn typed_so_far() -> ArgMatches {
    let words = std::env::args_os().skip_while(|word| word != "--").skip(1);
    // Half a command line is wrong by nature.
    let rob = Rob::command().ignore_errors(true);
    rob.try_get_matches_from(words).unwrap_or_default()
}

fn options(words: &ArgMatches) -> Options {
    let of_command = words
        .subcommand()
        .and_then(|(_, words)| Options::from_arg_matches(words).ok());
    of_command
        .or_else(|| Options::from_arg_matches(words).ok())
        .unwrap_or_default()
}

fn word(words: &ArgMatches, name: &str) -> Option<String> {
    let (_, words) = words.subcommand()?;
    words.try_get_one::<String>(name).ok().flatten().cloned()
}

fn rows<'a>(value: Option<&'a Value>, key: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    let rows = value.and_then(|value| value.get(key)).and_then(Value::as_array);
    rows.into_iter().flatten()
}

fn text(row: &Value, key: &str) -> Option<String> {
    row.get(key).and_then(Value::as_str).map(str::to_owned)
}

/// The names that begin so. Those with letters that mean something to a shell are other people's, and are not put on a command line.
fn proposals(typed: &OsStr, names: BTreeSet<String>) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    let safe = |name: &String| {
        let letters = name.chars();
        !name.starts_with('-') && { letters }
            .all(|c| (c.is_alphanumeric() && !is_unsafe(c)) || "._:@%+,/-".contains(c))
    };
    names
        .into_iter()
        .filter(|name| name.starts_with(&*typed) && safe(name))
        .map(CompletionCandidate::new)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_names_are_proposed() {
        let names = [
            "math",
            "mäth",
            "m.a-t_h",
            "m$(reboot)",
            "m;x",
            "m x",
            "m'",
            "m\u{202e}",
            // A letter that nobody sees.
            "math\u{3164}",
            "-m",
            "store",
        ];
        let names = names.map(str::to_owned).into_iter().collect();
        let found = proposals(OsStr::new("m"), names);
        let found: Vec<_> = found
            .iter()
            .map(|one| one.get_value().to_string_lossy().into_owned())
            .collect();
        assert_eq!(found, ["m.a-t_h", "math", "mäth"]);
    }
}
