//! Where the daemon's values come from: defaults, files, environment, flags, and the origin of each.
//!
//! Owns the order of the layers, the names of the keys and the texts of every complaint. It refuses to know what
//! the values do; `ipc-broker` hands them to the broker. Layers are merged with figment, the later one wins:
//!
//! 1. the defaults ([`Limits::default`] and the documented endpoints),
//! 2. `/etc/ipc-broker/config.toml`,
//! 3. `$XDG_CONFIG_HOME/ipc-broker/config.toml` (`~/.config/…`; under Windows `%APPDATA%\ipc-broker\config.toml`),
//! 4. the file of `--config` or `IPC_BROKER_CONFIG`, which must exist,
//! 5. variables `IPC_BROKER_KEY` and `IPC_BROKER_LIMITS__KEY`,
//! 6. flags.

pub mod buses;
mod check;
mod dashboard;
mod dialects;
mod layer;
mod limits;
mod policy;
mod socket;
mod start;
pub mod tokens;

pub use check::{Problem, Problems};
pub use dashboard::DashboardPlace;
pub use policy::load as load_policy;
pub use socket::system_endpoint;

use crate::config::Limits;
use crate::policy::Policy;
use crate::terminal::LogFormat;
use crate::transport::credentials::tcp_peers_are_known;
use crate::transport::dialect::Dialects;
use crate::transport::{Endpoint, TlsServer, UnixOptions};
use figment::Figment;
use layer::Layer;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::path::PathBuf;

/// The prefix of every variable.
pub const PREFIX: &str = "IPC_BROKER_";
/// Variables with the prefix that are no settings: the client's endpoint, and the path of the file itself.
pub const NOT_SETTINGS: [&str; 2] = ["IPC_BROKER_ADDR", "IPC_BROKER_CONFIG"];
/// Most arbiters that can be asked for; each is a thread.
pub const ARBITERS_MAX: usize = 1_024;

/// The keys of the file, with their defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Values {
    /// Empty: the default endpoints.
    listen: Vec<String>,
    arbiters: usize,
    log: String,
    /// `text` or `json`.
    log_format: String,
    /// Buses to host.
    bus: Vec<String>,
    /// Empty: no bus has a token.
    bus_tokens: String,
    /// Older brokers whose usual addresses are listened on as well.
    compat: Vec<String>,
    /// Older brokers whose clients are understood.
    dialects: Vec<String>,
    /// A file or folder that describes services; empty: the usual folder of ipc-broker 1.1.5.
    activation: String,
    /// What starts units; empty: where the system has it.
    systemctl: String,
    /// Address and port of the web page; empty: none.
    dashboard: String,
    /// The page is for everybody who reaches it.
    dashboard_anyone: bool,
    /// Empty: no policy.
    policy: String,
    system: bool,
    /// Empty: the usual folder.
    tokens: String,
    limits: Limits,
    socket: socket::Values,
    tls: TlsFiles,
}

/// The files of a `tls:` endpoint; empty: none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TlsFiles {
    certificate: String,
    client_ca: String,
    key: String,
}

impl Default for Values {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            arbiters: 0,
            log: "info".into(),
            log_format: LogFormat::Text.name().into(),
            bus: Vec::new(),
            bus_tokens: String::new(),
            compat: Vec::new(),
            dialects: dialects::all(),
            activation: String::new(),
            systemctl: String::new(),
            dashboard: String::new(),
            dashboard_anyone: false,
            tokens: String::new(),
            tls: TlsFiles::default(),
            policy: String::new(),
            system: false,
            limits: Limits::default(),
            socket: socket::Values::default(),
        }
    }
}

/// What the flags of the command line ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--listen`, in order; empty when it was not given.
    pub listen: Vec<String>,
    /// `--arbiters`.
    pub arbiters: Option<usize>,
    /// `--log`.
    pub log: Option<String>,
    /// `--log-format`.
    pub log_format: Option<String>,
    /// `--policy`.
    pub policy: Option<PathBuf>,
    /// `--system`; `false` when it was not given.
    pub system: bool,
    /// `--bus`, in order; empty when it was not given.
    pub bus: Vec<String>,
    /// `--bus-tokens`.
    pub bus_tokens: Option<PathBuf>,
    /// `--compat`, in order; empty when it was not given.
    pub compat: Vec<String>,
    /// `--activation`.
    pub activation: Option<PathBuf>,
    /// `--dashboard`.
    pub dashboard: Option<String>,
    /// `--dashboard-anyone`; `false` when it was not given.
    pub dashboard_anyone: bool,
}

/// Everything that values are read from; nothing else is looked at.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Files that are read when they exist, the last one wins.
    pub usual_files: Vec<PathBuf>,
    /// What is at a usual place and is not read, and why, for people.
    pub ignored: Vec<String>,
    /// A file that must exist.
    pub file: Option<PathBuf>,
    /// The environment; variables without [`PREFIX`] are ignored.
    pub environment: Vec<(OsString, OsString)>,
    /// The command line.
    pub flags: Flags,
}

