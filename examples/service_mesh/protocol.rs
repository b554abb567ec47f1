//! What may be said: three protocols, each for one concern and in one direction.

use super::mesh::{Instance, Metrics};
use actix_ipc::protocol::{protocol, protocol_sender};

protocol! {
    /// What instances and callers call on the registry.
    pub mod discovery_protocol {
        /// Adds an instance of a service, which answers at `endpoint`. The registry checks it first, over this connection, and then
        /// again and again; it goes with the connection.
        register { service: String, endpoint: String } -> { instance: u64, check_ms: u64 };
        /// Takes an instance away in order.
        deregister { instance: u64 } -> { remaining: u32 };
        /// The instances of a service that are well.
        discover { service: String } -> { instances: Vec<Instance> };
        /// Every service: its name, how many instances are well and how many there are, and what they have done.
        list_services -> { services: Vec<(String, u32, u32, Metrics)> };
        /// What an instance has done; nothing comes back.
        report_metrics { instance: u64, metrics: Metrics };
    }
}

protocol! {
    /// What the registry calls on instances.
    pub mod health_protocol {
        /// Whether it can do its work.
        check -> { ready: bool, requests: u64 };
    }
}

protocol! {
    /// What callers call on instances, other instances among them.
    pub mod service_protocol {
        /// Does something that the service can do. What it cannot is the error `NoSuchTask`. `degraded` says what it had to leave out,
        /// when a service that it needs for that does not answer.
        call { task: String, input: String } -> { instance: u64, output: String, degraded: Option<String> };
    }
}

protocol_sender!(pub RegistrySender impl [discovery_protocol]);
protocol_sender!(pub HealthSender impl [health_protocol]);
protocol_sender!(pub ServiceSender impl [service_protocol]);
