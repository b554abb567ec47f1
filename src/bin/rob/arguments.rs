//! The command line of rob.
//!
//! Owns the list of commands and the rule where options may stand: anywhere before the signature, or behind the
//! last argument that the signature takes; every word between is a value, also one that begins with `-`. What a command takes is in
//! the command's own file, the options of all are in `options`. It knows no broker. Called by `main`.

#[path = "bench/arguments.rs"]
pub(crate) mod bench;

use crate::commands::{call, completions, describe, listen, man, ping, send, serve, wait};
use crate::exit::{Exit, Failure};
use crate::observe::Observe;
use crate::options::Options;
use crate::slips;
use crate::value::Wrong;
use clap::{ArgAction, CommandFactory, Parser, Subcommand};
use std::ffi::OsString;

const EXAMPLES: &str = "\
Examples:
  rob call math add {ii} a 10 b 32        call a method with a map of two integers
  rob call math sum [ii] 1 2              with a list; (ii) needs quotes: '(ii)'
  rob call math add j '{\"a\":1,\"b\":2}'     with JSON as it is
  rob send sensor temperature s 25.6°C    publish an event
  rob listen sensor temperature           print events until ctrl+c
  rob listen 'sensor.*' '**'              those of many objects and topics
  rob serve echo --exec cat               a shell command as an object
  rob wait math --timeout 10              until an object is registered
  rob --json list                         what is registered, for programs
  rob bench rpc --payload 1KiB            how fast calls are on this machine

Signature: one value, made of
  s string   i integer   d number   b true|false   n null   j JSON   {…} map   (…) or […] list
An element of a map takes two arguments: its key and its value.

Under cmd.exe and PowerShell: \"{ii}\" and \"sensor.*\" in double quotes, and JSON on standard input, as in
  echo {\"a\":1,\"b\":2}| rob call math add -        in cmd.exe; in PowerShell: echo '{\"a\":1,\"b\":2}' | rob …

Exit codes: 0 done, 1 remote error, 2 usage, 3 not found, 4 timeout, 5 no broker, 6 refused,
7 connection or process lost, 8 output failed, 130 interrupted, 141 output closed. See docs/rob.md.";

const BENCH_EXAMPLES: &str = "\
Examples:
  rob bench rpc --payload 1KiB --in-flight 64
  rob bench pubsub --subscribers 8 --seconds 10
  rob bench rpc --payload 16 --in-flight 1 --json | tail -1 | jq .ratio";

/// Calls objects, sends events and listens to them, through the broker of this machine.
#[derive(Debug, Parser)]
#[command(
    name = "rob",
    version = concat!(env!("CARGO_PKG_VERSION"), " (protocol 1)"),
    disable_version_flag = true,
    after_help = EXAMPLES,
    subcommand_required = true,
    arg_required_else_help = true,
    args_override_self = true
)]
pub(crate) struct Rob {
    /// Options that every command takes.
    #[command(flatten)]
    pub(crate) options: Options,
    /// Print the version, and the protocol's.
    #[arg(short = 'v', short_alias = 'V', long, action = ArgAction::Version)]
    version: Option<bool>,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand, PartialEq)]
pub(crate) enum Command {
    /// Call a method of an object and print its result, or each item of a streamed one as it comes.
    Call(call::Call),
    /// Publish an event; returns when the broker has accepted it.
    Send(send::Send),
    /// Print events as they come.
    Listen(listen::Listen),
    /// Show which objects are registered and who is connected.
    #[command(after_help = "Examples:\n  rob list\n  rob list --json | jq -r '.objects[].name'")]
    List,
    /// Show who owns an object and what it says of itself.
    Describe(describe::Describe),
    /// Wait until objects are registered.
    Wait(wait::Wait),
    /// Measure round trips to the broker, or to an object.
    Ping(ping::Ping),
    /// Make a shell command an object that others call.
    Serve(serve::Serve),
    #[command(flatten)]
    Observe(Observe),
    /// Measure the broker on this machine, beside a bare relay of sockets: a private broker unless --addr is given.
    #[command(subcommand, after_help = BENCH_EXAMPLES)]
    Bench(bench::Bench),
    /// Print what makes a shell complete rob's commands, and the names of the running broker.
    Completions(completions::Completions),
    /// Print a manual page, or write all of them.
    Man(man::Man),
}

