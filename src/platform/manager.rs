//! What a service manager is told of a daemon: ready, reading its settings again, alive, ending (the protocol of `sd_notify`).
//!
//! Owns the variables `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`, and the datagrams. It decides nothing, least of all whether
//! the daemon is alive; `ipc-broker` does. Without these variables, and where there are no Unix sockets, nothing is told this way. The manager of
//! services of Windows is told as well, by `service`.

use crate::text::printable;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::time::Duration;

/// What waits for a manager that does not read, in datagrams; beyond it the oldest is lost.
const WAITING_MAX: usize = 16;

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State<'a> {
    /// It listens, or has read its settings again. With a line for people.
    Ready(&'a str),
    /// It reads its settings again.
    Reloading,
    /// It was looked after and works. With a line for people.
    Alive(&'a str),
    /// It is ending.
    Stopping,
}

/// Who has started this process and wants to know how it is; perhaps nobody.
#[derive(Debug, Default)]
pub struct Manager {
    #[cfg(unix)]
    socket: Option<(std::os::unix::net::UnixDatagram, std::os::unix::net::SocketAddr)>,
    watchdog: Option<Duration>,
    /// What it has not taken yet, in order.
    waiting: RefCell<VecDeque<String>>,
}

impl Manager {
    /// The one that the environment names.
    ///
    /// # Errors
    /// What is wrong with a variable: what it is and what was expected.
    pub fn from_environment() -> Result<Self, String> {
        Self::of(|name| std::env::var_os(name))
    }

    fn of(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, String> {
        let watchdog = watchdog(&variable)?;
        #[cfg(unix)]
        return Ok(Self {
            socket: variable("NOTIFY_SOCKET").map(socket).transpose()?,
            watchdog,
            waiting: RefCell::default(),
        });
        #[cfg(not(unix))]
        Ok(Self {
            watchdog,
            waiting: RefCell::default(),
        })
    }

    /// Within which time it wants to hear [`State::Alive`] again and again; then it takes the process for dead. As a rule the half of it is
    /// right. `None`: it does not ask, or cannot be told.
    #[must_use]
    pub const fn watchdog(&self) -> Option<Duration> {
        match self.is_there() {
            true => self.watchdog,
            false => None,
        }
    }

    const fn is_there(&self) -> bool {
        #[cfg(unix)]
        return self.socket.is_some();
        #[cfg(not(unix))]
        false
    }

    /// Tells it, without waiting for a manager that does not read. `false`: it waits, and [`Self::go_on`] tells it later.
    ///
    /// # Errors
    /// When it cannot be told: that is lost.
    pub fn tell(&self, state: &State<'_>) -> io::Result<bool> {
        super::service::told(state);
        if !self.is_there() {
            return Ok(true);
        }
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() >= WAITING_MAX {
            waiting.pop_front();
        }
        waiting.push_back(datagram(state));
        drop(waiting);
        self.go_on()
    }

    /// Tells what waits, as far as it is taken. `true`: nothing waits any more.
    ///
    /// # Errors
    /// When it cannot be told: what was to be told first is lost.
    pub fn go_on(&self) -> io::Result<bool> {
        #[cfg(unix)]
        if let Some((socket, address)) = &self.socket {
            let mut waiting = self.waiting.borrow_mut();
            while let Some(text) = waiting.front() {
                match socket.send_to_addr(text.as_bytes(), address) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                    Err(error) => {
                        waiting.pop_front();
                        return Err(error);
                    }
                    Ok(_) => waiting.pop_front(),
                };
            }
        }
        Ok(true)
    }
}

fn datagram(state: &State<'_>) -> String {
    match state {
        State::Ready(status) => format!("READY=1\nSTATUS={}", printable(status)),
        State::Reloading => format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_usec()),
        State::Alive(status) => format!("WATCHDOG=1\nSTATUS={}", printable(status)),
        State::Stopping => "STOPPING=1\nSTATUS=draining".to_owned(),
    }
}

/// The time that the manager compares with its own: of CLOCK_MONOTONIC, in µs.
fn monotonic_usec() -> u64 {
    #[cfg(unix)]
    {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
        let nanos = u64::try_from(now.tv_nsec).unwrap_or_default();
        seconds.saturating_mul(1_000_000).saturating_add(nanos / 1_000)
    }
    #[cfg(not(unix))]
    0
}

/// The manager's patience, when it is this process that is watched.
fn watchdog(variable: &impl Fn(&str) -> Option<OsString>) -> Result<Option<Duration>, String> {
    let number = |name: &str| -> Result<Option<u64>, String> {
        let Some(value) = variable(name) else {
            return Ok(None);
        };
        let value = value.to_string_lossy();
        let number = value.parse().ok().filter(|number| *number > 0);
        number
            .map(Some)
            .ok_or_else(|| format!("{name} is {:?} and not a whole number above 0", printable(&value)))
    };
    let watched = number("WATCHDOG_PID")?.is_none_or(|pid| pid == u64::from(std::process::id()));
    let usec = number("WATCHDOG_USEC")?;
    Ok(usec.filter(|_| watched).map(Duration::from_micros))
}

