//! Who a connection is: from what the kernel said, the certificate and the token in its Hello.
//!
//! Owns the rule which proof is needed, and nothing of what the peer may do then. Its caller is the handshake of a
//! connection; the evidence comes from the Listener.

use crate::actors::tokens::Tokens;
use crate::message::Hello;
use crate::policy::{Principal, counted};
use crate::transport::dialect::Dialects;
use crate::transport::{Named, PeerCredentials, WindowsUser};
use std::net::IpAddr;

/// What is known of a peer before it has said anything.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// What the kernel says.
    pub credentials: PeerCredentials,
    /// All its groups, where the kernel says them.
    pub gids: Option<Box<[u32]>>,
    /// Its user under Windows.
    pub user: Option<WindowsUser>,
    /// Where it comes from: whom its wrong tokens are counted for.
    pub address: Option<IpAddr>,
    /// The kernel does not say who it is: it comes in by certificate or token, or not at all.
    pub must_prove: bool,
    /// The system was asked once more, when bytes had come.
    pub asked_again: bool,
    /// The name that its certificate proves; known once its handshake of TLS is done.
    pub certified: Option<String>,
}

/// Why somebody was not believed. The texts say what to do and nothing that helps to guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unproven {
    /// Nothing was shown.
    Nothing,
    /// A token that is not known.
    Token,
    /// A client of an older format, which has nothing to show: the system did not say whose it is.
    Left,
}

impl Unproven {
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Nothing => {
                "the broker cannot tell who this is; a token (`ipc-broker token create`) or a client certificate with one DNS name is needed"
            }
            Self::Token => {
                "the broker does not know this token; it reads those in its folder when it starts and at SIGHUP (a service of Windows: `sc.exe control NAME paramchange`)"
            }
            Self::Left => {
                "the system does not say whose connection of an older format this is: its client had left when it was accepted; such clients \
                 should use a Unix socket, or wait for an answer before they end"
            }
        }
    }
}

impl From<PeerCredentials> for Evidence {
    /// Of a peer whom the kernel has named.
    fn from(credentials: PeerCredentials) -> Self {
        Self {
            credentials,
            gids: None,
            user: None,
            address: None,
            must_prove: false,
            asked_again: false,
            certified: None,
        }
    }
}

impl Evidence {
    /// Whether it may be silent for as long as it likes: clients of older formats connect long before their first call. It is known who
    /// it is, and its place is charged to it.
    pub(in crate::actors) const fn may_be_silent(&self, dialects: Dialects) -> bool {
        dialects.any() && !self.must_prove
    }

    /// Bytes have come from a peer that the system had not named: it may now. It is asked once, for that is work, and the peer could have it done
    /// for every byte. Only this user and root are taken for named late; for anybody else the listener's rules would have to be asked again.
    /// `true`: it is named now.
    pub(super) fn ask_again(&mut self, ask: impl FnOnce() -> Named) -> bool {
        if !self.must_prove || std::mem::replace(&mut self.asked_again, true) {
            return false;
        }
        let Named { credentials, user } = ask();
        if !credentials.is_same_user_or_root() {
            return false;
        }
        (self.credentials, self.user, self.must_prove) = (credentials, user, false);
        true
    }

    /// Whose places it takes: its user by a number that nobody else has.
    pub(in crate::actors) fn counted(&self) -> PeerCredentials {
        let user = self.user.as_ref();
        let uid = self.credentials.uid.filter(|_| self.has_number());
        PeerCredentials {
            uid: counted(uid, user.map(|user| &*user.sid)),
            ..self.credentials
        }
    }

    fn has_number(&self) -> bool {
        self.user.as_ref().is_none_or(|user| user.has_number)
    }

    /// Who it is as long as it has proven nothing. A number that others may have as well is no evidence.
    pub(in crate::actors) fn unproven(&self) -> Principal {
        let user = self.user.as_ref();
        Principal {
            uid: self.credentials.uid.filter(|_| self.has_number()),
            sid: user.map(|user| user.sid.clone()),
            gids: self.gids.clone(),
            ..Principal::default()
        }
    }

