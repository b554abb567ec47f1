//! The state of the example `service_mesh`: nobody is sent to an instance that is out, and calls are spread evenly.

#[path = "../../examples/service_mesh/balance.rs"]
mod balance;
#[path = "../../examples/service_mesh/mesh.rs"]
mod mesh;

use balance::Balance;
use mesh::{FAILS, INSTANCES_MAX, Instance, Mesh, MeshError, Metrics, PASSES, Turn};
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Op {
    Register(u64, bool),
    Deregister(u64, u64),
    Lost(u64),
    Checked(u64, bool),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (0..4_u64, any::<bool>()).prop_map(|(owner, other)| Op::Register(owner, other)),
        (0..4_u64, 0..12_u64).prop_map(|(owner, id)| Op::Deregister(owner, id)),
        (0..4_u64).prop_map(Op::Lost),
        (0..12_u64, any::<bool>()).prop_map(|(id, passed)| Op::Checked(id, passed)),
        (0..12_u64).prop_map(|id| Op::Checked(id, false)),
    ]
}

/// The outcomes of its checks, newest last.
type Checks = Vec<bool>;

/// The rule said another way: the last run of equal outcomes that was long enough decides.
fn well(checks: &Checks) -> bool {
    let mut well = true;
    let mut run = 0;
    for (index, passed) in checks.iter().enumerate() {
        run = match index > 0 && checks[index - 1] == *passed {
            true => run + 1,
            false => 1,
        };
        match passed {
            false if run >= FAILS => well = false,
            true if run >= PASSES => well = true,
            _ => {}
        }
    }
    well
}

proptest! {
    #[test]
    fn who_is_found_is_registered_and_well(ops in prop::collection::vec(op(), 1..80)) {
        let mut mesh = Mesh::default();
        let mut model: BTreeMap<u64, (u64, &str, Checks)> = BTreeMap::new();
        let mut places = 0;
        for op in ops {
            match op {
                Op::Register(owner, other) => {
                    let service = if other { "other" } else { "some" };
                    let place = format!("mem:{places}");
                    places += 1;
                    let id = mesh.register(owner, service, &place).unwrap();
                    prop_assert_eq!(mesh.register(owner, service, &place), Ok(id), "it has that number already");
                    model.insert(id, (owner, service, Vec::new()));
                }
                Op::Deregister(owner, id) => {
                    let owned = model.get(&id).is_some_and(|entry| entry.0 == owner);
                    prop_assert_eq!(mesh.deregister(owner, id).is_ok(), owned);
                    if owned {
                        model.remove(&id);
                    }
                }
                Op::Lost(owner) => {
                    let gone: Vec<u64> = mesh.lost(owner).iter().map(|instance| instance.id).collect();
                    let expected: Vec<u64> = model.iter().filter(|(_, entry)| entry.0 == owner).map(|(id, _)| *id).collect();
                    prop_assert_eq!(gone, expected);
                    model.retain(|_, entry| entry.0 != owner);
                }
                Op::Checked(id, passed) => {
                    let before = model.get(&id).map(|entry| well(&entry.2));
                    if let Some(entry) = model.get_mut(&id) {
                        entry.2.push(passed);
                    }
                    let turn = match (before, model.get(&id).map(|entry| well(&entry.2))) {
                        (Some(true), Some(false)) => Some(Turn::Out),
                        (Some(false), Some(true)) => Some(Turn::In),
                        _ => None,
                    };
                    prop_assert_eq!(mesh.checked(id, passed), turn);
                }
            }
            for service in ["some", "other"] {
                let found: Vec<u64> = mesh.discover(service).iter().map(|instance| instance.id).collect();
                let expected: Vec<u64> = model
                    .iter()
                    .filter(|(_, (_, own, checks))| *own == service && well(checks))
                    .map(|(id, _)| *id)
                    .collect();
                prop_assert_eq!(found, expected);
            }
        }
    }

    /// Calls that end at once go to everybody in turn; calls that last go to whom has the fewest.
    #[test]
    fn calls_are_spread_evenly(members in 1..6_u64, calls in 1..60_usize, last in any::<bool>()) {
        let mut balance = Balance::default();
        balance.update((1..=members).map(instance).collect());
        let mut counts = BTreeMap::from_iter((1..=members).map(|id| (id, 0_usize)));
        let mut lasting = Vec::new();
        for _ in 0..calls {
            let chosen = balance.choose().unwrap();
            *counts.get_mut(&chosen.about.id).unwrap() += 1;
            if last {
                lasting.push(chosen);
            }
        }
        let (most, fewest) = (counts.values().max().unwrap(), counts.values().min().unwrap());
        prop_assert!(most - fewest <= 1, "{:?}", counts);
    }
}

