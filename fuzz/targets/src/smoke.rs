//! Bounded runs: so many executions of a target from one seed, and what is said when one fails.
//!
//! Called by the program `fuzz-smoke` and by the tests.

use crate::Target;
use crate::mutate::Mutator;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

/// An input that a target did not handle as the documents say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which execution it was, counted from 0; the corpus comes first.
    pub execution: u64,
    /// The input.
    pub input: Vec<u8>,
    /// What the target said, with file and line.
    pub message: String,
}

thread_local! {
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps what a panic says instead of printing it: a run that looks for failures prints one, at its end.
fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            LAST.with(|last| *last.borrow_mut() = Some(info.to_string()));
        }));
    });
}

/// One execution.
///
/// # Errors
/// What the target said.
pub fn execute(target: Target, input: &[u8]) -> Result<(), String> {
    listen();
    catch_unwind(AssertUnwindSafe(|| target(input))).map_err(|_| {
        let said = LAST.with(|last| last.borrow_mut().take());
        said.unwrap_or_else(|| "a panic without words".to_owned())
    })
}

/// Runs a target `executions` times: its corpus as it is, then what comes of it by chance.
///
/// # Errors
/// The first [`Failure`], its input made shorter as far as it goes on failing.
pub fn run(name: &str, target: Target, seed: u64, executions: u64) -> Result<(), Failure> {
    let mut mutator = Mutator::new(name, seed);
    let kept = mutator.corpus().to_vec();
    for execution in 0..executions {
        let at = usize::try_from(execution).unwrap_or(usize::MAX);
        let input = kept.get(at).cloned().unwrap_or_else(|| mutator.next_input());
        if let Err(message) = execute(target, &input) {
            let (input, message) = shorten(target, input, message);
            return Err(Failure {
                execution,
                input,
                message,
            });
        }
    }
    Ok(())
}

/// Cuts pieces out of an input while it fails.
fn shorten(target: Target, mut input: Vec<u8>, mut message: String) -> (Vec<u8>, String) {
    let mut piece = input.len().next_power_of_two() / 2;
    while piece > 0 {
        let mut at = 0;
        while at < input.len() {
            let mut less = input.clone();
            less.drain(at..(at + piece).min(input.len()));
            match execute(target, &less) {
                Err(said) => (input, message) = (less, said),
                Ok(()) => at += piece,
            }
        }
        piece /= 2;
    }
    (input, message)
}
