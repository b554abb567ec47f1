//! What a run tells the judge, and what of it is kept: counts, a digest, a trace.
//!
//! Owns the step's number; decides nothing. Called by `world`.

use crate::client::Head;
use crate::clock;
use crate::stats::Stats;
use actix_ipc::message::Flags;
use actix_ipc_model::{Judge, Observation, What};
use std::fmt::Write;

/// What is told to the judge, and kept for the trace.
pub struct Log {
    pub judge: Judge,
    pub step: u64,
    pub digest: u64,
    pub stats: Stats,
    pub trace: Option<Vec<String>>,
}

impl Log {
    /// Nothing yet. `trace`: keep it as text, too.
    #[must_use]
    pub fn new(judge: Judge, trace: bool) -> Self {
        Self {
            judge,
            step: 0,
            digest: 0,
            stats: Stats::default(),
            trace: trace.then(Vec::new),
        }
    }

    /// Something happened to a client.
    pub fn observe(&mut self, client: u32, what: What) {
        self.stats.count(&what);
        if let Some(trace) = &mut self.trace {
            trace.push(format!(
                "{:>6} {:>6} ms  client {client:<3} {}",
                self.step,
                clock::ms(),
                describe(&what)
            ));
        }
        self.digest = mix(self.digest, self.step ^ u64::from(client) << 32);
        if let What::Sent(bytes) | What::Arrived(bytes) | What::Received(bytes) = &what {
            for chunk in bytes.chunks(8) {
                self.digest = mix(
                    self.digest,
                    chunk.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
                );
            }
        }
        self.judge.observe(Observation {
            at: self.step,
            now_ms: clock::ms(),
            client,
            what,
        });
    }
}

const fn mix(digest: u64, value: u64) -> u64 {
    (digest ^ value).wrapping_mul(0x0100_0000_01b3).rotate_left(23)
}

fn describe(what: &What) -> String {
    let (verb, bytes) = match what {
        What::Sent(bytes) => ("sent", bytes),
        What::Arrived(bytes) => ("arrived", bytes),
        What::Received(bytes) => ("received", bytes),
        other => return format!("{other:?}"),
    };
    let Some(head) = Head::of(bytes) else {
        return format!("{verb} {} bytes that are no frame", bytes.len());
    };
    let mut text = format!(
        "{verb:<8} {:<13} id {} aux {}",
        head.kind.name(),
        head.id,
        head.aux
    );
    if head.flags != Flags::NONE {
        let _ = write!(text, " flags {:#05x}", head.flags.0);
    }
    let body: String = bytes
        .iter()
        .skip(24)
        .take(40)
        .map(|byte| {
            if byte.is_ascii_graphic() {
                char::from(*byte)
            } else {
                '·'
            }
        })
        .collect();
    let _ = write!(text, " ({} bytes) {body}", bytes.len());
    text
}
