//! `rob status`, `watch` and `monitor` against a real broker: what they tell is what happened.
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
#![cfg(feature = "cli")]

#[path = "support/observed.rs"]
mod observed;
#[path = "support/signals.rs"]
mod signals;
#[path = "support/mod.rs"]
mod support;

use actix_ipc::Payload;
use futures::executor::block_on;
use observed::{add, client, json_line, lines, monitors, serve, status};
use serde_json::{Value, json};
use support::Broker;

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
        text.contains("Rates over ")
            && text.contains("Totals: calls 17, errors 0, open 0; events 5 in, 5 out"),
        "{text}"
    );
    assert!(
        text.contains("  caller ") && text.contains(&format!("Listens on: {}", broker.endpoint())),
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
    // The one before is not counted any more, so that the count is that of the next one.
    monitors(&broker, 0);

    let monitor = broker.start_rob("monitor math add --kind reply --payloads --count 1 -q");
    monitors(&broker, 1);
    block_on(caller.call("math", "other").send::<_, Value>(&json!({}))).unwrap();
    add(&caller, "math", 1).unwrap();
    let ended = monitor.end();
    assert!(ended.success().ends_with("{\"sum\":2}\n"), "{ended:#?}");
    monitors(&broker, 0);

    let monitor = broker.start_rob("--json monitor sensor --kind event,call --payloads=3 --count 2");
    // The broker counts who watches.
    monitors(&broker, 1);
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
    monitors(&broker, 2);
    let broker = broker.restart();
    assert!(monitor.error_line().contains("the connection was lost ("));
    let told = monitor.error_line();
    assert!(
        told.contains("connected again; what happened in between is missing"),
        "{told}"
    );
    assert!(watch.error_line().contains("the connection was lost"));
    assert!(
        watch
            .error_line()
            .contains("connected again: 0 vanished and 0 appeared")
    );
    monitors(&broker, 2);
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
    monitors(&broker, 1);
    for number in 0..100 {
        block_on(caller.publish("o", "t", &number).acknowledged()).unwrap();
    }
    let told = monitor.error_line();
    assert!(
        told.starts_with("{\"warning\":{\"message\":\"") && told.contains("dropped here"),
        "{told}"
    );
    drop(monitor);
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
fn a_monitor_says_at_once_that_the_broker_is_gone() {
    let mut broker = Broker::start();
    let monitor = broker.start_rob("monitor -q");
    monitors(&broker, 1);
    broker.process.kill();
    let told = monitor.error_line();
    assert!(
        told.starts_with("rob: the connection was lost (") && told.ends_with("); trying again"),
        "{told}"
    );
}

#[test]
fn samples_go_on_after_the_broker_came_back() {
    let broker = Broker::start();
    let top = broker.start_rob("--json top --interval 0.1");
    let epoch = json_line(&top)["epoch"].clone();
    let broker = broker.restart();
    assert!(top.error_line().contains("the connection was lost ("));
    let told = top.error_line();
    assert!(told.contains("connected again and looking"), "{told}");
    loop {
        let sample = json_line(&top);
        if sample["epoch"] != epoch {
            assert_eq!(sample["rates"]["since_start"], true, "{sample}");
            break;
        }
    }
    observed::interrupted(top);
    drop(broker);
}

#[test]
fn a_watch_without_the_right_to_monitor_shows_names() {
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy.toml");
    let uid = actix_ipc::transport::current_uid().unwrap();
    let rules =
        format!("[[allow]]\nuid = {uid}\nconnect = true\nown = \"**\"\ncall = \"**\"\nsubscribe = \"**\"\n");
    std::fs::write(&policy, rules).unwrap();
    let broker = Broker::start_with(|command| {
        command.arg("--policy").arg(&policy);
    });
    let owner = client(&broker, "owner");
    let _math = serve(&owner, "math");
    let ended = broker.rob("--json watch --timeout 0.05");
    assert_eq!(ended.code(), 4, "{ended:#?}");
    let shown: Vec<Value> = lines(&ended.stdout);
    assert!(
        shown.iter().any(|line| line["name"] == "math") && shown.iter().all(|line| line["kind"] == "name"),
        "{ended:#?}"
    );
    for missing in ["connections are not shown", "subscriptions are not shown"] {
        assert!(ended.stderr.contains(missing), "{ended:#?}");
    }
    for asked in ["--connections", "--subscriptions"] {
        let refused = broker.rob(&format!("watch {asked} --timeout 0.05"));
        assert_eq!(refused.code(), 6, "{asked}: {refused:#?}");
    }
}
