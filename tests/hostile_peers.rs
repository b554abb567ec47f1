//! Programs that lie, flood or break off, against both ends of a connection without a broker: what breaks the protocol ends the
//! connection with the reason that the document names, calls end with typed errors, and nothing panics or grows without a bound.
//!
//! How it works: the test speaks the bytes itself over a Unix socket, once as a client of an `RpcServer` and once as a server of an
//! `RpcClient`. Each case is a list of frames and the goodbye that they earn.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]
#![cfg(unix)]

#[path = "peers/calc.rs"]
mod calc;
#[path = "peers/raw.rs"]
mod raw;

use actix_ipc::error::CloseReason;
use actix_ipc::message::{Draft, Encoding, Flags, Kind, Metadata, Origin};
use actix_ipc::protocol::{RpcClient, RpcLimits, RpcServer};
use actix_ipc::{Endpoint, ErrorCode};
use calc::{Answers, CALC, Calc, Receiver, Service, within};
use raw::Raw;
use std::os::unix::net::UnixListener;
use std::sync::Arc;

/// What this test's ends say that they take, and what the ends under test take.
const OPEN_CALLS: u32 = 4;
const CALL_WINDOW: u32 = 1_000;

fn limits() -> RpcLimits {
    RpcLimits::default()
        .open_calls(OPEN_CALLS)
        .call_window(CALL_WINDOW)
        .frame_bytes(4_096)
        .message_bytes(16_384)
        .stream_window(2_048)
}

fn call(id: u64, command: &str, flags: Flags, value: &[u8]) -> Vec<u8> {
    let payload = [&CALC.id.to_le_bytes()[..], value].concat();
    let draft = Draft::new(Kind::Call, id).aux(60_000).flags(flags);
    let draft = draft.pair("calc", command);
    draft.payload(Encoding::PROTOCOL, &payload).to_vec()
}

fn plain(kind: Kind, id: u64, aux: u32) -> Vec<u8> {
    Draft::new(kind, id).aux(aux).to_vec()
}

/// A piece that says that it brings a region.
fn region(kind: Kind, id: u64) -> Vec<u8> {
    let draft = Draft::new(kind, id).flags(Flags::REGION);
    draft.payload(Encoding::RAW, &64_u64.to_le_bytes()).to_vec()
}

/// A note that nobody answers, of so many bytes beside the frame.
fn note(id: u64, weight: u8) -> Vec<u8> {
    let value = [&[1, weight][..], &vec![7; usize::from(weight)]].concat();
    call(id, "note", Flags::NO_REPLY, &value)
}

