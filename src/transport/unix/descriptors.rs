//! Descriptors over a Unix socket: the control messages of `recvmsg` and `sendmsg`.
//!
//! Owns how they are received (each has its owner before anything is judged), sent, and asked what they are. How many a
//! peer may have is not decided here, but a read that brings more than [`ATTACHMENTS_MAX`] fails.

use crate::message::Attachment;
use crate::transport::inject::{Site, fault, retry};
use crate::transport::{ATTACHMENTS_MAX, passing};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::sync::Arc;

const NOT_A_DESCRIPTOR: &str = "an attachment is not a file descriptor (OwnedFd)";
/// Descriptors that one read has room for. Linux gives no more than fit and drops the rest. Apple's systems open all of a message in the receiver
/// and then cut what does not fit: those would be open for good, so there is room for as many as one message can have.
const ROOM: usize = if cfg!(target_vendor = "apple") {
    512
} else {
    ATTACHMENTS_MAX
};
const CONTROL_LEN: usize = rustix::cmsg_space!(ScmRights(ROOM));

/// Whether the kernel refused to take more descriptors that are sent and not received, of this user.
pub(super) fn too_many_in_flight(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::TOOMANYREFS.raw_os_error())
}

/// Bytes that were written and the peer has not read, about; `None` where the kernel does not say.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "rustix has no safe form of this request")]
pub(super) fn unread(socket: BorrowedFd<'_>) -> Option<usize> {
    use rustix::ioctl::{Getter, ioctl};
    const SIOCOUTQ: rustix::ioctl::Opcode = 0x5411;
    // SAFETY: SIOCOUTQ (tty_ioctl's TIOCOUTQ, unix(7)) writes one `int` through its argument and does nothing else; on
    // a descriptor that does not know it, it fails and writes nothing. `Getter` gives it room for a `c_int`, and the
    // descriptor is borrowed for the call.
    let asked = unsafe { ioctl(socket, Getter::<SIOCOUTQ, std::ffi::c_int>::new()) };
    usize::try_from(asked.ok()?).ok()
}

/// Bytes that were written and the peer has not read; this system does not say.
#[cfg(not(target_os = "linux"))]
pub(super) const fn unread(_: BorrowedFd<'_>) -> Option<usize> {
    None
}

/// Refuses what is not a descriptor.
pub(in crate::transport) fn check_kinds(attachments: &[Attachment]) -> io::Result<()> {
    let known = |one: &Attachment| passing::inside(one).is_some_and(|one| one.is::<OwnedFd>());
    if attachments.iter().all(known) {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, NOT_A_DESCRIPTOR))
}

/// Whether an attachment is a Unix socket. Those can carry descriptors themselves, even their own. A broker's
/// [`Passing`](crate::transport::Passing) is judged by what is inside.
#[must_use]
pub fn is_unix_socket(attachment: &Attachment) -> bool {
    let inside = passing::inside(attachment);
    inside
        .as_ref()
        .and_then(|inside| inside.downcast_ref::<OwnedFd>())
        .and_then(|descriptor| rustix::net::getsockname(descriptor).ok())
        .is_some_and(|address| address.address_family() == AddressFamily::UNIX)
}

/// Memory that has these seals never changes again, in contents, length and seals.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
pub(super) const SEALED: rustix::fs::SealFlags = rustix::fs::SealFlags::SHRINK
    .union(rustix::fs::SealFlags::GROW)
    .union(rustix::fs::SealFlags::WRITE)
    .union(rustix::fs::SealFlags::SEAL);

/// Whether an attachment is a memory file of which nobody can change contents, size or seals any more. A broker's
/// [`Passing`](crate::transport::Passing) is judged by what is inside.
#[must_use]
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
pub fn is_sealed(attachment: &Attachment) -> bool {
    use rustix::fs::fcntl_get_seals;
    let Some(inside) = passing::inside(attachment) else {
        return false;
    };
    let descriptor = inside.downcast_ref::<OwnedFd>();
    descriptor.is_some_and(|descriptor| fcntl_get_seals(descriptor).is_ok_and(|seals| seals.contains(SEALED)))
}

/// Whether nobody can change an attachment any more: this system does not say.
#[must_use]
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
pub const fn is_sealed(_: &Attachment) -> bool {
    false
}

