//! What is there, asked of the two core actors as messages of their own.
//!
//! Owns the questions and the form of the answers. A survey is bounded by the limit in its question and by [`LOOKED_AT_MAX`], so it delays
//! traffic by less than a millisecond or two however much there is. Asked by the built-in object `sys.broker` when somebody wants to know.

use super::tally::ObjectTally;
use crate::actors::peer::PeerRef;
use crate::message::PeerId;
use actix::Message;
use std::sync::Arc;

/// Entries that a survey looks at; what is beyond is only counted.
pub const LOOKED_AT_MAX: usize = 20_000;
/// Subscribers of a topic that are named.
pub const NAMED_MAX: usize = 32;

/// Asks Registry for its connections and objects.
#[derive(Clone, Copy, Debug)]
pub struct SurveyRegistry;

impl Message for SurveyRegistry {
    type Result = RegistrySurvey;
}

/// What Registry knows.
#[derive(Debug, Default)]
pub struct RegistrySurvey {
    /// The peers.
    pub peers: Vec<PeerSurvey>,
    /// Peers that are not among them.
    pub peers_left_out: usize,
    /// The objects; those that were called first, also when nobody has them now.
    pub objects: Vec<ObjectSurvey>,
    /// Objects that are registered.
    pub registered: usize,
}

/// A connection.
#[derive(Clone, Debug)]
pub struct PeerSurvey {
    /// Which.
    pub peer: PeerRef,
    /// How many objects it holds.
    pub objects: usize,
    /// When it came, in microseconds of the broker's life.
    pub came_us: usize,
}

/// An object.
#[derive(Debug)]
pub struct ObjectSurvey {
    /// Its name.
    pub name: Box<str>,
    /// Its owner, or the first member of its group.
    pub owner: Option<PeerRef>,
    /// Members of its group, or 1.
    pub members: usize,
    /// Those who wait in its queue.
    pub queued: usize,
    /// What became of its calls; nothing when there were none.
    pub tally: Option<Arc<ObjectTally>>,
}

/// Asks TopicHub for its topics and subscribers.
#[derive(Clone, Copy, Debug)]
pub struct SurveyHub;

impl Message for SurveyHub {
    type Result = HubSurvey;
}

/// What TopicHub knows.
#[derive(Debug, Default)]
pub struct HubSurvey {
    /// What is subscribed to.
    pub topics: Vec<TopicSurvey>,
    /// Subscriptions that were not looked at.
    pub left_out: usize,
    /// All subscriptions.
    pub subscriptions: usize,
    /// Those who have subscribed to something.
    pub receivers: Vec<ReceiverSurvey>,
    /// Events that nobody heard.
    pub unheard: u64,
    /// Retained values.
    pub retained: usize,
}

/// What somebody subscribed to: a topic, or a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSurvey {
    /// `object 00 topic`, as it was written.
    pub key: Box<[u8]>,
    /// It selects more than one.
    pub pattern: bool,
    /// How many subscriptions.
    pub subscribers: usize,
    /// Events that it has selected since somebody subscribed to it first.
    pub events: u64,
    /// Whose they are; not all, when there are many.
    pub peers: Vec<PeerId>,
}

/// A subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiverSurvey {
    /// Which peer.
    pub peer: PeerId,
    /// How many subscriptions it has.
    pub subscriptions: usize,
    /// Events that it missed.
    pub missed: u64,
    /// How it keeps up.
    pub standing: &'static str,
}
