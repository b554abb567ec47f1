//! What each program promises beyond the first exchange: pushes, transfers that resume, isolation, replicas, dead instances.
//!
//! The test is a client itself where it wants to say more than the program's own client does: the protocol is a file to include.

use crate::programs::{Place, interrupt, number, said, says_in_order};
use crate::signals;
use crate::support::{PATIENCE, Process};

/// What clients of `bidirectional` say.
#[path = "../../examples/bidirectional/protocol.rs"]
mod room_protocol;

mod basic {
    use super::*;

    #[test]
    fn the_server_counts_over_all_clients() {
        let place = Place::new();
        let running = place.listening("basic", "--server");
        let first = place.run("basic", "--client");
        let second = place.run("basic", "--client");
        let counts = [&first, &second].map(|ended| number(ended.success(), "Total calls: "));
        assert_eq!(counts, [5, 11]);
        interrupt(running);
    }

    #[test]
    fn a_client_may_end_a_server_that_was_started_so() {
        let place = Place::new();
        let running = place.listening("basic", "--server --may-be-ended");
        let ended = place.run("basic", "--client");
        says_in_order(
            ended.success(),
            &["Shutdown response: the server ends once its answers are sent"],
        );
        says_in_order(
            running.end().success(),
            &["asked to end: the client is done", "Server ended"],
        );
        assert_eq!(place.left(), [""; 0]);
    }

    #[test]
    fn a_server_that_is_stopped_is_told_from_none() {
        let place = Place::new();
        let nobody = place.run("basic", "--client");
        assert!(
            nobody.stderr.contains("no server was reached")
                && nobody
                    .stderr
                    .contains("start one with `cargo run --example basic -- --server`"),
            "{nobody:#?}"
        );
        let running = place.listening("basic", "--server");
        let hanging = signals::stop(&running);
        let ended = place.run("basic", "--client");
        assert_eq!(ended.code(), 1);
        assert!(
            ended.stderr.contains("no server answered")
                && ended.stderr.contains("stopped or busy")
                && !ended.stderr.contains("start one"),
            "{ended:#?}"
        );
        drop(hanging);
        interrupt(running);
    }

    #[test]
    fn a_killed_server_does_not_stand_in_the_way_of_the_next() {
        let place = Place::new();
        let mut running = place.listening("basic", "--server");
        running.kill();
        assert_ne!(place.left(), [""; 0], "kill -9 leaves the socket");
        let running = place.listening("basic", "--server");
        place.run("basic", "--client").success();
        let other = place.run("basic", "--server");
        assert_eq!(other.code(), 1, "two servers at one place: {other:#?}");
        interrupt(running);
        assert_eq!(place.left(), [""; 0]);
    }
}

mod bidirectional {
    use super::*;
    use actix_ipc::protocol::RpcClient;
    use room_protocol::{ServerSender, server_protocol::Commands as _};

    async fn within<T>(work: impl Future<Output = T>) -> T {
        tokio::time::timeout(PATIENCE, work).await.unwrap()
    }

