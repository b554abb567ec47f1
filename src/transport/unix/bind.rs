//! Taking a path for a Unix socket without harming anyone, and giving it back.
//!
//! Owns the order of steps that makes it safe in a directory where others write (`/tmp`): the lock first, then a
//! look at what is there, then a socket that nobody else can ever connect to. It accepts no connection.

use super::establish::{address, listener_pid};
use crate::platform::lock::{LockError, LockFile, describe};
use crate::transport::listener::{BindError, UnixOptions};
use crate::transport::{BACKLOG, Endpoint};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use socket2::{Domain, Socket, Type};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Longest path, in bytes: what `sockaddr_un` has room for, less the zero at its end.
pub(super) const PATH_MAX: usize = if cfg!(any(target_os = "linux", target_os = "android")) {
    107
} else {
    103
};

/// What a folder must allow for a socket to be made in it.
#[cfg(feature = "cli")]
const WRITABLE: rustix::fs::Access = rustix::fs::Access::WRITE_OK.union(rustix::fs::Access::EXEC_OK);

/// The mode that every socket begins with: its user's alone.
const PRIVATE: u32 = 0o600;

/// A path that is taken. Dropping it removes the socket file, if it is still the same, and then the lock.
#[derive(Debug)]
pub(super) struct Place {
    // In this order: the lock must outlive the file that it guards.
    _file: SocketFile,
    _lock: LockFile,
}

#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let same = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|there| (there.dev(), there.ino()) == (self.device, self.inode));
        if same {
            // If it fails a dead socket stays behind, which the next broker replaces.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// A socket that listens at `path`, for those whom the options name. Until it listens nobody can connect.
pub(super) fn bind(
    endpoint: &Endpoint,
    path: &Path,
    options: &UnixOptions,
) -> Result<(Socket, Place), BindError> {
    check_path(endpoint, path, options)?;
    let lock = take_lock(endpoint, path)?;
    remove_dead(endpoint, path)?;
    let (socket, file) = create(endpoint, path)?;
    admit(endpoint, path, options)?;
    socket
        .listen(BACKLOG)
        .map_err(BindError::io(endpoint, "listen"))?;
    Ok((
        socket,
        Place {
            _file: file,
            _lock: lock,
        },
    ))
}

/// What would keep [`bind`] from the path, as far as that can be told without touching anything. That a broker listens there
/// already is no such thing.
#[cfg(feature = "cli")]
pub(in crate::transport) fn check(
    endpoint: &Endpoint,
    path: &Path,
    options: &UnixOptions,
) -> Result<(), BindError> {
    check_path(endpoint, path, options)?;
    let failed = BindError::io(endpoint, "make a socket in its folder");
    rustix::fs::access(folder_of(path), WRITABLE).map_err(failed)?;
    match std::fs::symlink_metadata(path) {
        Err(_) => Ok(()),
        Ok(there) if there.uid() != rustix::process::geteuid().as_raw() => Err(BindError::OtherUser {
            endpoint: endpoint.clone(),
            uid: there.uid(),
        }),
        Ok(there) if there.file_type().is_socket() => Ok(()),
        Ok(there) => Err(BindError::Foreign {
            path: path.to_owned(),
            what: describe(FileType::from_raw_mode(there.mode() as rustix::fs::RawMode)),
        }),
    }
}

/// What is to be said of the path and its folder before anything is made.
fn check_path(endpoint: &Endpoint, path: &Path, options: &UnixOptions) -> Result<(), BindError> {
    let len = path.as_os_str().len();
    if len > PATH_MAX {
        return Err(BindError::PathTooLong {
            path: path.to_owned(),
            len,
            max: PATH_MAX,
        });
    }
    if options.own_folder || options.mode != PRIVATE || options.gid.is_some() {
        check_folder(endpoint, path)?;
    }
    Ok(())
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A socket that listens at `path` in the place of whatever is there. The caller has a lock for the path, in a folder where nobody else
/// can write; without that lock this would take the path from a living broker.
///
/// The path leads to a socket that listens or, after a crash, to one that is dead, and never nowhere: who connects while a host follows on
/// another one need not tell these apart. A process that has inherited the old socket keeps nobody from the new one.
pub(super) fn replace(endpoint: &Endpoint, path: &Path, mode: u32) -> Result<Socket, BindError> {
    let new = path.with_extension("new");
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(BindError::io(endpoint, "remove a socket that was left half made")(error));
        }
        _ => {}
    }
    // Removed by its guard, unless it has got the path's name by then.
    let (socket, _file) = create(endpoint, &new)?;
    if mode != PRIVATE {
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(mode))
            .map_err(BindError::io(endpoint, "give the socket its mode"))?;
    }
    socket
        .listen(BACKLOG)
        .map_err(BindError::io(endpoint, "listen"))?;
    std::fs::rename(&new, path).map_err(BindError::io(endpoint, "put the socket at its path"))?;
    Ok(socket)
}

