//! How many events each key has selected, and what is subscribed to.
//!
//! Owns when an event is counted: the first one with a list where the list is looked up, those that follow when the next list is, so that a
//! run costs one addition. A part of [`Index`], in a file of its own; counts begin anew when the index is rebuilt.

use super::{Index, Selector, Subscribers};
use crate::actors::observe::survey::{NAMED_MAX, TopicSurvey};
use crate::actors::peer_key::PeerKey;
use crate::message::PeerId;
use std::collections::HashMap;

impl<P: PeerKey> Index<P> {
    /// So many events more are heard by those of the last list. (The first one was counted when the list was asked for.)
    pub fn count_more(&mut self, events: u32) {
        let events = u64::from(events);
        self.recent.uncounted = self.recent.uncounted.saturating_add(events);
        if self.recent.matches.is_empty() {
            self.unheard = self.unheard.saturating_add(events);
        }
    }

    /// Events that nobody heard.
    #[must_use]
    pub const fn unheard(&self) -> u64 {
        self.unheard
    }

    /// How many topics have a retained value.
    #[must_use]
    pub fn retained_count(&self) -> usize {
        self.retained.len()
    }

    /// How many hear an event of the last list.
    pub(in super::super) fn last_matches(&self) -> u32 {
        u32::try_from(self.recent.matches.len()).unwrap_or(u32::MAX)
    }

    /// What is subscribed to, from so many subscriptions at most, and how many there are beyond. `named`: a subscriber's number.
    pub(in super::super) fn topics(
        &mut self,
        most: usize,
        named: impl Fn(P) -> Option<PeerId>,
    ) -> (Vec<TopicSurvey>, usize) {
        self.count_repeated();
        let mut rows: HashMap<(&[u8], bool), TopicSurvey> = HashMap::new();
        for ((peer, _), place) in self.subscriptions.iter().take(most) {
            let row = rows
                .entry((&place.key, place.pattern))
                .or_insert_with(|| TopicSurvey {
                    key: place.key.clone(),
                    pattern: place.pattern,
                    subscribers: 0,
                    events: 0,
                    peers: Vec::new(),
                });
            row.subscribers = row.subscribers.saturating_add(1);
            let new = named(*peer).filter(|peer| row.peers.len() < NAMED_MAX && !row.peers.contains(peer));
            row.peers.extend(new);
        }
        let mut rows: Vec<_> = rows.into_values().collect();
        for row in &mut rows {
            // Without a wildcard a pattern lies where the topics lie.
            let wild = row.pattern && Selector::parse(&row.key).is_ok_and(|selector| selector.is_wild());
            let found = match wild {
                true => self.patterns.get_mut(&row.key),
                false => self.exact.get_mut(&*row.key),
            };
            row.events = found.map_or(0, |subscribers| subscribers.events());
        }
        let left_out = self.subscription_count().saturating_sub(most);
        (rows, left_out)
    }

    /// Counts what was published again and again to the last topic with those who hear it.
    pub(super) fn count_repeated(&mut self) {
        let events = std::mem::take(&mut self.recent.uncounted);
        if events == 0 {
            return;
        }
        if let Some(subscribers) = self.exact.get_mut(self.recent.key.as_slice()) {
            subscribers.count(events);
        }
        if !self.patterns.is_empty() {
            let mut count = |subscribers: &mut Subscribers<P>| subscribers.count(events);
            self.patterns.walk(&self.recent.key, &mut count);
        }
    }
}
