//! `simulate`: runs the broker's own code with simulated clients, network and time, many times, each run from one seed.
//!
//! Owns the command line, the threads and what is printed. A run is [`world`]'s. Called by people and by CI; see `README.md`.
#![allow(
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that reports to people; nobody links it"
)]

mod behaviour;
mod broker;
mod checks;
mod client;
mod clock;
mod hostile;
mod link;
mod log;
mod options;
mod plan;
#[cfg(feature = "planted")]
mod planted;
mod rng;
mod stats;
mod world;

use options::Options;
use stats::Stats;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use world::{Report, World};

/// Seeds that once failed; they are always run.
const KEPT: &str = include_str!("../kept-seeds");
/// So many failing seeds are shown; then the rest is not run.
const FAILURES_SHOWN: usize = 5;
/// Observations shown of a failing run.
const TAIL: usize = 40;

fn main() -> ExitCode {
    // Injected panics are part of the runs; one that is not is told as a failure.
    std::panic::set_hook(Box::new(|_| {}));
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::from(2);
        }
    };
    #[cfg(feature = "planted")]
    if options.planted {
        return planted::run(options.write.as_deref());
    }
    match options.seed {
        Some(seed) => one(seed, options.trace),
        None => many(&options),
    }
}

/// One run; a panic that nobody caught is a violation of it.
pub fn run(seed: u64, trace: bool) -> Report {
    catch_unwind(AssertUnwindSafe(|| World::new(seed, trace).run())).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Report {
            violations: vec![actix_ipc_model::Violation {
                rule: "panic",
                text: text.unwrap_or_default(),
            }],
            stats: Stats::default(),
            digest: 0,
            trace: Vec::new(),
        }
    })
}

fn one(seed: u64, trace: bool) -> ExitCode {
    let report = run(seed, true);
    let hidden = if trace {
        0
    } else {
        report.trace.len().saturating_sub(TAIL)
    };
    report
        .trace
        .iter()
        .skip(hidden)
        .for_each(|line| println!("{line}"));
    println!("seed {seed}: digest {:016x}", report.digest);
    for (name, count) in report.stats.all() {
        print!("{name} {count}  ");
    }
    println!();
    report
        .violations
        .iter()
        .for_each(|violation| println!("VIOLATION {violation}"));
    if report.violations.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

struct Tally {
    stats: Stats,
    failed: Vec<(u64, Report)>,
}

fn many(options: &Options) -> ExitCode {
    let (seeds, first) = (options.seeds, options.first);
    let most = if options.keep_going {
        usize::MAX
    } else {
        FAILURES_SHOWN
    };
    let begun = Instant::now();
    let kept: Vec<u64> = KEPT
        .lines()
        .filter_map(|line| line.split_whitespace().next()?.parse().ok())
        .collect();
    let total = seeds.max(kept.len() as u64);
    println!("{} kept seeds, then new ones from {first}", kept.len());
    let (next, failures) = (AtomicU64::new(0), AtomicUsize::new(0));
    let tally = Mutex::new(Tally {
        stats: Stats::default(),
        failed: Vec::new(),
    });
    let work = || {
        let mut stats = Stats::default();
        while failures.load(Ordering::Relaxed) < most {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= total {
                break;
            }
            let new = first.wrapping_add(at.saturating_sub(kept.len() as u64));
            let seed = usize::try_from(at)
                .ok()
                .and_then(|at| kept.get(at).copied())
                .unwrap_or(new);
            let report = run(seed, false);
            stats.add(&report.stats);
            if at % 256 == 0 && run(seed, false).digest != report.digest {
                println!("seed {seed} is not the same twice");
                failures.fetch_add(1, Ordering::Relaxed);
            }
            if !report.violations.is_empty() {
                failures.fetch_add(1, Ordering::Relaxed);
                tally
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .failed
                    .push((seed, report));
            }
        }
        tally
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .stats
            .add(&stats);
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let done = next.load(Ordering::Relaxed).min(total);
    let tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    conclude(done, begun, &tally, failures.into_inner())
}

/// What all seeds together have given.
fn conclude(done: u64, begun: Instant, tally: &Tally, failures: usize) -> ExitCode {
    show(&tally.failed);
    println!(
        "\n{done} seeds in {:.1} s; of all of them together:",
        begun.elapsed().as_secs_f64()
    );
    for (name, count) in tally.stats.all() {
        println!("  {name:<14} {count:>10}");
    }
    if failures == 0 {
        println!("{done} seeds, no violation");
        ExitCode::SUCCESS
    } else {
        println!("{failures} seeds failed");
        ExitCode::FAILURE
    }
}

/// The end of some failing runs, and the first seed of each broken rule.
fn show(failed: &[(u64, Report)]) {
    for (seed, report) in failed.iter().take(FAILURES_SHOWN) {
        println!("\nSEED {seed} FAILED; replay it with `simulate --seed {seed} --trace`");
        let trace = run(*seed, true).trace;
        let hidden = trace.len().saturating_sub(TAIL);
        trace.iter().skip(hidden).for_each(|line| println!("  {line}"));
        let violations = report.violations.iter().take(10);
        violations.for_each(|violation| println!("  VIOLATION {violation}"));
    }
    let mut rules: BTreeMap<&str, (usize, u64, &str)> = BTreeMap::new();
    for (seed, report) in failed {
        for violation in &report.violations {
            let place = rules.entry(violation.rule).or_insert((0, *seed, &violation.text));
            place.0 = place.0.saturating_add(1);
            if *seed < place.1 {
                (place.1, place.2) = (*seed, &violation.text);
            }
        }
    }
    for (rule, (count, seed, text)) in rules {
        println!("{count} x {rule}, first by seed {seed}: {text}");
    }
}
