//! Services that start when somebody asks for what they provide.
//!
//! Owns what a [`Service`] is, the decision when one is started and given up ([`States`], pure), and the [`Launcher`], the actor that
//! starts processes and hears of their ends. It refuses to know peers and frames: Registry steps the states, tells it what is
//! registered, and tells the callers what failed; they wait at their own connections. The files that describe services are read in
//! [`read`] (feature `cli`). All the rest needs no crate that the broker has not got anyway, so it has no feature of its own.
//!
//! ```text
//!  Registry ─► States ─Order─► Launcher ─► one thread for each process that runs
//!  Registry ◄─────────Report── Launcher ◄──── its end
//! ```

mod command;
pub mod launcher;
#[cfg(feature = "cli")]
pub mod read;
mod run;
pub mod service;
pub mod states;

pub use launcher::{Failed, Launcher, Order, Redescribed, Report};
pub use service::{AtEnd, Described, Program, Service, Services, Start};
pub use states::{Shown, States, Step};
