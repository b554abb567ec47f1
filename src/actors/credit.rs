//! A credit window: how many bytes a sender may still send.
//!
//! Pure arithmetic, shared by both sides of a connection. A frame may be sent while the window is above zero, so it may go
//! below once; at zero or below nothing may be sent until credit comes back.

/// Credit of a stream is passed on in steps of one part in this many of its window: who gives it back byte by byte must not
/// fill the other side's queue with it.
const STEPS: i64 = 8;

/// Bytes that may still be sent, possibly negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    left: i64,
    full: i64,
    /// Given back and not passed on yet.
    owed: i64,
}

impl Window {
    /// A full window of `bytes`.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let full = i64::try_from(bytes).unwrap_or(i64::MAX);
        Self {
            left: full,
            full,
            owed: 0,
        }
    }

    /// Whether a frame may be sent.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.left > 0
    }

    /// Takes the cost of a frame. `false`: the window was closed, the sender is in error.
    #[must_use]
    pub fn spend(&mut self, bytes: usize) -> bool {
        let open = self.is_open();
        self.left = self.left.saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
        open
    }

    /// Takes credit for the sender. Some: so much is to be passed on to it now. Credit that would lift the window above what it
    /// began with was never spent, and is ignored.
    pub fn give(&mut self, bytes: u32) -> Option<u32> {
        let missing = self.full.saturating_sub(self.left).saturating_sub(self.owed);
        self.owed = self.owed.saturating_add(i64::from(bytes).min(missing));
        let step = self.full.checked_div(STEPS).unwrap_or_default();
        if self.owed < step.max(1) {
            return None;
        }
        self.give_rest()
    }

    /// Some: credit that was taken and is to be passed on now, however little.
    pub fn give_rest(&mut self) -> Option<u32> {
        if self.owed <= 0 {
            return None;
        }
        let owed = u32::try_from(std::mem::take(&mut self.owed)).unwrap_or(u32::MAX);
        self.refill(owed);
        Some(owed)
    }

    /// Returns credit.
    pub fn refill(&mut self, bytes: u32) {
        self.left = self.left.saturating_add(i64::from(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credit_is_passed_on_in_steps_and_never_more_than_was_spent() {
        let mut window = Window::new(80);
        assert_eq!(window.give(5), None, "nothing was spent");
        assert!(window.spend(30));
        assert_eq!(
            [window.give(4), window.give(0), window.give(6)],
            [None, None, Some(10)]
        );
        assert_eq!(window.give_rest(), None);
        assert_eq!(window.give(1), None);
        assert_eq!(window.give_rest(), Some(1), "however little");
        assert_eq!(window.give(100), Some(19), "the rest of what was spent");
    }

    #[test]
    fn it_goes_below_zero_once() {
        let mut window = Window::new(10);
        assert!(window.spend(9) && window.is_open());
        assert!(window.spend(100) && !window.is_open());
        assert!(!window.spend(1));
        window.refill(100);
        assert!(!window.is_open());
        window.refill(1);
        assert!(window.is_open());
    }
}