impl Sources {
    /// The files and the environment of this process.
    #[must_use]
    pub fn of_process(file: Option<PathBuf>, flags: Flags) -> Self {
        Self {
            environment: std::env::vars_os().collect(),
            ..Self::at(crate::platform::folders::settings("ipc-broker"), file, flags)
        }
    }

    /// What a service of the system will have: neither variables nor files of whoever registers it.
    #[must_use]
    pub fn of_service(file: Option<PathBuf>, flags: Flags) -> Self {
        let folders = crate::platform::folders::settings_of_services("ipc-broker");
        Self::at(folders, file, flags)
    }

    fn at(folders: Vec<PathBuf>, file: Option<PathBuf>, flags: Flags) -> Self {
        const NAME: &str = "config.toml";
        let disbelieved = crate::platform::folders::disbelieved("ipc-broker", NAME);
        let usual_files = folders
            .into_iter()
            .map(|folder| folder.join(NAME))
            .filter(|path| disbelieved.as_ref().is_none_or(|(other, _)| other != path))
            .collect();
        let ignored = disbelieved.map(|(path, error)| {
            format!(
                "{} is not read, because not only administrators can change it: {error} (docs/configuration.md, \"Where values come from\")",
                path.display()
            )
        });
        Self {
            usual_files,
            ignored: ignored.into_iter().collect(),
            file,
            environment: Vec::new(),
            flags,
        }
    }
}

/// One value of [`Settings::entries`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key, as in `limits.outbox_bytes`.
    pub key: String,
    /// The value, as TOML.
    pub value: String,
    /// Where it came from: `default`, a file's path, a variable or a flag.
    pub origin: String,
}

/// The values in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where to listen because it was asked for; empty: the defaults, see [`default_endpoints`]. A broker for several users has
    /// its own default here already.
    pub listen: Vec<Endpoint>,
    /// Threads for connections beside the first; 0: everything on one.
    pub arbiters: usize,
    /// The filter of the log, in the syntax of tracing-subscriber's `EnvFilter`.
    pub log: String,
    /// How its lines are written.
    pub log_format: LogFormat,
    /// The identifiers of the buses to host; any texts.
    pub bus: Vec<String>,
    /// The file with the tokens of buses, see [`buses::read`].
    pub bus_tokens: Option<PathBuf>,
    /// The older formats that are understood.
    pub dialects: Dialects,
    /// Where the clients of older brokers look: listened on as well.
    pub compat: Vec<Endpoint>,
    /// The file or folder that describes services, see [`read`](crate::activation::read).
    pub activation: Option<PathBuf>,
    /// What starts units of systemd, where it is not at its usual place.
    pub systemctl: Option<PathBuf>,
    /// Where the web page is served, if it is.
    pub dashboard: Option<DashboardPlace>,
    /// The folder of tokens, see [`tokens::read`].
    pub tokens: Option<PathBuf>,
    /// The certificates of `tls:` endpoints.
    pub tls: Option<TlsServer>,
    /// The file with the policy, if there is to be one: see [`load_policy`].
    pub policy: Option<PathBuf>,
    /// It is a broker for several users.
    pub system: bool,
    /// Who may reach its Unix sockets.
    pub socket: UnixOptions,
    /// What connections and the broker may use.
    pub limits: Limits,
    entries: Vec<Entry>,
}

