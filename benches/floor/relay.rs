//! The floor: a blocking relay between two Unix sockets, one message at a time.

use super::{PAYLOAD, rate, read_exact, ready, report, time_calls};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Instant;

/// Two clients connect; what one sends the other gets, in both directions.
pub fn run(socket: &Path, message: usize) {
    let listener = UnixListener::bind(socket).unwrap();
    ready();
    let (first, _) = listener.accept().unwrap();
    let (second, _) = listener.accept().unwrap();
    let pump = move |mut from: UnixStream, mut to: UnixStream| {
        let mut buffer = vec![0; message];
        while from.read_exact(&mut buffer).is_ok() && to.write_all(&buffer).is_ok() {}
    };
    let back = (second.try_clone().unwrap(), first.try_clone().unwrap());
    std::thread::spawn(move || pump(back.0, back.1));
    pump(first, second);
}

pub fn worker(socket: &Path) {
    let mut stream = UnixStream::connect(socket).unwrap();
    ready();
    let mut buffer = [0; 16];
    while stream.read_exact(&mut buffer).is_ok() {
        stream.write_all(&buffer).unwrap();
    }
}

pub fn caller(socket: &Path) {
    let mut stream = UnixStream::connect(socket).unwrap();
    ready();
    time_calls(|| {
        stream.write_all(&PAYLOAD).unwrap();
        read_exact(&mut stream, &mut [0; 16]);
    });
}

pub fn publisher(socket: &Path, count: usize) {
    let mut stream = UnixStream::connect(socket).unwrap();
    ready();
    for _ in 0..count {
        stream.write_all(&PAYLOAD).unwrap();
    }
    println!("done");
    // The relay ends with its ends; the driver kills all of them.
    let _ = stream.read(&mut [0]);
}

pub fn subscriber(socket: &Path, count: usize) {
    let mut stream = UnixStream::connect(socket).unwrap();
    ready();
    let mut buffer = [0; 16];
    read_exact(&mut stream, &mut buffer);
    let start = Instant::now();
    for _ in 1..count {
        read_exact(&mut stream, &mut buffer);
    }
    report(&[("rate", rate(count, start))]);
}
