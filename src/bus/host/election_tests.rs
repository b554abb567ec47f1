//! The decisions of an election, one by one.

use super::*;

fn one(candidates: usize) -> Input {
    Input::Wanted {
        endpoints: 1,
        candidates,
    }
}

const GONE: Input = Input::Wanted {
    endpoints: 0,
    candidates: 0,
};

type Row = (&'static str, Vec<(Input, Vec<Step>)>);

fn check(table: Vec<Row>) {
    for (name, rows) in table {
        let mut election = Election::new();
        for (input, steps) in rows {
            assert_eq!(election.on(input), steps, "{name}: {input:?}");
        }
    }
}

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// What follows on a beginning.
fn then(mut rows: Vec<(Input, Vec<Step>)>, more: Vec<(Input, Vec<Step>)>) -> Vec<(Input, Vec<Step>)> {
    rows.extend(more);
    rows
}

fn hosting() -> Vec<(Input, Vec<Step>)> {
    vec![
        (one(1), vec![Step::TryLock]),
        (Input::Lock(Lock::Taken), vec![Step::Start]),
        (Input::Started, vec![Step::TellHere]),
    ]
}

fn following(candidates: usize, first: Step) -> Vec<(Input, Vec<Step>)> {
    let told = vec![Step::TellElsewhere(Some(7)), Step::Watch(7)];
    vec![
        (one(candidates), vec![first]),
        (Input::Lock(Lock::Held(Some(7))), told),
    ]
}

#[test]
fn the_end_is_a_hand_over() {
    use Input as I;
    use Step as S;
    let many = I::Wanted {
        endpoints: 5,
        candidates: 2,
    };
    let waits = |pause| vec![S::TellNobody, S::LookAfter(ms(pause))];
    check(vec![
        (
            "before anybody asks nothing is done",
            vec![
                (I::Changed, vec![]),
                (I::PauseOver, vec![]),
                (one(1), vec![S::TryLock]),
            ],
        ),
        ("nobody comes", vec![(GONE, vec![S::End]), (one(1), vec![])]),
        (
            "a host that leaves hands over",
            then(hosting(), vec![(GONE, vec![S::Stop]), (I::Stopped, vec![S::End])]),
        ),
        (
            "a host is not disturbed",
            then(
                hosting(),
                vec![(I::Changed, vec![]), (I::PauseOver, vec![]), (many, vec![])],
            ),
        ),
        (
            "a host whose candidates leave stops, and its others wait",
            then(
                hosting(),
                vec![
                    (one(0), vec![S::Stop]),
                    (I::Stopped, vec![S::TellNobody, S::LookAtLock]),
                    (I::Lock(Lock::Free), waits(1)),
                    (I::PauseOver, vec![S::LookAtLock]),
                    (I::Lock(Lock::Free), waits(2)),
                ],
            ),
        ),
        (
            "leaving while the broker starts",
            vec![
                (one(1), vec![S::TryLock]),
                (I::Lock(Lock::Taken), vec![S::Start]),
                (GONE, vec![]),
                (I::Started, vec![S::Stop]),
                (I::Stopped, vec![S::End]),
            ],
        ),
    ]);
}

#[test]
fn who_follows_takes_over() {
    use Input as I;
    use Step as S;
    let free = vec![S::TellNobody, S::LookAfter(ms(1))];
    let other = vec![S::TellElsewhere(Some(8)), S::Watch(8)];
    let unknown = vec![S::TellElsewhere(None), S::LookAfter(LOOK_AGAIN)];
    let try_lock = || following(1, S::TryLock);
    check(vec![
        (
            "the host dies",
            then(
                try_lock(),
                vec![
                    (I::HolderDied, vec![S::TryLock]),
                    (I::Lock(Lock::Taken), vec![S::Start]),
                ],
            ),
        ),
        (
            "the host dies and others were faster",
            then(
                try_lock(),
                vec![
                    (I::HolderDied, vec![S::TryLock]),
                    (I::Lock(Lock::Held(Some(8))), other),
                ],
            ),
        ),
        (
            "who may not host only looks",
            then(
                following(0, S::LookAtLock),
                vec![
                    (I::HolderDied, vec![S::LookAtLock]),
                    (I::Lock(Lock::Free), free.clone()),
                    (one(1), vec![S::TryLock]),
                ],
            ),
        ),
        (
            "a host without a number is looked at again",
            vec![
                (one(1), vec![S::TryLock]),
                (I::Lock(Lock::Held(None)), unknown),
                (I::PauseOver, vec![S::TryLock]),
            ],
        ),
        (
            "a host of before is still ending in this process",
            vec![
                (one(1), vec![S::TryLock]),
                (I::Lock(Lock::Ending), free),
                (I::Changed, vec![S::TryLock]),
            ],
        ),
    ]);
}

#[test]
fn who_fails_lets_others_try_first() {
    use Input as I;
    use Step as S;
    let rests = |pause| vec![S::TellNobody, S::LookAfter(ms(pause))];
    let fails = |pause| vec![S::Release, S::TellNobody, S::LookAfter(ms(pause))];
    check(vec![
        (
            "longer each time, and not because the lock that it gave back is free",
            vec![
                (one(1), vec![S::TryLock]),
                (I::Lock(Lock::Taken), vec![S::Start]),
                (I::Failed, fails(50)),
                (I::Changed, vec![S::LookAtLock]),
                (I::Lock(Lock::Free), rests(50)),
                (I::PauseOver, vec![S::TryLock]),
                (I::Lock(Lock::Taken), vec![S::Start]),
                (I::Failed, fails(100)),
            ],
        ),
        (
            "a broker that ends by itself",
            then(
                hosting(),
                vec![(I::Failed, fails(50)), (I::PauseOver, vec![S::TryLock])],
            ),
        ),
    ]);
}

#[test]
fn pauses_double_up_to_the_longest() {
    let range = (Duration::from_millis(1), Duration::from_millis(50));
    let found: Vec<u128> = [0, 1, 5, 6, 40, u32::MAX]
        .map(|n| pause(range, n).as_millis())
        .into();
    assert_eq!(found, [1, 2, 32, 50, 50, 50]);
}
