//! The raw Windows calls that named pipes need: who a process and a pipe belong to, and instances with an access list.
//!
//! Owns every `unsafe` of this transport, each with its proof. Nothing here keeps a pointer longer than a call.
#![allow(
    unsafe_code,
    reason = "security attributes and identities have no safe interface; each use is proven"
)]

use crate::platform::process_handle::ProcessHandle;
pub(super) use crate::platform::process_handle::now;
use crate::platform::security::Descriptor;
use crate::transport::WindowsUser;
use std::ffi::c_void;
use std::io;
use std::os::windows::io::{AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::ptr::{null, null_mut};
use std::sync::OnceLock;
use std::time::Duration;
use tokio::net::windows::named_pipe::{NamedPipeServer, ServerOptions};
use windows_sys::Wdk::Storage::FileSystem::{
    FILE_PIPE_CONNECTED_STATE, FILE_PIPE_LOCAL_INFORMATION, FilePipeLocalInformation, NtQueryInformationFile,
};
use windows_sys::Win32::Foundation::{
    ERROR_BROKEN_PIPE, ERROR_PIPE_NOT_CONNECTED, ERROR_SEM_TIMEOUT, HANDLE, STILL_ACTIVE,
};
use windows_sys::Win32::Security::Authentication::Identity::{
    LSA_HANDLE, LSA_OBJECT_ATTRIBUTES, LsaClose, LsaFreeMemory, LsaOpenPolicy, LsaQueryInformationPolicy,
    POLICY_ACCOUNT_DOMAIN_INFO, POLICY_VIEW_LOCAL_INFORMATION, PolicyAccountDomainInformation,
};
use windows_sys::Win32::Security::Authorization::SE_KERNEL_OBJECT;
use windows_sys::Win32::Security::{
    GetLengthSid, GetSecurityDescriptorOwner, GetTokenInformation, PSID, SID_AND_ATTRIBUTES,
    TOKEN_INFORMATION_CLASS, TOKEN_QUERY, TokenIntegrityLevel, TokenUser,
};
use windows_sys::Win32::System::IO::{CancelIoEx, IO_STATUS_BLOCK};
use windows_sys::Win32::System::Pipes::{
    GetNamedPipeClientProcessId, GetNamedPipeServerProcessId, PeekNamedPipe, WaitNamedPipeW,
};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, GetExitCodeProcess, OpenProcessToken, PROCESS_DUP_HANDLE,
    PROCESS_QUERY_LIMITED_INFORMATION,
};

/// How much the system trusts a process: the last part of its label's SID.
const MEDIUM: u32 = 0x2000;
const LOW: u32 = 0x1000;

/// Bytes that wait in one direction of a pipe.
const BUFFER_LEN: u32 = 256 * 1024;

/// A user's or group's security identifier: revision, number of parts, authority (6 bytes), parts (4 bytes each).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::transport) struct Sid(Vec<u8>);

impl Sid {
    /// 0 for SYSTEM, the last part (RID) for everyone else; never 0 for anyone else, whose last part may be (`S-1-1-0`: everyone).
    pub(super) fn number(&self) -> u32 {
        if self.to_string() == "S-1-5-18" {
            return 0;
        }
        self.parts().last().filter(|part| *part != 0).unwrap_or(u32::MAX)
    }

    /// The number, unless it is also that of this process's user while the identities differ: users of two domains may have equal last
    /// parts, and then only the whole identity counts.
    pub(in crate::transport) fn known_number(&self) -> Option<u32> {
        let ours = current_user().ok()?;
        (ours == *self || ours.number() != self.number()).then(|| self.number())
    }

    /// Whether no other user that may come here has this number: this process's user, SYSTEM, and whoever has an account of this machine
    /// alone. Of users of other domains, of services and of virtual accounts the last parts say nothing.
    fn has_number(&self) -> bool {
        self.number() == 0
            || current_user().is_ok_and(|ours| ours == *self)
            || domain().is_some_and(|domain| self.known_number().is_some() && self.is_of(domain))
    }

    /// Whether it is the domain's, and one part more: a user or group in it.
    fn is_of(&self, domain: &Self) -> bool {
        let ([_, count, rest @ ..], [_, of_domain, beginning @ ..]) =
            (self.0.as_slice(), domain.0.as_slice())
        else {
            return false;
        };
        *count == of_domain.saturating_add(1) && rest.starts_with(beginning)
    }

    fn parts(&self) -> impl Iterator<Item = u32> {
        let parts = self.0.get(8..).unwrap_or_default().chunks_exact(4);
        parts.filter_map(|part| part.try_into().ok().map(u32::from_le_bytes))
    }
}

