//! The memory that is kept for one peer: five parts that grow and shrink in steps of the broker's budget.
//!
//! Owns what of it is reserved, and when a step is taken and given back; the budget itself is `accounts`'. Whose memory it is stands
//! there once, so that an idle connection pays for little more than five counters. Called by whoever stores something for a peer.

use super::accounts::{Accounts, Budget, Charge, OverShare};
use super::shares::{Refused, Who};
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::slips::{self, Slip};
use std::sync::Arc;

const KIB: usize = 1024;
/// A reserve grows and shrinks in steps of this many bytes.
const STEP: usize = 64 * KIB;
/// The part (1/n) of a process's share that is kept for frames under way.
const MARGIN: usize = 8;

/// Memory for something that grows and shrinks: one part of a peer's [`Memory`], looked at where it is needed. The first `free` bytes
/// are charged with the connection; more is taken from the budget in steps.
#[derive(Clone, Copy, Debug)]
pub struct Reserve<'a> {
    free: usize,
    /// It leaves a part of the share to what has not this mark: what a peer makes us keep for long must not take the room of the
    /// frames that it would take to give some back.
    lasting: bool,
    /// Beyond `free`; changed only under the budget's lock.
    reserved: &'a AtomicUsize,
    /// `None`: nobody's memory (an actor of the broker's own process, a simulator).
    from: Option<&'a (Arc<Accounts>, Who)>,
}

impl Reserve<'_> {
    /// Bytes that are covered now.
    #[must_use]
    pub fn covered(&self) -> usize {
        match self.from {
            Some(_) => self.free.saturating_add(self.reserved.load(Ordering::Acquire)),
            None => usize::MAX,
        }
    }

    /// Makes sure that `bytes` are covered, counted from nothing.
    ///
    /// # Errors
    /// [`OverShare`]; what was covered before still is.
    pub fn cover(&self, bytes: usize) -> Result<(), OverShare> {
        if bytes <= self.covered() {
            return Ok(());
        }
        self.grow(bytes)
    }

    #[cold]
    fn grow(&self, bytes: usize) -> Result<(), OverShare> {
        let Some((accounts, who)) = self.from else {
            return Ok(());
        };
        let early = slips::is(Slip::ReserveReadsEarly).then(|| self.reserved.load(Ordering::Acquire));
        let (total, mut shares) = accounts.memory();
        let reserved = early.unwrap_or_else(|| self.reserved.load(Ordering::Acquire));
        let wanted = bytes.saturating_sub(self.free);
        let Some(exact) = wanted.checked_sub(reserved).filter(|more| *more > 0) else {
            return Ok(());
        };
        let rounded = exact.div_ceil(STEP).saturating_mul(STEP);
        let margin = if self.lasting {
            shares.share_alone() / MARGIN
        } else {
            0
        };
        let mut take = |more: usize| {
            shares.check_leaving(*who, more, margin)?;
            shares.charge(*who, more).map(|()| more)
        };
        // A share that has no room for a whole step may have it for what is needed.
        let taken = take(rounded).or_else(|_| take(exact));
        let more = taken.map_err(|refused| OverShare {
            budget: Budget::Memory,
            refused: Refused {
                asked: exact,
                ..refused
            },
            total,
        })?;
        self.reserved
            .store(reserved.saturating_add(more), Ordering::Release);
        Ok(())
    }

    /// Whether it has taken anything from the budget.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.reserved.load(Ordering::Relaxed) > 0
    }

    /// Gives back what is covered beyond `bytes`, up to a step that is kept while anything is needed.
    pub fn settle(&self, bytes: usize) {
        let reserved = self.reserved.load(Ordering::Acquire);
        if reserved == 0 {
            return;
        }
        let needed = bytes
            .saturating_sub(self.free)
            .div_ceil(STEP)
            .saturating_mul(STEP);
        let kept = if bytes <= self.free {
            0
        } else {
            needed.saturating_add(STEP)
        };
        if reserved > kept {
            self.shrink(kept.min(needed));
        }
    }

    #[cold]
    fn shrink(&self, needed: usize) {
        let Some((accounts, who)) = self.from else { return };
        let (_, mut shares) = accounts.memory();
        let reserved = self.reserved.load(Ordering::Acquire);
        if let Some(surplus) = reserved.checked_sub(needed) {
            shares.release(*who, surplus);
            self.reserved.store(needed, Ordering::Release);
        }
    }
}

/// The memory that is kept for one peer, by what it is for. Together, what they
/// have without asking is within [`crate::config::CONNECTION_COST`]. Dropping it gives all back.
#[derive(Debug)]
pub struct Memory {
    /// Whose it is, once for all parts: an idle connection has nothing but this.
    from: Option<(Arc<Accounts>, Who)>,
    queue: AtomicUsize,
    calls: AtomicUsize,
    frame: AtomicUsize,
    names: AtomicUsize,
    topics: AtomicUsize,
}

