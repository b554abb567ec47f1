//! Programs that lie, flood or break off, against both ends of a connection without a broker: what breaks the protocol ends the
//! connection with the reason that the document names, calls end with typed errors, and nothing panics or grows without a bound.
//!
//! How it works: the test speaks the bytes itself over a Unix socket (elsewhere over TCP), once as a client of an `RpcServer` and once as a server of an
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

#[path = "hostile_peers/bounds.rs"]
mod bounds;
#[path = "peers/calc.rs"]
mod calc;
#[path = "hostile_peers/calls.rs"]
mod calls;
#[path = "peers/raw.rs"]
mod raw;

use actix_ipc::error::CloseReason;
use actix_ipc::message::{Draft, Encoding, Flags, Kind, Metadata, Origin};
use actix_ipc::protocol::{RpcClient, RpcLimits, RpcServer};
use actix_ipc::{Endpoint, ErrorCode};
use calc::{Answers, CALC, Calc, Receiver, Service, within};
use raw::{Place, Raw};
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

/// Plays a client of the server in bytes, on a thread of its own.
fn playing<T: Send + 'static, F: FnOnce(&mut Raw) -> T + Send + 'static>(
    what: &'static str,
    server: &RpcServer,
    play: F,
) -> impl Future<Output = T> + use<T, F> {
    let endpoint = server.endpoint().clone();
    let playing = actix_rt::task::spawn_blocking(move || play(&mut Raw::connect(&endpoint)));
    async move { within(what, playing).await.unwrap() }
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
        let place = Place::new();
        for case in cases() {
            let service = Service::new(true);
            let builder = RpcServer::builder().limits(limits());
            let server = service.bind_with(builder, place.endpoint()).await;
            let name = case.0;
            playing(name, &server, move |raw| {
                raw.meet(OPEN_CALLS, CALL_WINDOW, &[]);
                play(raw, &case);
            })
            .await;
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
fn a_client_survives_every_wrong_server() {
    actix::System::new().block_on(async {
        for case in cases() {
            let place = Place::new();
            let (listener, endpoint) = place.listen();
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
            let connecting = builder.connect(endpoint, Receiver(Arc::clone(&answers)));
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
        let place = Place::new();
        let service = Service::new(false);
        let server = service.bind(place.endpoint()).await;
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
            playing(name, &server, move |raw| {
                raw.write(&bytes);
                raw.finish();
                assert_eq!(raw.goodbye(), goodbye, "{name}");
            })
            .await;
        }
    });
}

#[test]
#[cfg_attr(
    not(unix),
    ignore = "of so many TCP connections wine needs a second each to tell whose it is, longer than anybody waits here"
)]
fn those_that_are_refused_are_told_so_and_few_of_them_are_kept() {
    let place = Place::new();
    for endpoint in [place.endpoint(), "tcp:127.0.0.1:0".parse().unwrap()] {
        refused_at(endpoint);
    }
}

fn refused_at(endpoint: Endpoint) {
    // Those who are waited for, and more.
    const KEPT: usize = 64;
    const REFUSED: usize = KEPT + 32;
    actix::System::new().block_on(async {
        let builder = RpcServer::builder().connections(0);
        let server = Service::new(false).bind_with(builder, endpoint).await;
        let endpoint = server.endpoint().clone();
        let playing = actix_rt::task::spawn_blocking(move || {
            let mut refused: Vec<_> = (0..REFUSED).map(|_| Raw::connect(&endpoint)).collect();
            for raw in &mut refused {
                // As any client does. Over TCP the system may not know before whose it is.
                raw.write(&raw::PREFACE);
                assert_eq!(raw.goodbye(), Some(CloseReason::TooMany));
                // Over TCP this is what a closed end answers.
                raw.write(b"x");
            }
            // Who is waited for may still write.
            refused
                .iter_mut()
                .map(|raw| usize::from(raw.writes(b"x")))
                .sum::<usize>()
        });
        let kept = within("the refusals", playing).await.unwrap();
        assert!(kept <= KEPT, "{kept} sockets are kept");
        within("the shutdown", server.shutdown()).await;
    });
}
