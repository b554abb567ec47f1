//! Hours of load with a fault every few seconds. Asked for by `ci/soak`; nothing runs without being asked.

use crate::rig::{Random, Rig};
use crate::run::{Run, What, Whom};
use std::time::{Duration, Instant};

/// Journals are judged, and begun anew, after so long.
const CHAPTER: Duration = Duration::from_secs(60);

const CREW: &[(Whom, usize)] = &[
    (Whom::Worker, 3),
    (Whom::Caller, 3),
    (Whom::Subscriber, 3),
    (Whom::Publisher, 3),
];

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(otherwise)
}

/// `FAULTS_SOAK_SECONDS` long, a fault every `FAULTS_SOAK_EVERY_MS`, from `FAULTS_SEED`.
#[actix::test]
#[ignore = "lasts as long as it is told to; ci/soak runs it"]
async fn soak() {
    let end = Instant::now() + Duration::from_secs(number("FAULTS_SOAK_SECONDS", 60));
    let every = Duration::from_millis(number("FAULTS_SOAK_EVERY_MS", 5_000));
    let mut random = Random::from_environment("soak");
    let mut faults = 0;
    while Instant::now() < end {
        let chapter = (Instant::now() + CHAPTER).min(end);
        let seed = random.next();
        eprintln!("soak: a chapter with FAULTS_SEED={seed}, {faults} faults so far");
        let mut run = Run::start(Rig::start(&[]), Random(seed), 64, CREW);
        while Instant::now() < chapter {
            let next = Instant::now() + every;
            let everybody = [
                Whom::Broker,
                Whom::Caller,
                Whom::Worker,
                Whom::Publisher,
                Whom::Subscriber,
            ];
            let whom = everybody[usize::try_from(run.random.below(5)).unwrap()];
            let what = match run.random.below(2) {
                0 => What::Kill,
                _ => What::Stop(500 + run.random.below(4_500)),
            };
            run.hit(whom, what);
            faults += 1;
            run.is_at_work();
            run.pass(next.saturating_duration_since(Instant::now()));
        }
        run.finish().await;
    }
    eprintln!("soak: {faults} faults survived");
}
