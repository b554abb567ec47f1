//! What a raw client on Windows reads and writes: a named pipe, or TCP, blocking, with a limit in time.
//!
//! Owns the calls of the system for the pipe. One that is opened as files are has one operation at a time, so that nobody could write while
//! somebody waits to read; this one is opened for overlapped ones, and every call waits for its own to end before it returns. Knows no frame and
//! no broker.
#![allow(
    dead_code,
    unreachable_pub,
    unsafe_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "each test file uses its own part of the harness, what is not as expected fails the test, and overlapped operations have no safe interface"
)]

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use windows_sys::Win32::Foundation::{
    ERROR_IO_PENDING, ERROR_OPERATION_ABORTED, ERROR_PIPE_BUSY, HANDLE, WAIT_OBJECT_0, WAIT_TIMEOUT,
};
use windows_sys::Win32::Storage::FileSystem::{FILE_FLAG_OVERLAPPED, ReadFile, WriteFile};
use windows_sys::Win32::System::IO::{CancelIoEx, GetOverlappedResult, OVERLAPPED};
use windows_sys::Win32::System::Threading::{CreateEventW, SetEvent, WaitForMultipleObjects};

/// Where the system has its pipes.
const PIPES: &str = r"\\.\pipe\";

/// The name in the system of a pipe with this name.
pub fn path(name: &str) -> String {
    format!("{PIPES}{name}")
}

/// A connected pipe or TCP socket.
pub enum Socket {
    Pipe(Pipe),
    Tcp(TcpStream),
}

impl Socket {
    /// To a pipe, if that is what it names, else to an address. Nothing waits for longer than `patience`.
    pub fn connect(place: &str, patience: Duration) -> io::Result<Self> {
        if place.starts_with(PIPES) {
            return Pipe::connect(place, patience).map(Self::Pipe);
        }
        let socket = TcpStream::connect(place)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(patience))?;
        socket.set_write_timeout(Some(patience))?;
        Ok(Self::Tcp(socket))
    }

    /// Ends one direction or both, if it is TCP: a pipe has one end.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Self::Pipe(_) => Err(ErrorKind::Unsupported.into()),
            Self::Tcp(socket) => socket.shutdown(how),
        }
    }

    pub fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        match self {
            Self::Pipe(pipe) => {
                pipe.set_nonblocking(on);
                Ok(())
            }
            Self::Tcp(socket) => socket.set_nonblocking(on),
        }
    }

    pub fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Pipe(pipe) => Ok(Self::Pipe(pipe.clone())),
            Self::Tcp(socket) => socket.try_clone().map(Self::Tcp),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }
}

