//! Messages of the label bus: to whom they go, and how long they wait for somebody.
//!
//! Owns the messages that nobody matched yet, each until its time is over. Whom a selector means is the index's answer; what a
//! message has come to is told by its receipt. Steps of Registry, in a file of their own.

use super::facts::{endpoint_cost, seek_cost};
use super::labels::{Endpoint, Target};
use super::state::{Current, State};
use crate::actors::copies;
use crate::actors::deadlines::Deadlines;
use crate::actors::group::Grouped;
use crate::actors::inject;
use crate::actors::messages::{Deliver, MessageItem, RegistryItem, SendRun};
use crate::actors::peer::PeerRef;
use crate::actors::peers::{Key, Peers};
use crate::actors::receipt::{Owed, Receipt};
use crate::actors::supervise::{Progress, guard};
use crate::config::raise;
use crate::error::{CallError, ErrorCode};
use crate::message::bus::{Join, Outcome, TAKES_UNIX_SOCKETS};
use crate::message::frame::FrameView;
use crate::message::selector::{Label, Selector};
use crate::message::{Batch, RequestId, Ticket};
use crate::transport::passing;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Messages that wait for an endpoint that matches.
#[derive(Debug)]
struct Parked {
    from: PeerRef,
    batch: Arc<Batch>,
    run: SendRun,
}

/// What the bus has under way here; survives a restart of the index.
#[derive(Debug, Default)]
pub(super) struct Bus {
    parked: BTreeMap<Ticket, Parked>,
    deadlines: Deadlines<Ticket>,
    /// For whom the messages of a step are; empty between steps.
    targets: Vec<Target<Key>>,
    /// Endpoints that the metrics know of.
    counted: usize,
    /// Nobody joins any more, so nothing waits for that.
    stopping: bool,
}

impl Bus {
    pub(super) fn parked(&self) -> usize {
        self.parked.len()
    }
}

impl State {
    pub(super) fn join(&mut self, current: &Current, view: &FrameView<'_>) -> Result<(), CallError> {
        let invalid = |text: String| CallError::new(ErrorCode::Invalid, text).ran(false);
        let join = Join::decode(view.payload).map_err(|error| invalid(error.to_string()))?;
        let limits = &self.shared.limits;
        if self.facts.counts(current.key).endpoints >= limits.endpoints {
            return Err(super::answer::too_many("endpoints", limits.endpoints));
        }
        if self.index.endpoint_count() >= limits.endpoints_total {
            let (limit, how) = (limits.endpoints_total, raise("endpoints_total"));
            let text = format!("this bus has {limit} endpoints (limits.endpoints_total); {how}");
            return Err(CallError::new(ErrorCode::TooMany, text).ran(false));
        }
        let labels: Result<Vec<Label>, _> = join.labels.iter().map(Label::new).collect();
        let labels = labels.map_err(|error| invalid(error.to_string()))?;
        self.room(current, endpoint_cost(&labels))?;
        let endpoint = Endpoint {
            peer: current.key,
            number: RequestId(view.header.id),
            labels,
            sockets: view.header.aux & TAKES_UNIX_SOCKETS != 0,
        };
        let ticket = self.ticket();
        self.index
            .join(ticket, endpoint, &mut self.effects)
            .map_err(|_| invalid("an endpoint of this number has joined".into()))
    }

    /// Routes messages, one or a run.
    pub(super) fn send(&mut self, current: &Current, run: SendRun) {
        let Some(view) = current.batch.view(run.frame as usize) else {
            return;
        };
        let Some(selector) = Selector::checked(view.key) else {
            return;
        };
        let place = if cfg!(feature = "inject-panics") {
            selector.labels().next().unwrap_or_default().as_bytes()
        } else {
            &[]
        };
        inject::before(place);
        self.shared.metrics.messages_sent.add(u64::from(run.owed.count()));
        let mut targets = std::mem::take(&mut self.bus.targets);
        let found = self.index.select(&selector, |target| targets.push(target));
        self.turn.spend(0, found.saturating_sub(1));
        if view.header.attachments > 0 {
            self.send_carrying(current, run, &targets);
        } else if found == 0 {
            self.unmatched(current, &current.batch, run);
        } else {
            // In place: should a step panic, what the turn has gathered before is there to be sent.
            hand_out(&self.peers, run, &targets, &mut self.out.messages);
        }
        targets.clear();
        self.bus.targets = targets;
        inject::after(place);
    }

