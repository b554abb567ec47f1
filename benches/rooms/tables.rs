//! The rooms of the broker one by one: the two core states and their indexes, session, tables of calls, outbox, accounts, shares,
//! policy, credit.
//!
//! Owns the scenes. Each step leaves its room as it found it, so that what is measured is what a broker does after an hour.

use crate::scene::{Mailboxes, batch, finish, peer};
use actix_ipc::actors::accounts::Accounts;
use actix_ipc::actors::connection::open_calls::OpenCalls;
use actix_ipc::actors::connection::outbox::{Outbox, WriteBuf, event_charge};
use actix_ipc::actors::connection::perform;
use actix_ipc::actors::connection::session::{Effects, Session};
use actix_ipc::actors::connection::slots::{NewCall, Outcome, Slots};
use actix_ipc::actors::credit::Window;
use actix_ipc::actors::deadlines::Deadlines;
use actix_ipc::actors::deliver::{Class, Room, decide};
use actix_ipc::actors::memory::Memory;
use actix_ipc::actors::messages::{
    Answer, Deliver, EventItem, EventMark, Invoke, RegistryBatch, RegistryItem,
};
use actix_ipc::actors::messages::{HubBatch, HubItem, Joined};
use actix_ipc::actors::peer::{Account, PeerRef, ReplyTo};
use actix_ipc::actors::quota::{ReadGate, TotalGate};
use actix_ipc::actors::shares::{Shares, Who};
use actix_ipc::actors::{registry, topic_hub};
use actix_ipc::config::Limits;
use actix_ipc::message::{
    Batch, CallId, Draft, Encoding, Kind, PeerId, RequestId, SubscriptionId, Ticket, key,
};
use actix_ipc::policy::{Policy, Principal, Right, Rights, Rule, Selection, Slot, Who as Whom};
use bytes::Bytes;
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

const BATCH: usize = 64;

fn calls() -> Arc<Batch> {
    let mut bytes = Vec::new();
    for id in 0..BATCH {
        Draft::new(Kind::Call, 100 + id as u64)
            .aux(30_000)
            .pair("math", "add")
            .payload(Encoding::RAW, &[7; 16])
            .encode(&mut bytes);
    }
    batch(&bytes)
}

fn events() -> Arc<Batch> {
    let event = Draft::new(Kind::Publish, 0)
        .pair("sensors", "kitchen")
        .payload(Encoding::RAW, &[7; 16]);
    batch(&event.to_vec().repeat(BATCH))
}

fn invoke(frame: usize, from: &PeerRef, deadline: Instant) -> Invoke {
    let (call, ticket) = (CallId(100 + frame as u64), Ticket(1_000 + frame as u64));
    Invoke {
        frame: frame as u32,
        ticket,
        deadline,
        reply: Some(ReplyTo::new(from.clone(), call, ticket)),
    }
}

fn answer_to(frame: usize) -> Answer {
    Answer {
        frame: frame as u32,
        call: CallId(100 + frame as u64),
        ticket: Ticket(1_000 + frame as u64),
        last: true,
    }
}

/// Registry routes 64 calls of one read to one callee.
#[divan::bench]
fn registry_state(bencher: Bencher<'_, '_>) {
    let shared = actix_ipc::actors::core::Shared::new(Limits::default(), actix_ipc::message::Epoch([1; 16]));
    let mut state = registry::state::State::new(shared);
    let (caller, callee) = (peer(1), peer(2));
    for (peer, _) in [&caller, &callee] {
        finish(state.joined(Joined(peer.clone())), || state.resume());
    }
    let register = batch(&Draft::new(Kind::Register, 9).key(b"math").to_vec());
    let reply = ReplyTo::new(callee.0.clone(), CallId(9), Ticket(1));
    let items = vec![RegistryItem::Request(0, reply)];
    let request = RegistryBatch {
        from: callee.0.clone(),
        batch: register,
        items,
        permit: None,
    };
    finish(state.handle(request), || state.resume());
    let (batch, deadline) = (calls(), Instant::now() + Duration::from_secs(3_600));
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        let invokes = (0..BATCH).map(|frame| RegistryItem::Call(invoke(frame, &caller.0, deadline)));
        let message = RegistryBatch {
            from: caller.0.clone(),
            batch: batch.clone(),
            items: invokes.collect(),
            permit: None,
        };
        finish(state.handle(message), || state.resume());
        let mut got = 0;
        while let Some(delivery) = callee.1.pop() {
            if let Deliver::Calls(_, _, invokes) = delivery {
                got += invokes.len();
                invokes
                    .into_iter()
                    .for_each(|invoke| invoke.reply.unwrap().forget());
            }
        }
        // In one delivery, or in two when the turn was over in between.
        assert_eq!(got, BATCH);
        callee.0.account.release(callee.0.account.queued());
        forget_routes(&caller.1);
    });
}

