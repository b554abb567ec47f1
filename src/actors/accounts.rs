//! What users and processes have of the broker, charged before it is stored and given back by being dropped.
//!
//! Owns the shared budgets of one broker ([`Accounts`]) and the way to hold a part of one for what is rare, a [`Charge`]. What grows
//! and shrinks is held by a [`Reserve`](super::memory::Reserve), which takes from the budget in large steps so that the hot path
//! only compares two numbers. The rule is `shares`'; what happens on refusal is the caller's. Knows no actor.

use super::shares::{Level, Refused, Shares, Who};
use crate::config::{Limits, raise};
use crate::error::{CallError, ErrorCode};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

/// What an open call is charged: its places in the tables of caller and callee.
pub const CALL_COST: usize = 512;

/// The part (1/n) of the memory of unknown processes that their connections leave to what they say.
const UNKNOWN_KEPT: usize = 8;

/// Which budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// Connections.
    Connections,
    /// Connections before their welcome.
    Handshakes,
    /// Bytes that are kept for peers.
    Memory,
    /// Bytes of memory that is shared with clients.
    Rings,
}

impl Budget {
    /// The key of its limit.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Handshakes => "handshakes",
            Self::Memory => "memory_bytes_total",
            Self::Rings => "ring_bytes_total",
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
            Level::Unknown => "the group of this user's connections whose process the system does not tell",
            Level::Connection => "this connection",
        };
        let what = match self.budget {
            Budget::Connections => "connections",
            Budget::Handshakes => "connections in their handshake",
            Budget::Memory => "bytes of the broker's memory",
            Budget::Rings => "bytes of memory shared with clients",
        };
        let Refused {
            held, asked, share, ..
        } = self.refused;
        let key = self.budget.key();
        let (total, how) = (self.total, raise(key));
        write!(
            f,
            "{who} has {held} {what}, asked for {asked} more and gets at most {share} as its share of {total} (limits.{key}); \
             give some back, or {how}"
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
    rings: Pool,
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

    /// All of `total` is for the processes of one user. The rule between users would keep half of it for others who never come.
    fn of_one_user(total: usize) -> Self {
        Self {
            total,
            shares: Mutex::new(Shares::new(total.saturating_mul(2), 2)),
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
            rings: Pool::of_one_user(limits.ring_bytes_total),
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
            Budget::Rings => &self.rings,
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

    /// What a connection costs of the memory by being there. Of unknown processes' the last eighth is left for what they say: theirs
    /// are many programs, and those that are idle must not take what it needs to serve the others.
    pub(super) fn charge_connection(self: &Arc<Self>, who: Who, cost: usize) -> Result<Charge, OverShare> {
        if who.pid == 0 {
            let pool = &self.memory;
            let shares = pool.lock();
            let kept = shares.share_alone() / UNKNOWN_KEPT;
            shares
                .check_leaving(who, cost, kept)
                .map_err(|refused| OverShare {
                    budget: Budget::Memory,
                    refused,
                    total: pool.total,
                })?;
        }
        self.charge(Budget::Memory, who, cost)
    }

    /// Takes back what a [`Charge`] has handed over.
    pub(super) fn release(&self, budget: Budget, who: Who, amount: usize) {
        self.pool(budget).lock().release(who, amount);
    }

    /// What remains of the memory, locked: see [`Reserve`](super::memory::Reserve).
    pub(super) fn memory(&self) -> (usize, MutexGuard<'_, Shares>) {
        (self.memory.total, self.memory.lock())
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
        let all = [
            Budget::Connections,
            Budget::Handshakes,
            Budget::Memory,
            Budget::Rings,
        ];
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

impl Charge {
    /// It is held by somebody else from now on, who gives it back with [`Accounts::release`].
    pub(super) fn hand_over(mut self) {
        self.amount = 0;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.amount > 0 {
            self.accounts.release(self.budget, self.who, self.amount);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Arc<Accounts> {
        Accounts::new(&Limits {
            memory_bytes_total: 8 << 20,
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
    fn a_process_leaves_half_of_the_shared_memory_to_the_next_and_all_of_it_is_for_one_user() {
        const RING: usize = 512 << 10;
        let accounts = Accounts::new(&Limits {
            ring_bytes_total: 128 * RING,
            ..Limits::default()
        });
        let got = |pid: u32| -> Vec<Charge> {
            let who = Who { pid, ..ME };
            std::iter::from_fn(|| accounts.charge(Budget::Rings, who, RING).ok()).collect()
        };
        let all: Vec<_> = (1..=3).map(got).collect();
        let counts: Vec<_> = all.iter().map(Vec::len).collect();
        // Half; a third of what the first has left; a quarter of what these two have left.
        assert_eq!(counts, [64, 21, 10]);
        let error = accounts.charge(Budget::Rings, ME, RING).unwrap_err();
        assert!(error.to_string().contains("limits.ring_bytes_total"), "{error}");
        drop(all);
        assert_eq!(accounts.level(Budget::Rings).held, 0);
    }
}
