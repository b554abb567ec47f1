//! The daemon: reads settings, starts a broker, waits for its end or a signal.
//!
//! Owns the command line, the log, the signals and the exit codes; `docs/configuration.md` has the table. What a
//! broker does is in the library: this file only starts and stops it.

use actix_ipc::activation::Services;
use actix_ipc::actors::{Broker, BrokerHandle, StartError};
use actix_ipc::client::token_file;
use actix_ipc::platform::open_files;
use actix_ipc::platform::passed::{self, Passed};
use actix_ipc::platform::signals::{self, EndSignals, ReloadSignal};
use actix_ipc::policy::Policy;
use actix_ipc::settings::{ARBITERS_MAX, Flags, Problems, Settings, Sources, default_endpoints, tokens};
use actix_ipc::terminal::printable;
use actix_ipc::transport::BindError;
use clap::builder::UnknownArgumentValueParser;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;

#[path = "ipc-broker/buses.rs"]
mod buses;
#[path = "ipc-broker/described.rs"]
mod described;
#[path = "ipc-broker/logging.rs"]
mod logging;
#[path = "ipc-broker/manager.rs"]
mod manager;
#[path = "ipc-broker/policies.rs"]
mod policies;
#[path = "ipc-broker/reload.rs"]
mod reload;
#[path = "ipc-broker/run.rs"]
mod run;
#[path = "ipc-broker/service.rs"]
mod service;
#[path = "ipc-broker/slips.rs"]
mod slips;
#[path = "ipc-broker/voice.rs"]
mod voice;
#[path = "ipc-broker/web.rs"]
mod web;

use reload::Reload;
use run::Around;
use service::Service;
use voice::{complain, say};

/// It ended as it should.
const EXIT_IN_ORDER: u8 = 0;
/// The broker failed: its panic budget is spent, or the system refuses what it needs.
const EXIT_INTERNAL: u8 = 70;
/// No endpoint, or not one that was asked for, could be opened.
const EXIT_CANNOT_LISTEN: u8 = 73;
/// The settings are wrong.
const EXIT_SETTINGS: u8 = 78;

/// Descriptors that a broker may open when the system allows it: 16,384 connections, and attachments beside them.
const OPEN_FILES: u64 = 65_536;

const EXAMPLES: &str = "\
Examples:
  ipc-broker                                   listen in the usual places
  ipc-broker --listen unix:/run/app/b.sock     listen there and nowhere else
  ipc-broker --listen tcp:127.0.0.1:0 --log debug
  ipc-broker config show                       every value, and where it came from
  ipc-broker config check broker.toml          what is wrong with a file
  ipc-broker --bus com.solar                   host a label bus as well
  ipc-broker --compat ipc-server               clients of that broker find this one, too
  ipc-broker --activation services.toml        start services when somebody calls them
  ipc-broker --dashboard 127.0.0.1:5180        a web page of the broker, for its own user
  ipc-broker token create thermometer          a token that proves who shows it to be thermometer
  ipc-broker --system --policy policy.toml     a broker for several users
  ipc-broker config check --policy policy.toml what a policy says, or what is wrong with it
  ipc-broker policy explain --policy policy.toml --uid 1000 call math add
  ipc-broker service install --policy policy.toml   as a service of Windows

Files: /etc/ipc-broker/config.toml, then $XDG_CONFIG_HOME/ipc-broker/config.toml, then --config; under Windows
%ProgramData%\\ipc-broker\\config.toml, then %APPDATA%\\ipc-broker\\config.toml.
Variables: IPC_BROKER_LISTEN, IPC_BROKER_ARBITERS, IPC_BROKER_LOG, IPC_BROKER_LIMITS__OUTBOX_BYTES and so on.
systemd: READY and the watchdog (NOTIFY_SOCKET, WATCHDOG_USEC), sockets that are passed (LISTEN_FDS).
SIGTERM or SIGINT ends it in order, a second one at once. SIGHUP reads policy, tokens, services and log filter again.
Exit codes: 0 ended in order, 1 (policy explain) denied, 2 usage, 70 internal, 73 cannot listen, 78 settings, 130/143 second signal.";

