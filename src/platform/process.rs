//! What the system says of this process and of others.
//!
//! Owns two questions: may the environment be believed (asked by the client library), and does another process live in the same
//! namespace of processes (asked by the broker before it shares memory).

/// Whether this process has rights that who started it has not (set-user-id, set-group-id, file capabilities). Then the
/// environment is that of somebody with fewer rights, and must not decide whom this process speaks to.
#[must_use]
pub fn has_more_rights_than_its_caller() -> bool {
    // The kernel's own answer (AT_SECURE); it knows of capabilities and security modules, too.
    #[cfg(target_os = "linux")]
    if secure_execution() {
        return true;
    }
    #[cfg(unix)]
    {
        use rustix::process::{getegid, geteuid, getgid, getuid};
        getuid() != geteuid() || getgid() != getegid()
    }
    #[cfg(not(unix))]
    false
}

/// Whether a process sees the same processes as this one, and so may signal it if the user is the same. `false` when the system
/// does not tell: no `/proc`, or the process is gone.
#[cfg(target_os = "linux")]
#[must_use]
pub fn is_in_own_namespace(pid: u32) -> bool {
    let namespace = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/pid")).ok();
    let own = namespace("self");
    own.is_some() && own == namespace(&pid.to_string())
}

/// Whether a process sees the same processes as this one; this system has no such namespaces.
#[cfg(not(target_os = "linux"))]
#[must_use]
pub const fn is_in_own_namespace(_: u32) -> bool {
    true
}

/// A process in words, for messages.
pub(crate) fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

#[cfg(target_os = "linux")]
#[allow(
    unsafe_code,
    reason = "no safe crate asks for AT_SECURE in its stable interface"
)]
fn secure_execution() -> bool {
    // SAFETY: `getauxval` takes any number, touches no memory of ours and may be called from any thread at any time: it
    // searches a table that the kernel wrote before `main` and that nobody changes.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_is_in_its_own_namespace_and_one_that_is_not_there_is_not() {
        assert!(super::is_in_own_namespace(std::process::id()));
        assert!(!super::is_in_own_namespace(u32::MAX));
    }

    #[test]
    fn a_test_has_no_more_rights_than_who_started_it() {
        assert!(!super::has_more_rights_than_its_caller());
    }
}
