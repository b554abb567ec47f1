//! Which instance a call goes to.
//!
//! Owns the choice: the one with the fewest calls under way, in turn among equals, and none that has just failed. Pure; `caller.rs`
//! asks it under a lock.

use super::mesh::Instance;

#[derive(Debug)]
struct Member {
    about: Instance,
    under_way: u32,
    failed: bool,
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
        let under_way = |id| old.iter().find(|member| member.about.id == id);
        let member = |about: Instance| Member {
            under_way: under_way(about.id).map_or(0, |member| member.under_way),
            about,
            failed: false,
        };
        self.members = instances.into_iter().map(member).collect();
    }

    /// Whom to call. It counts as under way until [`Self::done`]. `None`: there is nobody, ask the registry again.
    pub(crate) fn choose(&mut self) -> Option<Instance> {
        let len = self.members.len();
        let in_turn = (0..len).map(|step| (self.turn + step) % len);
        let well = in_turn.filter_map(|at| {
            self.members
                .get(at)
                .filter(|it| !it.failed)
                .map(|it| (at, it.under_way))
        });
        // The first of the least, counted from whose turn it is.
        let (at, _) = well.min_by_key(|(_, under_way)| *under_way)?;
        self.turn = at + 1;
        let member = self.members.get_mut(at)?;
        member.under_way += 1;
        Some(member.about.clone())
    }

    /// A call has ended. One that did not reach the instance takes it out until the next update.
    pub(crate) fn done(&mut self, id: u64, reached: bool) {
        if let Some(member) = self.members.iter_mut().find(|member| member.about.id == id) {
            member.under_way = member.under_way.saturating_sub(1);
            member.failed |= !reached;
        }
    }
}
