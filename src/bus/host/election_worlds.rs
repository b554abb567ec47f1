//! Elections of several processes in every order of events.
//!
//! Owns a world of processes with a lock, in which everything that is under way may happen next: an answer, a word of the system, a crash. Every
//! state that can be reached is visited.

use super::*;
use std::collections::{HashMap, VecDeque};

/// The endpoints of one process: so many that may host, and so many that may not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Wishes {
    candidates: usize,
    followers: usize,
}

impl Wishes {
    const fn input(self) -> Input {
        Input::Wanted {
            endpoints: self.candidates + self.followers,
            candidates: self.candidates,
        }
    }

    /// With one of them less, in each way.
    fn fewer(self) -> impl Iterator<Item = Self> {
        let candidates = self.candidates.checked_sub(1);
        let followers = self.followers.checked_sub(1);
        let one = candidates.map(|candidates| Self { candidates, ..self });
        one.into_iter()
            .chain(followers.map(|followers| Self { followers, ..self }))
    }

    /// With one more, in each way.
    fn more(self) -> [Self; 2] {
        let (candidates, followers) = (self.candidates + 1, self.followers + 1);
        [Self { candidates, ..self }, Self { followers, ..self }]
    }
}

/// One that may host, alone in its process.
const C: Wishes = Wishes {
    candidates: 1,
    followers: 0,
};
/// One that may not.
const F: Wishes = Wishes {
    candidates: 0,
    followers: 1,
};
/// Both in one process.
const CF: Wishes = Wishes {
    candidates: 1,
    followers: 1,
};
/// Two that may host.
const CC: Wishes = Wishes {
    candidates: 2,
    followers: 0,
};

