//! The broker through the client library, as a user would write it.

use std::path::Path;

pub fn worker(_socket: &Path) {
}

pub fn caller(_socket: &Path) {
}

pub fn publisher(_socket: &Path, _count: usize) {
}

pub fn subscriber(_socket: &Path, _count: usize) {
}
