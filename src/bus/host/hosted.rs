//! The broker of a bus in the process that hosts it.
//!
//! Owns how it is set up, and its beginning and end: everybody who comes gets a new socket at the bus's path, and the path is given up under the
//! lock. Who may host is [`super::election`]'s decision. Called by [`super::keeper`].

use super::place::{Place, Scope};
use crate::actors::{Broker, BrokerHandle, BusOptions};
use crate::config::Limits;
use crate::transport::{Endpoint, Listener};

/// Memory that is shared with an endpoint, for each direction, in bytes: what may be under way from one sender fits. With less, what
/// does not fit waits in the sender's process, for a thread that has to be woken each time.
const RING_BYTES: usize = 1024 * 1024;

/// How a bus is hosted.
#[derive(Clone, Debug)]
pub struct Hosting {
    /// What connections and the broker may use. By default those of a broker, with more shared memory for each endpoint.
    pub limits: Limits,
    /// What endpoints must present.
    pub bus: BusOptions,
}

impl Default for Hosting {
    fn default() -> Self {
        let limits = Limits {
            ring_bytes: RING_BYTES,
            ..Limits::default()
        };
        let bus = BusOptions::default();
        Self { limits, bus }
    }
}

/// Starts the broker on the current actix System. The caller has the lock.
///
/// # Errors
/// Why it cannot listen, or not start.
pub(super) fn start(place: &Place, hosting: &Hosting) -> Result<BrokerHandle, String> {
    let mode = match place.scope {
        Scope::User => 0o600,
        Scope::System => 0o666,
    };
    let listener = Listener::replace(&place.endpoint, mode).map_err(|error| error.to_string())?;
    Broker::builder()
        .limits(hosting.limits.clone())
        .bus(hosting.bus.clone())
        .adopt(listener)
        .start()
        .map_err(|error| error.to_string())
}

/// Gives up the path. The caller still has the lock, so it is its own socket that is there. A pipe's name goes with its listener.
pub(super) fn leave_path(place: &Place) {
    if let Endpoint::Unix(path) = &place.endpoint {
        // If it fails a dead socket stays behind, which the next host replaces.
        let _ = std::fs::remove_file(path);
    }
}
