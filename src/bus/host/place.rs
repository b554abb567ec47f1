//! Where a bus is: the folder of its files, their names, and where its host listens.
//!
//! Owns the way from an identifier to a lock file and an endpoint, and the checks that make the folder one in which nobody else can put anything.
//! It takes no lock and binds nothing. Called by [`super::attach`].

use super::AttachError;
#[cfg(unix)]
use crate::platform::place::PATH_MAX;
use crate::transport::Endpoint;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Identifiers that begin with this are buses of all users.
const SYSTEM: &str = "system:";

/// Whether somebody can host a bus of all users here. A pipe is its user's.
const HAS_SYSTEM_BUSES: bool = cfg!(unix);

/// Why nobody can host a bus of this name on this platform; `None`: it can be tried.
#[must_use]
pub fn unhostable(identifier: &str) -> Option<&'static str> {
    unhostable_where(identifier, HAS_SYSTEM_BUSES)
}

fn unhostable_where(identifier: &str, has_system_buses: bool) -> Option<&'static str> {
    let is_one = identifier.starts_with(SYSTEM) && !has_system_buses;
    is_one.then_some("this platform has no buses of all users, and nobody can host one; leave out `system:`")
}

/// Whose bus it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// The bus of one user.
    User,
    /// One for all users, hosted by root.
    System,
}

/// What a bus has of the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) scope: Scope,
    pub(super) lock: PathBuf,
    /// Where its host listens, whoever that is.
    pub(super) endpoint: Endpoint,
}

impl Place {
    /// The place of a bus, whose folder is made if it is not there.
    ///
    /// # Errors
    /// [`AttachError::Folder`] and [`AttachError::PathTooLong`].
    pub(super) fn of(identifier: &str) -> Result<Self, AttachError> {
        let scope = match identifier.starts_with(SYSTEM) {
            true => Scope::System,
            false => Scope::User,
        };
        // Whoever was started by somebody with fewer rights does not believe that somebody's environment.
        let trusted = !crate::platform::process::has_more_rights_than_its_caller();
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|_| trusted);
        let folder = folder::prepare(scope, runtime)?;
        Self::within(&folder, scope, identifier)
    }

    fn within(folder: &Path, scope: Scope, identifier: &str) -> Result<Self, AttachError> {
        let name = format!("{:032x}", fnv128(identifier.as_bytes()));
        Ok(Self {
            scope,
            lock: folder.join(format!("{name}.lock")),
            endpoint: endpoint(folder, &name)?,
        })
    }
}

#[cfg(unix)]
fn endpoint(folder: &Path, name: &str) -> Result<Endpoint, AttachError> {
    let path = folder.join(format!("{name}.sock"));
    let length = path.as_os_str().len();
    if length > PATH_MAX {
        return Err(AttachError::PathTooLong {
            path,
            length,
            max: PATH_MAX,
        });
    }
    Ok(Endpoint::Unix(path))
}

/// Pipes have no folders, so the folder is in the name, however it was written; and the user, for people who look at it.
#[cfg(not(unix))]
fn endpoint(folder: &Path, name: &str) -> Result<Endpoint, AttachError> {
    let user = crate::transport::current_sid().map_err(AttachError::System)?;
    let folder = folder.canonicalize().map_err(AttachError::System)?;
    let whole = format!("{}/{name}", folder.display());
    Ok(Endpoint::Pipe(format!(
        "actix-ipc.bus.{user}.{:032x}",
        fnv128(whole.as_bytes())
    )))
}

/// FNV-1a with 128 bits: the same in every version. It spreads names; that two of them do not meet on purpose is checked by the label in
/// the lock's file.
const fn fnv128(bytes: &[u8]) -> u128 {
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    let mut rest = bytes;
    while let [byte, tail @ ..] = rest {
        hash ^= *byte as u128;
        hash = hash.wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        rest = tail;
    }
    hash
}

#[cfg(unix)]
mod folder {
    use super::{AttachError, OsString, Path, PathBuf, Scope};
    use rustix::fs::{self, Mode, OFlags, Stat};
    use rustix::io::Errno;

    /// What nobody but the owner may.
    const OTHERS: Mode = Mode::RWXG.union(Mode::RWXO);
    const OTHERS_WRITE: Mode = Mode::WGRP.union(Mode::WOTH);

    pub(super) fn prepare(scope: Scope, runtime: Option<OsString>) -> Result<PathBuf, AttachError> {
        match scope {
            Scope::System => system(Path::new("/run"), Path::new("/tmp")),
            Scope::User => user(runtime, Path::new("/tmp")),
        }
    }

    pub(super) fn user(runtime: Option<OsString>, temporary: &Path) -> Result<PathBuf, AttachError> {
        let own = rustix::process::geteuid().as_raw();
        // A relative path would mean another folder wherever a program is started.
        let runtime = runtime.map(PathBuf::from).filter(|path| path.is_absolute());
        let above = match runtime {
            Some(runtime) => {
                check(&runtime, own, OTHERS_WRITE)?;
                runtime.join("actix-ipc")
            }
            None => temporary.join(format!("actix-ipc-{own}")),
        };
        let folder = above.join("bus");
        for path in [&above, &folder] {
            make(path, Mode::RWXU)?;
            check(path, own, OTHERS)?;
        }
        Ok(folder)
    }

