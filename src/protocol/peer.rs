//! What both ends of a connection without a broker have in common: who the other one is, what each takes, and what is said when a
//! protocol is not there.
//!
//! Owns the numbers of such a connection with their defaults, and the way from a [`Dispatch`] to the objects of the engine. The engine
//! itself is the client library's.

use super::caller::{Caller, ProtocolSender};
use super::dispatch::{Dispatch, Request};
use super::info::ProtocolInfo;
use super::negotiate;
use super::object::ProtocolObject;
use crate::client::peer::Offer;
use crate::client::runtime::Home;
use crate::client::{HandlerError, IpcClient, ObjectServer, Response};
use crate::config::peers;
use crate::error::{CallError, ErrorCode};
use crate::message::meet::FRAME_BYTES_MIN;
use crate::message::{Epoch, Meet, Served, Terms};
use crate::transport::ATTACHMENTS_MAX;
use futures::future::BoxFuture;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Who is at the other end of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerInfo {
    /// The number of the connection: the server's, which never uses one twice, or the broker's.
    pub id: u64,
    /// The name that the program declares. It can declare any. Empty: none.
    pub name: String,
    /// Its user, where the system tells: on Unix sockets and pipes at both ends, over TCP on some systems, over TLS never.
    pub uid: Option<u32>,
    /// Its process, where the system tells; a server's is the one that began to listen.
    pub pid: Option<u32>,
    /// The name that its certificate or token proves.
    pub proven: Option<String>,
}

impl PeerInfo {
    pub(super) fn of(client: &IpcClient) -> Option<Self> {
        let state = client.handle.shared.lock();
        if let Some(met) = &state.met {
            return Some(Self {
                id: met.number,
                name: met.meet.name.clone(),
                uid: met.credentials.uid,
                pid: met.credentials.pid,
                proven: met.proven.clone(),
            });
        }
        (state.is_up() && state.peer.0 > 0).then(|| Self {
            id: state.peer.0,
            ..Self::default()
        })
    }
}

/// What one end of a connection without a broker takes. Of the two ends' numbers the smaller ones are in force, in both directions.
/// Made of the defaults: `RpcLimits::default().open_calls(100)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RpcLimits {
    /// The largest payload of one frame, in bytes; 1,024 at least. Default: 16 MiB.
    pub frame_bytes: u32,
    /// The largest request, answer or error value, in bytes. Default: 256 MiB.
    pub message_bytes: u32,
    /// What may be under way unread of each streamed or large message, in bytes on the wire. Default: 256 KiB.
    pub stream_window: u32,
    /// Calls of one end that may wait for their answers; a call more fails with TooMany, unsent. Default: 4,096.
    pub open_calls: u32,
    /// What one end may send of one-way commands before the other end's handlers have ended, in bytes on the wire; who sends more waits.
    /// Default: 256 KiB.
    pub call_window: u32,
    /// Descriptors that one call or answer may carry, over Unix sockets; 16 at most. Default: 16.
    pub attachments: u32,
    /// Descriptors that this end keeps for calls of the other end which have not ended; a call with more is refused with TooMany, unrun,
    /// and its descriptors are closed. What a handler keeps for itself is not counted after its call. Default: 64.
    pub descriptors: u32,
    /// What may wait in this program to be written, in bytes, before its callers wait. One frame always fits. Default: 256 KiB.
    pub out_buffer: usize,
    /// What this end keeps of the other's commands that wait for their handlers, arrive in pieces, or stream items that no handler has
    /// taken, and of answers that the other end has not taken: so many bytes, and one message of the largest size. A command beyond that
    /// ends with Overloaded, an answer with ReplyLost. One-way commands have `call_window`. A request whose handler runs is the handler's
    /// own and not counted: `concurrency` times `message_bytes` for each protocol and client. Default: 64 MiB.
    pub memory: usize,
}

impl Default for RpcLimits {
    fn default() -> Self {
        Self {
            frame_bytes: peers::FRAME_BYTES,
            message_bytes: peers::MESSAGE_BYTES,
            stream_window: peers::STREAM_WINDOW,
            open_calls: peers::OPEN_CALLS,
            call_window: peers::CALL_WINDOW,
            attachments: ATTACHMENTS_MAX as u32,
            descriptors: peers::DESCRIPTORS,
            out_buffer: peers::OUT_BUFFER,
            memory: peers::MEMORY,
        }
    }
}

