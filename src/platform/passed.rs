//! Sockets that a service manager opened and left to this process (the protocol of `sd_listen_fds`).
//!
//! Owns the variables `LISTEN_FDS`, `LISTEN_PID` and `LISTEN_FDNAMES`, and the step from a number to a descriptor that is owned. What kind of
//! socket it is, and where it listens, is asked by `transport`, which takes it. Elsewhere than on Unix nothing is ever passed.

#[cfg(unix)]
use std::os::fd::OwnedFd;

/// The first number of what was passed.
#[cfg(unix)]
const FIRST: i32 = 3;
/// More than any broker listens on; a larger number is a mistake.
#[cfg(unix)]
const MOST: i32 = 64;

/// A descriptor that was passed.
#[derive(Debug)]
pub struct Passed {
    name: String,
    #[cfg(unix)]
    descriptor: OwnedFd,
}

impl Passed {
    /// What the manager calls it, for people.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The descriptor itself.
    #[cfg(unix)]
    #[must_use]
    pub fn into_descriptor(self) -> OwnedFd {
        self.descriptor
    }

    /// One that came in another way.
    #[cfg(unix)]
    #[must_use]
    pub fn new(name: impl Into<String>, descriptor: OwnedFd) -> Self {
        Self {
            name: name.into(),
            descriptor,
        }
    }
}

/// Takes what was passed to this process, in order; nothing when the variables are not there or name another process, and
/// nothing the second time. No program that is started from now on inherits a descriptor of these.
///
/// # Errors
/// Which variable or descriptor is wrong. What was taken by then is closed.
pub fn take() -> Result<Vec<Passed>, String> {
    #[cfg(unix)]
    {
        static TAKEN: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
        if TAKEN.swap(true, std::sync::atomic::Ordering::SeqCst) {
            return Ok(Vec::new());
        }
        let names = names(|name| std::env::var(name).ok(), std::process::id())?;
        let numbered = (FIRST..).zip(names);
        numbered.map(|(number, name)| take_one(number, name)).collect()
    }
    #[cfg(not(unix))]
    Ok(Vec::new())
}

/// The names of what was passed to the process, one for each descriptor.
#[cfg(unix)]
fn names(variable: impl Fn(&str) -> Option<String>, own: u32) -> Result<Vec<String>, String> {
    let for_us = variable("LISTEN_PID").and_then(|pid| pid.parse().ok()) == Some(own);
    let Some(count) = variable("LISTEN_FDS").filter(|_| for_us) else {
        return Ok(Vec::new());
    };
    let number: Option<i32> = count.parse().ok().filter(|number| (0..=MOST).contains(number));
    let Some(number) = number else {
        let shown = crate::text::name(&count);
        return Err(format!(
            "LISTEN_FDS is {shown:?} and not a number from 0 to {MOST}"
        ));
    };
    let names = variable("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':').map(str::to_owned);
    Ok((0..number)
        .map(|_| {
            names
                .next()
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| "unknown".into())
        })
        .collect())
}

/// Takes one descriptor, if it is one that came with the process.
#[cfg(unix)]
#[allow(
    unsafe_code,
    reason = "there is no safe way from a number to a descriptor, and numbers are what is passed"
)]
fn take_one(number: i32, name: String) -> Result<Passed, String> {
    use std::os::fd::FromRawFd;
    let shown = crate::text::name(&name).to_string();
    // SAFETY: F_GETFD reads two bits of the table of this process, or fails; it touches no memory.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags < 0 {
        return Err(format!(
            "descriptor {number} ({shown}) was announced in LISTEN_FDS and is not open"
        ));
    }
    if flags & libc::FD_CLOEXEC != 0 {
        return Err(format!(
            "descriptor {number} ({shown}) was announced in LISTEN_FDS but opened by this program itself"
        ));
    }
    // SAFETY: the number is open, and nobody in this process owns it: without close-on-exec it has come through `execve`, because std,
    // tokio and this library open nothing without that flag, and `take` comes here once. So what is made here is its only owner.
    let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::CLOEXEC)
        .map_err(|error| format!("descriptor {number} ({shown}) cannot be kept from children: {error}"))?;
    Ok(Passed { name, descriptor })
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_meant_for_this_process_is_counted() {
        // LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES, the names
        type Row = (
            Option<&'static str>,
            Option<&'static str>,
            Option<&'static str>,
            &'static [&'static str],
        );
        let table: [Row; 8] = [
            (None, None, None, &[]),
            (None, Some("1"), None, &[]),
            (Some("8"), Some("1"), None, &[]),
            (Some("7 "), Some("1"), None, &[]),
            (Some("7"), None, None, &[]),
            (Some("7"), Some("0"), Some("a"), &[]),
            (Some("7"), Some("2"), Some("a:b:c"), &["a", "b"]),
            (Some("7"), Some("3"), Some(":b"), &["unknown", "b", "unknown"]),
        ];
        for (pid, count, given, expected) in table {
            let variable = |name: &str| match name {
                "LISTEN_PID" => pid.map(str::to_owned),
                "LISTEN_FDS" => count.map(str::to_owned),
                _ => given.map(str::to_owned),
            };
            assert_eq!(names(variable, 7).unwrap(), expected, "{pid:?} {count:?}");
        }
    }

    #[test]
    fn a_number_that_is_none_is_told() {
        for count in ["many", "-1", "65", ""] {
            let variable = |name: &str| Some(if name == "LISTEN_PID" { "7" } else { count }.to_owned());
            let error = names(variable, 7).unwrap_err();
            assert!(error.starts_with("LISTEN_FDS is "), "{error}");
        }
    }

    #[test]
    fn what_this_program_opened_itself_is_not_taken() {
        use std::os::fd::AsRawFd;
        let own = std::fs::File::open("/dev/null").unwrap();
        let error = take_one(own.as_raw_fd(), "x".into()).unwrap_err();
        assert!(error.contains("opened by this program itself"), "{error}");
        let error = take_one(1_000_000, "x".into()).unwrap_err();
        assert!(error.contains("is not open"), "{error}");
    }
}