/// A supervised message broker for the programs of this machine.
#[derive(Clone, Debug, Parser)]
#[command(name = "ipc-broker", version = concat!(env!("CARGO_PKG_VERSION"), " (protocol 1)"), after_help = EXAMPLES)]
struct Arguments {
    /// Where to listen: unix:/path, tcp:host:port, tls:host:port or pipe:name. May be given several times; replaces the defaults.
    #[arg(long, value_name = "ENDPOINT", global = true)]
    listen: Vec<String>,
    /// A file of settings (TOML), read after the usual ones.
    #[arg(long, value_name = "FILE", global = true, env = "IPC_BROKER_CONFIG")]
    config: Option<PathBuf>,
    /// Threads for connections beside the first; 0 keeps everything on one.
    #[arg(
        long,
        value_name = "N",
        global = true,
        allow_negative_numbers = true,
        value_parser = |text: &str| text.parse::<usize>().map_err(|_| format!("a whole number from 0 to {ARBITERS_MAX}"))
    )]
    arbiters: Option<usize>,
    /// What to log: error, warn, info, debug, trace or a filter such as actix_ipc=debug.
    #[arg(long, value_name = "FILTER", global = true)]
    log: Option<String>,
    /// How the log is written: text, or json with one object a line.
    #[arg(long, value_name = "FORMAT", global = true)]
    log_format: Option<String>,
    /// A file that says who may do what (TOML); without one the broker serves its own user and root.
    #[arg(long, value_name = "FILE", global = true)]
    policy: Option<PathBuf>,
    /// Serve several users, under a policy: listen on /run/ipc-broker/ipc_broker.sock; on Windows --listen says where.
    #[arg(long, global = true)]
    system: bool,
    /// Host this label bus as well, unless another process does; it is taken over when that one ends. May be given several times.
    #[arg(long, value_name = "IDENTIFIER", global = true)]
    bus: Vec<String>,
    /// A file with the tokens of buses, which only this user can read: lines "identifier" = "token".
    #[arg(long, value_name = "FILE", global = true)]
    bus_tokens: Option<PathBuf>,
    /// Listen as well where clients of this older broker look: ipc-server (tcp:127.0.0.1:1986) or ipc-broker (tcp:127.0.0.1:5123). May
    /// be given several times.
    #[arg(long, value_name = "BROKER", global = true)]
    compat: Vec<String>,
    /// A file, or a folder of files, that says which services provide which objects; they start when somebody calls.
    #[arg(long, value_name = "PATH", global = true)]
    activation: Option<PathBuf>,
    /// Serve a web page of the broker at this address, as in 127.0.0.1:5180, for those who may monitor it. (Feature `dashboard`.)
    #[arg(long, value_name = "ADDRESS:PORT", global = true)]
    dashboard: Option<String>,
    /// The page of --dashboard is for everybody who reaches its address, other users and other machines, without any question.
    #[arg(long, global = true)]
    dashboard_anyone: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Look at the settings instead of starting a broker.
    #[command(subcommand)]
    Config(Config),
    /// Tokens: what a client shows where the system does not say who it is.
    #[command(subcommand)]
    Token(Tokens),
    /// Ask a policy instead of starting a broker.
    #[command(subcommand)]
    Policy(Ask),
    /// The broker as a service of Windows.
    #[command(subcommand)]
    Service(Service),
}

#[derive(Clone, Debug, Subcommand)]
enum Tokens {
    /// Make a token and print the path of its file, which only this user can read. A broker that runs reads it at SIGHUP.
    Create {
        /// Whom it proves. Without it: this user's own token, which clients of this user find by themselves.
        name: Option<String>,
    },
}

#[derive(Clone, Debug, Subcommand)]
enum Ask {
    /// Say whether something is allowed, and by which rule.
    Explain(Question),
}

/// Who asks for what.
#[derive(Clone, Debug, Args)]
struct Question {
    /// The user's number; without it, and without --sid, the user is unknown.
    #[arg(long, allow_negative_numbers = true)]
    uid: Option<u32>,
    /// The user's SID, under Windows.
    #[arg(long)]
    sid: Option<String>,
    /// What is often typed instead.
    #[arg(long = "user", hide = true, value_parser = UnknownArgumentValueParser::suggest("a user is said with --uid NUMBER or --sid SID, a proven name with --name NAME"))]
    _user: Option<String>,
    /// A group that the peer has, its effective one first; without any the groups are unknown.
    #[arg(long, allow_negative_numbers = true)]
    gid: Vec<u32>,
    /// A name that the peer has proven.
    #[arg(long)]
    name: Option<String>,
    /// connect, own, call, publish, subscribe or monitor.
    right: String,
    /// The object's name.
    object: Option<String>,
    /// The method or event.
    member: Option<String>,
}

