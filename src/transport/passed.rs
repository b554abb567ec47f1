//! Listening on a socket that somebody else opened: a service manager, which keeps it while the broker ends and starts again.
//!
//! Owns the checks whether such a socket is of use: its type, that it listens, and where. It does not know how it came;
//! `platform::passed` does. The path of a Unix socket stays its maker's: it is neither locked nor removed.

use super::Listener;
use crate::platform::passed::Passed;

/// Why a socket that was passed is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the passed socket {:?} {what}", crate::text::name(name))]
pub struct PassedError {
    /// What the service manager calls it.
    pub name: String,
    /// What is wrong with it, and what to do.
    pub what: String,
}

impl Listener {
    /// Listens on a socket that was passed, on the current tokio runtime. It is a Unix or TCP socket that listens already, at a path
    /// or on a loopback address.
    ///
    /// # Errors
    /// [`PassedError`]; the socket is closed here then.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O.
    pub fn passed(passed: Passed) -> Result<Self, PassedError> {
        let name = passed.name().to_owned();
        #[cfg(unix)]
        let made = adopt::listener(passed);
        #[cfg(not(unix))]
        let made = Err("cannot be used: this platform passes none".to_owned());
        made.map_err(|what| PassedError { name, what })
    }
}

#[cfg(unix)]
mod adopt {
    use super::super::listener::Kind;
    use super::super::{Endpoint, tcp, unix};
    use super::{Listener, Passed};
    use socket2::{Socket, Type};
    use std::io;
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    use std::path::Path;

    pub(super) fn listener(passed: Passed) -> Result<Listener, String> {
        let socket = Socket::from(passed.into_descriptor());
        let kind = socket
            .r#type()
            .map_err(|_| "is no socket; pass one that listens, as a .socket unit with ListenStream= does")?;
        if kind != Type::STREAM {
            return Err("is no stream socket; use ListenStream= in its .socket unit".into());
        }
        if !listens(&socket).map_err(failed("asked whether it listens"))? {
            return Err("does not listen; write Accept=no in its .socket unit".into());
        }
        socket
            .set_nonblocking(true)
            .map_err(failed("made not to block"))?;
        let address = socket.local_addr().map_err(failed("asked for its address"))?;
        if let Some(address) = address.as_socket() {
            let listener = tcp::Listener::passed(socket.into(), address)?;
            return Ok(Listener::of(
                Kind::Tcp(listener),
                Endpoint::Tcp(address.to_string()),
            ));
        }
        let Some(path) = address.as_pathname() else {
            let what = "has no path: abstract sockets, which every user of the machine can take, and other families are not served";
            return Err(what.into());
        };
        check_path(path)?;
        let endpoint = Endpoint::Unix(path.to_owned());
        let listener = unix::Listener::passed(&endpoint, socket).map_err(|error| error.to_string())?;
        Ok(Listener::of(Kind::Unix(listener), endpoint))
    }

    /// Apple's systems do not tell; accepting fails there then.
    fn listens(socket: &Socket) -> io::Result<bool> {
        #[cfg(not(target_vendor = "apple"))]
        return Ok(rustix::net::sockopt::socket_acceptconn(socket)?);
        #[cfg(target_vendor = "apple")]
        Ok(socket.local_addr().is_ok())
    }

    fn failed(action: &'static str) -> impl Fn(io::Error) -> String {
        move |error| format!("cannot be {action}: {error}")
    }

    /// Whether clients that look there find this user's or root's socket, which they trust.
    fn check_path(path: &Path) -> Result<(), String> {
        let shown = crate::text::escaped(&path.to_string_lossy()).to_string();
        if !path.is_absolute() {
            return Err(format!(
                "is at {shown}, which depends on a folder; give it a path from the root"
            ));
        }
        let there = std::fs::symlink_metadata(path)
            .map_err(|error| format!("is at {shown}, where nobody finds it: {error}"))?;
        if !there.file_type().is_socket() {
            return Err(format!("is at {shown}, where something else is by now"));
        }
        let own = rustix::process::geteuid().as_raw();
        match there.uid() {
            uid if uid == own || uid == 0 => Ok(()),
            uid => Err(format!(
                "is at {shown}, where a socket of uid {uid} is by now; this is uid {own}"
            )),
        }
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use crate::transport::{Endpoint, connect};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    fn refused(descriptor: impl Into<OwnedFd>) -> String {
        let error = Listener::passed(Passed::new("the\u{1b}name", descriptor.into())).unwrap_err();
        assert!(error.to_string().contains("the\\u{1b}name"), "{error}");
        error.what
    }

    #[tokio::test]
    async fn what_is_of_no_use_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        assert!(refused(std::fs::File::open("/dev/null").unwrap()).starts_with("is no socket"));
        assert!(refused(UnixDatagram::unbound().unwrap()).starts_with("is no stream socket"));
        assert!(refused(UnixStream::pair().unwrap().0).starts_with("does not listen"));
        let gone = UnixListener::bind(path("gone")).unwrap();
        std::fs::remove_file(path("gone")).unwrap();
        assert!(refused(gone).contains("nobody finds it"));
        let replaced = UnixListener::bind(path("replaced")).unwrap();
        std::fs::remove_file(path("replaced")).unwrap();
        std::fs::write(path("replaced"), "").unwrap();
        assert!(refused(replaced).contains("something else is by now"));
        let open = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        assert!(refused(open).contains("not a loopback address"));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn an_abstract_socket_is_refused() {
        use std::os::linux::net::SocketAddrExt;
        let name = format!("actix-ipc-passed-{}", std::process::id());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
        assert!(refused(UnixListener::bind_addr(&address).unwrap()).starts_with("has no path"));
    }

    #[tokio::test]
    async fn a_passed_socket_is_accepted_from_and_its_path_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.sock");
        let unix = UnixListener::bind(&path).unwrap();
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        let expected = [Endpoint::Unix(path.clone()), Endpoint::Tcp(address.to_string())];
        for (descriptor, endpoint) in [OwnedFd::from(unix), OwnedFd::from(tcp)]
            .into_iter()
            .zip(expected)
        {
            let mut listener = Listener::passed(Passed::new("b", descriptor)).unwrap();
            assert_eq!(*listener.endpoint(), endpoint);
            let (accepted, connected) = tokio::join!(listener.accept(), connect(&endpoint));
            connected.unwrap();
            assert!(accepted.unwrap().credentials.is_same_user_or_root());
        }
        assert!(path.exists(), "it is its maker's");
    }
}
