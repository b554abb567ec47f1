//! Other protocols on the broker's ports: not a byte is answered, nothing is done, the connection ends at the first byte that decides.
//!
//! Every opening is sent over each transport, at once and byte by byte, with a complete and valid greeting of ours behind it, which
//! must not be heard: a browser can be made to send both. Without older formats the first wrong byte decides; with them it is the
//! first message where a stranger happens to begin as one of them does.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]

#[path = "support/raw.rs"]
mod raw;
#[path = "support/running.rs"]
mod running;

use actix_ipc::message::handshake::PREFACE;
use actix_ipc::message::{Draft, Encoding, Hello, Kind};
use actix_ipc::transport::dialect::Dialects;
use actix_ipc::{Broker, Endpoint};
use raw::Raw;
use running::{Running, place};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Ten times what is promised for the time from the deciding byte to the end: most of them are not later.
const SOON: Duration = Duration::from_secs(1);
/// None is later on a machine that is shared by many.
const LATE: Duration = Duration::from_secs(10);
/// Long enough that a broker which does not close at all fails the test clearly.
const PATIENCE: Duration = Duration::from_secs(20);

const OPENINGS: &[(&str, &[u8])] = &[
    ("HTTP/1.1 GET", b"GET / HTTP/1.1\r\nHost: 127.0.0.1:5123\r\nOrigin: https://evil.example\r\n\r\n"),
    ("HTTP/1.1 POST of a form", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\na=b&c=d\r\n"),
    ("HTTP/1.0 without headers", b"GET /\r\n\r\n"),
    ("HTTP PUT", b"PUT /x HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("HTTP OPTIONS (preflight)", b"OPTIONS * HTTP/1.1\r\nAccess-Control-Request-Private-Network: true\r\n\r\n"),
    ("HTTP CONNECT", b"CONNECT example.org:443 HTTP/1.1\r\n\r\n"),
    ("HTTP HEAD", b"HEAD / HTTP/1.1\r\n\r\n"),
    ("HTTP DELETE", b"DELETE / HTTP/1.1\r\n\r\n"),
    ("WebSocket upgrade", b"GET /chat HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"),
    ("WebSocket masked frame", b"\x82\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"),
    ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"),
    ("HTTP/3 over TCP by mistake", b"\xc3\x00\x00\x00\x01\x08\x01\x02\x03\x04\x05\x06\x07\x08"),
    ("multipart with JSON lines", b"POST / HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n\r\n{\"t\":\"call\"}\n{\"t\":\"call\"}\n--x--\r\n"),
    ("multipart body alone", b"--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n{\"t\":\"call\"}\n--x--\r\n"),
    ("TLS 1.3 hello", b"\x16\x03\x01\x00\xf4\x01\x00\x00\xf0\x03\x03\x00\x01\x02\x03\x04\x05\x06\x07"),
    ("TLS 1.0 hello", b"\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x01"),
    ("SSL 2 hello", b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10"),
    ("DTLS hello", b"\x16\xfe\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\x36\x01"),
    ("TLS alert", b"\x15\x03\x03\x00\x02\x02\x28"),
    ("SSH banner", b"SSH-2.0-OpenSSH_9.6\r\n"),
    ("SSH 1 banner", b"SSH-1.5-old\n"),
    ("SMTP EHLO", b"EHLO mail.example.org\r\nMAIL FROM:<a@b>\r\n"),
    ("SMTP HELO", b"HELO x\r\n"),
    ("POP3", b"USER someone\r\nPASS secret\r\n"),
    ("IMAP", b"a1 LOGIN user pass\r\n"),
    ("FTP", b"USER anonymous\r\n"),
    ("IRC", b"NICK x\r\nUSER x 0 * :x\r\n"),
    ("Redis RESP", b"*2\r\n$3\r\nGET\r\n$1\r\nx\r\n"),
    ("Redis inline", b"PING\r\n"),
    ("memcached", b"get x\r\n"),
    ("memcached binary", b"\x80\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01"),
    ("PROXY v1", b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n"),
    ("PROXY v2", b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a\x20\x00\x00\x00"),
    ("NATS", b"CONNECT {\"verbose\":false}\r\nPING\r\n"),
    ("MQTT", b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02id"),
    ("AMQP 0-9-1", b"AMQP\x00\x00\x09\x01"),
    ("AMQP 1.0 with SASL", b"AMQP\x03\x01\x00\x00"),
    ("STOMP", b"CONNECT\naccept-version:1.2\n\n\x00"),
    ("ZeroMQ (ZMTP 3)", b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x00NULL"),
    ("Kafka", b"\x00\x00\x00\x1c\x00\x12\x00\x03\x00\x00\x00\x01\x00\x04test"),
    ("PostgreSQL", b"\x00\x00\x00\x08\x04\xd2\x16\x2f"),
    ("MySQL login", b"\x20\x00\x00\x01\x85\xa6\xff\x01"),
    ("D-Bus", b"\x00AUTH EXTERNAL 31303030\r\n"),
    ("D-Bus message", b"l\x01\x00\x01\x00\x00\x00\x00\x01\x00\x00\x00"),
    ("Thrift", b"\x80\x01\x00\x01\x00\x00\x00\x04ping"),
    ("SOCKS 4", b"\x04\x01\x00\x50\xc0\x00\x02\x01\x00"),
    ("SOCKS 5", b"\x05\x01\x00"),
    ("RTSP", b"OPTIONS rtsp://x RTSP/1.0\r\n"),
    ("SIP", b"REGISTER sip:x SIP/2.0\r\n"),
    ("LDAP bind", b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00"),
    ("RDP", b"\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00"),
    ("VNC", b"RFB 003.008\n"),
    ("SMB", b"\x00\x00\x00\x45\xffSMBr"),
    ("DNS over TCP", b"\x00\x1d\xab\xcd\x01\x00\x00\x01"),
    ("telnet", b"\xff\xfb\x18\xff\xfd\x01"),
    ("JSON lines", b"{\"type\":\"call\",\"object\":\"math\"}\n"),
    ("a JSON list", b"[1,2,3]\n"),
    ("length and JSON, big-endian", b"\x00\x00\x00\x0f{\"type\":\"call\"}"),
    ("length and JSON, little-endian", b"\x0f\x00\x00\x00{\"type\":\"call\"}"),
    ("Content-Length framing", b"Content-Length: 2\r\n\r\n{}"),
    ("XML", b"<?xml version='1.0'?><stream:stream>"),
    ("a byte order mark", b"\xef\xbb\xbfGET / HTTP/1.1\r\n"),
    ("UTF-16", b"\xff\xfeG\x00E\x00T\x00"),
    ("a line end first", b"\r\nGET / HTTP/1.1\r\n\r\n"),
    ("zeros", &[0; 64]),
    ("a frame without the preface", b"\x01\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00"),
    ("the preface's text", b"IPC\r\n\x1a\n"),
    ("the preface after line-end conversion", b"\xacIPC\n\x1a\n"),
    ("the preface through seven bits", b"\x2cIPC\r\n\x1a\n"),
    ("the preface in UTF-8", b"\xc2\xacIPC\r\n\x1a\n"),
];

trait Socket: Read + Write {}
impl<T: Read + Write> Socket for T {}

fn connect(endpoint: &Endpoint) -> Box<dyn Socket> {
    let Endpoint::Tcp(address) = endpoint else {
        return Box::new(Raw::open(&place(endpoint)).stream);
    };
    let socket = TcpStream::connect(address).unwrap();
    socket.set_nodelay(true).unwrap();
    Box::new(socket)
}

/// What a client of ours sends first, and something that would have an effect.
fn greeting() -> Vec<u8> {
    let hello = Hello::default().encode();
    let mut bytes = PREFACE.to_vec();
    Draft::new(Kind::Hello, 1)
        .aux(1)
        .payload(Encoding::RAW, &hello)
        .encode(&mut bytes);
    Draft::new(Kind::Register, 1).key(b"taken").encode(&mut bytes);
    bytes
}

/// Sends the bytes in parts of `step` as long as anybody takes them; returns what was answered and how long the end took. On a thread of
/// its own, because nothing else limits all of it.
fn speak(endpoint: &Endpoint, bytes: &[u8], step: usize) -> (Vec<u8>, Duration) {
    let (endpoint, bytes) = (endpoint.clone(), bytes.to_vec());
    let (ends, ended) = mpsc::channel();
    std::thread::spawn(move || ends.send(speak_now(&endpoint, &bytes, step)));
    ended.recv_timeout(PATIENCE).expect("the connection ends")
}

fn speak_now(endpoint: &Endpoint, bytes: &[u8], step: usize) -> (Vec<u8>, Duration) {
    let mut socket = connect(endpoint);
    for part in bytes.chunks(step) {
        if socket.write_all(part).is_err() {
            break;
        }
    }
    let sent = Instant::now();
    let mut answer = Vec::new();
    match socket.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {}
        Err(error) => panic!("the connection did not end: {error}"),
    }
    (answer, sent.elapsed())
}

/// A broker at a TCP port and at this platform's place.
fn start(dialects: Dialects) -> Running {
    let tcp = "tcp:127.0.0.1:0".parse().unwrap();
    Running::built(move || Broker::builder().dialects(dialects).listen(tcp))
}

/// Every opening and every preface with one wrong bit.
fn all() -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<_> = OPENINGS
        .iter()
        .map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec()))
        .collect();
    for bit in 0..PREFACE.len() * 8 {
        let mut bytes = PREFACE.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        all.push((format!("the preface with bit {bit} wrong"), bytes));
    }
    all
}

/// At least half of them were in time; the longest of these.
#[track_caller]
fn soon(mut times: Vec<Duration>) -> Duration {
    times.sort();
    let median = times[times.len() / 2];
    assert!(median < SOON, "{median:?}");
    median
}

#[test]
fn a_stranger_gets_no_byte_and_is_gone_at_once() {
    let broker = start(Dialects::NONE);
    let endpoints = broker.handle.endpoints().to_vec();
    let (all, greeting) = (all(), greeting());
    assert!(OPENINGS.len() >= 40);
    let mut expected = 0;
    let mut times = Vec::new();
    for (name, opening) in &all {
        let bytes = [opening.as_slice(), &greeting].concat();
        for endpoint in &endpoints {
            for step in [bytes.len(), 1] {
                let (answer, took) = speak(endpoint, &bytes, step);
                assert_eq!(answer, b"", "{name} over {endpoint}, {step} bytes at once");
                assert!(took < LATE, "{name} over {endpoint}: {took:?}");
                times.push(took);
                expected += 1;
            }
        }
    }
    let metrics = broker.handle.metrics();
    assert_eq!(metrics.foreign_openings, expected);
    assert_eq!((metrics.bytes_out, metrics.connections_opened), (0, 0));
    println!(
        "{expected} openings of strangers; half of the ends took {:?}",
        soon(times)
    );
    // Whoever speaks properly is served as before.
    let (answer, _) = speak(
        &endpoints[1],
        &[greeting.as_slice(), &Draft::new(Kind::Goodbye, 0).to_vec()].concat(),
        1,
    );
    assert!(answer.len() > 24, "{answer:?}");
    assert_eq!(broker.handle.metrics().connections_opened, 1);
    broker.stop();
}

#[test]
fn a_stranger_is_no_old_client_either() {
    let broker = start(Dialects::ALL);
    let mut times = Vec::new();
    let greeting = greeting();
    for (name, opening) in &all() {
        // A bare JSON object is a message of ipc-server, and answered.
        if opening[0] == b'{' {
            continue;
        }
        let bytes = [opening.as_slice(), &greeting].concat();
        for endpoint in broker.handle.endpoints() {
            for step in [bytes.len(), 1] {
                let (answer, took) = speak(endpoint, &bytes, step);
                assert_eq!(answer, b"", "{name} over {endpoint}, {step} bytes at once");
                assert!(took < LATE, "{name} over {endpoint}: {took:?}");
                times.push(took);
            }
        }
    }
    soon(times);
    let metrics = broker.handle.metrics();
    assert_eq!(metrics.bytes_out, 0);
    // Those that begin with a zero could have been ipc-broker's; the first message told otherwise.
    assert!(metrics.foreign_openings > 400 && metrics.connections_opened > 0);
    broker.stop();
}

#[test]
fn nothing_behind_the_deciding_byte_is_waited_for() {
    let broker = start(Dialects::NONE);
    let mut times = Vec::new();
    for endpoint in broker.handle.endpoints() {
        for (name, opening) in all() {
            let right = opening
                .iter()
                .zip(PREFACE)
                .take_while(|(byte, ours)| **byte == *ours)
                .count();
            // Up to the first byte that is not ours and no further; the socket stays open.
            let (answer, took) = speak(endpoint, &opening[..=right], 1);
            assert_eq!(answer, b"", "{name} over {endpoint}");
            assert!(took < LATE, "{name} over {endpoint}: {took:?}");
            times.push(took);
        }
    }
    soon(times);
    broker.stop();
}
