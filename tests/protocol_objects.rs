//! Protocols as objects of a broker: versions, names, mistakes, order, actors, and the real binaries.
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
#![cfg(all(feature = "protocol", feature = "cli"))]

#[path = "support/broker.rs"]
mod broker;
#[path = "protocols/calc.rs"]
mod calc;
#[path = "support/mod.rs"]
mod support;

use actix_ipc::client::blocking::Client;
use actix_ipc::client::{HandlerError, IpcClient, Methods, WorkerBuilder};
use actix_ipc::error::{CallError, ErrorCode};
use actix_ipc::message::{Encoding, Payload};
use actix_ipc::protocol::{ProtocolRegistry, ProtocolSender};
use broker::{Place, TestBroker};
use calc::{
    Admin, Both, CALC_1, Calc, Calc2, Calc3, Desk, ECHO, Echoed, Nothing, OtherCalc, Table, admin, calc_2,
};
use serde_json::{Value, json};
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// An error's code, whether the call may have run, and its text.
fn error<T: Debug>(result: Result<T, CallError>) -> (ErrorCode, bool, String) {
    let error = result.unwrap_err();
    (error.code, error.may_have_run, error.message)
}

fn all(desk: &Arc<Desk>) -> ProtocolRegistry {
    ProtocolRegistry::builder()
        .with(calc::calc(desk))
        .with(calc_2())
        .with(admin())
        .build()
}

async fn patient<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_versions_and_another_protocol_answer_beside_each_other_on_one_object() {
    let place = Place::new();
    let broker = place.start();
    let worker = broker.client().await;
    let _calc = worker.add_protocol("box", all(&Arc::default())).await.unwrap();
    let client = broker.client().await;
    let one: Calc = client.protocol("box").await.unwrap();
    let two: Calc2 = client.protocol("box").await.unwrap();
    let both: Both = client.protocol("box").await.unwrap();
    assert_eq!(one.echo("a").await.unwrap().response, "a");
    assert_eq!(two.echo("a", 3).await.unwrap().response, "aaa");
    let same = Calc::new(both.caller().clone());
    assert_eq!(same.plain("get_status").await.unwrap(), 7);
    assert_eq!(
        error(client.protocol::<Calc3>("box").await),
        (
            ErrorCode::ProtocolVersion,
            false,
            "box serves calc in versions 1 and 2; this side has version 3: update one of them".to_owned()
        )
    );
    let unchecked: Calc3 = client.protocol_unchecked("box");
    assert_eq!(
        error(unchecked.echo().await),
        (
            ErrorCode::ProtocolVersion,
            false,
            "box serves calc in versions 1 and 2; the caller has version 3: update one of them".to_owned()
        )
    );
}

#[tokio::test]
async fn an_object_that_serves_something_else_is_found_out_before_the_first_call() {
    let place = Place::new();
    let broker = place.start();
    let worker = broker.client().await;
    let _calc = worker
        .add_protocol("calc", calc::calc(&Arc::default()))
        .await
        .unwrap();
    let _plain = worker.register("plain", Methods::new()).await.unwrap();
    let client = broker.client().await;
    let (code, ran, text) = error(client.protocol::<Calc>("cacl").await);
    assert_eq!((code, ran), (ErrorCode::NoSuchObject, false), "{text}");
    assert_eq!(
        error(client.protocol::<Admin>("calc").await),
        (
            ErrorCode::NoSuchProtocol,
            false,
            "calc does not serve admin; it serves calc 1".to_owned()
        )
    );
    let (code, _, text) = error(client.protocol::<OtherCalc>("calc").await);
    assert_eq!(code, ErrorCode::ProtocolVersion);
    assert!(
        text.contains("crate elsewhere") && text.contains("crate tests"),
        "{text}"
    );
    let (code, _, text) = error(client.protocol::<Calc>("plain").await);
    assert_eq!(code, ErrorCode::NoSuchProtocol);
    assert!(text.contains("does not say which protocols"), "{text}");
    // Who does not ask is told with the call.
    let admin: Admin = client.protocol_unchecked("calc");
    let call = admin
        .caller()
        .call::<_, String>(&calc::ADMIN, &ECHO, &Nothing)
        .await;
    let (code, ran, text) = error(call);
    assert_eq!((code, ran), (ErrorCode::NoSuchProtocol, false), "{text}");
    assert!(text.ends_with("it serves calc 1"), "{text}");
}