    /// Routes a message with attachments.
    fn send_carrying(&mut self, current: &Current, run: SendRun, targets: &[Target<Key>]) {
        // What was gathered before this message arrives before it.
        self.flush_messages(&current.from, &current.batch);
        let SendRun { frame, owed } = run;
        let Some(batch) = copies::alone(&current.batch, frame as usize) else {
            return owed.fail(Outcome::Attachments);
        };
        let (batch, run) = (Arc::new(batch), SendRun { frame: 0, owed });
        match targets.is_empty() {
            true => self.unmatched(current, &batch, run),
            false => self.hand_out_carrying(&current.from, &batch, run.owed, targets),
        }
    }

    /// Gives each target a message that is alone in its batch. Several get copies of what it carries, each charged to its receiver until
    /// it was sent on.
    fn hand_out_carrying(&self, from: &PeerRef, batch: &Arc<Batch>, owed: Owed, targets: &[Target<Key>]) {
        let Some(header) = batch.header(0) else { return };
        let attachments = batch.attachments(0);
        if copies::may_go_to(targets.len(), header, attachments).is_err() {
            return owed.fail(Outcome::NotShareable);
        }
        let sockets = passing::has_unix_socket(attachments);
        let each = owed.each();
        for (target, receipt) in targets.iter().zip(owed.share(targets.len())) {
            let Some(peer) = self.peers.get(target.peer) else {
                continue;
            };
            if !copies::can_take(peer, attachments) || (sockets && !target.sockets) {
                receipt.fail(Outcome::Attachments);
                continue;
            }
            let own = match targets {
                [_] => batch.clone(),
                _ => match copies::copy_for(peer, &self.shared, attachments) {
                    Ok(own) => Arc::new(batch.carrying(own)),
                    Err(_) => {
                        receipt.fail(Outcome::ReceiverFull);
                        continue;
                    }
                },
            };
            if let Some(item) = admitted((peer, target), 0, (1, each), receipt) {
                peer.post(Deliver::Messages(from.clone(), own, vec![item]));
            }
        }
    }

    /// Nobody matches: the messages wait as long as they may, if there is room for that.
    fn unmatched(&mut self, current: &Current, batch: &Arc<Batch>, run: SendRun) {
        let SendRun { frame, owed } = run;
        let Some(view) = batch.view(frame as usize) else {
            return;
        };
        let ttl = view.header.aux.min(self.shared.limits.max_deadline_ms);
        let now = self.shared.now();
        let deadline = now.checked_add(Duration::from_millis(u64::from(ttl)));
        let Some(deadline) = deadline.filter(|_| ttl > 0) else {
            return owed.fail(Outcome::NoMatch);
        };
        if self.bus.stopping {
            // What waits was told so when the broker began to stop; nobody joins any more.
            return owed.fail(Outcome::Cancelled);
        }
        let full = self.facts.counts(current.key).watches >= self.shared.limits.watches;
        let bytes = owed.each().saturating_mul(owed.count() as usize);
        if full || self.room(current, seek_cost(view.key, bytes)).is_err() {
            return owed.fail(Outcome::TooLarge);
        }
        let (ticket, what) = (self.ticket(), (view.key, bytes));
        self.index.seek(ticket, current.key, what, &mut self.effects);
        self.commit();
        // Small frames must not keep the large buffer that they were read with.
        let (batch, frame) = if bytes.saturating_mul(4) < batch.buffer_len() {
            let frames = (frame as usize..).take(owed.count() as usize);
            (Arc::new(batch.extract(frames)), 0)
        } else {
            (batch.clone(), frame)
        };
        let parked = Parked {
            from: current.from.clone(),
            batch,
            run: SendRun { frame, owed },
        };
        let Bus {
            parked: all,
            deadlines,
            ..
        } = &mut self.bus;
        all.insert(ticket, parked);
        deadlines.insert(deadline, ticket, all.len(), |ticket| all.contains_key(&ticket));
    }

    /// What waits under this ticket waits no more.
    pub(super) fn found(&mut self, ticket: Ticket, matched: bool) {
        let Some(Parked { from, batch, run }) = self.bus.parked.remove(&ticket) else {
            return;
        };
        if !matched {
            return run.owed.fail(Outcome::Cancelled);
        }
        // What was kept for the sender may be what its receiver is short of.
        self.settle_peer(&from);
        let Some(view) = batch.view(run.frame as usize) else {
            return;
        };
        let Some(selector) = Selector::checked(view.key) else {
            return;
        };
        let mut targets = Vec::new();
        self.index.select(&selector, |target| targets.push(target));
        if view.header.attachments > 0 {
            return self.hand_out_carrying(&from, &batch, run.owed, &targets);
        }
        let mut out = Grouped::default();
        hand_out(&self.peers, run, &targets, &mut out);
        for (receiver, items) in out.drain() {
            receiver.post(Deliver::Messages(from.clone(), batch.clone(), items));
        }
    }

