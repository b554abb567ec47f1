//! A kernel object on its way between processes: a file descriptor on Unix, a handle on Windows.
//!
//! Owns [`Object`], and its way into and out of an attachment. What may be sent, and to whom, is decided by the sender's options
//! and by the broker; what kind of object it is, nobody asks here. Applications and the message room of the bus call it.

use super::system::{Descriptor, RawDescriptor};
use crate::message::Attachment;
use std::io;
use std::sync::Arc;

/// A kernel object that belongs to this process, to be sent with a message or received with one. Dropping it closes this process's
/// reference to it; others keep theirs.
#[derive(Debug)]
pub struct Object(Descriptor);

impl Object {
    /// Takes a raw descriptor (on Windows a handle) over.
    ///
    /// # Safety
    /// It is open, and nobody else closes it: it belongs to the object from now on.
    #[allow(unsafe_code, reason = "a raw descriptor has no owner that could be asked")]
    #[must_use]
    pub unsafe fn from_raw(raw: RawDescriptor) -> Self {
        // SAFETY: open and without another owner, as the caller promises.
        Self(unsafe { super::system::adopt(raw) })
    }

    /// Another reference of this process to the same object.
    ///
    /// # Errors
    /// The system's: this process may open no more.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// The object that came with a message. When others of this process hold the same attachment, it is another reference to it.
    ///
    /// # Errors
    /// `InvalidData` for an attachment that is no descriptor, as between two ends in one process; else the system's: this process
    /// may open no more.
    pub fn from_attachment(attachment: Attachment) -> io::Result<Self> {
        let descriptor = attachment.downcast::<Descriptor>().map_err(|_| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "the attachment is no descriptor of the system: its sender is in this process, and sent something else",
            )
        })?;
        match Arc::try_unwrap(descriptor) {
            Ok(descriptor) => Ok(Self(descriptor)),
            Err(shared) => shared.try_clone().map(Self),
        }
    }

    /// The object as a frame carries it.
    #[must_use]
    pub fn into_attachment(self) -> Attachment {
        Arc::new(self.0)
    }
}

impl From<Object> for Attachment {
    fn from(object: Object) -> Self {
        object.into_attachment()
    }
}

impl From<Descriptor> for Object {
    fn from(descriptor: Descriptor) -> Self {
        Self(descriptor)
    }
}

impl From<Object> for Descriptor {
    fn from(object: Object) -> Self {
        object.0
    }
}

#[cfg(unix)]
mod unix {
    use super::Object;
    use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

    impl Object {
        /// The descriptor itself.
        #[must_use]
        pub fn into_fd(self) -> OwnedFd {
            self.0
        }
    }

    impl AsFd for Object {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
    }

    impl AsRawFd for Object {
        fn as_raw_fd(&self) -> RawFd {
            self.0.as_raw_fd()
        }
    }

    impl From<std::fs::File> for Object {
        fn from(file: std::fs::File) -> Self {
            Self(file.into())
        }
    }
}

#[cfg(windows)]
mod windows {
    use super::Object;
    use std::os::windows::io::{AsHandle, BorrowedHandle, OwnedHandle};

    impl Object {
        /// The handle itself.
        #[must_use]
        pub fn into_handle(self) -> OwnedHandle {
            self.0
        }
    }

    impl AsHandle for Object {
        fn as_handle(&self) -> BorrowedHandle<'_> {
            self.0.as_handle()
        }
    }

    impl From<std::fs::File> for Object {
        fn from(file: std::fs::File) -> Self {
            Self(file.into())
        }
    }
}
