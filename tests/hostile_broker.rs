//! A broker that lies, floods, is silent or dies, against the client library: every request ends with a typed error, and nothing
//! panics, hangs or grows without a bound.
//!
//! How it works: the broker is a thread with a Unix socket (elsewhere with a TCP port) that says whatever a case wants. The client beside
//! it always has the same work under way: a registration, a subscription, a watch, calls, a streamed call, acknowledged events. A panic
//! anywhere in this process fails the test that sees it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    missing_docs,
    reason = "what is not as expected fails the test"
)]

#[path = "support/false_broker.rs"]
mod false_broker;
#[path = "hostile_broker/floods.rs"]
mod floods;
#[path = "hostile_broker/handshakes.rs"]
mod handshakes;
#[path = "support/own_process.rs"]
mod own_process;
#[path = "support/until.rs"]
mod until;

use actix_ipc::client::{ConnectionEvent, Methods, WatchScope};
use actix_ipc::message::handshake::PREFACE;
use actix_ipc::message::{Draft, Encoding, Epoch, Flags, Kind, PROTOCOL_VERSION};
use actix_ipc::{CallError, ErrorCode, IpcClient};
use false_broker::{
    FalseBroker, Socket, greet, hear_greeting, number_of, say_and_swallow, swallow, welcome, welcome_frame,
};
use futures::FutureExt;
use futures::future::join_all;
use own_process::{grown_since, open, resident};
use std::io::Write;
use std::sync::{Once, OnceLock};
use std::time::{Duration, Instant};

/// Longer than anything here may take on a machine that is shared by many; the promise is a tenth of it.
const PATIENCE: Duration = Duration::from_secs(30);
/// The deadline of the client's calls.
const DEADLINE: Duration = Duration::from_millis(500);

/// The first panic of this process, and whose it is: tests that fail for another's name it.
static PANIC: OnceLock<String> = OnceLock::new();

fn note_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let thread = std::thread::current();
            let _ = PANIC.set(format!("{}: {info}", thread.name().unwrap_or("a thread")));
            before(info);
        }));
    });
}

fn no_panic() {
    assert_eq!(PANIC.get(), None, "something panicked, here or in another test");
}

/// A false broker, and what is done with it.
struct Fake(FalseBroker);

impl Fake {
    fn new(script: impl Fn(Socket, usize) + Send + Sync + 'static) -> Self {
        note_panics();
        Self(FalseBroker::new(script))
    }

    async fn connect(&self) -> Result<IpcClient, actix_ipc::client::ConnectError> {
        let builder = IpcClient::builder()
            .endpoint(self.0.endpoint.clone())
            .reconnect(false)
            .deadline(DEADLINE)
            .subscription_buffer(1 << 20);
        within(builder.connect()).await
    }
}

/// Fails when it does not end.
async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work)
        .await
        .expect("it ends by itself")
}

/// Greets and sends the bytes while it reads; then ends the connection unless the client did.
fn greet_and_say(mut stream: Socket, bytes: &[u8]) {
    hear_greeting(&mut stream);
    let _ = stream.write_all(&welcome_frame(&welcome()));
    let reading = stream.try_clone().unwrap();
    let reader = std::thread::spawn(move || swallow(reading));
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    // The client closes when it has read all of it.
    reader.join().unwrap();
}

/// What a client usually has under way. Returns how each part ended; every part ends.
async fn work(client: &IpcClient) -> Vec<Result<(), CallError>> {
    let methods = Methods::new().method("double", |n: i64, _| async move { Ok(n * 2) });
    let served = async {
        let registration = client.register("object", methods).await?;
        let _ = registration.unregister().await;
        Ok(())
    };
    let heard = async {
        let mut events = client.subscribe("**", "**").pattern().await?;
        while events.next_update().await.is_some() {}
        Ok(())
    };
    let watched = async {
        let mut notices = client.watch(WatchScope::Both).await?;
        while notices.next().await.is_some() {}
        Ok(())
    };
    let called = async {
        let calls = (0..20).map(|n| client.remote_call::<_, i64>("object", "double", n));
        join_all(calls)
            .await
            .into_iter()
            .try_for_each(|result| result.map(|_| ()))
    };
    let streamed = async {
        let mut items = client.call("object", "count").stream::<_, i64>(&3);
        while let Some(item) = items.next().await {
            item?;
        }
        Ok(())
    };
    let published = async {
        let publishes = (0..20).map(|n| client.publish("news", "today", &n).acknowledged());
        join_all(publishes)
            .await
            .into_iter()
            .try_for_each(|result| result.map(|_| ()))
    };
    let asked = async { client.describe("object").await.map(|_| ()) };
    let parts = [
        served.boxed_local(),
        heard.boxed_local(),
        watched.boxed_local(),
        called.boxed_local(),
        streamed.boxed_local(),
        published.boxed_local(),
        asked.boxed_local(),
    ];
    within(join_all(parts)).await
}

/// The client's work beside a broker that says these bytes. All of it ends.
async fn survive(case: &str, bytes: Vec<u8>) -> Vec<Result<(), CallError>> {
    let fake = Fake::new(move |stream, _| greet_and_say(stream, &bytes));
    let client = fake
        .connect()
        .await
        .unwrap_or_else(|error| panic!("{case}: {error}"));
    let ends = work(&client).await;
    let why = within(client.closed()).await;
    assert!(!why.to_string().is_empty(), "{case}");
    ends
}