impl Read for &Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Pipe(pipe) => pipe.read(buffer),
            Socket::Tcp(socket) => Read::read(&mut &*socket, buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for &Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Pipe(pipe) => pipe.write(bytes),
            Socket::Tcp(socket) => Write::write(&mut &*socket, bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One end. Clones are the same end; it is closed with the last of them.
#[derive(Clone)]
pub struct Pipe(Arc<End>);

struct End {
    file: File,
    patience: Duration,
    /// Set: whatever is under way ends, and nothing begins.
    over: OwnedHandle,
    nonblocking: AtomicBool,
    /// Who writes what was written without blocking. A write that is taken back may have been read in part, so none is.
    writer: Mutex<Option<Writer>>,
}

/// A thread with one write under way and one that waits for it.
struct Writer {
    waits: SyncSender<Vec<u8>>,
    thread: JoinHandle<()>,
}

/// An event that stays set.
fn event() -> OwnedHandle {
    // SAFETY: no attributes and no name.
    let made = unsafe { CreateEventW(null(), 1, 0, null()) };
    assert!(!made.is_null(), "{}", io::Error::last_os_error());
    // SAFETY: the system has just made it for this process.
    unsafe { OwnedHandle::from_raw_handle(made) }
}

impl Pipe {
    /// Opens the pipe. While every instance has a client, it looks again.
    pub fn connect(path: &str, patience: Duration) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(FILE_FLAG_OVERLAPPED);
        let until = Instant::now() + patience;
        loop {
            match options.open(path) {
                Ok(file) => {
                    return Ok(Self(Arc::new(End {
                        file,
                        patience,
                        over: event(),
                        nonblocking: AtomicBool::new(false),
                        writer: Mutex::new(None),
                    })));
                }
                Err(error) if is(&error, ERROR_PIPE_BUSY) && Instant::now() < until => {
                    std::thread::yield_now();
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Ends what is under way and whatever begins later, in all clones; the broker sees the end when the last of them is dropped.
    pub fn end(&self) {
        // SAFETY: the event is open.
        unsafe { SetEvent(self.0.over.as_raw_handle()) };
        self.0.writer.lock().unwrap().take();
    }

    /// Whether reads bring what is there and writes are taken as far as they go at once, in all clones.
    pub fn set_nonblocking(&self, on: bool) {
        self.0.nonblocking.store(on, Ordering::Relaxed);
    }

    fn patience(&self) -> Duration {
        match self.0.nonblocking.load(Ordering::Relaxed) {
            true => Duration::ZERO,
            false => self.0.patience,
        }
    }

    /// Reads what is there, or waits: 0 when the other end is closed and all that it wrote was read.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let patience = self.patience();
        let read = self.run(patience, |pipe, overlapped| {
            let (bytes, length) = (buffer.as_mut_ptr(), length(buffer));
            // SAFETY: the buffer is borrowed until the operation has ended, and nobody else looks at it.
            unsafe { ReadFile(pipe, bytes, length, null_mut(), overlapped) }
        });
        match read {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(0),
            Err(error) if error.kind() == ErrorKind::TimedOut && patience.is_zero() => {
                Err(ErrorKind::WouldBlock.into())
            }
            read => read,
        }
    }

    /// Returns when the pipe has taken all of them, after those that were written without blocking.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        if self.patience().is_zero() {
            return self.write_what_goes(bytes);
        }
        let writer = self.0.writer.lock().unwrap().take();
        if let Some(Writer { waits, thread }) = writer {
            drop(waits);
            let _ = thread.join();
        }
        self.write_now(bytes)
    }

    fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        self.run(self.0.patience, |pipe, overlapped| {
            // SAFETY: the bytes are borrowed until the operation has ended.
            unsafe { WriteFile(pipe, bytes.as_ptr(), length(bytes), null_mut(), overlapped) }
        })
    }

    fn write_what_goes(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut writer = self.0.writer.lock().unwrap();
        let Writer { waits, .. } = writer.get_or_insert_with(|| {
            let (waits, given) = sync_channel::<Vec<u8>>(1);
            let pipe = Arc::downgrade(&self.0);
            let thread = std::thread::spawn(move || {
                for bytes in given {
                    let written = pipe.upgrade().map(|end| Self(end).write_now(&bytes));
                    if !matches!(written, Some(Ok(_))) {
                        return;
                    }
                }
            });
            Writer { waits, thread }
        });
        match waits.try_send(bytes.to_vec()) {
            Ok(()) => Ok(bytes.len()),
            Err(TrySendError::Full(_)) => Err(ErrorKind::WouldBlock.into()),
            Err(TrySendError::Disconnected(_)) => Err(ErrorKind::BrokenPipe.into()),
        }
    }

    pub fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        let mut left = bytes;
        while !left.is_empty() {
            left = &left[self.write(left)?..];
        }
        Ok(())
    }

    /// Runs one operation to its end: nothing of it is under way when this returns.
    fn run(
        &self,
        patience: Duration,
        start: impl FnOnce(HANDLE, *mut OVERLAPPED) -> i32,
    ) -> io::Result<usize> {
        let (pipe, done) = (self.0.file.as_raw_handle(), event());
        // SAFETY: numbers and a pointer, which may all be zero.
        let mut overlapped: OVERLAPPED = unsafe { std::mem::zeroed() };
        overlapped.hEvent = done.as_raw_handle();
        let mut waited = WAIT_OBJECT_0;
        if start(pipe, &raw mut overlapped) == 0 {
            let error = io::Error::last_os_error();
            if !is(&error, ERROR_IO_PENDING) {
                return Err(error);
            }
            let events = [done.as_raw_handle(), self.0.over.as_raw_handle()];
            let patience = u32::try_from(patience.as_millis()).unwrap();
            // SAFETY: two open events.
            waited = unsafe { WaitForMultipleObjects(2, events.as_ptr(), 0, patience) };
            if waited != WAIT_OBJECT_0 {
                // SAFETY: the operation is this one, and its memory is here until it has ended, which is waited for below.
                unsafe { CancelIoEx(pipe, &raw const overlapped) };
            }
        }
        let mut count = 0;
        // SAFETY: as above; it returns when the operation has ended.
        if unsafe { GetOverlappedResult(pipe, &raw const overlapped, &raw mut count, 1) } != 0 {
            return Ok(count as usize);
        }
        let error = io::Error::last_os_error();
        match waited {
            _ if !is(&error, ERROR_OPERATION_ABORTED) => Err(error),
            WAIT_TIMEOUT => Err(ErrorKind::TimedOut.into()),
            _ => Err(ErrorKind::BrokenPipe.into()),
        }
    }
}

fn is(error: &io::Error, code: u32) -> bool {
    error.raw_os_error().map(i32::cast_unsigned) == Some(code)
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}
