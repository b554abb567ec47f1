//! Memory as a section of the page file (Windows).
//!
//! Owns the calls, each with its proof. A section cannot become shorter, so its views are safe to have; nobody promises that it is not
//! written any more, so receivers copy. A handle may be made that can only read, so a registry can use its memory again. Holders are counted
//! as handles.
#![allow(unsafe_code, reason = "sections have no safe interface; each use is proven")]

use super::{Descriptor, Examined, RawDescriptor};
use crate::bus::memory::MapError;
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use windows_sys::Wdk::Foundation::{NtQueryObject, ObjectBasicInformation};
use windows_sys::Win32::Foundation::{DuplicateHandle, INVALID_HANDLE_VALUE};
use windows_sys::Win32::System::Memory::{
    CreateFileMappingW, FILE_MAP_READ, FILE_MAP_WRITE, MEMORY_BASIC_INFORMATION, MEMORY_MAPPED_VIEW_ADDRESS,
    MapViewOfFile, PAGE_READWRITE, SECTION_MAP_READ, SECTION_QUERY, UnmapViewOfFile, VirtualQuery,
};
use windows_sys::Win32::System::Threading::GetCurrentProcess;
use windows_sys::Win32::System::WindowsProgramming::PUBLIC_OBJECT_BASIC_INFORMATION;

/// Takes over a handle that somebody else got.
///
/// # Safety
/// It is open and has no other owner.
pub(in crate::bus::memory) unsafe fn adopt(raw: RawDescriptor) -> Descriptor {
    // SAFETY: as the caller promises.
    unsafe { OwnedHandle::from_raw_handle(raw) }
}