/// Why the command line is not carried out.
#[derive(Debug)]
pub(crate) enum Stop {
    /// clap's own message, help or version; it knows its exit code.
    Clap(clap::Error),
    /// The signature or its arguments are wrong.
    Failure(Failure),
}

/// Reads the command line, the program's name first.
pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Rob, Stop> {
    let words: Vec<OsString> = words.into_iter().collect();
    let read = |words: &[OsString]| {
        Rob::try_parse_from(words).map_err(|error| Stop::Clap(slips::explained(error, words)))
    };
    let mut rob = match (read(&words), joined(&words)) {
        (Ok(rob), Some(words)) if matches!(rob.command, Command::Observe(Observe::Monitor(_))) => {
            read(&words)?
        }
        // Taken for an argument, the number may be one too many.
        (Err(_), Some(joined)) if words.iter().any(|word| word == "monitor") => read(&joined)?,
        (read, _) => read?,
    };
    rob.read_words()?;
    rob.options.doing = rob.command.doing();
    if rob.options.count.is_some() && !rob.command.counts() {
        let counting = "call, listen, ping, serve, watch, monitor, record, replay and top";
        let text =
            format!("--count: only what gives many results can end after some of them, as {counting} do");
        return Err(Stop::Failure(Failure::new(Exit::Usage, text)));
    }
    Ok(rob)
}

impl Rob {
    /// Reads the words behind a signature, where there is one.
    fn read_words(&mut self) -> Result<(), Stop> {
        let options = &mut self.options;
        let (usage, read) = match &mut self.command {
            Command::Call(call) => (
                "rob call OBJECT METHOD SIGNATURE ARGS…",
                call.words.read(false, options, &Self::command(), "call"),
            ),
            Command::Send(send) => (
                "rob send OBJECT TOPIC SIGNATURE ARGS…",
                send.words.read(send.lines, options, &Self::command(), "send"),
            ),
            _ => return Ok(()),
        };
        read.map_err(|wrong| match wrong {
            Wrong::Text(text) => {
                let text = format!("{text}\nusage: {usage}, and `rob --help` explains signatures");
                Stop::Failure(Failure::new(Exit::Usage, text))
            }
            Wrong::Clap(error) => Stop::Clap(error),
        })
    }
}

/// Letters of what is said of a command.
const DOING_MAX: usize = 64;

impl Command {
    /// What the connection of a command that lasts is called, so that lists tell one rob from another.
    fn doing(&self) -> Option<String> {
        let words = match self {
            Self::Listen(wanted) => format!("listen {} {}", wanted.object, wanted.topic),
            Self::Serve(wanted) => format!("serve {}", wanted.object),
            Self::Wait(wanted) => format!("wait {}", wanted.objects.join(" ")),
            Self::Observe(wanted) => wanted.name()?.to_owned(),
            _ => return None,
        };
        Some(format!("rob {words}").chars().take(DOING_MAX).collect())
    }

    /// Whether it gives many results, of which `--count` are enough.
    const fn counts(&self) -> bool {
        match self {
            Self::Call(_) | Self::Listen(_) | Self::Ping(_) | Self::Serve(_) => true,
            Self::Observe(wanted) => wanted.counts(),
            _ => false,
        }
    }
}

/// `--payloads 5` as `--payloads=5`, where `monitor` would take the 5 for its object.
fn joined(words: &[OsString]) -> Option<Vec<OsString>> {
    let place = words.iter().position(|word| word == "--payloads")?;
    let bytes = words.get(place.checked_add(1)?)?.to_str()?;
    bytes.parse::<u64>().ok()?;
    let mut joined = words.to_vec();
    joined.remove(place);
    *joined.get_mut(place)? = format!("--payloads={bytes}").into();
    Some(joined)
}

#[cfg(test)]
#[path = "arguments_tests.rs"]
mod tests;
