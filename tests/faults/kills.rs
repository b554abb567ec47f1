//! `kill -9` of everybody, at moments of chance, under load.

use crate::rig::{Random, Rig};
use crate::run::{Run, What, Whom};
use std::time::Duration;

const CREW: &[(Whom, usize)] = &[
    (Whom::Worker, 2),
    (Whom::Caller, 2),
    (Whom::Subscriber, 2),
    (Whom::Publisher, 2),
];

/// Kills of the broker; each is followed by as many of clients as [`CLIENTS_EACH`].
const BROKERS: usize = 25;
const CLIENTS_EACH: usize = 8;

#[actix::test]
async fn nothing_acknowledged_is_lost_when_the_broker_is_killed_25_times() {
    let mut run = Run::start(Rig::start(&[]), Random::from_environment("kills"), 16, CREW);
    for _ in 0..BROKERS {
        run.is_at_work();
        let moment = run.random.below(60);
        run.pass(Duration::from_millis(moment));
        run.hit(Whom::Broker, What::Kill);
        for _ in 0..CLIENTS_EACH {
            let whom = Whom::CLIENTS[usize::try_from(run.random.below(4)).unwrap()];
            let moment = run.random.below(40);
            run.pass(Duration::from_millis(moment));
            run.hit(whom, What::Kill);
        }
    }
    run.is_at_work();
    let (counts, _) = run.finish().await;
    assert!(counts.processes > BROKERS * CLIENTS_EACH, "{counts:?}");
    assert!(counts.interruptions >= BROKERS, "{counts:?}");
    assert!(
        counts.outcomes["Ok"] > 1_000 && counts.accepted > 100 && counts.heard > 1_000,
        "{counts:?}"
    );
}
