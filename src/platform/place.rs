//! Taking a path for a Unix socket without harming anyone, and giving it back.
//!
//! Owns the order of steps that makes it safe in a directory where others write (`/tmp`): the lock first, then a
//! look at what is there, then a socket that nobody else can ever connect to. It accepts no connection. Called by
//! `transport::unix` and by the lazy server.

use super::lock::{LockError, LockFile, describe};
use super::peer;
use super::process::holder;
use super::socket_options::UnixOptions;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use socket2::{Domain, SockAddr, Socket, Type};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longest path, in bytes: what `sockaddr_un` has room for, less the zero at its end.
pub const PATH_MAX: usize = if cfg!(any(target_os = "linux", target_os = "android")) {
    107
} else {
    103
};

/// What a folder must allow for a socket to be made in it.
#[cfg(feature = "cli")]
const WRITABLE: rustix::fs::Access = rustix::fs::Access::WRITE_OK.union(rustix::fs::Access::EXEC_OK);

/// How long a socket must refuse before it counts as one that nobody listens on, and the pauses in between. Linux tells a full accept queue
/// from that; other systems refuse as well, and what lives must not be removed.
pub(crate) const REFUSED_WAIT: Duration = if cfg!(target_os = "linux") {
    Duration::ZERO
} else {
    Duration::from_millis(250)
};
pub(crate) const REFUSED_PAUSE: Duration = Duration::from_millis(10);

/// The mode that every socket begins with: its user's alone.
const PRIVATE: u32 = 0o600;

/// Why a path was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// A living process of this user has it: stop that one or choose another path.
    #[error("{} is in use by {}; stop it or listen somewhere else", path.display(), holder(*pid))]
    InUse {
        /// The path.
        path: PathBuf,
        /// The process, where the system tells.
        pid: Option<u32>,
    },
    /// It belongs to another user.
    #[error("{} belongs to uid {uid}; listen somewhere else", path.display())]
    OtherUser {
        /// The path.
        path: PathBuf,
        /// That user.
        uid: u32,
    },
    /// Something is there that is no socket of this user; it is left alone.
    #[error("{} is {what}; it was left alone: remove it or listen somewhere else", path.display())]
    Foreign {
        /// Where.
        path: PathBuf,
        /// What is there.
        what: &'static str,
    },
    /// The path does not fit a socket address.
    #[error("{} has {len} bytes, but the path of a Unix socket has at most {max}; choose a shorter one", path.display())]
    PathTooLong {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        len: usize,
        /// The largest length in bytes.
        max: usize,
    },
    /// Others could put something in the place of the socket: give the folder another owner or mode.
    #[error("the folder {} {what}; a socket for several users needs a folder of root or of this user that nobody else can write, as `install -d -m 0755` makes it", path.display())]
    UnsafeFolder {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The system refused.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

/// For `map_err`: the system refused `action` at `path`.
fn failed<E: Into<io::Error>>(path: &Path, action: &'static str) -> impl FnOnce(E) -> PlaceError {
    move |source| PlaceError::Io {
        path: path.to_owned(),
        action,
        source: source.into(),
    }
}

/// The socket address of `path`.
///
/// # Errors
/// `InvalidInput`: the path is longer than [`PATH_MAX`] bytes or holds a zero byte.
pub fn address(path: &Path) -> io::Result<SockAddr> {
    SockAddr::unix(path).map_err(|_| {
        let len = path.as_os_str().len();
        let text = format!("the path has {len} bytes, but that of a Unix socket has at most {PATH_MAX}");
        io::Error::new(io::ErrorKind::InvalidInput, text)
    })
}

/// A path that is taken. Dropping it removes the socket file, if it is still the same, and then the lock.
#[derive(Debug)]
pub struct Place {
    // In this order: the lock must outlive the file that it guards.
    _file: SocketFile,
    _lock: LockFile,
}

#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let same = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|there| (there.dev(), there.ino()) == (self.device, self.inode));
        if same {
            // If it fails a dead socket stays behind, which the next server replaces.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// A socket, not blocking, that listens at `path` for those whom the options name. Until it listens nobody can connect. A socket that
/// a dead process left there is replaced.
///
/// # Errors
/// [`PlaceError`]; what was there is still there then.
pub fn bind(path: &Path, options: &UnixOptions, backlog: i32) -> Result<(Socket, Place), PlaceError> {
    check_path(path, options)?;
    let lock = take_lock(path)?;
    remove_dead(path)?;
    let (socket, file) = create(path)?;
    admit(path, options)?;
    socket.listen(backlog).map_err(failed(path, "listen"))?;
    Ok((
        socket,
        Place {
            _file: file,
            _lock: lock,
        },
    ))
}

/// A socket that listens at `path` in the place of whatever is there. The caller has a lock for the path, in a folder where nobody else
/// can write; without that lock this would take the path from a living broker.
///
/// The path leads to a socket that listens or, after a crash, to one that is dead, and never nowhere: who connects while a host follows on
/// another one need not tell these apart. A process that has inherited the old socket keeps nobody from the new one.
///
/// # Errors
/// [`PlaceError`]; what was there is still there then.
pub(crate) fn replace(path: &Path, mode: u32, backlog: i32) -> Result<Socket, PlaceError> {
    let new = path.with_extension("new");
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed(path, "remove a socket that was left half made")(error));
        }
        _ => {}
    }
    // Removed by its guard, unless it has got the path's name by then.
    let (socket, _file) = create(&new)?;
    if mode != PRIVATE {
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(mode))
            .map_err(failed(path, "give the socket its mode"))?;
    }
    socket.listen(backlog).map_err(failed(path, "listen"))?;
    std::fs::rename(&new, path).map_err(failed(path, "put the socket at its path"))?;
    Ok(socket)
}