#[tokio::test]
async fn an_object_that_is_replaced_by_another_version_runs_nothing_of_the_old_one() {
    let place = Place::new();
    let broker = place.start();
    let (first, second) = (broker.client().await, broker.client().await);
    let _old = first
        .add_protocol("calc", calc::calc(&Arc::default()))
        .allow_replace()
        .await
        .unwrap();
    let client = broker.client().await;
    let sender: Calc = client.protocol("calc").await.unwrap();
    assert_eq!(sender.echo("x").await.unwrap().response, "x");
    let _new = second.add_protocol("calc", calc_2()).replace().await.unwrap();
    assert_eq!(
        error(sender.echo("x").await),
        (
            ErrorCode::ProtocolVersion,
            false,
            "calc serves calc in version 2; the caller has version 1: update one of them".to_owned()
        )
    );
}

#[tokio::test]
async fn who_comes_before_the_object_waits_for_it() {
    let place = Place::new();
    let broker = place.start();
    let (client, worker) = (broker.client().await, broker.client().await);
    let (code, ran, _) = error(
        client
            .protocol_wait::<Calc>("calc", Duration::from_millis(20))
            .await,
    );
    assert_eq!((code, ran), (ErrorCode::Deadline, false));
    let found = client.protocol_wait::<Calc>("calc", PATIENCE);
    let registered = async { worker.add_protocol("calc", calc::calc(&Arc::default())).await };
    let (found, registered) = futures::join!(found, registered);
    let _registered = registered.unwrap();
    assert_eq!(found.unwrap().echo("x").await.unwrap().response, "x");
}

#[tokio::test]
async fn every_failure_of_a_command_answers_its_caller() {
    let place = Place::new();
    let broker = place.start();
    let (client, worker) = (broker.client().await, broker.client().await);
    let desk = Arc::default();
    let _calc = worker.add_protocol("calc", calc::calc(&desk)).await.unwrap();
    let calc: Calc = client.protocol("calc").await.unwrap();
    let failed = calc.plain("fail").await.unwrap_err();
    assert_eq!(
        (failed.code, failed.name.as_deref(), failed.message.as_str()),
        (ErrorCode::Handler, Some("calc.closed"), "not today")
    );
    let (code, ran, text) = error(calc.plain("panic").await);
    assert_eq!((code, ran), (ErrorCode::HandlerPanicked, true));
    assert!(text.contains("the sky fell"), "{text}");
    let short = Calc::new(calc.caller().clone().with_deadline(Duration::from_millis(30)));
    let (code, ran, _) = error(short.wait("never").await);
    assert_eq!((code, ran), (ErrorCode::Deadline, true));
    // A request that is none of this command's.
    let wrong = calc.caller().call::<_, Echoed>(&CALC_1, &ECHO, &u64::MAX).await;
    let (code, ran, text) = error(wrong);
    assert_eq!((code, ran), (ErrorCode::Invalid, false), "{text}");
    assert!(text.starts_with("the request of echo cannot be read: "), "{text}");
    // An answer that is another one.
    let wrong = calc.caller().call::<_, Vec<String>>(&CALC_1, &ECHO, "x").await;
    let (code, ran, text) = error(wrong);
    assert_eq!((code, ran), (ErrorCode::Encoding, true), "{text}");
    let waiting = calc.wait("gone");
    let gone = async {
        desk.noted("begin gone").await;
        worker.close().await;
    };
    let (outcome, ()) = futures::join!(waiting, gone);
    let (code, ran, _) = error(outcome);
    assert_eq!((code, ran), (ErrorCode::CalleeGone, true));
}

