//! Runs every fuzz target so many times from one seed, on stable and without instrumentation.
//!
//! Prints a line for each target. The first failing input is written to a file, printed in hex, and ends the program
//! with exit code 1; `--replay FILE` runs it again.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program's output")]

use actix_ipc_fuzz_targets::smoke::{Failure, execute, run};
use actix_ipc_fuzz_targets::{TARGETS, Target, corpus};
use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Bounded fuzzing on stable.
#[derive(Debug, Parser)]
struct Options {
    /// Targets; all when none is named.
    targets: Vec<String>,
    /// Executions of each target.
    #[arg(long, default_value_t = 100_000)]
    executions: u64,
    /// Where the numbers come from; the same seed gives the same inputs.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where a failing input is written.
    #[arg(long, default_value = ".")]
    artifacts: PathBuf,
    /// Runs one target on the bytes of this file, and nothing else.
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// Writes the seeds of the documents into the corpus, for cargo-fuzz.
    #[arg(long)]
    write_seeds: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let unknown = options
        .targets
        .iter()
        .find(|name| actix_ipc_fuzz_targets::target(name).is_none());
    if let Some(name) = unknown {
        let known: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
        eprintln!("no target is called {name:?}; there are {}", known.join(", "));
        return ExitCode::from(2);
    }
    let wanted = |name: &str| options.targets.is_empty() || options.targets.iter().any(|other| other == name);
    let chosen: Vec<(&str, Target)> = TARGETS.iter().copied().filter(|(name, _)| wanted(name)).collect();
    let done = if options.write_seeds {
        write_seeds(&chosen)
    } else if let Some(file) = &options.replay {
        replay(&chosen, file)
    } else {
        run_all(&chosen, &options)
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

fn run_all(targets: &[(&str, Target)], options: &Options) -> Result<(), String> {
    let began = Instant::now();
    for (name, target) in targets {
        let at = Instant::now();
        run(name, *target, options.seed, options.executions)
            .map_err(|failure| report(name, options, &failure))?;
        let seconds = at.elapsed().as_secs_f64();
        let rate = options.executions as f64 / seconds.max(1e-9);
        println!(
            "{name:<12} seed {}  {} executions  {seconds:6.2} s  {rate:9.0}/s",
            options.seed, options.executions
        );
    }
    println!(
        "{} targets, {} executions each, none failed, {:.1} s",
        targets.len(),
        options.executions,
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

fn report(name: &str, options: &Options, failure: &Failure) -> String {
    let hex: String = failure.input.iter().map(|byte| format!("{byte:02x}")).collect();
    let path = options
        .artifacts
        .join(format!("{name}-{}-{}.bin", options.seed, failure.execution));
    let kept = match std::fs::write(&path, &failure.input) {
        Ok(()) => format!("replay: fuzz-smoke {name} --replay {}", path.display()),
        Err(error) => format!("{} cannot be written: {error}", path.display()),
    };
    format!(
        "{name}: seed {}, execution {}: {}\ninput ({} bytes): {hex}\n{kept}",
        options.seed,
        failure.execution,
        failure.message,
        failure.input.len()
    )
}

fn replay(targets: &[(&str, Target)], file: &PathBuf) -> Result<(), String> {
    let input = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    for (name, target) in targets {
        execute(*target, &input).map_err(|message| format!("{name}: {message}"))?;
        println!("{name}: {} bytes, handled", input.len());
    }
    Ok(())
}

fn write_seeds(targets: &[(&str, Target)]) -> Result<(), String> {
    for (name, _) in targets {
        let folder = corpus::folder(name);
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        for (index, seed) in corpus::seeds(name).iter().enumerate() {
            let path = folder.join(format!("seed-{index:03}"));
            std::fs::write(&path, seed).map_err(|error| format!("{}: {error}", path.display()))?;
        }
    }
    Ok(())
}
