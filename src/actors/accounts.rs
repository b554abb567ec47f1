//! What users and processes have of the broker, charged before it is stored and given back by being dropped.
//!
//! Owns the shared budgets of one broker ([`Accounts`]) and the two ways to hold a part of one: a [`Charge`] for what is rare and a
//! [`Reserve`] for what grows and shrinks, which takes from the budget in large steps so that the hot path only compares two
//! numbers. The rule is `shares`'; what happens on refusal is the caller's. Knows no actor.

use super::shares::{Level, Refused, Shares, Who};
use crate::config::{Limits, raise};
use crate::error::{CallError, ErrorCode};
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::slips::{self, Slip};
use crate::sync::{Mutex, MutexGuard};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

const KIB: usize = 1024;

/// A reserve grows and shrinks in steps of this many bytes.
const STEP: usize = 64 * KIB;

/// The part (1/n) of a process's share that is kept for frames under way.
const MARGIN: usize = 8;

/// What an open call is charged: its places in the tables of caller and callee.
pub const CALL_COST: usize = 512;

/// Which budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// Connections.
    Connections,
    /// Connections before their welcome.
    Handshakes,
    /// Bytes that are kept for peers.
    Memory,
}

impl Budget {
    /// The key of its limit.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Handshakes => "handshakes",
            Self::Memory => "memory_bytes_total",
        }
    }
}

/// A share is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverShare {
    /// Of which budget.
    pub budget: Budget,
    /// Who has how much.
    pub refused: Refused,
    /// The whole budget.
    pub total: usize,
}

impl std::fmt::Display for OverShare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let who = match self.refused.level {
            Level::User => "this user",
            Level::Process => "this process",
            Level::Connection => "this connection",
        };
        let what = match self.budget {
            Budget::Connections => "connections",
            Budget::Handshakes => "connections in their handshake",
            Budget::Memory => "bytes of the broker's memory",
        };
        let (Refused { held, share, .. }, key) = (self.refused, self.budget.key());
        let (total, how) = (self.total, raise(key));
        write!(
            f,
            "{who} has {held} {what} and gets at most {share} as its share of {total} (limits.{key}); give some back, or {how}"
        )
    }
}

impl OverShare {
    /// The error of a request that did not fit.
    #[must_use]
    pub fn error(&self) -> CallError {
        CallError::new(ErrorCode::TooMany, self.to_string()).ran(false)
    }
}

/// One budget as `sys.broker` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Held {
    /// What all have together.
    pub held: usize,
    /// The limit.
    pub limit: usize,
    /// Users that have something.
    pub users: usize,
    /// Processes that have something.
    pub processes: usize,
}

/// The budgets of one broker.
#[derive(Debug)]
pub struct Accounts {
    /// Numbers that tell connections of unknown processes apart.
    next: AtomicU64,
    connections: Pool,
    handshakes: Pool,
    memory: Pool,
}

#[derive(Debug)]
struct Pool {
    total: usize,
    shares: Mutex<Shares>,
}