#[tokio::test]
async fn bytes_that_are_no_request_are_refused() {
    let place = Place::new();
    let broker = place.start();
    let (client, worker) = (broker.client().await, broker.client().await);
    let _calc = worker
        .add_protocol("calc", calc::calc(&Arc::default()))
        .await
        .unwrap();
    let id = CALC_1.id.to_le_bytes();
    let table: [(&str, Encoding, Vec<u8>, &str); 6] = [
        ("echo", Encoding::PROTOCOL, vec![], "cut off"),
        ("echo", Encoding::PROTOCOL, id[..7].to_vec(), "cut off"),
        ("echo", Encoding::PROTOCOL, id.to_vec(), "cannot be read"),
        (
            "echo",
            Encoding::PROTOCOL,
            [&id[..], b"\x01ab"].concat(),
            "1 bytes too many",
        ),
        (
            "echo",
            Encoding::POSTCARD,
            b"\x01a".to_vec(),
            "not in the encoding postcard",
        ),
        (
            "echo",
            Encoding(77),
            b"\x01a".to_vec(),
            "not in the encoding unknown",
        ),
    ];
    for (command, encoding, bytes, part) in table {
        let payload = Payload {
            encoding,
            bytes: bytes.into(),
        };
        let (code, ran, text) = error(client.call("calc", command).send_payload(payload).await);
        assert_eq!((code, ran), (ErrorCode::Invalid, false), "{encoding:?}: {text}");
        assert!(text.contains(part), "{text}");
    }
    let near = Payload {
        encoding: Encoding::PROTOCOL,
        bytes: id.to_vec().into(),
    };
    let (code, ran, text) = error(client.call("calc", "ecko").send_payload(near).await);
    assert_eq!((code, ran), (ErrorCode::NoSuchMethod, false));
    assert_eq!(text, "calc has no command ecko in calc 1; did you mean echo?");
}

/// A command in JSON: its name, its value, and the answer or the error's code with what its text has.
type InJson = (&'static str, Value, Result<Value, (ErrorCode, &'static str)>);

fn in_json() -> Vec<InJson> {
    let (invalid, unknown) = (ErrorCode::Invalid, ErrorCode::NoSuchMethod);
    vec![
        ("get_status", json!(null), Ok(json!(7))),
        ("get_status", json!({}), Ok(json!(7))),
        ("get_status", json!([]), Ok(json!(7))),
        ("get_status", json!(5), Err((invalid, "it takes nothing"))),
        ("pair", json!([5, "x"]), Ok(json!("5x"))),
        ("pair", json!({"a": 1}), Err((invalid, "it takes (i32, String)"))),
        (
            "calc.1.echo",
            json!({"message": "hi"}),
            Ok(json!({"response": "hi"})),
        ),
        (
            "calc.echo",
            json!({"message": "hi", "times": 2}),
            Ok(json!({"response": "hihi"})),
        ),
        (
            "calc.2.echo",
            json!({"message": "hi", "times": 2}),
            Ok(json!({"response": "hihi"})),
        ),
        ("admin.echo", json!({"message": "hi"}), Ok(json!("admin: hi"))),
        (
            "echo",
            json!({"message": "hi"}),
            Err((
                invalid,
                "box has echo in several protocols: call calc.echo or admin.echo",
            )),
        ),
        (
            "calc.1.echo",
            json!({"massage": "hi"}),
            Err((invalid, "missing field `message`")),
        ),
        (
            "calc.1.echo",
            json!({"message": 5}),
            Err((invalid, "it takes {message: String}")),
        ),
        ("ecko", json!(null), Err((unknown, "did you mean echo?"))),
        ("calc.pear", json!(null), Err((unknown, "did you mean pair?"))),
        ("zzzzzz", json!(null), Err((unknown, "it has echo, notify"))),
        (
            "calc.9.echo",
            json!(null),
            Err((unknown, "box serves calc in versions 1 and 2, not in version 9")),
        ),
        (
            "calc.stop",
            json!(null),
            Err((unknown, "box has no command stop")),
        ),
        ("stop", json!(null), Ok(json!(null))),
    ]
}

