//! How many descriptors this process may open.
//!
//! Owns asking for the limit and raising it; what is done with them is the callers' business: the daemon raises it at its
//! start, the broker holds attachments within it.

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
            let _ = setrlimit(Resource::Nofile, raised);
        }
    }
    #[cfg(not(unix))]
    let _ = wanted;
    limit()
}
