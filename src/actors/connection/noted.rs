//! What is said of a connection's end: to the log, and to whoever asks later.
//!
//! A part of [`Life`], in a file of its own.

use super::identity::Unproven;
use super::life::Life;
use super::perform::Rooms;
use crate::actors::observe::hush::Line;
use crate::actors::observe::journal::Happening;
use crate::error::CloseReason;
use crate::text;
use crate::transport::dialect::{Dialects, Opening};
use std::net::IpAddr;

impl<R: Rooms> Life<R> {
    /// The broker closes the connection.
    pub(super) fn note_close(&self, reason: CloseReason, why: &str) {
        let metrics = self.rooms.metrics();
        let line = match reason {
            CloseReason::Draining | CloseReason::Moved | CloseReason::Finished => return,
            CloseReason::Protocol | CloseReason::Window | CloseReason::Version => {
                metrics.protocol_errors.add(1);
                Line::Protocol
            }
            CloseReason::TooMany => {
                metrics.closed_over_limit.add(1);
                Line::Limit
            }
            CloseReason::SlowConsumer => {
                metrics.closed_unread.add(1);
                Line::Slow
            }
            CloseReason::Timeout => {
                metrics.closed_late.add(1);
                Line::Late
            }
            _ => Line::Other,
        };
        let shared = self.rooms.shared();
        let Some(left_out) = shared.hush.may_say(line, shared.now()) else {
            return;
        };
        let peer = self.me.as_ref().map(|me| me.id().0);
        let format = self.format();
        tracing::warn!(peer, pid = self.pid(), format, %reason, text = %text::text(why), left_out, "closing a connection");
        self.note(Happening::Closed, format!("{}: {why}", reason.name()));
    }

    /// There was no memory for something that the peer had begun; who waits for it is told.
    pub(super) fn note_refused(&self, what: &str, why: &str) {
        let shared = self.rooms.shared();
        shared.metrics.refused_for_memory.add(1);
        if let Some(left_out) = shared.hush.may_say(Line::Limit, shared.now()) {
            let peer = self.me.as_ref().map(|me| me.id().0);
            let format = self.format();
            tracing::warn!(peer, pid = ?self.pid, format, what, why, left_out, "read over what there is no memory for");
        }
    }

    /// What its first byte said is a format that is not served, or none at all.
    pub(super) fn note_foreign(&self, first: Option<u8>) {
        let shared = self.rooms.shared();
        shared.metrics.foreign_openings.add(1);
        let Some(left_out) = shared.hush.may_say(Line::Foreign, shared.now()) else {
            return;
        };
        let old = first.and_then(|first| match Dialects::ALL.opening(first) {
            Opening::Old(dialect) => Some(dialect.name()),
            Opening::Native | Opening::Foreign => None,
        });
        match old {
            Some(format) => tracing::warn!(
                pid = self.pid(),
                format,
                left_out,
                "turned a client of an older format away: `dialects` of the broker does not name it"
            ),
            None => tracing::info!(
                pid = self.pid(),
                left_out,
                "turned away what is no client of this broker"
            ),
        }
    }

    /// Nobody knows who the peer is.
    pub(super) fn note_unproven(&self, unproven: Unproven, address: Option<IpAddr>) {
        let shared = self.rooms.shared();
        let Some(left_out) = shared.hush.may_say(Line::Unproven, shared.now()) else {
            return;
        };
        let reason = unproven.text();
        tracing::warn!(
            address = address.map(tracing::field::display),
            reason,
            left_out,
            "refused a connection"
        );
    }

    /// The policy does not let the peer in.
    pub(super) fn note_denied(&self, why: &str) {
        let shared = self.rooms.shared();
        shared.metrics.denied.add(1);
        if let Some(left_out) = shared.hush.may_say(Line::Denied, shared.now()) {
            tracing::warn!(pid = self.pid(), left_out, "refused a connection; {why}");
        }
    }

    /// The client has named a service that no description lists.
    pub(super) fn note_service(&self, object: &str, unit: &str) {
        let shared = self.rooms.shared();
        shared.metrics.services_refused.add(1);
        let Some(left_out) = shared.hush.may_say(Line::Service, shared.now()) else {
            return;
        };
        let peer = self.me.as_ref().map(|me| me.id().0);
        let uid = self.me.as_ref().and_then(|me| me.principal.uid);
        let (object, unit) = (text::text(object), text::text(unit));
        tracing::warn!(
            peer, pid = self.pid(), uid, %object, %unit, left_out,
            "a client named a service that no description lists; it is ignored"
        );
    }

    /// The connection's own code has failed.
    pub(super) fn note_panic(&self, panic: &str) {
        tracing::error!(pid = self.pid(), panic = %text::text(panic), "a connection panicked; closing it");
        self.note(Happening::Panic, format!("a connection panicked: {panic}"));
    }

    fn pid(&self) -> Option<u32> {
        self.pid.map(std::num::NonZeroU32::get)
    }

    fn note(&self, kind: Happening, text: String) {
        let peer = self.me.as_ref().map(|me| me.id());
        let pid = self.pid().unwrap_or_default();
        self.rooms.shared().happened(kind, peer, pid, text);
    }
}
