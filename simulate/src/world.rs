//! One run: a broker, its clients, the faults, and in the end the question whether anything is left.
//!
//! Safety phase: turns, bytes, time and faults in the order the seed says. Liveness phase: no faults; everything that was begun must
//! end, and when everybody has left nothing may be kept. The judge hears everything.

use crate::behaviour;
use crate::broker::{Broker, Which};
use crate::client::{Client, Head, Stage, Temper};
use crate::clock;
use crate::hostile;
use crate::link::Link;
use crate::log::Log;
use crate::plan::Plan;
use crate::rng::Rng;
use crate::stats::Stats;
use actix_ipc::message::{Kind, PeerId};
use actix_ipc_model::{Core, Judge, Opened, Setup, Violation, What};
use std::collections::BTreeMap;

/// What a run has given.
#[derive(Debug)]
pub struct Report {
    pub violations: Vec<Violation>,
    pub stats: Stats,
    /// A number made of everything that was observed: the same for the same seed.
    pub digest: u64,
    pub trace: Vec<String>,
}

/// A run under way.
pub struct World {
    pub rng: Rng,
    pub plan: Plan,
    pub broker: Broker,
    pub links: Vec<Link>,
    pub violations: Vec<Violation>,
    peers: BTreeMap<PeerId, usize>,
    tickets: Vec<u64>,
    log: Log,
    calm: bool,
}

impl World {
    /// A run that has not begun. `trace`: keep what happens as text.
    #[must_use]
    pub fn new(seed: u64, trace: bool) -> Self {
        clock::set(0);
        let mut rng = Rng::new(seed);
        let plan = Plan::draw(&mut rng);
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let limits = plan.limits.clone();
        let setup = Setup {
            epoch: [7; 16],
            frame_bytes: number(limits.frame_bytes),
            message_bytes: number(limits.message_bytes),
            publish_window: number(limits.publish_window),
            stream_window: number(limits.stream_window),
            default_deadline_ms: limits.default_deadline_ms,
            max_deadline_ms: limits.max_deadline_ms,
            ..Setup::default()
        };
        Self {
            rng,
            broker: Broker::new(limits),
            plan,
            links: Vec::new(),
            violations: Vec::new(),
            peers: BTreeMap::new(),
            tickets: Vec::new(),
            log: Log::new(Judge::new(setup), trace),
            calm: false,
        }
    }

    /// Runs to the end.
    #[must_use]
    pub fn run(mut self) -> Report {
        for _ in 0..self.plan.clients {
            self.connect();
        }
        for step in 0..self.plan.steps {
            self.log.step += 1;
            self.step();
            if step % 128 == 127 && self.plan.settles {
                self.settle();
            }
        }
        #[cfg(feature = "panics")]
        actix_ipc::actors::inject::arm(None);
        self.liveness();
        let mut stats = self.log.stats;
        stats.refused = self.broker.shared.metrics.protocol_errors.get();
        stats.lagging = self.broker.shared.metrics.lagging.get();
        stats.holds = self.broker.shared.metrics.holds.get();
        stats.missed = self.broker.shared.metrics.events_missed.get();
        stats.late = self.broker.shared.metrics.late_answers.get();
        let mut violations = self.log.judge.finish(self.broker.failed.is_none());
        violations.extend(self.violations);
        Report {
            violations,
            stats,
            digest: self.log.digest,
            trace: self.log.trace.unwrap_or_default(),
        }
    }

    fn connect(&mut self) {
        let number = u32::try_from(self.links.len()).unwrap_or(0).saturating_add(1);
        let temper = match self.rng.below(100) {
            percent if percent < self.plan.hostile => Temper::Hostile,
            percent if percent < self.plan.hostile + self.plan.slow => Temper::Slow,
            percent if percent < self.plan.hostile + self.plan.slow + self.plan.dying => Temper::Dying,
            _ => Temper::Honest,
        };
        let (pid, room) = (1000 + number, self.plan.socket_bytes);
        let link = Link::new(Client::new(number, temper), &self.broker.rooms, pid, room);
        let opened = Opened {
            honest: link.client.is_honest(),
            uid: 1000 + pid % 2,
            pid,
        };
        self.log.stats.clients += 1;
        self.log.observe(number, What::Opened(opened));
        self.links.push(link);
    }

    fn step(&mut self) {
        let at = self.rng.size(self.links.len());
        match self.rng.below(100) {
            0..13 => self.core_turn(Which::Registry),
            13..26 => self.core_turn(Which::TopicHub),
            26..53 => self.connection_turn(at),
            53..94 => self.client_turn(at),
            94..97 => {
                let ms = self.rng.below(6);
                self.pass(ms);
            }
            _ => self.fault(at),
        }
    }

