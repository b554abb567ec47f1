//! actix-ipc: local message broker (crate doc to come)
pub mod actors;
pub mod client;
pub mod config;
pub mod error;
pub mod message;
pub mod metrics;
pub mod platform;
pub mod transport;

pub use async_trait::async_trait;
