//! What every rule may know of the run: the clients, the barriers, the panics.
//!
//! Owns the bookkeeping of connections and the list of findings. It judges nothing. Written by [`crate::Judge`], read by all rules.

use crate::{Core, Frame, Opened, Setup, Violation, What};
use actix_ipc::message::{Hello, Kind};
use std::collections::{BTreeMap, HashMap};

/// When something was seen: its place in the run, and simulated milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) at: u64,
    pub(crate) ms: u64,
}

/// Bits of a place that tell the facts of one step apart.
const PLACE_BITS: u32 = 20;

/// The place of the next fact: of this step, behind `last`.
pub(crate) fn place(step: u64, last: u64) -> u64 {
    (step << PLACE_BITS).max(last.saturating_add(1))
}

/// The step of a place.
pub(crate) const fn step(place: u64) -> u64 {
    place >> PLACE_BITS
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) opened: Opened,
    /// The name of its `Hello`.
    pub(crate) name: Vec<u8>,
    /// Its number at the broker.
    pub(crate) peer: Option<u64>,
    /// When its `Goodbye` arrived.
    pub(crate) goodbye: Option<u64>,
    pub(crate) half_closed: Option<u64>,
    pub(crate) broke: Option<u64>,
    /// When it read the broker's `Goodbye`, and the reason.
    pub(crate) dismissed: Option<(u64, u32)>,
    pub(crate) closed: Option<u64>,
    /// When the broker last decoded a frame of it.
    pub(crate) last_arrived: u64,
}

impl Client {
    /// Whether nothing has ended it or begun to.
    pub(crate) const fn lives(&self) -> bool {
        self.broke.is_none()
            && self.closed.is_none()
            && self.dismissed.is_none()
            && self.goodbye.is_none()
            && self.half_closed.is_none()
    }

    /// Whether what it asked is still owed an answer at the end of a drained run: it lives, or it left in good order.
    pub(crate) fn is_owed(&self) -> bool {
        let orderly = (self.goodbye.is_some() || self.half_closed.is_some())
            && self.dismissed.is_some_and(|(_, reason)| reason == 1);
        self.broke.is_none() && (self.lives() || orderly)
    }

    /// Until when the broker surely had not ended it, as far as anyone outside can know.
    pub(crate) fn surely_until(&self) -> u64 {
        let by_broker = match (self.dismissed, self.closed) {
            // Who broke off, or broke rules, may have been dismissed before without ever reading it.
            (None, None) if self.broke.is_none() && self.opened.honest => u64::MAX,
            _ => self.last_arrived,
        };
        let own = [self.goodbye, self.half_closed, self.broke];
        own.into_iter().flatten().fold(by_broker, u64::min)
    }

    /// From when on it may have ended in the broker's eyes, whatever the cause; `None` while it lives.
    pub(crate) fn ended(&self) -> Option<u64> {
        (!self.lives()).then(|| self.surely_until())
    }

    /// When everyone could see that it has ended; `None` while it lives, or only
    /// its sending direction is closed: the broker may have more to read before that end.
    pub(crate) fn seen_ended(&self) -> Option<u64> {
        let all = [
            self.goodbye,
            // What it had written before may still arrive.
            self.broke.map(|at| at.max(self.last_arrived)),
            self.closed,
            self.dismissed.map(|(at, _)| at),
        ];
        all.into_iter().flatten().min()
    }
}

/// The run so far.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) setup: Setup,
    pub(crate) clients: BTreeMap<u32, Client>,
    pub(crate) peers: HashMap<u64, u32>,
    /// When nothing was under way.
    pub(crate) settled: Vec<Moment>,
    pub(crate) calm: Option<Moment>,
    /// Step, core, author.
    pub(crate) panics: Vec<(u64, Core, u32)>,
}

impl Run {
    pub(crate) fn new(setup: Setup) -> Self {
        Self {
            setup,
            clients: BTreeMap::new(),
            peers: HashMap::new(),
            settled: Vec::new(),
            calm: None,
            panics: Vec::new(),
        }
    }

    pub(crate) fn client(&self, number: u32) -> Option<&Client> {
        self.clients.get(&number)
    }

