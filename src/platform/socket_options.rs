//! How the socket file of a listener is to be.
//!
//! Owns the choices; [`place`](super::place) carries them out, `transport` and `actors::Broker` hand them on. Systems without Unix sockets have no use
//! for them.

/// Who may reach a socket, beside its own user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnixOptions {
    /// Permission bits of the socket. It has them, and its group, before anybody can connect, and never wider ones.
    pub mode: u32,
    /// The socket's group; `None`: the process's own.
    pub gid: Option<u32>,
    /// Refuse a folder in which others could put something in the socket's place: it must belong to root or to this user,
    /// be no symbolic link, and be writable for its owner only. A mode or group of its own asks for that as well.
    pub own_folder: bool,
}

impl Default for UnixOptions {
    /// The socket is for this user only; the folder may be any.
    fn default() -> Self {
        Self {
            mode: 0o600,
            gid: None,
            own_folder: false,
        }
    }
}
