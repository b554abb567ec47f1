//! Who may connect to a server of protocols, and how many at a time.
//!
//! Owns the rule, the tokens and the places. The evidence comes from the transport and the first frame; what is said to those who are
//! refused is sent by [`connection`](super::connection).

use crate::actors::tokens::{Failures, Source, Tokens};
use crate::config::peers::{FAREWELLS, HANDSHAKES};
use crate::error::CloseReason;
use crate::message::Token;
use crate::transport::{Endpoint, PeerCredentials};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const NOTHING: &str = "the server cannot tell who this is; a token that it knows or a client certificate with one DNS name is needed";
const UNKNOWN_TOKEN: &str = "the server does not know this token";

/// Why somebody is not let in.
pub(super) type Refusal = (CloseReason, String);

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Rules {
    tokens: Tokens,
    users: Vec<u32>,
    failures: Mutex<Failures>,
    connections: usize,
    places: Arc<Places>,
}

#[derive(Debug, Default)]
struct Places {
    taken: AtomicUsize,
    handshakes: AtomicUsize,
    strangers: AtomicUsize,
    farewells: AtomicUsize,
}

impl Places {
    /// Those in their handshakes whom the system names, or the others.
    const fn waiting(&self, stranger: bool) -> &AtomicUsize {
        match stranger {
            true => &self.strangers,
            false => &self.handshakes,
        }
    }
}

/// A place among the connections, which a stranger has once it has proven who it is, and among the handshakes until it is welcomed.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    taken: bool,
    /// Whose handshake it is: a stranger's or not.
    in_handshake: Option<bool>,
}

