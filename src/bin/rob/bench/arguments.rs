//! The command line of `rob bench`: what is measured, and within which bounds.
//!
//! Owns the options, their defaults and how sizes are written. It runs nothing. Called by `arguments`, of which it is a part,
//! and read by `bench`.

use crate::options::number;
use clap::{Args, Subcommand};
use std::time::Duration;

/// Processes of one kind. More would measure the machine's scheduler.
const ROLES_MAX: u64 = 64;
/// What a client may have open (`limits.open_calls`).
const IN_FLIGHT_MAX: u64 = 4_096;
/// Topics that are published to in turn.
const TOPICS_MAX: u64 = 4_096;
/// Connections that are held at once: what is left of the ports and descriptors of one machine.
const CONNECTIONS_MAX: u64 = 100_000;
/// The largest payload of a message (`limits.message_bytes`).
const MESSAGE_MAX: usize = 256 << 20;
/// The largest payload of an event: a queue of `limits.outbox_bytes` takes half of it as events.
const EVENT_MAX: usize = 2 << 20;
/// The longest measurement, in seconds.
const SECONDS_MAX: f64 = 3_600.0;
/// The shortest one, in seconds: five slices of it are taken.
const SECONDS_MIN: f64 = 0.05;

const RPC: &str = "\
Examples:
  rob bench rpc                               round trips of 16 bytes, one at a time
  rob bench rpc --payload 1KiB --in-flight 64 --callers 4
  rob bench rpc --json | tail -1 | jq .ratio  against the bare relay, for a script";
const PUBSUB: &str = "\
Examples:
  rob bench pubsub                            one publisher, one subscriber
  rob bench pubsub --subscribers 8 --topics 100 --seconds 10
  rob bench pubsub --addr unix:/run/b.sock    the broker that runs there";
const BULK: &str = "\
Examples:
  rob bench bulk                              calls of 8 MiB
  rob bench bulk --size 64MiB --seconds 10";
const IDLE: &str = "\
Examples:
  rob bench idle                              a thousand connections
  rob bench idle --connections 10000 --json | jq .bytes_per_connection";
const BUS: &str = "\
Examples:
  rob bench bus                               five sizes, a second of each
  rob bench bus --seconds 5 --json | jq '.sizes[0].rate'";

/// What is measured.
#[derive(Clone, Debug, PartialEq, Subcommand)]
pub(crate) enum Bench {
    /// Calls that are answered at once with what they brought: round trips.
    Rpc(Rpc),
    /// Events from publishers to subscribers, as fast as they go.
    Pubsub(Pubsub),
    /// Large payloads: calls that are read through and answered with nothing.
    Bulk(Bulk),
    /// Connections that do nothing: what each costs.
    Idle(Idle),
    /// The label bus: messages from endpoint to endpoint, of five sizes.
    Bus(Bus),
    /// One process of a measurement; it reads what it is to do from standard input.
    #[command(hide = true)]
    Role,
}

/// `rob bench rpc`.
#[derive(Args, Clone, Debug, PartialEq)]
#[command(after_help = RPC)]
pub(crate) struct Rpc {
    /// Payload of a call and of its answer, such as 16, 1KiB or 4MiB; from 1 byte to 256MiB.
    #[arg(long, value_name = "SIZE", default_value = "16", allow_negative_numbers = true, value_parser = message_size)]
    pub(crate) payload: usize,
    /// Calls that each caller has open at the same time, from 1 to 4096.
    #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true, value_parser = |text: &str| number(text, IN_FLIGHT_MAX))]
    pub(crate) in_flight: u64,
    /// Processes that call, from 1 to 64.
    #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true, value_parser = |text: &str| number(text, ROLES_MAX))]
    pub(crate) callers: u64,
    /// How long the broker is measured, in seconds, from 0.05 to 3600; the floor takes as long again.
    #[arg(long, value_name = "SECONDS", default_value = "5", allow_negative_numbers = true, value_parser = seconds)]
    pub(crate) seconds: Duration,
}

/// `rob bench pubsub`.
#[derive(Args, Clone, Debug, PartialEq)]
#[command(after_help = PUBSUB)]
pub(crate) struct Pubsub {
    /// Payload of an event, such as 16, 1KiB or 1MiB; from 1 byte to 2MiB.
    #[arg(long, value_name = "SIZE", default_value = "16", allow_negative_numbers = true, value_parser = event_size)]
    pub(crate) payload: usize,
    /// Processes that publish, from 1 to 64.
    #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true, value_parser = |text: &str| number(text, ROLES_MAX))]
    pub(crate) publishers: u64,
    /// Processes that listen, each to every topic, from 1 to 64.
    #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true, value_parser = |text: &str| number(text, ROLES_MAX))]
    pub(crate) subscribers: u64,
    /// Topics that each publisher publishes to in turn, from 1 to 4096.
    #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true, value_parser = |text: &str| number(text, TOPICS_MAX))]
    pub(crate) topics: u64,
    /// How long the broker is measured, in seconds, from 0.05 to 3600; the floor takes as long again.
    #[arg(long, value_name = "SECONDS", default_value = "5", allow_negative_numbers = true, value_parser = seconds)]
    pub(crate) seconds: Duration,
}