/// As in access lists: `S-1-5-21-…-1001`.
impl std::fmt::Display for Sid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let authority = self.0.get(2..8).unwrap_or_default();
        let authority = authority
            .iter()
            .fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
        write!(f, "S-{}-{authority}", self.0.first().copied().unwrap_or(1))?;
        self.parts().try_for_each(|part| write!(f, "-{part}"))
    }
}

impl From<Sid> for WindowsUser {
    fn from(sid: Sid) -> Self {
        Self {
            has_number: sid.has_number(),
            sid: sid.to_string().into(),
        }
    }
}

/// The domain of the accounts of this machine itself; asked once.
fn domain() -> Option<&'static Sid> {
    static DOMAIN: OnceLock<Option<Sid>> = OnceLock::new();
    DOMAIN.get_or_init(ask_domain).as_ref()
}

fn ask_domain() -> Option<Sid> {
    let attributes = LSA_OBJECT_ATTRIBUTES {
        Length: size_of::<LSA_OBJECT_ATTRIBUTES>() as u32,
        ..LSA_OBJECT_ATTRIBUTES::default()
    };
    let mut policy: LSA_HANDLE = 0;
    // SAFETY: no name stands for this machine; the attributes are all zero but for their length, as the call wants them; `policy` is a valid
    // place.
    let opened = unsafe {
        LsaOpenPolicy(
            null(),
            &raw const attributes,
            POLICY_VIEW_LOCAL_INFORMATION as u32,
            &raw mut policy,
        )
    };
    if opened != 0 {
        return None;
    }
    let mut about: *mut c_void = null_mut();
    // SAFETY: the call above succeeded, so the policy is open; `about` is a valid place.
    let asked = unsafe { LsaQueryInformationPolicy(policy, PolicyAccountDomainInformation, &raw mut about) };
    let domain = about.cast::<POLICY_ACCOUNT_DOMAIN_INFO>();
    // SAFETY: where the call succeeded, `about` is such a value that the system has made, with a valid SID behind it or none; it is read before it
    // is given back, once. The policy is closed once, by who has opened it.
    unsafe {
        let sid = (asked == 0 && !domain.is_null() && !(*domain).DomainSid.is_null())
            .then(|| copy_sid((*domain).DomainSid));
        if asked == 0 {
            LsaFreeMemory(about);
        }
        LsaClose(policy);
        sid
    }
}

fn checked(result: i32) -> io::Result<()> {
    if result == 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}

/// # Safety
/// `sid` points to a valid SID that outlives the call.
unsafe fn copy_sid(sid: PSID) -> Sid {
    // SAFETY: the caller gives a valid SID; its length, which the system computes from it, lies within it, and the
    // bytes of a SID are initialised. The slice is copied before the call ends.
    let bytes = unsafe {
        let len = GetLengthSid(sid) as usize;
        std::slice::from_raw_parts(sid.cast::<u8>(), len)
    };
    Sid(bytes.to_vec())
}

/// The user that this process runs as.
pub(super) fn current_user() -> io::Result<Sid> {
    // SAFETY: the call has no conditions; what it returns is a constant that is always valid and never closed.
    token_user(unsafe { GetCurrentProcess() })
}

/// A process that was there when it was opened. As long as this is held, its number is nobody else's.
#[derive(Debug)]
pub(in crate::transport) struct Process(ProcessHandle);

impl Process {
    pub(in crate::transport) fn open(pid: u32) -> io::Result<Self> {
        ProcessHandle::open(PROCESS_QUERY_LIMITED_INFORMATION, pid).map(Self)
    }

    /// Such that handles can be duplicated from it and into it; it can be asked who it is, and nothing else.
    pub(super) fn open_to_duplicate(pid: u32) -> io::Result<Self> {
        ProcessHandle::open(PROCESS_DUP_HANDLE | PROCESS_QUERY_LIMITED_INFORMATION, pid).map(Self)
    }

    #[cfg(test)]
    pub(super) fn into_handle(self) -> OwnedHandle {
        self.0.into_handle()
    }

    /// Open as long as this is borrowed.
    pub(super) fn as_raw(&self) -> HANDLE {
        self.0.as_raw_handle()
    }

    /// Whether it has ended, or is ending: then nothing can be given to it any more.
    pub(super) fn has_ended(&self) -> bool {
        let mut code = 0;
        // SAFETY: the handle is open while `self` is borrowed; the place is valid.
        let told = unsafe { GetExitCodeProcess(self.0.as_raw_handle(), &raw mut code) } != 0;
        told && code != STILL_ACTIVE.cast_unsigned()
    }

