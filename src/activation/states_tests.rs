//! The states of services: tables of what follows from what, and random histories against a judge that knows the promises only.

use super::super::service::{Program, Service, Services, Start};
use super::entry::millis;
use super::*;
use proptest::prelude::*;

const START_MS: u32 = 1_000;
const REST_MS: u32 = 5_000;
const STARTS: u32 = 3;

fn process() -> Start {
    Start::Process(Program {
        argv: vec!["worker".into()],
        ..Program::default()
    })
}

fn unit() -> Start {
    Start::UserUnit("worker.service".into())
}

/// One service with two objects, and a clock.
struct World {
    states: States,
    now: Instant,
    waited: bool,
}

impl World {
    fn new(start: Start) -> Self {
        let service = Service {
            start_ms: START_MS,
            starts: STARTS,
            rest_ms: REST_MS,
            ..Service::new(["a", "b"], start)
        };
        Self {
            states: States::new(Arc::new(Services::new(vec![service]).unwrap())),
            now: Instant::now(),
            waited: true,
        }
    }

    fn want(&mut self) -> (Result<(), String>, Vec<Step>) {
        let mut out = Vec::new();
        (self.states.wanted(0, self.now, &mut out), out)
    }

    fn seen(&mut self, object: &str, there: bool) -> Vec<Step> {
        let mut out = Vec::new();
        self.states.seen(object, there, self.waited, self.now, &mut out);
        out
    }

    fn ended(&mut self, run: u64, how: Result<(), &str>) -> Vec<Step> {
        let mut out = Vec::new();
        let how = how.map_err(|why| why.to_owned().into());
        self.states.ended(run, how, self.waited, self.now, &mut out);
        out
    }

    fn pass(&mut self, ms: u32) -> Vec<Step> {
        self.now += millis(ms);
        let mut out = Vec::new();
        let waited = self.waited;
        for index in self.states.due_now(self.now) {
            self.states.time_passed(index, waited, self.now, &mut out);
        }
        out
    }

    fn start(&self, run: u64) -> Vec<Step> {
        let service = self.states.services.get(0).unwrap().clone();
        vec![Step::Order(Order::Start { service, run })]
    }
}

fn fails(steps: &[Step], part: &str) -> bool {
    matches!(steps, [Step::Fail(_, why)] if why.contains(part))
}

#[test]
fn many_callers_start_it_once() {
    let mut world = World::new(process());
    assert_eq!(world.want(), (Ok(()), world.start(1)));
    for _ in 0..10 {
        assert_eq!(world.want(), (Ok(()), vec![]));
    }
    world.waited = false;
    assert_eq!(world.seen("a", true), []);
    assert_eq!(world.states.due(), None);
    assert_eq!(world.pass(START_MS * 10), []);
}

#[test]
fn a_failed_start_is_told_at_once_and_the_next_one_pauses() {
    let mut world = World::new(process());
    let _ = world.want();
    assert!(fails(&world.ended(1, Err("exit status: 7")), "exit status: 7"));
    assert_eq!(world.want(), (Ok(()), vec![]), "it pauses");
    assert_eq!(world.pass(99), []);
    assert_eq!(world.pass(1), world.start(2));
    assert!(fails(&world.ended(2, Ok(())), "without an error"));
    let _ = world.want();
    assert_eq!(world.pass(199), [], "the pause has doubled");
    assert_eq!(world.pass(1), world.start(3));
    assert!(fails(&world.ended(3, Err("again")), "again"));
    let (refused, steps) = world.want();
    assert!(refused.unwrap_err().contains("3 failures in a row") && steps.is_empty());
    world.pass(REST_MS - 1);
    assert!(world.want().0.is_err());
    world.pass(1);
    assert_eq!(world.want(), (Ok(()), world.start(4)), "it has rested");
}

#[test]
fn nobody_waits_nobody_is_started_after_a_pause() {
    let mut world = World::new(process());
    let _ = world.want();
    world.ended(1, Err("x"));
    let _ = world.want();
    world.waited = false;
    assert_eq!(world.pass(100), []);
    assert_eq!(world.want(), (Ok(()), world.start(2)));
}

#[test]
fn a_start_that_takes_too_long_is_ended_and_told() {
    let mut world = World::new(process());
    let _ = world.want();
    let late = world.pass(START_MS);
    assert_eq!(late[0], Step::Order(Order::End { run: 1 }));
    assert!(fails(&late[1..], "within 1000 ms"));
    let _ = world.want();
    assert_eq!(world.pass(100), [], "its predecessor has not ended");
    assert_eq!(world.ended(1, Err("signal: 15")), world.start(2));
    assert_eq!(world.ended(1, Err("twice")), []);
    assert_eq!(world.seen("a", true), []);
}