/// What Registry told the caller; nobody is told that it is gone.
fn forget_routes(inbox: &crate::scene::Mailbox) {
    while let Some(delivery) = inbox.pop() {
        if let Deliver::Routed(mut routes) = delivery {
            routes.0.clear();
        }
    }
}

/// TopicHub routes 64 events of one read to so many subscribers.
#[divan::bench(args = [1, 8, 100])]
fn topic_hub_state(bencher: Bencher<'_, '_>, count: usize) {
    let shared = actix_ipc::actors::core::Shared::new(Limits::default(), actix_ipc::message::Epoch([1; 16]));
    let mut state = topic_hub::state::State::new(shared);
    let publisher = peer(1);
    let subscribers: Vec<_> = (0..count).map(|id| peer(2 + id as u64)).collect();
    let subscribe = batch(&Draft::new(Kind::Subscribe, 5).pair("sensors", "kitchen").to_vec());
    for (peer, _) in &subscribers {
        let reply = Some(ReplyTo::new(peer.clone(), CallId(5), Ticket(1)));
        let message = HubBatch {
            from: peer.clone(),
            batch: subscribe.clone(),
            items: vec![HubItem::new(0, reply)],
            permit: None,
        };
        finish(state.handle(message), || state.resume());
    }
    let batch = events();
    bencher.counter(ItemsCount::new(BATCH * count)).bench_local(|| {
        let count = BATCH as u32;
        let message = HubBatch {
            from: publisher.0.clone(),
            batch: batch.clone(),
            items: vec![HubItem {
                count,
                ..HubItem::new(0, None)
            }],
            permit: None,
        };
        finish(state.handle(message), || state.resume());
        for (peer, inbox) in &subscribers {
            while let Some(delivery) = inbox.pop() {
                if let Deliver::Events(batch, items) = delivery {
                    let charge = items.iter().map(|item| event_charge(&batch, item)).sum();
                    peer.account.release_events(charge);
                }
            }
        }
        let _ = publisher.0.account.take_grant();
        while publisher.1.pop().is_some() {}
    });
}

/// The owner of one name among so many.
#[divan::bench(args = [10, 1_000, 100_000])]
fn registry_index(bencher: Bencher<'_, '_>, names: usize) {
    let (mut index, mut effects) = (registry::index::Index::new(), Vec::new());
    for number in 0..names {
        let registration = registry::index::Registration {
            peer: 1_u32,
            request: RequestId(number as u64),
            object: &format!("object.{number}"),
            queue: false,
            replace: false,
            allow_replace: false,
            group: None,
            description: Bytes::new(),
        };
        let registered = index.register(Ticket(number as u64 + 1), registration, &mut effects);
        assert!(registered.is_ok());
        effects.clear();
    }
    let name = format!("object.{}", names / 2);
    bencher.bench_local(|| index.route(black_box(name.as_bytes()), None, |_| 0).unwrap());
}

/// Who hears a topic among so many subscriptions to others, looked up anew each time.
fn topic_index(bencher: Bencher<'_, '_>, subscriptions: usize, pattern: bool) {
    let (mut index, mut effects) = (topic_hub::index::Index::new(), Vec::new());
    for number in 0..subscriptions {
        let event = if pattern { "*" } else { "changed" };
        let subscription = topic_hub::facts::Subscription {
            peer: 1_u32,
            id: SubscriptionId(number as u64 + 1),
            key: key::join(&format!("sensor.{number}"), event).into(),
            pattern,
            no_local: false,
            group: None,
            policy: topic_hub::facts::Policy::Hold,
        };
        index
            .subscribe(Ticket(number as u64 + 1), subscription, &mut effects)
            .unwrap();
        effects.clear();
    }
    let topics: [Vec<u8>; 2] =
        [1, 2].map(|part| key::join(&format!("sensor.{}", subscriptions / part - 1), "changed"));
    bencher.counter(ItemsCount::new(2_usize)).bench_local(|| {
        for topic in &topics {
            assert_eq!(index.matching(topic, 2, |_, _| false).len(), 1);
        }
    });
}

#[divan::bench(args = [10, 1_000, 100_000])]
fn topic_index_exact(bencher: Bencher<'_, '_>, subscriptions: usize) {
    topic_index(bencher, subscriptions, false);
}

#[divan::bench(args = [10, 1_000, 100_000])]
fn topic_index_pattern(bencher: Bencher<'_, '_>, subscriptions: usize) {
    topic_index(bencher, subscriptions, true);
}