impl Memory {
    /// Memory that is charged to nobody.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self::new(None)
    }

    /// Memory that is charged to somebody's account.
    #[must_use]
    pub fn of(accounts: &Arc<Accounts>, who: Who) -> Self {
        Self::new(Some((accounts.clone(), who)))
    }

    const fn new(from: Option<(Arc<Accounts>, Who)>) -> Self {
        Self {
            from,
            queue: AtomicUsize::new(0),
            calls: AtomicUsize::new(0),
            frame: AtomicUsize::new(0),
            names: AtomicUsize::new(0),
            topics: AtomicUsize::new(0),
        }
    }

    /// Whose it is; `None` when nobody is charged.
    #[must_use]
    pub fn who(&self) -> Option<Who> {
        self.from.as_ref().map(|(_, who)| *who)
    }

    /// All that is reserved for it beyond what it has without asking.
    #[must_use]
    pub fn reserved(&self) -> usize {
        let parts = [&self.queue, &self.calls, &self.frame, &self.names, &self.topics];
        parts
            .into_iter()
            .fold(0, |sum, part| sum.saturating_add(part.load(Ordering::Relaxed)))
    }

    /// What is queued for it.
    #[must_use]
    pub const fn queue(&self) -> Reserve<'_> {
        self.lasting(12 * KIB, &self.queue)
    }

    /// What it has open as caller and as callee, and what waits with its calls.
    #[must_use]
    pub const fn calls(&self) -> Reserve<'_> {
        self.lasting(4 * KIB, &self.calls)
    }

    /// The frame of it that has started.
    #[must_use]
    pub const fn frame(&self) -> Reserve<'_> {
        Reserve {
            lasting: false,
            ..self.lasting(4 * KIB, &self.frame)
        }
    }

    /// What Registry keeps for it.
    #[must_use]
    pub const fn names(&self) -> Reserve<'_> {
        self.lasting(4 * KIB, &self.names)
    }

    /// What TopicHub keeps for it.
    #[must_use]
    pub const fn topics(&self) -> Reserve<'_> {
        self.lasting(4 * KIB, &self.topics)
    }

    const fn lasting<'a>(&'a self, free: usize, reserved: &'a AtomicUsize) -> Reserve<'a> {
        Reserve {
            free,
            lasting: true,
            reserved,
            from: self.from.as_ref(),
        }
    }

    /// Charges something that neither grows nor shrinks; `None` when nobody is charged.
    ///
    /// # Errors
    /// [`OverShare`]; nothing is charged then.
    pub fn charge(&self, bytes: usize) -> Result<Option<Charge>, OverShare> {
        let from = self.from.as_ref();
        from.map(|(accounts, who)| accounts.charge(Budget::Memory, *who, bytes))
            .transpose()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let all = [
            self.queue(),
            self.calls(),
            self.frame(),
            self.names(),
            self.topics(),
        ];
        for reserve in all.into_iter().filter(|reserve| reserve.is_reserved()) {
            reserve.shrink(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;

    fn accounts() -> Arc<Accounts> {
        Accounts::new(&Limits {
            memory_bytes_total: 8 * 1024 * KIB,
            connections: 80,
            ..Limits::default()
        })
    }

    const ME: Who = Who {
        uid: 1,
        pid: 2,
        connection: 0,
    };

    #[test]
    fn a_reserve_takes_steps_and_gives_them_back() {
        let accounts = accounts();
        let memory = Memory::of(&accounts, ME);
        let held = || accounts.level(Budget::Memory).held;
        for (bytes, expected) in [
            (12 * KIB, 0),
            (12 * KIB + 1, STEP),
            (12 * KIB + STEP, STEP),
            (12 * KIB + STEP + 1, 2 * STEP),
            (1, 2 * STEP),
        ] {
            memory.queue().cover(bytes).unwrap();
            assert_eq!(held(), expected, "{bytes}");
        }
        // A step more than needed stays while anything is queued.
        memory.queue().settle(12 * KIB + 1);
        assert_eq!(held(), 2 * STEP);
        memory.queue().settle(12 * KIB);
        assert_eq!(held(), 0);
        memory.queue().cover(500 * KIB).unwrap();
        drop(memory);
        assert_eq!(held(), 0);
    }

    #[test]
    fn the_last_bytes_of_a_share_are_not_lost_to_rounding() {
        let accounts = accounts();
        let memory = Memory::of(&accounts, ME);
        // One process of one user has an eighth of the whole.
        let share = 1024 * KIB;
        let other = accounts.charge(Budget::Memory, ME, 100).unwrap();
        memory.frame().cover(4 * KIB + share - 101).unwrap();
        memory.frame().cover(4 * KIB + share - 100).unwrap();
        let over = memory.frame().cover(4 * KIB + share - 99).unwrap_err();
        assert!(over.to_string().contains("limits.memory_bytes_total"));
        assert_eq!(
            memory.frame().covered(),
            4 * KIB + share - 100,
            "what it had, it keeps"
        );
        memory.frame().settle(0);
        // What lasts leaves an eighth.
        let lasting = share / 8 * 7;
        for (bytes, fits) in [
            (lasting - 101, true),
            (lasting - 100, true),
            (lasting - 99, false),
        ] {
            assert_eq!(memory.names().cover(4 * KIB + bytes).is_ok(), fits, "{bytes}");
        }
        drop((other, memory));
        assert_eq!(accounts.level(Budget::Memory).held, 0);
    }

    #[test]
    fn nobodys_memory_is_not_counted() {
        let memory = Memory::unlimited();
        memory.queue().cover(usize::MAX).unwrap();
        memory.queue().settle(0);
    }
}
