//! What kind of run a seed makes: limits, who takes part, how hard the faults are.

use crate::rng::Rng;
use actix_ipc::config::Limits;

/// One run's parameters.
#[derive(Clone, Debug)]
pub struct Plan {
    pub limits: Limits,
    pub clients: u64,
    pub most_clients: usize,
    pub steps: u64,
    /// Percent of clients of each temper; the rest is honest.
    pub hostile: u64,
    pub slow: u64,
    pub dying: u64,
    /// Percent of chances to break off that are taken.
    pub resets: u64,
    /// Percent of chances to panic that are taken.
    pub panics: u64,
    /// Bytes that each direction of a socket holds.
    pub socket_bytes: usize,
    /// Bytes of one read or write, at most.
    pub read_bytes: usize,
    /// The broker comes to rest now and then, so that the judge knows more.
    pub settles: bool,
    /// The broker stops before its clients leave.
    pub drains: bool,
}

impl Plan {
    /// The plan of a run.
    #[must_use]
    pub fn draw(rng: &mut Rng) -> Self {
        // Half of the runs have room for everything, so that what they lose is not lost to a limit.
        let tight = rng.chance(50);
        let clients = rng.between(3, 7);
        Self {
            limits: limits(rng, tight),
            clients,
            most_clients: usize::try_from(clients).unwrap_or(0).saturating_add(4),
            steps: rng.between(300, 1_500),
            hostile: rng.pick(&[0, 0, 15, 30]).unwrap_or(0),
            slow: rng.pick(&[0, 0, 20, 40]).unwrap_or(0),
            dying: rng.pick(&[0, 10, 20]).unwrap_or(0),
            resets: rng.pick(&[0, 0, 30]).unwrap_or(0),
            panics: rng.pick(&[0, 0, 30, 80]).unwrap_or(0),
            socket_bytes: rng.pick(&[64, 512, 4_096, 65_536]).unwrap_or(4_096),
            read_bytes: rng.pick(&[16, 256, 2_048, 16_384]).unwrap_or(2_048),
            settles: rng.chance(50),
            drains: rng.chance(15),
        }
    }
}

fn limits(rng: &mut Rng, tight: bool) -> Limits {
    let frame_bytes = rng.pick(&[400, 900, 3_000]).unwrap_or(400);
    let wide = Limits {
        frame_bytes,
        message_bytes: frame_bytes * 6,
        publish_window: rng.pick(&[600, 3_000, 20_000]).unwrap_or(3_000),
        stream_window: rng.pick(&[500, 2_000, 20_000]).unwrap_or(2_000),
        panic_budget: 1_000,
        panics_per_author: rng.pick(&[3, 1_000, 1_000]).unwrap_or(1_000),
        default_deadline_ms: 5_000,
        max_deadline_ms: 20_000,
        ..Limits::default()
    };
    if !tight {
        return wide;
    }
    Limits {
        outbox_bytes: rng.pick(&[16_000, 30_000, 60_000]).unwrap_or(16_000),
        read_bytes: rng.pick(&[200, 2_000, 200_000]).unwrap_or(2_000),
        read_bytes_total: rng.pick(&[3_000, 300_000]).unwrap_or(3_000),
        open_calls: rng.pick(&[3, 8, 100]).unwrap_or(8),
        names: rng.pick(&[2, 100]).unwrap_or(2),
        subscriptions: rng.pick(&[2, 100]).unwrap_or(2),
        watches: rng.pick(&[2, 100]).unwrap_or(2),
        retained_bytes: rng.pick(&[60, 2_000]).unwrap_or(60),
        frame_progress_ms: rng.pick(&[500, 10_000]).unwrap_or(500),
        handshake_ms: rng.pick(&[500, 10_000]).unwrap_or(500),
        ..wide
    }
}