/// What to say, and how the other end takes leave; `None`: it does not.
type Case = (&'static str, Vec<Vec<u8>>, Option<CloseReason>);

fn cases() -> Vec<Case> {
    let protocol = Some(CloseReason::Protocol);
    let wait = |id| call(id, "wait", Flags::NONE, b"");
    let mut reserved = Metadata::new();
    reserved.insert("sys.name", "somebody else").unwrap();
    let with_origin = Draft {
        origin: Some(Origin::default()),
        ..Draft::new(Kind::Call, 3)
    };
    let mut cases: Vec<Case> = vec![
        ("a call 0", vec![wait(0)], protocol),
        (
            "credit for a call that nobody made",
            vec![
                plain(Kind::CallCredit, 77, u32::MAX),
                plain(Kind::ReplyCredit, 77, u32::MAX),
            ],
            None,
        ),
        (
            "answers that nobody waits for",
            vec![
                plain(Kind::Reply, 9 << 40, 0),
                plain(Kind::Error, 3, 999),
                plain(Kind::ReplyPiece, 4, 0),
                plain(Kind::CallPiece, 5, 0),
                plain(Kind::Cancel, u64::MAX, 0),
                plain(Kind::Pong, 9, 0),
            ],
            None,
        ),
        (
            "an origin",
            vec![with_origin.pair("calc", "echo").to_vec()],
            protocol,
        ),
        (
            "a large Ping",
            vec![
                Draft::new(Kind::Ping, 3)
                    .payload(Encoding::RAW, &[7; 65])
                    .to_vec(),
            ],
            protocol,
        ),
        (
            "metadata of a broker",
            vec![
                Draft::new(Kind::Call, 3)
                    .meta(reserved.as_bytes())
                    .pair("calc", "echo")
                    .to_vec(),
            ],
            protocol,
        ),
    ];
    cases.extend(regions());
    cases.extend(windows(wait));
    cases.extend(contradictions());
    for kind in Kind::ALL {
        if !actix_ipc::message::meet::crosses(*kind) {
            cases.push((kind.name(), vec![plain(*kind, 5, 1)], protocol));
        }
    }
    cases
}

/// Calls that cannot be, and numbers that are open.
fn contradictions() -> impl Iterator<Item = Case> {
    let (no_reply, wait) = (Flags::NO_REPLY, || call(7, "wait", Flags::NONE, b""));
    let twice = [
        ("a call and its number again", vec![wait(), wait()]),
        (
            "a call and its number again, without an answer",
            vec![wait(), call(7, "nothing", no_reply, b"")],
        ),
        (
            "a call without an answer and its number again",
            vec![note(7, 1), note(7, 1)],
        ),
    ];
    let flags = [
        (
            "a call without an answer in pieces",
            no_reply.with(Flags::CONTINUED),
        ),
        (
            "a call without an answer for a stream",
            no_reply.with(Flags::STREAM),
        ),
        ("a call without an answer with items", no_reply.with(Flags::ITEMS)),
        ("items that do not go on", Flags::ITEMS),
    ];
    let alone = flags.map(|(name, flags)| (name, vec![call(3, "note", flags, b"")]));
    let all = twice.into_iter().chain(alone);
    all.map(|(name, frames)| (name, frames, Some(CloseReason::Protocol)))
}

/// What only a broker passes on.
fn regions() -> Vec<Case> {
    let protocol = Some(CloseReason::Protocol);
    let offered = call(7, "wait", Flags::CONTINUED.with(Flags::OFFER), b"");
    vec![
        (
            "a region for a call",
            vec![offered.clone(), region(Kind::CallPiece, 7)],
            protocol,
        ),
        (
            "a region for nothing",
            vec![region(Kind::CallPiece, 77), region(Kind::ReplyPiece, 77)],
            protocol,
        ),
        (
            "an offer, which nobody answers",
            vec![offered, plain(Kind::CallPiece, 7, 0)],
            None,
        ),
    ]
}

/// Too much, and what looks like it.
fn windows(wait: impl Fn(u64) -> Vec<u8>) -> Vec<Case> {
    let (protocol, window) = (Some(CloseReason::Protocol), Some(CloseReason::Window));
    vec![
        ("as many calls as are granted", (1..=4).map(&wait).collect(), None),
        (
            "a call more than is granted",
            (1..=5).map(&wait).collect(),
            window,
        ),
        (
            "credit that nobody took",
            vec![plain(Kind::CallCredit, 0, 1)],
            window,
        ),
        (
            "a frame that is too large",
            vec![call(3, "echo", Flags::NONE, &[0; 20_000])],
            protocol,
        ),
        (
            "a kind that nobody knows",
            vec![vec![0, 0, 0, 0, 0x70], vec![0; 19]],
            protocol,
        ),
        (
            "more notes than the window",
            (1..=8).map(|id| note(id, 100)).collect(),
            window,
        ),
        (
            "notes within the window",
            (1..=3).map(|id| note(id, 100)).collect(),
            None,
        ),
        (
            "calls that find nothing",
            (1..=3)
                .map(|id| Draft::new(Kind::Call, id).aux(5).pair("nobody", "x").to_vec())
                .collect(),
            None,
        ),
    ]
}

/// Says what a case says, and sees what comes of it.
fn play(raw: &mut Raw, (name, frames, goodbye): &Case) {
    for frame in frames {
        raw.write(frame);
    }
    match goodbye {
        Some(reason) => assert_eq!(raw.goodbye(), Some(*reason), "{name}"),
        None => {
            raw.write(&plain(Kind::Ping, 4_242, 0));
            raw.until(name, |kind, id| kind == Kind::Pong && id == 4_242);
        }
    }
}

#[test]
fn a_server_survives_every_wrong_client() {
    actix::System::new().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        for case in cases() {
            let service = Service::new(true);
            let builder = RpcServer::builder().limits(limits());
            let server = service.bind_with(builder, Endpoint::Unix(path.clone())).await;
            let path = path.clone();
            let name = case.0;
            let playing = actix_rt::task::spawn_blocking(move || {
                let mut raw = Raw::connect(&path);
                raw.meet(OPEN_CALLS, CALL_WINDOW, &[]);
                play(&mut raw, &case);
            });
            within(name, playing).await.unwrap();
            assert_eq!(service.ended(1).await.len(), 1, "{name}");
            let sane = RpcClient::<Calc>::connect(server.endpoint().clone(), ())
                .await
                .unwrap();
            assert_eq!(sane.sender.echo(name).await.unwrap(), name);
            within("the shutdown", server.shutdown()).await;
        }
    });
}

