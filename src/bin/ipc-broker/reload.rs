//! Reading the settings again while the broker runs.
//!
//! Owns what may change without a restart (the policy, the tokens, the descriptions of services, the log's filter), and that a reading that fails changes nothing at all:
//! broken, unreadable and untrusted files leave everything as it is, loudly.

use super::{described, load};
use actix_ipc::activation::Services;
use actix_ipc::actors::BrokerHandle;
use actix_ipc::actors::tokens::Tokens;
use actix_ipc::client::token_file;
use actix_ipc::policy::Policy;
use actix_ipc::settings::{Entry, Settings, Sources, tokens};
use tokio::sync::oneshot;

/// Sets the filter of the log.
pub(crate) type SetLog = Box<dyn Fn(&str) -> Result<(), String>>;

/// What one reading found: all of it, or everything that is wrong with any of it.
pub(crate) type Read = Result<Found, Vec<String>>;

/// What was read.
pub(crate) struct Found {
    settings: Settings,
    policy: Option<Policy>,
    known: Tokens,
    services: Services,
}

/// Settings that take effect at once.
const AT_ONCE: [&str; 4] = ["log", "policy", "tokens", "activation"];

/// What is in force, and how to read it again.
pub(crate) struct Reload {
    sources: Sources,
    /// Those of the start, which hold until the next one.
    entries: Vec<Entry>,
    has_policy: bool,
    log: String,
    set_log: SetLog,
}

impl Reload {
    pub(crate) fn new(sources: Sources, settings: &Settings, set_log: SetLog) -> Self {
        Self {
            sources,
            entries: settings.entries().to_vec(),
            has_policy: settings.policy.is_some(),
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
                for problem in &problems {
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
        broker.set_tokens(known);
        tracing::info!(
            services = services.all().len(),
            "the descriptions of services were read again and are in force"
        );
        broker.set_services(services);
        match policy {
            Some(policy) => {
                tracing::info!(
                    rules = policy.rules().len(),
                    "the policy was read again and is in force"
                );
                broker.set_policy(policy);
                self.has_policy = true;
            }
            None if self.has_policy => {
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
    let (settings, policy) =
        load(sources).map_err(|wrong| wrong.0.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    let known = tokens::read(settings.tokens.as_deref(), token_file().as_deref());
    match (known, described::services(&settings)) {
        (Ok(known), Ok(services)) => Ok(Found {
            settings,
            policy,
            known,
            services,
        }),
        (known, services) => {
            let wrong = known
                .err()
                .into_iter()
                .map(|wrong| format!("the tokens: {wrong}"));
            Err(wrong.chain(services.err().into_iter().flatten()).collect())
        }
    }
}

fn nothing_changed() {
    tracing::error!("everything stays as it was, the policy too; mend this and have it read again as before");
}