impl Place {
    pub(super) fn welcomed(&mut self) {
        if let Some(stranger) = self.in_handshake.take() {
            self.places.waiting(stranger).fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.welcomed();
        if self.taken {
            self.places.taken.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A place among those that are refused and may read why.
#[derive(Debug)]
pub(super) struct Farewell(Arc<Places>);

impl Drop for Farewell {
    fn drop(&mut self) {
        self.0.farewells.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Rules {
    pub(super) fn new(tokens: Tokens, users: Vec<u32>, connections: usize) -> Self {
        Self {
            tokens,
            users,
            failures: Mutex::default(),
            connections,
            places: Arc::default(),
        }
    }

    /// Whether somebody may begin, by what the system says of it. Over TCP it may say nothing: then the first frame has to prove it.
    pub(super) fn admit(&self, endpoint: &Endpoint, credentials: &PeerCredentials) -> Result<Place, Refusal> {
        let stranger = must_prove(endpoint, credentials);
        if !stranger && !self.is_allowed(credentials) {
            return Err((CloseReason::Denied, CloseReason::Denied.text().into()));
        }
        let handshakes = self.places.waiting(stranger).fetch_add(1, Ordering::Relaxed);
        let mut place = Place {
            places: Arc::clone(&self.places),
            taken: false,
            in_handshake: Some(stranger),
        };
        if !stranger {
            self.take(&mut place)?;
        }
        if handshakes >= HANDSHAKES {
            let text = format!("{HANDSHAKES} clients are in their handshakes already; try again");
            return Err((CloseReason::TooMany, text));
        }
        Ok(place)
    }

    /// Takes a place among the connections, once it is known who it is for.
    pub(super) fn take(&self, place: &mut Place) -> Result<(), Refusal> {
        if std::mem::replace(&mut place.taken, true) {
            return Ok(());
        }
        if self.places.taken.fetch_add(1, Ordering::Relaxed) < self.connections {
            return Ok(());
        }
        let text = format!(
            "{} clients are connected already, the most that this server takes",
            self.connections
        );
        Err((CloseReason::TooMany, text))
    }

    /// Whether somebody who is refused is given a moment to read why: not everybody can be.
    pub(super) fn farewell(&self) -> Option<Farewell> {
        let before = self.places.farewells.fetch_add(1, Ordering::Relaxed);
        let farewell = Farewell(Arc::clone(&self.places));
        (before < FAREWELLS).then_some(farewell)
    }

    /// Who it is when bytes have come from it, if the system did not say it before and does now.
    pub(super) fn named(
        &self,
        endpoint: &Endpoint,
        credentials: PeerCredentials,
        ask: impl FnOnce() -> PeerCredentials,
    ) -> PeerCredentials {
        if !must_prove(endpoint, &credentials) {
            return credentials;
        }
        Some(ask())
            .filter(|named| self.is_allowed(named))
            .unwrap_or(credentials)
    }

    fn is_allowed(&self, credentials: &PeerCredentials) -> bool {
        credentials.is_same_user_or_root() || credentials.uid.is_some_and(|uid| self.users.contains(&uid))
    }

    /// The name that somebody has proven, if any. A wrong token is refused even where none is needed.
    pub(super) fn prove(
        &self,
        endpoint: &Endpoint,
        credentials: &PeerCredentials,
        token: Option<&Token>,
        certified: Option<String>,
    ) -> Result<Option<String>, Refusal> {
        let denied = |text: &str| (CloseReason::Denied, text.to_owned());
        let by_token = match token {
            None => None,
            Some(token) => {
                let owner = self.tokens.owner(token).ok_or_else(|| denied(UNKNOWN_TOKEN))?;
                Some(owner.to_owned())
            }
        };
        let name = by_token.or(certified);
        if must_prove(endpoint, credentials) && name.is_none() {
            return Err(denied(NOTHING));
        }
        Ok(name)
    }

    /// How long the answer to a failed proof waits.
    pub(super) fn failed(&self, address: Option<IpAddr>) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.delay(address.map(Source::Address), Instant::now())
    }
}

/// Whether the system does not say who it is, and something else may.
const fn must_prove(endpoint: &Endpoint, credentials: &PeerCredentials) -> bool {
    credentials.uid.is_none() && matches!(endpoint, Endpoint::Tcp(_) | Endpoint::Tls(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(uid: Option<u32>) -> PeerCredentials {
        PeerCredentials {
            uid,
            ..PeerCredentials::UNKNOWN
        }
    }

    #[test]
    fn only_this_user_root_and_those_named_come_in_and_who_is_unknown_must_prove_it() {
        let mut tokens = Tokens::new();
        tokens.insert("lamp", Token::new([1; 32]));
        let rules = Rules::new(tokens, vec![77], 10);
        let own = PeerCredentials::current().uid;
        let unix: Endpoint = "unix:/x".parse().unwrap();
        let tcp: Endpoint = "tcp:127.0.0.1:1".parse().unwrap();
        // endpoint, uid, token, certificate; whether it begins, and whether it is believed
        let table = [
            (&unix, own, None, None, true, Ok(None)),
            (&unix, Some(0), None, None, true, Ok(None)),
            (&unix, Some(77), None, None, true, Ok(None)),
            (&unix, Some(78), None, None, false, Ok(None)),
            (&unix, None, None, None, false, Ok(None)),
            (&tcp, Some(78), Some(1), None, false, Ok(Some("lamp"))),
            (&tcp, None, None, None, true, Err(NOTHING)),
            (&tcp, None, Some(1), None, true, Ok(Some("lamp"))),
            (&tcp, None, Some(2), None, true, Err(UNKNOWN_TOKEN)),
            (&tcp, own, Some(2), None, true, Err(UNKNOWN_TOKEN)),
            (&tcp, None, None, Some("oven"), true, Ok(Some("oven"))),
        ];
        for (endpoint, uid, token, certified, begins, believed) in table {
            let token = token.map(|fill| Token::new([fill; 32]));
            assert_eq!(
                rules.admit(endpoint, &who(uid)).is_ok(),
                begins,
                "{endpoint} {uid:?}"
            );
            let proven = rules.prove(endpoint, &who(uid), token.as_ref(), certified.map(String::from));
            let proven = proven.map_err(|(_, text)| text);
            assert_eq!(
                proven.as_ref().map(Option::as_deref).map_err(String::as_str),
                believed,
                "{endpoint} {uid:?}"
            );
        }
    }

    #[test]
    fn places_come_back_and_handshakes_have_their_own() {
        let rules = Rules::new(Tokens::new(), Vec::new(), 2);
        let (unix, own) = ("unix:/x".parse().unwrap(), PeerCredentials::current());
        let mut first = rules.admit(&unix, &own).unwrap();
        first.welcomed();
        let _second = rules.admit(&unix, &own).unwrap();
        let refused = rules.admit(&unix, &own).unwrap_err();
        assert_eq!(refused.0, CloseReason::TooMany);
        drop(first);
        assert!(rules.admit(&unix, &own).is_ok());
        assert_eq!(rules.places.handshakes.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn strangers_keep_no_client_out() {
        let rules = Rules::new(Tokens::new(), Vec::new(), 2);
        let (unix, own) = ("unix:/x".parse().unwrap(), PeerCredentials::current());
        let tcp: Endpoint = "tcp:127.0.0.1:1".parse().unwrap();
        let mut strangers: Vec<_> = (0..HANDSHAKES)
            .map(|_| rules.admit(&tcp, &who(None)).unwrap())
            .collect();
        assert_eq!(rules.admit(&tcp, &who(None)).unwrap_err().0, CloseReason::TooMany);
        let client = rules.admit(&unix, &own).unwrap();
        rules.take(&mut strangers[0]).unwrap();
        rules.take(&mut strangers[0]).unwrap();
        assert_eq!(
            rules.take(&mut strangers[1]).unwrap_err().0,
            CloseReason::TooMany,
            "two are connected"
        );
        drop(client);
        drop(strangers);
        assert_eq!(rules.places.taken.load(Ordering::Relaxed), 0);
        assert_eq!(rules.places.strangers.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn only_so_many_of_those_that_are_refused_are_waited_for() {
        let rules = Rules::new(Tokens::new(), Vec::new(), 2);
        let farewells: Vec<_> = (0..FAREWELLS * 2).filter_map(|_| rules.farewell()).collect();
        assert_eq!(farewells.len(), FAREWELLS);
        drop(farewells);
        assert!(rules.farewell().is_some());
    }
}
