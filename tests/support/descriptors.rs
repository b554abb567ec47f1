//! Frames with descriptors over a raw connection, and what tests ask about descriptors.
//!
//! Owns the control messages and the pipes that tell when their other end was closed. Expects the raw client beside it, as
//! `crate::raw`.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "each test file uses its own part of the harness, and what is not as expected fails the test"
)]

use crate::raw::{Got, Raw, all};
use actix_ipc::message::{Decoder, Draft, Encoding, Flags, Kind};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut, PipeReader, PipeWriter, Read, Write};
use std::mem::MaybeUninit;

// Where these do not exist, no signal comes in a program of Rust, and what a test receives it passes to nobody.
#[cfg(target_os = "linux")]
const FLAGS: (SendFlags, RecvFlags) = (SendFlags::NOSIGNAL, RecvFlags::CMSG_CLOEXEC);
#[cfg(not(target_os = "linux"))]
const FLAGS: (SendFlags, RecvFlags) = (SendFlags::empty(), RecvFlags::empty());

/// Descriptors to be sent, each the writing end of a pipe: what is written there, and whether anybody still has it, is seen
/// at the reading end.
pub fn pipes(count: usize) -> (Vec<OwnedFd>, Vec<PipeReader>) {
    (0..count)
        .map(|_| {
            let (reader, writer) = std::io::pipe().expect("a pipe");
            (OwnedFd::from(writer), reader)
        })
        .unzip()
}

/// Nobody holds the other end any more, once this returns.
pub fn closed(mut reader: PipeReader) -> Vec<u8> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut read = Vec::new();
    let patience = Timespec {
        tv_sec: 20,
        tv_nsec: 0,
    };
    loop {
        let mut asked = [PollFd::new(&reader, PollFlags::IN)];
        let ready = poll(&mut asked, Some(&patience)).expect("a pipe");
        assert!(ready > 0, "somebody has the other end still");
        let mut part = [0; 64];
        match reader.read(&mut part).expect("a pipe") {
            0 => return read,
            count => read.extend_from_slice(&part[..count]),
        }
    }
}

/// One `sendmsg` with descriptors.
pub fn send(raw: &Raw, bytes: &[u8], descriptors: &[OwnedFd]) {
    let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !borrowed.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(&borrowed)));
    }
    let sent = sendmsg(&raw.stream, &[IoSlice::new(bytes)], &mut control, FLAGS.0).expect("the broker reads");
    (&raw.stream).write_all(&bytes[sent..]).expect("the broker reads");
}

/// A call of `object` that declares so many descriptors.
pub fn call(id: u64, object: &str, declared: usize, payload: &[u8]) -> Vec<u8> {
    call_with(id, object, declared, payload, Flags::NONE)
}

/// The same with flags.
pub fn call_with(id: u64, object: &str, declared: usize, payload: &[u8], flags: Flags) -> Vec<u8> {
    let draft = Draft::new(Kind::Call, id).flags(flags).pair(object, "m");
    Draft {
        attachments: u8::try_from(declared).expect("few"),
        ..draft.payload(Encoding::RAW, payload)
    }
    .to_vec()
}

/// Reads frames with their descriptors from a raw connection.
pub struct Reader {
    decoder: Decoder,
    queue: VecDeque<Got>,
    descriptors: VecDeque<OwnedFd>,
    declared: VecDeque<u8>,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            decoder: Decoder::new(usize::MAX / 2),
            queue: VecDeque::new(),
            descriptors: VecDeque::new(),
            declared: VecDeque::new(),
        }
    }
}

impl Reader {
    /// The next frame and what came with it.
    pub fn read(&mut self, raw: &mut Raw) -> (Got, Vec<OwnedFd>) {
        for got in raw.kept() {
            self.queue.push_back(got);
            self.declared.push_back(0);
        }
        while self.queue.is_empty() {
            let mut buffer = vec![0; 64 * 1024];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let message = recvmsg(
                &raw.stream,
                &mut [IoSliceMut::new(&mut buffer)],
                &mut control,
                FLAGS.1,
            )
            .expect("a frame in time");
            assert!(message.bytes > 0, "the connection ended");
            for part in control.drain() {
                if let RecvAncillaryMessage::ScmRights(came) = part {
                    self.descriptors.extend(came);
                }
            }
            let batch = self.decoder.decode(&buffer[..message.bytes]).expect("frames");
            self.declared
                .extend(batch.headers().map(|header| header.attachments));
            self.queue.extend(all(&batch));
        }
        let declared = usize::from(self.declared.pop_front().expect("as many as frames"));
        let came = self.descriptors.drain(..declared).collect();
        (self.queue.pop_front().expect("a frame"), came)
    }
}

/// Writes to each, closes it, and checks that it is the other end of the pipe beside it.
pub fn same(received: Vec<OwnedFd>, readers: Vec<PipeReader>) {
    assert_eq!(received.len(), readers.len());
    for (index, (writer, reader)) in received.into_iter().zip(readers).enumerate() {
        let text = format!("pipe {index}");
        PipeWriter::from(writer)
            .write_all(text.as_bytes())
            .expect("its reader is here");
        assert_eq!(String::from_utf8(closed(reader)).expect("text"), text);
    }
}
