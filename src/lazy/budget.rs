//! How much one poll may do, and how much the server may hold.
//!
//! Owns the numbers; `server` and `peer` keep to them.

use std::time::{Duration, Instant};

/// What one poll may do at most. Whatever is left waits, and [`IpcServer::next_timeout`](super::IpcServer::next_timeout) is zero until it is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Commands; `None`: all that had come when the poll began.
    pub commands: Option<usize>,
    /// Time, looked at before each turn of a connection, which is one command at most; the last command may take longer. However short it
    /// is, one turn is made. `None`: as long as it takes.
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

    /// Whether there is something left of it. Time ends nothing before something was done with it: a poll that comes late goes on all the same.
    pub(super) fn has_some(&self, done: bool) -> bool {
        self.commands > 0 && (!done || self.until.is_none_or(|until| Instant::now() < until))
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
    /// Connections at a time: 1,024. Whoever comes then takes the place of the one that has been silent for longest, of the process that has
    /// most; when all have something under way, it is told so and may try again.
    pub connections: usize,
    /// What commands that have come in part, and responses that were not read, may hold together, in bytes: 256 MiB, at least twice
    /// `message_bytes`, which it is raised to. In the moment of a command its response comes on top, and 4 KiB for each connection do, which are
    /// each one's own and not counted. When it is full, the largest connection of the process that holds most is ended; the largest of all waits in its socket.
    pub memory_bytes: usize,
    /// In this time at least 4 KiB must move of a command that began to come, or of a response that was not read, or come to its end: 30 s.
    /// Looked at when the server is polled, and counted only while its last look had found nothing more to read, or no room to write.
    pub transfer_time: Duration,
}

impl Limits {
    /// With what every command needs.
    pub(super) fn possible(self) -> Self {
        let message_bytes = self.message_bytes.min(u32::MAX as usize);
        let both = message_bytes.saturating_mul(2);
        Self {
            message_bytes,
            connections: self.connections.max(1),
            memory_bytes: self.memory_bytes.max(both),
            ..self
        }
    }
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
    fn memory_holds_a_command_and_its_response() {
        let limits = Limits {
            memory_bytes: 1,
            ..Limits::default()
        };
        assert_eq!(limits.possible().memory_bytes, 2 * limits.message_bytes);
        assert_eq!(Limits::default().possible(), Limits::default());
    }

    #[test]
    fn a_budget_ends_with_its_commands_or_its_time() {
        let mut all = Left::of(Budget::default());
        let mut two = Left::of(Budget {
            commands: Some(2),
            time: Some(Duration::from_secs(3_600)),
        });
        let mut left = Vec::new();
        for _ in 0..3 {
            left.push((all.has_some(true), two.has_some(true)));
            all.take();
            two.take();
        }
        assert_eq!(left, [(true, true), (true, true), (true, false)]);
        let none = Left::of(Budget {
            commands: None,
            time: Some(Duration::ZERO),
        });
        assert_eq!((none.has_some(true), none.has_some(false)), (false, true));
    }
}
