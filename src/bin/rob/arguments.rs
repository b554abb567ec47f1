//! The command line of rob.
//!
//! Owns the commands, the options and the rule where options may stand: anywhere before the signature, or behind the
//! last argument that the signature takes; every word between is a value, also one that begins with `-`. It
//! knows no broker. Called by `main`.

#[path = "bench/arguments.rs"]
pub(crate) mod bench;

use crate::exit::{Exit, Failure};
use crate::signature;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  rob call math add {ii} a 10 b 32        call a method with a map of two integers
  rob call math sum [ii] 1 2              with a list; (ii) needs quotes: '(ii)'
  rob call math add j '{\"a\":1,\"b\":2}'     with JSON as it is
  rob send sensor temperature s 25.6°C    publish an event
  rob listen sensor temperature           print events until ctrl+c
  rob --json list                         what is registered, for programs
  rob bench rpc --payload 1KiB            how fast calls are on this machine

Signature: one value, made of
  s string   i integer   d number   b true|false   n null   j JSON   {…} map   (…) or […] list
An element of a map takes two arguments: its key and its value.

Exit codes: 0 done, 1 remote error, 2 usage, 3 not found, 4 timeout, 5 no broker, 6 refused,
7 connection or process lost, 8 output failed, 130 interrupted, 141 output closed. See docs/rob.md.";

/// Calls objects, sends events and listens to them, through the broker of this machine.
#[derive(Debug, Parser)]
#[command(
    name = "rob",
    version = concat!(env!("CARGO_PKG_VERSION"), " (protocol 1)"),
    disable_version_flag = true,
    after_help = EXAMPLES,
    subcommand_required = true,
    arg_required_else_help = true
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

/// Options that every command takes, before or behind its own arguments.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub(crate) struct Options {
    /// One compact JSON value per line on stdout, and nothing else there.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// How long to wait for an answer (`listen`: for the next event; `bench`: for any of its processes), in seconds.
    #[arg(
        long,
        global = true,
        value_name = "SECONDS",
        allow_negative_numbers = true,
        value_parser = seconds
    )]
    pub(crate) timeout: Option<Duration>,
    /// The broker: unix:/path, tcp:host:port, tls:host:port, pipe:name. Otherwise IPC_BROKER_ADDR, then the usual places.
    #[arg(long, global = true, value_name = "ENDPOINT")]
    pub(crate) addr: Option<String>,
    /// A file with the token that proves who this is, for TCP and TLS.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// The CA of the broker's certificate (PEM), for tls:host:port.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) tls_ca: Option<PathBuf>,
    /// The broker's certificate itself (PEM): exactly this one is trusted.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) tls_pin: Option<PathBuf>,
    /// The name in the broker's certificate, when it is not the host of the endpoint.
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) tls_name: Option<String>,
    /// This client's own certificate (PEM).
    #[arg(long, global = true, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The key of that certificate (PEM), readable by this user alone.
    #[arg(long, global = true, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
}

/// What to do.
#[derive(Debug, Subcommand, PartialEq)]
pub(crate) enum Command {
    /// Call a method of an object and print its result, or each item of a streamed one as it comes.
    Call(Message),
    /// Publish an event; returns when the broker has accepted it.
    Send(Message),
    /// Print events as they come.
    Listen(Listen),
    /// Show which objects are registered and who is connected.
    List,
    /// Show who owns an object and what it says of itself.
    Describe {
        /// The object's name.
        #[arg(value_name = "OBJECT")]
        object: String,
    },
    /// Measure the broker on this machine, beside a bare relay of sockets: a private broker unless --addr is given.
    #[command(subcommand)]
    Bench(bench::Bench),
}

/// Where a value goes, and the value.
#[derive(Args, Debug, PartialEq)]
pub(crate) struct Message {
    /// The object's name.
    #[arg(value_name = "OBJECT")]
    pub(crate) object: String,
    /// The method to call, or the topic to publish to.
    #[arg(value_name = "METHOD")]
    pub(crate) method: String,
    /// How the arguments make one value; none for null.
    #[arg(
        value_name = "SIGNATURE ARGS",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    rest: Vec<String>,
    /// The value, as JSON text.
    #[arg(skip)]
    pub(crate) json: String,
}

