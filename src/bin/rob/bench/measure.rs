//! The order of a measurement: floor and broker in turn, so that what the machine does meanwhile falls on both.
//!
//! Owns the rounds and what is summed over them. It starts no process and prints nothing but through `progress`. Called by
//! `bench`.

use super::latencies::Latencies;
use super::progress::Progress;
use super::protocol::{Order, Slice, Way};
use super::team::{Member, Team};
use crate::exit::Failure;
use actix_ipc::platform::usage;
use std::time::Duration;

/// Rounds of a short measurement.
const ROUNDS_MIN: u32 = 5;
/// The longest slice of time on one way: what else the machine does changes within seconds.
const SLICE: Duration = Duration::from_millis(250);
/// How long each way is used before anything counts, unless a slice is shorter.
const WARM_UP: Duration = Duration::from_millis(250);

/// What was measured on one way.
#[derive(Debug)]
pub(super) struct Side {
    /// How long things took.
    pub(super) latencies: Latencies,
    /// Calls answered, events received, connections made.
    pub(super) done: u64,
    /// What was lost.
    pub(super) lost: u64,
    /// Processor time of the broker meanwhile, in ns.
    pub(super) processor: Option<u64>,
    /// By process: how much was done in how many ns.
    timed: Vec<(u64, u64)>,
}

impl Side {
    /// Nothing yet.
    pub(super) fn new() -> Result<Self, Failure> {
        Ok(Self {
            latencies: Latencies::new()?,
            done: 0,
            lost: 0,
            processor: None,
            timed: Vec::new(),
        })
    }

    /// Adds what each process did, in the same order each time.
    pub(super) fn add(&mut self, slices: &[Slice]) {
        self.timed.resize(slices.len().max(self.timed.len()), (0, 0));
        for (slice, sum) in slices.iter().zip(&mut self.timed) {
            self.latencies.add(&slice.latencies);
            self.done = self.done.saturating_add(slice.done);
            self.lost = self.lost.saturating_add(slice.lost);
            sum.0 = sum.0.saturating_add(slice.timed);
            sum.1 = sum.1.saturating_add(slice.nanos);
        }
    }

    /// What all processes did in a second.
    pub(super) fn rate(&self) -> f64 {
        let rates = self.timed.iter().filter(|(_, nanos)| *nanos > 0);
        rates
            .map(|(done, nanos)| *done as f64 * 1e9 / *nanos as f64)
            .sum()
    }

    /// Adds processor time; unknown once is unknown for good.
    fn spend(&mut self, before: Option<u64>, after: Option<u64>, first: bool) {
        let spent = before
            .zip(after)
            .map(|(before, after)| after.saturating_sub(before));
        self.processor = match (first, self.processor, spent) {
            (true, _, spent) => spent,
            (false, Some(sum), Some(spent)) => Some(sum.saturating_add(spent)),
            (false, ..) => None,
        };
    }
}

/// All that went through the broker from the first message to the last, the warm-up included: what its own totals must agree with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Calls made (all of them were answered), events published or connections made.
    pub(super) sent: u64,
    /// Events that subscribers received, all together.
    pub(super) received: u64,
}

impl Totals {
    fn add(&mut self, slice: &Worked) {
        self.sent = self.sent.saturating_add(slice.sent);
        let received = slice.slices.iter().map(|slice| slice.done);
        self.received = received.fold(self.received, u64::saturating_add);
    }
}

/// What was measured on both, and how much memory the broker had at the end.
#[derive(Debug)]
pub(super) struct Measured {
    /// Through the relay.
    pub(super) floor: Side,
    /// Through the broker.
    pub(super) broker: Side,
    /// Through the broker.
    pub(super) totals: Totals,
    /// In bytes.
    pub(super) resident: Option<u64>,
}

/// Who does what.
#[derive(Debug)]
pub(super) struct Crew {
    /// Callers or publishers.
    pub(super) sources: Vec<Member>,
    /// Subscribers.
    pub(super) sinks: Vec<Member>,
    /// The broker's process, where it is known.
    pub(super) broker: Option<u32>,
}

