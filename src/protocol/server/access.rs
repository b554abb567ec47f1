//! Who may connect to a server of protocols, and how many at a time.
//!
//! Owns the rule, the tokens and the places. The evidence comes from the transport and the first frame; what is said to those who are
//! refused is sent by [`connection`](super::connection).

use crate::actors::tokens::{Failures, Source, Tokens};
use crate::error::CloseReason;
use crate::message::Token;
use crate::transport::{Endpoint, PeerCredentials};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Connections whose handshakes may be under way at the same time: strangers must not take the places of clients.
const HANDSHAKES: usize = 128;
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
}

/// A place among the connections, and among the handshakes until it is welcomed.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    in_handshake: bool,
}

impl Place {
    pub(super) fn welcomed(&mut self) {
        if std::mem::take(&mut self.in_handshake) {
            self.places.handshakes.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.welcomed();
        self.places.taken.fetch_sub(1, Ordering::Relaxed);
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
        if !must_prove(endpoint, credentials) && !self.is_allowed(credentials) {
            return Err((CloseReason::Denied, CloseReason::Denied.text().into()));
        }
        let place = Place {
            places: Arc::clone(&self.places),
            in_handshake: true,
        };
        let taken = self.places.taken.fetch_add(1, Ordering::Relaxed);
        let handshakes = self.places.handshakes.fetch_add(1, Ordering::Relaxed);
        if taken >= self.connections {
            let text = format!(
                "{} clients are connected already, the most that this server takes",
                self.connections
            );
            return Err((CloseReason::TooMany, text));
        }
        if handshakes >= HANDSHAKES {
            let text = format!("{HANDSHAKES} clients are in their handshakes already; try again");
            return Err((CloseReason::TooMany, text));
        }
        Ok(place)
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
}
