//! Panics on purpose, for tests of the supervision. Without the feature `inject-panics` this file does nothing.
//!
//! A frame whose key begins with `inject.before` panics before the index is asked, one with `inject.after` when the step is done
//! but for its last line.

/// Called when a step begins.
pub(super) fn before(key: &[u8]) {
    panic_if(key, b"inject.before");
}

/// Called when a step ends.
pub(super) fn after(key: &[u8]) {
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
