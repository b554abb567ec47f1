//! Requests that go on with items: what the broker does with their frames, and what is left when a process is killed in the middle.
//!
//! Owns section 10 of the protocol document as far as it is about items. What users of the library may rely on, over every transport,
//! is in `conformance/streams.rs`. How it works: the killed process is this test program once more, told by variables what to be.
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

#[path = "support/raw.rs"]
mod raw;
#[path = "support/running.rs"]
mod running;
mod support;

use actix_ipc::client::{Handler, IncomingCall, Response, blocking};
use actix_ipc::config::Limits;
use actix_ipc::error::ErrorCode;
use actix_ipc::message::{Draft, Encoding, Flags, Kind};
use actix_ipc::{CallError, Endpoint, HandlerError, IpcClient, Payload, async_trait};
use futures::stream::{self, StreamExt};
use raw::Raw;
use running::Running;
use std::time::{Duration, Instant};
use support::{Broker, Process, this_program};
use tokio::sync::mpsc;

const ITEMS: Flags = Flags::CONTINUED.with(Flags::ITEMS);
const LONG: u32 = 3_600_000;

fn call(id: u64, flags: Flags, payload: &[u8]) -> Draft<'_> {
    let draft = Draft::new(Kind::Call, id).aux(LONG).flags(flags);
    draft.pair("o", "m").payload(Encoding::JSON, payload)
}

fn item(id: u64, encoding: Encoding, payload: &[u8]) -> Draft<'_> {
    Draft::new(Kind::CallPiece, id)
        .flags(Flags::CONTINUED)
        .payload(encoding, payload)
}

const fn end(id: u64) -> Draft<'static> {
    Draft::new(Kind::CallPiece, id)
}

/// A worker that serves "o", and its caller.
fn pair(broker: &Running) -> [Raw; 2] {
    let [mut worker, caller] = broker.connect_all();
    worker.register("o");
    [worker, caller]
}

#[test]
fn the_call_is_there_before_its_items_and_each_of_them_is_whole() {
    for arbiters in [0, 2] {
        let broker = Running::with_arbiters(arbiters, Limits::default());
        let [mut worker, mut caller] = pair(&broker);
        caller.send(&call(5, ITEMS.with(Flags::STREAM), b"[1]"));
        let given = worker.read();
        assert_eq!(
            (
                given.kind,
                given.flags.has(ITEMS.with(Flags::STREAM)),
                &given.payload[..]
            ),
            (Kind::Call, true, &b"[1]"[..])
        );
        // It may be answered, in part, before there is an item; then they take turns.
        let reply = Draft::new(Kind::Reply, given.id).flags(Flags::MORE);
        worker.send(&reply.payload(Encoding::RAW, b"first"));
        assert_eq!(caller.read().payload, b"first");
        for (encoding, payload) in [
            (Encoding::RAW, &b""[..]),
            (Encoding::POSTCARD, b"x"),
            (Encoding::JSON, b"[2]"),
        ] {
            caller.send(&item(5, encoding, payload));
            let got = worker.read();
            assert_eq!(
                (got.kind, got.id, got.flags, got.encoding, &got.payload[..]),
                (Kind::CallPiece, given.id, Flags::CONTINUED, encoding, payload)
            );
            worker.send(&reply.payload(encoding, payload));
            let back = caller.read();
            assert_eq!(
                (back.kind, back.encoding, &back.payload[..]),
                (Kind::Reply, encoding, payload)
            );
        }
        caller.send(&end(5));
        let got = worker.read();
        assert_eq!(
            (got.kind, got.flags, got.payload.len()),
            (Kind::CallPiece, Flags::NONE, 0)
        );
        worker.send(&Draft::new(Kind::Reply, given.id));
        assert_eq!(caller.read().flags, Flags::NONE);
        broker.stop();
    }
}

