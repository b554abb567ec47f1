//! From a typed command to a call.
//!
//! Owns where the commands of a sender go and how long their answers may take. Called by the senders that the macros make.

use super::info::{CommandInfo, ProtocolInfo};
use super::peer::PeerInfo;
use crate::client::{Call, IpcClient, ReplyStream, Sent};
use futures::Stream;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;

/// Whom the senders of one connection call. Cloning shares the connection.
#[derive(Clone, Debug)]
pub struct Caller {
    client: IpcClient,
    /// The object at the broker; point to point it is the name of the protocol.
    object: Option<Arc<str>>,
    deadline: Option<Duration>,
}

/// What the macros make for those who call: a sender of one protocol, or of several.
pub trait ProtocolSender: Clone + Send + Sync + 'static {
    /// A sender of what this caller carries.
    fn new(caller: Caller) -> Self;
    /// What it sends with.
    fn caller(&self) -> &Caller;
    /// The protocols that it sends.
    fn protocols() -> Vec<&'static ProtocolInfo>;
}

impl Caller {
    pub(crate) const fn new(client: IpcClient, object: Option<Arc<str>>) -> Self {
        let deadline = None;
        Self {
            client,
            object,
            deadline,
        }
    }

    /// Who is at the other end of the connection; `None` while there is none. Through a broker it is the broker.
    #[must_use]
    pub fn peer(&self) -> Option<PeerInfo> {
        PeerInfo::of(&self.client)
    }

    /// The connection that it sends on.
    pub(crate) const fn client(&self) -> &IpcClient {
        &self.client
    }

    /// How long each answer may take; for a stream, each item. Default: that of the connection, else 30 s. Not for commands without an
    /// answer: see [`notify`](Self::notify).
    #[must_use]
    pub const fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// A command with one answer. It is sent when the future is first polled; dropping that cancels it.
    ///
    /// # Errors
    /// As [`Call`], and when the other side does not know the protocol, or in another version.
    pub fn call<P: Serialize + ?Sized, R: DeserializeOwned>(
        &self,
        protocol: &'static ProtocolInfo,
        command: &'static CommandInfo,
        request: &P,
    ) -> Call<R> {
        self.builder(protocol, command).send(request)
    }

    /// A command without an answer. Ready when it stands in the connection's buffer, behind all that was sent before: the socket takes
    /// it from there at once or a moment later. It is lost, and nobody is told, when the connection or the process ends before the other
    /// side has read it; closing the client in order brings it out first, and whoever has to know asks for an answer. Waits while the other side is slow, without a deadline, as long as the connection lasts: who wants a
    /// limit drops the future when the time is over, as with tokio's `timeout`. Where connections are made again it goes over the one
    /// that is there when there is room for it, which may be the next one.
    ///
    /// # Errors
    /// As [`CallBuilder::no_reply`](crate::client::CallBuilder::no_reply).
    pub fn notify<P: Serialize + ?Sized>(
        &self,
        protocol: &'static ProtocolInfo,
        command: &'static CommandInfo,
        request: &P,
    ) -> Sent {
        self.builder(protocol, command).notify(request)
    }

    /// A command whose answer is a stream.
    pub fn stream<P: Serialize + ?Sized, R: DeserializeOwned>(
        &self,
        protocol: &'static ProtocolInfo,
        command: &'static CommandInfo,
        request: &P,
    ) -> ReplyStream<R> {
        self.builder(protocol, command).stream(request)
    }

    /// A command whose request goes on with items. They are taken from the stream and sent while the future is polled, as the other
    /// side takes them; when it answers before their end, the rest is dropped.
    ///
    /// # Errors
    /// As [`call`](Self::call), and Encoding or TooLarge for an item: the command is taken back then, and may have run.
    pub fn upload<P: Serialize + ?Sized, I: Serialize, R: DeserializeOwned>(
        &self,
        protocol: &'static ProtocolInfo,
        command: &'static CommandInfo,
        request: &P,
        items: impl Stream<Item = I> + Send + 'static,
    ) -> Call<R> {
        self.builder(protocol, command).items(items).send(request)
    }

    /// A command whose request and answer are streams, both at once. Items are sent while the stream of the answer is polled.
    pub fn exchange<P: Serialize + ?Sized, I: Serialize, R: DeserializeOwned>(
        &self,
        protocol: &'static ProtocolInfo,
        command: &'static CommandInfo,
        request: &P,
        items: impl Stream<Item = I> + Send + 'static,
    ) -> ReplyStream<R> {
        self.builder(protocol, command).items(items).stream(request)
    }

    fn builder<'a>(
        &'a self,
        protocol: &'static ProtocolInfo,
        command: &'static CommandInfo,
    ) -> crate::client::CallBuilder<'a> {
        let object = self.object.as_deref().unwrap_or(protocol.name);
        let builder = self.client.call(object, command.name).command(protocol.id);
        match self.deadline {
            Some(deadline) => builder.deadline(deadline),
            None => builder,
        }
    }
}
