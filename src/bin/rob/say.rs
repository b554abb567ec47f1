//! What rob says on standard error beside its results: warnings, and what is going on.
//!
//! Owns that each word is one line written at once, so that processes which share a terminal do not write into each other's, and that
//! warnings are JSON for programs. What failed in the end is `main`'s. Called by every command that lasts.

use crate::output::compact;
use actix_ipc::terminal::printable;
use serde_json::json;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Programs read standard error.
static JSON: AtomicBool = AtomicBool::new(false);

/// From now on warnings are for programs, or for people.
pub(crate) fn for_programs(json: bool) {
    JSON.store(json, Ordering::Relaxed);
}

/// A warning: something is missing, or is not as it was asked for.
pub(crate) fn warn(text: &str) {
    if JSON.load(Ordering::Relaxed) {
        say(&compact(&json!({ "warning": { "message": text } }).to_string()));
    } else {
        say(&format!("rob: {}", printable(text)));
    }
}

/// What is going on, in the line that stands on standard output where people read it.
pub(crate) fn note(text: &str) {
    say(&printable(text));
}

/// Who has closed standard error does not want to know.
fn say(line: &str) {
    let _ = io::stderr().lock().write_all(format!("{line}\n").as_bytes());
}
