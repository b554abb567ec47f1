//! A kernel object that travels with a frame, as an opaque, shared handle.
//!
//! The message layer counts attachments and keeps them alive; only the transport that received or sends
//! one knows what it is (a file descriptor on Unix, a handle on Windows) and downcasts it.

use std::any::Any;
use std::sync::Arc;

/// A shared handle to a kernel object. The last clone to be dropped closes it.
pub type Attachment = Arc<dyn Any + Send + Sync>;