    /// Nobody waits for it: pushes go on to the others, it costs one question its patience, and when it goes on it is told and asked again.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_member_that_is_stopped_costs_the_others_one_wait() {
        // More than its windows and its queue hold.
        const MOST: u32 = 10_000;
        let place = Place::new();
        let addr = place.addr();
        let running = place.listening(
            "bidirectional",
            &format!("--server --patience-ms 50 --addr {addr}"),
        );
        let eve = place.start(
            "bidirectional",
            &format!("--client --name eve --stay --addr {addr}"),
        );
        said(&eve, "Listening until");
        let client = RpcClient::<ServerSender>::connect(addr.parse().unwrap(), ())
            .await
            .unwrap();
        let room = client.sender();
        room.register("ada".into()).await.unwrap();
        let told = async || room.send_message("x".repeat(4096)).await.unwrap().told;
        let answer = async || {
            let asked = room.ask_everybody("well?".into()).await.unwrap().answers;
            asked.into_iter().find(|(name, _)| name == "eve").unwrap().1
        };
        assert_eq!(told().await, 1);
        let hanging = signals::stop(&eve);
        assert_eq!(answer().await, "(did not answer in time)");
        for _ in 0..3 {
            assert_eq!(answer().await, "(still owes an answer)");
        }
        let mut sent = 0;
        while told().await == 1 {
            sent += 1;
            assert!(sent < MOST, "any number of pushes is kept for it");
        }
        assert_eq!(told().await, 0);
        drop(hanging);
        within(async { while answer().await != "eve is here" {} }).await;
        within(async { while told().await == 0 {} }).await;
        let long = room.send_message("x".repeat(4097)).await.err().unwrap();
        assert_eq!(long.name.as_deref(), Some("TooLong"), "{long}");
        client.close().await;
        tokio::task::spawn_blocking(|| {
            interrupt(eve);
            interrupt(running);
        })
        .await
        .unwrap();
    }

    #[test]
    fn who_stays_hears_the_others_and_answers() {
        let place = Place::new();
        let running = place.listening("bidirectional", "--server");
        let ada = place.start("bidirectional", "--client --name ada --stay");
        said(&ada, "[ada] server: welcome");
        said(&ada, "Listening until");
        let bob = place.run("bidirectional", "--client --name bob --message hello");
        says_in_order(
            bob.success(),
            &[
                "Present: ada",
                "Message sent: hello (to 1 others)",
                "Answer of ada: ada is here",
                "Answer of bob: bob is here",
            ],
        );
        said(&ada, "[ada] server: bob has entered");
        said(&ada, "[ada] bob: hello");
        said(&ada, "[ada] the server asks: who is here?");
        said(&ada, "[ada] server: bob has left");
        let taken = place.run("bidirectional", "--client --name ada");
        assert_eq!(taken.code(), 1);
        assert!(taken.stderr.contains("somebody else is `ada`"), "{taken:#?}");
        // A dead client is gone for the others too.
        let mut eve = place.start("bidirectional", "--client --name eve --stay");
        said(&eve, "Listening until");
        eve.kill();
        said(&ada, "[ada] server: eve has left");
        // Who stays comes back when the server does.
        interrupt(running);
        said(&ada, "Connection lost");
        let running = place.listening("bidirectional", "--server");
        said(&ada, "Registered with ID: 1");
        says_in_order(interrupt(ada).success(), &["Client ended"]);
        interrupt(running);
        assert_eq!(place.left(), [""; 0]);
    }
}

mod service_mesh {
    use super::*;

    /// Calls until the registry's word about an instance is used: its word is older than a second, or asked for anew by each client.
    fn answers(place: &Place, calls: u32) -> Vec<(u64, u64)> {
        let ended = place.run(
            "service_mesh",
            &format!("--client --call shouter --calls {calls}"),
        );
        let lines = ended.success().lines();
        lines
            .filter(|line| line.starts_with("Instance "))
            .map(|line| (number(line, "Instance "), number(line, "answered ")))
            .collect()
    }

    fn instance(place: &Place, service: &str) -> (Process, u64) {
        let process = place.start("service_mesh", &format!("--service {service} --stay"));
        let id = number(&said(&process, "Registered with ID:"), "Registered with ID: ");
        (process, id)
    }

    #[test]
    fn a_service_registers_reports_and_leaves_when_nobody_calls() {
        let place = Place::new();
        let registry = place.listening("service_mesh", "--registry");
        let ended = place.run("service_mesh", "--service");
        says_in_order(
            ended.success(),
            &[
                "Connected!",
                "Registering with registry",
                "Registered with ID:",
                "Reporting metrics",
                "Nobody has called for 5 s",
                "Service operations completed",
            ],
        );
        said(&registry, "instance 1 has left");
        interrupt(registry);
        assert_eq!(place.left(), [""; 0]);
    }

