//! One suite of cases, run over every transport: what a user of the library may rely on wherever the bytes travel.
//!
//! How it works: `cases.rs`, `events.rs` and `streams.rs` hold the cases, each an async function over a [`World`] (a broker that listens on one endpoint, and
//! clients that connect to it). The macro at the end makes one test of each case for each transport of this platform.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unit_arg,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]

#[cfg(feature = "bus")]
mod bus;
mod cases;
#[cfg(feature = "tls-tests")]
mod certificates;
mod events;
#[cfg(feature = "tls-tests")]
#[path = "../support/certificates.rs"]
mod issuing;
mod streams;
#[path = "../support/until.rs"]
mod until;

use actix_ipc::actors::BrokerBuilder;
use actix_ipc::client::{ClientBuilder, SharedMemory};
use actix_ipc::transport::TlsClient;
use actix_ipc::{Broker, BrokerHandle, Endpoint, IpcClient};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Longer than a connection takes on any machine.
const PATIENT: Duration = Duration::from_secs(50);

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A broker on one endpoint.
pub struct World {
    pub broker: BrokerHandle,
    pub endpoint: Endpoint,
    tls: TlsClient,
    /// Everything goes through shared memory.
    ring: bool,
    _folder: tempfile::TempDir,
}

impl World {
    fn start(transport: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let unique = format!(
            "conformance-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let endpoint = match transport {
            "unix" | "ring" => format!("unix:{}", folder.path().join("b.sock").display()),
            "tcp" | "tls" => format!("{transport}:127.0.0.1:0"),
            other => format!("{other}:{unique}"),
        };
        let builder = Broker::builder().listen(endpoint.parse().unwrap());
        let (builder, tls) = with_certificates(builder, transport, folder.path());
        let broker = builder.start().unwrap();
        let endpoint = broker.endpoints()[0].clone();
        Self {
            broker,
            endpoint,
            tls,
            ring: transport == "ring",
            _folder: folder,
        }
    }

    /// A client of its own connection.
    pub async fn connect(&self) -> IpcClient {
        self.connect_as("").await
    }

    /// The same under a declared name.
    pub async fn connect_as(&self, name: &str) -> IpcClient {
        // A first attempt has a second, which a machine under load may not have for it.
        let client = self.builder().name(name).connect_wait(PATIENT).await.unwrap();
        if self.ring {
            // Answered behind the broker's offer.
            client.ping().await.unwrap();
            assert!(self.broker.metrics().rings > 0 && self.broker.metrics().rings_refused == 0);
        }
        client
    }

    /// A client with options of its own.
    pub fn builder(&self) -> ClientBuilder {
        IpcClient::builder()
            .endpoint(self.endpoint.clone())
            .shared_memory(if self.ring {
                SharedMemory::AtOnce
            } else {
                SharedMemory::default()
            })
            .tls(self.tls.clone())
    }
}

/// The broker with its certificate and what its clients need, for TLS; as it is for others.
fn with_certificates(builder: BrokerBuilder, transport: &str, folder: &Path) -> (BrokerBuilder, TlsClient) {
    #[cfg(feature = "tls-tests")]
    if transport == "tls" {
        let (server, client) = certificates::make(folder);
        return (builder.tls(server), client);
    }
    let _ = (transport, folder);
    (builder, TlsClient::default())
}

/// Runs a case in an actix System of its own, for at most a minute.
fn run<F: Future<Output = ()>>(transport: &str, case: impl FnOnce(World) -> F) {
    actix::System::new().block_on(async {
        let world = World::start(transport);
        let broker = world.broker.clone();
        let done = tokio::time::timeout(Duration::from_secs(60), case(world)).await;
        assert!(done.is_ok(), "the case did not end within a minute");
        broker.stop().await;
    });
}

macro_rules! conformance {
    ($module:ident; $($(#[$cfg:meta])* $transport:ident),*; $cases:tt) => {
        $($(#[$cfg])* mod $transport { conformance!(@cases $module $transport $cases); })*
    };
    (@cases $module:ident $transport:ident [$($case:ident),* $(,)?]) => {
        $(#[test] fn $case() { crate::run(stringify!($transport), crate::$module::$case); })*
    };
}

/// Programs that join a bus choose neither certificates nor when shared memory is asked for, so that TLS and rings are not among these.
#[cfg(feature = "bus")]
mod label_bus {
    conformance! {
        bus; #[cfg(unix)] unix, tcp, mem, #[cfg(windows)] pipe;
        [
            labels_decide_who_gets_a_message,
            one_of_several_gets_it_the_first_or_each_in_turn,
            a_message_waits_for_a_later_join_as_long_as_it_may,
            each_message_has_one_outcome,
            a_sender_waits_for_its_receivers,
            descriptors_travel_or_are_refused_aloud,
        ]
    }
}

conformance! {
    cases; #[cfg(unix)] unix, #[cfg(target_os = "linux")] ring, tcp, mem, #[cfg(feature = "tls-tests")] tls, #[cfg(windows)] pipe;
    [
        calls_and_answers,
        each_failure_is_typed,
        many_calls_in_flight_end_in_any_order,
        order_of_calls_to_one_object,
        streamed_replies_with_a_slow_reader,
        large_messages_both_ways,
        the_handler_learns_who_calls,
        dropping_a_call_cancels_it_at_the_callee,
        deadlines_travel,
        calls_wait_for_their_object,
        calls_without_reply,
        a_dead_worker_ends_its_calls,
        encodings_and_metadata,
        presence,
        names_have_one_owner,
        worker_groups_share,
        a_draining_broker_says_so,
    ]
}

/// Events, over every transport.
mod event_cases {
    conformance! {
        events; #[cfg(unix)] unix, #[cfg(target_os = "linux")] ring, tcp, mem, #[cfg(feature = "tls-tests")] tls, #[cfg(windows)] pipe;
        [
            events_in_order_and_none_lost,
            patterns_groups_and_no_local,
            retained_values,
            large_events,
            acknowledged_publishes_are_delivered,
            last_wills,
        ]
    }
}

/// Requests that go on with items, over every transport.
mod item_streams {
    conformance! {
        streams; #[cfg(unix)] unix, #[cfg(target_os = "linux")] ring, tcp, mem, #[cfg(feature = "tls-tests")] tls, #[cfg(windows)] pipe;
        [
            requests_go_on_with_items,
            items_of_every_size,
            both_ways_at_once,
            a_handler_may_end_before_the_items,
            a_slow_handler_holds_its_caller_back,
            a_caller_that_gives_up_ends_its_handler,
            a_stream_that_fails_takes_its_call_back,
            the_time_between_items_ends,
            items_wait_for_their_object,
            a_lost_worker_ends_its_streams,
        ]
    }
}