#[test]
fn who_ends_soon_after_registering_again_and_again_rests() {
    for exits_first in [true, false] {
        let mut world = World::new(process());
        world.waited = false;
        for run in 1..=STARTS {
            world.pass(10_000);
            let run = u64::from(run);
            assert_eq!(world.want().1, world.start(run), "{exits_first} {run}");
            world.seen("a", true);
            if exits_first {
                world.ended(run, Err("killed"));
                world.seen("a", false);
            } else {
                world.seen("a", false);
                world.ended(run, Err("killed"));
            }
        }
        assert!(
            world.want().0.unwrap_err().contains("soon after"),
            "{exits_first}"
        );
    }
}

#[test]
fn who_stayed_or_ended_without_an_error_has_not_failed() {
    for (stays, how) in [(0, Ok(())), (REST_MS, Err("killed"))] {
        let mut world = World::new(process());
        world.waited = false;
        for run in 1..10 {
            assert_eq!(world.want(), (Ok(()), world.start(run)));
            world.seen("a", true);
            world.pass(stays);
            world.seen("a", false);
            world.ended(run, how);
        }
    }
}

#[test]
fn a_process_that_is_there_without_its_objects_may_come_back() {
    let mut world = World::new(process());
    let _ = world.want();
    world.waited = false;
    world.seen("a", true);
    world.seen("a", false);
    assert_eq!(world.want(), (Ok(()), vec![]), "it lives");
    world.waited = true;
    assert_eq!(
        world.ended(1, Err("killed")),
        [],
        "that was its end; the next one pauses"
    );
    assert_eq!(world.pass(100), world.start(2));
}

#[test]
fn a_unit_is_started_again_when_its_objects_are_gone() {
    let mut world = World::new(unit());
    let _ = world.want();
    assert_eq!(world.ended(1, Ok(())), [], "systemctl is done");
    world.waited = false;
    world.seen("b", true);
    world.pass(REST_MS);
    world.seen("b", false);
    assert_eq!(world.want(), (Ok(()), world.start(2)));
    assert!(fails(&world.ended(2, Err("Unit not found.")), "not found"));
}

#[test]
fn an_object_that_a_running_service_lacks_is_waited_for_but_not_for_ever() {
    let mut world = World::new(process());
    let _ = world.want();
    assert_eq!(world.seen("a", true), [], "b is still waited for");
    let late = world.pass(START_MS);
    assert!(fails(&late, "has not registered this object"));
    let again = world.want().0.unwrap_err();
    assert!(
        again.contains("has not registered"),
        "it is not waited for at once again: {again}"
    );
    world.pass(START_MS);
    assert_eq!(world.want(), (Ok(()), vec![]));
    world.waited = false;
    assert_eq!(world.seen("b", true), []);
    assert_eq!(world.pass(START_MS), []);
}

#[test]
fn what_was_left_and_ends_is_followed_by_another_at_once_and_is_no_failure() {
    let mut world = World::new(process());
    let _ = world.want();
    world.pass(START_MS - 1);
    let left = || {
        Err(Failed {
            why: "process 7 has ended".into(),
            left: true,
        })
    };
    let mut out = Vec::new();
    world.states.ended(1, left(), true, world.now, &mut out);
    assert_eq!(out, world.start(2));
    assert_eq!(world.pass(START_MS - 1), [], "it has all its time");
    world.seen("a", true);
    world.waited = false;
    world.seen("a", false);
    world.states.ended(2, left(), false, world.now, &mut out);
    assert_eq!(world.states.shown(world.now)[0].failures, 0);
    assert_eq!(world.want(), (Ok(()), world.start(3)));
}

#[test]
fn what_a_stranger_does_not_register_is_told_as_such() {
    let mut world = World::new(process());
    world.waited = false;
    world.seen("a", true);
    world.waited = true;
    assert_eq!(world.want(), (Ok(()), vec![]), "it may come");
    assert!(fails(
        &world.pass(START_MS),
        "\"a\" is provided by a program that this broker has not started"
    ));
    assert!(world.want().0.is_err());
    assert_eq!(world.seen("b", true), []);
    world.seen("b", false);
    assert_eq!(world.want(), (Ok(()), vec![]), "something has changed");
}

#[test]
fn how_a_service_is_can_be_looked_at() {
    let mut world = World::new(process());
    let look = |world: &World| world.states.shown(world.now).remove(0);
    assert_eq!((look(&world).state, look(&world).starts), ("stopped", 0));
    let _ = world.want();
    let starting = look(&world);
    assert_eq!(
        (starting.state, starting.alive, starting.left),
        ("starting", true, Some(millis(START_MS)))
    );
    world.ended(1, Err("exit status: 7"));
    world.pass(50);
    let failed = look(&world);
    assert_eq!((failed.state, failed.starts, failed.failures), ("stopped", 1, 1));
    assert_eq!(failed.last, Some((millis(50), "exit status: 7".to_owned())));
    for run in 2..=u64::from(STARTS) {
        let _ = world.want();
        world.pass(10_000);
        world.ended(run, Err("again"));
    }
    let resting = look(&world);
    assert_eq!(
        (resting.state, resting.left, resting.failures),
        ("resting", Some(millis(REST_MS)), STARTS)
    );
    world.describe(&[(&["b", "a"], "worker")]);
    let revived = look(&world);
    assert_eq!(
        (revived.state, revived.starts, revived.failures),
        ("stopped", 3, 0)
    );
    assert_eq!(
        world.want().1.len(),
        1,
        "who describes it again may have mended it"
    );
}

