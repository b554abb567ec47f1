//! The rule of `shares`: what each holder is assured, whatever the others take.

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

/// What a connection of an unknown process costs is the process's; what it holds is its own.
#[test]
fn idle_connections_of_unknown_processes_leave_the_others_what_they_need() {
    let mut shares = Shares::new(512 << 20, 4);
    let apart = |connection| Who {
        connection,
        ..who(1, 0)
    };
    let (cost, kept) = (32 << 10, shares.share_alone() / 8);
    let mut idle = 0;
    while shares.check_leaving(who(1, 0), cost, kept).is_ok() {
        shares.charge(who(1, 0), cost).unwrap();
        idle += 1;
        if [10, 50, 200, 500, 1_000].contains(&idle) {
            let mut busy = shares.clone();
            assert!(hoard(&mut busy, apart(7)) > 14 << 20, "beside {idle}");
        }
    }
    assert_eq!(idle, 1_792, "seven eighths of what a process may have");
    let refused = shares.check_leaving(who(1, 0), cost, kept).unwrap_err();
    assert_eq!(refused.level, Level::Unknown);
    // Frames of 64 KiB of many at once, and something for each next one after somebody took all it could.
    for connection in 1..=60 {
        shares.charge(apart(connection), 64 << 10).unwrap();
    }
    assert!(hoard(&mut shares, apart(100)) >= 64 << 10);
    assert!(hoard(&mut shares, apart(101)) > 0);
    for connection in 1..=60 {
        shares.release(apart(connection), 64 << 10);
    }
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
                for process in user.processes.values() {
                    let apart: usize = process.connections.values().sum();
                    let large = process.connections.values().filter(|held| is_large(**held, 12_500)).count();
                    prop_assert_eq!((process.apart, process.large), (apart, large));
                }
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
