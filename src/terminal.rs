//! What both binaries need to talk to people: the log's way to standard error, and "did you mean".
//!
//! How a peer's text is shown is [`crate::text`]'s, and how like two names are [`crate::likeness`]'s. It refuses to know frames,
//! settings and the broker. Called by the two binaries and by [`crate::settings`].

mod log;

pub use crate::likeness::nearest;
pub use crate::text::{hex, is_unsafe, json_safe, printable};
pub use log::{LogFormat, LogWriter, timestamp};