#[test]
fn what_somebody_else_has_started_is_not_counted() {
    let mut world = World::new(process());
    world.waited = false;
    for _ in 0..10 {
        world.seen("a", true);
        world.seen("a", false);
    }
    assert_eq!(world.want(), (Ok(()), world.start(1)));
}

impl World {
    /// Describes these services instead; the process of the first is told by its program.
    fn describe(&mut self, described: &[(&[&str], &str)]) -> Vec<Step> {
        let service = |(objects, program): &(&[&str], &str)| {
            let argv = vec![(*program).to_owned()];
            let program = Program {
                argv,
                ..Program::default()
            };
            Service::new(objects.iter().copied(), Start::Process(program))
        };
        let services = Services::new(described.iter().map(service).collect()).unwrap();
        let mut out = Vec::new();
        self.states.replace(Arc::new(services), &mut out);
        out
    }
}

#[test]
fn what_is_described_as_before_goes_on() {
    let mut world = World::new(process());
    let _ = world.want();
    assert_eq!(world.describe(&[(&["c"], "other"), (&["b", "a"], "worker")]), []);
    let mut out = Vec::new();
    assert_eq!(world.states.wanted(1, world.now, &mut out), Ok(()));
    assert_eq!(out, [], "it is being started");
    assert!(fails(&world.ended(1, Err("exit status: 7")), "exit status: 7"));
}

#[test]
fn a_start_of_what_is_described_no_more_is_called_off() {
    let mut world = World::new(process());
    let _ = world.want();
    let steps = world.describe(&[(&["a"], "another")]);
    assert_eq!(steps[0], Step::Order(Order::End { run: 1 }));
    assert!(fails(&steps[1..], "taken out"));
    assert_eq!(world.want().1.len(), 1, "the other one is started");
    assert_eq!(world.ended(1, Err("signal: 15")), [], "nobody minds");
}

#[test]
fn what_runs_and_is_described_no_more_is_left_alone() {
    let mut world = World::new(process());
    let _ = world.want();
    world.waited = false;
    world.seen("a", true);
    assert_eq!(world.describe(&[]), []);
    assert_eq!(world.describe(&[(&["a"], "another")]), []);
    assert_eq!(world.seen("a", true), [], "the first one has it");
    assert_eq!(world.seen("a", false), []);
    assert_eq!(world.ended(1, Err("killed")), []);
    let steps = world.want().1;
    assert!(
        matches!(&steps[..], [Step::Order(Order::Start { run: 2, .. })]),
        "{steps:?}"
    );
}

#[derive(Clone, Debug)]
enum Act {
    Want,
    Seen(bool, bool),
    End(bool),
    Pass(u32),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        3 => Just(Act::Want),
        3 => (any::<bool>(), any::<bool>()).prop_map(|(which, there)| Act::Seen(which, there)),
        2 => any::<bool>().prop_map(Act::End),
        3 => prop_oneof![Just(50), Just(100), Just(400), Just(START_MS), Just(REST_MS)].prop_map(Act::Pass),
    ];
    prop::collection::vec(act, 0..80)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Never two runs at once, never a waiting caller without an end in sight, never more failures in a row than the budget.
    #[test]
    fn every_history_keeps_the_promises(acts in acts(), is_unit: bool) {
        let mut world = World::new(if is_unit { unit() } else { process() });
        world.waited = false;
        let mut alive: Option<u64> = None;
        let mut last = 0;
        let mut there = [false; 2];
        for act in acts {
            let steps = match act {
                Act::Want => {
                    let (wanted, steps) = world.want();
                    world.waited = wanted.is_ok();
                    steps
                }
                Act::Seen(which, is) => {
                    there[usize::from(which)] = is;
                    world.waited &= there != [true; 2];
                    world.seen(if which { "b" } else { "a" }, is)
                }
                Act::End(good) => match alive.take() {
                    Some(run) => world.ended(run, if good { Ok(()) } else { Err("bad") }),
                    None => vec![],
                },
                Act::Pass(ms) => world.pass(ms),
            };
            for step in steps {
                match step {
                    Step::Order(Order::Start { run, .. }) => {
                        prop_assert_eq!(alive, None, "two runs at once");
                        prop_assert!(run > last);
                        (alive, last) = (Some(run), run);
                    }
                    Step::Order(Order::End { run, .. }) => prop_assert_eq!(alive, Some(run)),
                    Step::Fail(..) => world.waited = false,
                }
            }
            // Whoever waits for something missing has a timer that ends it, whatever the service does.
            if world.waited && there == [false; 2] {
                prop_assert!(world.states.due().is_some());
            }
            prop_assert!(world.states.entries[0].failures <= STARTS);
        }
    }
}
