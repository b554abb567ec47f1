//! An object that sends back what came, with what was attached to it, and asking it.
#![allow(
    dead_code,
    unreachable_pub,
    missing_debug_implementations,
    clippy::unwrap_used,
    reason = "each test file uses its own part of the harness, and what is not as expected fails the test"
)]

use actix_ipc::client::{Handler, HandlerError, IncomingCall, IpcClient, Response};
use actix_ipc::message::{Attachments, Payload};
use async_trait::async_trait;

/// Sends back what came.
pub struct Echo;

#[async_trait]
impl Handler for Echo {
    async fn handle(&self, call: IncomingCall) -> Result<Response, HandlerError> {
        let attachments = call.context.attachments.clone();
        Ok(Response::payload(call.payload).with_attachments(attachments))
    }
}

/// What comes back from the object `echo`.
pub async fn echo(client: &IpcClient, payload: Payload, attachments: Attachments) -> (Payload, Attachments) {
    let call = client.call("echo", "m").attachments(attachments);
    let reply = call.send_payload(payload).with_metadata().await.unwrap();
    (reply.payload, reply.attachments)
}
