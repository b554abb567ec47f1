//! One budget, shared fairly among users, and inside a user among its processes.
//!
//! Owns the rule and the sums, no clock, no lock, no idea of what is counted (bytes, connections). Called by `accounts`, which locks
//! it, and by the table of retained values, whose values outlive those who published them.
//!
//! The rule, at each level: with `n` holders that have something, one may take more while `(n + 1) · (own + charge) ≤ what the
//! others left`. As long as no more than half of the budget is taken afterwards, only those holders count that have more than
//! a 64th of it: many that do next to nothing must not make the share of a busy one small.
//!
//! Order the holders by their last charge. When the last charge was made that did not count all of them, those before it had at most
//! half of the budget together. After that the `i`-th saw at least the `i - 1` before it, which have not grown since, so it has
//! at most `1/(i + 1)` of what they left, and by induction at least `1/(n + 1)` of the other half is always free. Who comes as
//! the `n`-th is therefore assured `1/(2 n (n + 1))`, whatever the others do: a process that takes all it can get leaves room for
//! the next.
//!
//! Connections whose process the system does not tell (over TCP, out of another PID namespace) are one process of their user. What
//! each of them is charged for being there is the process's ([`Who::connection`] is 0 then); of the rest of what the process may
//! have they share by the same rule, and so only those count there that have something.
//!
//! A user's processes share a fixed part of the budget (`total / user_part`). As long as at most `user_part / 2` users take
//! all they can, the rule between users never refuses what the rule inside one allows.

use std::collections::HashMap;

/// Whose charge it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Who {
    /// The user; `u32::MAX` when it is not known.
    pub uid: u32,
    /// The process; 0 when it is not known. Such connections of one user count as one process, so that many of them do not press on
    /// those that can be told apart; inside it they share by the same rule.
    pub pid: u32,
    /// Tells connections of unknown processes apart; 0: not told apart, what the process has as a whole.
    pub connection: u64,
}

impl Who {
    /// Whether its connections are told apart.
    const fn is_apart(self) -> bool {
        self.connection != 0 && self.pid == 0
    }
}

/// The level at which a charge did not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// The user's processes together.
    User,
    /// The process.
    Process,
    /// The connections of unknown processes together.
    Unknown,
    /// The connection of an unknown process.
    Connection,
}

/// A charge that does not fit its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Who would have too much.
    pub level: Level,
    /// What it has.
    pub held: usize,
    /// What it asked for beside that.
    pub asked: usize,
    /// The most that it may have as things are.
    pub share: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct User {
    held: usize,
    /// Processes that count also while there is plenty.
    large: usize,
    processes: HashMap<u32, Process>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Process {
    held: usize,
    /// Of it, what is told apart by connection.
    apart: usize,
    /// Connections that count also while there is plenty.
    large: usize,
    connections: HashMap<u64, usize>,
}

/// The budget and who has how much of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shares {
    total: usize,
    user_part: usize,
    held: usize,
    /// Users that count also while there is plenty.
    large: usize,
    users: HashMap<u32, User>,
}

/// The part (1/n) of a budget from which on a holder counts also while there is plenty.
const LARGE: usize = 64;
/// At most this part (1/n) of a share is kept back.
const KEPT: usize = 8;

/// One level, as it stands: the budget, and who has how much of it.
#[derive(Clone, Copy)]
struct Pool {
    total: usize,
    /// What [`is_large`] is measured by.
    whole: usize,
    holders: usize,
    large: usize,
    held: usize,
}

/// Whether a holder with so much of a budget counts also while there is plenty.
const fn is_large(held: usize, total: usize) -> bool {
    held > total / LARGE
}

/// Counts a holder whose amount has changed.
const fn recount(large: &mut usize, total: usize, before: usize, now: usize) {
    match (is_large(before, total), is_large(now, total)) {
        (false, true) => *large = large.saturating_add(1),
        (true, false) => *large = large.saturating_sub(1),
        _ => {}
    }
}

