//! Which call runs when: limits, places in the order, and turns of others.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_than_the_limit_run_at_once_and_the_rest_in_order() {
    let place = Place::new();
    let broker = place.start();
    let worker = broker.client().await;
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (busy, peak, order) = (running.clone(), most.clone(), seen.clone());
    let object = Methods::new().method("m", move |number: u32, _| {
        let (busy, peak, order) = (busy.clone(), peak.clone(), order.clone());
        async move {
            peak.fetch_max(busy.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            order.lock().unwrap().push(number);
            tokio::task::yield_now().await;
            busy.fetch_sub(1, Ordering::SeqCst);
            Ok(number)
        }
    });
    let _object = worker.register("o", object).concurrency(1).await.unwrap();
    let caller = broker.client().await;
    let calls = (0..200_u32).map(|number| caller.remote_call::<u32, u32>("o", "m", number));
    for answer in futures::future::join_all(calls).await {
        answer.unwrap();
    }
    assert_eq!(most.load(Ordering::SeqCst), 1);
    assert_eq!(*seen.lock().unwrap(), (0..200).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_call_can_wait_for_its_object() {
    let place = Place::new();
    let broker = place.start();
    let caller = broker.client().await;
    let call = caller.call("later", "m").wait_for_object().send::<u8, u8>(&7);
    let worker = broker.client().await;
    let register = async {
        caller.flush().await.unwrap();
        worker.register("later", Mirror).await.unwrap()
    };
    let (answer, _registration) = tokio::join!(call, register);
    assert_eq!(answer.unwrap(), 7);
    let never = caller
        .call("never", "m")
        .wait_for_object()
        .deadline(Duration::from_millis(50))
        .send::<u8, u8>(&7);
    let error = never.await.unwrap_err();
    assert_eq!((error.code, error.may_have_run), (ErrorCode::Deadline, false));
}

#[tokio::test]
async fn calls_without_an_answer_arrive_in_order() {
    let place = Place::new();
    let broker = place.start();
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let object = Methods::new().method("note", move |number: u32, _| {
        sender.send(number).unwrap();
        std::future::ready(Ok(()))
    });
    let (caller, _worker, _object) = pair(&broker, "o", object).await;
    for number in 0..1000_u32 {
        caller.call("o", "note").no_reply(&number).await.unwrap();
    }
    for expected in 0..1000 {
        assert_eq!(receiver.recv().await, Some(expected));
    }
}

/// Calls that are answered at their first turn, and how often another task of the same thread had its turn when each began.
async fn turns_of_others_before_each(calls: usize, work: impl Fn() + Send + Sync + 'static) -> Vec<usize> {
    let place = Place::new();
    let broker = place.start();
    let (caller, worker) = (broker.client().await, broker.client().await);
    let (turns, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    let (had, begun) = (turns.clone(), seen.clone());
    let object = Methods::new().method("work", move |number: usize, _| {
        begun.lock().unwrap().push((number, had.load(Ordering::SeqCst)));
        work();
        async move { Ok(number) }
    });
    let _object = worker.register("o", object).await.unwrap();
    let other = actix::spawn(async move {
        loop {
            turns.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
        }
    });
    // Calls of another thread: they come as one batch, or a few.
    let calling = std::thread::spawn(move || {
        let all = async {
            let all = (0..calls).map(|number| caller.remote_call::<usize, usize>("o", "work", number));
            futures::future::try_join_all(all).await.unwrap()
        };
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(all)
    });
    let answers = tokio::task::spawn_blocking(move || calling.join().unwrap())
        .await
        .unwrap();
    assert_eq!(answers, (0..calls).collect::<Vec<_>>());
    other.abort();
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    assert!(seen.iter().map(|(number, _)| *number).eq(0..calls), "in order");
    seen.into_iter().map(|(_, turns)| turns).collect()
}

/// The most that began between two turns of another task.
fn most_at_once(turns: &[usize]) -> usize {
    turns
        .chunk_by(|one, next| one == next)
        .map(<[usize]>::len)
        .max()
        .unwrap()
}

#[actix::test]
async fn many_calls_that_are_ready_at_once_leave_others_their_turns() {
    let turns = turns_of_others_before_each(3_000, || ()).await;
    assert!(most_at_once(&turns) <= 256, "{}", most_at_once(&turns));
}

#[actix::test]
async fn handlers_that_work_for_long_leave_others_their_turns() {
    let work = || {
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(2) {
            std::hint::spin_loop();
        }
    };
    let turns = turns_of_others_before_each(40, work).await;
    assert!(most_at_once(&turns) <= 2, "{}", most_at_once(&turns));
}

/// One that goes in pieces keeps its place before those that were made after it, and one that is given up holds nobody up.
#[tokio::test]
async fn a_large_call_is_not_overtaken_by_a_later_small_one() {
    let place = Place::new();
    let broker = place.start();
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let object = Methods::new().method("note", move |text: String, _| {
        sender.send(text.len()).unwrap();
        std::future::ready(Ok(()))
    });
    let (caller, _worker, _object) = pair(&broker, "o", object).await;
    let sizes = [3 << 20, 1, 700_000, 2, 2 << 20, 3];
    for _ in 0..10 {
        let call = |size: usize| caller.remote_call::<_, ()>("o", "note", "x".repeat(size));
        for answer in futures::future::join_all(sizes.map(call)).await {
            answer.unwrap();
        }
        for expected in sizes {
            assert_eq!(receiver.recv().await, Some(expected));
        }
        let mut given_up = Box::pin(call(8 << 20));
        let mut later = Box::pin(call(4));
        let first = futures::future::select(&mut given_up, std::future::ready(())).await;
        let small = futures::future::select(&mut later, std::future::ready(())).await;
        drop((first, small));
        drop(given_up);
        later.await.unwrap();
        assert_eq!(receiver.recv().await, Some(4));
    }
}

#[tokio::test]
async fn a_full_buffer_holds_callers_back_and_loses_nothing() {
    let place = Place::new();
    let broker = place.start();
    let (_, _worker, _object) = pair(&broker, "mirror", Mirror).await;
    let endpoint = broker.endpoint.clone();
    let caller = IpcClient::builder()
        .endpoint(endpoint)
        .out_buffer(64)
        .connect()
        .await
        .unwrap();
    let calls = (0..500_u64).map(|number| caller.remote_call::<u64, u64>("mirror", "m", number));
    let answers: Result<Vec<u64>, _> = futures::future::join_all(calls).await.into_iter().collect();
    assert_eq!(answers.unwrap(), (0..500).collect::<Vec<_>>());
}