/// What would keep [`bind`] from the path, as far as that can be told without touching anything. That somebody listens there
/// already is no such thing.
///
/// # Errors
/// What [`bind`] would say.
#[cfg(feature = "cli")]
pub fn check(path: &Path, options: &UnixOptions) -> Result<(), PlaceError> {
    check_path(path, options)?;
    let effective = rustix::fs::AtFlags::EACCESS;
    rustix::fs::accessat(rustix::fs::CWD, folder_of(path), WRITABLE, effective)
        .map_err(failed(path, "make a socket in its folder"))?;
    let lock = lock_of(path);
    LockFile::look(&lock).map_err(no_lock(path, lock))?;
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(path, "look at the path")(error)),
        Ok(there) if there.uid() != rustix::process::geteuid().as_raw() => Err(PlaceError::OtherUser {
            path: path.to_owned(),
            uid: there.uid(),
        }),
        Ok(there) if there.file_type().is_socket() => Ok(()),
        Ok(there) => Err(PlaceError::Foreign {
            path: path.to_owned(),
            what: describe(FileType::from_raw_mode(there.mode() as rustix::fs::RawMode)),
        }),
    }
}

/// What is to be said of the path and its folder before anything is made.
fn check_path(path: &Path, options: &UnixOptions) -> Result<(), PlaceError> {
    let len = path.as_os_str().len();
    if len > PATH_MAX {
        return Err(PlaceError::PathTooLong {
            path: path.to_owned(),
            len,
            max: PATH_MAX,
        });
    }
    if options.own_folder || options.mode != PRIVATE || options.gid.is_some() {
        check_folder(path)?;
    }
    find_folder(path)
}

/// Says of a folder that is not there what is to be done; the system's words would be about a file in it.
fn find_folder(path: &Path) -> Result<(), PlaceError> {
    let folder = folder_of(path);
    let shown = folder.display();
    let (kind, text) = match std::fs::metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => (
            error.kind(),
            format!("there is no folder {shown}; make it (mkdir -p {shown}), or choose another path"),
        ),
        Ok(about) if !about.is_dir() => (
            io::ErrorKind::NotADirectory,
            format!("{shown} is no folder; choose another path"),
        ),
        // What else is wrong is found when it is used.
        _ => return Ok(()),
    };
    Err(failed(path, "make a socket in its folder")(io::Error::new(
        kind, text,
    )))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Refuses a folder in which somebody else could replace the socket.
fn check_folder(path: &Path) -> Result<(), PlaceError> {
    let folder = folder_of(path);
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    let wrong = |what: String| PlaceError::UnsafeFolder {
        path: folder.to_owned(),
        what,
    };
    let opened = rustix::fs::open(folder, flags, Mode::empty()).map_err(|error| match error {
        Errno::NOENT => wrong("does not exist".into()),
        Errno::LOOP | Errno::NOTDIR => wrong("is a symbolic link, or no folder".into()),
        error => failed(path, "open the folder of the socket")(io::Error::from(error)),
    })?;
    let there = rustix::fs::fstat(&opened)
        .map_err(|error| failed(path, "look at the folder of the socket")(io::Error::from(error)))?;
    if there.st_uid != 0 && there.st_uid != rustix::process::geteuid().as_raw() {
        return Err(wrong(format!("belongs to uid {}", there.st_uid)));
    }
    let mode = Mode::from_raw_mode(there.st_mode);
    if mode.intersects(Mode::WGRP | Mode::WOTH) {
        return Err(wrong(format!("has mode {:04o}", mode.bits() & 0o7777)));
    }
    Ok(())
}

/// Gives the socket its group and its mode, in this order: the mode never speaks of the wrong group.
fn admit(path: &Path, options: &UnixOptions) -> Result<(), PlaceError> {
    if let Some(gid) = options.gid {
        std::os::unix::fs::lchown(path, None, Some(gid))
            .map_err(failed(path, "give the socket its group"))?;
    }
    if options.mode != PRIVATE {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(options.mode))
            .map_err(failed(path, "give the socket its mode"))?;
    }
    Ok(())
}

