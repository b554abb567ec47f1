//! The label buses that the daemon hosts.
//!
//! Owns their beginning, what is said of them and their end. Each is a broker of its own, hosted as any endpoint's process hosts it: where another
//! process hosts a bus already, the daemon takes over when that one ends.

use super::voice::say;
use actix_ipc::actors::BusOptions;
use actix_ipc::bus::host::{AttachError, AttachOptions, Attached, Host, Hosting, attach};
use actix_ipc::config::Limits;
use actix_ipc::settings::buses::Bus;
use actix_ipc::terminal::printable;
use futures::future::join_all;
use std::time::{Duration, Instant};

/// How long the start waits for somebody to host a bus: a host that has been stopped may go on.
const START: Duration = Duration::from_secs(10);

/// The buses of this daemon, each with what is said of it.
pub(crate) struct Buses(Vec<(Attached, String)>);

impl Buses {
    /// Hosts each bus, or waits behind its host.
    ///
    /// # Errors
    /// The first bus that nobody hosts, and why.
    pub(crate) async fn start(buses: &[Bus], limits: &Limits) -> Result<Self, String> {
        let all = join_all(buses.iter().map(|bus| start(bus, limits))).await;
        all.into_iter().collect::<Result<_, _>>().map(Self)
    }

    /// Says who hosts each bus.
    pub(crate) fn announce(&self) {
        self.0.iter().for_each(|(_, who)| say(who));
    }

    /// Hands each bus over.
    pub(crate) async fn leave(self) {
        join_all(self.0.into_iter().map(|(bus, _)| bus.leave())).await;
    }
}

/// A bus, and who hosts it.
async fn start(bus: &Bus, limits: &Limits) -> Result<(Attached, String), String> {
    let name = format!("{:?}", bus.identifier);
    let name = printable(&name);
    let options = AttachOptions {
        may_host: true,
        until: Instant::now().checked_add(START),
        hosting: Hosting {
            limits: limits.clone(),
            bus: BusOptions::new(&bus.token),
        },
    };
    let failed = |error: AttachError| format!("the bus {name} cannot be hosted: {error}");
    let attached = attach(&bus.identifier, options).await.map_err(failed)?;
    let who = match attached.host() {
        Host::Elsewhere { pid: Some(pid) } => {
            format!("waiting for process {pid}, which hosts the bus {name}")
        }
        Host::Elsewhere { pid: None } => format!("waiting for another process, which hosts the bus {name}"),
        Host::Here | Host::Nobody | Host::Forked => format!("hosting the bus {name}"),
    };
    Ok((attached, who))
}