#[derive(Clone, Debug, Subcommand)]
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
    let mut arguments = slips::parse(std::env::args_os()).unwrap_or_else(|error| error.exit());
    ExitCode::from(match arguments.command.take() {
        Some(Command::Service(Service::Remove(named))) => service::remove(&named),
        Some(Command::Service(Service::Run(run))) => service::run(&run, || execute(arguments)),
        command => {
            arguments.command = command;
            execute(arguments)
        }
    })
}

fn flags(arguments: &Arguments) -> Flags {
    let arguments = arguments.clone();
    Flags {
        listen: arguments.listen,
        arbiters: arguments.arbiters,
        log: arguments.log,
        log_format: arguments.log_format,
        policy: arguments.policy,
        system: arguments.system,
        bus: arguments.bus,
        bus_tokens: arguments.bus_tokens,
        compat: arguments.compat,
        activation: arguments.activation,
        dashboard: arguments.dashboard,
        dashboard_anyone: arguments.dashboard_anyone,
    }
}

/// Does what the command line says, with the settings that are in force for it.
fn execute(arguments: Arguments) -> u8 {
    let flags = flags(&arguments);
    let sources = match &arguments.command {
        Some(Command::Config(Config::Check { file: Some(file) })) => Sources {
            file: Some(file.clone()),
            flags: Flags {
                policy: flags.policy,
                ..Flags::default()
            },
            ..Sources::default()
        },
        Some(Command::Service(Service::Install(_))) => Sources::of_service(arguments.config.clone(), flags),
        _ => Sources::of_process(arguments.config.clone(), flags),
    };
    sources.ignored.iter().for_each(complain);
    if let Some(Command::Service(Service::Install(install))) = &arguments.command {
        let checked = Settings::check(&sources).map(|(_, policy)| policy.is_some());
        return service::install(&arguments, install, checked);
    }
    let checking = matches!(arguments.command, Some(Command::Config(Config::Check { .. })));
    let loaded = match checking {
        true => Settings::check(&sources),
        false => load(&sources),
    };
    let (settings, policy) = match loaded {
        Ok(loaded) => loaded,
        Err(problems) => {
            problems.0.iter().for_each(complain);
            return EXIT_SETTINGS;
        }
    };
    match arguments.command {
        Some(Command::Config(Config::Show)) => show(&settings),
        Some(Command::Config(Config::Check { .. })) => {
            // What is left out of the descriptions is no fault, but worth a word.
            let services = described::services(&settings).unwrap_or_default();
            say("the settings are in order");
            if let Some(path) = &settings.activation {
                say(format_args!(
                    "services described in {}: {}",
                    printable(&path.display().to_string()),
                    described::counted(&services)
                ));
            }
            policy.iter().for_each(policies::show);
            EXIT_IN_ORDER
        }
        Some(Command::Token(Tokens::Create { name })) => create_token(&settings, name.as_deref()),
        Some(Command::Policy(Ask::Explain(question))) => policies::explain(policy.as_ref(), &question),
        Some(Command::Service(_)) | None => serve(settings, policy, sources),
    }
}

/// The settings, and the policy that they name: everything that is wrong with either, at once.
fn load(sources: &Sources) -> Result<(Settings, Option<Policy>), Problems> {
    Settings::load_with_policy(sources)
}

fn show(settings: &Settings) -> u8 {
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
    EXIT_IN_ORDER
}

fn create_token(settings: &Settings, name: Option<&str>) -> u8 {
    let made = match (name, token_file(), &settings.tokens) {
        (None, Some(path), _) => tokens::create_file(path),
        (None, None, _) => {
            Err("a token without a name is for $XDG_RUNTIME_DIR, which is not set; give it a name".into())
        }
        (Some(name), _, Some(folder)) => tokens::create(folder, name),
        (Some(_), _, None) => Err("there is no folder for tokens; set `tokens`".into()),
    };
    match made {
        Ok(path) => {
            say(path.display());
            EXIT_IN_ORDER
        }
        Err(error) => {
            complain(error);
            EXIT_SETTINGS
        }
    }
}

