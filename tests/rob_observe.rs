//! `rob status`, `watch`, `monitor`, `record` and `replay` against a real broker: what they tell is what happened.
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
#![cfg(all(feature = "cli", unix))]

#[path = "support/mod.rs"]
mod support;

use actix_ipc::client::Registration;
use actix_ipc::{IpcClient, Payload, SharedObject, async_trait};
use futures::executor::block_on;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use support::{Broker, Ended, Process};

/// Adds, and refuses everything else.
struct Math;

#[async_trait]
impl SharedObject for Math {
    async fn call(&self, _: &str, args: &Value) -> Value {
        json!({ "sum": args["a"].as_i64().unwrap_or_default() + args["b"].as_i64().unwrap_or_default() })
    }
}

fn client(broker: &Broker, name: &str) -> IpcClient {
    let builder = IpcClient::builder()
        .endpoint(broker.endpoint().parse().unwrap())
        .name(name);
    block_on(builder.connect()).unwrap()
}

fn serve(client: &IpcClient, name: &str) -> Registration {
    block_on(client.register_object(name, Math).into_future()).unwrap()
}

fn add(client: &IpcClient, object: &str, a: i64) -> Result<Value, actix_ipc::error::CallError> {
    block_on(client.call(object, "add").send(&json!({ "a": a, "b": 1 })))
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn json_line(process: &Process) -> Value {
    let line = process.line();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

fn status(broker: &Broker) -> Value {
    lines(broker.rob("--json status --since-start").success()).remove(0)
}

fn interrupted(process: Process) -> Ended {
    process.signal(Signal::INT);
    process.end()
}

#[test]
fn status_counts_what_programs_did_and_nothing_else() {
    let broker = Broker::start();
    let (owner, caller) = (client(&broker, "owner"), client(&broker, "caller"));
    let _math = serve(&owner, "math");
    let _heard = block_on(owner.subscribe("sensor", "t").into_future()).unwrap();
    for a in 0..17 {
        add(&caller, "math", a).unwrap();
    }
    for number in 0..5 {
        block_on(caller.publish("sensor", "t", &number).acknowledged()).unwrap();
    }
    // Looking does not change what is seen.
    for _ in 0..2 {
        let status = status(&broker);
        assert_eq!(status["totals"]["calls"], 17, "{status}");
        assert_eq!(status["metrics"]["events_published"], 5, "{status}");
        assert_eq!(status["metrics"]["events_delivered"], 5, "{status}");
        assert_eq!(status["rates"]["since_start"], true);
        let named = |name: &str| {
            let all = status["connections"].as_array().unwrap();
            all.iter()
                .find(|one| one["name"] == name)
                .cloned()
                .unwrap_or_else(|| panic!("{name}: {status}"))
        };
        assert_eq!(named("owner")["objects"], 1);
        assert_eq!(named("owner")["subscriptions"], 1);
        assert_eq!(named("caller")["pid"], std::process::id());
        assert_eq!(status["slow"], json!([]));
    }
    let page = broker.rob("status");
    let text = page.success();
    assert!(
        text.contains("Rates over 1.")
            && text.contains("Totals: calls 17, errors 0, open 0; events 5 in, 5 out"),
        "{text}"
    );
    assert!(
        text.contains("  caller ") && text.contains("Listens on: unix:"),
        "{text}"
    );
}

#[test]
fn watch_tells_what_is_there_and_then_every_change() {
    let broker = Broker::start();
    let owner = client(&broker, "owner");
    let _math = serve(&owner, "math");
    let heard = block_on(owner.subscribe("sensor", "t").into_future()).unwrap();
    let watch = broker.start_rob("--json watch --count 6");
    let peer = owner.peer_id().0;
    let mut present: Vec<(Value, Value)> = Vec::new();
    // The broker's own connection and objects are there as well.
    while !present.contains(&(json!("subscription"), json!(peer))) {
        let line = json_line(&watch);
        assert_eq!(line["what"], "present", "{line}");
        present.push((line["kind"].clone(), line["peer"].clone()));
    }
    for kind in ["connection", "name"] {
        assert!(present.contains(&(json!(kind), json!(peer))), "{present:?}");
    }
    let other = client(&broker, "other");
    let log = serve(&other, "log");
    let told = |expected: [&str; 3], peer: u64| {
        let line = json_line(&watch);
        let name = if line["kind"] == "subscription" {
            &line["object"]
        } else {
            &line["name"]
        };
        assert_eq!(
            (&line["what"], &line["kind"], name, &line["peer"]),
            (
                &json!(expected[0]),
                &json!(expected[1]),
                &json!(expected[2]),
                &json!(peer)
            ),
            "{line}"
        );
        line
    };
    let number = other.peer_id().0;
    told(["appeared", "connection", "other"], number);
    told(["appeared", "name", "log"], number);
    drop(log);
    told(["vanished", "name", "log"], number);
    let more = block_on(other.subscribe("a.*", "b").pattern().into_future()).unwrap();
    let line = told(["appeared", "subscription", "a.*"], number);
    assert_eq!((&line["topic"], &line["pattern"]), (&json!("b"), &json!(true)));
    drop(more);
    told(["vanished", "subscription", "a.*"], number);
    drop(heard);
    told(["vanished", "subscription", "sensor"], peer);
    assert_eq!(watch.end().success(), "");
}

#[test]
fn watch_says_what_changed_while_the_broker_was_away() {
    let broker = Broker::start();
    let stays = client(&broker, "stays");
    let math = serve(&stays, "math");
    let goes = client(&broker, "goes");
    let gone = serve(&goes, "gone");
    let watch = broker.start_rob("watch --names gone --count 1");
    assert!(watch.line().starts_with("TIME (UTC)       WHAT"));
    assert!(watch.line().contains("present   name          gone  "));
    drop((gone, goes));
    let ended = watch.end();
    let text = ended.success();
    assert!(text.contains("vanished  name          gone  "), "{text}");

    let watch = broker.start_rob("--json watch --names math");
    assert_eq!(json_line(&watch)["what"], "present");
    let broker = broker.restart();
    assert!(watch.error_line().contains("the connection was lost"));
    // Whether the owner or the watch is back first, the name is there again in the end.
    let told = watch.error_line();
    assert!(told.contains("connected again"), "{told}");
    if told.contains("1 vanished") {
        let line = json_line(&watch);
        assert_eq!((&line["what"], &line["away"]), (&json!("vanished"), &json!(true)));
        assert_eq!(json_line(&watch)["what"], "appeared");
    } else {
        assert!(told.contains("1 as before"), "{told}");
    }
    drop((math, stays));
    drop(watch);
    drop(broker);
}

#[test]
fn a_watch_can_lose_patience_and_patterns_choose() {
    let broker = Broker::start();
    let owner = client(&broker, "owner");
    let _objects = [serve(&owner, "a.b"), serve(&owner, "a.c.d"), serve(&owner, "z")];
    let ended = broker.rob("--json watch --names a.* --timeout 0.05");
    assert_eq!((ended.code(), ended.stdout.lines().count()), (4, 1), "{ended:#?}");
    assert!(
        ended.stderr.contains("watch: no change within 0.05 s"),
        "{ended:#?}"
    );
    let ended = broker.rob("watch a.**.b");
    assert_eq!(ended.code(), 2, "{ended:#?}");
}

#[test]
fn monitor_shows_calls_with_their_answers_and_events() {
    let broker = Broker::start();
    let (owner, caller) = (client(&broker, "owner"), client(&broker, "caller"));
    let _math = serve(&owner, "math");
    let monitor = broker.start_rob("monitor math --payloads --count 2");
    assert!(monitor.line().starts_with("TIME (UTC)       KIND      FROM → TO"));
    add(&caller, "math", 41).unwrap();
    let (from, to) = (caller.peer_id().0, owner.peer_id().0);
    let call = monitor.line();
    assert!(call.contains(&format!("  call      {from} → {to}")), "{call}");
    assert!(
        call.contains("math.add") && call.ends_with("{\"a\":41,\"b\":1}"),
        "{call}"
    );
    let reply = monitor.line();
    assert!(
        reply.contains(&format!("  reply     {to} → {from}")) && reply.contains("math.add"),
        "{reply}"
    );
    assert!(
        reply.contains("  after ") && reply.ends_with("{\"sum\":42}"),
        "{reply}"
    );
    monitor.end().success();

    let monitor = broker.start_rob("monitor math add --kind reply --payloads --count 1 -q");
    while status(&broker)["monitors"] != 1 {}
    block_on(caller.call("math", "other").send::<_, Value>(&json!({}))).unwrap();
    add(&caller, "math", 1).unwrap();
    let ended = monitor.end();
    assert!(ended.success().ends_with("{\"sum\":2}\n"), "{ended:#?}");

    let monitor = broker.start_rob("--json monitor sensor --kind event,call --payloads=3 --count 2");
    // The broker counts who watches.
    while status(&broker)["monitors"] != 1 {}
    add(&caller, "math", 0).unwrap();
    block_on(
        caller
            .publish_payload("sensor", "t", Payload::raw(&b"\xff\x01\x02\x03"[..]))
            .acknowledged(),
    )
    .unwrap();
    block_on(
        caller
            .publish("sensor", "u", "\u{1b}[2J")
            .retained()
            .acknowledged(),
    )
    .unwrap();
    let first = json_line(&monitor);
    assert_eq!(
        (&first["payload_hex"], &first["truncated"], &first["bytes"]),
        (&json!("ff0102"), &json!(true), &json!(4)),
        "{first}"
    );
    let second = json_line(&monitor);
    assert_eq!(
        (&second["member"], &second["retain"], &second["encoding"]),
        (&json!("u"), &json!(true), &json!("json")),
        "{second}"
    );
    monitor.end().success();
}

#[test]
fn a_monitor_and_a_watch_go_on_after_the_broker_came_back() {
    let broker = Broker::start();
    let monitor = broker.start_rob("--json monitor --kind event --count 1");
    let watch = broker.start_rob("--json watch sensor --changes --count 1");
    while status(&broker)["monitors"] != 2 {}
    let broker = broker.restart();
    assert!(monitor.error_line().contains("is there again"));
    assert!(watch.error_line().contains("the connection was lost"));
    assert!(
        watch
            .error_line()
            .contains("connected again: 0 vanished and 0 appeared")
    );
    while status(&broker)["monitors"] != 2 {}
    let caller = client(&broker, "caller");
    let heard = block_on(caller.subscribe("sensor", "t").into_future()).unwrap();
    block_on(caller.publish("sensor", "t", &1).acknowledged()).unwrap();
    assert_eq!(json_line(&monitor)["subscribers"], 1);
    assert_eq!(json_line(&watch)["what"], "appeared");
    monitor.end().success();
    watch.end().success();
    drop((heard, caller));
}

#[test]
fn what_does_not_fit_is_told() {
    let broker = Broker::start();
    let caller = client(&broker, "caller");
    let monitor = broker.start_rob("--json monitor --kind event --rate 1 --timeout 20");
    while status(&broker)["monitors"] != 1 {}
    for number in 0..100 {
        block_on(caller.publish("o", "t", &number).acknowledged()).unwrap();
    }
    let told = monitor.error_line();
    assert!(
        told.starts_with("rob: ") && told.contains("dropped here"),
        "{told}"
    );
    drop(monitor);
}

/// Three calls that are answered and one that finds nobody, an event of bytes and one that is kept.
fn traffic(caller: &IpcClient, binary: &Payload) {
    for a in 0..3 {
        add(caller, "math", a).unwrap();
    }
    add(caller, "nobody", 1).unwrap_err();
    block_on(
        caller
            .publish_payload("sensor", "raw", binary.clone())
            .acknowledged(),
    )
    .unwrap();
    block_on(caller.publish("sensor", "kept", &7).retained().acknowledged()).unwrap();
}

fn is_a_recording(file: &Path) {
    let entries = lines(&std::fs::read_to_string(file).unwrap());
    assert_eq!(entries[0]["rob_recording"], 1);
    assert_eq!(entries.last().unwrap()["kind"], "end");
    assert_eq!(
        file.metadata().unwrap().permissions().mode() & 0o777,
        0o600,
        "payloads are in it"
    );
}

#[test]
fn a_recording_is_replayed_as_it_was() {
    let broker = Broker::start();
    let (owner, caller) = (client(&broker, "owner"), client(&broker, "caller"));
    let math = serve(&owner, "math");
    let file = broker.folder().join("traffic.jsonl");
    let shown = file.display().to_string();
    let record = broker.start_rob(&format!("record {shown} --strict"));
    assert_eq!(
        record.line(),
        format!("Recording to {shown}. Press ctrl+c to end.")
    );
    let binary = Payload::raw(&b"\xfe\x00"[..]);
    traffic(&caller, &binary);
    // Everything above is in the file once this is.
    while !std::fs::read_to_string(&file)
        .unwrap()
        .contains("\"member\":\"kept\"")
    {}
    let ended = interrupted(record);
    assert_eq!(ended.code(), 130, "{ended:#?}");
    assert!(
        ended.stderr.contains("10 records in") && ended.stderr.contains("nothing is missing"),
        "{ended:#?}"
    );
    is_a_recording(&file);
    let again = broker.rob(&format!("record {shown}"));
    assert_eq!(again.code(), 8, "{again:#?}");
    assert!(again.stderr.contains("--force replaces it"), "{again:#?}");

    let mut heard = block_on(owner.subscribe("sensor", "raw").into_future()).unwrap();
    let before = status(&broker)["totals"]["calls"].as_u64().unwrap();
    let replayed = broker.rob(&format!("replay {shown} --speed max"));
    assert_eq!(
        replayed.success(),
        "Replayed: events 2, calls 4; 6 compared, 0 ended in another way\n"
    );
    assert_eq!(block_on(heard.next()).unwrap().payload.bytes, binary.bytes);
    assert_eq!(
        status(&broker)["totals"]["calls"].as_u64().unwrap(),
        before + 3,
        "one of four found nobody, as before"
    );

    drop(math);
    let differs = broker.rob(&format!("--json replay {shown} math --speed max"));
    assert_eq!(differs.code(), 1, "{differs:#?}");
    let told = lines(&differs.stdout);
    assert_eq!(told.len(), 4);
    assert_eq!(
        (&told[0]["difference"]["recorded"], &told[0]["difference"]["now"]),
        (&json!("ok"), &json!("NoSuchObject"))
    );
    assert_eq!(
        (&told[3]["replayed"]["calls"], &told[3]["replayed"]["differ"]),
        (&json!(3), &json!(3))
    );
}

#[test]
fn a_dry_run_needs_no_broker_and_a_torn_end_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("torn.jsonl");
    let text = concat!(
        "{\"rob_recording\":1}\n",
        r#"{"kind":"event","at_us":1,"from":7,"object":"o","member":"t","bytes":1,"subscribers":0,"encoding":"raw","payload":"a"}"#,
        "\n",
        r#"{"kind":"call","at_us":2,"ticket":1,"from":7,"to":8,"object":"o","member":"m","bytes":9,"encoding":"raw","payload":"a","truncated":true}"#,
        "\n",
        r#"{"kind":"call","at_us":3,"ti"#,
    );
    std::fs::write(&file, text).unwrap();
    let mut command = support::rob_command();
    let ended = support::run(command.arg("replay").arg(&file).args([
        "--dry-run",
        "--json",
        "--addr",
        "unix:/nowhere",
    ]));
    let told = lines(ended.success());
    assert_eq!(
        (&told[0]["action"], &told[0]["line"]),
        (&json!("publish"), &json!(2))
    );
    assert_eq!(told[1]["replayed"]["skipped"], json!({"cut": 1}));
    assert!(
        ended.stderr.contains("line 4, the last, is torn off"),
        "{ended:#?}"
    );
    let ended = support::run(support::rob_command().args(["replay", "/nowhere/at/all", "--dry-run"]));
    assert_eq!(ended.code(), 2, "{ended:#?}");
}

#[test]
fn a_recording_that_misses_something_fails_when_it_must_be_whole() {
    let broker = Broker::start();
    let caller = client(&broker, "caller");
    let file = broker.folder().join("traffic.jsonl");
    let record = broker.start_rob(&format!("record {} --rate 1 --count 2 --strict", file.display()));
    record.line();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let publisher = std::thread::spawn(move || {
        while stopped.try_recv() != Err(std::sync::mpsc::TryRecvError::Disconnected) {
            block_on(caller.publish("o", "t", &1).acknowledged()).unwrap();
        }
    });
    let ended = record.end();
    drop(stop);
    let _ = publisher.join();
    assert_eq!(ended.code(), 7, "{ended:#?}");
    assert!(ended.stderr.contains("records are missing"), "{ended:#?}");
}

#[test]
fn the_broker_counts_exactly_what_the_bench_sent() {
    let broker = Broker::start();
    let before = status(&broker);
    let bench = |what: &str| {
        let line = format!("--json --addr {} bench {what} --seconds 0.3", broker.endpoint());
        lines(broker.rob(&line).success()).pop().unwrap()
    };
    let grown = |after: &Value, of: &str| {
        after.pointer(of).and_then(Value::as_u64).unwrap()
            - before.pointer(of).and_then(Value::as_u64).unwrap()
    };
    let rpc = bench("rpc --in-flight 4 --callers 2");
    let after = status(&broker);
    assert_eq!(json!(grown(&after, "/totals/calls")), rpc["total"], "{rpc}");
    assert_eq!(grown(&after, "/totals/errors"), 0);
    assert_eq!(grown(&after, "/totals/open"), 0);
    let pubsub = bench("pubsub --subscribers 2 --topics 3");
    let after = status(&broker);
    assert_eq!(
        json!(grown(&after, "/metrics/events_published")),
        pubsub["total"],
        "{pubsub}"
    );
    assert_eq!(
        json!(grown(&after, "/metrics/events_delivered")),
        pubsub["received"],
        "{pubsub}"
    );
    let sample = lines(broker.rob("--json top --count 1").success()).remove(0);
    assert_eq!(sample["totals"]["calls"], rpc["total"], "{sample}");
    assert_eq!(sample["totals"]["events_published"], pubsub["total"], "{sample}");
    assert_eq!(
        sample["totals"]["events_delivered"], pubsub["received"],
        "{sample}"
    );
}

#[test]
fn what_was_accepted_before_the_end_was_asked_for_is_in_the_recording() {
    let broker = Broker::start();
    let file = broker.folder().join("last.jsonl");
    let shown = file.display().to_string();
    let record = broker.start_rob(&format!("record {shown} --strict"));
    record.line();
    for number in 0..5 {
        broker.rob(&format!("send sensor last i {number}")).success();
    }
    let ended = interrupted(record);
    assert_eq!(ended.code(), 130, "{ended:#?}");
    assert!(
        ended.stderr.contains("5 records in") && ended.stderr.contains("nothing is missing"),
        "{ended:#?}"
    );
}

#[test]
#[cfg(unix)]
fn what_is_no_file_is_never_replaced() {
    use std::os::unix::fs::{FileTypeExt, symlink};
    let broker = Broker::start();
    let folder = broker.folder();
    let (file, link, socket) = (folder.join("file"), folder.join("link"), folder.join("socket"));
    std::fs::write(&file, "old").unwrap();
    symlink(&file, &link).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let recorded = broker.rob(&format!("record {} --force --seconds 0.1", link.display()));
    assert_eq!(recorded.code(), 0, "{recorded:#?}");
    assert!(
        std::fs::symlink_metadata(&link).unwrap().is_symlink(),
        "the link is one still"
    );
    is_a_recording(&file);
    let refused = broker.rob(&format!("record {} --force --seconds 0.1", socket.display()));
    assert_eq!(refused.code(), 8, "{refused:#?}");
    assert!(
        std::fs::symlink_metadata(&socket)
            .unwrap()
            .file_type()
            .is_socket()
    );
    let device = broker.rob("record /dev/null --force --seconds 0.1");
    assert_eq!(device.code(), 0, "{device:#?}");
    let kind = std::fs::symlink_metadata("/dev/null").unwrap().file_type();
    assert!(kind.is_char_device(), "{kind:?}");
}

#[test]
#[cfg(unix)]
fn a_recording_that_lost_its_terminal_is_complete() {
    let broker = Broker::start();
    let folder = broker.folder().to_path_buf();
    let record = broker.start_rob(&format!("record {}", folder.join("hangup").display()));
    record.line();
    record.signal(Signal::HUP);
    let ended = record.end();
    assert_eq!(ended.code(), 143, "{ended:#?}");
    is_a_recording(&folder.join("hangup"));
}
