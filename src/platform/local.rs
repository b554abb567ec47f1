//! Blocking sockets between processes of this machine: what the bare floor of `rob bench` is made of.
//!
//! Owns which kind of socket the system has for it (Unix sockets, elsewhere TCP on the loopback address), and who listens at
//! one. It knows nothing of frames and brokers; `rob` calls it.

use std::io;
use std::path::Path;

/// A connection, blocking.
#[cfg(unix)]
pub type Stream = std::os::unix::net::UnixStream;
/// A connection, blocking.
#[cfg(not(unix))]
pub type Stream = std::net::TcpStream;

/// What accepts them.
#[derive(Debug)]
pub struct Listener {
    #[cfg(unix)]
    socket: std::os::unix::net::UnixListener,
    #[cfg(not(unix))]
    socket: std::net::TcpListener,
}

/// Listens in a folder that nobody else may enter. Returns the address for [`connect`] as well.
///
/// # Errors
/// When the system refuses the socket.
pub fn bind(folder: &Path) -> io::Result<(Listener, String)> {
    #[cfg(unix)]
    {
        let path = folder.join("relay.sock");
        let address = path
            .to_str()
            .ok_or_else(|| io::Error::other("the folder's name is not UTF-8"))?;
        let socket = std::os::unix::net::UnixListener::bind(&path)?;
        Ok((Listener { socket }, address.to_owned()))
    }
    #[cfg(not(unix))]
    {
        let _ = folder;
        let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
        let address = socket.local_addr()?.to_string();
        Ok((Listener { socket }, address))
    }
}

/// Connects to an address that [`bind`] gave.
///
/// # Errors
/// When nobody listens there.
pub fn connect(address: &str) -> io::Result<Stream> {
    let stream = Stream::connect(address)?;
    #[cfg(not(unix))]
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Listener {
    /// Waits for the next connection.
    ///
    /// # Errors
    /// When the system refuses it, for want of descriptors say.
    pub fn accept(&self) -> io::Result<Stream> {
        let (stream, _) = self.socket.accept()?;
        #[cfg(not(unix))]
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// How long who listens may take to close behind a greeting.
#[cfg(unix)]
const GREETING_MAX: std::time::Duration = std::time::Duration::from_secs(1);

/// The process that listens at a Unix socket, where the system tells. Connects, says the greeting, which is to be one that ends the
/// connection, waits a second at most until it is closed, and hangs up. Needs a tokio run-time.
#[must_use]
pub fn listener_pid(path: &Path, greeting: &[u8]) -> Option<u32> {
    #[cfg(unix)]
    {
        use std::io::{Read, Write};
        tokio::runtime::Handle::try_current().ok()?;
        let mut stream = Stream::connect(path).ok()?;
        stream.set_read_timeout(Some(GREETING_MAX)).ok()?;
        // Until it has closed: nobody is left with half a conversation.
        if stream.write_all(greeting).is_ok() && !greeting.is_empty() {
            let _ = stream.read_to_end(&mut Vec::new());
        }
        stream.set_nonblocking(true).ok()?;
        let told = tokio::net::UnixStream::from_std(stream).ok()?.peer_cred().ok()?;
        u32::try_from(told.pid()?).ok().filter(|pid| *pid != 0)
    }
    #[cfg(not(unix))]
    {
        let _ = (path, greeting);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn what_is_written_at_one_end_is_read_at_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let (listener, address) = bind(folder.path()).unwrap();
        let mut near = connect(&address).unwrap();
        let mut far = listener.accept().unwrap();
        near.write_all(b"x").unwrap();
        let mut byte = [0];
        far.read_exact(&mut byte).unwrap();
        assert_eq!(byte, *b"x");
    }

    #[tokio::test]
    #[cfg(unix)]
    async fn a_listener_is_found_by_its_socket() {
        let folder = tempfile::tempdir().unwrap();
        let (_listener, address) = bind(folder.path()).unwrap();
        assert_eq!(listener_pid(Path::new(&address), &[]), Some(std::process::id()));
        assert_eq!(listener_pid(&folder.path().join("nobody"), &[]), None);
    }
}
