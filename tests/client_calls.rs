//! Calls of the client library through a real broker: values, many at once, pieces, streams, errors, cancellation.
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

#[path = "support/broker.rs"]
mod broker;

use actix_ipc::async_trait;
use actix_ipc::client::{
    Handler, HandlerError, IncomingCall, IpcClient, Methods, Registration, Response, SharedObject,
};
use actix_ipc::config::Limits;
use actix_ipc::error::{CallError, ErrorCode};
use actix_ipc::message::{Encoding, Metadata, Payload};
use broker::{Place, TestBroker};
use futures::StreamExt;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

struct Echo;

#[async_trait]
impl SharedObject for Echo {
    async fn call(&self, method: &str, args: &Value) -> Value {
        json!({ "method": method, "args": args })
    }
}

/// Answers with what it was given.
struct Mirror;

#[async_trait]
impl Handler for Mirror {
    async fn handle(&self, call: IncomingCall) -> Result<Response, HandlerError> {
        Ok(Response::payload(call.payload))
    }
}

async fn pair(
    broker: &TestBroker,
    object: &str,
    handler: impl Handler,
) -> (IpcClient, IpcClient, Registration) {
    let worker = broker.client().await;
    let registration = worker.register(object, handler).await.unwrap();
    (broker.client().await, worker, registration)
}

