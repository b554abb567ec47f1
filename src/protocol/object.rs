//! Protocols as objects of a broker: what answers them is registered under a name, and any client finds it there.
//!
//! Owns the way from the broker's calls to a [`Dispatch`], and what a client asks before it calls: whether the object serves what
//! the sender sends. It refuses to know how calls are queued and answered, which is the client library's.

use super::caller::{Caller, ProtocolSender};
use super::dispatch::{Dispatch, Request};
use super::info::ProtocolInfo;
use super::{describe, negotiate};
use crate::client::{
    Handler, HandlerError, IncomingCall, IpcClient, RegisterBuilder, Response, WorkerBuilder,
};
use crate::error::{CallError, ErrorCode};
use crate::message::Encoding;
use serde_json::Value;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// A [`Dispatch`] as a handler of calls. A call costs the one box that the dispatch makes.
pub(crate) struct ProtocolObject {
    dispatch: Arc<dyn Dispatch>,
    served: Box<[&'static ProtocolInfo]>,
}

impl ProtocolObject {
    pub(crate) fn new(dispatch: Arc<dyn Dispatch>) -> Self {
        let served = dispatch.protocols().into();
        Self { dispatch, served }
    }
}

impl fmt::Debug for ProtocolObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.served.iter().map(|info| info.name))
            .finish()
    }
}

/// What `async_trait` makes of [`Handler::handle`], written out so that it adds no box of its own.
impl Handler for ProtocolObject {
    fn handle<'own, 'run>(
        &'own self,
        call: IncomingCall,
    ) -> Pin<Box<dyn Future<Output = Result<Response, HandlerError>> + Send + 'run>>
    where
        'own: 'run,
        Self: 'run,
    {
        match Request::new(call, &self.served) {
            Ok(request) => self.dispatch.dispatch(request),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }
}

/// The protocol that a call is for, in whatever version: the commands of one caller to it run one after the other. What comes in JSON
/// does so for all protocols together.
fn protocol_of(call: &IncomingCall) -> u64 {
    match call.payload.encoding {
        Encoding::PROTOCOL => call
            .payload
            .bytes
            .first_chunk()
            .map_or(0, |id| u64::from_le_bytes(*id) & !0xffff),
        _ => 0,
    }
}

impl WorkerBuilder {
    /// Adds what answers one protocol or several, as [`IpcClient::add_protocol`] registers it.
    pub fn add_protocol(self, name: &str, answers: impl Dispatch) -> Self {
        let object = ProtocolObject::new(Arc::new(answers));
        let description = describe::describe(&object.served);
        self.add_described(name, object, description, Some(protocol_of))
    }
}

impl IpcClient {
    /// Registers what answers one protocol or several as an object of that name. Await it to register; its options are those of
    /// [`register`](Self::register), and its description tells the commands and their fields.
    ///
    /// The commands of one caller to one protocol run one after the other, in the order in which they were sent; those of different
    /// callers run beside each other, and so do a caller's commands to different protocols. A streamed answer counts until its
    /// handler has returned the stream. [`RegisterBuilder::unordered`] gives this order up.
    ///
    /// ```no_run
    /// # async fn run(client: actix_ipc::IpcClient, calc: impl actix_ipc::protocol::Dispatch) -> Result<(), actix_ipc::CallError> {
    /// let registration = client.add_protocol("calc", calc).queue().await?;
    /// # Ok(()) }
    /// ```
    pub fn add_protocol(&self, name: &str, answers: impl Dispatch) -> RegisterBuilder {
        let object = ProtocolObject::new(Arc::new(answers));
        let description = describe::describe(&object.served);
        self.register(name, object)
            .description(description)
            .ordered(Some(protocol_of))
    }

    /// The sender of what the object of that name serves. It is asked first whether it serves all protocols of the sender, in
    /// the versions that this program was built with; an object that is replaced later by one that does not answers each call with the
    /// same errors, unrun. Cancel safe.
    ///
    /// # Errors
    /// `NoSuchObject`; `NoSuchProtocol` (the text lists what it serves) and `ProtocolVersion` (the text names both versions), and
    /// what can befall any request: `NotConnected`, `BrokerGone`, `Deadline`, `Denied`.
    pub async fn protocol<S: ProtocolSender>(&self, name: &str) -> Result<S, CallError> {
        let said = self.describe(name).await?;
        let description = said.get("description").unwrap_or(&Value::Null);
        match describe::served(description) {
            Some((served, more)) => match negotiate::check(&S::protocols(), &served, name) {
                // What the description leaves out may be there; each call says by itself which protocol it means.
                Err(error) if !more || error.code == ErrorCode::ProtocolVersion => return Err(error),
                _ => {}
            },
            None => {
                let text = format!(
                    "{name} does not say which protocols it serves, so it is no object of protocols, or one of another \
                     library: protocol_unchecked calls it nevertheless"
                );
                return Err(CallError::new(ErrorCode::NoSuchProtocol, text).ran(false));
            }
        }
        Ok(self.protocol_unchecked(name))
    }

    /// As [`protocol`](Self::protocol), once there is an object of that name, for which it waits at most for `timeout`. Cancel safe.
    ///
    /// # Errors
    /// Deadline when none came, and as [`protocol`](Self::protocol).
    pub async fn protocol_wait<S: ProtocolSender>(
        &self,
        name: &str,
        timeout: Duration,
    ) -> Result<S, CallError> {
        self.wait_for_object_timeout(name, timeout).await?;
        self.protocol(name).await
    }

    /// The sender of what the object of that name serves, without asking whether it does: an object that does not answers
    /// each call with `NoSuchProtocol` or `ProtocolVersion`, unrun.
    #[must_use]
    pub fn protocol_unchecked<S: ProtocolSender>(&self, name: &str) -> S {
        S::new(Caller::new(self.clone(), Some(name.into())))
    }
}