/// Together they are many times `message_bytes`; what is under way is never more than the window and one frame.
#[test]
fn items_are_bounded_by_their_window_and_not_in_sum() {
    let broker = Running::start(Limits {
        stream_window: 1_000,
        message_bytes: 2_000,
        frame_bytes: 2_000,
        ..Limits::default()
    });
    let [mut worker, mut caller] = pair(&broker);
    caller.send(&call(5, ITEMS, b""));
    let ticket = worker.read().id;
    let (bytes, mut left) = ([7; 400 - 24], 1_000_i64);
    for _ in 0..100 {
        while left <= 0 {
            let credit = caller.expect(Kind::CallCredit);
            assert_eq!((credit.id, credit.aux), (5, 400));
            left += i64::from(credit.aux);
        }
        caller.send(&item(5, Encoding::RAW, &bytes));
        left -= 400;
        assert!(left > -400);
        assert_eq!(worker.expect(Kind::CallPiece).id, ticket);
        worker.send(&Draft::new(Kind::CallCredit, ticket).aux(400));
    }
    worker.send(&Draft::new(Kind::Reply, ticket).payload(Encoding::RAW, b"enough"));
    assert_eq!(caller.answer(5).payload, b"enough");
    // What was on its way when the answer came is ignored, with its end.
    caller.send_all(&[
        item(5, Encoding::RAW, &bytes),
        item(5, Encoding::RAW, &bytes),
        end(5),
    ]);
    caller.ping();
    caller.send(&call(5, ITEMS, b"again"));
    assert_eq!(worker.expect(Kind::Call).payload, b"again", "the number is free");
    broker.stop();
}

/// The time until the deadline begins again with each item and with credit for items, and passes in silence.
#[test]
fn items_and_credit_for_them_are_signs_of_life() {
    let broker = Running::start(Limits::default());
    let [mut worker, mut caller] = pair(&broker);
    let long = Duration::from_millis(2_200);
    let begin = |worker: &mut Raw, caller: &mut Raw| {
        caller.send(&call(5, ITEMS, b"").aux(1_000));
        worker.expect(Kind::Call).id
    };
    begin(&mut worker, &mut caller);
    let begun = Instant::now();
    let mut sent = 0;
    while begun.elapsed() < long {
        if begun.elapsed() >= Duration::from_millis(100) * sent {
            caller.send(&item(5, Encoding::RAW, b""));
            worker.expect(Kind::CallPiece);
            sent += 1;
        }
        caller.ping();
    }
    assert!(caller.kept().is_empty(), "it has not ended");
    assert_eq!(caller.answer(5).error(), (ErrorCode::Deadline, true));
    worker.expect(Kind::Cancel);

    // Credit alone, however little: some of it is told to the caller too, before an eighth of the window has come together.
    let ticket = begin(&mut worker, &mut caller);
    caller.send(&item(5, Encoding::RAW, &[7; 200_000]));
    worker.expect(Kind::CallPiece);
    let begun = Instant::now();
    let mut given = 0;
    while begun.elapsed() < long && given < 20_000 {
        worker.send(&Draft::new(Kind::CallCredit, ticket).aux(1));
        worker.ping();
        given += 1;
    }
    assert!(caller.expect(Kind::CallCredit).aux < 32 * 1024);
    // For what was never sent it is no sign: the callee cannot keep the call.
    worker.send(&Draft::new(Kind::CallCredit, ticket).aux(300_000));
    let until = Instant::now() + Duration::from_secs(20);
    let ended = std::iter::from_fn(|| {
        worker.send(&Draft::new(Kind::CallCredit, ticket).aux(1_000));
        worker.ping();
        Some(worker.kept().iter().any(|got| got.kind == Kind::Cancel))
    })
    .find(|ended| *ended || Instant::now() > until);
    assert_eq!(ended, Some(true));
    assert_eq!(caller.answer(5).error(), (ErrorCode::Deadline, true));
    broker.stop();
}

#[test]
fn either_side_of_a_stream_ends() {
    for arbiters in [0, 2] {
        let broker = Running::with_arbiters(arbiters, Limits::default());
        let [mut worker, mut caller] = pair(&broker);
        for cancel in [Draft::new(Kind::Cancel, 5), end(5).flags(Flags::ABORT)] {
            caller.send_all(&[call(5, ITEMS, b""), item(5, Encoding::RAW, b"x")]);
            let ticket = worker.expect(Kind::Call).id;
            worker.expect(Kind::CallPiece);
            caller.send(&cancel);
            assert_eq!(caller.answer(5).error(), (ErrorCode::Cancelled, true));
            assert_eq!(worker.expect(Kind::Cancel).id, ticket);
        }
        caller.send_all(&[call(5, ITEMS, b""), item(5, Encoding::RAW, b"x")]);
        let ticket = worker.read_all(2)[0].id;
        drop(caller);
        assert_eq!(worker.expect(Kind::Cancel).id, ticket);

        let mut caller = broker.connect();
        caller.send_all(&[call(5, ITEMS, b""), item(5, Encoding::RAW, b"x")]);
        worker.read_all(2);
        drop(worker);
        assert_eq!(caller.answer(5).error(), (ErrorCode::CalleeGone, true));
        caller.send_all(&[item(5, Encoding::RAW, b"nobody takes it"), end(5)]);
        caller.ping();
        broker.stop();
    }
}

