//! What must hold inside the broker when nothing happens any more: nothing open, nothing charged, and in the end nothing kept.
//!
//! The judge sees what clients see; this sees what only the broker's own counts tell.

use crate::client::Stage;
use crate::world::World;
use actix_ipc::actors::accounts::Budget;

impl World {
    /// Nothing is in a mailbox: every slot of a callee is an open call of somebody, and the other way round.
    pub fn slots_are_calls(&mut self) {
        let sessions = self.links.iter().filter_map(|link| link.life.as_ref()?.session());
        let (slots, calls) = sessions.fold((0, 0), |(slots, calls), session| {
            (slots + session.slots.len(), calls + session.open.routed())
        });
        if slots != calls {
            self.violate(
                "slots",
                format!("{slots} slots are kept for {calls} calls that have a callee"),
            );
        }
    }

    /// Nothing is in a mailbox: who still waits for names waits for one that nobody has.
    pub fn waits_are_in_vain(&mut self) {
        let mut found = Vec::new();
        for link in &self.links {
            let Some(session) = link.life.as_ref().and_then(|life| life.session()) else {
                continue;
            };
            for call in session.open.waits() {
                let names = link
                    .client
                    .asked
                    .get(&call.0)
                    .map_or(&[][..], |asked| &asked.names);
                if !names.is_empty() && names.iter().all(|name| self.broker.registry.has(name)) {
                    found.push(format!(
                        "request {} of client {} waits for {names:?}, and all are there",
                        call.0, link.client.number
                    ));
                }
            }
        }
        self.found("waits", found);
    }

    /// Everybody is still there, and has nothing more to do.
    pub fn at_rest(&mut self) {
        let mut found = Vec::new();
        for link in &self.links {
            let Some(session) = link.life.as_ref().and_then(|life| life.session()) else {
                continue;
            };
            let account = &session.me().account;
            let counts = [
                ("open requests", session.open.len()),
                ("slots", session.slots.len()),
                ("bytes queued", account.queued()),
                ("bytes of events queued", account.events()),
                ("load", account.load() as usize),
                (
                    "bytes read and not handled",
                    link.life.as_ref().map_or(0, |life| life.unhandled()),
                ),
            ];
            for (what, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
                found.push(format!(
                    "client {} at rest has {count} {what}",
                    link.client.number
                ));
            }
            let window = i64::try_from(self.plan.limits.publish_window).unwrap_or(i64::MAX);
            let back = link
                .client
                .publish_window
                .saturating_add(i64::try_from(account.granted()).unwrap_or(i64::MAX));
            if link.client.stage == Stage::Ready && back != window {
                found.push(format!(
                    "client {} at rest has a publish window of {back} of {window} bytes",
                    link.client.number
                ));
            }
        }
        self.found("at rest", found);
        self.gate();
    }

    /// Everybody has left.
    pub fn at_the_end(&mut self) {
        // What this run itself has kept of them.
        self.links.iter_mut().for_each(|link| link.peer = None);
        let mut found: Vec<String> = self
            .links
            .iter()
            .filter(|link| link.life.is_some())
            .map(|link| format!("the connection of client {} has not ended", link.client.number))
            .collect();
        let registry = self
            .broker
            .registry
            .census()
            .into_iter()
            .map(|count| ("Registry", count));
        let hub = self
            .broker
            .hub
            .census()
            .into_iter()
            .map(|count| ("TopicHub", count));
        let kept: Vec<(&str, (&str, usize))> = registry.chain(hub).collect();
        for (room, (what, count)) in kept.into_iter().filter(|(_, (_, count))| *count > 0) {
            found.push(format!("{room} keeps {count} {what} of nobody"));
        }
        for budget in [Budget::Connections, Budget::Handshakes, Budget::Memory] {
            let held = self.broker.shared.accounts.level(budget).held;
            if held > 0 {
                found.push(format!("{held} of {budget:?} are still charged"));
            }
        }
        self.found("at the end", found);
        self.gate();
    }

    fn gate(&mut self) {
        let used = self.broker.shared.gate.used();
        if used > 0 {
            self.violate(
                "permits",
                format!("{used} bytes of read permits are not given back"),
            );
        }
    }

    fn found(&mut self, rule: &'static str, found: Vec<String>) {
        for text in found {
            self.violate(rule, text);
        }
    }
}
