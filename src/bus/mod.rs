//! The label bus: endpoints that join by name and reach each other by labels.
//!
//! [`host`] owns where a bus is and which process hosts it.

pub mod host;
