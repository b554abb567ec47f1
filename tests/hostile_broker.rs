//! A broker that lies, floods, is silent or dies, against the client library: every request ends with a typed error, and nothing
//! panics, hangs or grows without a bound.
//!
//! How it works: the broker is a thread with a Unix socket that says whatever a case wants. The client beside it always has the same
//! work under way: a registration, a subscription, a watch, calls, a streamed call, acknowledged events. A panic anywhere in this
//! process fails the test that sees it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    missing_docs,
    reason = "what is not as expected fails the test"
)]
#![cfg(unix)]

use actix_ipc::client::{ConnectionEvent, Methods, WatchScope};
use actix_ipc::message::handshake::PREFACE;
use actix_ipc::message::{Decoder, Draft, Encoding, Epoch, Flags, Kind, PROTOCOL_VERSION, Welcome};
use actix_ipc::{CallError, Endpoint, ErrorCode, IpcClient};
use futures::FutureExt;
use futures::future::join_all;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

/// Longer than anything here may take on a machine that is shared by many; the promise is a tenth of it.
const PATIENCE: Duration = Duration::from_secs(30);
/// The deadline of the client's calls.
const DEADLINE: Duration = Duration::from_millis(500);

static PANICS: AtomicUsize = AtomicUsize::new(0);

fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.fetch_add(1, Ordering::SeqCst);
            before(info);
        }));
    });
}

fn no_panic() {
    assert_eq!(PANICS.load(Ordering::SeqCst), 0, "something panicked; see above");
}

fn welcome() -> Welcome {
    Welcome {
        epoch: Epoch([7; 16]),
        frame_bytes: 1 << 20,
        message_bytes: 4 << 20,
        publish_window: 1 << 20,
        stream_window: 64 << 10,
        open_calls: 4_096,
        names: 100,
        subscriptions: 100,
        default_deadline_ms: 30_000,
        max_deadline_ms: 3_600_000,
        attachments: 0,
        ring_bytes: 0,
        send_window: 0,
        region_bytes: 0,
    }
}

fn welcome_frame(welcome: &Welcome) -> Vec<u8> {
    Draft::new(Kind::Welcome, 5)
        .aux(PROTOCOL_VERSION)
        .payload(Encoding::RAW, &welcome.encode())
        .to_vec()
}

/// A place where a broker seems to listen. Every connection runs `script` in a thread of its own.
struct Fake {
    endpoint: Endpoint,
    _folder: tempfile::TempDir,
}

