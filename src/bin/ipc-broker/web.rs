//! The web page beside the broker, where it was asked for and this program has it.
//!
//! Owns what is said about it. Without the feature `dashboard` the settings refuse the address, so there is nothing to start.

use crate::voice::say;
#[cfg(feature = "dashboard")]
use actix_ipc::dashboard::{Dashboard, DashboardOptions};
use actix_ipc::settings::DashboardPlace;

/// The page, or none.
pub(crate) struct Web {
    #[cfg(feature = "dashboard")]
    page: Option<Dashboard>,
    anyone: bool,
}

/// Serves the page.
#[cfg(feature = "dashboard")]
pub(crate) fn start(
    broker: &actix_ipc::actors::BrokerHandle,
    place: Option<DashboardPlace>,
) -> Result<Web, actix_ipc::dashboard::DashboardError> {
    let started = place.map(|place| {
        let options = DashboardOptions::new(place.address);
        let options = if place.anyone { options.anyone() } else { options };
        Dashboard::start(broker, &options)
    });
    Ok(Web {
        page: started.transpose()?,
        anyone: place.is_some_and(|place| place.anyone),
    })
}

/// Serves nothing.
#[cfg(not(feature = "dashboard"))]
pub(crate) fn start(
    _: &actix_ipc::actors::BrokerHandle,
    place: Option<DashboardPlace>,
) -> Result<Web, &'static str> {
    match place {
        None => Ok(Web { anyone: false }),
        Some(_) => Err("this ipc-broker was built without the dashboard"),
    }
}

impl Web {
    /// Says where it is, and loudly if it is for everybody.
    pub(crate) fn announce(&self) {
        #[cfg(feature = "dashboard")]
        if let Some(page) = &self.page {
            say(format_args!("dashboard at {}", page.url()));
        }
        if self.anyone {
            let text = "the dashboard answers EVERYBODY who reaches its address, other users and other machines, without asking who they are: \
                        they read the names of all objects and topics, processes, users, counts and errors; nothing is encrypted";
            tracing::warn!("{text}");
            say(format_args!("warning: {text}"));
        }
    }

    /// Ends it.
    pub(crate) async fn stop(&self) {
        #[cfg(feature = "dashboard")]
        if let Some(page) = &self.page {
            page.stop().await;
        }
    }
}
