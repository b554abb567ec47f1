//! The daemon from the moment when its broker listens: what it says, the signals that come, its end.
//!
//! Owns the order of what is told to people, programs and the service manager. It reads no settings and starts no broker.

use super::buses::Buses;
use super::manager::{self, Feeding};
use super::reload::Reload;
use super::voice::{self, complain, say};
use super::web::{self, Web};
use super::{EXIT_CANNOT_LISTEN, EXIT_IN_ORDER, EXIT_INTERNAL};
use actix_ipc::actors::{BrokerHandle, EndReason};
use actix_ipc::config::Limits;
use actix_ipc::platform::manager::{Manager, State};
use actix_ipc::platform::signals::{EndSignals, ReloadSignal};
use actix_ipc::settings::DashboardPlace;
use actix_ipc::settings::buses::Bus;
use futures::future::OptionFuture;
use std::rc::Rc;

/// What reaches the daemon from around it.
pub(crate) struct Around {
    pub(crate) signals: EndSignals,
    pub(crate) hangup: ReloadSignal,
    pub(crate) reload: Reload,
    pub(crate) manager: Rc<Manager>,
}

/// What the process says of itself once all of it is up; one line per endpoint, for people and programs.
fn announce(broker: &BrokerHandle, web: &Web, buses: &Buses) {
    for endpoint in broker.endpoints() {
        say(format_args!("listening on {endpoint}"));
    }
    web.announce();
    buses.announce();
}

/// Starts the page and the buses beside the broker that listens already, and runs until the end.
pub(crate) async fn host(
    broker: BrokerHandle,
    page: Option<DashboardPlace>,
    buses: &[Bus],
    limits: &Limits,
    around: Around,
) -> u8 {
    let web = match web::start(&broker, page) {
        Ok(web) => web,
        Err(error) => {
            complain(error);
            broker.stop().await;
            return EXIT_CANNOT_LISTEN;
        }
    };
    for (endpoint, reason) in broker.skipped() {
        complain(format_args!("skipped {endpoint}: {reason}"));
    }
    let exit = host_buses(broker, &web, buses, limits, around).await;
    web.stop().await;
    exit
}

async fn host_buses(
    broker: BrokerHandle,
    web: &Web,
    buses: &[Bus],
    limits: &Limits,
    mut around: Around,
) -> u8 {
    let started = tokio::select! {
        started = Buses::start(buses, limits) => started,
        signal = around.signals.next() => {
            tracing::info!("{} received: draining", signal.name());
            manager::tell(&around.manager, &State::Stopping);
            return exit_of_end(&broker.stop().await);
        }
    };
    match started {
        Ok(buses) => {
            announce(&broker, web, &buses);
            run(broker, buses, around).await
        }
        Err(error) => {
            complain(error);
            broker.stop().await;
            EXIT_CANNOT_LISTEN
        }
    }
}

async fn run(broker: BrokerHandle, buses: Buses, around: Around) -> u8 {
    let Around {
        mut signals,
        mut hangup,
        mut reload,
        manager,
    } = around;
    let ready = || manager::tell(&manager, &State::Ready(&manager::status(&broker)));
    let mut reading = None;
    ready();
    let feeding = Feeding::start(&manager, &broker);
    let first = loop {
        tokio::select! {
            reason = broker.ended() => return exit_of_end(&reason),
            signal = signals.next() => break signal,
            // One reading at a time; signals that come meanwhile count as one.
            () = hangup.next(), if reading.is_none() => {
                manager::tell(&manager, &State::Reloading);
                reading = Some(reload.read());
            }
            Some(read) = OptionFuture::from(reading.as_mut()) => {
                reading = None;
                reload.apply(read, &broker);
                ready();
            }
        }
    };
    drop(feeding);
    manager::tell(&manager, &State::Stopping);
    tracing::info!(
        "{} received: draining; a second signal ends at once",
        first.name()
    );
    let second = tokio::select! {
        (reason, ()) = async { tokio::join!(broker.stop(), buses.leave()) } => return exit_of_end(&reason),
        signal = signals.next() => signal,
    };
    complain(format_args!(
        "{} received while draining: ending at once",
        second.name()
    ));
    voice::finish();
    // Not by returning: the runtime would wait for what is being drained.
    std::process::exit(i32::from(second.exit_code()))
}

fn exit_of_end(reason: &EndReason) -> u8 {
    match reason {
        EndReason::Drained => EXIT_IN_ORDER,
        EndReason::DrainedExcept(_) => {
            complain(reason);
            EXIT_IN_ORDER
        }
        EndReason::Failed(why) => {
            complain(format_args!("the broker failed: {why}"));
            EXIT_INTERNAL
        }
    }
}