/// Zeros, reachable by this process only. A section has at least one byte.
pub(in crate::bus::memory) fn create(size: usize) -> io::Result<Descriptor> {
    let size = size.max(1) as u64;
    let low = u32::try_from(size & u64::from(u32::MAX)).unwrap_or_default();
    let high = u32::try_from(size >> 32).unwrap_or_default();
    // SAFETY: no attributes and no name are given, and the page file stands behind it; nothing is read from this process.
    let handle = unsafe {
        CreateFileMappingW(
            INVALID_HANDLE_VALUE,
            ptr::null(),
            PAGE_READWRITE,
            high,
            low,
            ptr::null(),
        )
    };
    if handle.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just made this handle for this process; nobody else owns it.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

/// A section of the page file has its memory promised.
pub(in crate::bus::memory) const fn reserve(_: &Descriptor, _: usize) -> io::Result<()> {
    Ok(())
}

/// Maps the first `size` bytes, more than none, at a page.
pub(in crate::bus::memory) fn map(
    memory: &Descriptor,
    size: usize,
    writable: bool,
) -> io::Result<NonNull<u8>> {
    let access = if writable {
        FILE_MAP_READ | FILE_MAP_WRITE
    } else {
        FILE_MAP_READ
    };
    // SAFETY: a new view at an address of the system's choice overlaps nothing that this process uses.
    let view = unsafe { MapViewOfFile(memory.as_raw_handle(), access, 0, 0, size) };
    NonNull::new(view.Value.cast()).ok_or_else(io::Error::last_os_error)
}

/// Takes a view away.
///
/// # Safety
/// [`map`] has made it, nobody refers into it, and nobody unmaps it again.
pub(in crate::bus::memory) unsafe fn unmap(start: NonNull<u8>, _size: usize) {
    let view = MEMORY_MAPPED_VIEW_ADDRESS {
        Value: start.as_ptr().cast(),
    };
    // SAFETY: the beginning of a view of `map`, without references into it, as the caller promises.
    let _ = unsafe { UnmapViewOfFile(view) };
}

/// A view for the time of one copy.
struct View(NonNull<u8>, usize);

impl View {
    /// All of the section.
    fn whole(memory: &Descriptor, writable: bool) -> io::Result<Self> {
        // A size of zero is the whole section.
        let start = map(memory, 0, writable)?;
        let mut about = MEMORY_BASIC_INFORMATION::default();
        // SAFETY: `about` has room for what is written, of the size that is given; the address is only looked up.
        let written = unsafe {
            VirtualQuery(
                start.as_ptr().cast(),
                &raw mut about,
                size_of::<MEMORY_BASIC_INFORMATION>(),
            )
        };
        let view = Self(start, about.RegionSize);
        if written == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(view)
    }

    /// How many of `length` bytes from `offset` on there are, and where they begin.
    fn place(&self, offset: usize, length: usize) -> (*mut u8, usize) {
        let offset = offset.min(self.1);
        // SAFETY: at most one past the end of the view, which has `self.1` bytes.
        let start = unsafe { self.0.as_ptr().add(offset) };
        (start, self.1.saturating_sub(offset).min(length))
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // SAFETY: `whole` has mapped it; copies have ended, and no reference into it was ever made.
        unsafe { unmap(self.0, self.1) };
    }
}

/// Nothing can be promised; receivers copy.
pub(in crate::bus::memory) const fn freeze(_: &Descriptor) -> io::Result<()> {
    Ok(())
}

/// The length of a section stays in any case.
pub(in crate::bus::memory) const fn fix_length(_: &Descriptor) -> io::Result<()> {
    Ok(())
}

/// Other handles are made such that they can only read.
pub(in crate::bus::memory) const fn keep_for_writer(_: &Descriptor) -> io::Result<()> {
    Ok(())
}

/// Handles that can only read, and their count, exist everywhere.
pub(in crate::bus::memory) const fn can_use_again() -> bool {
    true
}

/// What the system says about memory of somebody else. Its length is told in full pages.
pub(in crate::bus::memory) fn examine(descriptor: Arc<Descriptor>) -> Result<Examined, MapError> {
    let Ok(view) = View::whole(&descriptor, false) else {
        return Err(MapError::NotMemory("it is no section that can be read"));
    };
    Ok(Examined {
        length: view.1 as u64,
        immutable: false,
        descriptor,
    })
}

/// Another handle, which counts on its own.
pub(in crate::bus::memory) fn reopen(memory: &Descriptor, writable: bool) -> io::Result<Descriptor> {
    if writable {
        return memory.try_clone();
    }
    let mut other = ptr::null_mut();
    // SAFETY: both processes are this one, whose pseudo handle needs no closing; the handle is open, for it is borrowed; `other` has
    // room for what is written.
    let made = unsafe {
        let here = GetCurrentProcess();
        let access = SECTION_MAP_READ | SECTION_QUERY;
        DuplicateHandle(here, memory.as_raw_handle(), here, &raw mut other, access, 0, 0)
    };
    if made == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just made this handle for this process; nobody else owns it.
    Ok(unsafe { OwnedHandle::from_raw_handle(other) })
}

/// Every handle counts.
pub(in crate::bus::memory) const fn hold(_: &Descriptor) -> io::Result<()> {
    Ok(())
}

/// How many other handles there are, in all processes.
pub(in crate::bus::memory) fn others(memory: &Descriptor) -> io::Result<u32> {
    let mut about = PUBLIC_OBJECT_BASIC_INFORMATION::default();
    let size = u32::try_from(size_of::<PUBLIC_OBJECT_BASIC_INFORMATION>()).unwrap_or_default();
    // SAFETY: the handle is open, for it is borrowed; `about` has room for what is written, of the size that is given; the returned length
    // is not asked for.
    let status = unsafe {
        let about = (&raw mut about).cast();
        NtQueryObject(
            memory.as_raw_handle(),
            ObjectBasicInformation,
            about,
            size,
            ptr::null_mut(),
        )
    };
    if status < 0 {
        return Err(io::Error::other(format!(
            "the system does not tell the handles: {status:#x}"
        )));
    }
    Ok(about.HandleCount.saturating_sub(1))
}

/// Copies out what is there; less than asked for where the memory ends.
pub(in crate::bus::memory) fn read_at(
    memory: &Descriptor,
    offset: usize,
    into: &mut [u8],
) -> io::Result<usize> {
    let view = View::whole(memory, false)?;
    let (from, length) = view.place(offset, into.len());
    // SAFETY: `length` bytes from `from` on are in the view, and at most as many as `into` has, which is private memory. Who writes
    // meanwhile makes the copy a mixture of bytes, each of them some byte; no reference to them is made.
    unsafe { ptr::copy_nonoverlapping(from.cast_const(), into.as_mut_ptr(), length) };
    Ok(length)
}

/// Copies in. The caller has checked that it fits.
pub(in crate::bus::memory) fn write_at(
    memory: &Descriptor,
    offset: usize,
    bytes: &[u8],
) -> io::Result<usize> {
    let view = View::whole(memory, true)?;
    let (into, length) = view.place(offset, bytes.len());
    // SAFETY: as for `read_at`, in the other direction; the view may be written.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), into, length) };
    Ok(length)
}
