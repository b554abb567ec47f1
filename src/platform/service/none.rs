//! No services of Windows on this system.
//!
//! Owns saying so; `service` has the words.

use super::{End, Registration, ServiceError};
use crate::platform::manager::State;
use std::io;
use std::path::PathBuf;

pub(super) const fn install(_: &Registration) -> Result<(), ServiceError> {
    Err(ServiceError::Unsupported)
}

pub(super) const fn remove(_: &str, _: &str) -> Result<(), ServiceError> {
    Err(ServiceError::Unsupported)
}

pub(super) fn run(_: &str, _: Box<dyn FnOnce() -> End + Send>) -> Result<(), ServiceError> {
    Err(ServiceError::Unsupported)
}

pub(super) fn log_path(_: &str) -> io::Result<PathBuf> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(super) const fn told(_: &State<'_>) {}