    pub(super) fn system(run: &Path, temporary: &Path) -> Result<PathBuf, AttachError> {
        let above = match run.is_dir() {
            true => run.join("actix-ipc"),
            false => temporary.join("actix-ipc-system"),
        };
        let folder = above.join("bus");
        for path in [&above, &folder] {
            if rustix::process::geteuid().is_root() {
                make(
                    path,
                    Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH,
                )?;
            }
            check(path, 0, OTHERS_WRITE)?;
        }
        Ok(folder)
    }

    fn failed(path: &Path, what: impl Into<String>) -> AttachError {
        AttachError::Folder {
            path: path.to_owned(),
            what: what.into(),
        }
    }

    fn make(path: &Path, mode: Mode) -> Result<(), AttachError> {
        match fs::mkdir(path, mode) {
            // The process's mask may have taken more away, but its owner needs all.
            Ok(()) => fs::chmod(path, mode).map_err(|error| failed(path, format!("chmod: {error}"))),
            Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(failed(path, format!("cannot be made: {error}"))),
        }
    }

    /// Refuses a folder of somebody else's, or one in which others may do what they must not.
    fn check(path: &Path, owner: u32, forbidden: Mode) -> Result<(), AttachError> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
        let opened = fs::open(path, flags, Mode::empty()).map_err(|error| match error {
            Errno::NOENT => failed(path, "does not exist"),
            Errno::LOOP | Errno::NOTDIR => failed(path, "is a symbolic link, or no folder"),
            error => failed(path, format!("cannot be opened: {error}")),
        })?;
        let there: Stat =
            fs::fstat(&opened).map_err(|error| failed(path, format!("cannot be looked at: {error}")))?;
        if there.st_uid != owner {
            let text = format!("belongs to uid {}, and not to uid {owner}", there.st_uid);
            return Err(failed(path, text));
        }
        let mode = Mode::from_raw_mode(there.st_mode);
        if mode.intersects(forbidden) {
            let text = format!(
                "is open to others (mode {:04o}); chmod 0700 it",
                mode.bits() & 0o7777
            );
            return Err(failed(path, text));
        }
        Ok(())
    }
}

#[cfg(not(unix))]
mod folder {
    use super::{AttachError, OsString, PathBuf, Scope};

    /// Below `%LOCALAPPDATA%`, which is its user's alone. There is nobody who could host a bus of all users: a pipe is its user's.
    pub(super) fn prepare(scope: Scope, _: Option<OsString>) -> Result<PathBuf, AttachError> {
        match scope {
            Scope::System => Err(AttachError::NotHere),
            Scope::User => user(std::env::var_os("LOCALAPPDATA")),
        }
    }