impl Fake {
    fn new(script: impl Fn(UnixStream, usize) + Send + Sync + 'static) -> Self {
        count_panics();
        let folder = tempfile::tempdir().unwrap();
        let path: PathBuf = folder.path().join("b.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let script = Arc::new(script);
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let (Ok(stream), script) = (stream, Arc::clone(&script)) else {
                    return;
                };
                std::thread::spawn(move || script(stream, number));
            }
        });
        Self {
            endpoint: Endpoint::Unix(path),
            _folder: folder,
        }
    }

    async fn connect(&self) -> Result<IpcClient, actix_ipc::client::ConnectError> {
        let builder = IpcClient::builder()
            .endpoint(self.endpoint.clone())
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

/// Reads the greeting: preface and one Hello.
fn hear_greeting(stream: &mut UnixStream) {
    let mut decoder = Decoder::new(4096);
    let mut preface = [0; 8];
    stream.read_exact(&mut preface).unwrap();
    assert_eq!(preface, PREFACE);
    let mut byte = [0; 1];
    loop {
        let count = stream.read(&mut byte).unwrap();
        if !decoder.decode(&byte[..count]).unwrap().is_empty() {
            return;
        }
    }
}

/// Takes and forgets what the client says, until it closes.
fn swallow(mut stream: UnixStream) {
    let mut buffer = vec![0; 1 << 16];
    while stream.read(&mut buffer).is_ok_and(|count| count > 0) {}
}

/// Greets and sends the bytes while it reads; then ends the connection unless the client did.
fn greet_and_say(mut stream: UnixStream, bytes: &[u8]) {
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

#[actix::test]
async fn a_broker_that_ends_at_any_byte_of_its_welcome_is_an_error_in_words() {
    let whole = welcome_frame(&welcome());
    for cut in 0..=whole.len() {
        let part = whole[..cut].to_vec();
        let fake = Fake::new(move |mut stream, _| {
            hear_greeting(&mut stream);
            stream.write_all(&part).unwrap();
        });
        let at = Instant::now();
        let connected = fake.connect().await;
        assert_eq!(connected.is_ok(), cut == whole.len(), "cut at {cut}");
        if let Err(error) = connected {
            assert!(
                error.to_string().contains("closed the connection"),
                "{cut}: {error}"
            );
        }
        assert!(at.elapsed() < PATIENCE, "{cut}");
    }
    no_panic();
}

#[actix::test]
async fn a_broker_that_falls_silent_at_any_byte_of_its_welcome_is_given_up() {
    let whole = welcome_frame(&welcome());
    let attempts = (0..whole.len()).map(|cut| {
        let part = whole[..cut].to_vec();
        async move {
            let fake = Fake::new(move |mut stream, _| {
                hear_greeting(&mut stream);
                stream.write_all(&part).unwrap();
                swallow(stream);
            });
            let at = Instant::now();
            let error = fake.connect().await.expect_err("there is no welcome");
            assert!(error.to_string().contains("no welcome within"), "{cut}: {error}");
            at.elapsed()
        }
    });
    let longest = join_all(attempts).await.into_iter().max().unwrap();
    assert!(
        longest < Duration::from_secs(10),
        "{longest:?} for a promise of 1 s"
    );
    no_panic();
}

#[actix::test]
async fn a_welcome_with_any_byte_changed_is_taken_or_refused() {
    let whole = welcome_frame(&welcome());
    let mut refused = 0;
    for at in 0..whole.len() {
        for value in [0x00, 0x01, 0x7f, 0x80, 0xff] {
            let mut changed = whole.clone();
            changed[at] = value;
            let fake = Fake::new(move |mut stream, _| {
                hear_greeting(&mut stream);
                let _ = stream.write_all(&changed);
                let _ = stream.shutdown(std::net::Shutdown::Write);
                swallow(stream);
            });
            match fake.connect().await {
                Ok(client) => drop(within(client.closed()).await),
                Err(error) => {
                    refused += 1;
                    assert!(!error.to_string().is_empty());
                }
            }
        }
    }
    assert!(refused > 50, "{refused}");
    no_panic();
}

#[actix::test]
async fn answers_that_are_no_welcome_are_refused_in_words() {
    let goodbye = Draft::new(Kind::Goodbye, 0)
        .aux(3)
        .payload(Encoding::RAW, b"\x1b[2Jno");
    let hello = Draft::new(Kind::Hello, 1).aux(1).to_vec();
    let mut long = welcome_frame(&welcome());
    long[0..4].copy_from_slice(&u32::MAX.to_le_bytes());
    let cases: &[(&str, Vec<u8>)] = &[
        ("another protocol", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        ("its own greeting", PREFACE.to_vec()),
        ("zeroes", vec![0; 4096]),
        ("ones", vec![0xff; 4096]),
        ("a goodbye", goodbye.to_vec()),
        ("a hello", hello),
        ("another version", Draft::new(Kind::Welcome, 5).aux(77).to_vec()),
        (
            "an empty welcome",
            Draft::new(Kind::Welcome, 5).aux(PROTOCOL_VERSION).to_vec(),
        ),
        ("a length of 4 GiB", long),
    ];
    for (case, bytes) in cases {
        let bytes = bytes.clone();
        let fake = Fake::new(move |mut stream, _| {
            hear_greeting(&mut stream);
            let _ = stream.write_all(&bytes);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            swallow(stream);
        });
        let error = fake.connect().await.expect_err(case).to_string();
        assert!(error.len() > 20, "{case}: {error}");
    }
    no_panic();
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

fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: usize = text
        .split(' ')
        .nth(1)
        .and_then(|word| word.parse().ok())
        .unwrap_or(0);
    pages * 4096
}

/// Those that look at the memory of the whole process go one after the other.
static MEMORY: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// 64 MiB of each kind of frame that a client has to keep, count or answer.
#[actix::test]
async fn floods_are_bounded() {
    const FLOOD: usize = 64 << 20;
    let text = [b'x'; 1024];
    let key = 0x8000_0000_0000_0000_u64;
    let floods: Vec<(&str, Draft<'_>)> = vec![
        (
            "events nobody reads",
            Draft::new(Kind::Event, key)
                .pair("a", "b")
                .payload(Encoding::RAW, &text),
        ),
        ("gaps", Draft::new(Kind::Gap, key).aux(u32::MAX)),
        ("notices", Draft::new(Kind::Notice, key).aux(1).key(b"name")),
        (
            "calls of an object",
            Draft::new(Kind::Call, 3)
                .pair("object", "double")
                .payload(Encoding::JSON, b"1"),
        ),
        (
            "calls of no object",
            Draft::new(Kind::Call, 3).pair("nobody", "double"),
        ),
        ("credit", Draft::new(Kind::PublishCredit, 0).aux(u32::MAX)),
        ("credit for calls", Draft::new(Kind::CallCredit, 1).aux(u32::MAX)),
        (
            "items of streams",
            Draft::new(Kind::Reply, 1)
                .flags(Flags::MORE)
                .payload(Encoding::JSON, b"1"),
        ),
        ("pongs", Draft::new(Kind::Pong, 0)),
        ("ownership", Draft::new(Kind::Ownership, key).aux(1)),
    ];
    let _alone = MEMORY.lock().await;
    let before = resident();
    for (case, draft) in floods {
        let one = draft.to_vec();
        let many = one.repeat((FLOOD / one.len()).min(400_000));
        let _ = survive(case, many).await;
        let grown = resident().saturating_sub(before);
        eprintln!("{case}: {} MiB more", grown >> 20);
        assert!(grown < 500 << 20, "{case}: {grown} bytes more");
    }
    no_panic();
}

/// Distinct numbers, so that every first part opens something.
#[actix::test]
async fn first_parts_without_an_end_are_bounded() {
    let _alone = MEMORY.lock().await;
    let before = resident();
    for kind in [Kind::Call, Kind::Event] {
        let mut bytes = Vec::new();
        for number in 0..1_000_000_u32 {
            let id = if kind == Kind::Event {
                0x8000_0000_0000_0000
            } else {
                u64::from(number)
            };
            let draft = Draft::new(kind, id).aux(number).flags(Flags::CONTINUED);
            draft.pair("object", "double").encode(&mut bytes);
        }
        let _ = survive(kind.name(), bytes).await;
        let grown = resident().saturating_sub(before);
        eprintln!("{}: {} MiB more", kind.name(), grown >> 20);
        assert!(grown < 200 << 20, "{}: {grown} bytes more", kind.name());
    }
    no_panic();
}

/// Pings without end from a broker that reads none of the answers.
#[actix::test]
async fn a_broker_that_asks_and_does_not_read_is_left() {
    let fake = Fake::new(|mut stream, _| {
        hear_greeting(&mut stream);
        stream.write_all(&welcome_frame(&welcome())).unwrap();
        let pings = Draft::new(Kind::Ping, 1)
            .payload(Encoding::RAW, &[1; 64])
            .to_vec()
            .repeat(1_000);
        // Until the client has closed.
        while stream.write_all(&pings).is_ok() {}
    });
    let _alone = MEMORY.lock().await;
    let before = resident();
    let client = fake.connect().await.unwrap();
    let why = within(client.closed()).await.to_string();
    assert!(why.contains("does not read"), "{why}");
    let grown = resident().saturating_sub(before);
    assert!(grown < 400 << 20, "{grown} bytes more for a bound of 64 MiB");
    no_panic();
}

/// A stream whose sender ignores its window is the end of the connection, not of the memory.
#[actix::test]
async fn a_stream_beyond_its_window_ends_the_connection() {
    let fake = Fake::new(|mut stream, _| {
        hear_greeting(&mut stream);
        stream.write_all(&welcome_frame(&welcome())).unwrap();
        let mut decoder = Decoder::new(1 << 20);
        let mut buffer = vec![0; 4096];
        let id = loop {
            let count = stream.read(&mut buffer).unwrap();
            let batch = decoder.decode(&buffer[..count]).unwrap();
            if let Some(call) = batch.headers().find(|header| header.kind == Kind::Call) {
                break call.id;
            }
        };
        let item = Draft::new(Kind::Reply, id)
            .flags(Flags::MORE)
            .payload(Encoding::JSON, b"1")
            .to_vec();
        let reading = stream.try_clone().unwrap();
        std::thread::spawn(move || swallow(reading));
        let items = item.repeat(1_000);
        while stream.write_all(&items).is_ok() {}
    });
    let client = fake.connect().await.unwrap();
    let mut items = client.call("object", "count").stream::<_, i64>(&0);
    let first = within(items.next()).await;
    assert!(matches!(first, Some(Ok(1))), "{first:?}");
    // The reader stands still; only the window could have kept the sender back.
    let why = within(client.closed()).await.to_string();
    assert!(why.contains("window"), "{why}");
    no_panic();
}

/// The same for the items behind a call, which a handler does not take.
#[actix::test]
async fn items_beyond_their_window_end_the_connection() {
    let fake = Fake::new(|mut stream, _| {
        hear_greeting(&mut stream);
        stream.write_all(&welcome_frame(&welcome())).unwrap();
        let mut decoder = Decoder::new(1 << 20);
        let mut buffer = vec![0; 4096];
        let id = loop {
            let count = stream.read(&mut buffer).unwrap();
            let batch = decoder.decode(&buffer[..count]).unwrap();
            if let Some(register) = batch.headers().find(|header| header.kind == Kind::Register) {
                break register.id;
            }
        };
        stream.write_all(&Draft::new(Kind::Done, id).to_vec()).unwrap();
        let reading = stream.try_clone().unwrap();
        std::thread::spawn(move || swallow(reading));
        let call = Draft::new(Kind::Call, 7)
            .aux(60_000)
            .flags(Flags::CONTINUED.with(Flags::ITEMS))
            .pair("object", "never")
            .payload(Encoding::JSON, b"null");
        stream.write_all(&call.to_vec()).unwrap();
        let items = Draft::new(Kind::CallPiece, 7)
            .flags(Flags::CONTINUED)
            .payload(Encoding::JSON, b"1")
            .to_vec()
            .repeat(1_000);
        while stream.write_all(&items).is_ok() {}
    });
    let client = fake.connect().await.unwrap();
    let never = Methods::new().method("never", |(): (), _| async move {
        std::future::pending::<()>().await;
        Ok(())
    });
    let _object = within(client.register("object", never).into_future())
        .await
        .unwrap();
    let why = within(client.closed()).await.to_string();
    assert!(why.contains("window"), "{why}");
    no_panic();
}

#[actix::test]
async fn a_broker_that_answers_nothing_costs_a_deadline_and_a_second() {
    let fake = Fake::new(|mut stream, _| {
        hear_greeting(&mut stream);
        stream.write_all(&welcome_frame(&welcome())).unwrap();
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
        .endpoint(fake.endpoint.clone())
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
    let open = || std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let fake = Fake::new(|stream, _| greet_and_say(stream, &header(u32::MAX, 0x36, b"")));
    let client = fake.connect().await.unwrap();
    let _ = work(&client).await;
    drop(client);
    let before = open();
    for _ in 0..50 {
        let client = fake.connect().await.unwrap();
        let _ = work(&client).await;
    }
    // Other tests of this process open and close as well; fifty leaked sockets would show all the same.
    let until = Instant::now() + PATIENCE;
    while open() > before + 40 {
        assert!(Instant::now() < until, "{} descriptors, {before} before", open());
        tokio::task::yield_now().await;
    }
    no_panic();
}
