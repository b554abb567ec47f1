//! How many descriptors a broker holds for whom: per connection, per user, in all.
//!
//! Owns the counts and the decision; each descriptor is charged to who sent it, from its receipt until it is sent on and
//! closed. It knows no socket: it is told a descriptor's number and how many the process may open.

use crate::config::Limits;
use crate::error::{CallError, ErrorCode};
use crate::message::PeerId;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The last numbers of the process's table, which attachments never get: the broker accepts and waits with them.
pub const RESERVED: usize = 64;

/// The descriptors of one broker.
#[derive(Debug, Default)]
pub struct Totals {
    used: AtomicUsize,
    users: Mutex<HashMap<Option<u32>, usize>>,
    /// The accounts of copies, by receiver; each as long as something is charged to it.
    copies: Mutex<HashMap<PeerId, Weak<Account>>>,
}

impl Totals {
    /// Descriptors of all connections that are held now.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Acquire)
    }

    /// The account of what `peer` is to get of descriptors that several receivers have. Kept here and not with the peer, because few
    /// ever have one.
    #[must_use]
    pub fn copies(self: &Arc<Self>, peer: PeerId, user: Option<u32>) -> Arc<Account> {
        let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = copies.get(&peer).and_then(Weak::upgrade) {
            return account;
        }
        let account = Arc::new(Account {
            user,
            used: AtomicUsize::new(0),
            totals: self.clone(),
            receiver: Some(peer),
        });
        copies.insert(peer, Arc::downgrade(&account));
        account
    }
}

/// The descriptors of one connection.
#[derive(Debug)]
pub struct Account {
    user: Option<u32>,
    used: AtomicUsize,
    totals: Arc<Totals>,
    /// Whose copies are charged to it.
    receiver: Option<PeerId>,
}

impl Drop for Account {
    fn drop(&mut self) {
        let Some(receiver) = self.receiver else { return };
        let copies = self.totals.copies.lock();
        let mut copies = copies.unwrap_or_else(PoisonError::into_inner);
        // There may be another one by now.
        if copies
            .get(&receiver)
            .is_some_and(|account| account.strong_count() == 0)
        {
            copies.remove(&receiver);
        }
    }
}

/// What the process may open, and which number the descriptor in question got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// The process's limit of open files; `None` where there is none.
    pub limit: Option<usize>,
    /// The descriptor's number, where it has one.
    pub number: Option<usize>,
}

impl Account {
    /// An empty account of a connection of this user.
    #[must_use]
    pub fn new(user: Option<u32>, totals: Arc<Totals>) -> Arc<Self> {
        Arc::new(Self {
            user,
            used: AtomicUsize::new(0),
            totals,
            receiver: None,
        })
    }

    /// Descriptors of this connection that are held now.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Acquire)
    }

    /// Charges one descriptor.
    ///
    /// # Errors
    /// TooMany, naming the limit.
    pub fn charge(self: &Arc<Self>, limits: &Limits, table: Table) -> Result<Charge, CallError> {
        let refused = |text: String| Err(CallError::new(ErrorCode::TooMany, text).ran(false));
        if let (Some(limit), Some(number)) = (table.limit, table.number)
            && number.saturating_add(RESERVED) >= limit
        {
            return refused(format!(
                "the broker's process has {RESERVED} descriptors left, which it keeps for itself; raise its limit of open files ({limit})"
            ));
        }
        let quarter = table.limit.map_or(usize::MAX, |limit| limit / 4);
        let total = limits.descriptors_total.min(quarter);
        let users = &self.totals.users;
        let mut users = users.lock().unwrap_or_else(PoisonError::into_inner);
        let of_user = users.entry(self.user).or_default();
        let refusal = if self.used() >= limits.descriptors {
            Some((limits.descriptors, "this connection", "limits.descriptors"))
        } else if *of_user >= limits.descriptors_per_user {
            Some((
                limits.descriptors_per_user,
                "this user",
                "limits.descriptors_per_user",
            ))
        } else if self.totals.used() >= total {
            Some((
                total,
                "all connections",
                "limits.descriptors_total, or a quarter of its limit of open files",
            ))
        } else {
            None
        };
        if let Some((limit, whose, key)) = refusal {
            if *of_user == 0 {
                users.remove(&self.user);
            }
            return refused(format!(
                "{limit} descriptors of {whose} are with the broker already and not sent on yet ({key}); wait, or raise it"
            ));
        }
        *of_user = of_user.saturating_add(1);
        drop(users);
        self.used.fetch_add(1, Ordering::AcqRel);
        self.totals.used.fetch_add(1, Ordering::AcqRel);
        Ok(Charge(self.clone()))
    }
}

