//! The frozen conversations of `tests/transcripts/`, held with the real broker byte by byte, and who it does not talk to.
//!
//! Knows the length field of a frame and nothing else of the protocol: no codec of the library is used, so that a
//! change of it cannot hide. `docs/versioning.md` has the rule for the transcripts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unit_arg,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]
#![cfg(feature = "cli")]

#[path = "support/sockets.rs"]
mod sockets;
mod support;

use sockets::Socket;
use std::collections::HashMap;
use std::io::{Read, Write};
use support::{Broker, PATIENCE};

const HEADER: usize = 24;
const WELCOME: u8 = 0x02;
const GOODBYE: u8 = 0x03;
const PUBLISH_CREDIT: u8 = 0x34;
const OPTIONAL: u8 = 0x80;
const PROTOCOL_ERROR: u32 = 3;

/// A part of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Bytes(Vec<u8>),
    /// So many bytes with a name; `_` is none.
    Named(String, usize),
    Rest,
}

fn parts(text: &str) -> Vec<Part> {
    text.split_whitespace()
        .map(
            |word| match word.strip_prefix('{').and_then(|word| word.strip_suffix('}')) {
                Some("_") => Part::Rest,
                Some(named) => {
                    let (name, length) = named.split_once(':').unwrap_or_else(|| panic!("{word}"));
                    Part::Named(name.to_owned(), length.parse().unwrap())
                }
                None => {
                    let byte = |at| {
                        u8::from_str_radix(&word[at..at + 2], 16)
                            .unwrap_or_else(|_| panic!("not hex: {word}"))
                    };
                    Part::Bytes((0..word.len()).step_by(2).map(byte).collect())
                }
            },
        )
        .collect()
}

/// What the names of a transcript stand for.
#[derive(Default)]
struct Names(HashMap<String, Vec<u8>>);

impl Names {
    fn fill(&self, parts: &[Part]) -> Vec<u8> {
        let bytes = parts.iter().map(|part| match part {
            Part::Bytes(bytes) => bytes.clone(),
            Part::Named(name, length) => {
                let bytes = self
                    .0
                    .get(name)
                    .unwrap_or_else(|| panic!("{name} is not known yet"));
                assert_eq!(bytes.len(), *length, "{name}");
                bytes.clone()
            }
            Part::Rest => panic!("what is sent is exact"),
        });
        bytes.collect::<Vec<_>>().concat()
    }

