//! What all five programs have in common: demo mode, processes of their own, refusals, and that nothing is left behind.

use crate::guard::Facts;
use crate::programs::{PROGRAMS, Place, interrupt, said, says_in_order};
use crate::signals;
use crate::support::PATIENCE;

/// What the demo of each prints, in this order.
const DEMOS: [(&str, &[&str]); 6] = [
    (
        "basic",
        &["Demo Mode", "Echo:", "Sum: 42", "Total calls: 7 (3 lines logged)"],
    ),
    (
        "bidirectional",
        &[
            "Demo",
            "Registered with ID:",
            "Registered with ID:",
            "Refused:",
            "Message sent:",
            "Answer of ada: ada is here",
            "Answer of bob: bob is here",
        ],
    ),
    // A push comes when it comes, but before the answer to a later call of the same protocol.
    (
        "bidirectional",
        &["[bob] ada: Hello, Bob", "Answer of bob: bob is here"],
    ),
    (
        "file_transfer",
        &[
            "Demo Mode",
            "File ID:",
            "Holding at 50%",
            "Connected again",
            "Resuming at byte",
            "Total size: 4.0 MiB",
            "Transfer success: true",
            "Checksum:",
            "Chunked file transfer with progress tracking",
        ],
    ),
    (
        "database",
        &[
            "Demo Mode",
            "GET user = ada",
            "Transaction ID:",
            "Commit success:",
            "Inside the transaction user = mallory, outside user = ada",
            "Rollback success: 1",
            "Conflict:",
            "The replica has what the primary has: true",
            "Transaction support",
        ],
    ),
    (
        "service_mesh",
        &[
            "Demo Mode",
            "Service ID:",
            "Discovered 3 instances",
            "Response: HELLO, CALLER 1",
            "Calls by instance: 2: 3, 3: 3, 4: 3",
            "Refused:",
            "ends without a word",
            "Calls by instance: 2: ",
            "Metrics of shouter: 2 of 2 instances well, 16 requests, 1 errors",
            "Service registration and discovery",
            "Health check monitoring",
        ],
    ),
];

/// What clients print when a server is there, in this order: the program, the arguments of the server and of the client.
const TALKS: [(&str, &str, &str, &[&str]); 5] = [
    (
        "basic",
        "--server",
        "--client",
        &[
            "Connected!",
            "Echo response:",
            "Add response: 40 + 2 = 42",
            "Error response:",
            "does not fit",
            "Total calls",
            "Shutdown response: the server goes on",
            "All requests completed successfully",
        ],
    ),
    (
        "bidirectional",
        "--server",
        "--client",
        &[
            "Connected!",
            "Registered with ID:",
            "Message sent:",
            "Answer of guest: guest is here",
        ],
    ),
    (
        "file_transfer",
        "--server",
        "--client",
        &[
            "Connected!",
            "Requesting file transfer:",
            "File transfer initiated:",
            "Sending",
            "Transfer completed:",
            "File transfer completed successfully",
        ],
    ),
    (
        "database",
        "--server",
        "--client",
        &[
            "Connected!",
            "Executing non-transactional queries",
            "GET user = ada",
            "GET nobody = (nothing)",
            "Starting transaction",
            "Committing transaction",
            "Commit success:",
            "Testing rollback",
            "Conflict:",
            "SCAN account/ada = 70",
            "SCAN account/bob = 30",
            "Status: state 3, 3 values, 0 open transactions, 3 commits for replicas",
            "All database operations completed",
        ],
    ),
    (
        "service_mesh",
        "--registry",
        "--client --call shouter",
        &["Connected!", "Discovered 0 instances of shouter"],
    ),
];

#[test]
fn every_demo_tells_its_story_and_leaves_nothing() {
    for (name, parts) in DEMOS {
        for line in ["", "--demo"] {
            let place = Place::new();
            let ended = place.run(name, line);
            says_in_order(ended.success(), parts);
            assert_eq!(ended.stderr, "", "{name}");
            assert_eq!(place.left(), [""; 0], "{name}");
        }
    }
    let ended = Place::new().run("database", "");
    assert!(ended.stdout.contains("Replication update:"), "{ended:#?}");
}

