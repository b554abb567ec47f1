//! How long calls took, as counts in buckets that grow with the time: four for each doubling.
//!
//! Owns the buckets. A time is known to a quarter of its size at worst, from a microsecond to more than an hour. Written by all threads,
//! read by whoever makes a survey; knows no call.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets for each doubling, as a power of two.
const PARTS_BITS: u32 = 2;
const PARTS: u64 = 1 << PARTS_BITS;
/// The last bucket takes everything above about 71 minutes.
const BUCKETS: usize = 124;

/// Counts of times.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    most: AtomicU64,
    sum: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
            most: AtomicU64::new(0),
            sum: AtomicU64::new(0),
        }
    }
}

/// Which bucket a time in microseconds belongs to.
fn place(micros: u64) -> usize {
    if micros < PARTS {
        return usize::try_from(micros).unwrap_or_default();
    }
    let doubling = u64::from(micros.ilog2().saturating_sub(PARTS_BITS));
    let part = (micros >> doubling).saturating_sub(PARTS);
    let bucket = doubling
        .saturating_add(1)
        .saturating_mul(PARTS)
        .saturating_add(part);
    usize::try_from(bucket).map_or(BUCKETS - 1, |bucket| bucket.min(BUCKETS - 1))
}

/// The largest time that belongs to a bucket, in microseconds.
fn upper(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < PARTS {
        return bucket;
    }
    let doubling = bucket.div_euclid(PARTS).saturating_sub(1);
    let part = bucket.rem_euclid(PARTS).saturating_add(PARTS).saturating_add(1);
    (part << doubling).saturating_sub(1)
}

impl Histogram {
    /// Counts one time.
    pub fn add(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.buckets.get(place(micros)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(micros, Ordering::Relaxed);
        if micros > self.most.load(Ordering::Relaxed) {
            self.most.fetch_max(micros, Ordering::Relaxed);
        }
    }

    /// Counts the times of another one as well.
    pub fn absorb(&self, other: &Self) {
        for (own, given) in self.buckets.iter().zip(&other.buckets) {
            own.fetch_add(given.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.sum
            .fetch_add(other.sum.load(Ordering::Relaxed), Ordering::Relaxed);
        self.most
            .fetch_max(other.most.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// What was counted until now.
    #[must_use]
    pub fn read(&self) -> Times {
        let counted = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        let buckets = (0..)
            .map(upper)
            .zip(counted)
            .filter(|(_, count)| *count > 0)
            .collect();
        Times {
            buckets,
            most: self.most.load(Ordering::Relaxed),
            sum: self.sum.load(Ordering::Relaxed),
        }
    }
}

/// Times at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// The largest time of each bucket that is not empty, in microseconds, ascending, and how many times it holds.
    pub buckets: Vec<(u64, u64)>,
    /// The longest of all, in microseconds.
    pub most: u64,
    /// All of them together, in microseconds.
    pub sum: u64,
}

impl Times {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets
            .iter()
            .fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// The time that so many of a thousand do not exceed, in microseconds; `None` when there are none. Exact to a bucket.
    #[must_use]
    pub fn permille(&self, permille: u64) -> Option<u64> {
        let wanted = self.count().saturating_mul(permille).div_ceil(1000).max(1);
        let mut seen = 0_u64;
        for (upper, count) in &self.buckets {
            seen = seen.saturating_add(*count);
            if seen >= wanted {
                return Some((*upper).min(self.most));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        for bucket in 1..BUCKETS - 1 {
            assert_eq!(place(upper(bucket - 1) + 1), bucket);
            assert_eq!(place(upper(bucket)), bucket);
        }
        assert_eq!(place(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn a_thousand_times_from_one_to_a_thousand() {
        let histogram = Histogram::default();
        for micros in 1..=1000 {
            histogram.add(Duration::from_micros(micros));
        }
        let times = histogram.read();
        assert_eq!(times.count(), 1000);
        assert_eq!((times.most, times.sum), (1000, 500_500));
        for (permille, exact) in [(1, 1), (500, 500), (900, 900), (990, 990), (1000, 1000)] {
            let told = times.permille(permille).unwrap();
            assert!(told >= exact && told <= exact + exact / 4, "{permille}: {told}");
        }
        assert_eq!(Times::default().permille(500), None);
    }

    proptest! {
        #[test]
        fn no_time_is_told_more_than_a_quarter_too_long(micros in 0_u64..4_000_000_000) {
            let told = upper(place(micros));
            prop_assert!(told >= micros && told <= micros + micros / 4);
        }
    }
}