    pub(crate) fn open(&mut self, number: u32, opened: Opened, at: u64) {
        let client = Client {
            opened,
            name: Vec::new(),
            peer: None,
            goodbye: None,
            half_closed: None,
            broke: None,
            dismissed: None,
            closed: None,
            last_arrived: at,
        };
        self.clients.insert(number, client);
    }

    /// Notes what a frame from a client says of its connection.
    pub(crate) fn arrived(&mut self, number: u32, frame: &Frame, at: u64) {
        let Some(client) = self.clients.get_mut(&number) else {
            return;
        };
        if client.goodbye.is_none() {
            client.last_arrived = at;
        }
        match frame.kind {
            Kind::Goodbye => client.goodbye = client.goodbye.or(Some(at)),
            Kind::Hello => {
                client.name =
                    Hello::decode(&frame.payload).map_or_else(Vec::new, |hello| hello.name.into_bytes());
            }
            _ => {}
        }
    }

    /// Notes what a frame from the broker says of the connection.
    pub(crate) fn received(&mut self, number: u32, frame: &Frame, at: u64) {
        let Some(client) = self.clients.get_mut(&number) else {
            return;
        };
        match frame.kind {
            Kind::Welcome => {
                client.peer = Some(frame.id);
                self.peers.insert(frame.id, number);
            }
            Kind::Goodbye => client.dismissed = client.dismissed.or(Some((at, frame.aux))),
            _ => {}
        }
    }

    /// Notes how a connection ends.
    pub(crate) fn ended(&mut self, number: u32, what: &What, at: u64) {
        let Some(client) = self.clients.get_mut(&number) else {
            return;
        };
        let place = match what {
            What::HalfClosed => &mut client.half_closed,
            What::Broke => &mut client.broke,
            _ => &mut client.closed,
        };
        *place = place.or(Some(at));
    }

    /// The first moment after `at` by which all that had arrived by then was handled.
    pub(crate) fn settled_after(&self, at: u64) -> Option<u64> {
        self.settled
            .get(self.settled.partition_point(|settled| settled.at < at)..)
            .and_then(|rest| rest.first())
            .map(|settled| settled.at)
    }

    /// Whether between `from` and `to`, and before `due` ms, all that had arrived by `from` was handled.
    pub(crate) fn was_handled_in_time(&self, from: u64, to: u64, due: u64) -> bool {
        let mut settled = self.settled.iter();
        settled.any(|settled| from < settled.at && settled.at < to && settled.ms < due)
    }

    /// A client that breaks the protocol is not honest any more.
    pub(crate) fn breaches(&mut self, number: u32) {
        if let Some(client) = self.clients.get_mut(&number) {
            client.opened.honest = false;
        }
    }

    /// Whether a core panicked for this client, at `from` or later.
    pub(crate) fn panicked(&self, core: Core, client: u32, from: u64) -> bool {
        self.panics
            .iter()
            .any(|(at, what, author)| *at >= from && *what == core && *author == client)
    }

    pub(crate) fn is_owed(&self, number: u32) -> bool {
        self.client(number).is_some_and(Client::is_owed)
    }

    pub(crate) fn lives(&self, number: u32) -> bool {
        self.client(number).is_some_and(Client::lives)
    }

    /// The time that a call or wait with this `aux` has.
    pub(crate) fn patience(&self, aux: u32) -> u64 {
        u64::from(match aux {
            0 => self.setup.default_deadline_ms,
            ms => ms.min(self.setup.max_deadline_ms),
        })
    }
}

/// The findings.
#[derive(Debug, Default)]
pub(crate) struct Found(pub(crate) Vec<Violation>);

impl Found {
    pub(crate) fn add(&mut self, rule: &'static str, client: u32, at: u64, text: impl std::fmt::Display) {
        self.0.push(Violation {
            rule,
            text: match at {
                u64::MAX => format!("client {client}, at the end: {text}"),
                _ => format!("client {client}, step {}: {text}", step(at)),
            },
        });
    }
}

/// Bytes of peers for people: short, and without control characters.
pub(crate) fn show(bytes: &[u8]) -> String {
    bytes
        .get(..bytes.len().min(40))
        .unwrap_or(bytes)
        .escape_ascii()
        .to_string()
}