/// `rob bench bulk`.
#[derive(Args, Clone, Debug, PartialEq)]
#[command(after_help = BULK)]
pub(crate) struct Bulk {
    /// Payload of a call, such as 8MiB; from 1 byte to 256MiB.
    #[arg(long, value_name = "SIZE", default_value = "8MiB", allow_negative_numbers = true, value_parser = message_size)]
    pub(crate) size: usize,
    /// How long the broker is measured, in seconds, from 0.05 to 3600; the floor takes as long again.
    #[arg(long, value_name = "SECONDS", default_value = "5", allow_negative_numbers = true, value_parser = seconds)]
    pub(crate) seconds: Duration,
}

/// `rob bench idle`.
#[derive(Args, Clone, Debug, PartialEq)]
#[command(after_help = IDLE)]
pub(crate) struct Idle {
    /// Connections that are held at the same time, from 1 to 100000. The limit of open files is raised for them as far as it may be.
    #[arg(long, value_name = "N", default_value_t = 1_000, allow_negative_numbers = true, value_parser = |text: &str| number(text, CONNECTIONS_MAX))]
    pub(crate) connections: u64,
}

/// `rob bench bus`.
#[derive(Args, Clone, Debug, PartialEq)]
#[command(after_help = BUS)]
pub(crate) struct Bus {
    /// How long each size is measured, in seconds, from 0.05 to 3600.
    #[arg(long, value_name = "SECONDS", default_value = "1", allow_negative_numbers = true, value_parser = seconds)]
    pub(crate) seconds: Duration,
    /// Be the process that hosts and sends.
    #[arg(long, hide = true)]
    pub(crate) source: bool,
    /// Be the process that takes, on this bus.
    #[arg(long, hide = true, value_name = "BUS")]
    pub(crate) sink: Option<String>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let wanted = || format!("a number of seconds from {SECONDS_MIN} to {SECONDS_MAX}");
    let seconds = text.parse::<f64>().map_err(|_| wanted())?;
    if !(SECONDS_MIN..=SECONDS_MAX).contains(&seconds) {
        return Err(wanted());
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| wanted())
}

fn message_size(text: &str) -> Result<usize, String> {
    size(text, MESSAGE_MAX)
}

fn event_size(text: &str) -> Result<usize, String> {
    size(text, EVENT_MAX)
}

/// A number of bytes from 1 to `most`, with or without a unit.
fn size(text: &str, most: usize) -> Result<usize, String> {
    let wanted = || {
        format!(
            "a size from 1 to {} ({} MiB), with B, KiB, MiB, kB, MB or no unit",
            most,
            most >> 20
        )
    };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).ok_or_else(wanted)?;
    let factor = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" | "k" => 1 << 10,
        "mib" | "m" => 1 << 20,
        "kb" => 1_000,
        "mb" => 1_000_000,
        _ => return Err(wanted()),
    };
    let number: usize = number.parse().map_err(|_| wanted())?;
    number
        .checked_mul(factor)
        .filter(|bytes| (1..=most).contains(bytes))
        .ok_or_else(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        let table = [
            ("1", Ok(1)),
            ("16", Ok(16)),
            ("64B", Ok(64)),
            ("1KiB", Ok(1_024)),
            ("1 kib", Ok(1_024)),
            ("2k", Ok(2_048)),
            ("1kB", Ok(1_000)),
            ("2MiB", Ok(2 << 20)),
            ("1m", Ok(1 << 20)),
            ("1MB", Ok(1_000_000)),
            ("0", Err(())),
            ("", Err(())),
            ("KiB", Err(())),
            ("-1", Err(())),
            ("1.5MiB", Err(())),
            ("1GiB", Err(())),
            ("3MiB", Err(())),
            ("99999999999999999999", Err(())),
            ("18446744073709551615MiB", Err(())),
            ("1 µB", Err(())),
        ];
        for (text, expected) in table {
            assert_eq!(event_size(text).map_err(|_| ()), expected, "{text}");
        }
    }

    #[test]
    fn seconds_have_bounds() {
        let table = [
            ("0.2", true),
            ("5", true),
            ("3600", true),
            ("0", false),
            ("0.01", false),
            ("-1", false),
            ("3601", false),
            ("NaN", false),
            ("inf", false),
            ("soon", false),
        ];
        for (text, good) in table {
            assert_eq!(seconds(text).is_ok(), good, "{text}");
        }
    }
}
