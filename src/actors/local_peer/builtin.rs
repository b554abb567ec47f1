//! The broker's own objects: `rob`, which old clients ask what there is, and `sys.broker`, which tells how the broker is.
//!
//! One actor serves both, through a local peer like any other. Started by Broker before it listens, so that nobody can take the names.
//!
//! | object | method | answer, in JSON |
//! |---|---|---|
//! | `rob` | `listObjects` | the names of all objects, sorted, without those of the broker that begin with `sys.` |
//! | `rob` | any other | `null` |
//! | `sys.broker` | `ping` | `"pong"` |
//! | `sys.broker` | `status` | how the broker is, and the sums of all objects and topics |
//! | `sys.broker` | `connections`, `objects`, `topics` | a list of each, `{"limit": N}` entries of it |
//! | `sys.broker` | `services` | the services that are described, and how each of them is |
//! | `sys.broker` | `monitor` | a stream of what passes, for those who ask for one |
//! | `sys.broker` | `mark` | a number that each such stream has behind what passed before |
//!
//! docs/observe.md has all keys.

use super::asked::{self, Asking, Limit, Wanted, ending, note, survey};
use super::handle::LocalHandle;
use super::monitor::{self, Watching};
use super::object_call::{ObjectCall, Responder};
use super::options::ServeOptions;
use super::port::{Port, PortOwner};
use super::questions::{self, Method};
use super::{Bounds, LocalPeer};
use crate::actors::core::{Core, Shared};
use crate::actors::observe::report;
use crate::actors::observe::services::{self, SurveyServices};
use crate::actors::observe::tap::{Filter, FilterError, Watcher, unix_us};
use crate::error::{CallError, ErrorCode};
use crate::message::metadata::RESERVED_PREFIX;
use crate::message::{PROTOCOL_VERSION, PeerId};
use crate::platform::usage;
use crate::policy::Principal;
use crate::transport::{Endpoint, current_uid};
use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tokio::sync::Semaphore;

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
        core: core.clone(),
        shared: core.shared.clone(),
        endpoints,
        started: Instant::now(),
        asking: Vec::new(),
        surveying: false,
        listings: Arc::new(Semaphore::new(LISTINGS_MAX)),
    };
    let addr = builtin.start();
    let status = ServeOptions::default().description(&questions::description());
    for (object, options) in [(ROB, ServeOptions::default()), (STATUS, status)] {
        let registering = local.register(object, addr.clone().recipient(), options);
        if let Err(error) = registering {
            tracing::error!(object, %error, "the broker could not register its own object");
        }
    }
    let core = core.clone();
    let who = (PeerId::BROKER, "broker");
    LocalPeer::create(move |ctx| LocalPeer::new(core, who, PortOwner(port), BOUNDS, ctx));
}

/// What the broker's own objects take of others, who are charged for none of it: a question is some words.
const BOUNDS: Bounds = Bounds {
    call: 64 * 1024,
    kept: 4 * 1024 * 1024,
    why: "all that the broker's own objects take",
};

/// Listings of all callers of `rob` that are under way at once; no more than a session allows.
const LISTINGS_MAX: usize = 4;

/// The actor behind both objects.
struct Builtin {
    local: LocalHandle,
    core: Arc<Core>,
    shared: Arc<Shared>,
    endpoints: Vec<Endpoint>,
    started: Instant,
    asking: Vec<Asking>,
    /// A look is under way.
    surveying: bool,
    /// A peer has so many listings under way at most, and this one asks on behalf of all others: the rest waits.
    listings: Arc<Semaphore>,
}

impl Builtin {
    /// What is known without asking the core actors.
    fn status(&self) -> Value {
        let endpoints: Vec<String> = self.endpoints.iter().map(ToString::to_string).collect();
        let (shared, metrics) = (&self.shared, self.shared.metrics.snapshot());
        json!({
            "epoch": shared.epoch.to_string(),
            "version": env!("CARGO_PKG_VERSION"),
            "protocol": PROTOCOL_VERSION,
            "pid": std::process::id(),
            "uptime_ms": u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            "unix_ms": unix_us().div_euclid(1000),
            "endpoints": endpoints,
            "metrics": metrics,
            "accounts": shared.accounts.snapshot(),
            "levels": shared.levels(),
            "restarts": { "registry": metrics.registry_restarts, "topic_hub": metrics.topic_hub_restarts },
            "monitors": shared.tap.watching(),
            "process": usage::own(),
            "recent": shared.journal.entries(),
        })
    }