    pub(super) fn user(local: Option<OsString>) -> Result<PathBuf, AttachError> {
        let failed = |path: &PathBuf, what: String| AttachError::Folder {
            path: path.clone(),
            what,
        };
        let local = local.map(PathBuf::from).filter(|path| path.is_absolute());
        let Some(local) = local else {
            let text = "is nowhere: the variable LOCALAPPDATA does not name a folder";
            return Err(failed(&PathBuf::from("%LOCALAPPDATA%"), text.to_owned()));
        };
        let folder = local.join("actix-ipc").join("bus");
        match std::fs::create_dir_all(&folder) {
            Ok(()) => Ok(folder),
            Err(error) => Err(failed(&folder, format!("cannot be made: {error}"))),
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_bus_is_in_the_users_own_folder() {
            let place = tempfile::tempdir().unwrap();
            let folder = user(Some(place.path().into())).unwrap();
            assert!(folder.is_dir() && folder.ends_with("actix-ipc/bus"), "{folder:?}");
            for nowhere in [None, Some("relative".into())] {
                let error = user(nowhere).unwrap_err().to_string();
                assert!(error.contains("LOCALAPPDATA"), "{error}");
            }
            let error = prepare(Scope::System, None).unwrap_err();
            assert!(matches!(error, AttachError::NotHere), "{error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{fnv128, unhostable_where};

    #[test]
    fn a_bus_of_all_users_needs_a_platform_that_has_them() {
        for (identifier, here, refused) in [
            ("system:x", false, true),
            ("system:", false, true),
            ("system:x", true, false),
            ("system", false, false),
            ("com.solar", false, false),
        ] {
            let said = unhostable_where(identifier, here);
            assert_eq!(said.is_some(), refused, "{identifier}: {said:?}");
        }
    }

    #[test]
    fn the_hash_is_the_published_one() {
        // From the authors' table of test vectors.
        let table = [
            ("", 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d),
            ("a", 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964),
            ("foobar", 0x343e_1662_793c_64bf_6f0d_3597_ba44_6f18),
        ];
        for (text, hash) in table {
            assert_eq!(fnv128(text.as_bytes()), hash, "{text}");
        }
    }
}

#[cfg(test)]
#[cfg(unix)]
mod unix_tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

    fn mode(path: &Path) -> u32 {
        std::fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    fn refusal(result: Result<PathBuf, AttachError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn any_identifier_has_paths_of_its_own_that_fit() {
        let folder = Path::new("/run/user/4294967295/actix-ipc/bus");
        let long = "x".repeat(100_000);
        let identifiers = [
            "",
            "a",
            "A",
            "a\0",
            "\0",
            "../../etc/passwd",
            "a/b",
            "com.solar",
            "太陽",
            &long,
            &long[1..],
        ];
        let mut seen = std::collections::BTreeSet::new();
        for identifier in identifiers {
            let place = Place::within(folder, Scope::User, identifier).unwrap();
            let Endpoint::Unix(socket) = &place.endpoint else {
                panic!("{place:?}");
            };
            for path in [&place.lock, socket] {
                assert_eq!(path.parent(), Some(folder), "{identifier:?}");
                assert!(path.as_os_str().len() < 108, "{identifier:?}");
                assert!(seen.insert(path.clone()), "{identifier:?}");
            }
        }
        let deep = PathBuf::from(format!("/{}", "d".repeat(70)));
        let error = Place::within(&deep, Scope::User, "a").unwrap_err().to_string();
        assert!(
            error.contains("109 bytes") && error.contains("at most 107"),
            "{error}"
        );
    }

    #[test]
    fn the_folders_are_made_for_their_user_alone() {
        let base = tempfile::tempdir().unwrap();
        let own = rustix::process::geteuid().as_raw();
        let runtime = base.path().join("run");
        std::fs::create_dir(&runtime).unwrap();
        std::fs::set_permissions(&runtime, PermissionsExt::from_mode(0o700)).unwrap();
        let made = folder::user(Some(runtime.clone().into()), base.path()).unwrap();
        assert_eq!(made, runtime.join("actix-ipc/bus"));
        for fallback in [None, Some(OsString::from("relative")), Some(OsString::new())] {
            let made = folder::user(fallback, base.path()).unwrap();
            assert_eq!(made, base.path().join(format!("actix-ipc-{own}/bus")));
            assert_eq!((mode(&made), mode(made.parent().unwrap())), (0o700, 0o700));
        }
        assert_eq!((mode(&made), mode(made.parent().unwrap())), (0o700, 0o700));
    }

    #[test]
    fn what_others_could_reach_is_refused_and_left_alone() {
        let base = tempfile::tempdir().unwrap();
        let own = rustix::process::geteuid().as_raw();
        let above = base.path().join(format!("actix-ipc-{own}"));
        let prepare = || folder::user(None, base.path());
        let folder = prepare().unwrap();
        for path in [&above, &folder] {
            for wrong in [0o770, 0o707, 0o750, 0o755, 0o701, 0o1777] {
                std::fs::set_permissions(path, PermissionsExt::from_mode(wrong)).unwrap();
                let text = refusal(prepare());
                assert!(text.contains(&format!("{wrong:04o}")), "{text}");
                assert_eq!(mode(path), wrong);
            }
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o700)).unwrap();
        }
        std::fs::remove_dir(&folder).unwrap();
        let elsewhere = base.path().join("elsewhere");
        std::fs::create_dir(&elsewhere).unwrap();
        symlink(&elsewhere, &folder).unwrap();
        assert!(refusal(prepare()).contains("symbolic link"));
        std::fs::remove_file(&folder).unwrap();
        std::fs::write(&folder, "").unwrap();
        assert!(refusal(prepare()).contains("no folder"));
        std::fs::remove_file(&folder).unwrap();
        if rustix::process::geteuid().is_root() {
            std::fs::create_dir(&folder).unwrap();
            chown(&folder, Some(54_321), None).unwrap();
            assert!(refusal(prepare()).contains("belongs to uid 54321"));
        }
    }

    #[test]
    fn a_folder_for_all_users_is_roots() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let base = tempfile::tempdir().unwrap();
        std::fs::set_permissions(base.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let none = base.path().join("none");
        let made = folder::system(&none, base.path()).unwrap();
        assert_eq!(made, base.path().join("actix-ipc-system/bus"));
        let made = folder::system(base.path(), &none).unwrap();
        assert_eq!(
            (made.clone(), mode(&made)),
            (base.path().join("actix-ipc/bus"), 0o755)
        );
        std::fs::set_permissions(&made, PermissionsExt::from_mode(0o775)).unwrap();
        assert!(refusal(folder::system(base.path(), &none)).contains("0775"));
        std::fs::set_permissions(&made, PermissionsExt::from_mode(0o755)).unwrap();
        chown(&made, Some(54_321), None).unwrap();
        assert!(refusal(folder::system(base.path(), &none)).contains("uid 54321"));
    }
}