/// The socket to tell it with, and its address: a path, or a name of Linux's own that begins with `@`.
#[cfg(unix)]
fn socket(
    value: OsString,
) -> Result<(std::os::unix::net::UnixDatagram, std::os::unix::net::SocketAddr), String> {
    let failed = |why: String| {
        format!(
            "NOTIFY_SOCKET is {:?}: {why}",
            printable(&value.to_string_lossy())
        )
    };
    let address = address(&value).map_err(|error| failed(error.to_string()))?;
    let socket = std::os::unix::net::UnixDatagram::unbound().map_err(|error| failed(error.to_string()))?;
    socket
        .set_nonblocking(true)
        .map_err(|error| failed(error.to_string()))?;
    Ok((socket, address))
}

#[cfg(unix)]
fn address(value: &OsString) -> io::Result<std::os::unix::net::SocketAddr> {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::SocketAddr;
    match value.as_bytes() {
        [b'/', ..] => SocketAddr::from_pathname(value),
        #[cfg(target_os = "linux")]
        [b'@', name @ ..] => <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name),
        _ => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "only a path from the root, or under Linux a name behind @, can be told anything",
        )),
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    fn manager(pairs: &[(&str, &str)]) -> Result<Manager, String> {
        let own = |name: &str| pairs.iter().find(|(own, _)| *own == name);
        Manager::of(|name| own(name).map(|(_, value)| value.into()))
    }

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_manager_at_a_path_hears_every_state_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let manager = manager(&[("NOTIFY_SOCKET", path.to_str().unwrap())]).unwrap();
        let before = monotonic_usec();
        for state in [
            State::Ready("listening on unix:/x\nREADY=0"),
            State::Reloading,
            State::Alive("2 connections"),
            State::Stopping,
        ] {
            assert!(manager.tell(&state).unwrap());
        }
        assert_eq!(heard(&socket), "READY=1\nSTATUS=listening on unix:/x\\nREADY=0");
        let reloading = heard(&socket);
        let usec = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!((before..=monotonic_usec()).contains(&usec.parse().unwrap()));
        assert_eq!(heard(&socket), "WATCHDOG=1\nSTATUS=2 connections");
        assert_eq!(heard(&socket), "STOPPING=1\nSTATUS=draining");
    }

    #[test]
    fn a_manager_that_does_not_read_keeps_nobody_waiting_and_hears_it_later() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let manager = manager(&[("NOTIFY_SOCKET", path.to_str().unwrap())]).unwrap();
        let mut told = 0;
        while manager.tell(&State::Alive(&told.to_string())).unwrap() {
            told += 1;
        }
        assert!(!manager.tell(&State::Stopping).unwrap());
        let mut all: Vec<String> = (0..told).map(|_| heard(&socket)).collect();
        assert!(manager.go_on().unwrap());
        all.extend([heard(&socket), heard(&socket)]);
        let alive = (0..=told).map(|number| format!("WATCHDOG=1\nSTATUS={number}"));
        let expected: Vec<String> = alive.chain(["STOPPING=1\nSTATUS=draining".to_owned()]).collect();
        assert_eq!(all, expected);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_manager_with_an_abstract_name_hears_it() {
        use std::os::linux::net::SocketAddrExt;
        let name = format!("actix-ipc-test-{}", std::process::id());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        let manager = manager(&[("NOTIFY_SOCKET", &format!("@{name}"))]).unwrap();
        manager.tell(&State::Ready("up")).unwrap();
        assert_eq!(heard(&socket), "READY=1\nSTATUS=up");
    }

    #[test]
    fn the_watchdog_is_for_the_process_that_it_names() {
        let (own, other) = (std::process::id().to_string(), "1".to_owned());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let path = path.to_str().unwrap();
        for (pid, expected) in [
            (None, Some(Duration::from_secs(30))),
            (Some(&own), Some(Duration::from_secs(30))),
            (Some(&other), None),
        ] {
            let mut pairs = vec![("NOTIFY_SOCKET", path), ("WATCHDOG_USEC", "30000000")];
            pairs.extend(pid.map(|pid| ("WATCHDOG_PID", pid.as_str())));
            assert_eq!(manager(&pairs).unwrap().watchdog(), expected);
        }
        // Nobody to feed.
        assert_eq!(manager(&[("WATCHDOG_USEC", "1")]).unwrap().watchdog(), None);
        assert_eq!(manager(&[]).unwrap().watchdog(), None);
    }

    #[test]
    fn what_cannot_be_understood_is_named() {
        for (name, value) in [
            ("NOTIFY_SOCKET", "relative"),
            ("NOTIFY_SOCKET", "vsock:2:1234"),
            ("NOTIFY_SOCKET", ""),
            ("WATCHDOG_USEC", "soon"),
            ("WATCHDOG_USEC", "0"),
            ("WATCHDOG_PID", "-1"),
        ] {
            let error = manager(&[(name, value)]).unwrap_err();
            assert!(error.starts_with(name), "{name}={value}: {error}");
        }
        assert!(manager(&[]).unwrap().tell(&State::Stopping).unwrap());
    }
}