/// Measures for so long on each way, after a warm-up.
///
/// # Errors
/// When a process fails or ends, and when a signal asks for the end.
pub(super) async fn rounds(
    team: &mut Team,
    crew: &Crew,
    seconds: Duration,
    progress: &Progress,
) -> Result<Measured, Failure> {
    let slices = seconds.as_millis().div_ceil(SLICE.as_millis());
    let rounds = u32::try_from(slices).unwrap_or(u32::MAX).max(ROUNDS_MIN);
    let time = seconds.checked_div(rounds).unwrap_or(seconds);
    let (mut floor, mut broker) = (Side::new()?, Side::new()?);
    progress.show("warming up");
    let mut totals = Totals::default();
    for way in [Way::Floor, Way::Broker] {
        let worked = slice(team, crew, way, time.min(WARM_UP)).await?;
        if way == Way::Broker {
            totals.add(&worked);
        }
    }
    for round in 0..rounds {
        // In turns that change, so that neither is always the first.
        let ways = match round.is_multiple_of(2) {
            true => [Way::Floor, Way::Broker],
            false => [Way::Broker, Way::Floor],
        };
        for way in ways {
            let processor = || crew.broker.and_then(usage::processor_nanos);
            let before = processor();
            let worked = slice(team, crew, way, time).await?;
            match way {
                Way::Floor => floor.add(&worked.slices),
                Way::Broker => {
                    broker.add(&worked.slices);
                    totals.add(&worked);
                    broker.spend(before, processor(), round == 0);
                }
            }
            progress.round(round, rounds, &floor, &broker);
        }
    }
    progress.clear();
    let resident = crew.broker.and_then(usage::resident_bytes);
    Ok(Measured {
        floor,
        broker,
        totals,
        resident,
    })
}

/// What was done in one slice of time.
struct Worked {
    /// By all sources together.
    sent: u64,
    /// Of each that is measured: the sinks, where there are any.
    slices: Vec<Slice>,
}

/// One slice of time on one way.
async fn slice(team: &mut Team, crew: &Crew, way: Way, time: Duration) -> Result<Worked, Failure> {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    for sink in &crew.sinks {
        team.order(*sink, Order::Listen { way })?;
    }
    team.listening(&crew.sinks).await?;
    for source in &crew.sources {
        team.order(*source, Order::Run { way, nanos })?;
    }
    let slices = team.done(&crew.sources, time).await?;
    let sent = slices
        .iter()
        .fold(0_u64, |sum, slice| sum.saturating_add(slice.done));
    if crew.sinks.is_empty() {
        return Ok(Worked { sent, slices });
    }
    for sink in &crew.sinks {
        team.order(*sink, Order::Expect { events: sent })?;
    }
    let slices = team.done(&crew.sinks, Duration::ZERO).await?;
    Ok(Worked { sent, slices })
}

/// What idle connections cost.
#[derive(Debug)]
pub(super) struct Held {
    /// How they were opened.
    pub(super) measured: Measured,
    /// The broker's memory for each, in bytes.
    pub(super) bytes_each: Option<f64>,
}

/// Has so many connections opened, a part at the relay and a part at the broker in turn, and counts which of the broker's stand.
///
/// # Errors
/// When one cannot be opened, and when a signal asks for the end.
pub(super) async fn connections(
    team: &mut Team,
    crew: &Crew,
    wanted: u64,
    progress: &Progress,
) -> Result<Held, Failure> {
    let (mut floor, mut broker) = (Side::new()?, Side::new()?);
    let resident = || crew.broker.and_then(usage::resident_bytes);
    let processor = || crew.broker.and_then(usage::processor_nanos);
    let before = resident();
    let part = wanted.div_ceil(u64::from(ROUNDS_MIN)).min(1_000);
    while broker.done < wanted {
        let count = part.min(wanted.saturating_sub(broker.done));
        for way in [Way::Floor, Way::Broker] {
            let first = broker.done == 0;
            let spent = processor();
            for source in &crew.sources {
                team.order(*source, Order::Open { way, count })?;
            }
            let slices = team.done(&crew.sources, Duration::ZERO).await?;
            match way {
                Way::Floor => floor.add(&slices),
                Way::Broker => {
                    broker.add(&slices);
                    broker.spend(spent, processor(), first);
                }
            }
        }
        progress.show(&format!("{} of {wanted} connections", broker.done));
    }
    let after = resident();
    for source in &crew.sources {
        team.order(*source, Order::Count)?;
    }
    let standing = team.done(&crew.sources, Duration::ZERO).await?;
    progress.clear();
    broker.lost = standing
        .iter()
        .fold(0, |sum, slice| sum.saturating_add(slice.lost));
    let bytes_each = before
        .zip(after)
        .map(|(before, after)| after.saturating_sub(before) as f64 / wanted.max(1) as f64);
    let made = broker.done;
    Ok(Held {
        measured: Measured {
            floor,
            broker,
            totals: Totals {
                sent: made,
                received: 0,
            },
            resident: after,
        },
        bytes_each,
    })
}
