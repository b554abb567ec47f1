//! The policy's file: read, checked, understood, or refused as a whole.
//!
//! Owns the way from a path to a [`Policy`], at the start and at each reload. What a policy means is `policy`'s business.

use super::check::{Problem, Problems};
use crate::platform::{trusted, users::Tables};
use crate::policy::{Policy, parse};
use std::path::Path;

/// Reads a policy. Nothing is kept of a file with anything wrong in it.
///
/// # Errors
/// [`Problems`]: the file cannot be read or trusted, or everything that is wrong in it, with its lines.
pub fn load(path: &Path) -> Result<Policy, Problems> {
    let origin = path.display().to_string();
    let problem = |text: String| Problem::new(&origin, None, text);
    let text = trusted::read(path)
        .map_err(|error| Problems(vec![problem(format!("the policy cannot be read: {error}"))]))?;
    let users = Tables::read().map_err(|error| Problems(vec![problem(error.to_string())]))?;
    parse(&text, &users).map_err(|faults| {
        let all = faults.0.iter().map(|fault| problem(fault.to_string()));
        Problems(all.collect())
    })
}
