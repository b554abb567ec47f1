//! How many descriptors this process may open.
//!
//! Owns asking for the limit, whether it is reached, raising it, and what children of this process find of it; what is done with them is the
//! callers' business: the daemon raises it at its start, the broker holds attachments within it, and starts services with the limit that it has
//! found itself.

#[cfg(unix)]
use std::sync::OnceLock;

/// The limit before it was raised here for the first time.
#[cfg(unix)]
static FOUND: OnceLock<u64> = OnceLock::new();

/// The limit that holds now; `None` where there is none. Others may change it at any time.
#[must_use]
pub fn limit() -> Option<usize> {
    #[cfg(unix)]
    {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        limit.current.and_then(|limit| usize::try_from(limit).ok())
    }
    #[cfg(not(unix))]
    {
        None
    }
}

/// Whether no descriptor is left for this process, or in the whole system: one is tried.
#[must_use]
pub fn is_exhausted() -> bool {
    #[cfg(unix)]
    {
        let tried = std::fs::File::open("/");
        let code = tried.err().and_then(|error| error.raw_os_error());
        let exhausted = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE];
        code.is_some_and(|code| exhausted.map(rustix::io::Errno::raw_os_error).contains(&code))
    }
    #[cfg(not(unix))]
    false
}

/// Raises the limit to `wanted`, or as far as the system lets this process, also beyond the limit's own maximum where this process
/// may raise that (root may); never lowers it. Children inherit it. Returns the limit that holds then.
pub fn raise_beyond_maximum(wanted: u64) -> Option<usize> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let before = getrlimit(Resource::Nofile);
        if before.maximum.is_some_and(|most| most < wanted) {
            let raised = Rlimit {
                current: Some(wanted),
                maximum: Some(wanted),
            };
            // Who may not gets what the maximum allows, below.
            let _ = setrlimit(Resource::Nofile, raised);
        }
    }
    raise(wanted)
}

/// Raises the limit to `wanted`, or as far as the system lets this process; never lowers it. Returns the limit that holds
/// then.
pub fn raise(wanted: u64) -> Option<usize> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let before = getrlimit(Resource::Nofile);
        let target = before.maximum.map_or(wanted, |most| most.min(wanted));
        if before.current.is_some_and(|now| now < target) {
            let raised = Rlimit {
                current: Some(target),
                maximum: before.maximum,
            };
            // A system that refuses leaves what there was.
            if setrlimit(Resource::Nofile, raised).is_ok() {
                let _ = before.current.map(|found| FOUND.set(found));
            }
        }
    }
    #[cfg(not(unix))]
    let _ = wanted;
    limit()
}

/// Has the command start with the limit that this process had before it was raised: programs that use `select`, or close all descriptors up
/// to the limit, suffer from a high one. They may raise it themselves.
#[cfg(all(unix, feature = "broker"))]
#[allow(unsafe_code, reason = "no safe call sets a limit of a child before it runs")]
pub(super) fn as_found(command: &mut std::process::Command) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    use std::os::unix::process::CommandExt;
    let Some(found) = FOUND.get().copied() else {
        return;
    };
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = move || Rlimit {
        current: Some(found),
        maximum,
    };
    // SAFETY: between fork and exec the closure makes one system call and nothing else: it allocates nothing, takes no lock and reads
    // two numbers of its own. The limit is not above the maximum, so it is granted; were it not, the command would not start.
    unsafe {
        command.pre_exec(move || Ok(setrlimit(Resource::Nofile, limit())?));
    }
}
