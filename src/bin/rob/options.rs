//! The options that every command takes.
//!
//! Owns their names and bounds, and what may stand behind the last argument of a signature. It knows no command and no broker. Called by
//! `arguments`, read by every command.

use actix_ipc::terminal::nearest;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, FromArgMatches};
use std::path::PathBuf;
use std::time::Duration;

/// Options that every command takes, before or behind its own arguments.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub(crate) struct Options {
    /// One compact JSON value per line on stdout, and nothing else there.
    #[arg(long, global = true, display_order = 101)]
    pub(crate) json: bool,
    /// Results, errors and warnings only: no "Listening for", no word that all went well.
    #[arg(short, long, global = true, display_order = 102)]
    pub(crate) quiet: bool,
    /// How long to wait for an answer (`listen`, `watch`, `monitor`, `record`: for the next event, change or record; `wait`: for the
    /// broker and the objects; `ping`: for each round trip; `serve`: for a command's end; `bench`: for any of its processes), in seconds.
    #[arg(
        long,
        global = true, display_order = 103,
        value_name = "SECONDS",
        allow_negative_numbers = true,
        value_parser = seconds
    )]
    pub(crate) timeout: Option<Duration>,
    /// End after so many results: items of a call, events, round trips, calls served, changes, records, samples, steps of a replay.
    #[arg(
        long,
        global = true, display_order = 104,
        value_name = "N",
        allow_negative_numbers = true,
        value_parser = |text: &str| number(text, u64::MAX)
    )]
    pub(crate) count: Option<u64>,
    /// The broker: unix:/path, tcp:host:port, tls:host:port, pipe:name. Otherwise IPC_BROKER_ADDR, then the usual places.
    #[arg(long, global = true, display_order = 105, value_name = "ENDPOINT")]
    pub(crate) addr: Option<String>,
    /// A file with the token that proves who this is, for TCP and TLS.
    #[arg(long, global = true, display_order = 106, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// The CA of the broker's certificate (PEM), for tls:host:port.
    #[arg(long, global = true, display_order = 107, value_name = "FILE")]
    pub(crate) tls_ca: Option<PathBuf>,
    /// The broker's certificate itself (PEM): exactly this one is trusted.
    #[arg(long, global = true, display_order = 108, value_name = "FILE")]
    pub(crate) tls_pin: Option<PathBuf>,
    /// The name in the broker's certificate, when it is not the host of the endpoint.
    #[arg(long, global = true, display_order = 109, value_name = "NAME")]
    pub(crate) tls_name: Option<String>,
    /// This client's own certificate (PEM).
    #[arg(
        long,
        global = true,
        display_order = 110,
        value_name = "FILE",
        requires = "tls_key"
    )]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The key of that certificate (PEM), readable by this user alone.
    #[arg(
        long,
        global = true,
        display_order = 111,
        value_name = "FILE",
        requires = "tls_cert"
    )]
    pub(crate) tls_key: Option<PathBuf>,
    /// What this program does, for those who look at who is connected.
    #[arg(skip)]
    pub(crate) doing: Option<String>,
}

/// What stands behind the last argument and is no option.
pub(crate) enum Leftover {
    /// The word, and the option that it may be meant for.
    Word(String, Option<String>),
    /// An option with a wrong value, in clap's words.
    Clap(clap::Error),
}

impl Options {
    /// All of them, as they are written.
    pub(crate) fn names() -> Vec<String> {
        let command = Self::augment_args(clap::Command::new("rob"));
        let longs = command.get_arguments().filter_map(clap::Arg::get_long);
        longs.map(|long| format!("--{long}")).collect()
    }

    /// Takes the options behind the last argument of a signature; `rob` is the whole command line, for clap's words.
    pub(crate) fn read_tail(&mut self, tail: &[String], rob: &clap::Command) -> Result<(), Leftover> {
        if tail.is_empty() {
            return Ok(());
        }
        let command = Self::augment_args(clap::Command::new("rob"))
            .no_binary_name(true)
            .args_override_self(true)
            .disable_help_flag(true);
        let names = Self::names();
        let matches =
            command
                .try_get_matches_from(tail)
                .map_err(|error| match error.get(ContextKind::InvalidArg) {
                    Some(ContextValue::String(word)) if error.kind() == ErrorKind::UnknownArgument => {
                        let near = nearest(word, names.iter().map(String::as_str));
                        let near = near.filter(|_| word.starts_with('-')).map(str::to_owned);
                        Leftover::Word(word.clone(), near)
                    }
                    _ => Leftover::Clap(error.with_cmd(rob)),
                })?;
        let later = Self::from_arg_matches(&matches).map_err(Leftover::Clap)?;
        self.json |= later.json;
        self.quiet |= later.quiet;
        self.timeout = later.timeout.or(self.timeout);
        self.count = later.count.or(self.count);
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

/// The longest time that can be asked for: a year. Longer ones are slips, and clocks overflow.
const SECONDS_MAX: f64 = 365.0 * 86_400.0;

/// A number of seconds above 0.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let wanted = || "a number of seconds above 0, such as 2 or 0.5".to_owned();
    let seconds = text.parse::<f64>().map_err(|_| wanted())?;
    if !(seconds > 0.0 && seconds <= SECONDS_MAX) {
        return Err(wanted());
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| wanted())
}

/// A name that the command line gives. An empty one, as of a variable that is not set, is told with the place where it stands.
pub(crate) fn name(text: &str) -> Result<String, String> {
    match text {
        "" => Err("the name is empty".to_owned()),
        name => Ok(name.to_owned()),
    }
}

/// A whole number from 1 to `most`. What it is not is said in words: a library's own would speak of digits.
pub(crate) fn number(text: &str, most: u64) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| match most {
        u64::MAX => "a whole number above 0".to_owned(),
        most => format!("a whole number from 1 to {most}"),
    })
}
