//! The daemon: reads settings, starts a broker, waits for its end or a signal.
//!
//! Owns the command line, the log, the signals and the exit codes; `docs/configuration.md` has the table. What a
//! broker does is in the library: this file only starts and stops it.

use actix_ipc::actors::{Broker, BrokerHandle, EndReason, StartError};
use actix_ipc::client::token_file;
use actix_ipc::platform::signals::EndSignals;
use actix_ipc::settings::{Flags, Settings, Sources, default_endpoints, tokens};
use actix_ipc::terminal::{LogWriter, printable};
use clap::{Parser, Subcommand};
use std::fmt::Display;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// The broker failed: its panic budget is spent, or the system refuses what it needs.
const EXIT_INTERNAL: u8 = 70;
/// No endpoint, or not one that was asked for, could be opened.
const EXIT_CANNOT_LISTEN: u8 = 73;
/// The settings are wrong.
const EXIT_SETTINGS: u8 = 78;

/// How long the end waits for the reader of the log.
const LOG_PATIENCE: Duration = Duration::from_millis(500);

const EXAMPLES: &str = "\
Examples:
  ipc-broker                                   listen in the usual places
  ipc-broker --listen unix:/run/app/b.sock     listen there and nowhere else
  ipc-broker --listen tcp:127.0.0.1:0 --log debug
  ipc-broker config show                       every value, and where it came from
  ipc-broker config check broker.toml          what is wrong with a file
  ipc-broker token create thermometer          a token that proves who shows it to be thermometer

Files: /etc/ipc-broker/config.toml, then $XDG_CONFIG_HOME/ipc-broker/config.toml, then --config.
Variables: IPC_BROKER_LISTEN, IPC_BROKER_ARBITERS, IPC_BROKER_LOG, IPC_BROKER_LIMITS__OUTBOX_BYTES and so on.
SIGTERM or SIGINT ends it in order, a second one at once.
Exit codes: 0 ended in order, 2 usage, 70 internal, 73 cannot listen, 78 settings, 130/143 second signal.";

/// A supervised message broker for the programs of this machine.
#[derive(Debug, Parser)]
#[command(name = "ipc-broker", version = concat!(env!("CARGO_PKG_VERSION"), " (protocol 1)"), after_help = EXAMPLES)]
struct Arguments {
    /// Where to listen: unix:/path, tcp:host:port, tls:host:port or pipe:name. May be given several times; replaces the defaults.
    #[arg(long, value_name = "ENDPOINT", global = true)]
    listen: Vec<String>,
    /// A file of settings (TOML), read after the usual ones.
    #[arg(long, value_name = "FILE", global = true, env = "IPC_BROKER_CONFIG")]
    config: Option<PathBuf>,
    /// Threads for connections beside the first; 0 keeps everything on one.
    #[arg(long, value_name = "N", global = true)]
    arbiters: Option<usize>,
    /// What to log: error, warn, info, debug, trace or a filter such as actix_ipc=debug.
    #[arg(long, value_name = "FILTER", global = true)]
    log: Option<String>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Look at the settings instead of starting a broker.
    #[command(subcommand)]
    Config(Config),
    /// Tokens: what a client shows where the system does not say who it is.
    #[command(subcommand)]
    Token(Tokens),
}