impl RpcLimits {
    /// Sets [`frame_bytes`](Self#structfield.frame_bytes).
    #[must_use]
    pub const fn frame_bytes(mut self, bytes: u32) -> Self {
        self.frame_bytes = bytes;
        self
    }

    /// Sets [`message_bytes`](Self#structfield.message_bytes).
    #[must_use]
    pub const fn message_bytes(mut self, bytes: u32) -> Self {
        self.message_bytes = bytes;
        self
    }

    /// Sets [`stream_window`](Self#structfield.stream_window).
    #[must_use]
    pub const fn stream_window(mut self, bytes: u32) -> Self {
        self.stream_window = bytes;
        self
    }

    /// Sets [`open_calls`](Self#structfield.open_calls).
    #[must_use]
    pub const fn open_calls(mut self, calls: u32) -> Self {
        self.open_calls = calls;
        self
    }

    /// Sets [`call_window`](Self#structfield.call_window).
    #[must_use]
    pub const fn call_window(mut self, bytes: u32) -> Self {
        self.call_window = bytes;
        self
    }

    /// Sets [`attachments`](Self#structfield.attachments).
    #[must_use]
    pub const fn attachments(mut self, descriptors: u32) -> Self {
        self.attachments = descriptors;
        self
    }

    /// Sets [`descriptors`](Self#structfield.descriptors).
    #[must_use]
    pub const fn descriptors(mut self, descriptors: u32) -> Self {
        self.descriptors = descriptors;
        self
    }

    /// Sets [`out_buffer`](Self#structfield.out_buffer).
    #[must_use]
    pub const fn out_buffer(mut self, bytes: usize) -> Self {
        self.out_buffer = bytes;
        self
    }

    /// Sets [`Self::memory`].
    #[must_use]
    pub const fn memory(mut self, bytes: usize) -> Self {
        self.memory = bytes;
        self
    }

    fn terms(self) -> Terms {
        let frame_bytes = self.frame_bytes.max(FRAME_BYTES_MIN);
        Terms {
            frame_bytes,
            message_bytes: self.message_bytes.max(frame_bytes),
            stream_window: self.stream_window.max(1),
            open_calls: self.open_calls,
            call_window: self.call_window.max(1),
            attachments: self.attachments.min(ATTACHMENTS_MAX as u32),
        }
    }
}

/// What an end says of itself and how patient it is; the protocols come later.
#[derive(Clone, Debug)]
pub(super) struct Manner {
    pub(super) name: String,
    pub(super) limits: RpcLimits,
    pub(super) deadline: Duration,
    pub(super) keepalive: Duration,
    pub(super) concurrency: Concurrency,
}

impl Manner {
    pub(super) fn new() -> Self {
        Self {
            name: String::new(),
            limits: RpcLimits::default(),
            deadline: peers::DEADLINE,
            keepalive: peers::KEEPALIVE,
            concurrency: Concurrency::default(),
        }
    }

