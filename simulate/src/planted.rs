//! Each planted bug, and the first seed that finds it.
//!
//! Owns the table. A bug counts as found by a seed only when the same seed finds nothing without it.

use actix_ipc::actors::planted::{Bug, plant};
use std::fmt::Write;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Seeds that are tried for each.
const SEEDS: u64 = 1_000;

struct Row {
    bug: Bug,
    found: Option<(u64, &'static str, String)>,
}

/// Looks for all of them.
pub fn run(write: Option<&str>) -> ExitCode {
    let next = AtomicUsize::new(0);
    let rows = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(bug) = Bug::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let row = Row {
                        bug: *bug,
                        found: hunt(*bug),
                    };
                    rows.lock().unwrap_or_else(PoisonError::into_inner).push(row);
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap_or_else(PoisonError::into_inner);
    rows.sort_by_key(|row| Bug::ALL.iter().position(|bug| *bug == row.bug));
    let table = table(&rows);
    println!("{table}");
    if let Some(file) = write
        && let Err(error) = std::fs::write(file, &table)
    {
        eprintln!("{file}: {error}");
        return ExitCode::FAILURE;
    }
    if rows.iter().all(|row| row.found.is_some()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn hunt(bug: Bug) -> Option<(u64, &'static str, String)> {
    for seed in 1..=SEEDS {
        plant(Some(bug));
        let report = crate::run(seed, false);
        plant(None);
        let Some(first) = report.violations.into_iter().next() else {
            continue;
        };
        if crate::run(seed, false).violations.is_empty() {
            return Some((seed, first.rule, first.text));
        }
    }
    None
}

fn table(rows: &[Row]) -> String {
    let found = rows.iter().filter(|row| row.found.is_some()).count();
    let mut text = format!(
        "# Planted bugs\n\n{found} of {} are found, each within {SEEDS} seeds. Made by `simulate --planted --write simulate/PLANTED.md`; what each is,\n\
         `src/actors/planted.rs` says.\n\n| bug | found by seed | rule | what it said |\n|---|---|---|---|\n",
        rows.len()
    );
    for Row { bug, found } in rows {
        let _ = match found {
            Some((seed, rule, said)) => {
                let said: String = said.replace('|', "/").chars().take(110).collect();
                writeln!(text, "| {bug:?} | {seed} | {rule} | {said} |")
            }
            None => writeln!(text, "| {bug:?} | **not found** | | |"),
        };
    }
    text
}