    /// Who it is. `certified`: the name that the verified client certificate has. A wrong token is refused even where none
    /// is needed: whoever sends one relies on the name that it was to prove.
    pub(super) fn principal(&self, hello: &Hello, tokens: &Tokens) -> Result<Principal, Unproven> {
        let by_token = match &hello.token {
            None => None,
            Some(token) => Some(tokens.owner(token).ok_or(Unproven::Token)?.to_owned()),
        };
        let name = by_token.or_else(|| self.certified.clone());
        if self.must_prove && name.is_none() {
            return Err(Unproven::Nothing);
        }
        Ok(Principal {
            name: name.map(String::into_boxed_str),
            ..self.unproven()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Token;

    #[test]
    fn only_proof_or_the_kernel_lets_anybody_in() {
        let mut tokens = Tokens::new();
        tokens.insert("thermometer", Token::new([1; 32]));
        let shown = |fill: Option<u8>| Hello {
            name: "says what it likes".into(),
            token: fill.map(|fill| Token::new([fill; 32])),
            ..Hello::default()
        };
        let evidence = |uid, must_prove, certified: Option<&str>| Evidence {
            credentials: PeerCredentials {
                uid,
                ..PeerCredentials::UNKNOWN
            },
            must_prove,
            certified: certified.map(Into::into),
            ..Evidence::from(PeerCredentials::UNKNOWN)
        };
        // uid, must prove, certificate's name, token, who it is
        type Row = (
            Option<u32>,
            bool,
            Option<&'static str>,
            Option<u8>,
            Result<Option<&'static str>, Unproven>,
        );
        let table: [Row; 9] = [
            (Some(7), false, None, None, Ok(None)),
            (Some(7), false, None, Some(1), Ok(Some("thermometer"))),
            (Some(7), false, None, Some(2), Err(Unproven::Token)),
            (None, true, None, None, Err(Unproven::Nothing)),
            (None, true, None, Some(1), Ok(Some("thermometer"))),
            (None, true, None, Some(2), Err(Unproven::Token)),
            (None, true, Some("lamp.example"), None, Ok(Some("lamp.example"))),
            (None, true, Some("lamp.example"), Some(1), Ok(Some("thermometer"))),
            (None, true, Some("lamp.example"), Some(2), Err(Unproven::Token)),
        ];
        for (uid, must_prove, certified, token, expected) in table {
            let found = evidence(uid, must_prove, certified).principal(&shown(token), &tokens);
            let expected = expected.map(|name| Principal {
                uid,
                name: name.map(Into::into),
                ..Principal::default()
            });
            assert_eq!(found, expected, "{uid:?} {must_prove} {certified:?} {token:?}");
        }
    }

    #[test]
    fn the_system_is_asked_once_more_and_believed_about_this_user_alone() {
        let own = PeerCredentials::current();
        let other = PeerCredentials {
            uid: own.uid.map(|uid| uid.wrapping_add(1).max(1)),
            ..own
        };
        for (answer, believed) in [(PeerCredentials::UNKNOWN, false), (other, false), (own, true)] {
            let mut stranger = Evidence {
                must_prove: true,
                ..Evidence::from(PeerCredentials::UNKNOWN)
            };
            let mut questions = 0;
            let mut named = 0;
            // As often as something is read from it.
            for _ in 0..3 {
                named += usize::from(stranger.ask_again(|| {
                    questions += 1;
                    answer.into()
                }));
            }
            assert_eq!((questions, named), (1, usize::from(believed)), "{answer:?}");
            assert_eq!(stranger.must_prove, !believed, "{answer:?}");
        }
        let mut known = Evidence::from(own);
        assert!(!known.ask_again(|| panic!("it is known")));
    }

    #[test]
    fn a_number_that_others_may_have_is_no_evidence() {
        let of = |has_number| Evidence {
            user: Some(WindowsUser {
                sid: "S-1-5-21-1-2-3-1001".into(),
                has_number,
            }),
            ..Evidence::from(PeerCredentials {
                uid: Some(1001),
                ..PeerCredentials::UNKNOWN
            })
        };
        for has_number in [true, false] {
            let found = of(has_number).unproven();
            assert_eq!(found.uid, has_number.then_some(1001));
            assert_eq!(found.sid.as_deref(), Some("S-1-5-21-1-2-3-1001"));
            // Nor does it take the places of the user that has the number.
            let places = of(has_number).counted();
            assert_eq!(places.uid == Some(1001), has_number);
            assert_eq!(places.uid, found.counted());
        }
    }
}