impl Shares {
    /// A budget of `total`, of which one user gets at most the part `1/user_part`.
    #[must_use]
    pub fn new(total: usize, user_part: usize) -> Self {
        Self {
            total,
            user_part: user_part.max(1),
            held: 0,
            large: 0,
            users: HashMap::new(),
        }
    }

    /// What all have together.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.held
    }

    /// Whether nobody has anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held == 0 && self.users.is_empty()
    }

    /// What one process gets when nobody else has anything.
    #[must_use]
    pub const fn share_alone(&self) -> usize {
        self.total / self.user_part / 2
    }

    /// How many users and how many processes have something.
    #[must_use]
    pub fn holders(&self) -> (usize, usize) {
        let processes = self.users.values().map(|user| user.processes.len()).sum();
        (self.users.len(), processes)
    }

    /// What the process has.
    #[must_use]
    pub fn held_by(&self, who: Who) -> usize {
        self.process(who).map_or(0, |process| process.held)
    }

    fn process(&self, who: Who) -> Option<&Process> {
        self.users.get(&who.uid)?.processes.get(&who.pid)
    }

    /// Whether the charge fits.
    ///
    /// # Errors
    /// [`Refused`] at the first level where it does not.
    pub fn check(&self, who: Who, charge: usize) -> Result<(), Refused> {
        self.check_leaving(who, charge, 0)
    }

    /// Whether the charge fits and leaves `kept` of its share free, or an eighth of the share when that is less.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn check_leaving(&self, who: Who, charge: usize, kept: usize) -> Result<(), Refused> {
        let user = self.users.get(&who.uid);
        let process = self.process(who);
        let user_held = user.map_or(0, |user| user.held);
        let process_held = process.map_or(0, |process| process.held);
        let all = Pool {
            total: self.total,
            whole: self.total,
            holders: self.users.len(),
            large: self.large,
            held: self.held,
        };
        all.fits(user_held, charge, kept)
            .map_err(refused(Level::User, charge))?;
        let of_user = self.total / self.user_part;
        let inside = Pool {
            total: of_user,
            whole: of_user,
            holders: user.map_or(0, |user| user.processes.len()),
            large: user.map_or(0, |user| user.large),
            held: user_held,
        };
        let level = match who.pid {
            0 => Level::Unknown,
            _ => Level::Process,
        };
        inside
            .fits(process_held, charge, kept)
            .map_err(refused(level, charge))?;
        if who.is_apart() {
            let connections = process.map(|process| &process.connections);
            let own = connections.and_then(|all| all.get(&who.connection)).copied();
            let apart = process.map_or(0, |process| process.apart);
            let of_process = Pool {
                // Without what they are charged for being there: an idle one takes from nobody but by its own cost.
                total: (of_user / 2).saturating_sub(process_held.saturating_sub(apart)),
                whole: of_user / 2,
                holders: connections.map_or(0, HashMap::len),
                large: process.map_or(0, |process| process.large),
                held: apart,
            };
            of_process
                .fits(own.unwrap_or(0), charge, kept)
                .map_err(refused(Level::Connection, charge))?;
        }
        Ok(())
    }

    /// Takes the charge if it fits.
    ///
    /// # Errors
    /// [`Refused`]; nothing is charged then.
    pub fn charge(&mut self, who: Who, charge: usize) -> Result<(), Refused> {
        if charge == 0 {
            return Ok(());
        }
        self.check(who, charge)?;
        self.add(who, charge);
        Ok(())
    }

    /// Takes the charge without asking: something that was allowed before.
    pub fn add(&mut self, who: Who, charge: usize) {
        if charge == 0 {
            return;
        }
        let of_user = self.total / self.user_part;
        self.held = self.held.saturating_add(charge);
        let user = self.users.entry(who.uid).or_default();
        let before = user.held;
        user.held = before.saturating_add(charge);
        recount(&mut self.large, self.total, before, user.held);
        let process = user.processes.entry(who.pid).or_default();
        let before = process.held;
        process.held = before.saturating_add(charge);
        recount(&mut user.large, of_user, before, process.held);
        if who.is_apart() {
            process.apart = process.apart.saturating_add(charge);
            let connection = process.connections.entry(who.connection).or_default();
            let before = *connection;
            *connection = before.saturating_add(charge);
            recount(&mut process.large, of_user / 2, before, *connection);
        }
    }

    /// Another budget from now on; what is held stays.
    pub fn set_budget(&mut self, total: usize, user_part: usize) {
        self.total = total;
        self.user_part = user_part.max(1);
        let of_user = self.total / self.user_part;
        for user in self.users.values_mut() {
            for process in user.processes.values_mut() {
                let connections = process.connections.values();
                process.large = connections.filter(|held| is_large(**held, of_user / 2)).count();
            }
            let processes = user.processes.values();
            user.large = processes.filter(|one| is_large(one.held, of_user)).count();
        }
        let users = self.users.values();
        self.large = users.filter(|one| is_large(one.held, total)).count();
    }

    /// Gives back what was charged. Who has nothing left is forgotten.
    pub fn release(&mut self, who: Who, charge: usize) {
        let Some(user) = self.users.get_mut(&who.uid) else {
            debug_assert!(charge == 0, "released {charge} of nothing");
            return;
        };
        let Some(process) = user.processes.get_mut(&who.pid) else {
            debug_assert!(charge == 0, "released {charge} of nothing");
            return;
        };
        debug_assert!(charge <= process.held, "released {charge} of {}", process.held);
        // Never more than it had: what a bug releases twice must not make room that is not there.
        let charge = charge.min(process.held);
        let of_user = self.total / self.user_part;
        let before = process.held;
        process.held = before.saturating_sub(charge);
        recount(&mut user.large, of_user, before, process.held);
        if let Some(own) = process.connections.get_mut(&who.connection) {
            let before = *own;
            *own = before.saturating_sub(charge);
            let now = *own;
            recount(&mut process.large, of_user / 2, before, now);
            process.apart = process.apart.saturating_sub(before.saturating_sub(now));
            if now == 0 {
                process.connections.remove(&who.connection);
            }
        }
        let before = user.held;
        user.held = before.saturating_sub(charge);
        recount(&mut self.large, self.total, before, user.held);
        self.held = self.held.saturating_sub(charge);
        if process.held == 0 {
            user.processes.remove(&who.pid);
        }
        if user.processes.is_empty() {
            self.users.remove(&who.uid);
        }
    }
}