/// A caller's session: 64 calls checked and sent on, and their answers taken.
#[divan::bench]
fn session(bencher: Bencher<'_, '_>) {
    let limits = Arc::new(Limits::default());
    let broker = crate::scene::Broker::new();
    let rooms: &Mailboxes = &broker.rooms;
    let mut session = Session::new(peer(1).0, limits, Arc::default());
    let (batch, now) = (calls(), Instant::now());
    let (mut effects, mut outbox, mut out) = (Effects::default(), Outbox::default(), WriteBuf::default());
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        session.handle(now, &batch, &mut effects);
        let mut answers = Vec::with_capacity(BATCH);
        for item in effects.registry.drain(..) {
            let RegistryItem::Call(invoke) = item else {
                panic!("{item:?}")
            };
            answers.push(Answer {
                ticket: invoke.ticket,
                ..answer_to(invoke.frame as usize)
            });
            invoke.reply.unwrap().forget();
        }
        assert_eq!(answers.len(), BATCH);
        let delivery = Deliver::Answers(batch.clone(), answers);
        assert!(perform::deliver(&mut session, &mut outbox, rooms, delivery, true).is_none());
        assert!(session.open.is_empty());
        out.clear();
        let (first, _) = outbox.fill(now, usize::MAX, &mut out);
        let account = &session.me().account;
        account.release(first.min(account.queued()));
    });
}

/// 64 calls opened and closed.
#[divan::bench]
fn open_calls(bencher: Bencher<'_, '_>) {
    let mut open = OpenCalls::default();
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        for id in 0..BATCH as u64 {
            assert!(open.insert(CallId(id), Ticket(id + 1), None));
        }
        for id in 0..BATCH as u64 {
            assert!(open.close(CallId(id), Ticket(id + 1)).is_some());
        }
    });
}

fn replies_to(tickets: RangeInclusive<u64>) -> Arc<Batch> {
    let mut replies = Vec::new();
    for ticket in tickets {
        Draft::new(Kind::Reply, ticket)
            .payload(Encoding::RAW, &[7; 16])
            .encode(&mut replies);
    }
    batch(&replies)
}

/// 64 calls taken by their callee and answered.
#[divan::bench]
fn slots(bencher: Bencher<'_, '_>) {
    let (caller, limits, now) = (peer(1), Limits::default(), Instant::now());
    // A ticket is never given twice: with one that is, the deadline of a call that was answered would seem to live.
    let mut last = 0;
    let next = || {
        let first = last + 1;
        last += BATCH as u64;
        (first..=last, replies_to(first..=last))
    };
    let mut slots = Slots::default();
    let bencher = bencher.counter(ItemsCount::new(BATCH)).with_inputs(next);
    bencher.bench_local_values(|(tickets, replies)| {
        for ticket in tickets.map(Ticket) {
            slots.open(
                now,
                NewCall {
                    ticket,
                    reply: ReplyTo::new(caller.0.clone(), CallId(ticket.0), ticket),
                    deadline: now + Duration::from_secs(30),
                    stream: false,
                    items: false,
                    window: Window::new(1 << 20),
                },
            );
        }
        for frame in 0..BATCH {
            let outcome = slots.answer(now, (&replies.view(frame).unwrap(), &[]), &limits);
            assert!(matches!(outcome, Outcome::Forward(_, _, true)));
        }
        // As its connection does when it has written them.
        caller.0.account.release(caller.0.account.queued());
    });
}

/// 64 calls written for their callee.
#[divan::bench]
fn outbox_calls(bencher: Bencher<'_, '_>) {
    let (caller, batch, now) = (peer(1).0, calls(), Instant::now());
    let (mut outbox, mut out) = (Outbox::default(), WriteBuf::default());
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        let invokes = (0..BATCH).map(|frame| {
            let mut invoke = invoke(frame, &caller, now + Duration::from_secs(30));
            invoke.reply.take().unwrap().forget();
            invoke
        });
        outbox.push_calls(caller.clone(), batch.clone(), invokes.collect());
        out.clear();
        outbox.fill(now, usize::MAX, &mut out);
        assert!(outbox.is_empty());
    });
}

/// 64 events written for a subscriber.
#[divan::bench]
fn outbox_events(bencher: Bencher<'_, '_>) {
    let (batch, now) = (events(), Instant::now());
    let account = Account::new(Limits::default().outbox_bytes, 1);
    let (mut outbox, mut out) = (Outbox::default(), WriteBuf::default());
    let item = EventItem {
        frame: 0,
        count: BATCH as u32,
        missed: 0,
        subscription: SubscriptionId(5),
        mark: EventMark::default(),
    };
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        outbox.push_events(batch.clone(), vec![item], &account);
        out.clear();
        outbox.fill(now, usize::MAX, &mut out);
        assert!(outbox.is_empty());
    });
}