    /// The user that it runs as.
    pub(in crate::transport) fn user(&self) -> io::Result<Sid> {
        token_user(self.0.as_raw_handle())
    }

    /// When it began, in units of 100 ns since the year 1601.
    pub(in crate::transport) fn began(&self) -> io::Result<u64> {
        self.0.times().map(|(began, _)| began)
    }
}

fn token_user(process: HANDLE) -> io::Result<Sid> {
    token_sid(process, TokenUser)
}

/// `class` is one whose answer is a SID with attributes: the user, or the label.
fn token_sid(process: HANDLE, class: TOKEN_INFORMATION_CLASS) -> io::Result<Sid> {
    let mut token: HANDLE = null_mut();
    // SAFETY: every caller passes a process handle that stays open during the call; `token` is a valid place.
    checked(unsafe { OpenProcessToken(process, TOKEN_QUERY, &raw mut token) })?;
    // SAFETY: the call succeeded, so `token` is a new handle that nobody else closes.
    let token = unsafe { OwnedHandle::from_raw_handle(token) };
    // Room for SID_AND_ATTRIBUTES and the longest SID (68 bytes) behind it, aligned for both.
    let mut buffer = [0_u64; 32];
    let mut len = 0;
    let room = size_of_val(&buffer) as u32;
    // SAFETY: the token is open; the buffer is writable for the `room` bytes that are announced.
    checked(unsafe {
        GetTokenInformation(
            token.as_raw_handle(),
            class,
            buffer.as_mut_ptr().cast(),
            room,
            &raw mut len,
        )
    })?;
    // SAFETY: the call succeeded for TokenUser or TokenIntegrityLevel, so the buffer begins with a TOKEN_USER or a TOKEN_MANDATORY_LABEL: both
    // are one SID_AND_ATTRIBUTES (its alignment is at most that of u64) whose SID lies in the same buffer, which lives until the copy is made.
    Ok(unsafe { copy_sid((*buffer.as_ptr().cast::<SID_AND_ATTRIBUTES>()).Sid) })
}

/// Refuses a pipe that a process has made which the system trusts less than programs usually are, unless it trusts this one as little: it may be of
/// this user, and still not speak for it.
///
/// # Errors
/// `PermissionDenied`, and the system's.
pub(super) fn check_label(pipe: BorrowedHandle<'_>) -> io::Result<()> {
    let label = level(&Descriptor::label_of_object(pipe, SE_KERNEL_OBJECT)?.text()?);
    if label >= MEDIUM {
        return Ok(());
    }
    // SAFETY: the call has no conditions; what it returns is a constant that is always valid and never closed.
    let ours = token_sid(unsafe { GetCurrentProcess() }, TokenIntegrityLevel)?;
    if ours.parts().last().is_some_and(|ours| label >= ours) {
        return Ok(());
    }
    let text = "the pipe was made by a process of low integrity, and this one has more to lose: it is no server to be trusted; end that process, or use another name";
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

/// The level of a label, as the system writes it: `S:(ML;;NW;;;LW)`. What has none is as trusted as programs usually are.
fn level(label: &str) -> u32 {
    let entries = label.split('(').skip(1).filter(|entry| entry.starts_with("ML;"));
    let account = entries
        .filter_map(|entry| entry.split(')').next()?.split(';').nth(5))
        .next();
    match account {
        None | Some("ME") => MEDIUM,
        Some("MP" | "HI" | "SI") => MEDIUM + 1,
        // What cannot be read is not trusted.
        Some(other) => other
            .strip_prefix("S-1-16-")
            .and_then(|level| level.parse().ok())
            .unwrap_or(if other == "LW" { LOW } else { 0 }),
    }
}

/// The owner of the pipe.
pub(super) fn owner(pipe: BorrowedHandle<'_>) -> io::Result<Sid> {
    let descriptor = Descriptor::of_object(pipe, SE_KERNEL_OBJECT)?;
    let (mut owner, mut by_default): (PSID, _) = (null_mut(), 0);
    // SAFETY: the descriptor lives until the end of this function; the two places are valid.
    checked(unsafe { GetSecurityDescriptorOwner(descriptor.as_ptr(), &raw mut owner, &raw mut by_default) })?;
    if owner.is_null() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the pipe has no owner"));
    }
    // SAFETY: the call succeeded and gave an owner: a SID inside the descriptor, which lives until the end of this
    // function.
    Ok(unsafe { copy_sid(owner) })
}

/// A new instance of the pipe at `path` that belongs to this user and admits this user and SYSTEM only. `first`
/// fails with `PermissionDenied` if the pipe exists.
pub(super) fn create_instance(path: &str, first: bool) -> io::Result<NamedPipeServer> {
    let user = current_user()?;
    // Owner; protected access list: everything for SYSTEM and for the user, nothing for anyone else.
    instance_with(path, first, &format!("O:{user}D:P(A;;GA;;;SY)(A;;GA;;;{user})"))
}