#[test]
fn no_call_is_hidden_behind_another_of_its_number() {
    actix::System::new().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let service = Service::new(true);
        let builder = RpcServer::builder().limits(limits()).concurrency(1_000);
        let server = service.bind_with(builder, Endpoint::Unix(path.clone())).await;
        let playing = actix_rt::task::spawn_blocking(move || {
            let mut raw = Raw::connect(&path);
            raw.meet(OPEN_CALLS, 1 << 18, &[]);
            for id in 1..=200 {
                raw.write(&call(id, "wait", Flags::NONE, b""));
                raw.write(&call(id, "nothing", Flags::NO_REPLY, b""));
            }
            assert_eq!(raw.goodbye(), Some(CloseReason::Protocol));
        });
        within("the flood", playing).await.unwrap();
        service.ended(1).await;
        within("the shutdown", server.shutdown()).await;
        let begun = *service.answers.waiting.borrow();
        assert!(begun <= OPEN_CALLS as usize, "{begun} handlers were begun");
        // Those that have begun end with their connection, and the runtime has had its turns to drop them.
        let dropped = || service.answers.dropped.load(std::sync::atomic::Ordering::SeqCst);
        let gone = async {
            while dropped() < begun {
                actix_rt::task::yield_now().await;
            }
        };
        within("the end of the handlers", gone).await;
    });
}

#[test]
fn a_server_that_reads_nothing_keeps_no_call_beyond_its_deadline() {
    actix::System::new().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let (leave, left) = std::sync::mpsc::channel::<()>();
        let playing = actix_rt::task::spawn_blocking(move || {
            let mut raw = Raw::accept(&listener);
            raw.answer_meet(4_096, CALL_WINDOW, &[(CALC.id, "calc")]);
            // It reads nothing more until the test is through.
            let _ = left.recv();
        });
        let client = RpcClient::<Calc>::connect(Endpoint::Unix(path), ())
            .await
            .unwrap();
        let sender = Calc(
            client
                .sender
                .0
                .clone()
                .with_deadline(std::time::Duration::from_millis(300)),
        );
        let text = "x".repeat(100_000);
        let calls = futures::future::join_all((0..40).map(|_| sender.echo(&text)));
        let ended = within("the deadlines", calls).await;
        let errors: Vec<_> = ended.into_iter().map(|result| result.unwrap_err()).collect();
        assert!(errors.iter().all(|error| error.code == ErrorCode::Deadline));
        let unsent = errors.iter().filter(|error| !error.may_have_run).count();
        assert!(unsent > 20, "{unsent} of 40 were never sent");
        drop(leave);
        within("the server", playing).await.unwrap();
    });
}

