//! Security descriptors of Windows: owner, access list and label of a file, a folder or a pipe, and their text.
//!
//! Owns the memory that the system gives out for them, and the calls that make and ask them. It refuses to judge what they say:
//! [`access`](super::access) does, and the pipes of `transport` know whom they admit. Those two call it.
#![allow(
    unsafe_code,
    reason = "security descriptors have no safe interface; each use is proven"
)]

use std::io;
use std::os::windows::io::{AsRawHandle, BorrowedHandle};
use std::ptr::null_mut;
use windows_sys::Win32::Foundation::LocalFree;
use windows_sys::Win32::Security::Authorization::{
    ConvertSecurityDescriptorToStringSecurityDescriptorW,
    ConvertStringSecurityDescriptorToSecurityDescriptorW, GetSecurityInfo, SDDL_REVISION_1, SE_OBJECT_TYPE,
};
use windows_sys::Win32::Security::{
    DACL_SECURITY_INFORMATION, LABEL_SECURITY_INFORMATION, OBJECT_SECURITY_INFORMATION,
    OWNER_SECURITY_INFORMATION, PSECURITY_DESCRIPTOR, SECURITY_ATTRIBUTES,
};

/// The parts that are made, asked and told: owner and access list.
const ABOUT: OBJECT_SECURITY_INFORMATION = OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION;

/// Memory that the system allocated and that `LocalFree` gives back.
struct Local(*mut core::ffi::c_void);

impl Drop for Local {
    fn drop(&mut self) {
        // SAFETY: every `Local` holds what a call below allocated this way, once, or null, which is allowed.
        unsafe { LocalFree(self.0) };
    }
}

/// Who owns something, and who may do what with it; or what its label says. With the parts that it has.
pub(crate) struct Descriptor(Local, OBJECT_SECURITY_INFORMATION);

impl Descriptor {
    /// What a text says, in the language of security descriptors.
    ///
    /// # Errors
    /// It is none.
    pub(crate) fn of_text(text: &str) -> io::Result<Self> {
        let text: Vec<u16> = text.encode_utf16().chain([0]).collect();
        let mut descriptor: PSECURITY_DESCRIPTOR = null_mut();
        // SAFETY: `text` is a UTF-16 string that ends with zero; `descriptor` is a valid place; the length is not asked.
        let made = unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                text.as_ptr(),
                SDDL_REVISION_1,
                &raw mut descriptor,
                null_mut(),
            )
        };
        let descriptor = Self(Local(descriptor), ABOUT);
        if made == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(descriptor)
    }

    /// Owner and list of what a handle is open for, which is of this kind.
    ///
    /// # Errors
    /// The system's; the handle must allow that they are read.
    pub(crate) fn of_object(handle: BorrowedHandle<'_>, kind: SE_OBJECT_TYPE) -> io::Result<Self> {
        Self::asked(handle, kind, ABOUT)
    }

    /// The label alone of what a handle is open for, which is of this kind: how much the process is trusted that has made it.
    ///
    /// # Errors
    /// The system's; the handle must allow that it is read.
    pub(crate) fn label_of_object(handle: BorrowedHandle<'_>, kind: SE_OBJECT_TYPE) -> io::Result<Self> {
        Self::asked(handle, kind, LABEL_SECURITY_INFORMATION)
    }

    fn asked(
        handle: BorrowedHandle<'_>,
        kind: SE_OBJECT_TYPE,
        about: OBJECT_SECURITY_INFORMATION,
    ) -> io::Result<Self> {
        let mut descriptor: PSECURITY_DESCRIPTOR = null_mut();
        // SAFETY: the handle is open while it is borrowed; null stands for the parts that are not asked on their own.
        let status = unsafe {
            GetSecurityInfo(
                handle.as_raw_handle(),
                kind,
                about,
                null_mut(),
                null_mut(),
                null_mut(),
                null_mut(),
                &raw mut descriptor,
            )
        };
        let descriptor = Self(Local(descriptor), about);
        if status != 0 {
            return Err(io::Error::from_raw_os_error(status as i32));
        }
        Ok(descriptor)
    }

    /// The system's way to it, for as long as this lives.
    pub(crate) fn as_ptr(&self) -> PSECURITY_DESCRIPTOR {
        self.0.0
    }

    /// For what is made with it, for as long as this lives. Children do not inherit the handle.
    pub(crate) fn attributes(&self) -> SECURITY_ATTRIBUTES {
        SECURITY_ATTRIBUTES {
            nLength: size_of::<SECURITY_ATTRIBUTES>() as u32,
            lpSecurityDescriptor: self.as_ptr(),
            bInheritHandle: 0,
        }
    }

    /// Its parts as text: some accounts have names of two letters there.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn text(&self) -> io::Result<String> {
        let (mut text, mut len) = (null_mut(), 0);
        // SAFETY: the descriptor came from the system and lives as long as this; the two places are valid.
        let made = unsafe {
            ConvertSecurityDescriptorToStringSecurityDescriptorW(
                self.as_ptr(),
                SDDL_REVISION_1,
                self.1,
                &raw mut text,
                &raw mut len,
            )
        };
        if made == 0 {
            return Err(io::Error::last_os_error());
        }
        let _text = Local(text.cast());
        // SAFETY: the call succeeded, so `text` has `len` units of UTF-16, and lives until the end of this function.
        let units = unsafe { std::slice::from_raw_parts(text, len as usize) };
        Ok(String::from_utf16_lossy(units).trim_end_matches('\0').to_owned())
    }
}
