//! A credit window: how many bytes a sender may still send.
//!
//! Pure arithmetic, shared by both sides of a connection. A frame may be sent while the window is above zero, so it may go
//! below once; at zero or below nothing may be sent until credit comes back.

/// Bytes that may still be sent, possibly negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    left: i64,
}

impl Window {
    /// A full window of `bytes`.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self {
            left: i64::try_from(bytes).unwrap_or(i64::MAX),
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

    /// Returns credit.
    pub fn refill(&mut self, bytes: u32) {
        self.left = self.left.saturating_add(i64::from(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