/// A peer's reserve: more is covered, then settled. Within the step that it holds nothing is locked.
#[divan::bench(args = [1_000, 1_000_000])]
fn accounts(bencher: Bencher<'_, '_>, bytes: usize) {
    let accounts = Accounts::new(&Limits::default());
    let memory = Memory::of(&accounts, WHO);
    memory.calls().cover(1).unwrap();
    bencher.bench_local(|| {
        memory.calls().cover(black_box(bytes)).unwrap();
        memory.calls().settle(0);
    });
}

const WHO: Who = Who {
    uid: 1000,
    pid: 7,
    connection: 0,
};

/// A charge and its release, beside so many processes of one user.
#[divan::bench(args = [1, 1_000])]
fn shares(bencher: Bencher<'_, '_>, processes: u32) {
    let mut shares = Shares::new(1 << 30, 4);
    for pid in 0..processes {
        shares.add(
            Who {
                pid: 100 + pid,
                ..WHO
            },
            4_096,
        );
    }
    bencher.bench_local(|| {
        shares.charge(WHO, black_box(4_096)).unwrap();
        shares.release(WHO, 4_096);
    });
}

fn policy(rules: usize) -> Policy {
    let mut all = vec![Rule::allow([Whom::Everyone]).plain(Right::Connect)];
    for number in 0..rules {
        let names = Selection::object(&format!("object.{number}.**")).unwrap();
        all.push(Rule::allow([Whom::Uid(1000)]).named(Right::Call, names));
    }
    Policy::new(all)
}

/// May this peer call that? Asked again of the same name, of a few names in turn, and of ever new ones.
#[divan::bench(args = [(10, 1), (10, 16), (10, 10_000), (1_000, 1), (1_000, 16), (1_000, 10_000)])]
fn policy_rights(bencher: Bencher<'_, '_>, (rules, names): (usize, usize)) {
    let slot = Slot::new(Some(policy(rules)));
    let (mut rights, who) = (Rights::default(), Principal::of_uid(1000));
    let keys: Vec<Vec<u8>> = (0..names)
        .map(|name| key::join(&format!("object.{}.n{name}", rules - 1), "add"))
        .collect();
    let mut next = keys.iter().cycle();
    bencher.bench_local(|| {
        assert!(rights.may(&slot, &who, Right::Call, next.next().unwrap()));
    });
}

/// The same where there is no policy.
#[divan::bench]
fn policy_none(bencher: Bencher<'_, '_>) {
    let (slot, mut rights, who) = (Slot::default(), Rights::default(), Principal::of_uid(1000));
    let key = key::join("math", "add");
    bencher.bench_local(|| assert!(rights.may(black_box(&slot), &who, Right::Call, &key)));
}

#[divan::bench]
fn credit(bencher: Bencher<'_, '_>) {
    let mut window = Window::new(1 << 20);
    bencher.bench_local(|| {
        let open = window.spend(black_box(1_000));
        window.give(1_000);
        assert!(open);
    });
}

/// A deadline set for a call that is answered long before it.
#[divan::bench]
fn deadlines(bencher: Bencher<'_, '_>) {
    let (mut deadlines, now) = (Deadlines::default(), Instant::now());
    let mut key = 0_u64;
    bencher.bench_local(|| {
        key += 1;
        deadlines.insert(now + Duration::from_millis(key), key, 64, |other| {
            other + 64 > key
        });
        deadlines.next(|other| other + 64 > key)
    });
}

#[divan::bench]
fn deliver(bencher: Bencher<'_, '_>) {
    let room = Room::new(&Limits::default());
    bencher.bench_local(|| decide(Class::Call, &room, black_box(1_000), black_box(0)));
}

/// A permit for one read, taken and given back.
#[divan::bench]
fn quota(bencher: Bencher<'_, '_>) {
    let gate = ReadGate::new(1 << 20, TotalGate::new(1 << 30));
    bencher.bench_local(|| {
        let permit = gate.take(black_box(1_000));
        drop(permit);
        assert!(gate.is_open());
    });
}

/// Whom an answer goes to: the last thing that is dropped of a call.
#[divan::bench]
fn reply_to(bencher: Bencher<'_, '_>) {
    let (caller, _inbox) = peer(1);
    bencher.bench_local(|| {
        let reply = ReplyTo::new(caller.clone(), CallId(1), Ticket(1));
        reply.forward().map(|peer| peer.id() == PeerId(1))
    });
}
