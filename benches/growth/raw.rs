//! The roles, in bare frames: what is measured is the broker, not a client library.

use super::process::{ready, report};
use super::topics::{Draw, EVENT, Shape, object};
use actix_ipc::message::handshake::PREFACE;
use actix_ipc::message::{Batch, Decoder, Draft, Encoding, Flags, Hello, Kind};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

const PAYLOAD: [u8; 16] = [7; 16];
const WARM_UP: Duration = Duration::from_millis(300);
const MEASURED: Duration = Duration::from_millis(1_200);
/// Requests of a holder that are on their way at one time.
const PIPELINED: usize = 1_000;
/// Objects and topics that a client draws before it begins, to go through them again and again.
const DRAWN: usize = 200_000;
/// Events of one write of a publisher.
const BURST: usize = 100;

pub fn role(args: &[String]) {
    let socket = Path::new(&args[1]);
    let numbers: Vec<usize> = args[2..].iter().map(|arg| arg.parse().unwrap()).collect();
    match (args[0].as_str(), numbers.as_slice()) {
        ("objects", [count]) => objects(socket, *count),
        ("subscriptions", [shape, count]) => subscriptions(socket, Shape::ALL[*shape], *count),
        ("caller", [in_flight, objects]) => caller(socket, *in_flight, *objects),
        ("publisher", [topics]) => publisher(socket, *topics),
        ("connections", [count, in_flight, events]) => connections(socket, *count, *in_flight, *events > 0),
        ("idle", [count]) => idle(socket, *count),
        other => panic!("no role {other:?}"),
    }
}

struct Raw {
    stream: UnixStream,
    decoder: Decoder,
    buffer: Vec<u8>,
}

impl Raw {
    fn connect(socket: &Path, buffer: usize) -> Self {
        let mut stream = UnixStream::connect(socket).unwrap();
        let mut bytes = PREFACE.to_vec();
        let hello = Hello::default().encode();
        Draft::new(Kind::Hello, 1)
            .aux(1)
            .payload(Encoding::RAW, &hello)
            .encode(&mut bytes);
        stream.write_all(&bytes).unwrap();
        let (decoder, buffer) = (Decoder::new(1 << 24), vec![0; buffer]);
        let mut raw = Self {
            stream,
            decoder,
            buffer,
        };
        raw.batch();
        raw
    }

    fn batch(&mut self) -> Batch {
        loop {
            let count = self.stream.read(&mut self.buffer).unwrap();
            assert!(count > 0, "the broker closed");
            let batch = self.decoder.decode(&self.buffer[..count]).unwrap();
            if !batch.is_empty() {
                return batch;
            }
        }
    }

    /// Reads until so many answers of this kind are there.
    fn expect(&mut self, kind: Kind, count: usize) {
        let mut got = 0;
        while got < count {
            let batch = self.batch();
            for header in batch.headers() {
                assert!(
                    header.kind == kind || header.kind == Kind::PublishCredit,
                    "{header:?}"
                );
                got += usize::from(header.kind == kind);
            }
        }
    }

    /// Sends requests, `PIPELINED` at one time, and waits for all answers.
    fn ask(&mut self, count: usize, mut draft: impl FnMut(usize, &mut Vec<u8>)) {
        let mut out = Vec::new();
        for first in (0..count).step_by(PIPELINED) {
            let end = count.min(first + PIPELINED);
            out.clear();
            (first..end).for_each(|number| draft(number, &mut out));
            self.stream.write_all(&out).unwrap();
            self.expect(Kind::Done, end - first);
        }
    }

    /// Answers calls, swallows events, until the broker ends.
    fn serve(&mut self) {
        let mut out = Vec::new();
        loop {
            let batch = self.batch();
            out.clear();
            for view in (0..batch.len()).filter_map(|index| batch.view(index)) {
                assert_eq!(
                    view.header.aux * u32::from(view.header.kind == Kind::Event),
                    0,
                    "missed"
                );
                if view.header.kind == Kind::Call {
                    Draft::new(Kind::Reply, view.header.id)
                        .payload(Encoding::RAW, view.payload)
                        .encode(&mut out);
                }
            }
            if !out.is_empty() {
                self.stream.write_all(&out).unwrap();
            }
        }
    }
}

fn objects(socket: &Path, count: usize) {
    let mut raw = Raw::connect(socket, 1 << 17);
    raw.ask(count, |number, out| {
        Draft::new(Kind::Register, number as u64 + 1)
            .key(object(number).as_bytes())
            .encode(out);
    });
    println!("ready");
    raw.serve();
}