fn code<T: std::fmt::Debug>(result: Result<T, CallError>) -> ErrorCode {
    result.unwrap_err().code
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_goes_and_another_comes_back() {
    let place = Place::new();
    let broker = place.start();
    let worker = broker.client().await;
    let _echo = worker.register_object("echo", Echo).await.unwrap();
    let caller = broker.client().await;
    let answer: Value = caller.remote_call("echo", "say", json!([1, 2])).await.unwrap();
    assert_eq!(answer, json!({ "method": "say", "args": [1, 2] }));
}

#[actix::test]
async fn inside_an_actix_system_too() {
    let place = Place::new();
    let broker = place.start();
    let worker = broker.client().await;
    let _echo = worker.register_object("echo", Echo).await.unwrap();
    let caller = broker.client().await;
    for round in 0..100 {
        let answer: Value = caller.remote_call("echo", "say", round).await.unwrap();
        assert_eq!(answer["args"], round);
    }
    let itself: Value = worker.remote_call("echo", "self", ()).await.unwrap();
    assert_eq!(itself["method"], "self");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_in_flight_each_get_their_own_answer() {
    let place = Place::new();
    let broker = place.start();
    let (caller, _worker, _object) = pair(&broker, "mirror", Mirror).await;
    let callers = (0..64_u64).map(|task| {
        let caller = caller.clone();
        tokio::spawn(async move {
            for round in 0..50_u64 {
                let sent = task * 1000 + round;
                let back: u64 = caller.remote_call("mirror", "m", sent).await.unwrap();
                assert_eq!(back, sent);
            }
        })
    });
    for task in callers.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn the_same_on_one_thread() {
    let place = Place::new();
    let broker = place.start();
    let (caller, _worker, _object) = pair(&broker, "mirror", Mirror).await;
    let calls = (0..2000_u64).map(|number| caller.remote_call::<u64, u64>("mirror", "m", number));
    let answers = futures::future::join_all(calls).await;
    for (number, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.unwrap(), number as u64);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forty_mebibytes_go_in_pieces_both_ways() {
    let place = Place::new();
    let broker = place.start();
    // Whatever goes as a region by default.
    let in_pieces = || {
        let builder = IpcClient::builder().endpoint(broker.endpoint.clone());
        builder.regions_from(usize::MAX).connect()
    };
    let (caller, worker) = (in_pieces().await.unwrap(), in_pieces().await.unwrap());
    let _object = worker.register("mirror", Mirror).await.unwrap();
    let sent: Vec<u8> = (0..40 << 20)
        .map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let large = caller
        .call("mirror", "m")
        .send_payload(Payload::raw(sent.clone()));
    let small = async {
        for _ in 0..20 {
            let back: String = caller.remote_call("mirror", "m", "small").await.unwrap();
            assert_eq!(back, "small");
        }
        Instant::now()
    };
    let (large, small_done) = tokio::join!(async { (large.await, Instant::now()) }, small);
    assert!(large.0.unwrap().bytes == sent);
    assert!(small_done < large.1, "small calls do not wait behind a large one");
}

#[tokio::test]
async fn what_exceeds_the_limits_is_refused_before_it_is_sent() {
    let place = Place::new();
    let limits = Limits {
        frame_bytes: 1000,
        message_bytes: 5000,
        ..Limits::default()
    };
    let broker = place.start_with(limits);
    let (caller, _worker, _object) = pair(&broker, "mirror", Mirror).await;
    for size in [1000, 1001, 5000] {
        let back = caller
            .call("mirror", "m")
            .send_payload(Payload::raw(vec![7; size]))
            .await
            .unwrap();
        assert_eq!(back.bytes.len(), size);
    }
    let error = caller
        .call("mirror", "m")
        .send_payload(Payload::raw(vec![7; 5001]))
        .await
        .unwrap_err();
    assert_eq!((error.code, error.may_have_run), (ErrorCode::TooLarge, false));
    let bomb = Methods::new().method("grow", |size: usize, _| async move { Ok("x".repeat(size)) });
    let _bomb = caller.register("bomb", bomb).await.unwrap();
    let error = caller
        .remote_call::<usize, String>("bomb", "grow", 6000)
        .await
        .unwrap_err();
    assert_eq!((error.code, error.may_have_run), (ErrorCode::TooLarge, true));
}

#[tokio::test]
async fn each_failure_has_its_own_error() {
    let place = Place::new();
    let broker = place.start();
    let object = Methods::new()
        .method("fail", |(): (), _| async move {
            let payload = Payload::json(&json!({ "left": 3 })).unwrap();
            Err::<(), _>(
                HandlerError::new("no more")
                    .named("shop.empty")
                    .with_payload(payload),
            )
        })
        .method("text", |(): (), _| async move {
            Err::<(), _>(HandlerError::new("only text"))
        })
        .method("panic", |(): (), _| async move {
            if true {
                panic!("on purpose");
            }
            Ok(())
        })
        .method("late", |(): (), _| {
            std::future::pending::<Result<(), HandlerError>>()
        })
        .method("number", |(): (), _| async move { Ok(5) });
    let (caller, _worker, _object) = pair(&broker, "o", object).await;
    let call = |method: &'static str| caller.remote_call::<(), Value>("o", method, ());

    let error = call("fail").await.unwrap_err();
    assert_eq!((error.code, error.may_have_run), (ErrorCode::Handler, true));
    assert_eq!(
        (error.name.as_deref(), error.message.as_str()),
        (Some("shop.empty"), "no more")
    );
    assert_eq!(error.payload.decode::<Value>().unwrap()["left"], 3);
    assert_eq!(call("text").await.unwrap_err().message, "only text");
    let error = call("panic").await.unwrap_err();
    assert_eq!(error.code, ErrorCode::HandlerPanicked);
    assert!(
        error.message.contains("o.panic") && error.message.contains("on purpose"),
        "{error}"
    );
    let error = call("nothing").await.unwrap_err();
    assert_eq!((error.code, error.may_have_run), (ErrorCode::NoSuchMethod, false));
    let error = caller.remote_call::<(), ()>("nobody", "m", ()).await.unwrap_err();
    assert_eq!((error.code, error.may_have_run), (ErrorCode::NoSuchObject, false));
    let late = caller
        .call("o", "late")
        .deadline(Duration::from_millis(50))
        .send::<(), ()>(&());
    assert_eq!(code(late.await), ErrorCode::Deadline);
    assert_eq!(
        code(caller.remote_call::<(), String>("o", "number", ()).await),
        ErrorCode::Encoding
    );
    assert_eq!(
        code(caller.remote_call::<(), ()>("o", "", ()).await),
        ErrorCode::Invalid
    );
    let odd = Payload {
        encoding: Encoding(77),
        bytes: b"?".to_vec().into(),
    };
    assert_eq!(
        code(caller.call("o", "number").send_payload(odd).await),
        ErrorCode::Encoding
    );
    assert_eq!(call("number").await.unwrap(), 5, "the object goes on");
}

#[tokio::test]
async fn the_handler_learns_who_calls_and_answers_in_the_encoding_of_the_call() {
    let place = Place::new();
    let broker = place.start();
    let object = Methods::new().method(
        "who",
        |(): (), context: actix_ipc::client::CallContext| async move {
            let note = context.metadata.get_str("note").map(ToOwned::to_owned);
            Ok((context.caller_name, context.caller.pid, note))
        },
    );
    let (_, _worker, _object) = pair(&broker, "o", object).await;
    let caller = broker.named("the caller").await;
    let mut metadata = Metadata::new();
    metadata.insert("note", "hello").unwrap();
    type Who = (Option<String>, u32, Option<String>);
    for encoding in [Encoding::JSON, Encoding::POSTCARD] {
        let call = caller
            .call("o", "who")
            .encoding(encoding)
            .metadata(metadata.clone());
        let reply = call
            .send_payload(Payload::encode(encoding, &()).unwrap())
            .with_metadata()
            .await
            .unwrap();
        assert_eq!(reply.payload.encoding, encoding);
        let (name, pid, note): Who = reply.payload.decode().unwrap();
        assert_eq!(
            (name.as_deref(), note.as_deref()),
            (Some("the caller"), Some("hello"))
        );
        assert_eq!(pid, std::process::id());
    }
    let mut reserved = Metadata::new();
    reserved.insert("sys.name", "somebody else").unwrap();
    let call = caller.call("o", "who").metadata(reserved).send::<(), Who>(&());
    assert_eq!(code(call.await), ErrorCode::Invalid);
}

/// Tells when a call has begun and when its future was dropped.
struct Slow {
    begun: Arc<Notify>,
    dropped: Arc<Notify>,
    cancelled: Arc<Notify>,
}

struct Tell(Arc<Notify>);

impl Drop for Tell {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[async_trait]
impl Handler for Slow {
    async fn handle(&self, call: IncomingCall) -> Result<Response, HandlerError> {
        let cancelled = Arc::clone(&self.cancelled);
        let wait = call.context.cancelled();
        tokio::spawn(async move {
            wait.await;
            cancelled.notify_one();
        });
        self.begun.notify_one();
        let _tell = Tell(Arc::clone(&self.dropped));
        std::future::pending().await
    }
}

#[tokio::test]
async fn dropping_a_call_or_a_stream_drops_the_handler() {
    let place = Place::new();
    let broker = place.start();
    let (begun, dropped, cancelled) = (
        Arc::new(Notify::new()),
        Arc::new(Notify::new()),
        Arc::new(Notify::new()),
    );
    let slow = Slow {
        begun: begun.clone(),
        dropped: dropped.clone(),
        cancelled: cancelled.clone(),
    };
    let (caller, _worker, _object) = pair(&broker, "slow", slow).await;
    let mut call = Box::pin(caller.remote_call::<(), ()>("slow", "m", ()));
    tokio::select! {
        answer = &mut call => panic!("{answer:?}"),
        () = begun.notified() => {}
    }
    drop(call);
    tokio::join!(dropped.notified(), cancelled.notified());
    let mut stream = caller.call("slow", "m").stream::<(), ()>(&());
    tokio::select! {
        item = stream.next() => panic!("{item:?}"),
        () = begun.notified() => {}
    }
    drop(stream);
    tokio::join!(dropped.notified(), cancelled.notified());
}

#[tokio::test]
async fn a_stream_sends_no_more_than_its_reader_takes() {
    let place = Place::new();
    let limits = Limits {
        stream_window: 1000,
        ..Limits::default()
    };
    let broker = place.start_with(limits);
    let made = Arc::new(AtomicUsize::new(0));
    let count = made.clone();
    let object = Methods::new().stream("count", move |to: u32, _| {
        let count = count.clone();
        futures::stream::iter(0..to).map(move |number| {
            count.fetch_add(1, Ordering::SeqCst);
            Ok::<_, HandlerError>(number)
        })
    });
    let (caller, _worker, _object) = pair(&broker, "o", object).await;
    let mut items = caller.call("o", "count").stream::<u32, u32>(&10_000);
    assert_eq!(items.next().await.unwrap().unwrap(), 0);
    // Whatever could be on its way has had its time when other calls have gone the same way.
    for _ in 0..50 {
        caller
            .remote_call::<(), ()>("o", "nothing", ())
            .await
            .unwrap_err();
    }
    let ahead = made.load(Ordering::SeqCst);
    assert!(ahead < 100, "{ahead} items were made for a reader of one");
    for expected in 1..10_000 {
        assert_eq!(items.next().await.unwrap().unwrap(), expected);
    }
    assert!(items.next().await.is_none());
    let one = Methods::new().method("m", |(): (), _| async move { Ok("one") });
    let _one = caller.register("one", one).await.unwrap();
    let all: Vec<_> = caller.call("one", "m").stream::<(), String>(&()).collect().await;
    assert_eq!(all, [Ok("one".to_owned())], "one value is a stream of one item");
    let _mirror = caller.register("mirror", Mirror).await.unwrap();
    let empty: Vec<_> = caller
        .call("mirror", "m")
        .stream_payload(Payload::default())
        .collect()
        .await;
    assert_eq!(empty.len(), 1, "an empty value is an item too");
    let error = caller.remote_call::<u32, u32>("o", "count", 3).await.unwrap_err();
    assert_eq!(
        error.code,
        ErrorCode::Invalid,
        "a stream for a caller who wants one value"
    );
    assert!(error.may_have_run, "its handler has run");
}

#[tokio::test]
async fn large_items_and_errors_in_streams() {
    let place = Place::new();
    let limits = Limits {
        frame_bytes: 1000,
        stream_window: 2000,
        ..Limits::default()
    };
    let broker = place.start_with(limits);
    let object = Methods::new().stream("pages", |sizes: Vec<usize>, _| {
        futures::stream::iter(sizes).map(|size| match size {
            0 => Err(HandlerError::new("empty page")),
            size => Ok("x".repeat(size)),
        })
    });
    let (caller, _worker, _object) = pair(&broker, "o", object).await;
    let sizes = vec![1, 100_000, 2, 900, 50_000, 0, 7];
    let items: Vec<_> = caller
        .call("o", "pages")
        .stream::<_, String>(&sizes)
        .collect()
        .await;
    let lengths: Vec<usize> = items.iter().flatten().map(String::len).collect();
    assert_eq!(lengths, [1, 100_000, 2, 900, 50_000]);
    assert_eq!(items.len(), 6, "nothing follows an error");
    assert_eq!(items.last().unwrap().as_ref().unwrap_err().message, "empty page");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_than_the_limit_run_at_once_and_the_rest_in_order() {
    let place = Place::new();
    let broker = place.start();
    let worker = broker.client().await;
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (busy, peak, order) = (running.clone(), most.clone(), seen.clone());
    let object = Methods::new().method("m", move |number: u32, _| {
        let (busy, peak, order) = (busy.clone(), peak.clone(), order.clone());
        async move {
            peak.fetch_max(busy.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            order.lock().unwrap().push(number);
            tokio::task::yield_now().await;
            busy.fetch_sub(1, Ordering::SeqCst);
            Ok(number)
        }
    });
    let _object = worker.register("o", object).concurrency(1).await.unwrap();
    let caller = broker.client().await;
    let calls = (0..200_u32).map(|number| caller.remote_call::<u32, u32>("o", "m", number));
    for answer in futures::future::join_all(calls).await {
        answer.unwrap();
    }
    assert_eq!(most.load(Ordering::SeqCst), 1);
    assert_eq!(*seen.lock().unwrap(), (0..200).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_call_can_wait_for_its_object() {
    let place = Place::new();
    let broker = place.start();
    let caller = broker.client().await;
    let call = caller.call("later", "m").wait_for_object().send::<u8, u8>(&7);
    let worker = broker.client().await;
    let register = async {
        caller.flush().await.unwrap();
        worker.register("later", Mirror).await.unwrap()
    };
    let (answer, _registration) = tokio::join!(call, register);
    assert_eq!(answer.unwrap(), 7);
    let never = caller
        .call("never", "m")
        .wait_for_object()
        .deadline(Duration::from_millis(50))
        .send::<u8, u8>(&7);
    let error = never.await.unwrap_err();
    assert_eq!((error.code, error.may_have_run), (ErrorCode::Deadline, false));
}

#[tokio::test]
async fn calls_without_an_answer_arrive_in_order() {
    let place = Place::new();
    let broker = place.start();
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let object = Methods::new().method("note", move |number: u32, _| {
        sender.send(number).unwrap();
        std::future::ready(Ok(()))
    });
    let (caller, _worker, _object) = pair(&broker, "o", object).await;
    for number in 0..1000_u32 {
        caller.call("o", "note").no_reply(&number).await.unwrap();
    }
    for expected in 0..1000 {
        assert_eq!(receiver.recv().await, Some(expected));
    }
}

/// One that goes in pieces keeps its place before those that were made after it, and one that is given up holds nobody up.
/// Calls that are answered at their first turn, and how often another task of the same thread had its turn when each began.
async fn turns_of_others_before_each(calls: usize, work: impl Fn() + Send + Sync + 'static) -> Vec<usize> {
    let place = Place::new();
    let broker = place.start();
    let (caller, worker) = (broker.client().await, broker.client().await);
    let (turns, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    let (had, begun) = (turns.clone(), seen.clone());
    let object = Methods::new().method("work", move |number: usize, _| {
        begun.lock().unwrap().push((number, had.load(Ordering::SeqCst)));
        work();
        async move { Ok(number) }
    });
    let _object = worker.register("o", object).await.unwrap();
    let other = actix::spawn(async move {
        loop {
            turns.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
        }
    });
    // Calls of another thread: they come as one batch, or a few.
    let calling = std::thread::spawn(move || {
        let all = async {
            let all = (0..calls).map(|number| caller.remote_call::<usize, usize>("o", "work", number));
            futures::future::try_join_all(all).await.unwrap()
        };
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(all)
    });
    let answers = tokio::task::spawn_blocking(move || calling.join().unwrap())
        .await
        .unwrap();
    assert_eq!(answers, (0..calls).collect::<Vec<_>>());
    other.abort();
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    assert!(seen.iter().map(|(number, _)| *number).eq(0..calls), "in order");
    seen.into_iter().map(|(_, turns)| turns).collect()
}

/// The most that began between two turns of another task.
fn most_at_once(turns: &[usize]) -> usize {
    turns
        .chunk_by(|one, next| one == next)
        .map(<[usize]>::len)
        .max()
        .unwrap()
}

#[actix::test]
async fn many_calls_that_are_ready_at_once_leave_others_their_turns() {
    let turns = turns_of_others_before_each(3_000, || ()).await;
    assert!(most_at_once(&turns) <= 256, "{}", most_at_once(&turns));
}

#[actix::test]
async fn handlers_that_work_for_long_leave_others_their_turns() {
    let work = || {
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(2) {
            std::hint::spin_loop();
        }
    };
    let turns = turns_of_others_before_each(40, work).await;
    assert!(most_at_once(&turns) <= 2, "{}", most_at_once(&turns));
}

#[tokio::test]
async fn a_large_call_is_not_overtaken_by_a_later_small_one() {
    let place = Place::new();
    let broker = place.start();
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let object = Methods::new().method("note", move |text: String, _| {
        sender.send(text.len()).unwrap();
        std::future::ready(Ok(()))
    });
    let (caller, _worker, _object) = pair(&broker, "o", object).await;
    let sizes = [3 << 20, 1, 700_000, 2, 2 << 20, 3];
    for _ in 0..10 {
        let call = |size: usize| caller.remote_call::<_, ()>("o", "note", "x".repeat(size));
        for answer in futures::future::join_all(sizes.map(call)).await {
            answer.unwrap();
        }
        for expected in sizes {
            assert_eq!(receiver.recv().await, Some(expected));
        }
        let mut given_up = Box::pin(call(8 << 20));
        let mut later = Box::pin(call(4));
        let first = futures::future::select(&mut given_up, std::future::ready(())).await;
        let small = futures::future::select(&mut later, std::future::ready(())).await;
        drop((first, small));
        drop(given_up);
        later.await.unwrap();
        assert_eq!(receiver.recv().await, Some(4));
    }
}

#[tokio::test]
async fn a_full_buffer_holds_callers_back_and_loses_nothing() {
    let place = Place::new();
    let broker = place.start();
    let (_, _worker, _object) = pair(&broker, "mirror", Mirror).await;
    let endpoint = broker.endpoint.clone();
    let caller = IpcClient::builder()
        .endpoint(endpoint)
        .out_buffer(64)
        .connect()
        .await
        .unwrap();
    let calls = (0..500_u64).map(|number| caller.remote_call::<u64, u64>("mirror", "m", number));
    let answers: Result<Vec<u64>, _> = futures::future::join_all(calls).await.into_iter().collect();
    assert_eq!(answers.unwrap(), (0..500).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_name_is_given_up_and_taken_again() {
    let place = Place::new();
    let broker = place.start();
    let (caller, worker, registration) = pair(&broker, "o", Mirror).await;
    let error = caller.register("o", Mirror).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::NameTaken);
    assert!(error.message.contains(&std::process::id().to_string()), "{error}");
    registration.unregister().await.unwrap();
    let again = caller.register("o", Mirror).await.unwrap();
    assert_eq!(worker.remote_call::<u8, u8>("o", "m", 1).await.unwrap(), 1);
    drop(again);
    caller.flush().await.unwrap();
    assert_eq!(
        code(worker.remote_call::<u8, u8>("o", "m", 1).await),
        ErrorCode::NoSuchObject
    );
}

#[tokio::test]
async fn the_death_of_a_worker_ends_its_calls() {
    let place = Place::new();
    let broker = place.start();
    let begun = Arc::new(Notify::new());
    let slow = Slow {
        begun: begun.clone(),
        dropped: Arc::default(),
        cancelled: Arc::default(),
    };
    let (caller, worker, registration) = pair(&broker, "slow", slow).await;
    let call = caller.remote_call::<(), ()>("slow", "m", ());
    let end = async {
        begun.notified().await;
        drop((registration, worker));
    };
    let (answer, ()) = tokio::join!(call, end);
    let error = answer.unwrap_err();
    assert_eq!((error.code, error.may_have_run), (ErrorCode::CalleeGone, true));
}

/// Answers with metadata that only the broker may write.
struct Pretender;

#[async_trait]
impl Handler for Pretender {
    async fn handle(&self, _call: IncomingCall) -> Result<Response, HandlerError> {
        let mut metadata = Metadata::new();
        metadata.insert("sys.name", "somebody else").unwrap();
        Ok(Response::payload(Payload::default()).with_metadata(metadata))
    }
}

#[tokio::test]
async fn metadata_of_the_broker_is_refused_where_it_is_written() {
    let place = Place::new();
    let broker = place.start();
    let (caller, worker, _object) = pair(&broker, "pretender", Pretender).await;
    let connection = worker.peer_id();
    let refused = caller
        .remote_call::<_, Value>("pretender", "x", ())
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code, refused.may_have_run),
        (ErrorCode::Handler, true),
        "{refused}"
    );
    assert!(refused.message.contains("sys."), "{refused}");
    worker.ping().await.unwrap();
    assert_eq!(worker.peer_id(), connection, "the worker has kept its connection");
}

#[tokio::test]
async fn a_shared_object_gets_raw_text_as_a_string() {
    let place = Place::new();
    let broker = place.start();
    let worker = broker.client().await;
    let _echo = worker.register_object("echo", Echo).await.unwrap();
    let raw = |bytes: &'static [u8]| {
        worker.call("echo", "say").send_payload(Payload {
            encoding: Encoding::RAW,
            bytes: bytes.into(),
        })
    };
    for (sent, expected) in [
        (&b"42"[..], json!("42")),
        (b"hi", json!("hi")),
        (b"", Value::Null),
    ] {
        let answer: Value = raw(sent).await.unwrap().decode().unwrap();
        assert_eq!(answer["args"], expected);
    }
    assert_eq!(code(raw(b"\xff").await), ErrorCode::Invalid);
}

/// Lets somebody else watch its calls, which are answered at once.
struct Watched(tokio::sync::mpsc::UnboundedSender<actix_ipc::client::CallContext>);

#[async_trait]
impl Handler for Watched {
    async fn handle(&self, call: IncomingCall) -> Result<Response, HandlerError> {
        self.0.send(call.context.clone()).unwrap();
        call.reply(&1)
    }
}

#[tokio::test]
async fn who_watches_a_call_sees_its_end() {
    let place = Place::new();
    let broker = place.start();
    let (watch, mut watched) = tokio::sync::mpsc::unbounded_channel();
    let (caller, _worker, _object) = pair(&broker, "watched", Watched(watch)).await;
    let _: u8 = caller.remote_call("watched", "x", ()).await.unwrap();
    let context = watched.recv().await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), context.cancelled())
        .await
        .unwrap();
    assert!(!context.is_cancelled());
}
