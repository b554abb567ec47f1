//! The service manager that may have started the daemon: it is told how things are, and the watchdog is fed.
//!
//! Owns what counts as alive: a client that comes in as any other, through accept, handshake and Registry, gets its answer. Who is told, and
//! how, is `platform::manager`'s.

use super::complain;
use actix_ipc::actors::BrokerHandle;
use actix_ipc::client::{ConnectError, IpcClient, SharedMemory};
use actix_ipc::error::{CallError, CloseReason, ErrorCode};
use actix_ipc::message::Payload;
use actix_ipc::platform::manager::{Manager, State};
use actix_ipc::platform::open_files;
use actix_ipc::transport::Endpoint;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// The object that every broker has, and a method that costs it nothing.
const PROBED: (&str, &str) = ("sys.broker", "ping");

/// Whoever started this process. What is wrong with its variables is said, and is no reason not to start.
pub(crate) fn find() -> Manager {
    Manager::from_environment().unwrap_or_else(|error| {
        complain(format_args!("the service manager is told nothing: {error}"));
        Manager::default()
    })
}

/// Between two attempts to tell a manager that does not read, and how often it is tried.
const AGAIN: (Duration, u32) = (Duration::from_millis(50), 200);

/// Tells it. That it does not listen changes nothing here, and nobody waits for it.
pub(crate) fn tell(manager: &Rc<Manager>, state: &State<'_>) {
    if !taken(manager.tell(state)) {
        let manager = manager.clone();
        actix_rt::spawn(async move {
            let mut again = interval(AGAIN.0);
            for _ in 0..AGAIN.1 {
                again.tick().await;
                if taken(manager.go_on()) {
                    return;
                }
            }
            tracing::warn!("the service manager does not read what it is told");
        });
    }
}

fn taken(told: std::io::Result<bool>) -> bool {
    told.unwrap_or_else(|error| {
        tracing::warn!(%error, "the service manager could not be told");
        true
    })
}

/// What people see of a broker that is up.
pub(crate) fn status(broker: &BrokerHandle) -> String {
    let all: Vec<String> = broker.endpoints().iter().map(ToString::to_string).collect();
    let connections = broker.levels().connections;
    let plural = if connections == 1 { "" } else { "s" };
    format!(
        "listening on {}; {connections} connection{plural}",
        all.join(", ")
    )
}

/// Feeds the watchdog until it is dropped.
#[derive(Debug)]
pub(crate) struct Feeding(Option<JoinHandle<()>>);

impl Feeding {
    /// Begins, if anybody wants it.
    pub(crate) fn start(manager: &Rc<Manager>, broker: &BrokerHandle) -> Self {
        let (manager, broker) = (manager.clone(), broker.clone());
        Self(
            manager
                .watchdog()
                .map(|patience| actix_rt::spawn(async move { feed(&manager, &broker, patience / 2).await })),
        )
    }
}

impl Drop for Feeding {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// Looks after the broker twice in the time that the manager waits, and more often as long as there is no answer.
async fn feed(manager: &Rc<Manager>, broker: &BrokerHandle, every: Duration) {
    let mut ticks = interval(every.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // Before the probe, which is a connection as well.
        let status = status(broker);
        let answered = timeout(every, probe(broker)).await;
        match answered.unwrap_or_else(|_| Err("no answer in time".into())) {
            Ok(()) => tell(manager, &State::Alive(&status)),
            Err(error) => {
                tracing::error!("the watchdog is not fed: {error}");
                ticks.reset_after(every / 4);
            }
        }
    }
}

/// Whether the broker answers somebody who comes in.
///
/// # Errors
/// What did not work.
async fn probe(broker: &BrokerHandle) -> Result<(), String> {
    let near = |endpoint: &&Endpoint| matches!(endpoint, Endpoint::Unix(_) | Endpoint::Pipe(_));
    let loopback = |endpoint: &&Endpoint| matches!(endpoint, Endpoint::Tcp(_));
    let all = broker.endpoints();
    let Some(endpoint) = all.iter().find(near).or_else(|| all.iter().find(loopback)) else {
        // Over TLS it would have to prove who it is.
        return ask_inside(broker).await;
    };
    let connecting = IpcClient::builder()
        .endpoint(endpoint.clone())
        .name("watchdog")
        .reconnect(false)
        .shared_memory(SharedMemory::Never)
        .connect();
    match connecting.await {
        Ok(client) => {
            let ping = client.call(PROBED.0, PROBED.1).send::<_, String>(&());
            answer(ping.await.map(drop))
        }
        // The policy or a limit keeps this user out, then accept has answered; or clients have taken all descriptors of this process, which
        // a new start would cost all of them. The rest is asked from inside.
        Err(error) if is_a_rule(&error) || open_files::is_exhausted() => ask_inside(broker).await,
        Err(error) => Err(error.to_string()),
    }
}

fn is_a_rule(error: &ConnectError) -> bool {
    let reason = error.refusal.as_ref().map(|refusal| refusal.reason);
    matches!(reason, Some(CloseReason::Denied | CloseReason::TooMany))
}

async fn ask_inside(broker: &BrokerHandle) -> Result<(), String> {
    let asked = async {
        let local = broker.local("watchdog")?;
        local.call(PROBED.0, PROBED.1, Payload::default()).await
    };
    answer(asked.await.map(drop))
}

/// A denial comes from Registry, as an answer does.
fn answer(answered: Result<(), CallError>) -> Result<(), String> {
    match answered {
        Err(error) if error.code != ErrorCode::Denied => Err(error.to_string()),
        _ => Ok(()),
    }
}