/// The same for whoever `security` says, in the language of security descriptors.
pub(super) fn instance_with(path: &str, first: bool, security: &str) -> io::Result<NamedPipeServer> {
    let descriptor = Descriptor::of_text(security)?;
    let mut attributes = descriptor.attributes();
    let mut options = ServerOptions::new();
    options.first_pipe_instance(first).reject_remote_clients(true);
    options.in_buffer_size(BUFFER_LEN).out_buffer_size(BUFFER_LEN);
    // SAFETY: `attributes` is a valid SECURITY_ATTRIBUTES whose descriptor lives until the end of this function; the
    // system copies both.
    unsafe { options.create_with_security_attributes_raw(path, (&raw mut attributes).cast()) }
}

/// The process at the connecting end of a pipe's server handle.
pub(super) fn client_pid(pipe: BorrowedHandle<'_>) -> Option<u32> {
    let mut pid = 0;
    // SAFETY: the handle is open while it is borrowed; `pid` is a valid place.
    (unsafe { GetNamedPipeClientProcessId(pipe.as_raw_handle(), &raw mut pid) } != 0).then_some(pid)
}

/// The process that made the instance of a pipe's client handle.
pub(super) fn server_pid(pipe: BorrowedHandle<'_>) -> Option<u32> {
    let mut pid = 0;
    // SAFETY: the handle is open while it is borrowed; `pid` is a valid place.
    (unsafe { GetNamedPipeServerProcessId(pipe.as_raw_handle(), &raw mut pid) } != 0).then_some(pid)
}

/// Whether the other end of the pipe is closed and all that it wrote was taken.
pub(super) fn is_broken(pipe: BorrowedHandle<'_>) -> bool {
    // SAFETY: the handle is open while it is borrowed; a null buffer of length 0 and null places ask for nothing.
    let asked = checked(unsafe {
        PeekNamedPipe(
            pipe.as_raw_handle(),
            null_mut(),
            0,
            null_mut(),
            null_mut(),
            null_mut(),
        )
    });
    let gone = |code: i32| [ERROR_BROKEN_PIPE, ERROR_PIPE_NOT_CONNECTED].contains(&(code as u32));
    asked.is_err_and(|error| error.raw_os_error().is_some_and(gone))
}

/// Whether the other end of the pipe is open, whatever lies unread; not, where the system does not say.
pub(super) fn is_connected(pipe: BorrowedHandle<'_>) -> bool {
    let mut about = FILE_PIPE_LOCAL_INFORMATION::default();
    let mut status = IO_STATUS_BLOCK::default();
    // SAFETY: the handle is open while it is borrowed; both places are valid, `about` for the length that is given.
    let asked = unsafe {
        NtQueryInformationFile(
            pipe.as_raw_handle(),
            &raw mut status,
            (&raw mut about).cast(),
            size_of::<FILE_PIPE_LOCAL_INFORMATION>() as u32,
            FilePipeLocalInformation,
        )
    };
    asked >= 0 && about.NamedPipeState == FILE_PIPE_CONNECTED_STATE
}

/// Ends what this process waits for in the pipe, by whatever handle: reading and writing. Whoever waits is told.
pub(super) fn cancel(pipe: BorrowedHandle<'_>) {
    // SAFETY: the handle is open while it is borrowed; null stands for all that is waited for. Nothing of it is freed by this: its owner
    // frees it when it is told.
    let _ = unsafe { CancelIoEx(pipe.as_raw_handle(), null_mut()) };
}

/// Blocks until the pipe has a free instance, which another client may take first, or the time is over.
///
/// # Errors
/// The pipe is gone.
pub(super) fn wait_for_instance(path: &str, time: Duration) -> io::Result<()> {
    let path = wide(path);
    // SAFETY: `path` is a UTF-16 string that ends with zero.
    let waited = checked(unsafe { WaitNamedPipeW(path.as_ptr(), time.as_millis().max(1) as u32) });
    match waited {
        Err(error) if error.raw_os_error() == Some(ERROR_SEM_TIMEOUT as i32) => Ok(()),
        other => other,
    }
}

/// Owner and access list of the pipe, as text.
#[cfg(test)]
pub(super) fn security(pipe: BorrowedHandle<'_>) -> io::Result<String> {
    Descriptor::of_object(pipe, SE_KERNEL_OBJECT)?.text()
}

#[cfg(test)]
#[path = "sys_tests.rs"]
mod tests;
