//! Reading the settings again while the broker runs.
//!
//! Owns what may change without a restart (the policy, the tokens, the descriptions of services, the log's filter), and that a reading that fails changes nothing at all:
//! broken, unreadable and untrusted files leave everything as it is, loudly.

use super::{load, services};
use actix_ipc::activation::Services;
use actix_ipc::actors::BrokerHandle;
use actix_ipc::actors::tokens::Tokens;
use actix_ipc::client::token_file;
use actix_ipc::policy::Policy;
use actix_ipc::settings::{Entry, Problems, Settings, Sources, tokens};
use tokio::sync::oneshot;

/// Sets the filter of the log.
pub(crate) type SetLog = Box<dyn Fn(&str) -> Result<(), String>>;

/// What one reading found: nothing unless settings and policy are good.
pub(crate) type Read = Result<Found, Problems>;

/// What was read. Tokens and services may fail by themselves.
pub(crate) struct Found {
    settings: Settings,
    policy: Option<Policy>,
    known: Result<Tokens, String>,
    services: Result<Services, Vec<String>>,
}

/// Settings that take effect at once.
const AT_ONCE: [&str; 4] = ["log", "policy", "tokens", "activation"];

/// What is in force, and how to read it again.
pub(crate) struct Reload {
    sources: Sources,
    entries: Vec<Entry>,
    log: String,
    set_log: SetLog,
}

impl Reload {
    pub(crate) fn new(sources: Sources, settings: &Settings, set_log: SetLog) -> Self {
        Self {
            sources,
            entries: settings.entries().to_vec(),
            log: settings.log.clone(),
            set_log,
        }
    }

    /// Begins to read everything again, on a thread where a slow file system keeps nobody waiting. The environment and the
    /// flags are those of the start.
    ///
    /// The thread is not one of tokio's: it is gone when it has read, and an end of the broker does not wait for it.
    pub(crate) fn read(&self) -> oneshot::Receiver<Read> {
        let (found, reading) = oneshot::channel();
        let sources = self.sources.clone();
        let task = move || {
            // Nobody waits any more when the broker ends meanwhile.
            let _ = found.send(read(&sources));
        };
        if let Err(error) = std::thread::Builder::new().name("reload".into()).spawn(task) {
            tracing::error!(%error, "there is no thread to read the settings on");
        }
        reading
    }

    /// Puts in force what was read.
    pub(crate) fn apply(&mut self, read: Result<Read, oneshot::error::RecvError>, broker: &BrokerHandle) {
        let found = match read {
            Ok(Ok(found)) => found,
            Ok(Err(problems)) => {
                for problem in &problems.0 {
                    tracing::error!("not reloaded: {problem}");
                }
                return nothing_changed();
            }
            Err(_) => {
                tracing::error!("not reloaded: the reading came to no end");
                return nothing_changed();
            }
        };
        let Found {
            settings,
            policy,
            known,
            services,
        } = found;
        match known {
            Ok(known) => broker.set_tokens(known),
            Err(error) => tracing::error!("the tokens were not read again, those in force stay: {error}"),
        }
        describe(services, broker);
        match policy {
            Some(policy) => {
                tracing::info!(
                    rules = policy.rules().len(),
                    "the policy was read again and is in force"
                );
                broker.set_policy(policy);
            }
            None if self.had_policy() => {
                tracing::error!(
                    "the settings name no policy any more; the one in force stays until a restart"
                );
            }
            None => {}
        }
        self.note_the_rest(&settings);
        if settings.log != self.log {
            match (self.set_log)(&settings.log) {
                Ok(()) => self.log = settings.log,
                Err(error) => tracing::error!(%error, "the filter of the log could not be changed"),
            }
        }
    }

    fn had_policy(&self) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.key == "policy" && entry.value != "\"\"")
    }

    /// What else is different takes a restart, and is not to be taken for granted.
    fn note_the_rest(&self, settings: &Settings) {
        let before = |key: &str| {
            self.entries
                .iter()
                .find(|entry| entry.key == key)
                .map(|entry| &entry.value)
        };
        let all = settings.entries().iter();
        let different = all.filter(|entry| before(&entry.key) != Some(&entry.value));
        for entry in different.filter(|entry| !AT_ONCE.contains(&entry.key.as_str())) {
            tracing::warn!(
                "{} = {} takes effect at the next start only",
                entry.key,
                entry.value
            );
        }
    }
}

fn read(sources: &Sources) -> Read {
    let (settings, policy) = load(sources)?;
    let known = tokens::read(settings.tokens.as_deref(), token_file().as_deref());
    let services = services(&settings);
    Ok(Found {
        settings,
        policy,
        known,
        services,
    })
}

fn describe(services: Result<Services, Vec<String>>, broker: &BrokerHandle) {
    match services {
        Ok(services) => {
            let count = services.all().len();
            tracing::info!(
                services = count,
                "the descriptions of services were read again and are in force"
            );
            broker.set_services(services);
        }
        Err(wrong) => {
            for wrong in wrong {
                tracing::error!(
                    "the descriptions of services were not read again, those in force stay: {wrong}"
                );
            }
        }
    }
}

fn nothing_changed() {
    tracing::error!("everything stays as it was, the policy too; mend this and send SIGHUP again");
}
