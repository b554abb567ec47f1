//! Regions over a plain socket: an entry, and the descriptor beside it.
//!
//! Owns the control messages. What is sent need not be what a region would be taken apart into.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "each test file uses its own part of the harness, and what is not as expected fails the test"
)]

use actix_ipc::bus::memory::{Entry, Kind, MapError, MemoryRegion};
use actix_ipc::message::Attachment;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// Sends bytes with a descriptor.
pub fn send(socket: &UnixStream, descriptor: impl AsFd, entry: &Entry) {
    let mut bytes = Vec::new();
    entry.encode(&mut bytes);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor.as_fd()];
    assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
    let sent = sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL).unwrap();
    assert_eq!(sent, bytes.len());
}

/// Sends a region; this process gives its handle up.
pub fn send_region(socket: &UnixStream, region: MemoryRegion, several: bool) {
    let (attachment, entry) = region.into_attachment(several).unwrap();
    send(socket, attachment.downcast_ref::<OwnedFd>().unwrap(), &entry);
}

/// What comes: one entry at a time.
pub fn receive(socket: &UnixStream) -> (Attachment, Entry) {
    let mut bytes = [0; 300];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let got = recvmsg(socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
    let mut descriptors = control.drain().flat_map(|part| match part {
        RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect::<Vec<_>>(),
        _ => Vec::new(),
    });
    let descriptor = descriptors.next().expect("a descriptor");
    let (entry, rest) = Entry::decode(&bytes[..got.bytes]).unwrap();
    assert!(rest.is_empty());
    (Arc::new(descriptor), entry)
}

/// A region that comes.
pub fn receive_region(socket: &UnixStream) -> Result<MemoryRegion, MapError> {
    let (attachment, entry) = receive(socket);
    MemoryRegion::from_attachment(attachment, &entry)
}

/// Memory as a sender of another library would make it.
pub fn memory(size: u64, seals: SealFlags) -> OwnedFd {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memory = memfd_create("test", flags).unwrap();
    ftruncate(&memory, size).unwrap();
    rustix::io::pwrite(&memory, &vec![7; usize::try_from(size).unwrap()], 0).unwrap();
    fcntl_add_seals(&memory, seals).unwrap();
    memory
}

pub fn entry(size: u64, kind: Kind) -> Entry {
    Entry::new(size, kind, false, Some("tag")).unwrap()
}
