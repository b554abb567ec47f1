//! Calls services by name: finds their instances, spreads calls over them, and goes to another one when one is gone.
//!
//! Owns the connections to instances and when the registry is asked again. Which instance it is, is decided in `balance.rs`. Clients
//! use it, and services that call other services.

use super::balance::{Balance, Chosen};
use super::mesh::Instance;
use super::protocol::service_protocol::{self, Commands as _};
use super::protocol::{RegistrySender, ServiceSender, discovery_protocol::Commands as _};
use actix_ipc::client::ConnectError;
use actix_ipc::error::{CallError, ErrorCode};
use actix_ipc::protocol::{ProtocolSender, RpcClient, RpcPool};
use actix_ipc::transport::EndpointError;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Instances that are tried for one call.
const TRIES: usize = 4;
/// What the registry said is not asked for again for this long.
pub(crate) const KNOWN: Duration = Duration::from_secs(1);
/// What reaching an instance may take, and an answer of the registry: one that is stopped accepts, and says nothing.
const REACH: Duration = Duration::from_secs(1);

/// Why a service did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MeshCallError {
    #[error("no instance of `{0}` is there and well: start one with --service {0}")]
    NoInstance(String),
    #[error("the registry does not answer: {0}")]
    Registry(CallError),
    #[error("instance {instance}: {error}")]
    Call { instance: u64, error: CallError },
    #[error("instance {instance} is not reached: {error}")]
    Unreached { instance: u64, error: ConnectError },
    #[error("instance {instance} has registered a place that cannot be called: {error}")]
    Place { instance: u64, error: EndpointError },
}

impl MeshCallError {
    /// Whether the instance has surely not done it: then another one may be asked. A call that may have run is not sent twice.
    const fn is_undone(&self) -> bool {
        match self {
            Self::Call { error, .. } => {
                !error.may_have_run
                    && matches!(
                        error.code,
                        ErrorCode::NotConnected
                            | ErrorCode::BrokerGone
                            | ErrorCode::Draining
                            | ErrorCode::Overloaded
                    )
            }
            Self::Unreached { .. } | Self::Place { .. } => true,
            Self::NoInstance(_) | Self::Registry(_) => false,
        }
    }

    /// Whether others should not be sent there.
    fn is_absent(&self) -> bool {
        let lost = |code| matches!(code, ErrorCode::BrokerGone | ErrorCode::Deadline);
        self.is_undone() || matches!(self, Self::Call { error, .. } if lost(error.code))
    }
}

/// The registry, for questions that do not wait for one that is stopped.
pub(crate) fn briefly(registry: &RegistrySender) -> RegistrySender {
    RegistrySender::new(registry.caller().clone().with_deadline(REACH))
}

/// Calls by name.
#[derive(Clone)]
pub(crate) struct Mesh(Arc<Shared>);

struct Shared {
    registry: RegistrySender,
    pool: RpcPool,
    /// What a call may take. Who calls on behalf of a caller must be less patient than that one is.
    patience: Duration,
    /// After which time the registry's word is asked for anew.
    fresh: Duration,
    known: Mutex<BTreeMap<String, Known>>,
}

#[derive(Default)]
struct Known {
    balance: Balance,
    asked: Option<Instant>,
}

impl Mesh {
    pub(crate) fn new(registry: &RegistrySender, patience: Duration, fresh: Duration) -> Self {
        Self(Arc::new(Shared {
            registry: briefly(registry),
            pool: RpcPool::new(),
            patience,
            fresh,
            known: Mutex::default(),
        }))
    }

    /// Has some instance of a service do something.
    pub(crate) async fn call(
        &self,
        service: &str,
        task: &str,
        input: &str,
    ) -> Result<service_protocol::call::Response, MeshCallError> {
        let mut last = None;
        for _ in 0..TRIES {
            let Some(chosen) = self.choose(service).await? else {
                break;
            };
            let outcome = self.call_at(&chosen.about, task, input).await;
            if matches!(&outcome, Err(error) if error.is_absent()) {
                self.known(service, |known| known.balance.failed(chosen.about.id));
            }
            match outcome {
                Err(error) if error.is_undone() => last = Some(error),
                ended => return ended,
            }
        }
        Err(last.unwrap_or_else(|| MeshCallError::NoInstance(service.to_owned())))
    }

    async fn call_at(
        &self,
        instance: &Instance,
        task: &str,
        input: &str,
    ) -> Result<service_protocol::call::Response, MeshCallError> {
        let id = instance.id;
        let place = instance.endpoint.parse();
        let place = place.map_err(|error| MeshCallError::Place { instance: id, error })?;
        // One connection to each instance, which all calls share.
        // An instance that is gone does not come back: who starts again gets another number.
        let once = RpcClient::<ServiceSender>::builder()
            .reconnect(false)
            .connect_timeout(REACH)
            .deadline(self.0.patience);
        let sender = self.0.pool.client_with(once, place).await;
        let sender = sender.map_err(|error| MeshCallError::Unreached { instance: id, error })?;
        let answer = sender.call(task.to_owned(), input.to_owned()).await;
        answer.map_err(|error| MeshCallError::Call { instance: id, error })
    }

    /// An instance that is believed to be well. When the registry's word is old, it is asked beside the call and what it said last is used
    /// meanwhile: a registry that is gone or stopped keeps nobody from instances that are well. Only who knows of none waits for it.
    async fn choose(&self, service: &str) -> Result<Option<Chosen>, MeshCallError> {
        let fresh = self.0.fresh;
        let (chosen, old) = self.known(service, |known| {
            let old = known.asked.is_none_or(|asked| asked.elapsed() >= fresh);
            if old {
                // One asks for all.
                known.asked = Some(Instant::now());
            }
            (known.balance.choose(), old)
        });
        if chosen.is_none() {
            self.ask(service).await.map_err(MeshCallError::Registry)?;
            return Ok(self.known(service, |known| known.balance.choose()));
        }
        if old {
            let (mesh, service) = (self.clone(), service.to_owned());
            // Whatever comes of it, it is asked again when its word is old again.
            tokio::spawn(async move { mesh.ask(&service).await });
        }
        Ok(chosen)
    }

    /// Has the registry say who is there.
    async fn ask(&self, service: &str) -> Result<(), CallError> {
        let found = self.0.registry.discover(service.to_owned()).await?.instances;
        self.known(service, |known| known.balance.update(found));
        Ok(())
    }

    fn known<T>(&self, service: &str, work: impl FnOnce(&mut Known) -> T) -> T {
        let mut known: MutexGuard<'_, BTreeMap<String, Known>> =
            self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        work(known.entry(service.to_owned()).or_default())
    }
}