/// Frames of every kind under numbers that are nobody's, or somebody else's.
#[actix::test]
async fn every_kind_under_every_wrong_number_ends_in_typed_errors() {
    let numbers = [0, 1, 2, 0x8000_0000_0000_0000, 0x8000_0001_0000_0000, u64::MAX];
    let mut cases = 0;
    for kind in Kind::ALL {
        for flags in [
            Flags::NONE,
            kind.allowed_flags().without(Flags::META.with(Flags::ORIGIN)),
        ] {
            let mut bytes = Vec::new();
            for id in numbers {
                for aux in [0, 1, u32::MAX] {
                    for payload in [&b""[..], b"{\"a\":1}", &[0xff; 300]] {
                        let draft = Draft::new(*kind, id).flags(flags).aux(aux);
                        draft
                            .pair("object", "double")
                            .payload(Encoding::JSON, payload)
                            .encode(&mut bytes);
                        draft.payload(Encoding(250), payload).encode(&mut bytes);
                        cases += 2;
                    }
                }
            }
            let ends = survive(kind.name(), bytes).await;
            // What was not answered has an error; a lucky answer under a right number is as good as any.
            assert!(ends.iter().any(Result::is_err), "{}", kind.name());
        }
    }
    assert!(cases > 5_000, "{cases}");
    no_panic();
}

fn header(length: u32, kind: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = Draft::new(Kind::Event, 1).to_vec();
    bytes[0..4].copy_from_slice(&length.to_le_bytes());
    bytes[4] = kind;
    bytes.extend_from_slice(rest);
    bytes
}

#[actix::test]
async fn bytes_that_are_no_frames_end_the_connection_with_a_reason() {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random.to_le_bytes()
    };
    let mut cases: Vec<(String, Vec<u8>)> = vec![
        ("a length of 4 GiB".into(), header(u32::MAX, 0x36, &[0; 64])),
        ("a body above the limit".into(), header(64 << 20, 0x36, &[0; 64])),
        ("a frame that never ends".into(), header(1 << 19, 0x36, &[0; 64])),
        ("half a header".into(), header(0, 0x36, b"")[..11].to_vec()),
    ];
    for kind in 0..=u8::MAX {
        cases.push((format!("kind {kind}"), header(0, kind, b"")));
    }
    for number in 0..64 {
        let bytes: Vec<u8> = (0..512).flat_map(|_| next()).collect();
        cases.push((format!("random bytes {number}"), bytes));
    }
    for (case, bytes) in cases {
        let ends = survive(&case, bytes).await;
        assert!(ends.iter().all(Result::is_err), "{case}: {ends:?}");
    }
    no_panic();
}

#[actix::test]
async fn a_broker_that_answers_nothing_costs_a_deadline_and_a_second() {
    let fake = Fake::new(|mut stream, _| {
        greet(&mut stream);
        swallow(stream);
    });
    let client = fake.connect().await.unwrap();
    let at = Instant::now();
    let error = within(client.remote_call::<_, i64>("object", "double", 1))
        .await
        .unwrap_err();
    assert_eq!(
        (error.code, error.may_have_run),
        (ErrorCode::Deadline, true),
        "{error}"
    );
    // Beside what is open already, and as the first thing that a connection ever waits for.
    for client in [client, fake.connect().await.unwrap()] {
        let error = within(client.publish("news", "today", &1).acknowledged())
            .await
            .unwrap_err();
        assert_eq!(error.code, ErrorCode::Deadline, "{error}");
    }
    assert!(
        at.elapsed() < Duration::from_secs(30),
        "{:?} for a promise of 3 × 2.5 s",
        at.elapsed()
    );
    no_panic();
}

#[actix::test]
async fn a_new_epoch_with_every_connection_is_told_each_time() {
    let fake = Fake::new(|mut stream, number| {
        hear_greeting(&mut stream);
        let mut changed = welcome();
        changed.epoch = Epoch([u8::try_from(number % 250).unwrap(); 16]);
        let _ = stream.write_all(&welcome_frame(&changed));
    });
    let client = IpcClient::builder()
        .endpoint(fake.0.endpoint.clone())
        .connect()
        .await
        .unwrap();
    let mut told = client.connection_events();
    let mut lives = 0;
    while lives < 3 {
        match within(told.next()).await.expect("it goes on") {
            ConnectionEvent::Reconnected { same_broker, .. } => {
                assert!(!same_broker);
                lives += 1;
            }
            ConnectionEvent::Lost { reason } => assert!(!reason.is_empty()),
            other => panic!("{other:?}"),
        }
    }
    no_panic();
}

#[actix::test]
async fn nothing_is_left_behind() {
    let fake = Fake::new(|stream, _| greet_and_say(stream, &header(u32::MAX, 0x36, b"")));
    let client = fake.connect().await.unwrap();
    let _ = work(&client).await;
    drop(client);
    let before = open();
    for _ in 0..50 {
        let client = fake.connect().await.unwrap();
        let _ = work(&client).await;
    }
    // Other tests of this process open and close as well, and come to their ends; fifty leaked sockets would show all the same.
    let gone = || open() <= before + 20;
    until::until_with_others(&format!("no more descriptors than {before} and a few"), gone).await;
    no_panic();
}
