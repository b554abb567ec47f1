//! The command line of `simulate`.

use std::time::{SystemTime, UNIX_EPOCH};

const USAGE: &str =
    "usage: simulate [--seeds N] [--first SEED] | --seed SEED [--trace] | --planted [--write FILE]
  --seeds N     runs so many seeds: the kept ones, then new ones (10000)
  --first SEED  the first new seed (from the clock)
  --keep-going  does not stop at the fifth failure, and tells the first seed of each broken rule
  --seed SEED   replays one seed and shows its end, with --trace all of it
  --planted     finds the planted bugs (needs the feature `planted`); --write FILE keeps the table";

/// What was asked for.
#[derive(Debug)]
pub struct Options {
    pub seeds: u64,
    pub first: u64,
    pub seed: Option<u64>,
    pub trace: bool,
    pub keep_going: bool,
    pub planted: bool,
    pub write: Option<String>,
}

impl Options {
    /// Reads the arguments.
    ///
    /// # Errors
    /// What to print.
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let clock = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(1, |since| since.as_secs());
        let mut options = Self {
            seeds: 10_000,
            first: clock.wrapping_mul(1_000_000),
            seed: None,
            trace: false,
            keep_going: false,
            planted: false,
            write: None,
        };
        while let Some(argument) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .ok_or_else(|| format!("{argument} needs a value\n{USAGE}"))
            };
            match argument.as_str() {
                "--seeds" => options.seeds = number(&value()?)?,
                "--first" => options.first = number(&value()?)?,
                "--seed" => options.seed = Some(number(&value()?)?),
                "--keep-going" => options.keep_going = true,
                "--trace" => options.trace = true,
                "--planted" => options.planted = true,
                "--write" => options.write = Some(value()?),
                _ => return Err(format!("{argument:?} is not known\n{USAGE}")),
            }
        }
        if options.planted && !cfg!(feature = "planted") {
            return Err("--planted needs a build with `--features planted`".into());
        }
        Ok(options)
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is no number\n{USAGE}"))
}
