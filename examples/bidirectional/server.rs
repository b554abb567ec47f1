//! The server's half: a session for each connection, which can call its client.
//!
//! Owns what happens when somebody comes, speaks, asks and goes. Who is there is `room.rs`'s.

use super::program;
use super::protocol::{ClientSender, client_protocol::Commands as _, server_protocol};
use super::room::{Member, Room, RoomError};
use actix_ipc::protocol::{self, Error, RpcServerHandler, protocol_handler};
use futures::future::join_all;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long one member may keep the others waiting.
const PATIENCE: Duration = Duration::from_secs(5);

/// The room, which all connections share.
#[derive(Clone, Default)]
pub(crate) struct Server {
    room: Arc<Mutex<Room<ClientSender>>>,
}

/// One connection.
pub(crate) struct Session {
    server: Server,
    id: u64,
    client: ClientSender,
}

fn refused(error: RoomError) -> Error {
    let name = error.name();
    Error::from(error).named(name)
}

impl Server {
    fn room(&self) -> MutexGuard<'_, Room<ClientSender>> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells all of them at the same time: how many took it.
    async fn tell(members: Vec<Member<ClientSender>>, from: &str, text: &str) -> usize {
        let pushes = members.into_iter().map(|(_, client)| async move {
            // A push waits while its client is slow; one slow client must not hold up everybody for ever.
            let push = client.notify(from.to_owned(), text.to_owned());
            matches!(tokio::time::timeout(PATIENCE, push).await, Ok(Ok(())))
        });
        join_all(pushes)
            .await
            .into_iter()
            .filter(|delivered| *delivered)
            .count()
    }
}

impl RpcServerHandler for Server {
    type ReceiveRpc = SessionReceiver;
    type SendRpc = ClientSender;

    async fn on_rpc_connect(&self, client: &ClientSender) -> SessionReceiver {
        let id = program::number(client);
        SessionReceiver::new(Session {
            server: self.clone(),
            id,
            client: client.clone(),
        })
    }

    /// Both sides may call from now on; the server is the first to.
    async fn on_rpc_ready(&self, client: &ClientSender) {
        let welcome = "welcome: register to take part";
        if let Err(error) = client.notify("server".into(), welcome.into()).await {
            say!("[SERVER] a client was gone before its welcome: {error}");
        }
    }

    async fn on_rpc_disconnect(&self, peer_id: u64) {
        let gone = self.room().leave(peer_id);
        if let Some(name) = gone {
            say!("[SERVER] {} is gone", name.escape_debug());
            let rest = self.room().everybody();
            Self::tell(rest, "server", &format!("{name} has left")).await;
        }
    }
}

protocol_handler!(pub SessionReceiver impl [server_protocol] with Session);

impl server_protocol::Receive for Session {
    async fn register(&self, name: String) -> protocol::Result<server_protocol::register::Response> {
        let others = {
            let mut room = self.server.room();
            room.enter(self.id, &name, self.client.clone()).map_err(refused)?;
            room.others(self.id)
        };
        say!("[SERVER] {} has ID {}", name.escape_debug(), self.id);
        let present = others.iter().map(|(name, _)| name.clone()).collect();
        Server::tell(others, "server", &format!("{name} has entered")).await;
        Ok(server_protocol::register::Response { id: self.id, present })
    }

    async fn send_message(&self, text: String) -> protocol::Result<server_protocol::send_message::Response> {
        let (name, others) = {
            let room = self.server.room();
            (room.name(self.id).map_err(refused)?, room.others(self.id))
        };
        let delivered = Server::tell(others, &name, &text).await;
        Ok(server_protocol::send_message::Response {
            delivered: u32::try_from(delivered)?,
        })
    }

    async fn ask_everybody(
        &self,
        question: String,
    ) -> protocol::Result<server_protocol::ask_everybody::Response> {
        let everybody = {
            let room = self.server.room();
            room.name(self.id).map_err(refused)?;
            room.everybody()
        };
        // The asker waits for this very answer, and answers meanwhile: both directions work at the same time.
        let asked = everybody.into_iter().map(|(name, client)| {
            let answer = client.ask(question.clone());
            async move {
                let said = match tokio::time::timeout(PATIENCE, answer).await {
                    Ok(Ok(said)) => said.answer,
                    Ok(Err(error)) => format!("(did not answer: {error})"),
                    Err(_) => "(did not answer in time)".to_owned(),
                };
                (name, said)
            }
        });
        let answers = join_all(asked).await;
        Ok(server_protocol::ask_everybody::Response { answers })
    }
}
