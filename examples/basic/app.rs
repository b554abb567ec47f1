//! The server's half: one handler that answers both protocols, for all connections.
//!
//! Owns what is counted and who may end the program. It knows no socket; `main.rs` hands it to the server.

use super::protocol::{AppSender, admin_protocol, app_protocol};
use actix_ipc::protocol::{self, Error, NoProtocol, RpcClient, RpcServerHandler, protocol_handler};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

/// The state of the program, which all connections share.
#[derive(Debug, Default)]
pub(crate) struct App {
    calls: AtomicU64,
    lines: AtomicU64,
    /// Whether clients may end the program.
    may_be_ended: bool,
    ended: Notify,
}

/// A sum that does not fit.
#[derive(Debug, thiserror::Error)]
#[error("{a} + {b} does not fit into 64 bits: add smaller numbers")]
pub(crate) struct Overflow {
    a: i64,
    b: i64,
}

impl App {
    /// A program that has done nothing yet.
    pub(crate) fn new(may_be_ended: bool) -> Self {
        Self {
            may_be_ended,
            ..Self::default()
        }
    }

    /// Until a client has ended the program.
    pub(crate) async fn ended(&self) {
        self.ended.notified().await;
    }

    fn count(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }
}

protocol_handler!(pub AppReceiver impl [app_protocol, admin_protocol] with App);

impl app_protocol::Receive for App {
    async fn echo(&self, message: String) -> protocol::Result<app_protocol::echo::Response> {
        self.count();
        Ok(app_protocol::echo::Response { response: message })
    }

    async fn add(&self, a: i64, b: i64) -> protocol::Result<i64> {
        self.count();
        // The text is for people; the name is for the program that called.
        a.checked_add(b)
            .ok_or_else(|| Error::from(Overflow { a, b }).named("Overflow"))
    }

    async fn log(&self, line: String) -> protocol::Result<()> {
        self.count();
        self.lines.fetch_add(1, Ordering::Relaxed);
        say!("[SERVER] log: {}", line.escape_debug());
        Ok(())
    }
}

impl admin_protocol::Receive for App {
    async fn get_stats(&self) -> protocol::Result<admin_protocol::get_stats::Response> {
        self.count();
        Ok(admin_protocol::get_stats::Response {
            total_calls: self.calls.load(Ordering::Relaxed),
            log_lines: self.lines.load(Ordering::Relaxed),
        })
    }

    async fn shutdown(&self, reason: String) -> protocol::Result<admin_protocol::shutdown::Response> {
        self.count();
        say!("[SERVER] asked to end: {}", reason.escape_debug());
        let accepted = self.may_be_ended;
        let message = match accepted {
            true => "the server ends once its answers are sent",
            false => "the server goes on: it was not started with --may-be-ended",
        };
        if accepted {
            self.ended.notify_one();
        }
        Ok(admin_protocol::shutdown::Response {
            accepted,
            message: message.to_owned(),
        })
    }
}

/// Gives each connection the same handler.
pub(crate) struct Server(pub(crate) Arc<App>);

impl RpcServerHandler for Server {
    type ReceiveRpc = AppReceiver;
    // The server calls nothing on its clients; `bidirectional` shows how it would.
    type SendRpc = NoProtocol;

    async fn on_rpc_connect(&self, _: &NoProtocol) -> AppReceiver {
        Arc::clone(&self.0).into()
    }
}

/// What a client does here; `main.rs` uses it in both of its modes.
pub(crate) type Client = RpcClient<AppSender>;
