//! Panics on purpose, for tests of the supervision. Without the feature `inject-panics` this file does nothing.
//!
//! A frame whose key begins with `inject.before` panics before the index is asked, one with `inject.after` when the step is done
//! but for its last line. A simulation arms a panic of the next step instead, whatever its frame.

/// Called when a step begins.
pub(super) fn before(key: &[u8]) {
    armed(true);
    panic_if(key, b"inject.before");
}

/// Called when a step ends.
pub(super) fn after(key: &[u8]) {
    armed(false);
    panic_if(key, b"inject.after");
}

#[cfg(feature = "inject-panics")]
#[expect(clippy::panic, reason = "this is what the feature is for")]
fn panic_if(key: &[u8], name: &[u8]) {
    if key.starts_with(name) {
        panic!("injected");
    }
}

#[cfg(not(feature = "inject-panics"))]
const fn panic_if(_: &[u8], _: &[u8]) {}

#[cfg(feature = "inject-panics")]
thread_local! {
    static ARMED: std::cell::Cell<Option<bool>> = const { std::cell::Cell::new(None) };
}

/// Makes the next step of a core actor on this thread panic: when it begins, or when it ends. `None` takes it back. Returns what was
/// armed and has not happened.
#[cfg(feature = "inject-panics")]
pub fn arm(begins: Option<bool>) -> Option<bool> {
    ARMED.replace(begins)
}

#[cfg(feature = "inject-panics")]
#[expect(clippy::panic, reason = "this is what the feature is for")]
fn armed(begins: bool) {
    if ARMED.get() == Some(begins) {
        ARMED.set(None);
        panic!("injected");
    }
}

#[cfg(not(feature = "inject-panics"))]
const fn armed(_: bool) {}
