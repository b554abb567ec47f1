//! Handshakes that never end, and more connections than anybody needs. Others connect meanwhile.

use crate::rig::{Rig, pause};
use crate::run::{Part, Whom};
use actix_ipc::message::handshake::PREFACE;
use actix_ipc::message::{Draft, Encoding, Hello, Kind};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

fn greeting() -> Vec<u8> {
    let hello = Hello {
        name: "slow".into(),
        ..Hello::default()
    }
    .encode();
    let mut bytes = PREFACE.to_vec();
    let draft = Draft::new(Kind::Hello, 1).aux(1).payload(Encoding::RAW, &hello);
    draft.encode(&mut bytes);
    bytes
}

/// How one of them goes about it: what it sends at once, and whether it goes on byte by byte.
const WAYS: &[(&str, usize, bool)] = &[
    ("one byte of the preface", 1, false),
    ("half the preface", 4, false),
    ("the preface only", 8, false),
    ("half of its Hello", 20, false),
    ("a byte now and then", 0, true),
];

/// Sends that way until the broker has ended the connection; what it said, and after how long.
fn never_end(path: &Path, at_once: usize, drip: bool) -> (Vec<u8>, Duration) {
    let mut stream = UnixStream::connect(path).unwrap();
    let greeting = greeting();
    let at = Instant::now();
    stream.write_all(&greeting[..at_once]).unwrap();
    let mut sent = at_once;
    let mut said = Vec::new();
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut buffer = [0; 256];
    while at.elapsed() < Duration::from_secs(30) {
        match stream.read(&mut buffer) {
            Ok(0) => return (said, at.elapsed()),
            Ok(count) => said.extend_from_slice(&buffer[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return (said, at.elapsed()),
        }
        // The last byte never comes.
        if drip && sent + 1 < greeting.len() && stream.write_all(&greeting[sent..=sent]).is_ok() {
            sent += 1;
        }
    }
    panic!("the broker waits for ever");
}

#[actix::test]
async fn a_handshake_that_never_ends_is_ended() {
    let rig = Rig::start(&[("handshake_ms", 500)]);
    let threads: Vec<_> = WAYS
        .iter()
        .flat_map(|way| std::iter::repeat_n(way, 8))
        .map(|(name, at_once, drip)| {
            let path = rig.socket();
            std::thread::spawn(move || (*name, *at_once, never_end(&path, *at_once, *drip)))
        })
        .collect();
    let mut connects = 0;
    while threads.iter().any(|thread| !thread.is_finished()) {
        let client = rig.client().await;
        client.ping().await.unwrap();
        client.close().await;
        connects += 1;
    }
    for thread in threads {
        let (name, at_once, (said, after)) = thread.join().unwrap();
        assert!(after >= Duration::from_millis(450), "{name}: {after:?}");
        assert!(
            after < Duration::from_secs(10),
            "{name}: {after:?} for a promise of 0.5 s"
        );
        // Who has not even shown to speak our protocol gets no byte.
        assert!(
            at_once >= 8 || said.is_empty() || name.starts_with("a byte"),
            "{name}: {said:?}"
        );
    }
    eprintln!("handshakes: {connects} others connected meanwhile");
    assert!(connects > 5);
    let client = rig.client().await;
    assert_eq!(Rig::metric(&client, "connections_refused").await, 40);
    client.close().await;
    rig.is_as_before().await;
    rig.stop();
}

/// How long a flood lasts; `ci/soak` asks for more.
fn flood_time() -> Duration {
    let seconds = std::env::var("FAULTS_FLOOD_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(3))
}

/// The role of a process that does nothing but connect, until its standard input ends. Says how often it did.
pub fn connector(path: &Path) {
    let (over, connects) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (path, over, connects) = (path.to_owned(), Arc::clone(&over), Arc::clone(&connects));
            std::thread::spawn(move || flood(&path, &over, &connects))
        })
        .collect();
    println!("ready");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    over.store(true, Ordering::Relaxed);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    println!("connects {}", connects.load(Ordering::Relaxed));
}

/// Connects as fast as it can: goes at once, after the preface, after a whole greeting, or stays a while.
fn flood(path: &Path, over: &AtomicBool, connects: &AtomicU64) {
    let greeting = greeting();
    let mut staying = std::collections::VecDeque::new();
    let mut number = 0_usize;
    while !over.load(Ordering::Relaxed) {
        let Ok(mut stream) = UnixStream::connect(path) else {
            // The queue of the listener is full.
            pause();
            continue;
        };
        number += 1;
        connects.fetch_add(1, Ordering::Relaxed);
        let _ = stream.write_all(&greeting[..[0, 8, greeting.len(), 5][number % 4]]);
        staying.push_back(stream);
        if staying.len() > [0, 1, 100][number / 1_000 % 3] {
            staying.clear();
        }
    }
}

#[actix::test]
async fn others_connect_during_a_flood_of_connections() {
    let rig = Rig::start(&[]);
    let old = rig.client().await;
    let flooder = Part::start(&rig, Whom::Connector, 1, 0);
    let (time, at) = (flood_time(), Instant::now());
    let (mut new, mut rounds) = (Vec::new(), Vec::new());
    while at.elapsed() < time || new.len() < 10 {
        let began = Instant::now();
        let client = rig.client().await;
        new.push(began.elapsed());
        client.close().await;
        let began = Instant::now();
        old.ping().await.unwrap();
        rounds.push(began.elapsed());
    }
    let seconds = at.elapsed().as_secs_f64();
    let connects: f64 = flooder.last_word("connects ").parse().unwrap();
    let per_minute = connects / seconds * 60.0;
    for (what, times) in [("connected", &mut new), ("had a ping answered", &mut rounds)] {
        times.sort_unstable();
        let (p99, max) = (times[times.len() * 99 / 100], times[times.len() - 1]);
        let others = times.len();
        eprintln!(
            "flood of {seconds:.0} s, {per_minute:.0} connections a minute: {others} others {what}, p99 {p99:?}, longest {max:?}"
        );
        assert!(
            max < Duration::from_secs(10),
            "{what}: {max:?} for a promise of 1 s"
        );
    }
    assert!(
        per_minute > 5_000.0,
        "{per_minute} a minute is no flood; 50,000 are meant"
    );
    old.close().await;
    rig.is_as_before().await;
    rig.stop();
}