#[test]
fn who_asks_and_does_not_read_is_parted_from() {
    const MOST: usize = 8 << 20;
    actix::System::new().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let ping = Draft::new(Kind::Ping, 3)
            .payload(Encoding::RAW, &[7; 64])
            .to_vec();
        let nobody = Draft::new(Kind::Call, 3).aux(5).pair("nobody", "x").to_vec();
        for (name, frame) in [("pings", ping), ("calls that find nothing", nobody)] {
            let service = Service::new(false);
            let builder = RpcServer::builder().limits(limits());
            let server = service.bind_with(builder, Endpoint::Unix(path.clone())).await;
            let path = path.clone();
            let playing = actix_rt::task::spawn_blocking(move || {
                let mut raw = Raw::connect(&path);
                raw.meet(OPEN_CALLS, CALL_WINDOW, &[]);
                let many = frame.repeat(100);
                let mut written = 0;
                while written < MOST && raw.writes(&many) {
                    written += many.len();
                }
                written
            });
            let written = within(name, playing).await.unwrap();
            assert!(written < MOST, "{name}: all of it was taken");
            service.ended(1).await;
            within("the shutdown", server.shutdown()).await;
        }
    });
}

/// The errors that come before the answer to a second Ping: that to the first goes before what came with it.
fn errors(raw: &mut Raw) -> Vec<u64> {
    raw.write(&plain(Kind::Ping, 1, 0));
    let mut errors = Vec::new();
    loop {
        match raw.next().expect("the connection goes on") {
            (Kind::Pong, 1, _) => raw.write(&plain(Kind::Ping, 2, 0)),
            (Kind::Pong, 2, _) => return errors,
            (Kind::Error, id, code) => {
                let code = ErrorCode::from_code(code);
                assert!(
                    matches!(code, ErrorCode::Overloaded | ErrorCode::ReplyLost),
                    "{code:?}"
                );
                errors.push(id);
            }
            (Kind::Goodbye, _, reason) => panic!("goodbye {reason}"),
            _ => {}
        }
    }
}

/// Plays against a server whose clients may make it keep one message of the largest size, 16,384 bytes.
fn in_little_memory(play: impl FnOnce(&mut Raw) + Send + 'static) {
    actix::System::new().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let service = Service::new(true);
        let own = limits().memory(0).open_calls(100);
        let builder = RpcServer::builder().limits(own);
        let server = service.bind_with(builder, Endpoint::Unix(path.clone())).await;
        let playing = actix_rt::task::spawn_blocking(move || {
            let mut raw = Raw::connect(&path);
            raw.meet(100, CALL_WINDOW, &[]);
            play(&mut raw);
        });
        within("the calls", playing).await.unwrap();
        service.ended(1).await;
        within("the shutdown", server.shutdown()).await;
    });
}

#[test]
fn what_one_connection_makes_a_program_keep_is_bounded() {
    in_little_memory(|raw| {
        raw.write(&call(1, "wait", Flags::NONE, b""));
        let large = |id| call(id, "echo", Flags::NONE, &[0; 3_992]);
        // Behind one that runs four wait, and the rest is refused.
        (2..=10).for_each(|id| raw.write(&large(id)));
        assert_eq!(errors(raw), [6, 7, 8, 9, 10]);
        // What was taken back makes room, however often.
        for round in 0..50 {
            let first = 100 + round * 4;
            let before = if round == 0 { 2 } else { first - 4 };
            (before..before + 4).for_each(|id| raw.write(&plain(Kind::Cancel, id, 0)));
            (first..first + 4).for_each(|id| raw.write(&large(id)));
            assert_eq!(errors(raw), [0; 0], "round {round}");
        }
        (296..300).for_each(|id| raw.write(&plain(Kind::Cancel, id, 0)));
        // Items count as well. Each call has 8 bytes, each item 2,020.
        for id in 400..410 {
            let flags = Flags::ITEMS.with(Flags::CONTINUED);
            raw.write(&call(id, "wait", flags, b""));
            let item = Draft::new(Kind::CallPiece, id).flags(Flags::CONTINUED);
            raw.write(&item.payload(Encoding::POSTCARD, &[0; 2_000]).to_vec());
        }
        assert_eq!(errors(raw), [408, 409]);
    });
}

