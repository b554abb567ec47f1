//! Which instance a call goes to.
//!
//! Owns the choice: the one with the fewest calls under way, in turn among equals, and none that has just failed. Pure; `caller.rs`
//! asks it under a lock.

use super::mesh::Instance;
use std::sync::Arc;

#[derive(Debug)]
struct Member {
    about: Instance,
    /// Held once here and once by each call under way.
    calls: Arc<()>,
    failed: bool,
}

/// An instance that a call goes to. The call counts as under way as long as this exists: one that is given up halfway, because its own
/// caller has died or wants no more of it, ends with it too.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) about: Instance,
    _call: Arc<()>,
}

/// The instances of one service, as a caller knows them.
#[derive(Debug, Default)]
pub(crate) struct Balance {
    members: Vec<Member>,
    /// Where the next choice begins.
    turn: usize,
}

impl Balance {
    /// The registry has said who is there. Those that stay keep their count, and a failed one gets another chance.
    pub(crate) fn update(&mut self, instances: Vec<Instance>) {
        let old = std::mem::take(&mut self.members);
        let before = |id| old.iter().find(|member| member.about.id == id);
        let member = |about: Instance| Member {
            calls: before(about.id).map_or_else(Arc::default, |member| Arc::clone(&member.calls)),
            about,
            failed: false,
        };
        self.members = instances.into_iter().map(member).collect();
    }

    /// Whom to call. `None`: there is nobody, ask the registry again.
    pub(crate) fn choose(&mut self) -> Option<Chosen> {
        let len = self.members.len();
        let in_turn = (0..len).map(|step| (self.turn + step) % len);
        let well = in_turn.filter_map(|at| {
            self.members
                .get(at)
                .filter(|it| !it.failed)
                .map(|it| (at, Arc::strong_count(&it.calls)))
        });
        // The first of the least, counted from whose turn it is.
        let (at, _) = well.min_by_key(|(_, under_way)| *under_way)?;
        self.turn = at + 1;
        let member = self.members.get_mut(at)?;
        Some(Chosen {
            about: member.about.clone(),
            _call: Arc::clone(&member.calls),
        })
    }

    /// A call did not reach the instance, which is out until the next update.
    pub(crate) fn failed(&mut self, id: u64) {
        if let Some(member) = self.members.iter_mut().find(|member| member.about.id == id) {
            member.failed = true;
        }
    }
}