/// The path in a form that means the same after the program went to another folder.
fn lasting(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn take_lock(path: &Path) -> Result<LockFile, PlaceError> {
    let lock = lock_of(path);
    LockFile::acquire(&lock).map_err(no_lock(path, lock))
}

fn lock_of(path: &Path) -> PathBuf {
    let mut name = lasting(path).into_os_string();
    name.push(".lock");
    PathBuf::from(name)
}

/// For `map_err`: the lock `name` of `path` was not taken.
fn no_lock(path: &Path, name: PathBuf) -> impl FnOnce(LockError) -> PlaceError {
    move |error| match error {
        LockError::Held { pid } => PlaceError::InUse {
            path: path.to_owned(),
            pid,
        },
        LockError::OtherUser { uid } => PlaceError::OtherUser {
            path: path.to_owned(),
            uid,
        },
        LockError::Foreign { what } => PlaceError::Foreign { path: name, what },
        LockError::Io(source) => PlaceError::Io {
            path: path.to_owned(),
            action: "create the lock file beside it",
            source,
        },
    }
}

/// Makes the path free if a server that is gone left its socket there. To be called under the lock.
fn remove_dead(path: &Path) -> Result<(), PlaceError> {
    let there = match std::fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(path, "look at the path")(error)),
    };
    if there.uid() != rustix::process::geteuid().as_raw() {
        return Err(PlaceError::OtherUser {
            path: path.to_owned(),
            uid: there.uid(),
        });
    }
    let foreign = |what| {
        Err(PlaceError::Foreign {
            path: path.to_owned(),
            what,
        })
    };
    if !there.file_type().is_socket() {
        return foreign(describe(FileType::from_raw_mode(
            there.mode() as rustix::fs::RawMode
        )));
    }
    match probe_until(path, Instant::now() + REFUSED_WAIT).map_err(failed(path, "ask who listens there"))? {
        Found::Live(pid) => Err(PlaceError::InUse {
            path: path.to_owned(),
            pid,
        }),
        Found::OtherType => foreign("a socket that is not a stream socket"),
        Found::Gone => Ok(()),
        Found::Dead => match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed(path, "remove the socket of a process that is gone")(error))
            }
            _ => Ok(()),
        },
    }
}

enum Found {
    Live(Option<u32>),
    Dead,
    Gone,
    OtherType,
}

/// Probes until it is clear that nobody listens.
fn probe_until(path: &Path, limit: Instant) -> io::Result<Found> {
    loop {
        match probe(path)? {
            Found::Dead if Instant::now() < limit => std::thread::park_timeout(REFUSED_PAUSE),
            found => return Ok(found),
        }
    }
}

/// Connects, without waiting: only a listening socket takes that.
fn probe(path: &Path) -> io::Result<Found> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    let Err(error) = socket.connect(&address(path)?) else {
        return Ok(Found::Live(
            peer::credentials(socket.as_fd()).ok().and_then(|peer| peer.pid),
        ));
    };
    match Errno::from_io_error(&error) {
        Some(Errno::CONNREFUSED) => Ok(Found::Dead),
        Some(Errno::NOENT) => Ok(Found::Gone),
        Some(Errno::PROTOTYPE) => Ok(Found::OtherType),
        // Its accept queue is full: busy or stopped, but alive.
        Some(Errno::AGAIN) => Ok(Found::Live(None)),
        _ => Err(error),
    }
}

/// A bound socket of mode 0600 that does not listen yet, so that a connect is refused, whatever the mode.
pub(crate) fn create(path: &Path) -> Result<(Socket, SocketFile), PlaceError> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed(path, "make a socket"))?;
    socket
        .set_nonblocking(true)
        .map_err(failed(path, "make a socket"))?;
    // Linux creates the file with the mode of the descriptor; where that does not work chmod below does.
    #[cfg(target_os = "linux")]
    let _ = rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR);
    let address = address(path).map_err(failed(path, "use the path"))?;
    socket.bind(&address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => PlaceError::InUse {
            path: path.to_owned(),
            pid: None,
        },
        _ => failed(path, "bind the path")(error),
    })?;
    let there = std::fs::symlink_metadata(path).map_err(failed(path, "look at its own socket"))?;
    if !there.file_type().is_socket() || there.uid() != rustix::process::geteuid().as_raw() {
        return Err(PlaceError::Foreign {
            path: path.to_owned(),
            what: "replaced by somebody at this moment",
        });
    }
    let file = SocketFile {
        path: lasting(path),
        device: there.dev(),
        inode: there.ino(),
    };
    if there.permissions().mode() & 0o777 != PRIVATE {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(PRIVATE))
            .map_err(failed(path, "restrict the socket to its user"))?;
    }
    Ok((socket, file))
}

#[cfg(all(test, feature = "cli"))]
#[path = "place_tests.rs"]
mod tests;
