//! Where this system keeps settings, and where one broker of all users listens.
//!
//! Owns the paths and the variables that move them; what is in the files, and who may come, is `settings`' business.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// The folders with settings of a program, the system's first and the user's last: `/etc/NAME`, then
/// `$XDG_CONFIG_HOME/NAME` or `~/.config/NAME`; under Windows `%ProgramData%\NAME`, then `%APPDATA%\NAME`. The one of `%ProgramData%`, where
/// anybody can make folders, only as long as it is no link, and nobody but administrators, SYSTEM and this user can put files there.
#[must_use]
pub fn settings(program: &str) -> Vec<PathBuf> {
    list(cfg!(windows), program, |name| std::env::var_os(name), believed)
}

fn believed(folder: &Path) -> bool {
    super::trusted::folder_itself(folder).is_ok()
}

/// A file of the system's folder of settings that is there and must not be believed, and why: under Windows, where anybody can make folders in
/// `%ProgramData%`, the folder and the file are judged; elsewhere the folder is root's, and there is none.
#[must_use]
pub fn disbelieved(program: &str, file: &str) -> Option<(PathBuf, io::Error)> {
    let data = std::env::var_os("ProgramData").filter(|_| cfg!(windows))?;
    disbelieved_in(&Path::new(&data).join(program), file)
}

fn disbelieved_in(folder: &Path, file: &str) -> Option<(PathBuf, io::Error)> {
    let path = folder.join(file);
    std::fs::symlink_metadata(&path).ok()?;
    let judged = super::trusted::folder_itself(folder).and_then(|()| super::trusted::file(&path));
    judged.err().map(|error| (path, error))
}

/// The folders of [`settings`] that a service of the system has, whichever user this process has: the system's alone.
#[must_use]
pub fn settings_of_services(program: &str) -> Vec<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|_| name == "ProgramData");
    list(cfg!(windows), program, variable, believed)
}

/// Where a broker for several users listens. Windows has no such place: a pipe is its user's there. Nor has macOS, which has no `/run`: such a
/// broker is told where.
#[must_use]
pub const fn system_socket() -> Option<&'static str> {
    if cfg!(all(unix, not(target_vendor = "apple"))) {
        Some("/run/ipc-broker/ipc_broker.sock")
    } else {
        None
    }
}

fn list(
    windows: bool,
    program: &str,
    variable: impl Fn(&str) -> Option<OsString>,
    believed: impl Fn(&Path) -> bool,
) -> Vec<PathBuf> {
    // A relative path would mean another folder wherever the program is started.
    let folder = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.has_root());
    let (system, user) = if windows {
        let all = folder("ProgramData").filter(|folder| believed(&folder.join(program)));
        (all, folder("APPDATA"))
    } else {
        let home = || folder("HOME").map(|home| home.join(".config"));
        (
            Some(PathBuf::from("/etc")),
            folder("XDG_CONFIG_HOME").or_else(home),
        )
    };
    system
        .into_iter()
        .chain(user)
        .map(|folder| folder.join(program))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_comes_last() {
        // Windows?, variables, folders
        type Row<'a> = (bool, &'a [(&'a str, &'a str)], &'a [&'a str]);
        let table: [Row<'_>; 7] = [
            (false, &[], &["/etc/b"]),
            (false, &[("HOME", "/home/x")], &["/etc/b", "/home/x/.config/b"]),
            (
                false,
                &[("HOME", "/home/x"), ("XDG_CONFIG_HOME", "/c")],
                &["/etc/b", "/c/b"],
            ),
            (
                false,
                &[("HOME", "/home/x"), ("XDG_CONFIG_HOME", "c")],
                &["/etc/b", "/home/x/.config/b"],
            ),
            (
                true,
                &[("HOME", "/home/x"), ("APPDATA", "/roaming")],
                &["/roaming/b"],
            ),
            (
                true,
                &[("ProgramData", "/all"), ("APPDATA", "/roaming")],
                &["/all/b", "/roaming/b"],
            ),
            (
                true,
                &[("ProgramData", "/anybodys"), ("APPDATA", "/roaming")],
                &["/roaming/b"],
            ),
        ];
        for (windows, variables, expected) in table {
            let find = |name: &str| {
                variables
                    .iter()
                    .find(|(n, _)| *n == name)
                    .map(|(_, value)| value.into())
            };
            let expected: Vec<PathBuf> = expected.iter().map(PathBuf::from).collect();
            let believed = |folder: &Path| folder == Path::new("/all/b");
            assert_eq!(list(windows, "b", find, believed), expected, "{variables:?}");
        }
    }

    #[cfg(windows)]
    fn is_believed(list: &str) -> bool {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("b");
        crate::platform::access::create_folder(&folder, list).unwrap();
        assert!(
            disbelieved_in(&folder, "config.toml").is_none(),
            "nothing is there"
        );
        std::fs::write(folder.join("config.toml"), "").unwrap();
        disbelieved_in(&folder, "config.toml").is_none()
    }

    #[test]
    #[cfg(windows)]
    fn what_nobody_else_can_change_is_believed() {
        assert!(is_believed("D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;FA;;;OW)"));
    }

    /// Anybody may have put it there, or may change it.
    #[test]
    #[cfg(windows)]
    #[ignore = "wine takes from the access list of a new folder what its umask takes"]
    fn what_others_can_change_is_not_believed() {
        assert!(!is_believed(
            "D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;FA;;;WD)"
        ));
    }
}