impl Pool {
    fn new(total: usize, user_part: usize) -> Self {
        Self {
            total,
            shares: Mutex::new(Shares::new(total, user_part)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shares> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Accounts {
    /// Empty accounts with these limits.
    #[must_use]
    pub fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            next: AtomicU64::new(1),
            connections: Pool::new(limits.connections, limits.user_part),
            handshakes: Pool::new(limits.handshakes, limits.user_part),
            memory: Pool::new(limits.memory_bytes_total, limits.user_part),
        })
    }

    /// A number for a connection; never given twice.
    #[must_use]
    pub fn next_connection(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    const fn pool(&self, budget: Budget) -> &Pool {
        match budget {
            Budget::Connections => &self.connections,
            Budget::Handshakes => &self.handshakes,
            Budget::Memory => &self.memory,
        }
    }

    /// Charges a budget.
    ///
    /// # Errors
    /// [`OverShare`]; nothing is charged then.
    pub fn charge(self: &Arc<Self>, budget: Budget, who: Who, amount: usize) -> Result<Charge, OverShare> {
        self.take(budget, who, amount)?;
        Ok(Charge {
            accounts: self.clone(),
            budget,
            who,
            amount,
        })
    }

    fn take(&self, budget: Budget, who: Who, amount: usize) -> Result<(), OverShare> {
        let pool = self.pool(budget);
        pool.lock().charge(who, amount).map_err(|refused| OverShare {
            budget,
            refused,
            total: pool.total,
        })
    }

    /// What all have of a budget.
    #[must_use]
    pub fn level(&self, budget: Budget) -> Held {
        let pool = self.pool(budget);
        let shares = pool.lock();
        let (users, processes) = shares.holders();
        Held {
            held: shares.held(),
            limit: pool.total,
            users,
            processes,
        }
    }

    /// All budgets, by the keys of their limits.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<&'static str, Held> {
        let all = [Budget::Connections, Budget::Handshakes, Budget::Memory];
        all.into_iter()
            .map(|budget| (budget.key(), self.level(budget)))
            .collect()
    }

    /// What a process has of a budget.
    #[must_use]
    pub fn held_by(&self, budget: Budget, who: Who) -> usize {
        self.pool(budget).lock().held_by(who)
    }
}

/// A part of a budget; dropping it gives it back.
#[derive(Debug)]
pub struct Charge {
    accounts: Arc<Accounts>,
    budget: Budget,
    who: Who,
    amount: usize,
}

impl Drop for Charge {
    fn drop(&mut self) {
        let pool = self.accounts.pool(self.budget);
        pool.lock().release(self.who, self.amount);
    }
}

/// Memory for something that grows and shrinks. The first `free` bytes are charged with the connection; more is taken from the
/// budget in steps. Dropping it gives all back.
#[derive(Debug)]
pub struct Reserve {
    free: usize,
    /// Beyond `free`; changed only under the budget's lock.
    reserved: AtomicUsize,
    /// It leaves a part of the share to what has not this mark: what a peer makes us keep for long must not take the room of the
    /// frames that it would take to give some back.
    lasting: bool,
    /// `None`: nobody's memory (an actor of the broker's own process, a simulator).
    from: Option<(Arc<Accounts>, Who)>,
}

impl Reserve {
    const fn new(free: usize, lasting: bool, from: Option<(Arc<Accounts>, Who)>) -> Self {
        Self {
            free,
            lasting,
            reserved: AtomicUsize::new(0),
            from,
        }
    }

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
        let Some((accounts, who)) = &self.from else {
            return Ok(());
        };
        let pool = &accounts.memory;
        let early = slips::is(Slip::ReserveReadsEarly).then(|| self.reserved.load(Ordering::Acquire));
        let mut shares = pool.lock();
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
            shares.check(*who, more.saturating_add(margin))?;
            shares.charge(*who, more).map(|()| more)
        };
        // A share that has no room for a whole step may have it for what is needed.
        let taken = take(rounded).or_else(|_| take(exact));
        let more = taken.map_err(|refused| OverShare {
            budget: Budget::Memory,
            refused,
            total: pool.total,
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
        let Some((accounts, who)) = &self.from else { return };
        let mut shares = accounts.memory.lock();
        let reserved = self.reserved.load(Ordering::Acquire);
        if let Some(surplus) = reserved.checked_sub(needed) {
            shares.release(*who, surplus);
            self.reserved.store(needed, Ordering::Release);
        }
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

/// The memory that is kept for one peer, by what it is for. Together, what they
/// have without asking is within [`crate::config::CONNECTION_COST`].
#[derive(Debug)]
pub struct Memory {
    /// What is queued for it.
    pub queue: Reserve,
    /// What it has open as caller and as callee, and what waits with its calls.
    pub calls: Reserve,
    /// The frame of it that has started.
    pub frame: Reserve,
    /// What Registry keeps for it.
    pub names: Reserve,
    /// What TopicHub keeps for it.
    pub topics: Reserve,
}

impl Memory {
    /// Memory that is charged to nobody.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self {
            queue: Reserve::new(0, false, None),
            calls: Reserve::new(0, false, None),
            frame: Reserve::new(0, false, None),
            names: Reserve::new(0, false, None),
            topics: Reserve::new(0, false, None),
        }
    }

    /// Charges something that neither grows nor shrinks; `None` when nobody is charged.
    ///
    /// # Errors
    /// [`OverShare`]; nothing is charged then.
    pub fn charge(&self, bytes: usize) -> Result<Option<Charge>, OverShare> {
        let from = self.queue.from.as_ref();
        from.map(|(accounts, who)| accounts.charge(Budget::Memory, *who, bytes))
            .transpose()
    }

    /// Memory that is charged to somebody's account.
    #[must_use]
    pub fn of(accounts: &Arc<Accounts>, who: Who) -> Self {
        let from = || Some((accounts.clone(), who));
        Self {
            queue: Reserve::new(12 * KIB, true, from()),
            calls: Reserve::new(4 * KIB, true, from()),
            frame: Reserve::new(4 * KIB, false, from()),
            names: Reserve::new(4 * KIB, true, from()),
            topics: Reserve::new(4 * KIB, true, from()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_charge_is_given_back_by_its_drop_and_a_refusal_names_the_limit() {
        let accounts = accounts();
        let held: Vec<_> = (0..10)
            .map(|_| accounts.charge(Budget::Connections, ME, 1).unwrap())
            .collect();
        let text = accounts
            .charge(Budget::Connections, ME, 1)
            .unwrap_err()
            .to_string();
        assert!(text.contains("limits.connections"), "{text}");
        assert!(text.contains("IPC_BROKER_LIMITS__CONNECTIONS"), "{text}");
        drop(held);
        assert_eq!(accounts.level(Budget::Connections).held, 0);
    }

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
            memory.queue.cover(bytes).unwrap();
            assert_eq!(held(), expected, "{bytes}");
        }
        // A step more than needed stays while anything is queued.
        memory.queue.settle(12 * KIB + 1);
        assert_eq!(held(), 2 * STEP);
        memory.queue.settle(12 * KIB);
        assert_eq!(held(), 0);
        memory.queue.cover(500 * KIB).unwrap();
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
        memory.frame.cover(4 * KIB + share - 101).unwrap();
        memory.frame.cover(4 * KIB + share - 100).unwrap();
        let over = memory.frame.cover(4 * KIB + share - 99).unwrap_err();
        assert!(over.to_string().contains("limits.memory_bytes_total"));
        assert_eq!(
            memory.frame.covered(),
            4 * KIB + share - 100,
            "what it had, it keeps"
        );
        memory.frame.settle(0);
        // What lasts leaves an eighth.
        let lasting = share / 8 * 7;
        for (bytes, fits) in [
            (lasting - 101, true),
            (lasting - 100, true),
            (lasting - 99, false),
        ] {
            assert_eq!(memory.names.cover(4 * KIB + bytes).is_ok(), fits, "{bytes}");
        }
        drop((other, memory));
        assert_eq!(accounts.level(Budget::Memory).held, 0);
    }

    #[test]
    fn nobodys_memory_is_not_counted() {
        let memory = Memory::unlimited();
        memory.queue.cover(usize::MAX).unwrap();
        memory.queue.settle(0);
    }
}