fn subscriptions(socket: &Path, shape: Shape, count: usize) {
    let mut raw = Raw::connect(socket, 1 << 17);
    raw.ask(count, |number, out| {
        let flags = if shape.is_pattern(number) {
            Flags::PATTERN
        } else {
            Flags::default()
        };
        Draft::new(Kind::Subscribe, number as u64 + 1)
            .flags(flags)
            .key(&shape.key(number))
            .encode(out);
    });
    println!("ready");
    raw.serve();
}

/// Repeats an operation, which returns how many things it did, and reports how many in a second, and how many in all.
fn measure(mut once: impl FnMut() -> usize) {
    let (mut before, mut counted) = (0, 0);
    let begin = Instant::now();
    while begin.elapsed() < WARM_UP {
        before += once();
    }
    let start = Instant::now();
    while start.elapsed() < MEASURED {
        counted += once();
    }
    let rate = counted as f64 / start.elapsed().as_secs_f64();
    report(&[("rate", rate), ("all", (before + counted) as f64)]);
}

fn push_call(out: &mut Vec<u8>, id: u64, object: &str) {
    Draft::new(Kind::Call, id)
        .pair(object, EVENT)
        .payload(Encoding::RAW, &PAYLOAD)
        .encode(out);
}

/// Keeps `in_flight` calls open: as many as were answered are made anew.
fn caller(socket: &Path, in_flight: usize, objects: usize) {
    let mut raw = Raw::connect(socket, 1 << 17);
    let mut draw = Draw::new(u64::from(std::process::id()));
    let names: Vec<String> = (0..DRAWN).map(|_| object(draw.below(objects))).collect();
    let (mut id, mut out, mut free) = (1, Vec::new(), in_flight);
    ready();
    measure(|| {
        out.clear();
        for _ in 0..free {
            id += 1;
            push_call(&mut out, id, &names[id as usize % names.len()]);
        }
        raw.stream.write_all(&out).unwrap();
        let batch = raw.batch();
        assert!(batch.headers().all(|header| header.kind == Kind::Reply));
        free = batch.len();
        free
    });
}

/// Publishes as fast as the broker returns credit.
fn publisher(socket: &Path, topics: usize) {
    let mut raw = Raw::connect(socket, 1 << 14);
    let mut draw = Draw::new(u64::from(std::process::id()));
    let bursts: Vec<Vec<u8>> = (0..DRAWN / BURST)
        .map(|_| {
            let mut out = Vec::new();
            for _ in 0..BURST {
                Draft::new(Kind::Publish, 0)
                    .pair(&object(draw.below(topics)), EVENT)
                    .payload(Encoding::RAW, &PAYLOAD)
                    .encode(&mut out);
            }
            out
        })
        .collect();
    let (mut window, mut turn) = (1_i64 << 20, 0);
    ready();
    measure(|| {
        turn += 1;
        let burst = &bursts[turn % bursts.len()];
        while window <= burst.len() as i64 {
            let credit = raw.batch();
            window += credit.headers().map(|header| i64::from(header.aux)).sum::<i64>();
        }
        window -= burst.len() as i64;
        raw.stream.write_all(burst).unwrap();
        BURST
    });
}

/// All connections ask in turn, `in_flight` things in all, then all read their answers.
fn connections(socket: &Path, count: usize, in_flight: usize, events: bool) {
    let mut all: Vec<Raw> = (0..count).map(|_| Raw::connect(socket, 1 << 14)).collect();
    let each = (in_flight / count).max(1);
    let object = object(0);
    let (mut id, mut out) = (1, Vec::new());
    ready();
    measure(|| {
        for raw in &mut all {
            out.clear();
            for _ in 0..each {
                id += 1;
                if events {
                    Draft::new(Kind::Publish, id)
                        .flags(Flags::ACK)
                        .pair(&object, EVENT)
                        .payload(Encoding::RAW, &PAYLOAD)
                        .encode(&mut out);
                } else {
                    push_call(&mut out, id, &object);
                }
            }
            raw.stream.write_all(&out).unwrap();
        }
        let kind = if events { Kind::Accepted } else { Kind::Reply };
        all.iter_mut().for_each(|raw| raw.expect(kind, each));
        each * count
    });
}

/// Connects and is silent.
fn idle(socket: &Path, count: usize) {
    let all: Vec<Raw> = (0..count).map(|_| Raw::connect(socket, 256)).collect();
    ready();
    drop(all);
}
