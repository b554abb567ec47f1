//! The server's half: a session for each connection, which can call its client.
//!
//! Owns what happens when somebody comes, speaks, asks and goes. Who is there is `room.rs`'s, how one is reached `member.rs`'s.

use super::member::Member;
use super::program;
use super::protocol::{ClientSender, client_protocol::Commands as _, server_protocol};
use super::room::{self, Room, RoomError};
use actix_ipc::protocol::{self, Error, RpcServerHandler, protocol_handler};
use futures::future::join_all;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The room, which all connections share.
#[derive(Clone)]
pub(crate) struct Server {
    room: Arc<Mutex<Room<Member>>>,
    /// How long somebody who is asked may keep the asker waiting.
    patience: Duration,
}

/// One connection.
pub(crate) struct Session {
    server: Server,
    id: u64,
    member: Member,
}

fn refused(error: RoomError) -> Error {
    let name = error.name();
    Error::from(error).named(name)
}

impl Server {
    pub(crate) fn new(patience: Duration) -> Self {
        let room = Arc::default();
        Self { room, patience }
    }

    fn room(&self) -> MutexGuard<'_, Room<Member>> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells all of them, and waits for none: for how many it is on its way.
    fn tell(members: Vec<(String, Member)>, from: &str, text: &str) -> usize {
        let (from, text): (Arc<str>, Arc<str>) = (from.into(), text.into());
        let told = members.into_iter().filter(|(name, member)| {
            let told = member.tell(Arc::clone(&from), Arc::clone(&text));
            if !told {
                say!("[SERVER] {} does not listen, and misses it", name.escape_debug());
            }
            told
        });
        told.count()
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
            member: Member::new(client),
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
            Self::tell(rest, "server", &format!("{name} has left"));
        }
    }
}

protocol_handler!(pub SessionReceiver impl [server_protocol] with Session);

impl server_protocol::Receive for Session {
    async fn register(&self, name: String) -> protocol::Result<server_protocol::register::Response> {
        let others = {
            let mut room = self.server.room();
            room.enter(self.id, &name, self.member.clone()).map_err(refused)?;
            room.others(self.id)
        };
        say!("[SERVER] {} has ID {}", name.escape_debug(), self.id);
        let present = others.iter().map(|(name, _)| name.clone()).collect();
        Server::tell(others, "server", &format!("{name} has entered"));
        Ok(server_protocol::register::Response { id: self.id, present })
    }

    async fn send_message(&self, text: String) -> protocol::Result<server_protocol::send_message::Response> {
        room::check(&text).map_err(refused)?;
        let (name, others) = {
            let room = self.server.room();
            (room.name(self.id).map_err(refused)?, room.others(self.id))
        };
        let told = Server::tell(others, &name, &text);
        Ok(server_protocol::send_message::Response {
            told: u32::try_from(told)?,
        })
    }

    async fn ask_everybody(
        &self,
        question: String,
    ) -> protocol::Result<server_protocol::ask_everybody::Response> {
        room::check(&question).map_err(refused)?;
        let everybody = {
            let room = self.server.room();
            room.name(self.id).map_err(refused)?;
            room.everybody()
        };
        // The asker waits for this very answer, and answers meanwhile: both directions work at the same time.
        let asked = everybody.into_iter().map(|(name, member)| {
            let question = question.clone();
            async move { (name, member.ask(question, self.server.patience).await) }
        });
        let answers = join_all(asked).await;
        Ok(server_protocol::ask_everybody::Response { answers })
    }
}
