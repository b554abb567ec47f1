//! A publisher in raw frames that sends as fast as its window lets it.
//!
//! Owns the count of its window. Expects the raw client beside it, as `crate::raw`.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test file uses its own part of the harness, and what is not as expected fails the test"
)]

use crate::raw::Raw;
use actix_ipc::message::{Draft, Encoding, Kind};
use std::io::Write;

pub struct Publisher {
    pub raw: Raw,
    window: i64,
    unsent: Vec<u8>,
}

impl Publisher {
    pub fn new(raw: Raw) -> Self {
        let window = raw.welcome.unwrap().publish_window.into();
        Self {
            raw,
            window,
            unsent: Vec::new(),
        }
    }

    pub fn send(&mut self, event: &str, payload: &[u8]) {
        let draft = Draft::new(Kind::Publish, 0);
        let draft = draft.pair("s", event).payload(Encoding::RAW, payload);
        while self.window <= 0 {
            self.flush();
            self.window += i64::from(self.raw.expect(Kind::PublishCredit).aux);
        }
        self.window -= draft.wire_len() as i64;
        draft.encode(&mut self.unsent);
        if self.unsent.len() > 32 * 1024 {
            self.flush();
        }
    }

    pub fn flush(&mut self) {
        self.raw.stream.write_all(&self.unsent).unwrap();
        self.unsent.clear();
    }

    /// Waits until the broker has handled all of it.
    pub fn settle(&mut self) {
        self.flush();
        while self.window <= 0 {
            self.window += i64::from(self.raw.expect(Kind::PublishCredit).aux);
        }
        self.window -= 24 + "nobody listens".len() as i64;
        self.raw.after_hub();
    }

    /// Publishes so many numbered events of `size` bytes and waits until the broker has handled them.
    pub fn numbers(&mut self, event: &str, count: u32, size: usize) {
        let mut payload = vec![0; size];
        for number in 0..count {
            payload[..4].copy_from_slice(&number.to_le_bytes());
            self.send(event, &payload);
        }
        self.settle();
    }
}
