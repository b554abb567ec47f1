//! A broker without sockets and actors: the library's own rooms, with queues where actix and the kernel are.
//!
//! Owns the queues and the order of turns: whoever has something does it at once. Called by the benches beside it.

use actix_ipc::actors::admission::Admission;
use actix_ipc::actors::connection::life::Life;
use actix_ipc::actors::connection::outbox::WriteBuf;
use actix_ipc::actors::connection::perform::Rooms;
use actix_ipc::actors::core::Shared;
use actix_ipc::actors::inbox::Post;
use actix_ipc::actors::messages::{Deliver, Drained, Gone, HubBatch, Joined, RegistryBatch};
use actix_ipc::actors::peer::{Account, Inbox, Peer, PeerRef};
use actix_ipc::actors::supervise::Progress;
use actix_ipc::actors::{registry, topic_hub};
use actix_ipc::config::Limits;
use actix_ipc::message::codec::body_limit;
use actix_ipc::message::handshake::PREFACE;
use actix_ipc::message::{Batch, Decoder, Draft, Encoding, Epoch, Hello, Kind, Origin, PeerId};
use actix_ipc::transport::PeerCredentials;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// What waits for Registry and TopicHub.
pub struct Mailboxes {
    pub shared: Arc<Shared>,
    registry: Mutex<VecDeque<RegistryBatch>>,
    hub: Mutex<VecDeque<HubBatch>>,
    joined: Mutex<VecDeque<PeerRef>>,
    gone: Mutex<Vec<Gone>>,
    drained: Mutex<Vec<PeerId>>,
}

impl Rooms for Mailboxes {
    fn registry(&self, batch: RegistryBatch) {
        self.registry.lock().unwrap().push_back(batch);
    }

    fn hub(&self, batch: HubBatch) {
        self.hub.lock().unwrap().push_back(batch);
    }

    fn drained(&self, peer: PeerId) {
        self.drained.lock().unwrap().push(peer);
    }

    fn joined(&self, peer: PeerRef) {
        self.joined.lock().unwrap().push_back(peer);
    }

    fn gone(&self, peer: PeerId, in_order: bool) {
        self.gone.lock().unwrap().push(Gone { peer, in_order });
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

/// The mailbox of one connection.
#[derive(Clone, Default)]
pub struct Mailbox(Arc<Mutex<VecDeque<Deliver>>>);

impl Mailbox {
    pub fn pop(&self) -> Option<Deliver> {
        self.0.lock().unwrap().pop_front()
    }
}

impl Inbox for Mailbox {
    fn post(&self, delivery: Deliver) {
        self.0.lock().unwrap().push_back(delivery);
    }
}

/// A peer of its own, whose deliveries nobody takes.
pub fn peer(id: u64) -> (PeerRef, Mailbox) {
    let inbox = Mailbox::default();
    let origin = Origin {
        peer: PeerId(id),
        uid: 1000,
        pid: 7,
    };
    let account = Account::new(Limits::default().outbox_bytes, 64 * 1024);
    (Peer::new(origin, "", 0, account, Box::new(inbox.clone())), inbox)
}

/// The frames of these bytes.
pub fn batch(bytes: &[u8]) -> Arc<Batch> {
    Arc::new(Decoder::new(body_limit(1 << 24)).decode(bytes).unwrap())
}

/// One connection, welcomed.
pub struct Client {
    life: Life<Mailboxes>,
    inbox: Mailbox,
    pub out: WriteBuf,
}

impl Client {
    /// Bytes came from its socket.
    pub fn send(&mut self, bytes: &[u8]) {
        let inbox = &self.inbox;
        self.life
            .received(bytes, Vec::new(), &|| Post::Passed(Box::new(inbox.clone())));
    }

    /// Takes what waits for it and writes it. `out` holds what was written last.
    pub fn turn(&mut self) {
        self.out.clear();
        while let Some(delivery) = self.inbox.pop() {
            self.life.deliver(delivery);
        }
        if self.life.has_output() {
            self.life.fill(usize::MAX, &mut self.out);
        }
        self.life.settle();
    }
}

/// The rooms of one broker.
pub struct Broker {
    pub rooms: Arc<Mailboxes>,
    pub registry: registry::state::State,
    pub hub: topic_hub::state::State,
}

impl Broker {
    pub fn new() -> Self {
        let shared = Shared::new(Limits::default(), Epoch([1; 16]));
        let rooms = Arc::new(Mailboxes {
            registry: Mutex::default(),
            hub: Mutex::default(),
            joined: Mutex::default(),
            gone: Mutex::default(),
            drained: Mutex::default(),
            shared: shared.clone(),
        });
        Self {
            rooms,
            registry: registry::state::State::new(shared.clone()),
            hub: topic_hub::state::State::new(shared),
        }
    }

    pub fn connect(&mut self) -> Client {
        let credentials = PeerCredentials {
            uid: Some(1000),
            gid: Some(1000),
            pid: Some(7),
        };
        let admission = Admission::new(self.rooms.shared.clone(), &credentials, None, false);
        let life = Life::new(
            self.rooms.clone(),
            credentials,
            0,
            Ok(admission.expect("few peers")),
        );
        let mut client = Client {
            life,
            inbox: Mailbox::default(),
            out: WriteBuf::default(),
        };
        let hello = Hello::default().encode();
        let mut bytes = PREFACE.to_vec();
        Draft::new(Kind::Hello, 1)
            .aux(1)
            .payload(Encoding::RAW, &hello)
            .encode(&mut bytes);
        client.send(&bytes);
        self.turn();
        client.turn();
        assert_eq!(client.out.copied[4], Kind::Welcome as u8, "a welcome");
        client
    }

    /// Sends one request and expects `Done`.
    pub fn ask(&mut self, client: &mut Client, draft: &Draft<'_>) {
        client.send(&draft.to_vec());
        self.turn();
        client.turn();
        assert_eq!(client.out.copied[4], Kind::Done as u8, "done");
    }

    /// Tells Registry and TopicHub who is gone.
    pub fn bury(&mut self) {
        let gone = std::mem::take(&mut *self.rooms.gone.lock().unwrap());
        for Gone { peer, in_order } in gone {
            finish(self.registry.gone(Gone { peer, in_order }), || {
                self.registry.resume()
            });
            finish(self.hub.gone(Gone { peer, in_order }), || self.hub.resume());
        }
    }

    /// Handles what waits for Registry and TopicHub.
    pub fn turn(&mut self) {
        loop {
            let joined = self.rooms.joined.lock().unwrap().pop_front();
            if let Some(peer) = joined {
                finish(self.registry.joined(Joined(peer)), || self.registry.resume());
            }
            let next = self.rooms.registry.lock().unwrap().pop_front();
            if let Some(batch) = next {
                finish(self.registry.handle(batch), || self.registry.resume());
                continue;
            }
            let next = self.rooms.hub.lock().unwrap().pop_front();
            let Some(batch) = next else { break };
            finish(self.hub.handle(batch), || self.hub.resume());
        }
        let drained = std::mem::take(&mut *self.rooms.drained.lock().unwrap());
        drained
            .into_iter()
            .for_each(|peer| self.hub.drained(Drained(peer)));
    }
}

/// A batch may take more than one turn.
pub fn finish(mut progress: Progress, mut resume: impl FnMut() -> Progress) {
    while progress == Progress::Yield {
        progress = resume();
    }
    assert_eq!(progress, Progress::Done);
}