const ROLE: &str = "ACTIX_IPC_TEST_STREAM_ROLE";
const ENDPOINT: &str = "ACTIX_IPC_TEST_STREAM_ENDPOINT";

/// Takes items and tells of each, and of how the stream ended.
struct Tells(mpsc::UnboundedSender<Result<usize, ErrorCode>>);

#[async_trait]
impl Handler for Tells {
    async fn handle(&self, call: IncomingCall) -> Result<Response, HandlerError> {
        let (mut items, told) = (call.items(), self.0.clone());
        // It outlives the handler, whose future is dropped with its call.
        let reading = tokio::spawn(async move {
            let mut bytes = 0;
            while let Some(item) = items.next().await {
                let _ = told.send(item.map(|item| item.bytes.len()).map_err(|error| error.code));
                bytes += 1;
            }
            bytes
        });
        let count: usize = reading.await.map_err(|error| error.to_string())?;
        call.reply(&count)
    }
}

/// Items without an end, one for each turn of their reader.
fn endless() -> impl futures::Stream<Item = Result<Payload, CallError>> + Send + 'static {
    stream::repeat_with(|| Ok(Payload::raw(vec![7; 1_000]))).then(|item| async {
        tokio::task::yield_now().await;
        item
    })
}

/// Does nothing by itself: it is the other process of the tests below.
#[test]
fn as_the_other_process() {
    let (Ok(role), Ok(endpoint)) = (std::env::var(ROLE), std::env::var(ENDPOINT)) else {
        return;
    };
    let endpoint: Endpoint = endpoint.parse().unwrap();
    if role == "worker" {
        let client = blocking::Client::connect_to(endpoint).unwrap();
        let (told, mut heard) = mpsc::unbounded_channel();
        let _o = client.register("o", Tells(told)).unwrap();
        eprintln!("serving");
        while heard.blocking_recv().is_some() {}
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let ended = runtime.block_on(async {
        let client = IpcClient::connect_to(endpoint).await.unwrap();
        client
            .call("o", "m")
            .item_payloads(endless())
            .send::<_, usize>(&())
            .await
    });
    eprintln!("ended {ended:?}");
}

fn start(role: &str, endpoint: &str) -> Process {
    let mut command = this_program("as_the_other_process");
    Process::spawn(command.env(ROLE, role).env(ENDPOINT, endpoint))
}

#[actix::test]
async fn a_worker_that_is_killed_ends_the_streams_to_it() {
    let broker = Broker::start();
    let mut worker = start("worker", broker.endpoint());
    worker.wait_for_error_line("serving");
    let client = IpcClient::connect_to(broker.endpoint().parse().unwrap())
        .await
        .unwrap();
    let (sent, mut under_way) = mpsc::unbounded_channel();
    let items = endless().inspect(move |_| sent.send(()).unwrap());
    let call = client.call("o", "m").item_payloads(items).send::<_, usize>(&());
    let mut call = Box::pin(call);
    // Beyond the window: the worker has taken some.
    for _ in 0..1_000 {
        tokio::select! {
            ended = &mut call => panic!("{ended:?}"),
            _ = under_way.recv() => {}
        }
    }
    worker.kill();
    let error = call.await.unwrap_err();
    assert_eq!(
        (error.code, error.may_have_run),
        (ErrorCode::CalleeGone, true),
        "{error}"
    );
    while under_way.recv().await.is_some() {}
}

#[actix::test]
async fn a_caller_or_a_broker_that_is_killed_ends_the_streams_of_a_worker() {
    for victim in ["caller", "broker"] {
        let mut broker = Broker::start();
        let endpoint: Endpoint = broker.endpoint().parse().unwrap();
        let worker = IpcClient::connect_to(endpoint).await.unwrap();
        let (told, mut heard) = mpsc::unbounded_channel();
        let _o = worker.register("o", Tells(told)).await.unwrap();
        let mut caller = start("caller", broker.endpoint());
        for _ in 0..1_000 {
            assert_eq!(heard.recv().await, Some(Ok(1_000)));
        }
        match victim {
            "caller" => caller.kill(),
            _ => broker.process.kill(),
        }
        let last = loop {
            match heard.recv().await {
                Some(Ok(1_000)) => {}
                other => break other,
            }
        };
        assert_eq!(last, Some(Err(ErrorCode::Cancelled)), "{victim}");
        if victim == "broker" {
            caller.wait_for_error_line("BrokerGone");
        }
    }
}
