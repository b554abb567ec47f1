//! What the end of the broker does to one connection.
//!
//! Part of [`Life`]; owns no state of its own. Who is served finishes what is open; a stranger goes at once.

use super::life::{DRAIN_GRACE, Life, Phase};
use super::perform::Rooms;
use super::session::Session;

impl<R: Rooms> Life<R> {
    /// The goodbye at the end of a drain.
    pub(super) fn close_drained(&mut self) {
        let reason = self.rooms.shared().drain_reason();
        self.close(reason, reason.text());
    }

    pub(super) fn drain(&mut self) {
        match self.phase {
            Phase::Ready(_) => {
                self.with_session(Session::drain);
                self.limit = self.rooms.shared().now().checked_add(DRAIN_GRACE);
                self.drain_if_idle();
            }
            Phase::Preface(_) | Phase::Refused(_) | Phase::Hello | Phase::Unproven(_) => {
                self.close_drained();
            }
            Phase::Lingering(_) | Phase::Closing => {}
        }
    }

    pub(super) fn drain_if_idle(&mut self) {
        if let Phase::Ready(session) = &self.phase
            && session.is_draining()
            && session.open.is_empty()
            && session.slots.is_empty()
            && session.is_bus_idle()
        {
            self.close_drained();
        }
    }

    /// The broker has begun to stop: a stranger goes; the others are told by Registry.
    pub fn stopping(&mut self) {
        if self.is_stranger() {
            self.close_drained();
        }
    }
}