    /// What is said to the other end.
    pub(super) fn offer(&self, epoch: Epoch, serves: &[&'static ProtocolInfo], patience: Duration) -> Offer {
        Offer {
            meet: Meet {
                epoch,
                terms: self.limits.terms(),
                name: self.name.clone(),
                token: None,
                protocols: served(serves),
            },
            missing,
            deadline: self.deadline,
            patience,
            keepalive: self.keepalive,
            out_buffer: self.limits.out_buffer,
            descriptors: self.limits.descriptors,
            memory: self
                .limits
                .memory
                .saturating_add(self.limits.terms().message_bytes as usize),
        }
    }

    /// The objects of the engine for what answers: one for each name.
    pub(super) fn objects(
        &self,
        answers: &Arc<dyn Dispatch>,
        home: &Home,
    ) -> HashMap<Arc<str>, Arc<ObjectServer>> {
        let object: Arc<ProtocolObject> = Arc::new(ProtocolObject::new(Arc::clone(answers)));
        let mut objects = HashMap::new();
        for info in answers.protocols() {
            let server = match self.concurrency.of(info.name) {
                // A stream that nobody reads keeps back nothing: its handler is done. What waits is bounded by the connection's limits.
                1 => ObjectServer::new(info.name, object.clone(), home.clone(), usize::MAX).in_one_lane(),
                limit => {
                    ObjectServer::new(info.name, object.clone(), home.clone(), limit).with_streams_apart(true)
                }
            };
            objects.insert(Arc::clone(&server.name), Arc::new(server));
        }
        objects
    }
}

/// Protocols as they are told to the other end.
pub(super) fn served(protocols: &[&'static ProtocolInfo]) -> Vec<Served> {
    let each = protocols.iter().map(|info| Served {
        id: info.id,
        name: info.name.into(),
    });
    each.collect()
}

/// How many commands of one protocol and connection run at the same time.
#[derive(Clone, Debug, Default)]
pub(super) struct Concurrency {
    all: Option<usize>,
    own: HashMap<String, usize>,
}

impl Concurrency {
    pub(super) const fn set(&mut self, all: usize) {
        self.all = Some(all);
    }

    pub(super) fn set_of(&mut self, protocol: &str, own: usize) {
        self.own.insert(protocol.to_owned(), own);
    }

    fn of(&self, protocol: &str) -> usize {
        self.own.get(protocol).copied().or(self.all).unwrap_or(1).max(1)
    }
}

/// What a call ends with for whose protocol nobody is there.
fn missing(id: u64, name: &str, served: &[Served], who: &str) -> CallError {
    let served: Vec<negotiate::Served<'_>> = served
        .iter()
        .map(|served| negotiate::Served {
            id: served.id,
            name: &served.name,
            origin: None,
        })
        .collect();
    let known = served.iter().any(|has| negotiate::same_protocol(has.id, id));
    let named = served.iter().find(|has| has.name == name);
    let (code, text) = match named.filter(|_| !known) {
        _ if known => negotiate::refused(id, &served, who),
        Some(other) => {
            let text = format!(
                "{who} serves another definition of the name {name}, of another crate: {:016x} there, {id:016x} here",
                other.id
            );
            (ErrorCode::ProtocolVersion, text)
        }
        None => {
            let text = format!(
                "{who} does not serve {name}; it serves {}",
                negotiate::list(&served)
            );
            (ErrorCode::NoSuchProtocol, text)
        }
    };
    CallError::new(code, text).ran(false)
}

/// The sender of an end that sends nothing. `()` answers nothing.
#[derive(Clone, Debug)]
pub struct NoProtocol(Caller);

impl ProtocolSender for NoProtocol {
    fn new(caller: Caller) -> Self {
        Self(caller)
    }

    fn caller(&self) -> &Caller {
        &self.0
    }

    fn protocols() -> Vec<&'static ProtocolInfo> {
        Vec::new()
    }
}

impl Dispatch for () {
    fn protocols(&self) -> Vec<&'static ProtocolInfo> {
        Vec::new()
    }

    fn dispatch(&self, request: Request) -> BoxFuture<'_, Result<Response, HandlerError>> {
        Box::pin(std::future::ready(Err(request.unknown(&[]))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_told_with_what_is() {
        let served = |id, name: &str| Served {
            id,
            name: name.into(),
        };
        let all = [served(0xaa_0001, "calc"), served(0xcc_0001, "log")];
        let table = [
            (
                0xaa_0003,
                "calc",
                &all[..],
                ErrorCode::ProtocolVersion,
                ["version 1", "version 3"],
            ),
            (
                0xdd_0001,
                "calc",
                &all,
                ErrorCode::ProtocolVersion,
                ["another definition", "calc"],
            ),
            (
                0xdd_0001,
                "shop",
                &all,
                ErrorCode::NoSuchProtocol,
                ["calc", "log"],
            ),
            (0, "shop", &all, ErrorCode::NoSuchProtocol, ["calc", "log"]),
            (
                0xdd_0001,
                "shop",
                &[],
                ErrorCode::NoSuchProtocol,
                ["the peer", "shop"],
            ),
        ];
        for (id, name, served, code, texts) in table {
            let error = missing(id, name, served, "the peer");
            assert_eq!((error.code, error.may_have_run), (code, false), "{error}");
            assert!(texts.iter().all(|text| error.message.contains(text)), "{error}");
        }
    }

    #[test]
    fn concurrency_is_that_of_the_protocol_or_of_all_or_one() {
        let mut concurrency = Concurrency::default();
        assert_eq!(concurrency.of("a"), 1);
        concurrency.set(4);
        concurrency.set_of("b", 0);
        concurrency.set_of("c", 9);
        assert_eq!(["a", "b", "c"].map(|name| concurrency.of(name)), [4, 1, 9]);
    }
}