#[test]
fn programs_talk_from_processes_of_their_own() {
    for (name, server, client, parts) in TALKS {
        let place = Place::new();
        let running = place.listening(name, server);
        let ended = place.run(name, client);
        says_in_order(&ended.stdout, parts);
        if name == "service_mesh" {
            // There is nobody to call.
            assert_eq!(ended.code(), 1);
            assert!(ended.stderr.contains("no instance of `shouter`"), "{ended:#?}");
        } else {
            ended.success();
        }
        interrupt(running);
        let left = place.left();
        let kept = ["actix-ipc-file-transfer"];
        assert!(
            left.iter().all(|file| kept.contains(&file.as_str())),
            "{name}: {left:?}"
        );
    }
}

#[test]
fn a_server_gives_back_what_its_clients_took() {
    for (name, server, client, _) in TALKS {
        let place = Place::new();
        let addr = place.addr();
        let running = place.listening(name, &format!("{server} --addr {addr}"));
        // The first client makes what the program makes once.
        place.run(name, &format!("{client} --addr {addr}"));
        let before = Facts::of(running.id());
        for _ in 0..3 {
            place.run(name, &format!("{client} --addr {addr}"));
        }
        let left = || {
            let (before, now) = (before?, Facts::of(running.id())?);
            (now.descriptors > before.descriptors).then(|| format!("{name}: {now:?}, at first {before:?}"))
        };
        crate::guard::wait(PATIENCE, left).unwrap();
        interrupt(running);
    }
}

#[test]
fn programs_meet_over_tcp_as_well() {
    let place = Place::new();
    for (name, server, client, parts) in TALKS {
        let running = place.start(name, &format!("{server} --addr tcp:127.0.0.1:0"));
        let line = said(&running, "listening on ");
        let (_, addr) = line.split_once("listening on ").unwrap();
        let ended = place.run(name, &format!("{client} --addr {addr}"));
        says_in_order(&ended.stdout, parts);
        interrupt(running);
    }
}

#[test]
fn a_client_without_a_server_says_where_it_looked() {
    let place = Place::new();
    for (name, client) in [
        ("basic", "--client"),
        ("bidirectional", "--client"),
        ("file_transfer", "--client"),
        ("database", "--client"),
        ("database", "--replica"),
        ("service_mesh", "--client"),
        ("service_mesh", "--service"),
    ] {
        let ended = place.run(name, &format!("{client} --addr {}", place.addr()));
        assert_eq!(ended.code(), 1, "{ended:#?}");
        let lines: Vec<_> = ended.stderr.lines().collect();
        assert_eq!(lines.len(), 1, "{ended:#?}");
        assert!(
            lines[0].starts_with(&format!("{name}: ")) && lines[0].contains("meet.sock"),
            "{ended:#?}"
        );
        let mode = if name == "service_mesh" {
            "--registry"
        } else {
            "--server"
        };
        let command = format!("`cargo run --example {name} -- {mode} --addr '{}'`", place.addr());
        assert!(lines[0].ends_with(&command), "{ended:#?}");
        // What one more server would not help.
        for addr in ["mem:x", "tls:127.0.0.1:1"] {
            let ended = place.run(name, &format!("{client} --addr {addr}"));
            assert_eq!(ended.code(), 1, "{ended:#?}");
            assert!(
                ended.stderr.contains(addr) && !ended.stderr.contains("cargo run"),
                "{ended:#?}"
            );
        }
        assert_eq!(place.left(), [""; 0], "{name} {client}");
    }
}

