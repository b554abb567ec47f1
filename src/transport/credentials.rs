//! Who is at the other end of a connection, as the operating system says.
//!
//! Owns [`PeerCredentials`], the question "is it this user or root", and the check that a client makes of its
//! server. What a broker allows is its own policy; here is only the evidence.

use super::Endpoint;
use std::io;

/// What is known of a peer. `None` is "not known", never "nobody".
///
/// On Windows, which has no uid, `uid` is the last part (RID) of the user's SID and 0 for SYSTEM. Users of several domains may have equal
/// ones; [`WindowsUser`] is the whole of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PeerCredentials {
    /// The effective user when the connection was made.
    pub uid: Option<u32>,
    /// Its effective group.
    pub gid: Option<u32>,
    /// Its process. The number may have been given to another process since.
    pub pid: Option<u32>,
}

/// A user of Windows, who is told from all others by a SID alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WindowsUser {
    /// As access lists have it: `S-1-5-21-…-1001`.
    pub sid: Box<str>,
    /// Whether its number is nobody else's: it is this process's user, SYSTEM, or a user of this machine and not of a domain.
    pub has_number: bool,
}

/// Whom the system names at the other end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) credentials: PeerCredentials,
    /// Where users have such identities, and this one's is known.
    pub(crate) user: Option<WindowsUser>,
}

impl Named {
    /// What may be decided by the number alone: one that others may have as well is left out.
    pub(crate) fn by_number(&self) -> PeerCredentials {
        let certain = self.user.as_ref().is_none_or(|user| user.has_number);
        PeerCredentials {
            uid: self.credentials.uid.filter(|_| certain),
            ..self.credentials
        }
    }
}

impl From<PeerCredentials> for Named {
    fn from(credentials: PeerCredentials) -> Self {
        Self {
            credentials,
            user: None,
        }
    }
}

/// Whether the broker can tell which user a TCP peer is, so that it may listen on TCP without being asked to.
#[must_use]
pub const fn tcp_peers_are_known() -> bool {
    cfg!(any(target_os = "linux", windows))
}

impl PeerCredentials {
    /// Nothing is known.
    pub const UNKNOWN: Self = Self {
        uid: None,
        gid: None,
        pid: None,
    };

    /// Those of the calling process.
    #[must_use]
    pub fn current() -> Self {
        Self {
            uid: current_uid(),
            gid: current_gid(),
            pid: Some(std::process::id()),
        }
    }

    /// Whether the peer is known to be this process's user, or root (SYSTEM on Windows). An unknown user is not.
    #[must_use]
    pub fn is_same_user_or_root(&self) -> bool {
        self.uid.is_some_and(|uid| uid == 0 || Some(uid) == current_uid())
    }
}

/// The effective user of this process; `None` where the system does not tell.
#[must_use]
pub fn current_uid() -> Option<u32> {
    #[cfg(unix)]
    return Some(rustix::process::geteuid().as_raw());
    #[cfg(windows)]
    return super::pipe::current_user_rid();
    #[cfg(not(any(unix, windows)))]
    return None;
}

/// The user that this process runs as, as access lists have it: `S-1-5-21-…-1001`.
///
/// # Errors
/// What the system says.
#[cfg(all(windows, feature = "bus"))]
pub(crate) fn current_sid() -> io::Result<String> {
    super::pipe::current_sid()
}

fn current_gid() -> Option<u32> {
    #[cfg(unix)]
    return Some(rustix::process::getegid().as_raw());
    #[cfg(not(unix))]
    return None;
}

/// Refuses a server that is not this user or root: what a client sends is meant for its own user's broker only.
///
/// # Errors
/// `PermissionDenied`, naming both users.
pub(super) fn check_server(endpoint: &Endpoint, server: &PeerCredentials) -> io::Result<()> {
    if server.is_same_user_or_root() {
        return Ok(());
    }
    let ours = current_uid().map_or_else(|| "an unknown user".to_owned(), |uid| format!("uid {uid}"));
    let theirs = match (server.uid, server.pid) {
        (Some(uid), Some(pid)) => format!("belongs to uid {uid} (pid {pid})"),
        (Some(uid), None) => format!("belongs to uid {uid}"),
        (None, _) => "belongs to a user that the system does not tell".to_owned(),
    };
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!(
            "{endpoint}: the server {theirs}, this process to {ours}; only a server of the same user or root is trusted"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_same_user_or_root() {
        let ours = current_uid().unwrap();
        let table = [
            (Some(ours), true),
            (Some(0), true),
            (Some(ours.wrapping_add(1).max(1)), false),
            (None, false),
        ];
        for (uid, expected) in table {
            let peer = PeerCredentials {
                uid,
                ..PeerCredentials::UNKNOWN
            };
            assert_eq!(peer.is_same_user_or_root(), expected, "{uid:?}");
        }
        assert!(PeerCredentials::current().is_same_user_or_root());
    }

    #[test]
    fn a_number_that_others_may_have_decides_nothing() {
        let credentials = PeerCredentials {
            uid: Some(1001),
            gid: None,
            pid: Some(42),
        };
        assert_eq!(Named::from(credentials).by_number(), credentials);
        for has_number in [true, false] {
            let user = WindowsUser {
                sid: "S-1-5-21-1-2-3-1001".into(),
                has_number,
            };
            let named = Named {
                credentials,
                user: Some(user),
            };
            let uid = has_number.then_some(1001);
            assert_eq!(named.by_number(), PeerCredentials { uid, ..credentials });
        }
    }

    #[test]
    fn a_refusal_names_both_users() {
        let stranger = current_uid().unwrap().wrapping_add(7).max(1);
        let peer = PeerCredentials {
            uid: Some(stranger),
            gid: None,
            pid: Some(42),
        };
        let error = check_server(&Endpoint::Memory("x".into()), &peer).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        let text = error.to_string();
        assert!(text.contains(&format!("uid {stranger} (pid 42)")), "{text}");
        assert!(
            text.contains(&format!("uid {}", current_uid().unwrap())),
            "{text}"
        );
    }
}