    #[test]
    fn dead_and_stuck_instances_are_taken_out() {
        let place = Place::new();
        let registry = place.listening("service_mesh", "--registry --check-ms 1000");
        let (mut one, _) = instance(&place, "shouter");
        let (two, second) = instance(&place, "shouter");
        let (three, third) = instance(&place, "shouter");
        assert_eq!(answers(&place, 9), [(1, 3), (2, 3), (3, 3)]);

        one.kill();
        said(&registry, "instance 1 of shouter is gone with its connection");
        assert_eq!(answers(&place, 8), [(second, 4), (third, 4)]);

        let hanging = signals::stop(&two);
        said(&registry, "instance 2 of shouter is out");
        assert_eq!(answers(&place, 4), [(third, 4)]);
        drop(hanging);
        said(&registry, "instance 2 of shouter is in again");
        assert_eq!(answers(&place, 4), [(second, 2), (third, 2)]);

        // What a killed one left behind is where the next one listens.
        let four = place.start("service_mesh", "--service shouter --stay");
        said(&four, "Reporting metrics");
        assert!(said(&registry, "instance 4 of shouter is at").ends_with("mesh-shouter-1.sock"));
        interrupt(four);

        // One service calls another.
        let (greeter, _) = instance(&place, "greeter");
        let ended = place.run("service_mesh", "--client --calls 4");
        says_in_order(
            ended.success(),
            &[
                "Response: HELLO, CALLER 1",
                "answered 4 calls",
                "Metrics of greeter: 1 of 1",
            ],
        );
        for process in [two, three, greeter] {
            says_in_order(interrupt(process).success(), &["Service operations completed"]);
        }
        interrupt(registry);
        assert_eq!(
            place.left(),
            [""; 0],
            "what the killed one left behind was used again"
        );
    }

    /// With a registry that is too slow to notice.
    #[test]
    fn an_answer_without_a_service_that_does_not_answer_says_so() {
        let place = Place::new();
        let registry = place.listening("service_mesh", "--registry --check-ms 600000");
        let (greeter, _) = instance(&place, "greeter");
        let alone = place.run("service_mesh", "--client --calls 1");
        says_in_order(
            alone.success(),
            &[
                "Response: hello, caller 1 (instance 1)",
                "Degraded answer to call 1: greeted quietly: no instance of `shouter`",
            ],
        );
        let (shouter, _) = instance(&place, "shouter");
        says_in_order(
            place.run("service_mesh", "--client --calls 1").success(),
            &["Response: HELLO, CALLER 1 (instance 1)"],
        );
        let hanging = signals::stop(&shouter);
        let stopped = place.run("service_mesh", "--client --calls 1");
        says_in_order(
            stopped.success(),
            &[
                "Response: hello, caller 1 (instance 1)",
                "Degraded answer to call 1: greeted quietly: instance 2: the deadline passed",
            ],
        );
        drop(hanging);
        for process in [shouter, greeter, registry] {
            interrupt(process);
        }
    }

    /// Calls that ask the registry each, and go on while nobody answers.
    #[test]
    fn calls_go_on_without_the_registry() {
        for is_killed in [false, true] {
            let place = Place::new();
            let mut registry = place.listening("service_mesh", "--registry");
            let (shouter, _) = instance(&place, "shouter");
            let client = place.start("service_mesh", "--client --call shouter --calls 3000 --ask-ms 0");
            said(&client, "Response: CALLER 1");
            let hanging = (!is_killed).then(|| signals::stop(&registry));
            if is_killed {
                registry.kill();
            }
            let ended = client.end();
            says_in_order(
                ended.success(),
                &["Instance 1 answered 3000 calls", "All calls completed"],
            );
            interrupt(shouter);
            drop(hanging);
            if !is_killed {
                interrupt(registry);
            }
        }
    }

    #[test]
    fn services_register_again_when_the_registry_has_died() {
        let place = Place::new();
        let mut registry = place.listening("service_mesh", "--registry");
        let (shouter, _) = instance(&place, "shouter");
        registry.kill();
        said(&shouter, "Registry lost");
        let registry = place.listening("service_mesh", "--registry");
        said(&shouter, "Registered with ID:");
        assert_eq!(answers(&place, 3), [(1, 3)]);
        interrupt(shouter);
        interrupt(registry);
    }
}
