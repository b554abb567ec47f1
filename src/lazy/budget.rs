//! How much one poll may do, and how much the server may hold.
//!
//! Owns the numbers; `server` and `peer` keep to them.

use std::time::{Duration, Instant};

/// What one poll may do at most. Whatever is left waits, and [`IpcServer::next_timeout`](super::IpcServer::next_timeout) is zero until it is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Commands; `None`: all that had come when the poll began.
    pub commands: Option<usize>,
    /// Time, looked at before each connection is read and before each command; the last command may take longer. `None`: as long as it takes.
    pub time: Option<Duration>,
}

/// What is left of a budget during a poll.
#[derive(Debug)]
pub(super) struct Left {
    commands: usize,
    until: Option<Instant>,
}

impl Left {
    /// The clock is read only when there is a limit of time.
    pub(super) fn of(budget: Budget) -> Self {
        Self {
            commands: budget.commands.unwrap_or(usize::MAX),
            until: budget.time.and_then(|time| Instant::now().checked_add(time)),
        }
    }

    /// Whether there is something left of it.
    pub(super) fn has_some(&self) -> bool {
        self.commands > 0 && self.until.is_none_or(|until| Instant::now() < until)
    }

    /// Takes one command.
    pub(super) const fn take(&mut self) {
        self.commands = self.commands.saturating_sub(1);
    }
}

/// What the server takes and holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest command and the largest response, in bytes of postcard: 16 MiB. At most 4 GiB less one.
    pub message_bytes: usize,
    /// Connections at a time: 1,024. Whoever comes then is told so and may try again.
    pub connections: usize,
    /// What all commands that have come in part, and all responses that were not read, may hold together, in bytes: 256 MiB. The
    /// connection that would go beyond it is told and ended.
    pub memory_bytes: usize,
    /// How long a command that began to come may take to come whole, and a response to be read: 30 s. Looked at when the server is polled.
    pub transfer_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 16 * 1024 * 1024,
            connections: 1_024,
            memory_bytes: 256 * 1024 * 1024,
            transfer_time: Duration::from_secs(30),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_ends_with_its_commands_or_its_time() {
        let mut all = Left::of(Budget::default());
        let mut two = Left::of(Budget {
            commands: Some(2),
            time: Some(Duration::from_secs(3_600)),
        });
        let mut left = Vec::new();
        for _ in 0..3 {
            left.push((all.has_some(), two.has_some()));
            all.take();
            two.take();
        }
        assert_eq!(left, [(true, true), (true, true), (true, false)]);
        let none = Left::of(Budget {
            commands: None,
            time: Some(Duration::ZERO),
        });
        assert!(!none.has_some());
    }
}