/// Refuses a folder in which somebody else could replace the socket.
fn check_folder(endpoint: &Endpoint, path: &Path) -> Result<(), BindError> {
    let folder = folder_of(path);
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    let wrong = |what: String| BindError::UnsafeFolder {
        path: folder.to_owned(),
        what,
    };
    let opened = rustix::fs::open(folder, flags, Mode::empty()).map_err(|error| match error {
        Errno::NOENT => wrong("does not exist".into()),
        Errno::LOOP | Errno::NOTDIR => wrong("is a symbolic link, or no folder".into()),
        error => BindError::io(endpoint, "open the folder of the socket")(io::Error::from(error)),
    })?;
    let there = rustix::fs::fstat(&opened).map_err(|error| {
        BindError::io(endpoint, "look at the folder of the socket")(io::Error::from(error))
    })?;
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
fn admit(endpoint: &Endpoint, path: &Path, options: &UnixOptions) -> Result<(), BindError> {
    if let Some(gid) = options.gid {
        std::os::unix::fs::lchown(path, None, Some(gid))
            .map_err(BindError::io(endpoint, "give the socket its group"))?;
    }
    if options.mode != PRIVATE {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(options.mode))
            .map_err(BindError::io(endpoint, "give the socket its mode"))?;
    }
    Ok(())
}

fn take_lock(endpoint: &Endpoint, path: &Path) -> Result<LockFile, BindError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    LockFile::acquire(&name).map_err(|error| match error {
        LockError::Held { pid } => BindError::InUse {
            endpoint: endpoint.clone(),
            pid,
        },
        LockError::OtherUser { uid } => BindError::OtherUser {
            endpoint: endpoint.clone(),
            uid,
        },
        LockError::Foreign { what } => BindError::Foreign { path: name, what },
        LockError::Io(source) => BindError::Io {
            endpoint: endpoint.clone(),
            action: "create the lock file beside it",
            source,
        },
    })
}

/// Makes the path free if a broker that is gone left its socket there. To be called under the lock.
fn remove_dead(endpoint: &Endpoint, path: &Path) -> Result<(), BindError> {
    let there = match std::fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(BindError::io(endpoint, "look at the path")(error)),
    };
    if there.uid() != rustix::process::geteuid().as_raw() {
        return Err(BindError::OtherUser {
            endpoint: endpoint.clone(),
            uid: there.uid(),
        });
    }
    let foreign = |what| {
        Err(BindError::Foreign {
            path: path.to_owned(),
            what,
        })
    };
    if !there.file_type().is_socket() {
        return foreign(describe(FileType::from_raw_mode(
            there.mode() as rustix::fs::RawMode
        )));
    }
    match probe(path).map_err(BindError::io(endpoint, "ask who listens there"))? {
        Found::Live(pid) => Err(BindError::InUse {
            endpoint: endpoint.clone(),
            pid,
        }),
        Found::OtherType => foreign("a socket that is not a stream socket"),
        Found::Gone => Ok(()),
        Found::Dead => match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(BindError::io(
                endpoint,
                "remove the socket of a broker that is gone",
            )(error)),
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

/// Connects, without waiting: only a listening socket takes that.
fn probe(path: &Path) -> io::Result<Found> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    let Err(error) = socket.connect(&address(path)?) else {
        return Ok(Found::Live(listener_pid(socket)));
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
pub(super) fn create(endpoint: &Endpoint, path: &Path) -> Result<(Socket, SocketFile), BindError> {
    let failed = |action| BindError::io(endpoint, action);
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed("make a socket"))?;
    socket.set_nonblocking(true).map_err(failed("make a socket"))?;
    // Linux creates the file with the mode of the descriptor; where that does not work chmod below does.
    #[cfg(target_os = "linux")]
    let _ = rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR);
    let address = address(path).map_err(failed("use the path"))?;
    socket.bind(&address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse {
            endpoint: endpoint.clone(),
            pid: None,
        },
        _ => failed("bind the path")(error),
    })?;
    let there = std::fs::symlink_metadata(path).map_err(failed("look at its own socket"))?;
    if !there.file_type().is_socket() || there.uid() != rustix::process::geteuid().as_raw() {
        return Err(BindError::Foreign {
            path: path.to_owned(),
            what: "replaced by somebody at this moment",
        });
    }
    let file = SocketFile {
        path: path.to_owned(),
        device: there.dev(),
        inode: there.ino(),
    };
    if there.permissions().mode() & 0o777 != PRIVATE {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(PRIVATE))
            .map_err(failed("restrict the socket to its user"))?;
    }
    Ok((socket, file))
}