impl Settings {
    /// Reads every source and checks every value.
    ///
    /// # Errors
    /// [`Problems`] lists everything that is wrong, each with its key, its origin and what to write instead.
    pub fn load(sources: &Sources) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let settings = Self::gather(sources, &mut problems);
        Problems::or(settings, problems)
    }

    /// The same, and the policy that the settings name.
    ///
    /// # Errors
    /// [`Problems`] lists everything that is wrong with either.
    pub fn load_with_policy(sources: &Sources) -> Result<(Self, Option<Policy>), Problems> {
        Self::gather_with_policy(sources, |_, _| ())
    }

    /// The same, and a look at what the start would stumble over: files of certificates, folders of sockets and tokens, transports
    /// that this program does not have. Nothing is changed, and whether an address is in use is not asked.
    ///
    /// # Errors
    /// [`Problems`] lists everything that is wrong with any of them.
    pub fn check(sources: &Sources) -> Result<(Self, Option<Policy>), Problems> {
        // Of one file alone, what lies at the usual places is no business.
        let usual = !sources.usual_files.is_empty();
        Self::gather_with_policy(sources, |settings, problems| {
            start::problems(settings, &|key| settings.origin(key), usual, problems);
        })
    }

    fn gather_with_policy(
        sources: &Sources,
        more: impl FnOnce(&Self, &mut Vec<Problem>),
    ) -> Result<(Self, Option<Policy>), Problems> {
        let mut problems = Vec::new();
        let loaded = Self::gather(sources, &mut problems).map(|settings| {
            let policy = match settings.policy.as_deref().map(load_policy) {
                None => None,
                Some(Ok(policy)) => Some(policy),
                Some(Err(wrong)) => {
                    problems.extend(wrong.0);
                    None
                }
            };
            more(&settings, &mut problems);
            (settings, policy)
        });
        Problems::or(loaded, problems)
    }

    /// Whether nobody said where to listen; a broker for several users has its usual place in `listen` all the same.
    #[must_use]
    pub fn listens_by_default(&self) -> bool {
        self.origin("listen") == layer::DEFAULT
    }

    fn origin(&self, key: &str) -> String {
        let entry = self.entries.iter().find(|entry| entry.key == key);
        entry.map_or_else(|| layer::DEFAULT.to_owned(), |entry| entry.origin.clone())
    }

    /// The settings without what is wrong with them; `None` when a source cannot be read at all, because nobody knows then what it
    /// would have said.
    fn gather(sources: &Sources, problems: &mut Vec<Problem>) -> Option<Self> {
        let mut layers = layer::all(sources, problems);
        let unread = !problems.is_empty();
        let mut wrong = Vec::new();
        for layer in &mut layers {
            wrong.extend(check::layer(layer, problems));
        }
        if unread {
            return None;
        }
        let figment = layers.into_iter().fold(Figment::new(), Figment::merge);
        let values: Values = match figment.extract() {
            Ok(values) => values,
            Err(error) => {
                problems.push(check::of_figment(&error));
                return None;
            }
        };
        let origin = |key: &str| {
            figment
                .find_metadata(key)
                .map_or_else(|| layer::DEFAULT.to_owned(), |metadata| metadata.name.to_string())
        };
        let mut found = Vec::new();
        let mut listen = check::values(&values, &origin, &mut found);
        let socket = socket::options(&values, &origin, &mut found);
        let dashboard = dashboard::place(&values, &origin, &mut found);
        check::systemctl(&values, &origin, &mut found);
        let address = dialects::address(&sources.environment);
        let (dialects, compat) = check::dialects(&values, &listen, address, &origin, &mut found);
        // What contradicts a value that was left out may not contradict the one that was meant.
        found.retain(|problem| !wrong.iter().any(|key| problem.is_about(key)));
        problems.append(&mut found);
        if values.system && listen.is_empty() {
            listen.extend(system_endpoint());
        }
        let entries = entries(&values, &origin);
        Some(Self {
            listen,
            arbiters: values.arbiters,
            log: values.log,
            // What is none was complained of.
            log_format: LogFormat::named(&values.log_format).unwrap_or_default(),
            bus: values.bus,
            bus_tokens: some_path(values.bus_tokens),
            dialects,
            compat,
            dashboard,
            activation: some_path(values.activation).or_else(|| {
                let old = dialects.ipc_broker && !values.system;
                old.then(crate::activation::read::usual_folder).flatten()
            }),
            systemctl: some_path(values.systemctl),
            tokens: some_path(values.tokens).or_else(tokens::usual_folder),
            tls: some_path(values.tls.certificate).map(|certificate| TlsServer {
                certificate,
                key: values.tls.key.into(),
                client_ca: some_path(values.tls.client_ca),
            }),
            policy: (!values.policy.is_empty()).then(|| values.policy.into()),
            system: values.system,
            socket,
            limits: values.limits,
            entries,
        })
    }

    /// Every value with its origin; single keys first, then tables, each in alphabetical order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

/// Where a broker listens when nothing was asked for: where clients look, but TCP only where the user of a TCP peer
/// can be told.
#[must_use]
pub fn default_endpoints() -> Vec<Endpoint> {
    let mut endpoints = crate::client::endpoints();
    endpoints.retain(|endpoint| tcp_peers_are_known() || !matches!(endpoint, Endpoint::Tcp(_)));
    endpoints
}

fn some_path(text: String) -> Option<PathBuf> {
    (!text.is_empty()).then(|| text.into())
}

fn entries(values: &Values, origin: &dyn Fn(&str) -> String) -> Vec<Entry> {
    let mut values = values.clone();
    let mut listen_origin = origin("listen");
    if values.listen.is_empty() {
        let usual = match values.system {
            true => system_endpoint().into_iter().collect(),
            false => default_endpoints(),
        };
        values.listen = usual.iter().map(ToString::to_string).collect();
        listen_origin = layer::DEFAULT.to_owned();
    }
    layer::flat(&Layer::of_values(&values))
        .into_iter()
        .map(|(key, value)| {
            let origin = if key == "listen" {
                listen_origin.clone()
            } else {
                origin(&key)
            };
            Entry {
                value: toml(&value),
                key,
                origin,
            }
        })
        .collect()
}

/// A value in TOML; its strings are written as JSON writes them, which TOML reads the same.
fn toml(value: &figment::value::Value) -> String {
    use figment::value::Value;
    match value {
        Value::String(_, text) => serde_json::Value::from(text.as_str()).to_string(),
        Value::Array(_, items) => {
            format!("[{}]", items.iter().map(toml).collect::<Vec<_>>().join(", "))
        }
        Value::Bool(_, value) => value.to_string(),
        Value::Num(_, number) => check::whole(*number).map_or_else(String::new, |number| number.to_string()),
        Value::Char(..) | Value::Empty(..) | Value::Dict(..) => String::new(),
    }
}

#[cfg(test)]
#[path = "settings/settings_tests.rs"]
mod tests;