    /// Time passes. What is in mailboxes is handled before: a deadline is not missed because the broker was not given a turn.
    fn pass(&mut self, ms: u64) {
        self.settle_core(false);
        clock::set(clock::ms().saturating_add(ms));
        self.broker.holds();
    }

    fn fault(&mut self, at: usize) {
        match self.rng.below(100) {
            0..10 => {
                let ms = self.rng.between(50, 4_000);
                self.log.stats.jumps += 1;
                self.pass(ms);
            }
            10..30 if self.links.len() < self.plan.most_clients => self.connect(),
            30..40 => {
                let dying = self
                    .links
                    .get(at)
                    .is_some_and(|link| link.client.temper == Temper::Dying);
                if dying || self.rng.chance(self.plan.resets) {
                    let lost = self.rng.chance(50);
                    self.with(at, |link, observe| link.reset(lost, observe));
                    self.log.stats.resets += 1;
                }
            }
            40..44 if self.rng.chance(self.plan.resets) => {
                self.with(at, |link, _| link.half_close());
            }
            44..64 => self.arm_panic(),
            _ => {}
        }
    }

    fn arm_panic(&mut self) {
        // Drawn in any case, so that a seed means the same with and without the feature.
        let armed = self.rng.chance(self.plan.panics).then(|| self.rng.chance(50));
        #[cfg(feature = "panics")]
        if armed.is_some() {
            actix_ipc::actors::inject::arm(armed);
        }
        #[cfg(not(feature = "panics"))]
        let _: Option<bool> = armed;
    }

    fn with(&mut self, at: usize, step: impl FnOnce(&mut Link, &mut dyn FnMut(What))) {
        let Some(link) = self.links.get_mut(at) else {
            return;
        };
        let (number, log) = (link.client.number, &mut self.log);
        step(link, &mut |what| log.observe(number, what));
    }

    fn core_turn(&mut self, which: Which) {
        if !self.broker.is_busy(which) {
            return;
        }
        let before = self.broker.shared.metrics.panics.get();
        let author = self.broker.turn(which);
        if self.broker.shared.metrics.panics.get() > before {
            self.log.stats.panics += 1;
            let core = match which {
                Which::Registry => Core::Registry,
                Which::TopicHub => Core::TopicHub,
            };
            let link = author.and_then(|author| self.peers.get(&author)).copied();
            if let Some(link) = link.and_then(|at| self.links.get(at)) {
                self.log.observe(link.client.number, What::Panicked(core));
            }
        }
        self.broker.holds();
    }

    fn connection_turn(&mut self, at: usize) {
        let deliveries = self.rng.size(4);
        let bytes = self.rng.size(self.plan.read_bytes).saturating_add(1);
        let (reads, writes) = (self.rng.chance(70), self.rng.chance(70));
        self.with(at, |link, observe| {
            link.deliver(deliveries);
            if writes {
                link.write();
            }
            if reads {
                link.read(bytes, observe);
            }
            link.rest();
        });
        self.meet(at);
    }

    /// Notes which connection a peer is.
    fn meet(&mut self, at: usize) {
        if let Some(peer) = self.links.get(at).and_then(|link| link.peer.as_ref()) {
            self.peers.insert(peer.id(), at);
        }
    }

    fn client_turn(&mut self, at: usize) {
        let Some(link) = self.links.get_mut(at) else {
            return;
        };
        let temper = link.client.temper;
        let slow = temper == Temper::Slow;
        if self.rng.chance(if slow { 6 } else { 60 }) {
            let bytes = self.rng.size(self.plan.read_bytes).saturating_add(1);
            self.client_reads(at, bytes);
        }
        let Some(link) = self.links.get_mut(at) else {
            return;
        };
        if link.client.out.len() < 24 && !link.up_ended {
            match temper {
                Temper::Hostile if self.rng.chance(50) => {
                    hostile::act(&mut link.client, &mut self.rng, &self.tickets);
                }
                _ => behaviour::act(&mut link.client, &mut self.rng),
            }
        }
        let bytes = self.rng.size(self.plan.read_bytes).saturating_add(1);
        self.with(at, |link, observe| {
            link.client_writes(bytes, observe);
        });
    }

    fn client_reads(&mut self, at: usize, bytes: usize) -> bool {
        let mut any = false;
        let mut tickets = Vec::new();
        self.with(at, |link, observe| {
            any = link.client_reads(bytes, &mut |what| {
                if let What::Received(frame) = &what
                    && let Some(head) = Head::of(frame).filter(|head| head.kind == Kind::Call)
                {
                    tickets.push(head.id);
                }
                observe(what);
            });
        });
        self.tickets.extend(tickets);
        let old = self.tickets.len().saturating_sub(32);
        self.tickets.drain(..old);
        any
    }

