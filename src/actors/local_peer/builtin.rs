//! The broker's own objects: `rob`, which old clients ask what there is, and `sys.broker`, which tells how the broker is.
//!
//! One actor serves both, through a local peer like any other. Started by Broker before it listens, so that nobody can take the names.
//!
//! | object | method | answer, in JSON |
//! |---|---|---|
//! | `rob` | `listObjects` | the names of all objects, sorted, without those of the broker that begin with `sys.` |
//! | `rob` | any other | `null` |
//! | `sys.broker` | `status` | `epoch`, `version`, `protocol`, `uptime_ms`, `endpoints`, `metrics`, `accounts` |
//! | `sys.broker` | `ping` | `"pong"` |

use super::LocalPeer;
use super::handle::LocalHandle;
use super::object_call::ObjectCall;
use super::options::ServeOptions;
use super::port::{Port, PortOwner};
use crate::actors::core::{Core, Shared};
use crate::error::{CallError, ErrorCode};
use crate::message::metadata::RESERVED_PREFIX;
use crate::message::{PROTOCOL_VERSION, PeerId};
use crate::transport::Endpoint;
use actix::{Actor, Context, Handler};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Instant;

/// The object of the old broker.
const ROB: &str = "rob";
/// The object that tells how the broker is.
const STATUS: &str = "sys.broker";

/// Starts the broker's own objects; when it returns, Registry has been told of them.
pub(in crate::actors) fn start(core: &Arc<Core>, endpoints: Vec<Endpoint>) {
    let port = Port::new(core.shared.limits.clone());
    let local = LocalHandle::new(port.clone(), "broker");
    let builtin = Builtin {
        local: local.clone(),
        shared: core.shared.clone(),
        endpoints,
        started: Instant::now(),
    };
    let addr = builtin.start();
    for object in [ROB, STATUS] {
        let registering = local.register(object, addr.clone().recipient(), ServeOptions::default());
        if let Err(error) = registering {
            tracing::error!(object, %error, "the broker could not register its own object");
        }
    }
    let core = core.clone();
    LocalPeer::create(move |ctx| LocalPeer::new(core, PeerId::BROKER, "broker", PortOwner(port), ctx));
}

/// The actor behind both objects.
struct Builtin {
    local: LocalHandle,
    shared: Arc<Shared>,
    endpoints: Vec<Endpoint>,
    started: Instant,
}

impl Builtin {
    fn status(&self) -> Value {
        let endpoints: Vec<String> = self.endpoints.iter().map(ToString::to_string).collect();
        json!({
            "epoch": self.shared.epoch.to_string(),
            "version": env!("CARGO_PKG_VERSION"),
            "protocol": PROTOCOL_VERSION,
            "uptime_ms": u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            "endpoints": endpoints,
            "metrics": self.shared.metrics.snapshot(),
            "accounts": self.shared.accounts.snapshot(),
        })
    }

    fn sys_broker(&self, call: ObjectCall) -> Result<(), CallError> {
        match &*call.method {
            "status" => call.responder.reply_json(&self.status()),
            "ping" => call.responder.reply_json("pong"),
            other => {
                let text = format!("{STATUS} has no method {other:?}; it has: status, ping");
                call.responder
                    .error(CallError::new(ErrorCode::NoSuchMethod, text))
            }
        }
    }

    fn rob(&self, call: ObjectCall) -> Result<(), CallError> {
        if &*call.method != "listObjects" {
            return call.responder.reply_json(&Value::Null);
        }
        let local = self.local.clone();
        actix::spawn(async move {
            let answered = match local.list().await {
                Ok(list) => call.responder.reply_json(&names(&list)),
                Err(error) => call.responder.error(error),
            };
            note(answered);
        });
        Ok(())
    }
}

/// The names of a list of objects.
fn names(list: &Value) -> Vec<&str> {
    let objects = list.get("objects").and_then(Value::as_array);
    let all = objects.into_iter().flatten();
    all.filter_map(|object| object.get("name")?.as_str())
        .filter(|name| !name.starts_with(RESERVED_PREFIX))
        .collect()
}

fn note(answered: Result<(), CallError>) {
    if let Err(error) = answered {
        tracing::debug!(%error, "an answer of the broker's own objects was not sent");
    }
}

impl Actor for Builtin {
    type Context = Context<Self>;
}

impl Handler<ObjectCall> for Builtin {
    type Result = ();

    fn handle(&mut self, call: ObjectCall, _: &mut Self::Context) {
        note(match &*call.object {
            ROB => self.rob(call),
            _ => self.sys_broker(call),
        });
    }
}
