//! The broker through bare frames: what it costs without any client library.

use super::{PAYLOAD, rate, ready, report, time_calls};
use actix_ipc::message::handshake::PREFACE;
use actix_ipc::message::{Batch, Decoder, Draft, Encoding, Hello, Kind};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

struct Raw {
    stream: UnixStream,
    decoder: Decoder,
    buffer: Vec<u8>,
}

impl Raw {
    fn connect_small(socket: &Path) -> Self {
        Self {
            buffer: Vec::new(),
            ..Self::connect(socket)
        }
    }

    fn connect(socket: &Path) -> Self {
        let mut stream = UnixStream::connect(socket).unwrap();
        let hello = Hello::default().encode();
        let mut bytes = PREFACE.to_vec();
        Draft::new(Kind::Hello, 1)
            .aux(1)
            .payload(Encoding::RAW, &hello)
            .encode(&mut bytes);
        // A broker that refuses may have closed before it is greeted; what it said is there to be read.
        let sent = stream.write_all(&bytes);
        let mut raw = Self {
            stream,
            decoder: Decoder::new(1 << 24),
            buffer: vec![0; 128 * 1024],
        };
        let answer = raw.batch();
        let first = answer.view(0).unwrap();
        let said = String::from_utf8_lossy(first.payload);
        assert_eq!(first.header.kind, Kind::Welcome, "the broker refused: {said}");
        sent.unwrap();
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
}

pub fn worker(socket: &Path) {
    let mut raw = Raw::connect(socket);
    raw.stream
        .write_all(&Draft::new(Kind::Register, 1).key(b"echo").to_vec())
        .unwrap();
    raw.batch();
    ready();
    let mut out = Vec::new();
    loop {
        let batch = raw.batch();
        out.clear();
        for index in 0..batch.len() {
            let view = batch.view(index).unwrap();
            Draft::new(Kind::Reply, view.header.id)
                .payload(Encoding::RAW, view.payload)
                .encode(&mut out);
        }
        raw.stream.write_all(&out).unwrap();
    }
}

pub fn caller(socket: &Path) {
    let mut raw = Raw::connect(socket);
    ready();
    let mut id = 1;
    time_calls(|| {
        id += 1;
        let call = Draft::new(Kind::Call, id)
            .pair("echo", "echo")
            .payload(Encoding::RAW, &PAYLOAD)
            .to_vec();
        raw.stream.write_all(&call).unwrap();
        assert_eq!(raw.batch().header(0).unwrap().kind, Kind::Reply);
    });
}

pub fn publisher(socket: &Path, count: usize) {
    let mut raw = Raw::connect(socket);
    ready();
    let event = Draft::new(Kind::Publish, 0)
        .pair("bench", "event")
        .payload(Encoding::RAW, &PAYLOAD)
        .to_vec();
    let mut window = 1_i64 << 20;
    let batch: Vec<u8> = event.iter().copied().cycle().take(event.len() * 1000).collect();
    for _ in 0..count / 1000 {
        while window <= batch.len() as i64 {
            let credit = raw.batch();
            window += (0..credit.len())
                .map(|at| i64::from(credit.header(at).unwrap().aux))
                .sum::<i64>();
        }
        window -= batch.len() as i64;
        raw.stream.write_all(&batch).unwrap();
    }
    println!("done");
    while raw.stream.read(&mut raw.buffer).is_ok_and(|count| count > 0) {}
}

pub fn subscriber(socket: &Path, count: usize) {
    let mut raw = Raw::connect(socket);
    raw.stream
        .write_all(&Draft::new(Kind::Subscribe, 1).pair("bench", "event").to_vec())
        .unwrap();
    raw.batch();
    ready();
    let mut got = raw.batch().len();
    let start = Instant::now();
    while got < count {
        let batch = raw.batch();
        got += batch
            .headers()
            .map(|header| 1 + header.aux as usize)
            .sum::<usize>();
        assert!(batch.headers().all(|header| header.aux == 0), "events were lost");
    }
    report(&[("rate", rate(count, start))]);
}

/// Opens as many connections as this process may have descriptors, at most ten thousand, and keeps them.
pub fn idle(socket: &Path) {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile)
        .current
        .unwrap_or(10_100);
    let wanted = usize::try_from(limit).unwrap().saturating_sub(100).min(10_000);
    let all: Vec<Raw> = (0..wanted).map(|_| Raw::connect_small(socket)).collect();
    ready();
    report(&[("connections", all.len() as f64)]);
    std::thread::park();
}