#[tokio::test]
async fn commands_are_called_in_json_by_name() {
    let place = Place::new();
    let broker = place.start();
    let (client, worker) = (broker.client().await, broker.client().await);
    let _box = worker.add_protocol("box", all(&Arc::default())).await.unwrap();
    for (command, request, expected) in in_json() {
        let call = client.call("box", command).encoding(Encoding::JSON);
        let said: Result<Value, CallError> = call.send(&request).await;
        match expected {
            Ok(answer) => assert_eq!(said.unwrap(), answer, "{command} {request}"),
            Err((code, part)) => {
                let (said, ran, text) = error(said);
                assert_eq!((said, ran), (code, false), "{command} {request}: {text}");
                assert!(text.contains(part), "{command} {request}: {text}");
            }
        }
    }
}

/// Calls of one caller wait for each other, those of another pass them by.
async fn one_after_the_other(broker: &TestBroker) {
    let desk: Arc<Desk> = Arc::default();
    let worker = broker.client().await;
    let _calc = worker.add_protocol("calc", all(&desk)).await.unwrap();
    let (a, b) = (broker.client().await, broker.client().await);
    let (calc, other): (Calc, Calc) = (
        a.protocol("calc").await.unwrap(),
        b.protocol("calc").await.unwrap(),
    );
    let mut waiting = Vec::new();
    for name in ["a1", "a2", "a3"] {
        // A call is sent when it is first polled; which task runs first is not known.
        let mut call = calc.wait(name);
        assert!(futures::poll!(&mut call).is_pending());
        waiting.push(tokio::spawn(call));
    }
    desk.noted("begin a1").await;
    // The others go on meanwhile, and so does the caller itself with another protocol.
    desk.release("b1");
    patient(other.wait("b1")).await.unwrap();
    assert_eq!(patient(other.echo("b")).await.unwrap().response, "b");
    let admin: Admin = a.protocol("calc").await.unwrap();
    let stopped = admin
        .caller()
        .call::<_, ()>(&calc::ADMIN, &calc::ADMIN.commands[1], &Nothing);
    patient(stopped).await.unwrap();
    let begun = |name: &str| desk.log().contains(&format!("begin {name}"));
    assert!(!begun("a2") && !begun("a3"), "{:?}", desk.log());
    ["a3", "a2", "a1"].into_iter().for_each(|name| desk.release(name));
    for waiting in waiting {
        patient(waiting).await.unwrap().unwrap();
    }
    let own: Vec<_> = desk
        .log()
        .into_iter()
        .filter(|line| line.contains(" a"))
        .collect();
    assert_eq!(
        own,
        ["begin a1", "end a1", "begin a2", "end a2", "begin a3", "end a3"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_of_one_caller_run_one_after_the_other_on_several_threads() {
    let place = Place::new();
    one_after_the_other(&place.start()).await;
}

#[actix::test]
async fn commands_of_one_caller_run_one_after_the_other_on_one_thread() {
    let place = Place::new();
    one_after_the_other(&place.start()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_commands_of_many_callers_keep_each_callers_order() {
    const CALLERS: usize = 4;
    const EACH: usize = 60;
    let place = Place::new();
    let broker = place.start();
    let seen: Arc<[AtomicUsize; CALLERS]> = Arc::default();
    let (inside, table) = (Arc::new(<[AtomicUsize; CALLERS]>::default()), Arc::clone(&seen));
    let counting = Table::new(&CALC_1).on("pair", move |request| {
        let (inside, seen) = (Arc::clone(&inside), Arc::clone(&table));
        async move {
            let (caller, number): (i32, String) = request.decode()?;
            let caller = usize::try_from(caller).unwrap();
            assert_eq!(inside[caller].fetch_add(1, Ordering::SeqCst), 0, "two at a time");
            // Some are done at their first turn, others are not.
            for _ in 0..(number.len() + caller) % 3 {
                tokio::task::yield_now().await;
            }
            let before = seen[caller].fetch_add(1, Ordering::SeqCst);
            inside[caller].fetch_sub(1, Ordering::SeqCst);
            match before.to_string() == number {
                true => request.reply(&number),
                false => Err(HandlerError::new(format!("{number} came as number {before}"))),
            }
        }
    });
    let worker = broker.client().await;
    let _calc = worker
        .add_protocol("calc", counting)
        .concurrency(2)
        .await
        .unwrap();
    let calls = (0..CALLERS).map(|caller| {
        let broker = &broker;
        async move {
            let client = broker.client().await;
            let calc: Calc = client.protocol("calc").await.unwrap();
            let calls = (0..EACH).map(|number| {
                let request = (i32::try_from(caller).unwrap(), number.to_string());
                calc.caller()
                    .call::<_, String>(&CALC_1, &CALC_1.commands[6], &request)
            });
            futures::future::join_all(calls).await
        }
    });
    for outcome in patient(futures::future::join_all(calls))
        .await
        .into_iter()
        .flatten()
    {
        outcome.unwrap();
    }
    assert!(seen.iter().all(|seen| seen.load(Ordering::SeqCst) == EACH));
}

#[tokio::test]
async fn an_order_that_is_given_up_is_none() {
    let place = Place::new();
    let broker = place.start();
    let (client, worker) = (broker.client().await, broker.client().await);
    let desk: Arc<Desk> = Arc::default();
    let _calc = worker
        .add_protocol("calc", calc::calc(&desk))
        .unordered()
        .await
        .unwrap();
    let calc: Calc = client.protocol("calc").await.unwrap();
    let (first, second) = (tokio::spawn(calc.wait("1")), tokio::spawn(calc.wait("2")));
    desk.noted("begin 1").await;
    desk.noted("begin 2").await;
    ["1", "2"].into_iter().for_each(|name| desk.release(name));
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_call_that_is_taken_back_lets_the_next_one_run() {
    let place = Place::new();
    let broker = place.start();
    let (client, worker) = (broker.client().await, broker.client().await);
    let desk: Arc<Desk> = Arc::default();
    let _calc = worker.add_protocol("calc", calc::calc(&desk)).await.unwrap();
    let calc: Calc = client.protocol("calc").await.unwrap();
    let (first, second) = (
        tokio::spawn(calc.wait("first")),
        tokio::spawn(calc.wait("second")),
    );
    desk.noted("begin first").await;
    first.abort();
    desk.noted("begin second").await;
    desk.release("second");
    second.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stream_that_is_being_read_does_not_stop_what_its_reader_asks() {
    let place = Place::new();
    let broker = place.start();
    let (client, worker) = (broker.client().await, broker.client().await);
    let _calc = worker
        .add_protocol("calc", calc::calc(&Arc::default()))
        .await
        .unwrap();
    let calc: Calc = client.protocol("calc").await.unwrap();
    let mut numbers = calc.count();
    for number in 0..100 {
        assert_eq!(patient(numbers.next()).await.unwrap().unwrap(), number);
        assert_eq!(patient(calc.plain("get_status")).await.unwrap(), 7);
    }
}

#[tokio::test]
async fn one_way_commands_to_a_slow_object_keep_nobody_else_out() {
    const SENT: u64 = 6_000;
    let place = Place::new();
    let broker = place.start();
    let (client, other) = (broker.client().await, broker.client().await);
    let worker = broker.client().await;
    let desk: Arc<Desk> = Arc::default();
    let _calc = worker.add_protocol("calc", calc::calc(&desk)).await.unwrap();
    let (calc, others): (Calc, Calc) = (
        client.protocol("calc").await.unwrap(),
        other.protocol("calc").await.unwrap(),
    );
    for event in 0..SENT {
        calc.notify(event).await.unwrap();
    }
    client.flush().await.unwrap();
    desk.noted("event 0").await;
    assert_eq!(patient(others.echo("x")).await.unwrap().response, "x");
    desk.release("events");
    // It has its own turn behind them.
    patient(async {
        while calc.plain("get_status").await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let events: Vec<u64> = desk
        .log()
        .iter()
        .map(|line| line.strip_prefix("event ").unwrap().parse().unwrap())
        .collect();
    assert!(
        events.is_sorted() && events.len() as u64 <= SENT,
        "in order, none twice"
    );
    assert!(events.len() > 1_000, "{} of them", events.len());
    assert!(
        (events.len() as u64) < SENT,
        "what waits for one caller has a bound"
    );
}

#[tokio::test]
async fn a_handler_finds_the_context_of_its_call() {
    let place = Place::new();
    let broker = place.start();
    let (client, worker) = (broker.named("asker").await, broker.client().await);
    let asking = Table::new(&CALC_1).on("echo", |request| async move {
        let name = || actix_ipc::protocol::context().and_then(|context| context.caller_name);
        let inside = async {
            let first = name();
            tokio::task::yield_now().await;
            (first, name())
        };
        let (first, second) = request.scope(inside).await;
        let outside = actix_ipc::protocol::context().is_none();
        request.reply(&Echoed {
            response: format!("{first:?} {second:?} {outside}"),
        })
    });
    let _calc = worker.add_protocol("calc", asking).await.unwrap();
    let calc: Calc = client.protocol("calc").await.unwrap();
    assert_eq!(
        calc.echo("").await.unwrap().response,
        "Some(\"asker\") Some(\"asker\") true"
    );
}

#[tokio::test]
async fn a_worker_serves_protocols() {
    let place = Place::new();
    let broker = place.start();
    let (worker, stop) = WorkerBuilder::new()
        .endpoint(broker.endpoint.clone())
        .add_protocol("calc", calc::calc(&Arc::default()))
        .with_graceful_shutdown();
    let serving = tokio::spawn(worker.spawn());
    let client = broker.client().await;
    let calc: Calc = client.protocol_wait("calc", PATIENCE).await.unwrap();
    assert_eq!(calc.echo("x").await.unwrap().response, "x");
    drop(stop);
    patient(serving).await.unwrap().unwrap();
    assert_eq!(error(calc.echo("x").await).0, ErrorCode::NoSuchObject);
}

#[test]
fn plain_threads_call_commands_too() {
    let place = Place::new();
    let broker = place.start();
    let client = Client::connect_to(broker.endpoint.clone()).unwrap();
    let registering = client.inner().add_protocol("calc", calc::calc(&Arc::default()));
    let _calc = client.run(registering.into_future()).unwrap();
    let calc: Calc = client.protocol("calc").unwrap();
    assert_eq!(client.run(calc.echo("x")).unwrap().response, "x");
    let (code, ran, _) = error(client.protocol::<Calc3>("calc"));
    assert_eq!((code, ran), (ErrorCode::ProtocolVersion, false));
}

mod binaries {
    //! `rob` and the daemon as processes of their own.
    use super::{Client, Desk, all, calc, json};
    use crate::support::Broker;
    use std::sync::Arc;

    /// Serves `box` (two versions of calc, and admin) and `calc` (version 1 alone).
    fn serve(broker: &Broker) -> (Client, impl Sized + use<>) {
        let client = Client::connect_to(broker.endpoint().parse().unwrap()).unwrap();
        let desk: Arc<Desk> = Arc::default();
        let both = client.inner().add_protocol("box", all(&desk));
        let one = client.inner().add_protocol("calc", calc::calc(&desk));
        let registered = (
            client.run(both.into_future()).unwrap(),
            client.run(one.into_future()).unwrap(),
        );
        (client, registered)
    }

    #[test]
    fn rob_calls_commands() {
        let broker = Broker::start();
        let _served = serve(&broker);
        let table = [
            (
                "call calc echo {s} message hi",
                "Result:\nMap:\n   response :: \"hi\"\n",
                "{\"response\":\"hi\"}\n",
            ),
            ("call calc get_status", "Result:\n7\n", "7\n"),
            ("call calc pair (is) 4 u", "Result:\n\"4u\"\n", "\"4u\"\n"),
            ("call calc notify {i} event 4", "Result:\nNull\n", "null\n"),
            (
                "call box calc.1.echo {s} message hi",
                "Result:\nMap:\n   response :: \"hi\"\n",
                "{\"response\":\"hi\"}\n",
            ),
            (
                "call box admin.echo {s} message hi",
                "Result:\n\"admin: hi\"\n",
                "\"admin: hi\"\n",
            ),
        ];
        for (line, people, programs) in table {
            assert_eq!(broker.rob(line).success(), people, "{line}");
            assert_eq!(
                broker.rob(&format!("--json {line}")).success(),
                programs,
                "{line}"
            );
        }
    }

    #[test]
    fn rob_says_what_is_wrong_with_a_command() {
        let broker = Broker::start();
        let _served = serve(&broker);
        let table = [
            ("call calc ecko", 3, "did you mean echo?"),
            ("call calc echo {s} massage hi", 2, "missing field `message`"),
            ("call calc echo {i} message 5", 2, "it takes {message: String}"),
            ("call box echo {s} message hi", 2, "call calc.echo or admin.echo"),
            ("call calc fail", 1, "not today (calc.closed)"),
            ("call calc panic", 1, "the sky fell"),
        ];
        for (line, code, part) in table {
            let ended = broker.rob(line);
            assert_eq!(ended.code(), code, "{line}: {}", ended.stderr);
            assert!(ended.stderr.contains(part), "{line}: {}", ended.stderr);
        }
        let ended = broker.rob("--json call calc ecko");
        let said: serde_json::Value = serde_json::from_str(&ended.stderr).unwrap();
        let error = &said["error"];
        assert_eq!(
            (&error["code"], &error["exit"], &error["may_have_run"]),
            (&json!("NoSuchMethod"), &json!(3), &json!(false))
        );
    }

    #[test]
    fn rob_describes_protocols() {
        let broker = Broker::start();
        let _served = serve(&broker);
        let text = broker.rob("describe calc").success().to_owned();
        let (object, protocols) = text.split_once("\n\n").unwrap();
        assert!(
            object.contains("name :: \"calc\"") && !object.contains("description"),
            "{text}"
        );
        let expected = "\
calc version 1 (crate tests)
   Sums and sayings.
   echo { message: String } -> { response: String }
      Says it again.
      message: What to say.
   notify { event: u64 }
   wait { name: String } -> {}
   fail -> {}
   panic -> {}
   get_status -> i64
   pair (i32, String) -> String
   count -> stream u64
";
        assert_eq!(protocols, expected);
        let json: serde_json::Value =
            serde_json::from_str(broker.rob("--json describe box").success()).unwrap();
        let described = json["description"]["protocols"].as_array().unwrap();
        let versions: Vec<_> = described
            .iter()
            .map(|protocol| (&protocol["name"], &protocol["version"]))
            .collect();
        assert_eq!(
            versions,
            [
                (&json!("calc"), &json!(1)),
                (&json!("calc"), &json!(2)),
                (&json!("admin"), &json!(1))
            ]
        );
        assert_eq!(
            described[0]["commands"][0],
            json!({"name": "echo", "doc": "Says it again.",
                "request": [{"name": "message", "type": "String", "doc": "What to say."}],
                "answer": [{"name": "response", "type": "String"}]})
        );
    }
}

mod actors {
    //! An actor as the handler.
    use super::{CALC_1, Calc, Echoed, Place, Table, calc, error};
    use actix::{Actor, ActorContext, Context, Handler, Message, ResponseFuture};
    use actix_ipc::client::{IpcClient, Registration};
    use actix_ipc::error::ErrorCode;
    use actix_ipc::protocol::{self, ActorHandler};
    use std::sync::Arc;
    use tokio::sync::Semaphore;

    struct Say(String);

    impl Message for Say {
        type Result = protocol::Result<Echoed>;
    }

    struct Stop;

    impl Message for Stop {
        type Result = ();
    }

    /// Answers when the gate lets it.
    struct Speaker {
        gate: Arc<Semaphore>,
        said: usize,
    }

    impl Actor for Speaker {
        type Context = Context<Self>;
    }

    impl Handler<Say> for Speaker {
        type Result = ResponseFuture<protocol::Result<Echoed>>;

        fn handle(&mut self, Say(message): Say, _: &mut Self::Context) -> Self::Result {
            self.said += 1;
            let (gate, said) = (Arc::clone(&self.gate), self.said);
            Box::pin(async move {
                gate.acquire().await?.forget();
                if message == "fail" {
                    return Err(protocol::Error::new("the actor refuses").named("speaker.no"));
                }
                Ok(Echoed {
                    response: format!("{said}: {message}"),
                })
            })
        }
    }

    impl Handler<Stop> for Speaker {
        type Result = ();

        fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
            ctx.stop();
        }
    }

    async fn serve(worker: &IpcClient, handler: ActorHandler<Speaker>) -> Registration {
        let table = Table::new(&CALC_1).on("echo", move |request| {
            let handler = handler.clone();
            async move {
                let calc::Echo { message } = request.decode()?;
                let answer = handler
                    .ask(Say(message))
                    .await
                    .map_err(protocol::Error::into_inner)?;
                request.reply(&answer)
            }
        });
        worker.add_protocol("calc", table).unordered().await.unwrap()
    }

    #[actix::test]
    async fn an_actor_answers_commands() {
        let place = Place::new();
        let broker = place.start();
        let gate = Arc::new(Semaphore::new(0));
        let actor = Speaker {
            gate: Arc::clone(&gate),
            said: 0,
        }
        .start();
        let (client, worker) = (broker.client().await, broker.client().await);
        let handler = ActorHandler::new(actor.clone()).with_capacity(2);
        let _calc = serve(&worker, handler).await;
        let calc: Calc = client.protocol("calc").await.unwrap();
        // A call is sent when it is polled, so that these two come before the third.
        let (mut first, mut second) = (calc.echo("a"), calc.echo("fail"));
        assert!(futures::poll!(&mut first).is_pending() && futures::poll!(&mut second).is_pending());
        let full = calc.echo("c").await;
        let (code, ran, text) = error(full);
        assert_eq!((code, ran), (ErrorCode::Overloaded, false), "{text}");
        gate.add_permits(2);
        let refused = second.await.unwrap_err();
        assert_eq!(
            (refused.code, refused.name.as_deref(), refused.message.as_str()),
            (ErrorCode::Handler, Some("speaker.no"), "the actor refuses")
        );
        assert_eq!(first.await.unwrap().response, "1: a");
        gate.add_permits(1);
        assert_eq!(calc.echo("d").await.unwrap().response, "3: d");
        actor.send(Stop).await.unwrap();
        let (code, _, text) = error(calc.echo("e").await);
        assert_eq!(code, ErrorCode::CalleeGone, "{text}");
    }
}

/// What a client needs to find by itself.
fn _senders_are_shared_between_threads(client: &IpcClient) {
    fn shared<T: Send + Sync + 'static>(_: &T) {}
    shared(&client.protocol_unchecked::<Calc>("x"));
}