/// One charged descriptor; dropping it gives it back.
#[derive(Debug)]
pub struct Charge(Arc<Account>);

impl Drop for Charge {
    fn drop(&mut self) {
        let Account {
            user, used, totals, ..
        } = &*self.0;
        let mut users = totals.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_user) = users.get_mut(user) {
            *of_user = of_user.saturating_sub(1);
            if *of_user == 0 {
                users.remove(user);
            }
        }
        drop(users);
        used.fetch_sub(1, Ordering::AcqRel);
        totals.used.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOMY: Table = Table {
        limit: None,
        number: None,
    };

    fn limits(connection: usize, user: usize, total: usize) -> Limits {
        Limits {
            descriptors: connection,
            descriptors_per_user: user,
            descriptors_total: total,
            ..Limits::default()
        }
    }

    /// Fills an account to its limit: one less, the limit itself, one more.
    #[test]
    fn each_limit_holds_to_the_descriptor_and_is_named() {
        let roomy = 100;
        let quarter = Table {
            limit: Some(12),
            number: None,
        };
        let table = [
            (limits(3, roomy, roomy), ROOMY, "limits.descriptors)"),
            (limits(roomy, 3, roomy), ROOMY, "limits.descriptors_per_user"),
            (limits(roomy, roomy, 3), ROOMY, "limits.descriptors_total"),
            (limits(roomy, roomy, roomy), quarter, "a quarter"),
        ];
        for (limits, table, named) in table {
            let totals = Arc::new(Totals::default());
            let account = Account::new(Some(7), totals.clone());
            let mut charges: Vec<Charge> = (0..3).map(|_| account.charge(&limits, table).unwrap()).collect();
            let error = account.charge(&limits, table).unwrap_err();
            assert_eq!((error.code, error.may_have_run), (ErrorCode::TooMany, false));
            assert!(error.message.contains(named), "{}", error.message);
            charges.pop();
            charges.push(account.charge(&limits, table).unwrap());
            drop(charges);
            assert_eq!((account.used(), totals.used()), (0, 0));
            assert!(totals.users.lock().unwrap().is_empty());
        }
    }

    #[test]
    fn the_copies_of_a_receiver_have_one_account_as_long_as_something_is_charged() {
        let totals = Arc::new(Totals::default());
        let limits = limits(2, 100, 100);
        let copies = |peer| totals.copies(PeerId(peer), Some(7));
        let held = [
            copies(1).charge(&limits, ROOMY).unwrap(),
            copies(1).charge(&limits, ROOMY).unwrap(),
        ];
        assert!(copies(1).charge(&limits, ROOMY).is_err() && copies(2).charge(&limits, ROOMY).is_ok());
        assert_eq!(totals.copies.lock().unwrap().len(), 1);
        drop(held);
        assert_eq!((totals.copies.lock().unwrap().len(), totals.used()), (0, 0));
    }

    #[test]
    fn one_user_leaves_another_its_own_and_the_last_numbers_are_the_brokers() {
        let totals = Arc::new(Totals::default());
        let (one, same, other) = (
            Account::new(Some(1), totals.clone()),
            Account::new(Some(1), totals.clone()),
            Account::new(Some(2), totals),
        );
        let limits = limits(10, 2, 10);
        let _held = [
            one.charge(&limits, ROOMY).unwrap(),
            same.charge(&limits, ROOMY).unwrap(),
        ];
        assert!(one.charge(&limits, ROOMY).is_err() && other.charge(&limits, ROOMY).is_ok());
        for (number, fits) in [(935, true), (936, false), (937, false)] {
            let table = Table {
                limit: Some(1_000),
                number: Some(number),
            };
            assert_eq!(other.charge(&limits, table).is_ok(), fits, "{number}");
        }
    }
}
