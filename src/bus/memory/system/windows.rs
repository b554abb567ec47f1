//! Memory as a section of the page file (Windows).
//!
//! Owns the calls, each with its proof. A section of the page file that is committed as a whole cannot become shorter or lose a page, so its
//! views are safe to have; of somebody else's no other kind is looked at. Nobody promises that it is not written any more, so receivers
//! copy. Handles may be made that can only read, and an access list keeps their holders from making others of them, so a registry can use
//! its memory again. Holders are counted as handles.
#![allow(unsafe_code, reason = "sections have no safe interface; each use is proven")]

use super::{Descriptor, Examined, RawDescriptor};
use crate::bus::memory::MapError;
use crate::platform::security;
use std::ffi::c_void;
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use windows_sys::Wdk::Foundation::{NtQueryObject, ObjectBasicInformation};
use windows_sys::Win32::Foundation::{
    DuplicateHandle, ERROR_ALREADY_EXISTS, HANDLE, INVALID_HANDLE_VALUE, NTSTATUS,
};
use windows_sys::Win32::System::Memory::{
    CreateFileMappingW, FILE_MAP_READ, FILE_MAP_WRITE, MEM_COMMIT, MEM_MAPPED, MEMORY_BASIC_INFORMATION,
    MEMORY_MAPPED_VIEW_ADDRESS, MapViewOfFile, PAGE_READWRITE, SEC_COMMIT, SEC_FILE, SEC_IMAGE, SEC_RESERVE,
    SECTION_MAP_READ, SECTION_QUERY, UnmapViewOfFile, VirtualQuery,
};
use windows_sys::Win32::System::Threading::GetCurrentProcess;
use windows_sys::Win32::System::WindowsProgramming::PUBLIC_OBJECT_BASIC_INFORMATION;

#[cfg_attr(
    target_arch = "x86",
    link(
        name = "ntdll.dll",
        kind = "raw-dylib",
        modifiers = "+verbatim",
        import_name_type = "undecorated"
    )
)]
#[cfg_attr(
    not(target_arch = "x86"),
    link(name = "ntdll.dll", kind = "raw-dylib", modifiers = "+verbatim")
)]
unsafe extern "system" {
    // The only call that tells what stands behind a section; windows-sys does not have it.
    fn NtQuerySection(
        section: HANDLE,
        class: i32,
        about: *mut c_void,
        length: usize,
        written: *mut usize,
    ) -> NTSTATUS;
}

/// `SectionBasicInformation`.
const SECTION_BASIC: i32 = 0;

/// `SECTION_BASIC_INFORMATION`: where it is mapped if at a fixed place, what stands behind it, its bytes.
#[repr(C)]
#[derive(Default)]
struct SectionBasic {
    base: usize,
    attributes: u32,
    size: i64,
}

/// Nothing for anybody but its maker, who has its handle already: not even the owner may change this list.
const NOBODY: &str = "D:P(A;;RC;;;S-1-3-4)";

/// Takes over a handle that somebody else got.
///
/// # Safety
/// It is open and has no other owner.
pub(in crate::bus::memory) unsafe fn adopt(raw: RawDescriptor) -> Descriptor {
    // SAFETY: as the caller promises.
    unsafe { OwnedHandle::from_raw_handle(raw) }
}