fn instance(id: u64) -> Instance {
    Instance {
        id,
        service: "some".into(),
        endpoint: format!("mem:{id}"),
    }
}

#[test]
fn a_busy_instance_gets_less_and_a_failed_one_nothing() {
    let mut balance = Balance::default();
    assert!(balance.choose().is_none());
    balance.update(vec![instance(1), instance(2), instance(3)]);
    let mut held: BTreeMap<u64, _> = (0..3)
        .filter_map(|_| balance.choose())
        .map(|it| (it.about.id, it))
        .collect();
    assert_eq!(held.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
    held.remove(&2);
    assert_eq!(balance.choose().unwrap().about.id, 2, "it has the fewest");
    balance.failed(2);
    held.clear();
    for _ in 0..4 {
        assert_ne!(balance.choose().unwrap().about.id, 2);
    }
    balance.update(vec![instance(2)]);
    assert_eq!(balance.choose().unwrap().about.id, 2, "another chance");
    balance.failed(2);
    assert!(balance.choose().is_none());
}

/// A call is given up when its caller wants no more of it: nothing is told then, and the instance gets as much as the others afterwards.
#[test]
fn a_call_that_is_given_up_is_no_longer_under_way() {
    let mut balance = Balance::default();
    balance.update(vec![instance(1), instance(2)]);
    let mut counts = BTreeMap::from([(1, 0), (2, 0)]);
    let given_up: Vec<_> = (0..9).filter_map(|_| balance.choose()).collect();
    // The registry's word keeps what is under way.
    balance.update(vec![instance(1), instance(2)]);
    drop(given_up);
    for _ in 0..10 {
        *counts.get_mut(&balance.choose().unwrap().about.id).unwrap() += 1;
    }
    assert_eq!(counts, BTreeMap::from([(1, 5), (2, 5)]));
    let one = balance.choose().unwrap();
    balance.update(vec![instance(1), instance(2)]);
    let two = balance.choose().unwrap();
    assert_ne!(one.about.id, two.about.id, "an update forgets no call");
}

#[test]
fn the_registry_keeps_its_bounds() {
    let mut mesh = Mesh::default();
    for name in ["", "Upper", "with space", "a/b", &"n".repeat(65)] {
        assert_eq!(
            mesh.register(1, name, "mem:x"),
            Err(MeshError::Name(name.to_owned()))
        );
    }
    for place in 0..INSTANCES_MAX {
        mesh.register(1, "some", &format!("mem:{place}")).unwrap();
    }
    assert_eq!(mesh.register(1, "some", "mem:x"), Err(MeshError::Full));
    assert_eq!(mesh.owned_by(1).len(), INSTANCES_MAX);
    assert_eq!(mesh.deregister(2, 1), Err(MeshError::NoInstance(1)));
}

#[test]
fn metrics_are_added_up_by_service() {
    let mut mesh = Mesh::default();
    let metrics = |requests| Metrics {
        requests,
        errors: 1,
        busy_us: u64::MAX,
    };
    for (owner, service) in [(1, "some"), (2, "some"), (2, "other")] {
        let id = mesh.register(owner, service, "mem:x").unwrap();
        mesh.report(owner, id, metrics(10 * id)).unwrap();
        assert_eq!(mesh.report(9, id, metrics(0)).unwrap_err().name(), "NoInstance");
    }
    for _ in 0..FAILS {
        mesh.checked(1, false);
    }
    let sum = |requests, errors| Metrics {
        requests,
        errors,
        busy_us: u64::MAX,
    };
    assert_eq!(
        mesh.services(),
        [
            ("other".to_owned(), 1, 1, sum(30, 1)),
            ("some".to_owned(), 1, 2, sum(30, 2))
        ]
    );
}
