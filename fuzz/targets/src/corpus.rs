//! Where inputs begin: kept files, seeds made from the documents' examples, and words of each format.
//!
//! Owns `fuzz/corpus` (one folder for each target; what the fuzzer found worth keeping) and the seeds that need no file,
//! because `docs/vectors.json` and `tests/transcripts` hold them already. `fuzz-smoke --write-seeds` writes those into
//! the corpus for cargo-fuzz.

use serde_json::Value;
use std::path::{Path, PathBuf};

const VECTORS: &str = include_str!("../../../docs/vectors.json");
const TRANSCRIPT: &str = include_str!("../../../tests/transcripts/v1.txt");

/// The folder of a target's corpus.
#[must_use]
pub fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../corpus")
        .join(target)
}

/// The kept inputs of a target in the order of their names, then its seeds.
#[must_use]
pub fn inputs(target: &str) -> Vec<Vec<u8>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder(target))
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    files.sort();
    let mut inputs: Vec<Vec<u8>> = files.iter().filter_map(|path| std::fs::read(path).ok()).collect();
    inputs.extend(seeds(target));
    inputs
}

/// Inputs of a target that the documents give.
#[must_use]
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    let with = |prefix: &[u8], all: Vec<Vec<u8>>| -> Vec<Vec<u8>> {
        all.into_iter()
            .map(|bytes| [prefix, &bytes[..]].concat())
            .collect()
    };
    match target {
        "frames" => with(&[0], frames()),
        // Three cuts: one byte, a header, 700 bytes.
        "chunks" => with(&[0, 3, 0, 64, 255, 188, 2, 0, 0], frames()),
        // A welcomed client, in chunks of 100 bytes.
        "connection" => with(&[7, 3], frames()),
        "handshake" => with(&[1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0], hellos()),
        "bus" => [
            &b"\0\0\x01\x05earth"[..],
            b"\0\x02\x01\x05earth\x01\x04moon\x04\x02",
            b"\0\x01\x05\x06\x03",
            b"\x01\x01\0\x06\0secret\x02\0\x05\0earth\x04\0moon",
            b"\x02\x01\0\0\0\0\0\0\0\x02\0\0\0\0\x01\x01\0",
        ]
        .map(<[u8]>::to_vec)
        .to_vec(),
        "names" => [
            "math",
            "math\0add",
            "caf\u{e9}",
            "room.*\0**",
            "a\u{7f}",
            "sys.broker",
        ]
        .map(|text| text.as_bytes().to_vec())
        .to_vec(),
        "metadata" => vec![
            b"\x0f\x08sys.name\x04\x00demo\x01\x01kv".to_vec(),
            b"\x09\x05group\x01\x00g".to_vec(),
            b"\x00\x09\x02route.key42".to_vec(),
        ],
        "payloads" => [
            &b"\x01{\"a\":[1,2.5,null,\"x\"]}"[..],
            b"\x01[\"Ok\",7]",
            b"\x02\x01\x07\x03abc",
            b"\x00text",
        ]
        .map(<[u8]>::to_vec)
        .to_vec(),
        "endpoints" => [
            "unix:/run/user/1000/ipc_broker.sock",
            "tcp:127.0.0.1:5123",
            "tcp:[::1]:0",
            "tcp:[fe80::1%eth0]:65535",
            "pipe:ipc_broker",
            "mem:test",
        ]
        .map(|text| text.as_bytes().to_vec())
        .to_vec(),
        // The others read their input as a list of choices: any bytes are a case.
        _ => (1..4)
            .map(|seed| (0..64 * seed).map(|at| (at * 37 * seed % 251) as u8).collect())
            .collect(),
    }
}

/// What is spliced into inputs of a target: words that its format gives a meaning.
#[must_use]
pub fn dictionary(target: &str) -> &'static [&'static [u8]] {
    match target {
        "frames" | "chunks" | "connection" => &[
            b"\xacIPC\x0d\x0a\x1a\x0a",
            b"\x00\x00\x00\x00\x04\x00\x00\x00",
            b"\x05\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00",
            b"\x00\x00\x00\x00\x90\x00\xff\x0f\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
            b"\x08sys.name",
            b"\x05group\x01\x00g",
            b"\xff\xff\xff\xff",
            b"\x11\x22\x00\x01",
        ],
        "gateway" => &[
            br#"{"HasObject":{"object_name":"o"}}"#,
            b"\0\0\0\x02{}",
            br#"{"list":["o"]}"#,
            b"null",
            b"[[[[",
            br#""\ud800""#,
            b"1e999",
        ],
        "handshake" => &[b"\x04demo", b"\x00", b"\xff", b"\x01\x1b"],
        "names" => &[b".", b"*", b"**", b"\0", b"sys.", b"\xc2\x85", b"\xc3\xa9", b"\x7f"],
        "bus" => &[b"\x01\x01a", b"\x01\x05earth", b"\x02", b"\x03", b"\x04", b"\x05", b"\x01\0\0\0"],
        "metadata" => &[b"\x08sys.name\x00\x00", b"\x05group\x01\x00g", b"\x09route.key\x02\x00ab", b"\x01k\x00\x00"],
        "payloads" => &[b"{\"Ok\":", b"\"Err\"", b"null", b"[[[[", b"1e999", b"\xff\xff\xff\xff\x0f", b"\"\\ud800\""],
        "endpoints" => &[b"unix:/", b"tcp:", b"[::1]:", b"pipe:", b"mem:", b":65535", b"%", b"\0"],
        _ => &[],
    }
}

/// Every frame of the vectors alone, and each client's side of the transcript from end to end.
fn frames() -> Vec<Vec<u8>> {
    let vectors: Value = serde_json::from_str(VECTORS).expect("docs/vectors.json is JSON");
    let listed = |list: &str| vectors[list].as_array().cloned().unwrap_or_default();
    let mut all: Vec<Vec<u8>> = ["frames", "refused", "skipped"]
        .iter()
        .flat_map(|list| listed(list))
        .filter_map(|vector| hex(vector["hex"].as_str()?))
        .collect();
    let mut sides: Vec<(&str, Vec<u8>)> = Vec::new();
    for line in TRANSCRIPT.lines() {
        let Some((name, sent)) = line.split_once(" > ") else {
            continue;
        };
        let Some(bytes) = hex(sent) else { continue };
        // The preface is not the frame decoder's business.
        let bytes = bytes
            .strip_prefix(&actix_ipc::message::handshake::PREFACE[..])
            .unwrap_or(&bytes);
        match sides.iter_mut().find(|(side, _)| *side == name) {
            Some((_, all)) => all.extend_from_slice(bytes),
            None => sides.push((name, bytes.to_vec())),
        }
    }
    all.extend(sides.into_iter().map(|(_, bytes)| bytes));
    all
}

fn hellos() -> Vec<Vec<u8>> {
    let mut welcome = vec![7; 56];
    welcome.push(1);
    vec![
        b"\x04demo".to_vec(),
        b"\x00".to_vec(),
        b"\x05demo".to_vec(),
        welcome,
    ]
}

/// Bytes written in hex with blanks; none when a place is left open, as transcripts do.
fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<char> = text.chars().filter(|letter| !letter.is_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).ok())
        .collect()
}
