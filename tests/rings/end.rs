//! The client's end of shared memory, as `docs/protocol.md` tells it, in system calls: it can also do what no client should.
//!
//! Owns the memory's descriptor and the two bells; the memory is reached by reading and writing the file. It writes few bytes, so that an
//! index changes in one byte: what the kernel copies is not one access as the document wants it.

use crate::descriptors::Reader;
use crate::raw::{Got, Raw, all};
use actix_ipc::message::{Decoder, Draft, Kind};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::{pread, pwrite, read, write};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);
/// Offsets of the words of a direction, and where the second direction's begin.
pub const TAIL: u64 = 0;
pub const ATTACHED: u64 = 4;
pub const HEAD: u64 = 128;
const READER_SLEEPS: u64 = 256;
pub const TO_BROKER: u64 = 1024;
const BYTES_AT: u64 = 4096;

/// See the module's documentation.
pub struct End {
    pub raw: Raw,
    pub memory: OwnedFd,
    pub mine: OwnedFd,
    pub brokers: OwnedFd,
    pub bytes: u32,
    tail: u32,
    head: u32,
    decoder: Decoder,
    queue: VecDeque<Got>,
}

/// Asks for memory; the answer and what came with it.
pub fn ask(raw: &mut Raw) -> (Got, Vec<OwnedFd>) {
    raw.send(&Draft::new(Kind::Ring, 0));
    let (got, came) = Reader::default().read(raw);
    assert_eq!(got.kind, Kind::Ring, "{got:?} {}", got.text());
    (got, came)
}

impl End {
    /// Goes through the four steps.
    pub fn new(mut raw: Raw) -> Self {
        let (offer, given) = ask(&mut raw);
        let [memory, mine, brokers] = given.try_into().expect("three descriptors");
        raw.send(&Draft::new(Kind::Ring, 0).aux(1));
        assert_eq!(raw.expect(Kind::Ring).aux, 1);
        Self {
            raw,
            memory,
            mine,
            brokers,
            bytes: offer.aux,
            tail: 0,
            head: 0,
            decoder: Decoder::new(usize::MAX / 2),
            queue: VecDeque::new(),
        }
    }

    pub fn word(&self, at: u64) -> u32 {
        let mut word = [0; 4];
        assert_eq!(pread(&self.memory, &mut word[..], at).unwrap(), 4);
        u32::from_ne_bytes(word)
    }

    pub fn set(&self, at: u64, value: u32) {
        assert_eq!(pwrite(&self.memory, &value.to_ne_bytes(), at).unwrap(), 4);
    }

    /// Rings for the broker.
    pub fn ring(&self) {
        write(&self.brokers, &1_u64.to_ne_bytes()).unwrap();
    }

    /// Writes frames, and always rings.
    pub fn send(&mut self, drafts: &[Draft<'_>]) {
        let mut bytes = Vec::new();
        drafts.iter().for_each(|draft| draft.encode(&mut bytes));
        let at = BYTES_AT + u64::from(self.bytes) + u64::from(self.tail);
        self.tail += u32::try_from(bytes.len()).unwrap();
        assert!(self.tail < 256, "few bytes");
        assert_eq!(pwrite(&self.memory, &bytes, at).unwrap(), bytes.len());
        self.set(TO_BROKER + TAIL, self.tail);
        self.ring();
    }

    /// The next frame, or `None` when the broker has closed the socket.
    pub fn try_read(&mut self) -> Option<Got> {
        let until = Instant::now() + PATIENCE;
        while self.queue.is_empty() {
            assert!(Instant::now() < until, "no frame within {PATIENCE:?}");
            let ended = self.wait();
            let tail = self.word(TAIL);
            let there = tail.wrapping_sub(self.head) as usize;
            if there == 0 && ended {
                return None;
            }
            let mut bytes = vec![0; there];
            let at = u64::from(self.head % self.bytes);
            let first = there.min((u64::from(self.bytes) - at) as usize);
            pread(&self.memory, &mut bytes[..first], BYTES_AT + at).unwrap();
            pread(&self.memory, &mut bytes[first..], BYTES_AT).unwrap();
            self.head = tail;
            self.set(HEAD, self.head);
            self.ring();
            let batch = self.decoder.decode(&bytes).expect("frames");
            self.queue.extend(all(&batch));
        }
        self.queue.pop_front()
    }

    /// Waits for the bell, the end of the socket or a few milliseconds: these are no atomic accesses.
    fn wait(&self) -> bool {
        self.set(READER_SLEEPS, 1);
        let mut fds = [
            PollFd::new(&self.mine, PollFlags::IN),
            PollFd::new(&self.raw.stream, PollFlags::RDHUP),
        ];
        let nap = Timespec {
            tv_sec: 0,
            tv_nsec: 5_000_000,
        };
        let _ = poll(&mut fds, Some(&nap));
        let ended = !fds[1].revents().is_empty();
        if !fds[0].revents().is_empty() {
            let _ = read(&self.mine, &mut [0; 8]);
        }
        ended
    }

    pub fn read(&mut self) -> Got {
        self.try_read().expect("a frame, not the end of the connection")
    }

    /// The broker has read everything before and answers.
    pub fn ping(&mut self, id: u64) {
        self.send(&[Draft::new(Kind::Ping, id)]);
        let got = self.read();
        assert_eq!((got.kind, got.id), (Kind::Pong, id));
    }

    /// Whether the broker ends the connection; frames before that are skipped. Returns the last one.
    pub fn ended(&mut self) -> Option<Got> {
        let mut last = None;
        while let Some(got) = self.try_read() {
            last = Some(got);
        }
        last
    }
}
