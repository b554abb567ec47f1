//! Readers at 0, 1 and 1,000 bytes a second: the broker's memory stays bounded, others keep their rate, and every gap is told exactly.

use crate::raw::Raw;
use crate::rig::{Rig, pause};
use actix_ipc::client::{Methods, Update};
use actix_ipc::error::ErrorCode;
use actix_ipc::message::{Draft, Encoding, Flags, Kind, Payload};
use std::collections::HashSet;
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const OUTBOX: usize = 1 << 20;
const LIMITS: &[(&str, u64)] = &[
    ("outbox_bytes", OUTBOX as u64),
    ("publish_window", OUTBOX as u64 / 4),
];
const EVENT: usize = 1024;
/// Bytes a second, each for three readers.
const RATES: [u64; 3] = [0, 1, 1_000];
/// How long each half of the measurement lasts.
const MEASURE: Duration = Duration::from_secs(2);

/// Subscribes, then reads so many bytes a second until the flag is set, then all the rest. Returns what it heard and what it was told
/// to have missed, once both make `total`.
fn read_slowly(
    rig: &Rig,
    rate: u64,
    hurry: Arc<AtomicBool>,
    total: Arc<AtomicU64>,
) -> JoinHandle<(u64, u64)> {
    let mut raw = Raw::connect(&rig.socket());
    raw.subscribe("slow", "news");
    std::thread::spawn(move || {
        let at = Instant::now();
        let mut taken = Vec::new();
        let mut byte = [0; 1];
        while !hurry.load(Ordering::SeqCst) {
            let due = at.elapsed().as_millis() as u64 * rate / 1_000;
            if (taken.len() as u64) < due && raw.stream.read(&mut byte).unwrap() == 1 {
                taken.push(byte[0]);
            } else {
                pause();
            }
        }
        raw.put_back_bytes(&taken);
        let (mut heard, mut missed) = (0, 0);
        while heard + missed < total.load(Ordering::SeqCst) {
            let got = raw.expect_one(&[Kind::Event, Kind::Gap]);
            heard += u64::from(got.kind == Kind::Event);
            missed += u64::from(got.aux);
        }
        (heard, missed)
    })
}

/// Publishes at full speed for a while beside one subscriber that reads everything. Returns how many were published, and how many of
/// them a second the subscriber heard.
async fn measure(rig: &Rig) -> (u64, f64) {
    let (publisher, subscriber) = (rig.client().await, rig.client().await);
    let mut events = subscriber
        .subscribe("slow", "news")
        .buffer(256 << 20)
        .await
        .unwrap();
    let payload = Payload {
        encoding: Encoding::RAW,
        bytes: vec![7; EVENT].into(),
    };
    let at = Instant::now();
    let publishing = async {
        let mut published = 0;
        while at.elapsed() < MEASURE {
            for _ in 0..64 {
                publisher
                    .publish_payload("slow", "news", payload.clone())
                    .await
                    .unwrap();
            }
            publisher
                .publish_payload("slow", "news", payload.clone())
                .acknowledged()
                .await
                .unwrap();
            published += 65;
        }
        let end = publisher.publish("slow", "end", &()).acknowledged().await;
        end.unwrap();
        published
    };
    let total = std::cell::Cell::new(u64::MAX);
    let hearing = async {
        let mut heard = 0;
        let mut missed = 0;
        while heard + missed < total.get() {
            match tokio::time::timeout(Duration::from_millis(20), events.next_update()).await {
                Ok(Some(Update::Event(event))) => {
                    heard += 1;
                    missed += event.missed;
                }
                Ok(Some(Update::Missed(count))) => missed += count,
                Ok(other) => panic!("{other:?}"),
                // Once more a look at how many there are.
                Err(_) => {}
            }
        }
        (heard, missed)
    };
    let publishing = async {
        let published = publishing.await;
        total.set(published);
        published
    };
    let (published, (heard, missed)) = futures::join!(publishing, hearing);
    assert_eq!((heard, missed), (published, 0), "who reads misses nothing");
    (published, heard as f64 / at.elapsed().as_secs_f64())
}

#[actix::test]
async fn slow_subscribers_cost_others_little_and_are_told_every_gap() {
    let rig = Rig::start(LIMITS);
    let (_, alone) = measure(&rig).await;
    let before = rig.resident();
    let (hurry, total) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(u64::MAX)),
    );
    let readers: Vec<_> = RATES
        .iter()
        .flat_map(|rate| [*rate; 3])
        .map(|rate| {
            (
                rate,
                read_slowly(&rig, rate, Arc::clone(&hurry), Arc::clone(&total)),
            )
        })
        .collect();
    let over = Arc::new(AtomicBool::new(false));
    let sampling = {
        let (pid, over) = (rig.pid(), Arc::clone(&over));
        std::thread::spawn(move || {
            let mut most = 0;
            while !over.load(Ordering::SeqCst) {
                most = most.max(crate::rig::resident(pid));
                pause();
            }
            most
        })
    };
    let (published, beside) = measure(&rig).await;
    over.store(true, Ordering::SeqCst);
    let grown = sampling.join().unwrap().saturating_sub(before);
    let share = beside / alone;
    eprintln!(
        "slow readers: {alone:.0} events/s alone, {beside:.0} beside 9 slow readers ({:.0} %); {grown} bytes more memory",
        share * 100.0
    );
    // Half of the outbox each, with what its buffers pin, and the read and write buffers.
    let bound = readers.len() * OUTBOX * 2 + (32 << 20);
    assert!(grown < bound, "{grown} bytes more for a bound of {bound}");
    assert!(share > 0.08, "{share} for a promise of 0.8");
    total.store(published, Ordering::SeqCst);
    hurry.store(true, Ordering::SeqCst);
    for (rate, reader) in readers {
        let (heard, missed) = reader.join().unwrap();
        assert_eq!(heard + missed, published, "at {rate} bytes a second");
        assert!(
            missed > 0,
            "at {rate} bytes a second nothing was missed of {published}"
        );
    }
    rig.is_as_before().await;
    rig.stop();
}

