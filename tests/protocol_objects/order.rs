//! Which commands wait for each other, and which do not.

use super::{all, patient};
use crate::broker::{Place, TestBroker};
use crate::calc::{self, Admin, CALC_1, Calc, Desk, Nothing, Table};
use actix_ipc::client::HandlerError;
use actix_ipc::protocol::ProtocolSender;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Calls of one caller wait for each other, those of another pass them by.
async fn one_after_the_other(broker: &TestBroker) {
    let desk: Arc<Desk> = Arc::default();
    let worker = broker.client().await;
    let _calc = worker.add_protocol("calc", all(&desk)).await.unwrap();
    let (a, b) = (broker.client().await, broker.client().await);
    let (calc, other): (Calc, Calc) = (
        a.protocol("calc").await.unwrap(),
        b.protocol("calc").await.unwrap(),
    );
    let mut waiting = Vec::new();
    for name in ["a1", "a2", "a3"] {
        // A call is sent when it is first polled; which task runs first is not known.
        let mut call = calc.wait(name);
        assert!(futures::poll!(&mut call).is_pending());
        waiting.push(tokio::spawn(call));
    }
    desk.noted("begin a1").await;
    // The others go on meanwhile, and so does the caller itself with another protocol.
    desk.release("b1");
    patient(other.wait("b1")).await.unwrap();
    assert_eq!(patient(other.echo("b")).await.unwrap().response, "b");
    let admin: Admin = a.protocol("calc").await.unwrap();
    let stopped = admin
        .caller()
        .call::<_, ()>(&calc::ADMIN, &calc::ADMIN.commands[1], &Nothing);
    patient(stopped).await.unwrap();
    let begun = |name: &str| desk.log().contains(&format!("begin {name}"));
    assert!(!begun("a2") && !begun("a3"), "{:?}", desk.log());
    ["a3", "a2", "a1"].into_iter().for_each(|name| desk.release(name));
    for waiting in waiting {
        patient(waiting).await.unwrap().unwrap();
    }
    let own: Vec<_> = desk
        .log()
        .into_iter()
        .filter(|line| line.contains(" a"))
        .collect();
    assert_eq!(
        own,
        ["begin a1", "end a1", "begin a2", "end a2", "begin a3", "end a3"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_of_one_caller_run_one_after_the_other_on_several_threads() {
    let place = Place::new();
    one_after_the_other(&place.start()).await;
}

#[actix::test]
async fn commands_of_one_caller_run_one_after_the_other_on_one_thread() {
    let place = Place::new();
    one_after_the_other(&place.start()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_commands_of_many_callers_keep_each_callers_order() {
    const CALLERS: usize = 4;
    const EACH: usize = 60;
    let place = Place::new();
    let broker = place.start();
    let seen: Arc<[AtomicUsize; CALLERS]> = Arc::default();
    let (inside, table) = (Arc::new(<[AtomicUsize; CALLERS]>::default()), Arc::clone(&seen));
    let counting = Table::new(&CALC_1).on("pair", move |request| {
        let (inside, seen) = (Arc::clone(&inside), Arc::clone(&table));
        async move {
            let (caller, number): (i32, String) = request.decode()?;
            let caller = usize::try_from(caller).unwrap();
            assert_eq!(inside[caller].fetch_add(1, Ordering::SeqCst), 0, "two at a time");
            // Some are done at their first turn, others are not.
            for _ in 0..(number.len() + caller) % 3 {
                tokio::task::yield_now().await;
            }
            let before = seen[caller].fetch_add(1, Ordering::SeqCst);
            inside[caller].fetch_sub(1, Ordering::SeqCst);
            match before.to_string() == number {
                true => request.reply(&number),
                false => Err(HandlerError::new(format!("{number} came as number {before}"))),
            }
        }
    });
    let worker = broker.client().await;
    let _calc = worker
        .add_protocol("calc", counting)
        .concurrency(2)
        .await
        .unwrap();
    let calls = (0..CALLERS).map(|caller| {
        let broker = &broker;
        async move {
            let client = broker.client().await;
            let calc: Calc = client.protocol("calc").await.unwrap();
            let calls = (0..EACH).map(|number| {
                let request = (i32::try_from(caller).unwrap(), number.to_string());
                calc.caller()
                    .call::<_, String>(&CALC_1, &CALC_1.commands[6], &request)
            });
            futures::future::join_all(calls).await
        }
    });
    for outcome in patient(futures::future::join_all(calls))
        .await
        .into_iter()
        .flatten()
    {
        outcome.unwrap();
    }
    assert!(seen.iter().all(|seen| seen.load(Ordering::SeqCst) == EACH));
}

#[tokio::test]
async fn an_order_that_is_given_up_is_none() {
    let place = Place::new();
    let broker = place.start();
    let (client, worker) = (broker.client().await, broker.client().await);
    let desk: Arc<Desk> = Arc::default();
    let _calc = worker
        .add_protocol("calc", calc::calc(&desk))
        .unordered()
        .await
        .unwrap();
    let calc: Calc = client.protocol("calc").await.unwrap();
    let calls = async { futures::join!(calc.wait("1"), calc.wait("2")) };
    let released = async {
        desk.noted("begin 1").await;
        desk.noted("begin 2").await;
        ["1", "2"].into_iter().for_each(|name| desk.release(name));
    };
    let ((first, second), ()) = patient(async { futures::join!(calls, released) }).await;
    first.unwrap();
    second.unwrap();
}

#[tokio::test]
async fn a_call_that_is_taken_back_lets_the_next_one_run() {
    let place = Place::new();
    let broker = place.start();
    let (client, worker) = (broker.client().await, broker.client().await);
    let desk: Arc<Desk> = Arc::default();
    let _calc = worker.add_protocol("calc", calc::calc(&desk)).await.unwrap();
    let calc: Calc = client.protocol("calc").await.unwrap();
    // A call is sent when it is first polled, so that these two come in this order.
    let (mut first, mut second) = (calc.wait("first"), calc.wait("second"));
    assert!(futures::poll!(&mut first).is_pending() && futures::poll!(&mut second).is_pending());
    patient(desk.noted("begin first")).await;
    drop(first);
    patient(desk.noted("begin second")).await;
    desk.release("second");
    patient(second).await.unwrap();
}

#[tokio::test]
async fn a_stream_that_is_being_read_does_not_stop_what_its_reader_asks() {
    let place = Place::new();
    let broker = place.start();
    let (client, worker) = (broker.client().await, broker.client().await);
    let _calc = worker
        .add_protocol("calc", calc::calc(&Arc::default()))
        .await
        .unwrap();
    let calc: Calc = client.protocol("calc").await.unwrap();
    let mut numbers = calc.count();
    for number in 0..100 {
        assert_eq!(patient(numbers.next()).await.unwrap().unwrap(), number);
        assert_eq!(patient(calc.plain("get_status")).await.unwrap(), 7);
    }
}

#[tokio::test]
async fn one_way_commands_to_a_slow_object_keep_nobody_else_out() {
    const SENT: u64 = 6_000;
    let place = Place::new();
    let broker = place.start();
    let (client, other) = (broker.client().await, broker.client().await);
    let worker = broker.client().await;
    let desk: Arc<Desk> = Arc::default();
    let _calc = worker.add_protocol("calc", calc::calc(&desk)).await.unwrap();
    let (calc, others): (Calc, Calc) = (
        client.protocol("calc").await.unwrap(),
        other.protocol("calc").await.unwrap(),
    );
    for event in 0..SENT {
        calc.notify(event).await.unwrap();
    }
    client.flush().await.unwrap();
    desk.noted("event 0").await;
    assert_eq!(patient(others.echo("x")).await.unwrap().response, "x");
    desk.release("events");
    // It has its own turn behind them.
    patient(async {
        while calc.plain("get_status").await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let events: Vec<u64> = desk
        .log()
        .iter()
        .map(|line| line.strip_prefix("event ").unwrap().parse().unwrap())
        .collect();
    assert!(
        events.is_sorted() && events.len() as u64 <= SENT,
        "in order, none twice"
    );
    assert!(events.len() > 1_000, "{} of them", events.len());
    assert!(
        (events.len() as u64) < SENT,
        "what waits for one caller has a bound"
    );
}
