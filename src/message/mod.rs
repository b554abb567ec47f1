//! What crosses the wire, shared by broker and clients.
//!
//! Owns the frame layout, the codec, the names and ids, and the handshake contents. It refuses to know
//! sockets, actors, clocks and randomness: bytes come in, typed frames go out, and the other way round.
//! Called by `transport::io` users on both sides: the broker's Connection and the client's socket actor.
//!
//! The byte layout is described for other languages in `docs/protocol.md`; the constants here are its source.

pub mod arrivals;
pub mod attachment;
pub mod bus;
pub mod codec;
pub mod draft;
pub mod frame;
mod frame_error;
pub mod handshake;
pub mod id;
pub mod key;
pub mod meet;
pub mod metadata;
pub mod name;
pub mod payload;
pub mod selector;
pub mod token;
pub mod traceparent;

pub use attachment::{Attachment, Attachments};
pub use codec::{Batch, Decoder, FrameCodec};
pub use draft::Draft;
pub use frame::{Flags, FrameError, Header, Kind, Origin};
pub use handshake::{Hello, PROTOCOL_VERSION, Welcome};
pub use id::{CallId, Epoch, MessageId, PeerId, RequestId, SubscriptionId, Ticket};
pub use key::Key;
pub use meet::{Meet, Served, Terms};
pub use metadata::{Metadata, MetadataError};
pub use name::{EventName, Method, NameError, ObjectName, Pattern, PatternError};
pub use payload::{Encoding, Payload, PayloadError};
pub use token::Token;
pub use traceparent::{TraceParent, TraceParentError};