    /// When [`Self::time_passed`] is to be called next.
    pub fn due(&mut self) -> Option<Instant> {
        let Bus {
            parked, deadlines, ..
        } = &mut self.bus;
        let message = deadlines.next(|ticket| parked.contains_key(&ticket));
        [message, self.next_service()].into_iter().flatten().min()
    }

    /// Ends what has waited too long for an endpoint that matches, or for a service.
    pub fn time_passed(&mut self) -> Progress {
        let now = self.shared.now();
        while let Some(ticket) = self.bus.deadlines.expired(now) {
            let Some(parked) = self.bus.parked.remove(&ticket) else {
                continue;
            };
            if let Some(progress) = self.end_wait(ticket, parked, Outcome::NoMatch) {
                return progress;
            }
        }
        self.services_due()
    }

    /// The broker stops: nobody joins any more.
    pub(super) fn end_waits(&mut self) -> Progress {
        self.bus.stopping = true;
        while let Some((ticket, parked)) = self.bus.parked.pop_first() {
            if let Some(progress) = self.end_wait(ticket, parked, Outcome::Cancelled) {
                return progress;
            }
        }
        Progress::Done
    }

    fn end_wait(&mut self, ticket: Ticket, parked: Parked, outcome: Outcome) -> Option<Progress> {
        let Parked { from, run, .. } = parked;
        run.owed.fail(outcome);
        let ended = guard(|| {
            self.index.unseek(ticket, &mut self.effects);
            self.commit();
        });
        self.settle_peer(&from);
        ended.err().map(|panic| {
            self.facts.remove(ticket);
            self.panicked(&from, &panic)
        })
    }

    fn settle_peer(&self, peer: &PeerRef) {
        self.peers
            .key(peer.id())
            .into_iter()
            .for_each(|key| self.settle(key));
    }

    /// Sends the messages that the turn has gathered.
    pub(super) fn flush_messages(&mut self, from: &PeerRef, batch: &Arc<Batch>) {
        for (receiver, items) in self.out.messages.drain() {
            receiver.post(Deliver::Messages(from.clone(), batch.clone(), items));
        }
    }

    /// Tells the metrics how many endpoints there are.
    pub(super) fn count_endpoints(&mut self) {
        let (before, now) = (self.bus.counted, self.index.endpoint_count());
        if before != now {
            let level = &self.shared.metrics.endpoints;
            level.add(now.saturating_sub(before) as u64);
            level.lower(before.saturating_sub(now) as u64);
            self.bus.counted = now;
        }
    }
}

/// Gives each target its part of the messages, which carry nothing, as far as it fits there.
fn hand_out<T>(peers: &Peers<T>, run: SendRun, targets: &[Target<Key>], out: &mut Grouped<MessageItem>) {
    let SendRun { frame, owed } = run;
    let (count, each) = (owed.count(), owed.each());
    for (target, receipt) in targets.iter().zip(owed.share(targets.len())) {
        // Its receipt is dropped, and so tells that it is gone.
        let Some(peer) = peers.get(target.peer) else {
            continue;
        };
        if let Some(item) = admitted((peer, target), frame, (count, each), receipt) {
            out.push(peer, item);
        }
    }
}

/// Closes what messages carry that nobody routes any more.
pub(super) fn close_unsent(batch: &Batch, items: impl Iterator<Item = RegistryItem>) {
    for item in items {
        if let RegistryItem::Send(run) = item {
            let attachments = batch.attachments(run.frame as usize);
            attachments.iter().for_each(passing::release);
        }
    }
}

/// As many of `count` messages, each of `each` bytes, as fit a target's queue; the others are told to be beyond it.
fn admitted(
    (peer, target): (&PeerRef, &Target<Key>),
    frame: u32,
    (count, each): (u32, usize),
    mut receipt: Receipt,
) -> Option<MessageItem> {
    let admitted = peer.account.admit_run(each, count);
    receipt.refuse_beyond(admitted, Outcome::ReceiverFull);
    (admitted > 0).then(|| MessageItem {
        frame,
        count: admitted,
        endpoint: target.endpoint,
        serial: 0,
        receipt: Some(receipt),
    })
}