impl Pool {
    /// The rule at one level, for one that has `own` of it. On refusal: what it has, and the most that it may have.
    fn fits(self, own: usize, charge: usize, kept: usize) -> Result<(), (usize, usize)> {
        let left = self.total.saturating_sub(self.held.saturating_sub(own));
        let share = |holders: usize| {
            let share = left.checked_div(holders.saturating_add(1)).unwrap_or(0);
            share.saturating_sub(kept.min(share / KEPT))
        };
        let all = share(self.holders.saturating_add(usize::from(own == 0)));
        let Some(wanted) = own.checked_add(charge) else {
            return Err((own, all));
        };
        // With plenty left: itself, and the others that have much.
        let others = self.large.saturating_sub(usize::from(is_large(own, self.whole)));
        let plenty = self.total / 2;
        let room = plenty.saturating_sub(self.held.saturating_sub(own));
        let most = share(others.saturating_add(1)).min(room).max(all);
        if wanted <= most { Ok(()) } else { Err((own, most)) }
    }
}

fn refused(level: Level, asked: usize) -> impl FnOnce((usize, usize)) -> Refused {
    move |(held, share)| Refused {
        level,
        held,
        asked,
        share,
    }
}

#[cfg(test)]
#[path = "shares_tests.rs"]
mod tests;