fn serve(settings: Settings, policy: Option<Policy>, sources: Sources) -> u8 {
    let known = match tokens::read(settings.tokens.as_deref(), token_file().as_deref()) {
        Ok(known) => known,
        Err(error) => {
            complain(error);
            return EXIT_SETTINGS;
        }
    };
    let buses = match actix_ipc::settings::buses::read(&settings.bus, settings.bus_tokens.as_deref()) {
        Ok(buses) => buses,
        Err(error) => {
            complain(error);
            return EXIT_SETTINGS;
        }
    };
    let services = match described::services(&settings) {
        Ok(services) => services,
        Err(wrong) => {
            wrong.iter().for_each(complain);
            return EXIT_SETTINGS;
        }
    };
    open_files::raise(OPEN_FILES);
    let set_log = match logging::start(&settings) {
        Ok(set_log) => set_log,
        Err(error) => {
            complain(format_args!("there is no thread for the log: {error}"));
            return EXIT_INTERNAL;
        }
    };
    let passed = match passed::take() {
        Ok(passed) => passed,
        Err(error) => {
            complain(format_args!("cannot listen: {error}"));
            voice::finish();
            return EXIT_CANNOT_LISTEN;
        }
    };
    let exit = actix_rt::System::new().block_on(async move {
        // Before the first line on stdout: who reads it may send a signal at once.
        let received =
            signals::notice_children().and_then(|()| Ok((EndSignals::receive()?, ReloadSignal::receive()?)));
        let (signals, hangup) = match received {
            Ok(signals) => signals,
            Err(error) => {
                complain(format_args!("signals cannot be received: {error}"));
                return EXIT_INTERNAL;
            }
        };
        let around = Around {
            signals,
            hangup,
            reload: Reload::new(sources, &settings, set_log),
            manager: Rc::new(manager::find()),
        };
        let limits = settings.limits.clone();
        let place = settings.dashboard;
        match start(settings, policy, known, services, passed) {
            Ok(broker) => run::host(broker, place, &buses, &limits, around).await,
            Err(error) => {
                complain(&error);
                exit_of_start(&error)
            }
        }
    });
    voice::finish();
    exit
}

fn start(
    settings: Settings,
    policy: Option<Policy>,
    known: actix_ipc::actors::tokens::Tokens,
    services: Services,
    passed: Vec<Passed>,
) -> Result<BrokerHandle, StartError> {
    // What is passed stands in the place of a default, and beside what was asked for.
    let in_its_place = settings.listens_by_default() && !passed.is_empty();
    let mut builder = Broker::builder()
        .limits(settings.limits)
        .arbiters(settings.arbiters)
        .unix_sockets(settings.socket)
        .dialects(settings.dialects)
        .services(services)
        .tokens(known);
    if let Some(policy) = policy {
        builder = builder.policy(policy);
    }
    if let Some(systemctl) = settings.systemctl {
        builder = builder.systemctl(systemctl);
    }
    if let Some(tls) = settings.tls {
        builder = builder.tls(tls);
    }
    let listen = match in_its_place {
        true => Vec::new(),
        false => settings.listen,
    };
    builder = builder.passed(passed);
    if listen.is_empty() {
        for endpoint in default_endpoints() {
            builder = builder.listen_default(endpoint);
        }
    }
    for endpoint in listen.into_iter().chain(settings.compat) {
        builder = builder.listen(endpoint);
    }
    builder.start()
}

const fn exit_of_start(error: &StartError) -> u8 {
    match error {
        // No other program and no other day would make a difference.
        StartError::Bind {
            source: BindError::NotLoopback { .. } | BindError::Unsupported { .. },
            ..
        } => EXIT_SETTINGS,
        StartError::Bind { .. } | StartError::Passed(_) | StartError::NoEndpoint(_) => EXIT_CANNOT_LISTEN,
        StartError::NoSystem | StartError::Random(_) => EXIT_INTERNAL,
    }
}