/// The number of an attachment's descriptor: how many this process has open at least, since the lowest free one is
/// given out first.
#[must_use]
pub fn number(attachment: &Attachment) -> Option<usize> {
    let descriptor = attachment.downcast_ref::<OwnedFd>()?;
    usize::try_from(descriptor.as_raw_fd()).ok()
}

/// One `recvmsg`. Besides the length: whether descriptors came, which may have ended the read early.
pub(super) fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    attachments: &mut Vec<Attachment>,
) -> io::Result<(usize, bool)> {
    #[cfg(target_vendor = "apple")]
    let flags = RecvFlags::empty();
    #[cfg(not(target_vendor = "apple"))]
    let flags = RecvFlags::CMSG_CLOEXEC;
    let mut space = [MaybeUninit::uninit(); CONTROL_LEN];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(buffer)];
    let message = retry(|| {
        fault(Site::Read)?;
        Ok(recvmsg(socket, &mut slices, &mut control, flags)?)
    })?;
    // Every descriptor gets its owner before anything is judged: what an error leaves behind is closed.
    let before = attachments.len();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = part {
            attachments
                .extend(descriptors.map(|descriptor| Arc::new(close_on_exec(descriptor)) as Attachment));
        }
    }
    // The control buffer is padded, so one or two more may have come without being cut off.
    let came = attachments.len() - before;
    if message.flags.contains(ReturnFlags::CTRUNC) || came > ATTACHMENTS_MAX {
        attachments.truncate(before);
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "the peer sent more than {ATTACHMENTS_MAX} descriptors at once, or this process may open no more"
            ),
        ));
    }
    Ok((message.bytes, came > 0))
}

/// Sets what `MSG_CMSG_CLOEXEC` sets where that exists. A failure leaves a descriptor that works.
fn close_on_exec(descriptor: OwnedFd) -> OwnedFd {
    #[cfg(target_vendor = "apple")]
    let _ = rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::CLOEXEC);
    descriptor
}

// On Apple systems SO_NOSIGPIPE, which socket2 sets, does the same.
#[cfg(target_vendor = "apple")]
const SEND_FLAGS: SendFlags = SendFlags::empty();
#[cfg(not(target_vendor = "apple"))]
const SEND_FLAGS: SendFlags = SendFlags::NOSIGNAL;

/// Bytes alone. One run of them, as most writes are, goes without the head of a message, which the system would have to look through.
pub(super) fn send_bytes(socket: BorrowedFd<'_>, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let [only] = slices else {
        return send_with(socket, slices, &mut SendAncillaryBuffer::new(&mut []));
    };
    retry(|| {
        fault(Site::Write)?;
        Ok(rustix::net::send(socket, only, SEND_FLAGS)?)
    })
}

pub(super) fn send_with(
    socket: BorrowedFd<'_>,
    slices: &[IoSlice<'_>],
    control: &mut SendAncillaryBuffer<'_, '_, '_>,
) -> io::Result<usize> {
    retry(|| {
        fault(Site::Write)?;
        Ok(sendmsg(socket, slices, control, SEND_FLAGS)?)
    })
}

pub(super) fn send_attachments(
    socket: BorrowedFd<'_>,
    slices: &[IoSlice<'_>],
    attachments: &[Attachment],
) -> io::Result<usize> {
    let mut descriptors = [socket; ATTACHMENTS_MAX];
    let wrong = |text| io::Error::new(io::ErrorKind::InvalidInput, text);
    let inside: Vec<Attachment> = attachments.iter().filter_map(passing::inside).collect();
    if inside.len() < attachments.len() {
        return Err(wrong("an attachment was released before it was sent"));
    }
    let attachments = &inside;
    let chosen = descriptors
        .get_mut(..attachments.len())
        .ok_or_else(|| wrong("too many attachments at once"))?;
    for (place, attachment) in chosen.iter_mut().zip(attachments) {
        let descriptor = attachment.downcast_ref::<OwnedFd>();
        *place = descriptor.ok_or_else(|| wrong(NOT_A_DESCRIPTOR))?.as_fd();
    }
    let mut space = [MaybeUninit::uninit(); CONTROL_LEN];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(chosen)) {
        return Err(wrong("too many attachments at once"));
    }
    retry(|| fault(Site::Attach))?;
    send_with(socket, slices, &mut control)
}