    /// Runs the broker, without any client, until it has nothing more to do.
    fn settle_core(&mut self, bury: bool) {
        loop {
            let mut any = false;
            for which in [Which::Registry, Which::TopicHub] {
                while self.broker.is_busy(which) {
                    self.core_turn(which);
                    any = true;
                }
            }
            for at in 0..self.links.len() {
                self.with(at, |link, observe| {
                    any |= link.deliver(usize::MAX);
                    any |= link.rest();
                    any |= bury && link.bury(observe);
                });
                self.meet(at);
            }
            if !any {
                return;
            }
        }
    }

    /// The same, with what is gone, and the judge hears of it.
    fn settle(&mut self) {
        self.settle_core(true);
        if !self.links.iter().all(Link::is_buried) {
            return;
        }
        self.slots_are_calls();
        self.waits_are_in_vain();
        self.log.step += 1;
        self.log.observe(0, What::Settled);
    }

    /// One round in which everybody does all it can. `true`: something happened.
    fn round(&mut self) -> bool {
        self.log.step += 1;
        let mut any = false;
        for at in 0..self.links.len() {
            any |= self.client_reads(at, usize::MAX);
            if let Some(link) = self.links.get_mut(at).filter(|link| link.client.is_honest()) {
                behaviour::finish(&mut link.client, &mut self.rng);
            }
            self.with(at, |link, observe| {
                any |= link.client_writes(usize::MAX, observe);
                // Step by step, so that the queue is not filled by what is only being handed over.
                while link.deliver(2) {
                    any = true;
                    link.write();
                    link.client_reads(usize::MAX, observe);
                }
                any |= link.write();
                any |= link.read(1_024, observe);
                any |= link.rest();
            });
            self.meet(at);
        }
        for which in [Which::Registry, Which::TopicHub] {
            while self.broker.is_busy(which) {
                self.core_turn(which);
                any = true;
            }
        }
        any
    }

    /// When something happens by itself.
    fn next_moment(&mut self) -> Option<u64> {
        let lives = self
            .links
            .iter_mut()
            .filter_map(|link| link.life.as_mut()?.next_deadline());
        lives.chain(self.broker.hub.due()).min().map(clock::ms_of)
    }

    /// Until nothing happens any more, but for time beyond `until_ms`. `false`: it does not come to rest.
    fn come_to_rest(&mut self, until_ms: u64) -> bool {
        for _ in 0..4_000 {
            if self.round() {
                continue;
            }
            match self.next_moment().filter(|next| *next <= until_ms) {
                Some(next) => {
                    clock::set(next.max(clock::ms()));
                    self.broker.holds();
                }
                None => return true,
            }
        }
        false
    }

    fn liveness(&mut self) {
        self.log.step += 1;
        self.calm = true;
        self.log.observe(0, What::Calm);
        for at in 0..self.links.len() {
            let stuck = self.links.get(at).is_some_and(|link| !link.client.is_honest());
            if stuck {
                self.with(at, |link, observe| link.reset(true, observe));
            }
        }
        if self.plan.drains {
            return self.drain();
        }
        if !self.come_to_rest(clock::ms().saturating_add(200_000)) {
            self.violate("rest", "the broker does not come to rest".into());
        }
        self.settle();
        self.at_rest();
        self.leave();
        if !self.come_to_rest(clock::ms().saturating_add(60_000)) {
            self.violate(
                "rest",
                "the broker does not come to rest when everybody leaves".into(),
            );
        }
        self.settle();
        self.at_the_end();
    }

    /// Everybody leaves, each in its own way.
    fn leave(&mut self) {
        for at in 0..self.links.len() {
            match self.rng.below(3) {
                0 => {
                    if let Some(link) = self
                        .links
                        .get_mut(at)
                        .filter(|link| link.client.stage == Stage::Ready)
                    {
                        behaviour::goodbye(&mut link.client);
                    } else {
                        self.with(at, |link, _| link.half_close());
                    }
                }
                1 => self.with(at, |link, _| link.half_close()),
                _ => self.with(at, |link, observe| link.reset(false, observe)),
            }
        }
    }

    /// The broker stops while everybody is still there.
    fn drain(&mut self) {
        self.log.stats.drains += 1;
        self.broker.drain();
        for link in &mut self.links {
            if let Some(life) = &mut link.life {
                life.stopping();
            }
        }
        if !self.come_to_rest(clock::ms().saturating_add(5_000)) {
            self.violate("rest", "the broker does not come to rest when it drains".into());
        }
        self.settle();
        self.at_the_end();
    }

    /// A broken invariant from inside.
    pub fn violate(&mut self, rule: &'static str, text: String) {
        self.violations.push(Violation { rule, text });
    }
}