#[test]
fn answers_that_nobody_takes_are_bounded_with_the_rest() {
    in_little_memory(|raw| {
        // Each answer is larger than its window, and no credit is ever given; three of them fit into 16,384 bytes.
        let text = postcard::to_stdvec(&"x".repeat(5_390)).unwrap();
        let (first, rest) = text.split_at(3_900);
        for id in 1..=6 {
            raw.write(&call(id, "echo", Flags::CONTINUED, first));
            let piece = Draft::new(Kind::CallPiece, id);
            raw.write(&piece.payload(Encoding::RAW, rest).to_vec());
        }
        // A request is held while its answer is made, so that one less may fit, and another one later.
        let refused = errors(raw);
        assert!((3..=4).contains(&refused.len()), "{refused:?}");
        // Who gives them up has room for others.
        (1..=6).for_each(|id| raw.write(&plain(Kind::Cancel, id, 0)));
        assert_eq!(errors(raw), [0; 0], "two turns, in which they end");
        raw.write(&call(7, "echo", Flags::CONTINUED, first));
        raw.write(
            &Draft::new(Kind::CallPiece, 7)
                .payload(Encoding::RAW, rest)
                .to_vec(),
        );
        assert_eq!(errors(raw), [0; 0]);
    });
}

/// A call that says that more of it follows.
fn begun(id: u64, command: &str, value: &[u8]) -> Vec<u8> {
    call(id, command, Flags::CONTINUED, value)
}

/// The last piece of a call.
fn rest(id: u64, value: &[u8]) -> Vec<u8> {
    let draft = Draft::new(Kind::CallPiece, id);
    draft.payload(Encoding::PROTOCOL, value).to_vec()
}

#[test]
fn a_shutdown_waits_for_a_call_that_still_arrives() {
    actix::System::new().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let service = Service::new(true);
        let server = service.bind(Endpoint::Unix(path.clone())).await;
        let (stops, stopping) = std::sync::mpsc::channel::<()>();
        let playing = actix_rt::task::spawn_blocking(move || {
            let mut raw = Raw::connect(&path);
            raw.meet(100, CALL_WINDOW, &[]);
            let text = postcard::to_stdvec("half and half").unwrap();
            let (first, second) = text.split_at(4);
            raw.write(&begun(1, "echo", first));
            raw.write(&plain(Kind::Ping, 1, 0));
            raw.until("the pong", |kind, id| (kind, id) == (Kind::Pong, 1));
            stops.send(()).unwrap();
            // It stops once what is new is refused as such, and waits for the other half. A call that finds nothing is answered at
            // once; any other waits behind the one that arrives.
            for number in 10.. {
                raw.write(&Draft::new(Kind::Call, number).pair("nobody", "x").to_vec());
                match raw.next().expect("the connection goes on") {
                    (Kind::Error, id, code) if code == ErrorCode::Draining.code() => {
                        assert_eq!(id, number);
                        break;
                    }
                    other => assert_eq!((other.0, other.1), (Kind::Error, number)),
                }
            }
            raw.write(&rest(1, second));
            raw.until("the answer", |kind, id| (kind, id) == (Kind::Reply, 1));
            assert_eq!(raw.last, text);
            assert_eq!(raw.goodbye(), Some(CloseReason::Finished));
        });
        actix_rt::task::spawn_blocking(move || stopping.recv().unwrap())
            .await
            .unwrap();
        within("the shutdown", server.shutdown()).await;
        within("the call", playing).await.unwrap();
    });
}