/// What may still reach a process: one of each kind is enough, because none of them carries more than "look".
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Process {
    election: Option<Election>,
    /// Inputs that were caused, in order: answers to steps.
    answers: VecDeque<Input>,
    steps: VecDeque<Step>,
    watched: Option<u32>,
    changed: bool,
    pause: bool,
    /// It accepts connections.
    hosts: bool,
    told: Option<Host>,
    wishes: Wishes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Host {
    Nobody,
    Here,
    At(u32),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    processes: Vec<Process>,
    holder: Option<u32>,
    crashes: usize,
    failures: usize,
    leaves: usize,
    joins: usize,
}

/// What happens of itself, at most so often: crashes, failed starts or broken brokers, endpoints that leave, endpoints that come.
type Events = [usize; 4];

impl World {
    fn new(wishes: &[Wishes], [crashes, failures, leaves, joins]: Events) -> Self {
        let processes = wishes.iter().map(|wishes| Process {
            election: Some(Election::new()),
            // Watches the file before it asks for the first time.
            answers: [Input::Changed, wishes.input()].into(),
            wishes: *wishes,
            ..Process::default()
        });
        Self {
            processes: processes.collect(),
            holder: None,
            crashes,
            failures,
            leaves,
            joins,
        }
    }

    const fn events(&self) -> Events {
        [self.crashes, self.failures, self.leaves, self.joins]
    }

    fn release(&mut self) {
        self.holder = None;
        self.touch();
    }

    fn touch(&mut self) {
        for process in &mut self.processes {
            process.changed = process.election.is_some();
        }
    }

    fn perform(&mut self, at: usize, step: Step, fails: bool) {
        let own = u32::try_from(at).unwrap();
        let lock = |mine: bool, holder: Option<u32>| match holder {
            None if mine => Lock::Taken,
            None => Lock::Free,
            Some(pid) if pid == own => panic!("a process tries for the lock that it has"),
            Some(pid) => Lock::Held(Some(pid)),
        };
        let mut answer = None;
        match step {
            Step::TryLock => {
                answer = Some(Input::Lock(lock(true, self.holder)));
                self.holder = self.holder.or(Some(own));
            }
            Step::LookAtLock => answer = Some(Input::Lock(lock(false, self.holder))),
            Step::Start if fails => answer = Some(Input::Failed),
            Step::Start => {
                assert_eq!(self.holder, Some(own), "hosting without the lock");
                self.processes[at].hosts = true;
                self.touch();
                answer = Some(Input::Started);
            }
            Step::Stop | Step::Release => {
                assert_eq!(self.holder, Some(own), "giving back what it has not");
                self.processes[at].hosts = false;
                self.release();
                answer = (step == Step::Stop).then_some(Input::Stopped);
            }
            Step::Watch(pid) => self.processes[at].watched = Some(pid),
            Step::LookAfter(_) => self.processes[at].pause = true,
            Step::TellHere => self.processes[at].told = Some(Host::Here),
            Step::TellElsewhere(pid) => self.processes[at].told = pid.map(Host::At),
            Step::TellNobody => self.processes[at].told = Some(Host::Nobody),
            Step::End => {
                assert_ne!(self.holder, Some(own), "ending with the lock");
                self.processes[at] = Process::default();
            }
        }
        self.processes[at].answers.extend(answer);
    }

    fn learn(&mut self, at: usize, input: Input) {
        let process = &mut self.processes[at];
        let steps = process.election.as_mut().map(|election| election.on(input));
        let steps = steps.unwrap_or_default();
        // As the keeper has it: what decides nothing leaves the next look where it was.
        process.pause &= steps.is_empty() && input != Input::PauseOver;
        process.steps.extend(steps);
    }

    /// Does what concerns one process alone and cannot be seen by others: in which order does not matter.
    fn settle(&mut self) {
        for at in 0..self.processes.len() {
            loop {
                let process = &mut self.processes[at];
                let alone = |step: &Step| {
                    use Step::{LookAfter, TellElsewhere, TellHere, TellNobody, Watch};
                    matches!(
                        step,
                        Watch(_) | LookAfter(_) | TellHere | TellElsewhere(_) | TellNobody
                    )
                };
                match process.steps.front().copied() {
                    Some(step) if alone(&step) => {
                        process.steps.pop_front();
                        self.perform(at, step, false);
                    }
                    Some(_) => break,
                    None => match process.answers.pop_front() {
                        Some(input) => self.learn(at, input),
                        None => break,
                    },
                }
            }
        }
    }

    /// Every world that may be next. What a process has begun it goes on with before it looks at anything else, but others may do
    /// everything between two of its steps.
    fn next(&self) -> Vec<Self> {
        let mut next = Vec::new();
        let mut with = |act: &dyn Fn(&mut Self)| {
            let mut world = self.clone();
            act(&mut world);
            world.settle();
            next.push(world);
        };
        for (at, process) in self.processes.iter().enumerate() {
            if process.election.is_none() {
                continue;
            }
            if self.crashes > 0 {
                with(&|world| {
                    world.crashes -= 1;
                    world.processes[at] = Process::default();
                    if world.holder == u32::try_from(at).ok() {
                        // The system takes the lock back; nobody touches the file.
                        world.holder = None;
                    }
                });
            }
            if let Some(step) = process.steps.front() {
                with(&|world| {
                    world.processes[at].steps.pop_front();
                    world.perform(at, *step, false);
                });
                if *step == Step::Start && self.failures > 0 {
                    with(&|world| {
                        world.failures -= 1;
                        world.processes[at].steps.pop_front();
                        world.perform(at, Step::Start, true);
                    });
                }
                continue;
            }
            for (leaves, joins, wishes) in self.changes_of(process) {
                with(&|world| {
                    (world.leaves, world.joins) = (leaves, joins);
                    world.processes[at].wishes = wishes;
                    world.learn(at, wishes.input());
                });
            }
            if process.hosts && self.failures > 0 {
                with(&|world| {
                    world.failures -= 1;
                    world.processes[at].hosts = false;
                    world.learn(at, Input::Failed);
                });
            }
            let dead = |pid: &u32| self.processes[*pid as usize].election.is_none();
            if process.watched.as_ref().is_some_and(dead) {
                with(&|world| {
                    world.processes[at].watched = None;
                    world.learn(at, Input::HolderDied);
                });
            }
            if process.changed {
                with(&|world| {
                    world.processes[at].changed = false;
                    world.learn(at, Input::Changed);
                });
            }
            if process.pause {
                with(&|world| world.learn(at, Input::PauseOver));
            }
        }
        next
    }

    /// What a process's endpoints may do next: the leaves and joins that are left then, and who is there.
    fn changes_of(&self, process: &Process) -> Vec<(usize, usize, Wishes)> {
        let mut changes = Vec::new();
        if let Some(leaves) = self.leaves.checked_sub(1) {
            changes.extend(process.wishes.fewer().map(|wishes| (leaves, self.joins, wishes)));
        }
        // To a process that is at its end nobody comes any more: the next one is asked.
        let lives = process.wishes != Wishes::default();
        if let Some(joins) = self.joins.checked_sub(1).filter(|_| lives) {
            changes.extend(process.wishes.more().map(|wishes| (self.leaves, joins, wishes)));
        }
        changes
    }

    /// Whether something happens by itself: nobody crashes or leaves, and no pause is over.
    fn rests(&self) -> bool {
        self.processes.iter().all(|process| {
            let dead = |pid: u32| self.processes[pid as usize].election.is_none();
            process.election.is_none()
                || process.steps.is_empty()
                    && process.answers.is_empty()
                    && !process.changed
                    && !process.pause
                    && !process.watched.is_some_and(dead)
        })
    }

    fn check(&self) {
        let hosts = self.processes.iter().filter(|process| process.hosts).count();
        assert!(hosts <= 1, "two hosts: {self:#?}");
        let alive = |process: &&Process| process.election.is_some();
        let candidate = |process: &&Process| alive(process) && process.wishes.candidates > 0;
        if !self.rests() {
            return;
        }
        if self.processes.iter().any(|process| candidate(&process)) {
            assert_eq!(hosts, 1, "no host, and nothing more happens: {self:#?}");
        }
        let host = self.processes.iter().position(|process| process.hosts);
        let host = host.map(|at| u32::try_from(at).unwrap());
        for (at, process) in self.processes.iter().enumerate().filter(|(_, p)| alive(p)) {
            let expected = match host {
                Some(pid) if pid as usize == at => Host::Here,
                Some(pid) => Host::At(pid),
                None => Host::Nobody,
            };
            assert_eq!(process.told, Some(expected), "told wrongly: {self:#?}");
        }
    }
}

/// Visits every world that can be reached, and sees that from each of them one with a host (or without candidates) can be.
fn explore(mut world: World) -> usize {
    world.settle();
    let mut numbers = HashMap::from([(world.clone(), 0)]);
    let mut left = VecDeque::from([(0, world)]);
    // Who leads to whom, backwards.
    let mut back: Vec<Vec<usize>> = vec![Vec::new()];
    let mut good = Vec::new();
    while let Some((from, world)) = left.pop_front() {
        world.check();
        let mut processes = world.processes.iter();
        let hosted = processes.clone().any(|process| process.hosts);
        let wanted = processes.any(|process| process.election.is_some() && process.wishes.candidates > 0);
        if hosted || !wanted {
            good.push(from);
        }
        for next in world.next() {
            // Crashes, failures, leaves and joins do not count as a way to a host: it comes without them.
            let quiet = next.events() == world.events();
            let to = *numbers.entry(next).or_insert_with_key(|next| {
                left.push_back((back.len(), next.clone()));
                back.push(Vec::new());
                back.len() - 1
            });
            if quiet {
                back[to].push(from);
            }
        }
    }
    let mut reached = vec![false; back.len()];
    while let Some(at) = good.pop() {
        if !std::mem::replace(&mut reached[at], true) {
            good.extend(&back[at]);
        }
    }
    let lost = reached.iter().filter(|reached| !**reached).count();
    assert_eq!(lost, 0, "worlds from which no host comes, of {}", back.len());
    back.len()
}

#[test]
fn in_no_order_of_events_are_there_two_hosts_or_none_for_ever() {
    let table: [(&[Wishes], Events, usize); 9] = [
        (&[C], [0, 2, 1, 0], 50),
        (&[C, C], [2, 2, 2, 0], 2_000),
        (&[C, F], [1, 1, 1, 0], 2_000),
        (&[C, C, C], [2, 1, 1, 0], 20_000),
        (&[C, C, F], [1, 0, 1, 0], 5_000),
        // Several endpoints in one process, which come and go one by one.
        (&[CC], [0, 2, 2, 1], 100),
        (&[CC, C], [1, 1, 2, 0], 1_000),
        (&[CF, C], [1, 1, 2, 1], 2_000),
        (&[CF, F], [1, 1, 2, 1], 2_000),
    ];
    for (wishes, events, least) in table {
        let worlds = explore(World::new(wishes, events));
        assert!(worlds >= least, "{wishes:?}: only {worlds} worlds");
    }
}