    /// Compares a frame with a line and learns the names in it.
    fn learn(&mut self, parts: &[Part], mut frame: &[u8]) -> Result<(), String> {
        for part in parts {
            let length = match part {
                Part::Bytes(bytes) => bytes.len(),
                Part::Named(_, length) => *length,
                Part::Rest => return Ok(()),
            };
            let (here, rest) = frame
                .split_at_checked(length)
                .ok_or_else(|| format!("it ends before {part:?}"))?;
            let expected = match part {
                Part::Named(name, _) if name == "_" => here,
                Part::Named(name, _) => self.0.entry(name.clone()).or_insert_with(|| here.to_vec()),
                Part::Bytes(bytes) => bytes,
                Part::Rest => here,
            };
            if here != expected {
                return Err(format!("{} instead of {part:?} = {}", hex(here), hex(expected)));
            }
            frame = rest;
        }
        if frame.is_empty() {
            Ok(())
        } else {
            Err(format!("{} is left over", hex(frame)))
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The next frame, or `None` at the end of the stream.
fn read_frame(stream: &mut Socket) -> std::io::Result<Option<Vec<u8>>> {
    let mut frame = vec![0; HEADER];
    let first = stream.read(&mut frame)?;
    if first == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut frame[first..])?;
    let length = u32::from_le_bytes(frame[..4].try_into().unwrap());
    frame.resize(HEADER + length as usize, 0);
    stream.read_exact(&mut frame[HEADER..])?;
    Ok(Some(frame))
}

fn connect(broker: &Broker) -> Socket {
    let stream = sockets::dial(&broker.socket()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Holds one transcript with a broker.
fn replay(broker: &Broker, transcript: &str) {
    let mut names = Names::default();
    names.0.insert(
        "uid".into(),
        actix_ipc::transport::current_uid()
            .unwrap()
            .to_le_bytes()
            .to_vec(),
    );
    names
        .0
        .insert("pid".into(), std::process::id().to_le_bytes().to_vec());
    let mut clients: HashMap<&str, Socket> = HashMap::new();
    for (index, line) in transcript.lines().enumerate() {
        let line = line.split('#').next().unwrap();
        let Some((name, rest)) = line.trim().split_once(' ') else {
            continue;
        };
        let client = clients.entry(name).or_insert_with(|| connect(broker));
        let at = format!("line {}: {line}", index + 1);
        if let Some(sent) = rest.strip_prefix('>') {
            client
                .write_all(&names.fill(&parts(sent)))
                .unwrap_or_else(|error| panic!("{at}: {error}"));
        } else if let Some(expected) = rest.strip_prefix('<') {
            let frame = next_of_interest(client, &at)
                .unwrap_or_else(|| panic!("{at}: the broker closed the connection"));
            if let Err(why) = names.learn(&parts(expected), &frame) {
                panic!("{at}\nreceived {}\n{why}", hex(&frame));
            }
        } else {
            assert_eq!(rest, "end", "{at}");
            let frame = next_of_interest(client, &at);
            assert_eq!(frame, None, "{at}");
            clients.remove(name);
        }
    }
    assert!(
        clients.is_empty(),
        "connections that the transcript does not end: {:?}",
        clients.keys()
    );
}

/// The next frame that is neither credit, which comes when it comes, nor optional.
fn next_of_interest(stream: &mut Socket, at: &str) -> Option<Vec<u8>> {
    loop {
        let frame =
            read_frame(stream).unwrap_or_else(|error| panic!("{at}: nothing is received: {error}"))?;
        if frame[4] != PUBLISH_CREDIT && frame[4] < OPTIONAL {
            return Some(frame);
        }
    }
}

#[test]
fn version_1_is_spoken_as_it_was() {
    replay(&Broker::start_raw(), include_str!("transcripts/v1.txt"));
}

/// Sends `bytes` on a new connection and returns all that the broker answers before it closes.
fn answer_to(broker: &Broker, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(broker);
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

/// The reason and text of the goodbye that is the whole answer.
#[track_caller]
fn goodbye(answer: &[u8]) -> (u32, String) {
    assert!(answer.len() >= HEADER, "no frame: {}", hex(answer));
    let length = u32::from_le_bytes(answer[..4].try_into().unwrap()) as usize;
    assert_eq!(
        (answer[4], answer.len()),
        (GOODBYE, HEADER + length),
        "{}",
        hex(answer)
    );
    let reason = u32::from_le_bytes(answer[16..20].try_into().unwrap());
    (reason, String::from_utf8(answer[HEADER..].to_vec()).unwrap())
}

fn bytes(line: &str) -> Vec<u8> {
    Names::default().fill(&parts(line))
}

#[test]
fn a_future_client_is_refused_naming_both_versions() {
    let broker = Broker::start_raw();
    // Hello, lowest 2, highest 3, with more behind the name than version 1 knows.
    let hello = "ac495043 0d0a1a0a 05000000 01 00 0000 0200000000000000 03000000 0000 00 00 00 6e657721";
    let (reason, text) = goodbye(&answer_to(&broker, &bytes(hello)));
    assert_eq!(reason, 4, "{text}");
    assert!(text.contains("version 1") && text.contains("2 to 3"), "{text}");
    // One that also speaks version 1 is welcome.
    let mut both = connect(&broker);
    both.write_all(&bytes(
        "ac495043 0d0a1a0a 01000000 01 00 0000 0100000000000000 03000000 0000 00 00 00",
    ))
    .unwrap();
    let welcome = read_frame(&mut both).unwrap().unwrap();
    assert_eq!((welcome[4], &welcome[16..20]), (2, &[1, 0, 0, 0][..]));
}

#[test]
fn strangers_get_no_byte() {
    let broker = Broker::start_raw();
    for greeting in ["GET / HTTP/1.1\r\n\r\n", "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}"] {
        assert_eq!(answer_to(&broker, greeting.as_bytes()), b"", "{greeting:?}");
    }
    assert_eq!(answer_to(&broker, &bytes("ac495043 0d0a1a0b")), b"");
}

#[test]
fn what_is_no_protocol_is_refused_with_its_name() {
    let hello = "ac495043 0d0a1a0a 01000000 01 00 0000 0100000000000000 01000000 0000 00 00 00";
    let metadata = "0a000000 24 00 0100 0100000000000000 00000000 0000 00 00 0800 05 7379732e78 0000";
    let origin = "10000000 20 00 0200 0100000000000000 00000000 0000 00 00 0000000000000000 0000000000000000";
    let cases = [
        // Another frame than Hello comes first.
        (
            false,
            "00000000 04 00 0000 0100000000000000 00000000 0000 00 00",
            "Hello",
        ),
        // Hello is longer than 4,096 bytes.
        (
            false,
            "01100000 01 00 0000 0100000000000000 01000000 0000 00 00",
            "4096",
        ),
        // A mandatory flag that Ping does not have, and a kind that nothing is.
        (
            true,
            "00000000 04 00 0008 0100000000000000 00000000 0000 00 00",
            "0x0800",
        ),
        (
            true,
            "00000000 70 00 0000 0100000000000000 00000000 0000 00 00",
            "0x70",
        ),
        // A frame that only the broker sends, an origin that only the broker writes, metadata likewise.
        (
            true,
            "00000000 35 00 0000 0100000000000000 00000000 0000 00 00",
            "Accepted",
        ),
        (true, origin, "origin"),
        (true, metadata, "sys."),
        // A key that is longer than the body.
        (
            true,
            "00000000 05 00 0000 0100000000000000 00000000 0500 00 00",
            "parts",
        ),
    ];
    let broker = Broker::start_raw();
    for (welcomed, frame, named) in cases {
        let mut stream = connect(&broker);
        if welcomed {
            stream.write_all(&bytes(hello)).unwrap();
            assert_eq!(read_frame(&mut stream).unwrap().unwrap()[4], WELCOME);
        } else {
            stream.write_all(&bytes("ac495043 0d0a1a0a")).unwrap();
        }
        stream.write_all(&bytes(frame)).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let (reason, text) = goodbye(&answer);
        assert_eq!(reason, PROTOCOL_ERROR, "{frame}: {text}");
        assert!(text.contains(named), "{frame}: {text}");
    }
}

#[test]
fn a_transcript_that_differs_is_told() {
    let mut names = Names::default();
    assert_eq!(
        names.learn(&parts("01 {a:2} {_:1} 02 {_}"), &[1, 7, 8, 9, 2, 5]),
        Ok(())
    );
    assert_eq!(names.fill(&parts("ff {a:2}")), [255, 7, 8]);
    assert!(names.learn(&parts("{a:2}"), &[7, 9]).is_err());
    assert!(names.learn(&parts("01"), &[1, 2]).is_err());
    assert!(names.learn(&parts("0102"), &[1]).is_err());
}
