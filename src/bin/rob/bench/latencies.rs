//! Latencies: recorded in ns, merged over processes and slices, read as percentiles.
//!
//! Owns the bounds of what is recorded (1 ns to an hour, three digits) and the units. Called by the roles, which record, and by
//! `figures`, which reads.

use super::protocol::confused;
use crate::exit::Failure;
use hdrhistogram::Histogram;

/// The longest latency that is told from longer ones: an hour, in ns.
const LONGEST: u64 = 3_600_000_000_000;
/// Decimal digits of a latency that count.
const DIGITS: u8 = 3;

/// A histogram of latencies.
#[derive(Clone, Debug)]
pub(super) struct Latencies(Histogram<u64>);

impl Latencies {
    /// An empty one.
    ///
    /// # Errors
    /// Never with these bounds; the crate asks.
    pub(super) fn new() -> Result<Self, Failure> {
        Histogram::new_with_bounds(1, LONGEST, DIGITS)
            .map(Self)
            .map_err(|error| confused(&format!("no histogram ({error})")))
    }

    /// Records one latency in ns.
    pub(super) fn record(&mut self, nanos: u64) {
        self.0.saturating_record(nanos);
    }

    /// Adds what [`Latencies::take`] gave.
    pub(super) fn add(&mut self, counts: &[(u64, u64)]) {
        for (nanos, count) in counts {
            self.0.saturating_record_n(*nanos, *count);
        }
    }

    /// What was recorded, each value with its count; nothing is left.
    pub(super) fn take(&mut self) -> Vec<(u64, u64)> {
        let counts = self
            .0
            .iter_recorded()
            .map(|step| (step.value_iterated_to(), step.count_at_value()))
            .collect();
        self.0.reset();
        counts
    }

    /// The latency in µs that this part of all stay below; `None` when nothing was recorded.
    pub(super) fn micros(&self, part: f64) -> Option<f64> {
        (!self.0.is_empty()).then(|| micros(self.0.value_at_quantile(part)))
    }

    /// The longest one, in µs.
    pub(super) fn longest(&self) -> Option<f64> {
        (!self.0.is_empty()).then(|| micros(self.0.max()))
    }
}

fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_survive_the_way_between_processes() {
        let mut near = Latencies::new().unwrap();
        (1..=1_000).for_each(|micros| near.record(micros * 1_000));
        let mut far = Latencies::new().unwrap();
        far.add(&near.take());
        for (part, expected) in [(0.5, 500.0), (0.9, 900.0), (0.99, 990.0), (1.0, 1_000.0)] {
            let found = far.micros(part).unwrap();
            assert!((found / expected - 1.0).abs() < 0.002, "{part}: {found}");
        }
        assert!((far.longest().unwrap() / 1_000.0 - 1.0).abs() < 0.002);
        assert_eq!(near.micros(0.5), None);
        assert_eq!(near.longest(), None);
    }

    #[test]
    fn what_is_out_of_bounds_is_at_the_bound() {
        let mut latencies = Latencies::new().unwrap();
        latencies.record(0);
        latencies.record(u64::MAX);
        assert_eq!(latencies.take().iter().map(|(_, count)| count).sum::<u64>(), 2);
    }
}