#[test]
fn calls_without_an_answer_wait_behind_one_that_arrives_and_are_paid_for_when_they_have_run() {
    const NOTES: u64 = 200;
    const WINDOW: u32 = 40_000;
    actix::System::new().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let service = Service::new(false);
        // The notes are more than may be kept of other calls, 16,384 bytes: these are charged to their window.
        let own = limits().memory(0).call_window(WINDOW).open_calls(100);
        let builder = RpcServer::builder().limits(own);
        let server = service.bind_with(builder, Endpoint::Unix(path.clone())).await;
        let playing = actix_rt::task::spawn_blocking(move || {
            let mut raw = Raw::connect(&path);
            raw.meet(100, WINDOW, &[]);
            let text = postcard::to_stdvec("first of all").unwrap();
            let (first, second) = text.split_at(4);
            raw.write(&begun(1, "echo", first));
            for number in 0..NOTES {
                let value = postcard::to_stdvec(&(number, vec![7_u8; 100])).unwrap();
                raw.write(&call(100 + number, "note", Flags::NO_REPLY, &value));
            }
            raw.write(&plain(Kind::Ping, 1, 0));
            // Nothing is refused, and nothing is given back before they have run.
            assert_eq!(raw.next(), Some((Kind::Pong, 1, 0)));
            raw.write(&rest(1, second));
            let (mut paid, mut answered) = (0, false);
            while !answered || paid < WINDOW / 2 {
                match raw.next().expect("the connection goes on") {
                    (Kind::CallCredit, 0, bytes) => paid += bytes,
                    (Kind::Reply, 1, _) => answered = true,
                    other => panic!("{other:?}"),
                }
            }
            raw.write(&call(2, "notes", Flags::NONE, b""));
            raw.until("the notes", |kind, id| (kind, id) == (Kind::Reply, 2));
            let notes: Vec<u64> = postcard::from_bytes(&raw.last).unwrap();
            assert_eq!(notes, (0..NOTES).collect::<Vec<_>>(), "in their order");
        });
        within("the calls", playing).await.unwrap();
        service.ended(1).await;
        within("the shutdown", server.shutdown()).await;
    });
}

#[test]
fn json_is_answered_in_json_without_a_broker_too() {
    actix::System::new().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let service = Service::new(false);
        let server = service.bind(Endpoint::Unix(path.clone())).await;
        let playing = actix_rt::task::spawn_blocking(move || {
            let mut raw = Raw::connect(&path);
            raw.meet(100, CALL_WINDOW, &[]);
            let json = |id, command: &str, value: &str| {
                let draft = Draft::new(Kind::Call, id).pair("calc", command);
                draft.payload(Encoding::JSON, value.as_bytes()).to_vec()
            };
            for (id, command) in [(1, "echo"), (2, "calc.echo")] {
                raw.write(&json(id, command, "\"hi\""));
                raw.until("the answer", |kind, number| (kind, number) == (Kind::Reply, id));
                assert_eq!(raw.last, b"\"hi\"");
            }
            for (id, command, value, code) in [
                (3, "echo", "7", ErrorCode::Invalid),
                (4, "nothing", "null", ErrorCode::NoSuchMethod),
            ] {
                raw.write(&json(id, command, value));
                assert_eq!(raw.next(), Some((Kind::Error, id, code.code())));
            }
        });
        within("the calls", playing).await.unwrap();
        service.ended(1).await;
        within("the shutdown", server.shutdown()).await;
    });
}