/// The server is stopped, so that everything that asks it for something waits.
#[test]
fn who_is_interrupted_waits_for_nobody_who_does_not_answer() {
    for (name, server, client) in [
        ("bidirectional", "--server", "--client"),
        ("file_transfer", "--server", "--client"),
        ("database", "--server", "--replica"),
        ("service_mesh", "--registry", "--service"),
    ] {
        let place = Place::new();
        let running = place.listening(name, server);
        let hanging = signals::stop(&running);
        let client = place.start(name, client);
        said(&client, "Connecting to");
        signals::interrupt(&client);
        let ended = client.end();
        assert_eq!(ended.code(), 1, "{name}: {ended:#?}");
        assert_eq!(ended.stderr, format!("{name}: interrupted\n"));
        drop(hanging);
        interrupt(running);
    }
    // The same once they work together.
    for (name, server, client, begun, last) in [
        (
            "bidirectional",
            "--server",
            "--client --stay",
            "Listening until",
            "Client ended",
        ),
        (
            "database",
            "--server",
            "--replica",
            "Following from",
            "Replica ended",
        ),
        (
            "service_mesh",
            "--registry",
            "--service --stay",
            "Reporting metrics",
            "Service operations completed",
        ),
    ] {
        let place = Place::new();
        let running = place.listening(name, server);
        let client = place.start(name, client);
        said(&client, begun);
        let hanging = signals::stop(&running);
        says_in_order(interrupt(client).success(), &[last]);
        drop(hanging);
        interrupt(running);
    }
}

#[test]
fn an_interrupted_transfer_says_how_it_goes_on() {
    let place = Place::new();
    let running = place.listening("file_transfer", "--server");
    let client = place.start("file_transfer", "--client --size 8M --name big --hold-at 50");
    said(&client, "Holding at 50%");
    signals::interrupt(&client);
    let ended = client.end();
    assert_eq!(ended.code(), 1, "{ended:#?}");
    assert_eq!(
        ended.stderr,
        "file_transfer: interrupted; send it again to resume\n"
    );
    said(&running, "big is kept at");
    let ended = place.run("file_transfer", "--client --size 8M --name big");
    says_in_order(ended.success(), &["Resuming at byte", "completed successfully"]);
    interrupt(running);
}

#[test]
fn wrong_arguments_are_refused_with_a_way_out() {
    let place = Place::new();
    for name in PROGRAMS {
        let help = place.run(name, "--help");
        for option in ["--demo", "--client", "--addr"] {
            assert!(help.success().contains(option), "{name}: {help:#?}");
        }
        let one = if name == "service_mesh" {
            "--registry"
        } else {
            "--server"
        };
        for line in [&format!("{one} --client"), "--addr nonsense", "--nonsense"] {
            let ended = place.run(name, line);
            assert_eq!(ended.code(), 2, "{name} {line}: {ended:#?}");
            assert!(ended.stderr.contains("--help"), "{ended:#?}");
        }
    }
    // What belongs to another mode is not passed over.
    for (name, line) in [
        ("basic", "--client --may-be-ended"),
        ("basic", "--demo --may-be-ended"),
        ("basic", "--may-be-ended"),
        ("basic", "--demo --addr mem:x"),
        ("basic", "--addr mem:x"),
        ("bidirectional", "--server --name ada"),
        ("bidirectional", "--server --message hi"),
        ("bidirectional", "--demo --stay"),
        ("file_transfer", "--server --file a"),
        ("file_transfer", "--server --name a"),
        ("file_transfer", "--server --size 1"),
        ("file_transfer", "--server --chunk 1K"),
        ("file_transfer", "--demo --hold-at 5"),
        ("file_transfer", "--client --folder a"),
        ("file_transfer", "--client --max-size 1"),
        ("database", "--client --log 5"),
        ("database", "--replica --max-bytes 5"),
        ("database", "--demo --log 5"),
        ("service_mesh", "--client --check-ms 5"),
        ("service_mesh", "--registry --stay"),
        ("service_mesh", "--client --listen mem:x"),
        ("service_mesh", "--service --calls 5"),
        ("service_mesh", "--registry --call greeter"),
    ] {
        let ended = place.run(name, line);
        assert_eq!(ended.code(), 2, "{name} {line}: {ended:#?}");
        let option = line
            .split_whitespace()
            .rfind(|word| word.starts_with("--"))
            .unwrap();
        assert!(ended.stderr.contains(option), "{name} {line}: {ended:#?}");
    }
    for line in [
        "--client --size 1X",
        "--client --chunk 5",
        "--client --hold-at 100",
        "--client --file a --size 1",
    ] {
        assert_eq!(place.run("file_transfer", line).code(), 2, "{line}");
    }
    for line in ["--service baker", "--client --call baker"] {
        let ended = place.run("service_mesh", line);
        assert_eq!(ended.code(), 2, "{line}");
        assert!(ended.stderr.contains("greeter, shouter"), "{ended:#?}");
    }
}
