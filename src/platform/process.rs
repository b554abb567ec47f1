//! What the system says of this process.
//!
//! Owns one question: may the environment be believed? Called by the client library.

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
    fn a_test_has_no_more_rights_than_who_started_it() {
        assert!(!super::has_more_rights_than_its_caller());
    }
}
