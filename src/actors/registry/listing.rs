//! Answers about names and connections as JSON text, written at once and bounded while it is written.
//!
//! Owns the shape of what `list` and `describe` answer; knows no index. Called by `answer`.

use crate::actors::peer::PeerRef;
use serde::Serialize;
use serde_json::Value;

/// An object, as those who may see it are told.
#[derive(Serialize)]
pub(super) struct Shown<'a> {
    pub(super) name: &'a str,
    pub(super) owner: Option<ShownPeer<'a>>,
    pub(super) members: usize,
    pub(super) queued: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) balance: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<Value>,
}

/// A connection, in the same way.
#[derive(Serialize)]
pub(super) struct ShownPeer<'a> {
    peer: u64,
    pid: Option<u32>,
    uid: Option<u32>,
    name: &'a str,
    /// What it speaks.
    format: &'static str,
}

/// What is told of a peer.
pub(super) fn shown_peer(peer: &PeerRef) -> ShownPeer<'_> {
    let known = |number: u32, unknown: u32| (number != unknown).then_some(number);
    ShownPeer {
        peer: peer.id().0,
        pid: known(peer.origin.pid, 0),
        uid: known(peer.origin.uid, u32::MAX),
        name: peer.name(),
        format: peer.format(),
    }
}

/// A JSON text of lists that grows up to a limit.
pub(super) struct Listing {
    text: Vec<u8>,
    limit: usize,
    first: bool,
}

impl Listing {
    /// An empty text of at most `limit` bytes.
    pub(super) const fn new(limit: usize) -> Self {
        Self {
            text: Vec::new(),
            limit,
            first: true,
        }
    }

    /// Adds what stands between lists.
    pub(super) fn begin(&mut self, text: &str) {
        self.text.extend_from_slice(text.as_bytes());
        self.first = true;
    }

    /// Adds an item to the list. `false`: the text is too long already, more is of no use.
    pub(super) fn item(&mut self, item: &impl Serialize) -> bool {
        if !std::mem::take(&mut self.first) {
            self.text.push(b',');
        }
        serde_json::to_writer(&mut self.text, item).is_ok() && self.text.len() <= self.limit
    }

    /// The text, when it is within its limit.
    pub(super) fn done(self) -> Option<Vec<u8>> {
        (self.text.len() <= self.limit).then_some(self.text)
    }
}