#[test]
fn a_client_survives_every_wrong_server() {
    actix::System::new().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        for (index, case) in cases().into_iter().enumerate() {
            let path = folder.path().join(index.to_string());
            let listener = UnixListener::bind(&path).unwrap();
            let (name, ends) = (case.0, case.2.is_some());
            let playing = actix_rt::task::spawn_blocking(move || {
                let mut raw = Raw::accept(&listener);
                raw.answer_meet(OPEN_CALLS, CALL_WINDOW, &[(CALC.id, "calc")]);
                // The client's call that is open all the time.
                raw.until(case.0, |kind, _| kind == Kind::Call);
                play(&mut raw, &case);
            });
            let answers = Answers::new(true);
            let builder = RpcClient::<Calc>::builder().limits(limits()).reconnect(false);
            let connecting = builder.connect(Endpoint::Unix(path), Receiver(Arc::clone(&answers)));
            let client = within(name, connecting).await.unwrap();
            let error = within(name, client.sender.wait()).await.unwrap_err();
            assert_eq!(
                (error.code, error.may_have_run),
                (ErrorCode::BrokerGone, true),
                "{name} {ends}"
            );
            within(name, playing).await.unwrap();
            within(name, client.closed()).await;
        }
    });
}

#[test]
fn what_does_not_meet_is_told_why_or_gets_no_byte() {
    actix::System::new().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let service = Service::new(false);
        let _server = service.bind(Endpoint::Unix(path.clone())).await;
        let meet = raw::meet_payload(1, 1, &[]);
        let frame = |kind, id, aux, payload: &[u8]| {
            Draft::new(kind, id)
                .aux(aux)
                .payload(Encoding::RAW, payload)
                .to_vec()
        };
        let small = {
            let mut payload = meet.clone();
            payload[16..20].copy_from_slice(&1_u32.to_le_bytes());
            payload
        };
        let table: Vec<(&str, Vec<u8>, Option<CloseReason>)> = vec![
            ("HTTP", b"GET / HTTP/1.1\r\n".to_vec(), None),
            ("half a preface", raw::PREFACE[..4].to_vec(), None),
            (
                "a later version",
                raw::greeting(&frame(Kind::Meet, 2, 3, &meet)),
                Some(CloseReason::Version),
            ),
            (
                "cut off",
                raw::greeting(&frame(Kind::Meet, 1, 1, &meet[..30])),
                Some(CloseReason::Protocol),
            ),
            (
                "numbers too small",
                raw::greeting(&frame(Kind::Meet, 1, 1, &small)),
                Some(CloseReason::Protocol),
            ),
            (
                "Hello",
                raw::greeting(&frame(Kind::Hello, 1, 1, &[0])),
                Some(CloseReason::Protocol),
            ),
            (
                "Ping",
                raw::greeting(&plain(Kind::Ping, 1, 0)),
                Some(CloseReason::Protocol),
            ),
            (
                "too long",
                raw::greeting(&frame(Kind::Meet, 1, 1, &[0; 40_000])),
                Some(CloseReason::Protocol),
            ),
        ];
        for (name, bytes, goodbye) in table {
            let path = path.clone();
            let playing = actix_rt::task::spawn_blocking(move || {
                let mut raw = Raw::connect(&path);
                raw.write(&bytes);
                raw.finish();
                assert_eq!(raw.goodbye(), goodbye, "{name}");
            });
            within(name, playing).await.unwrap();
        }
    });
}

#[test]
fn those_that_are_refused_are_told_so_and_few_of_them_are_kept() {
    const REFUSED: usize = 200;
    actix::System::new().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let builder = RpcServer::builder().connections(0);
        let server = Service::new(false)
            .bind_with(builder, Endpoint::Unix(path.clone()))
            .await;
        let playing = actix_rt::task::spawn_blocking(move || {
            let mut refused: Vec<_> = (0..REFUSED).map(|_| Raw::connect(&path)).collect();
            let mut kept = 0;
            for raw in &mut refused {
                assert_eq!(raw.goodbye(), Some(CloseReason::TooMany));
                // Who is waited for may still write.
                kept += usize::from(raw.is_read());
            }
            kept
        });
        let kept = within("the refusals", playing).await.unwrap();
        assert!(kept < REFUSED / 2, "{kept} sockets are kept");
        within("the shutdown", server.shutdown()).await;
    });
}