/// Zeros, reachable by this process only. A section has at least one byte. It has a name, which nobody guesses, because only what has one
/// has an access list: who is given a handle that can only read could make one of it that can write.
pub(in crate::bus::memory) fn create(size: usize) -> io::Result<Descriptor> {
    let size = size.max(1) as u64;
    let low = u32::try_from(size & u64::from(u32::MAX)).unwrap_or_default();
    let high = u32::try_from(size >> 32).unwrap_or_default();
    let random = || getrandom::u64().map_err(|error| io::Error::other(error.to_string()));
    let name = format!(r"Local\actix-ipc-{:016x}{:016x}", random()?, random()?);
    let name: Vec<u16> = name.encode_utf16().chain([0]).collect();
    let security = security::Descriptor::of_text(NOBODY)?;
    let attributes = security.attributes();
    // SAFETY: the attributes point to a descriptor that lives until the end of this function, the name ends with zero, and the system
    // copies all of it; the page file stands behind the section.
    let handle = unsafe {
        CreateFileMappingW(
            INVALID_HANDLE_VALUE,
            &raw const attributes,
            PAGE_READWRITE,
            high,
            low,
            name.as_ptr(),
        )
    };
    let said = io::Error::last_os_error();
    if handle.is_null() {
        return Err(said);
    }
    // SAFETY: the call has just made this handle for this process; nobody else owns it.
    let made = unsafe { OwnedHandle::from_raw_handle(handle) };
    match said.raw_os_error() == Some(ERROR_ALREADY_EXISTS as i32) {
        // Somebody else's memory.
        true => Err(said),
        false => Ok(made),
    }
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

/// A view for the time of one copy, and its bytes, all of which may be touched.
struct View(NonNull<u8>, usize);

impl View {
    /// All of the section: of this process's own, or of one that [`examine`] has found to be committed memory of the page file. Its pages
    /// stay then whatever anybody does, so touching them raises nothing.
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
        if about.State != MEM_COMMIT || about.Type != MEM_MAPPED {
            return Err(io::Error::other("the section has no memory yet"));
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

/// Other handles are made such that they can only read, and by [`NOBODY`] none that can write is made of them.
pub(in crate::bus::memory) const fn keep_for_writer(_: &Descriptor) -> io::Result<()> {
    Ok(())
}

/// Handles that can only read, and their count, exist everywhere.
pub(in crate::bus::memory) const fn can_use_again() -> bool {
    true
}

/// How many bytes of committed memory a section of the page file has; `None` for what is anything else. Pages that are only reserved, of a
/// file that cannot be read any more, or of a program are no memory that may be touched: the process would end.
fn committed(section: &Descriptor) -> Option<u64> {
    let mut about = SectionBasic::default();
    // SAFETY: the handle is open, for it is borrowed; `about` has room for what is written, of the size that is given; how much was written
    // is not asked for.
    let status = unsafe {
        NtQuerySection(
            section.as_raw_handle(),
            SECTION_BASIC,
            (&raw mut about).cast(),
            size_of::<SectionBasic>(),
            ptr::null_mut(),
        )
    };
    let plain = about.attributes & (SEC_COMMIT | SEC_RESERVE | SEC_FILE | SEC_IMAGE) == SEC_COMMIT;
    (status >= 0 && plain)
        .then(|| u64::try_from(about.size).ok())
        .flatten()
}

/// What the system says about memory of somebody else. Its length is told in full pages.
pub(in crate::bus::memory) fn examine(descriptor: Arc<Descriptor>) -> Result<Examined, MapError> {
    let Some(size) = committed(&descriptor) else {
        let what = "it is no section that may be asked about, or not committed memory of the page file";
        return Err(MapError::NotMemory(what));
    };
    let Ok(view) = View::whole(&descriptor, false) else {
        return Err(MapError::NotMemory("it is no section that can be read"));
    };
    Ok(Examined {
        length: size.min(view.1 as u64),
        immutable: false,
        descriptor,
    })
}

/// Another handle, which counts on its own.
pub(in crate::bus::memory) fn reopen(memory: &Descriptor, writable: bool) -> io::Result<Descriptor> {
    match writable {
        true => memory.try_clone(),
        false => duplicate(memory, SECTION_MAP_READ | SECTION_QUERY),
    }
}

/// Another handle with this access, if whoever has this one may have it.
fn duplicate(memory: &Descriptor, access: u32) -> io::Result<Descriptor> {
    let mut other = ptr::null_mut();
    // SAFETY: both processes are this one, whose pseudo handle needs no closing; the handle is open, for it is borrowed; `other` has
    // room for what is written.
    let made = unsafe {
        let here = GetCurrentProcess();
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
    // SAFETY: `length` bytes from `from` on are in the view, whose pages are there and stay, as `View::whole` says, and at most as many as
    // `into` has, which is private memory. Who writes meanwhile makes the copy a mixture of bytes, each of them some byte; no reference to
    // them is made.
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

#[cfg(test)]
mod tests {
    use super::*;
    use windows_sys::Win32::System::Memory::SECTION_MAP_WRITE;

    /// A section as any program can make one: of a file or of the page file.
    fn section(file: Option<&std::fs::File>, protection: u32) -> Arc<Descriptor> {
        let behind = file.map_or(INVALID_HANDLE_VALUE, |file| file.as_raw_handle());
        // SAFETY: the file is open, or the page file stands behind it; no attributes and no name are given.
        let made = unsafe { CreateFileMappingW(behind, ptr::null(), protection, 0, 1 << 20, ptr::null()) };
        assert!(!made.is_null(), "{}", io::Error::last_os_error());
        // SAFETY: the call has just made this handle for this process; nobody else owns it.
        Arc::new(unsafe { OwnedHandle::from_raw_handle(made) })
    }

    #[test]
    fn only_committed_memory_of_the_page_file_is_memory() {
        let plain = examine(section(None, PAGE_READWRITE)).unwrap();
        assert_eq!(plain.length(), 1 << 20);
        let file = tempfile::tempfile().unwrap();
        for (what, section) in [
            ("reserved", section(None, PAGE_READWRITE | SEC_RESERVE)),
            ("of a file", section(Some(&file), PAGE_READWRITE)),
        ] {
            let refused = examine(section.clone());
            assert!(matches!(refused, Err(MapError::NotMemory(_))), "{what}");
        }
        let reserved = section(None, PAGE_READWRITE | SEC_RESERVE);
        assert!(read_at(&reserved, 0, &mut [0]).is_err(), "nor is it touched");
        assert!(write_at(&reserved, 0, &[0]).is_err(), "nor is it touched");
    }

    #[test]
    fn who_may_not_ask_what_it_is_has_no_memory() {
        let mute = duplicate(&section(None, PAGE_READWRITE), SECTION_MAP_READ).unwrap();
        assert!(View::whole(&mute, false).is_ok(), "though it can be mapped");
        assert!(matches!(examine(Arc::new(mute)), Err(MapError::NotMemory(_))));
    }

    /// What a registry writes again and again nobody else may write.
    #[test]
    fn a_handle_that_reads_makes_none_that_writes() {
        let memory = create(4096).unwrap();
        let lent = reopen(&memory, false).unwrap();
        assert!(View::whole(&lent, false).is_ok() && View::whole(&lent, true).is_err());
        let error = duplicate(&lent, SECTION_MAP_WRITE).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
    }
}