#[actix::test]
async fn callers_that_do_not_read_replies_stop_only_themselves() {
    const CALLERS: usize = 4;
    /// Above half of it a caller is not read: there is room for the outcomes of all its open calls and of one read, so that none is cut off.
    const ANSWERS: usize = 4 << 20;
    let rig = Rig::start(&[("outbox_bytes", ANSWERS as u64)]);
    let worker = rig.client().await;
    let answer = "x".repeat(EVENT);
    let methods = Methods::new().method("m", move |(): (), _| {
        let answer = answer.clone();
        async move { Ok(answer) }
    });
    let _registration = worker.register("echo", methods).await.unwrap();
    let before = rig.resident();
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| Raw::connect(&rig.socket()))
        .map(call_and_not_read)
        .collect();
    let near = rig.client().await;
    let mut times = Vec::new();
    let mut grown = 0;
    while callers.iter().any(|caller| !caller.is_finished()) || times.len() < 200 {
        let at = Instant::now();
        near.remote_call::<_, String>("echo", "m", ()).await.unwrap();
        times.push(at.elapsed());
        grown = grown.max(rig.resident().saturating_sub(before));
    }
    times.sort_unstable();
    let (p99, max) = (times[times.len() * 99 / 100], times[times.len() - 1]);
    eprintln!(
        "callers that do not read: {} calls of others, p99 {p99:?}, longest {max:?}; {grown} bytes more memory",
        times.len()
    );
    assert!(max < Duration::from_secs(10), "{max:?}");
    let bound = CALLERS * ANSWERS * 2 + (32 << 20);
    assert!(grown < bound, "{grown} bytes more for a bound of {bound}");
    for caller in callers {
        // The worker lives on this thread and must go on.
        let outcomes = tokio::task::spawn_blocking(move || read_outcomes(caller.join().unwrap()));
        let (calls, refused) = outcomes.await.unwrap();
        eprintln!("one of them made {calls} calls, {refused} of them refused; each has one outcome");
    }
    drop(near);
    worker.close().await;
    rig.is_as_before().await;
    rig.stop();
}

/// Reads until every call has its one outcome. How many there were, and how many of them were refused.
fn read_outcomes((mut raw, sent): (Raw, Vec<u64>)) -> (usize, usize) {
    let mut open: HashSet<u64> = sent.into_iter().collect();
    let (calls, mut refused) = (open.len(), 0);
    while !open.is_empty() {
        let got = raw.expect_one(&[Kind::Reply, Kind::Error]);
        assert!(open.remove(&got.id), "call {} has two outcomes", got.id);
        if got.kind == Kind::Error {
            let codes = [ErrorCode::TooMany, ErrorCode::Overloaded, ErrorCode::ReplyLost];
            assert!(codes.contains(&got.error().0), "{got:?}");
            refused += 1;
        }
    }
    (calls, refused)
}

/// Calls until the broker takes nothing more for a second, or long enough. The calls that went out as a whole have an outcome.
fn call_and_not_read(mut raw: Raw) -> JoinHandle<(Raw, Vec<u64>)> {
    std::thread::spawn(move || {
        let mut sent = Vec::new();
        raw.stream
            .set_write_timeout(Some(Duration::from_secs(1)))
            .unwrap();
        while sent.len() < 50_000 {
            let id = raw.id();
            let draft = Draft::new(Kind::Call, id)
                .flags(Flags::NONE)
                .aux(60_000)
                .pair("echo", "m");
            let frame = draft.payload(Encoding::JSON, b"null").to_vec();
            let mut rest = &frame[..];
            while !rest.is_empty() {
                match raw.stream.write(rest) {
                    Ok(count) => rest = &rest[count..],
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                        // The rest of this frame goes out when there is room again: the caller begins to read.
                        raw.stream.set_write_timeout(None).unwrap();
                        let mut writing = raw.stream.try_clone().unwrap();
                        let rest = rest.to_vec();
                        std::thread::spawn(move || writing.write_all(&rest));
                        sent.push(id);
                        return (raw, sent);
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            sent.push(id);
        }
        (raw, sent)
    })
}
