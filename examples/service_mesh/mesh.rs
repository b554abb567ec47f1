//! Which instances of which services there are, and which of them are well.
//!
//! Owns the registry and the rule of health. Pure: it knows no connection and no clock, and counts checks instead of seconds.
//! `registry.rs` asks it under a lock.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most instances of all services.
pub(crate) const INSTANCES_MAX: usize = 1000;
/// Longest name of a service, in bytes.
pub(crate) const NAME_MAX: usize = 64;
/// Failed checks in a row after which an instance is out.
pub(crate) const FAILS: u32 = 3;
/// Passed checks in a row after which it is in again.
pub(crate) const PASSES: u32 = 2;

/// Why the registry refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MeshError {
    #[error("`{}` is no name of a service: 1 to {NAME_MAX} of a-z, 0-9 and -", .0.escape_debug())]
    Name(String),
    #[error("this connection has registered no instance {0}")]
    NoInstance(u64),
    #[error("there are {INSTANCES_MAX} instances already")]
    Full,
    #[error("`{}` is not where somebody can be called: {reason}", endpoint.escape_debug())]
    Endpoint { endpoint: String, reason: String },
    #[error("the instance does not answer its first check: {0}")]
    NotWell(String),
}

impl MeshError {
    /// The name by which a caller tells it from others.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Name(_) => "Name",
            Self::NoInstance(_) => "NoInstance",
            Self::Full => "Full",
            Self::Endpoint { .. } => "Endpoint",
            Self::NotWell(_) => "NotWell",
        }
    }
}

/// What an instance has done since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Metrics {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    /// Time in which it worked on requests, in microseconds.
    pub(crate) busy_us: u64,
}

/// An instance as those see it who look for one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Instance {
    pub(crate) id: u64,
    pub(crate) service: String,
    /// Where it is called.
    pub(crate) endpoint: String,
}

/// What a check has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It is out: nobody is sent there.
    Out,
    /// It is in again.
    In,
}

#[derive(Debug)]
struct Entry {
    /// The connection that registered it, and with whose end it goes.
    owner: u64,
    about: Instance,
    well: bool,
    /// Checks in a row that say the opposite.
    against: u32,
    metrics: Metrics,
}

/// The registry.
#[derive(Debug, Default)]
pub(crate) struct Mesh {
    entries: BTreeMap<u64, Entry>,
    registered: u64,
}

impl Mesh {
    /// Adds an instance, which is well: its number. Who has not heard the answer asks again, and gets the number that it has.
    pub(crate) fn register(&mut self, owner: u64, service: &str, endpoint: &str) -> Result<u64, MeshError> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if service.is_empty() || service.len() > NAME_MAX || !service.chars().all(plain) {
            return Err(MeshError::Name(service.to_owned()));
        }
        let known = self.entries.values().find(|entry| {
            entry.owner == owner && entry.about.service == service && entry.about.endpoint == endpoint
        });
        if let Some(known) = known {
            return Ok(known.about.id);
        }
        if self.entries.len() >= INSTANCES_MAX {
            return Err(MeshError::Full);
        }
        self.registered += 1;
        let about = Instance {
            id: self.registered,
            service: service.to_owned(),
            endpoint: endpoint.to_owned(),
        };
        let entry = Entry {
            owner,
            about,
            well: true,
            against: 0,
            metrics: Metrics::default(),
        };
        self.entries.insert(self.registered, entry);
        Ok(self.registered)
    }

    /// Takes an instance away, for who registered it.
    pub(crate) fn deregister(&mut self, owner: u64, id: u64) -> Result<(), MeshError> {
        self.owned(owner, id)?;
        self.entries.remove(&id);
        Ok(())
    }

    /// A connection has ended: its instances go, and are returned.
    pub(crate) fn lost(&mut self, owner: u64) -> Vec<Instance> {
        let gone: Vec<u64> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.owner == owner)
            .map(|(id, _)| *id)
            .collect();
        gone.iter()
            .filter_map(|id| self.entries.remove(id))
            .map(|entry| entry.about)
            .collect()
    }

    /// The instances of a connection, which are checked together.
    pub(crate) fn owned_by(&self, owner: u64) -> Vec<Instance> {
        let own = self.entries.values().filter(|entry| entry.owner == owner);
        own.map(|entry| entry.about.clone()).collect()
    }

    /// A check has an outcome. Only several in a row turn an instance, so that one slow answer does not.
    pub(crate) fn checked(&mut self, id: u64, passed: bool) -> Option<Turn> {
        let entry = self.entries.get_mut(&id)?;
        if passed == entry.well {
            entry.against = 0;
            return None;
        }
        entry.against += 1;
        let (limit, turn) = match entry.well {
            true => (FAILS, Turn::Out),
            false => (PASSES, Turn::In),
        };
        if entry.against < limit {
            return None;
        }
        entry.well = passed;
        entry.against = 0;
        Some(turn)
    }

    /// What an instance has done.
    pub(crate) fn report(&mut self, owner: u64, id: u64, metrics: Metrics) -> Result<(), MeshError> {
        self.owned(owner, id)?.metrics = metrics;
        Ok(())
    }

    /// The instances of a service that are well, by number.
    pub(crate) fn discover(&self, service: &str) -> Vec<Instance> {
        let of_it = self
            .entries
            .values()
            .filter(|entry| entry.well && entry.about.service == service);
        of_it.map(|entry| entry.about.clone()).collect()
    }

    /// Every service: how many of its instances are well, how many there are, and what they have done together.
    pub(crate) fn services(&self) -> Vec<(String, u32, u32, Metrics)> {
        let mut services: BTreeMap<&str, (u32, u32, Metrics)> = BTreeMap::new();
        for entry in self.entries.values() {
            let (well, all, sum) = services.entry(&entry.about.service).or_default();
            *well += u32::from(entry.well);
            *all += 1;
            sum.requests = sum.requests.saturating_add(entry.metrics.requests);
            sum.errors = sum.errors.saturating_add(entry.metrics.errors);
            sum.busy_us = sum.busy_us.saturating_add(entry.metrics.busy_us);
        }
        let list = services.into_iter();
        list.map(|(name, (well, all, sum))| (name.to_owned(), well, all, sum))
            .collect()
    }

    fn owned(&mut self, owner: u64, id: u64) -> Result<&mut Entry, MeshError> {
        let entry = self.entries.get_mut(&id).filter(|entry| entry.owner == owner);
        entry.ok_or(MeshError::NoInstance(id))
    }
}
