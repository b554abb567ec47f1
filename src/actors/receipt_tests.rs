//! Receipts against a model: whatever becomes of its parts, each message has one outcome, in order.

use super::*;
use crate::actors::inbox::Inbox;
use crate::actors::peer::{Account, Peer};
use crate::config::Limits;
use crate::message::{Origin, PeerId};
use proptest::prelude::*;

/// What the sender was told, message by message: number, outcome, whether it may have arrived, receivers.
type Heard = Arc<Mutex<Vec<(u64, Outcome, bool, u16)>>>;

struct Sender(Heard, Arc<Mutex<usize>>);

impl Inbox for Sender {
    fn post(&self, delivery: Deliver) {
        let Deliver::Settled(list) = delivery else {
            panic!("{delivery:?}");
        };
        for Settled { entry, bytes } in list {
            *self.1.lock().unwrap() += bytes;
            let numbers = entry.first..entry.first + u64::from(entry.count);
            self.0.lock().unwrap().extend(
                numbers.map(|number| (number, entry.outcome, entry.may_have_arrived, entry.receivers)),
            );
        }
    }
}

fn owed(count: u32) -> (Owed, Heard, Arc<Mutex<usize>>) {
    let (heard, bytes) = (Heard::default(), Arc::new(Mutex::new(0)));
    let origin = Origin {
        peer: PeerId(1),
        uid: 0,
        pid: 0,
    };
    let account = Account::new(Limits::default().outbox_bytes, 1);
    let inbox = Box::new(Sender(heard.clone(), bytes.clone()));
    let peer = Peer::new(origin, "", 0, account, inbox);
    (Owed::new(peer, 100, count, 40), heard, bytes)
}

#[test]
fn what_is_dropped_is_told() {
    let (debt, heard, bytes) = owed(3);
    drop(debt);
    let expected: Vec<_> = (100..103).map(|it| (it, Outcome::Cancelled, false, 0)).collect();
    assert_eq!(
        (&*heard.lock().unwrap(), *bytes.lock().unwrap()),
        (&expected, 120)
    );
    let (debt, heard, _) = owed(3);
    let mut receipt = Receipt::alone(debt);
    receipt.refuse_beyond(2, Outcome::ReceiverFull);
    receipt.accept();
    receipt.settle(1, Outcome::Taken, &mut tell);
    drop(receipt);
    let expected = [
        (102, Outcome::ReceiverFull, false, 0),
        (100, Outcome::Taken, true, 1),
        (101, Outcome::ReceiverGone, true, 0),
    ];
    assert_eq!(*heard.lock().unwrap(), expected);
}

#[test]
fn a_run_that_grows_and_is_cut_is_told_whole() {
    let (mut debt, heard, bytes) = owed(2);
    debt.extend(3);
    let rest = debt.split_off(4);
    assert_eq!((debt.count(), rest.count()), (4, 1));
    rest.fail(Outcome::NoMatch);
    debt.fail(Outcome::TooLarge);
    let told: Vec<u64> = heard.lock().unwrap().iter().map(|it| it.0).collect();
    assert_eq!(
        (told, *bytes.lock().unwrap()),
        (vec![104, 100, 101, 102, 103], 200)
    );
}

#[derive(Clone, Debug)]
enum Step {
    Take(usize, u32),
    Accept(usize),
    Refuse(usize, u32),
    Drop(usize),
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_usize..4, 0_u32..4).prop_map(|(receiver, count)| Step::Take(receiver, count)),
        3 => (0_usize..4).prop_map(Step::Accept),
        1 => (0_usize..4, 0_u32..8).prop_map(|(receiver, keep)| Step::Refuse(receiver, keep)),
        1 => (0_usize..4).prop_map(Step::Drop),
    ]
}

proptest! {
    #[test]
    fn each_message_has_the_worst_outcome_once_and_in_order(
        receivers in 1_usize..4,
        count in 1_u32..8,
        all in proptest::collection::vec(steps(), 0..24),
    ) {
        let (debt, heard, bytes) = owed(count);
        let mut receipts: Vec<Option<Receipt>> = debt.share(receivers).into_iter().map(Some).collect();
        prop_assert_eq!(receipts.len(), receivers);
        // By receiver and message: what it came to, and whether it may have arrived there.
        let mut model = vec![vec![None::<(Outcome, bool)>; count as usize]; receivers];
        let mut accepted = vec![false; receivers];
        let ends = (0..receivers).map(Step::Drop);
        for step in all.into_iter().chain(ends.collect::<Vec<_>>()) {
            let (Step::Take(at, _) | Step::Accept(at) | Step::Refuse(at, _) | Step::Drop(at)) = step;
            let Some(Some(receipt)) = receipts.get_mut(at) else { continue };
            let open: Vec<usize> = (0..count as usize).filter(|it| model[at][*it].is_none()).collect();
            prop_assert_eq!(receipt.left() as usize, open.len());
            match step {
                Step::Accept(_) => {
                    receipt.accept();
                    accepted[at] = true;
                }
                Step::Take(_, taken) => {
                    receipt.settle(taken, Outcome::Taken, &mut tell);
                    for it in open.iter().take(taken as usize) {
                        model[at][*it] = Some((Outcome::Taken, accepted[at]));
                    }
                }
                Step::Refuse(_, keep) => {
                    receipt.refuse_beyond(keep, Outcome::ReceiverFull);
                    for it in open.iter().skip(keep as usize) {
                        model[at][*it] = Some((Outcome::ReceiverFull, false));
                    }
                }
                Step::Drop(_) => {
                    receipts[at] = None;
                    for it in open {
                        model[at][it] = Some((Outcome::ReceiverGone, accepted[at]));
                    }
                }
            }
        }
        let mut told = heard.lock().unwrap().clone();
        if receivers > 1 {
            prop_assert!(told.is_sorted_by_key(|it| it.0), "{told:?}");
        }
        told.sort_unstable_by_key(|it| it.0);
        let expected: Vec<_> = (0..count as usize)
            .map(|message| {
                let each: Vec<(Outcome, bool)> = model.iter().map(|of| of[message].unwrap()).collect();
                let worst = each.iter().map(|it| it.0).max().unwrap();
                let took = each.iter().filter(|it| it.0 == Outcome::Taken).count();
                (100 + message as u64, worst, each.iter().any(|it| it.1), u16::try_from(took).unwrap())
            })
            .collect();
        prop_assert_eq!(told, expected);
        prop_assert_eq!(*bytes.lock().unwrap(), 40 * count as usize);
    }
}