#[derive(Debug, Subcommand)]
enum Tokens {
    /// Make a token and print the path of its file, which only this user can read.
    Create {
        /// Whom it proves. Without it: this user's own token, which clients of this user find by themselves.
        name: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
enum Config {
    /// Print every value and where it came from.
    Show,
    /// Say what is wrong with the settings, or with one file alone.
    Check {
        /// Check this file, and no other source.
        file: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let flags = Flags {
        listen: arguments.listen,
        arbiters: arguments.arbiters,
        log: arguments.log,
    };
    let sources = match &arguments.command {
        Some(Command::Config(Config::Check { file: Some(file) })) => Sources {
            file: Some(file.clone()),
            ..Sources::default()
        },
        _ => Sources::of_process(arguments.config, flags),
    };
    let settings = match Settings::load(&sources) {
        Ok(settings) => settings,
        Err(problems) => {
            problems.0.iter().for_each(complain);
            return ExitCode::from(EXIT_SETTINGS);
        }
    };
    match arguments.command {
        Some(Command::Config(Config::Show)) => show(&settings),
        Some(Command::Config(Config::Check { .. })) => {
            say("the settings are in order");
            ExitCode::SUCCESS
        }
        Some(Command::Token(Tokens::Create { name })) => create_token(&settings, name.as_deref()),
        None => serve(settings),
    }
}

/// One line on standard output. Nobody may be reading; the broker runs all the same.
fn say(line: impl Display) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// One line on standard error.
fn complain(line: impl Display) {
    let _ = writeln!(
        io::stderr().lock(),
        "ipc-broker: {}",
        printable(&line.to_string())
    );
}

fn show(settings: &Settings) -> ExitCode {
    let lines: Vec<_> = settings
        .entries()
        .iter()
        .map(|e| (format!("{} = {}", e.key, e.value), &e.origin))
        .collect();
    let width = lines
        .iter()
        .map(|(line, _)| line.chars().count())
        .max()
        .unwrap_or_default()
        .min(48);
    for (line, origin) in lines {
        say(format_args!("{line:width$}  # {}", printable(origin)));
    }
    ExitCode::SUCCESS
}

fn create_token(settings: &Settings, name: Option<&str>) -> ExitCode {
    let made = match (name, token_file(), &settings.tokens) {
        (None, Some(path), _) => tokens::create_file(path),
        (None, None, _) => Err("XDG_RUNTIME_DIR is not set; give the token a name".into()),
        (Some(name), _, Some(folder)) => tokens::create(folder, name),
        (Some(_), _, None) => Err("there is no folder for tokens; set `tokens`".into()),
    };
    match made {
        Ok(path) => {
            say(path.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(error);
            ExitCode::from(EXIT_SETTINGS)
        }
    }
}

fn serve(settings: Settings) -> ExitCode {
    let known = match tokens::read(settings.tokens.as_deref(), token_file().as_deref()) {
        Ok(known) => known,
        Err(error) => {
            complain(error);
            return ExitCode::from(EXIT_SETTINGS);
        }
    };
    let log = match LogWriter::start() {
        Ok(log) => log,
        Err(error) => {
            complain(format_args!("there is no thread for the log: {error}"));
            return ExitCode::from(EXIT_INTERNAL);
        }
    };
    let filter = tracing_subscriber::EnvFilter::new(&settings.log);
    let writer = log.clone();
    // Without colours: the writer escapes every control character, because peers' text may hold some.
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let exit = actix_rt::System::new().block_on(async move {
        // Before the first line on stdout: who reads it may send a signal at once.
        let mut signals = match EndSignals::receive() {
            Ok(signals) => signals,
            Err(error) => {
                complain(format_args!("signals cannot be received: {error}"));
                return ExitCode::from(EXIT_INTERNAL);
            }
        };
        match start(settings, known) {
            Ok(broker) => run(broker, &mut signals).await,
            Err(error) => {
                complain(&error);
                ExitCode::from(exit_of_start(&error))
            }
        }
    });
    log.finish(LOG_PATIENCE);
    exit
}

fn start(settings: Settings, known: actix_ipc::actors::tokens::Tokens) -> Result<BrokerHandle, StartError> {
    let mut builder = Broker::builder()
        .limits(settings.limits)
        .arbiters(settings.arbiters)
        .tokens(known);
    if let Some(tls) = settings.tls {
        builder = builder.tls(tls);
    }
    if settings.listen.is_empty() {
        for endpoint in default_endpoints() {
            builder = builder.listen_default(endpoint);
        }
    }
    for endpoint in settings.listen {
        builder = builder.listen(endpoint);
    }
    builder.start()
}

/// What the process says of itself once it is up; one line per endpoint, for people and programs.
fn announce(broker: &BrokerHandle) {
    for (endpoint, reason) in broker.skipped() {
        complain(format_args!("skipped {endpoint}: {reason}"));
    }
    for endpoint in broker.endpoints() {
        say(format_args!("listening on {endpoint}"));
    }
}

async fn run(broker: BrokerHandle, signals: &mut EndSignals) -> ExitCode {
    announce(&broker);
    let first = tokio::select! {
        reason = broker.ended() => return exit_of_end(&reason),
        signal = signals.next() => signal,
    };
    tracing::info!(
        "{} received: draining; a second signal ends at once",
        first.name()
    );
    let second = tokio::select! {
        reason = broker.stop() => return exit_of_end(&reason),
        signal = signals.next() => signal,
    };
    complain(format_args!(
        "{} received while draining: ending at once",
        second.name()
    ));
    // Not by returning: the runtime would wait for what is being drained.
    std::process::exit(i32::from(second.exit_code()))
}

fn exit_of_end(reason: &EndReason) -> ExitCode {
    match reason {
        EndReason::Drained => ExitCode::SUCCESS,
        EndReason::DrainedExcept(_) => {
            complain(reason);
            ExitCode::SUCCESS
        }
        EndReason::Failed(why) => {
            complain(format_args!("the broker failed: {why}"));
            ExitCode::from(EXIT_INTERNAL)
        }
    }
}

const fn exit_of_start(error: &StartError) -> u8 {
    match error {
        StartError::Bind { .. } | StartError::NoEndpoint(_) => EXIT_CANNOT_LISTEN,
        StartError::NoSystem | StartError::Random(_) => EXIT_INTERNAL,
    }
}
