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
    /// Tells connections of unknown processes apart; 0: not told apart.
    pub connection: u64,
}

/// The level at which a charge did not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// The user's processes together.
    User,
    /// The process.
    Process,
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
            holders: self.users.len(),
            large: self.large,
            held: self.held,
        };
        all.fits(user_held, charge, kept)
            .map_err(refused(Level::User, charge))?;
        let of_user = self.total / self.user_part;
        let inside = Pool {
            total: of_user,
            holders: user.map_or(0, |user| user.processes.len()),
            large: user.map_or(0, |user| user.large),
            held: user_held,
        };
        inside
            .fits(process_held, charge, kept)
            .map_err(refused(Level::Process, charge))?;
        if who.connection != 0 && who.pid == 0 {
            let connections = process.map(|process| &process.connections);
            let own = connections.and_then(|all| all.get(&who.connection)).copied();
            let holders = connections.map_or(0, HashMap::len);
            let of_process = Pool {
                total: of_user / 2,
                holders,
                // They are few or strangers: all count.
                large: holders,
                held: process_held,
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
        if who.connection != 0 && who.pid == 0 {
            let connection = process.connections.entry(who.connection).or_default();
            *connection = connection.saturating_add(charge);
        }
    }

    /// Another budget from now on; what is held stays.
    pub fn set_budget(&mut self, total: usize, user_part: usize) {
        self.total = total;
        self.user_part = user_part.max(1);
        let of_user = self.total / self.user_part;
        for user in self.users.values_mut() {
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
            *own = own.saturating_sub(charge);
            if *own == 0 {
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
        let others = self.large.saturating_sub(usize::from(is_large(own, self.total)));
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn who(uid: u32, pid: u32) -> Who {
        Who {
            uid,
            pid,
            connection: 0,
        }
    }

    /// Takes all that it can get, in the largest pieces.
    fn hoard(shares: &mut Shares, who: Who) -> usize {
        let before = shares.held();
        let mut step = shares.total;
        while step > 0 {
            while shares.charge(who, step).is_ok() {}
            step /= 2;
        }
        shares.held() - before
    }

    #[test]
    fn a_lone_process_at_minus_one_zero_and_plus_one_of_its_share() {
        // A quarter for the user, of which the only process has half.
        let mut shares = Shares::new(800, 4);
        shares.charge(who(1, 1), 99).unwrap();
        let refused = shares.charge(who(1, 1), 2).unwrap_err();
        assert_eq!(
            (refused.level, refused.held, refused.share),
            (Level::Process, 99, 100)
        );
        shares.charge(who(1, 1), 1).unwrap();
        assert!(shares.charge(who(1, 1), 1).is_err());
        shares.release(who(1, 1), 100);
        assert!(shares.is_empty());
    }

    #[test]
    fn each_next_hoarder_gets_what_the_rule_assures() {
        let mut shares = Shares::new(1 << 30, 4);
        let pool = (1_usize << 30) / 4;
        for n in 1..=64 {
            let got = hoard(&mut shares, who(7, n));
            let n = n as usize;
            assert!(got >= pool / (2 * n * (n + 1)), "process {n} got {got}");
            assert!(shares.held() <= pool - pool / (2 * (n + 1)));
        }
    }

    #[test]
    fn those_that_do_next_to_nothing_do_not_press_on_a_busy_one() {
        let mut shares = Shares::new(512 << 20, 4);
        for pid in 1..=1_000 {
            shares.charge(who(1, pid), 32 * 1024).unwrap();
        }
        // A thousand idle ones have 31 MiB of the user's 128; up to half of it may be taken beside them.
        let got = hoard(&mut shares, who(1, 5_000));
        assert!(got > 32 << 20, "{got}");
        // The next, and the one after it, still get something.
        for pid in 5_001..5_003 {
            assert!(hoard(&mut shares, who(1, pid)) >= (128 << 20) / (2 * 1_003 * 1_004));
        }
    }

    #[test]
    fn what_is_kept_back_is_never_more_than_an_eighth_of_the_share() {
        let mut shares = Shares::new(800, 4);
        assert_eq!(shares.check_leaving(who(1, 1), 90, 10), Ok(()));
        let refused = shares.check_leaving(who(1, 1), 91, 10).unwrap_err();
        assert_eq!((refused.asked, refused.share), (91, 90));
        for pid in 2..40 {
            shares.charge(who(1, pid), 4).ok();
        }
        let share = shares.check_leaving(who(1, 1), 1_000, 1_000).unwrap_err().share;
        assert!(share > 0, "{share}");
    }

    #[test]
    fn two_greedy_users_leave_each_other_the_whole_of_their_parts() {
        let mut shares = Shares::new(8_000_000, 4);
        for pid in 1..200 {
            hoard(&mut shares, who(1, pid));
        }
        // As if it were alone.
        assert_eq!(hoard(&mut shares, who(2, 500)), 1_000_000);
    }

    #[test]
    fn connections_of_unknown_processes_press_on_each_other_only() {
        let mut shares = Shares::new(8_000_000, 4);
        for connection in 1..500 {
            let who = Who {
                connection,
                ..who(1, 0)
            };
            assert!(hoard(&mut shares, who) > 0, "{connection}");
        }
        assert!(hoard(&mut shares, who(1, 9)) >= 2_000_000 / 6);
    }

    #[test]
    fn an_overflowing_charge_is_refused() {
        let mut shares = Shares::new(usize::MAX, 1);
        shares.charge(who(1, 1), 10).unwrap();
        assert!(shares.charge(who(1, 1), usize::MAX).is_err());
        assert_eq!(shares.held(), 10);
    }

    proptest! {
        #[test]
        fn sums_are_never_negative_never_above_the_budget_and_zero_at_the_end(
            steps in prop::collection::vec((0..4_u32, 0..6_u32, 0..3_u64, 1..5_000_usize, any::<bool>()), 1..400)
        ) {
            let mut shares = Shares::new(100_000, 4);
            let mut model: Vec<(Who, usize)> = Vec::new();
            for (uid, pid, connection, amount, take) in steps {
                let who = Who { uid, pid, connection: if pid == 0 { connection } else { 0 } };
                if take {
                    let before = shares.clone();
                    match shares.charge(who, amount) {
                        Ok(()) => model.push((who, amount)),
                        Err(_) => prop_assert_eq!(&before, &shares),
                    }
                } else if let Some((who, amount)) = model.pop() {
                    shares.release(who, amount);
                }
                let sum: usize = model.iter().map(|(_, amount)| amount).sum();
                prop_assert_eq!(shares.held(), sum);
                prop_assert!(sum <= 100_000);
                // Each user leaves others something: nobody is ever without a share.
                let (users, _) = shares.holders();
                prop_assert!(shares.total - sum >= shares.total / (users + 1));
                for (uid, user) in &shares.users {
                    let held: usize = model.iter().filter(|(who, _)| who.uid == *uid).map(|(_, amount)| amount).sum();
                    prop_assert_eq!(user.held, held);
                    let pool = 100_000 / 4;
                    prop_assert!(pool - user.held >= pool / (user.processes.len() + 1));
                }
            }
            for (who, amount) in model {
                shares.release(who, amount);
            }
            prop_assert!(shares.is_empty());
        }
    }
}