    fn sys_broker(&mut self, call: ObjectCall, ctx: &mut Context<Self>) -> Result<(), CallError> {
        let method = match questions::find(STATUS, &call.method) {
            Ok(method) => method,
            Err(error) => return call.responder.error(error),
        };
        let wanted = match method.name {
            "ping" => return call.responder.reply_json("pong"),
            "monitor" => return self.monitor(method, call),
            "mark" => {
                let before = self.shared.marks.fetch_add(1, Ordering::AcqRel);
                return call.responder.reply_json(&before.wrapping_add(1));
            }
            "services" => {
                self.services(call.responder);
                return Ok(());
            }
            "connections" => Wanted::Connections,
            "objects" => Wanted::Objects,
            "topics" => Wanted::Topics,
            _ => Wanted::Status,
        };
        let Limit { limit } = match method.argument(&call.payload) {
            Ok(limit) => limit,
            Err(error) => return call.responder.error(error),
        };
        self.asking.push(Asking {
            wanted,
            limit: limit.min(report::LIMIT_MAX),
            responder: call.responder,
        });
        if !self.surveying {
            self.survey(ctx);
        }
        Ok(())
    }

    /// Looks once for all who have asked until now. Who asks meanwhile is told of the next look: it must not be older than the question.
    fn survey(&mut self, ctx: &mut Context<Self>) {
        self.surveying = true;
        let (core, asking) = (self.core.clone(), std::mem::take(&mut self.asking));
        let wants_status = asking.iter().any(|asking| asking.wanted == Wanted::Status);
        let status = if wants_status {
            self.status()
        } else {
            Default::default()
        };
        let told = async move { asked::tell(&core, status, asking).await };
        ctx.spawn(told.into_actor(self).map(|(), act, ctx| {
            act.surveying = false;
            if !act.asking.is_empty() {
                act.survey(ctx);
            }
        }));
    }

    fn services(&self, responder: Responder) {
        let core = self.core.clone();
        actix::spawn(async move {
            note(match core.registry.send(SurveyServices).await {
                Ok(found) => responder.reply_json(&services::report(&found)),
                Err(_) => responder.error(ending()),
            });
        });
    }

    fn monitor(&self, method: &Method, call: ObjectCall) -> Result<(), CallError> {
        if !call.responder.takes_stream() {
            let text = format!("{STATUS}.monitor answers with a stream; ask for one");
            return call.responder.error(CallError::new(ErrorCode::Invalid, text));
        }
        let filter: Filter = match method.argument(&call.payload) {
            Ok(filter) => filter,
            Err(error) => return call.responder.error(error),
        };
        let core = self.core.clone();
        actix::spawn(async move {
            let shared = core.shared.clone();
            let who = watcher(&call.principal);
            let watching = match Watching::begin(&shared.tap, filter, who) {
                Ok(watching) => watching,
                Err(error) => {
                    let code = match error {
                        FilterError::Full(..) => ErrorCode::Overloaded,
                        FilterError::Pattern(..) | FilterError::Range(..) => ErrorCode::Invalid,
                    };
                    return note(call.responder.error(CallError::new(code, error.to_string())));
                }
            };
            // Those that come meanwhile are learned as they come.
            let monitor = watching.monitor();
            if let Some(pid) = monitor.pid()
                && let Ok((names, _)) = survey(&core).await
            {
                let own = names.peers.iter().filter(|known| known.peer.origin.pid == pid);
                monitor.knows(own.map(|known| known.peer.id()));
            }
            note(monitor::run(shared, watching, call.principal, call.responder).await);
        });
        Ok(())
    }

    fn rob(&self, call: ObjectCall) -> Result<(), CallError> {
        if &*call.method != "listObjects" {
            return call.responder.reply_json(&Value::Null);
        }
        let (local, listings) = (self.local.clone(), self.listings.clone());
        actix::spawn(async move {
            // Never closed, so it is always given.
            let _turn = listings.acquire().await;
            let answered = match local.list().await {
                Ok(list) => call.responder.reply_json(&names(&list)),
                Err(error) => call.responder.error(error),
            };
            note(answered);
        });
        Ok(())
    }
}

/// Who asks, as far as places for monitors go.
fn watcher(principal: &Principal) -> Watcher {
    let is_operator = |uid| uid == 0 || Some(uid) == current_uid();
    match principal.local || principal.uid.is_some_and(is_operator) {
        true => Watcher::Operator,
        false => Watcher::User(principal.counted()),
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

impl Actor for Builtin {
    type Context = Context<Self>;
}

impl Handler<ObjectCall> for Builtin {
    type Result = ();

    fn handle(&mut self, call: ObjectCall, ctx: &mut Self::Context) {
        let mut call = call;
        // None of the methods takes items: what comes is not kept while its call is open.
        call.items.ignore();
        note(match &*call.object {
            ROB => self.rob(call),
            _ => self.sys_broker(call, ctx),
        });
    }
}