/// What to listen to.
#[derive(Args, Debug, PartialEq)]
pub(crate) struct Listen {
    /// The object's name.
    #[arg(value_name = "OBJECT")]
    pub(crate) object: String,
    /// The topic.
    #[arg(value_name = "TOPIC")]
    pub(crate) topic: String,
    /// End after so many events.
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        value_parser = |text: &str| bench::number(text, u64::MAX)
    )]
    pub(crate) count: Option<u64>,
}

/// The longest time that can be asked for: a year. Longer ones are slips, and clocks overflow.
const SECONDS_MAX: f64 = 365.0 * 86_400.0;

fn seconds(text: &str) -> Result<Duration, String> {
    let wanted = || "a number of seconds above 0, such as 2 or 0.5".to_owned();
    let seconds = text.parse::<f64>().map_err(|_| wanted())?;
    if !(seconds > 0.0 && seconds <= SECONDS_MAX) {
        return Err(wanted());
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| wanted())
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
pub(crate) fn parse(words: impl IntoIterator<Item = std::ffi::OsString>) -> Result<Rob, Stop> {
    let mut rob = Rob::try_parse_from(words).map_err(|error| Stop::Clap(with_choices(error)))?;
    let (verb, message) = match &mut rob.command {
        Command::Call(message) => ("call", message),
        Command::Send(message) => ("send", message),
        Command::Listen(_) | Command::List | Command::Describe { .. } | Command::Bench(_) => return Ok(rob),
    };
    let rest = std::mem::take(&mut message.rest);
    let (signature, arguments) = rest
        .split_first()
        .map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
    let usage = |text: String| {
        let usage =
            format!("usage: rob {verb} OBJECT METHOD SIGNATURE ARGS…, and `rob --help` explains signatures");
        Stop::Failure(Failure::new(Exit::Usage, format!("{text}\n{usage}")))
    };
    let encoded = signature::encode(signature, arguments).map_err(|error| usage(error.to_string()))?;
    message.json = encoded.json;
    let tail = arguments.get(encoded.used..).unwrap_or_default();
    rob.options.read_tail(tail).map_err(|leftover| match leftover {
        Leftover::Word(word) => usage(format!(
            "leftover argument {word:?}: the signature {signature:?} takes {} argument{}",
            encoded.used,
            if encoded.used == 1 { "" } else { "s" },
        )),
        Leftover::Clap(error) => Stop::Clap(error),
    })?;
    Ok(rob)
}

/// A command that does not exist, with those that do.
fn with_choices(mut error: clap::Error) -> clap::Error {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return error;
    }
    let rob = Rob::command();
    let usage = error.get(ContextKind::Usage).map(ToString::to_string);
    let of_bench = usage.is_some_and(|usage| usage.contains("rob bench"));
    let among = rob.find_subcommand("bench").filter(|_| of_bench).unwrap_or(&rob);
    let names: Vec<&str> = among
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .map(clap::Command::get_name)
        .collect();
    let tip = format!("there are {}", names.join(", "));
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    error
}

/// What stands behind the last argument and is no option.
enum Leftover {
    Word(String),
    Clap(clap::Error),
}

impl Options {
    /// Takes the options behind the last argument of a signature.
    fn read_tail(&mut self, tail: &[String]) -> Result<(), Leftover> {
        if tail.is_empty() {
            return Ok(());
        }
        let command = Self::augment_args(clap::Command::new("rob"))
            .no_binary_name(true)
            .disable_help_flag(true);
        let matches =
            command
                .try_get_matches_from(tail)
                .map_err(|error| match error.get(ContextKind::InvalidArg) {
                    Some(ContextValue::String(word)) if error.kind() == ErrorKind::UnknownArgument => {
                        Leftover::Word(word.clone())
                    }
                    _ => Leftover::Clap(error.with_cmd(&Rob::command())),
                })?;
        let later = Self::from_arg_matches(&matches).map_err(Leftover::Clap)?;
        self.json |= later.json;
        self.timeout = later.timeout.or(self.timeout);
        self.addr = later.addr.or_else(|| self.addr.take());
        self.token_file = later.token_file.or_else(|| self.token_file.take());
        self.tls_ca = later.tls_ca.or_else(|| self.tls_ca.take());
        self.tls_pin = later.tls_pin.or_else(|| self.tls_pin.take());
        self.tls_name = later.tls_name.or_else(|| self.tls_name.take());
        self.tls_cert = later.tls_cert.or_else(|| self.tls_cert.take());
        self.tls_key = later.tls_key.or_else(|| self.tls_key.take());
        Ok(())
    }
}

#[cfg(test)]
#[path = "arguments_tests.rs"]
mod tests;
