//! Who asks for more than there is: floods, ends that read nothing, and what one connection makes a program keep.

use super::*;

#[test]
fn no_call_is_hidden_behind_another_of_its_number() {
    actix::System::new().block_on(async {
        let place = Place::new();
        let service = Service::new(true);
        let builder = RpcServer::builder().limits(limits()).concurrency(1_000);
        let server = service.bind_with(builder, place.endpoint()).await;
        playing("the flood", &server, move |raw| {
            raw.meet(OPEN_CALLS, 1 << 18, &[]);
            for id in 1..=200 {
                raw.write(&call(id, "wait", Flags::NONE, b""));
                raw.write(&call(id, "nothing", Flags::NO_REPLY, b""));
            }
            assert_eq!(raw.goodbye(), Some(CloseReason::Protocol));
        })
        .await;
        service.ended(1).await;
        within("the shutdown", server.shutdown()).await;
        let begun = *service.answers.waiting.borrow();
        assert!(begun <= OPEN_CALLS as usize, "{begun} handlers were begun");
        // Those that have begun end with their connection, and the runtime has had its turns to drop them.
        let dropped = || service.answers.dropped.load(std::sync::atomic::Ordering::SeqCst);
        let gone = async {
            while dropped() < begun {
                actix_rt::task::yield_now().await;
            }
        };
        within("the end of the handlers", gone).await;
    });
}

#[test]
fn a_server_that_reads_nothing_keeps_no_call_beyond_its_deadline() {
    // More than any socket takes.
    const CALLS: usize = 200;
    actix::System::new().block_on(async {
        let place = Place::new();
        let (listener, endpoint) = place.listen();
        let (leave, left) = std::sync::mpsc::channel::<()>();
        let playing = actix_rt::task::spawn_blocking(move || {
            let mut raw = Raw::accept(&listener);
            raw.answer_meet(4_096, CALL_WINDOW, &[(CALC.id, "calc")]);
            // It reads nothing more until the test is through.
            let _ = left.recv();
        });
        let client = RpcClient::<Calc>::connect(endpoint, ()).await.unwrap();
        let sender = Calc(
            client
                .sender
                .0
                .clone()
                .with_deadline(std::time::Duration::from_millis(300)),
        );
        let text = "x".repeat(100_000);
        let calls = futures::future::join_all((0..CALLS).map(|_| sender.echo(&text)));
        let ended = within("the deadlines", calls).await;
        let errors: Vec<_> = ended.into_iter().map(|result| result.unwrap_err()).collect();
        assert!(errors.iter().all(|error| error.code == ErrorCode::Deadline));
        let unsent = errors.iter().filter(|error| !error.may_have_run).count();
        assert!(unsent > 20, "{unsent} of {CALLS} were never sent");
        drop(leave);
        within("the server", playing).await.unwrap();
    });
}

#[test]
fn who_asks_and_does_not_read_is_parted_from() {
    // More than any socket takes in both directions.
    const MOST: usize = 64 << 20;
    actix::System::new().block_on(async {
        let place = Place::new();
        let ping = Draft::new(Kind::Ping, 3)
            .payload(Encoding::RAW, &[7; 64])
            .to_vec();
        let nobody = Draft::new(Kind::Call, 3).aux(5).pair("nobody", "x").to_vec();
        for (name, frame) in [("pings", ping), ("calls that find nothing", nobody)] {
            let service = Service::new(false);
            let builder = RpcServer::builder().limits(limits());
            let server = service.bind_with(builder, place.endpoint()).await;
            let written = playing(name, &server, move |raw| {
                raw.meet(OPEN_CALLS, CALL_WINDOW, &[]);
                let many = frame.repeat(100);
                let mut written = 0;
                while written < MOST && raw.writes(&many) {
                    written += many.len();
                }
                written
            })
            .await;
            assert!(written < MOST, "{name}: all of it was taken");
            service.ended(1).await;
            within("the shutdown", server.shutdown()).await;
        }
    });
}

/// The errors that come before the answer to a second Ping: that to the first goes before what came with it.
fn errors(raw: &mut Raw) -> Vec<u64> {
    raw.write(&plain(Kind::Ping, 1, 0));
    let mut errors = Vec::new();
    loop {
        match raw.next().expect("the connection goes on") {
            (Kind::Pong, 1, _) => raw.write(&plain(Kind::Ping, 2, 0)),
            (Kind::Pong, 2, _) => return errors,
            (Kind::Error, id, code) => {
                let code = ErrorCode::from_code(code);
                assert!(
                    matches!(code, ErrorCode::Overloaded | ErrorCode::ReplyLost),
                    "{code:?}"
                );
                errors.push(id);
            }
            (Kind::Goodbye, _, reason) => panic!("goodbye {reason}"),
            _ => {}
        }
    }
}

/// Plays against a server whose clients may make it keep one message of the largest size, 16,384 bytes.
fn in_little_memory(play: impl FnOnce(&mut Raw) + Send + 'static) {
    actix::System::new().block_on(async {
        let place = Place::new();
        let service = Service::new(true);
        let own = limits().memory(0).open_calls(100);
        let builder = RpcServer::builder().limits(own);
        let server = service.bind_with(builder, place.endpoint()).await;
        playing("the calls", &server, move |raw| {
            raw.meet(100, CALL_WINDOW, &[]);
            play(raw);
        })
        .await;
        service.ended(1).await;
        within("the shutdown", server.shutdown()).await;
    });
}

#[test]
fn what_one_connection_makes_a_program_keep_is_bounded() {
    in_little_memory(|raw| {
        raw.write(&call(1, "wait", Flags::NONE, b""));
        let large = |id| call(id, "echo", Flags::NONE, &[0; 3_992]);
        // Behind one that runs four wait, and the rest is refused.
        (2..=10).for_each(|id| raw.write(&large(id)));
        assert_eq!(errors(raw), [6, 7, 8, 9, 10]);
        // What was taken back makes room, however often.
        for round in 0..50 {
            let first = 100 + round * 4;
            let before = if round == 0 { 2 } else { first - 4 };
            (before..before + 4).for_each(|id| raw.write(&plain(Kind::Cancel, id, 0)));
            (first..first + 4).for_each(|id| raw.write(&large(id)));
            assert_eq!(errors(raw), [0; 0], "round {round}");
        }
        (296..300).for_each(|id| raw.write(&plain(Kind::Cancel, id, 0)));
        // Items count as well. Each call has 8 bytes, each item 2,020.
        for id in 400..410 {
            let flags = Flags::ITEMS.with(Flags::CONTINUED);
            raw.write(&call(id, "wait", flags, b""));
            let item = Draft::new(Kind::CallPiece, id).flags(Flags::CONTINUED);
            raw.write(&item.payload(Encoding::POSTCARD, &[0; 2_000]).to_vec());
        }
        assert_eq!(errors(raw), [408, 409]);
    });
}

/// Which of these calls are refused, when each has its error or the first piece of its answer.
fn refused(raw: &mut Raw, calls: std::ops::RangeInclusive<u64>) -> Vec<u64> {
    let mut waiting: Vec<u64> = calls.collect();
    let mut refused = Vec::new();
    while !waiting.is_empty() {
        let (kind, id, code) = raw.next().expect("the connection goes on");
        match kind {
            Kind::Reply => {}
            Kind::Error => {
                let code = ErrorCode::from_code(code);
                assert!(
                    matches!(code, ErrorCode::Overloaded | ErrorCode::ReplyLost),
                    "{code:?}"
                );
                refused.push(id);
            }
            Kind::Goodbye => panic!("goodbye {code}"),
            _ => continue,
        }
        waiting.retain(|waiting| *waiting != id);
    }
    refused
}

#[test]
fn answers_that_nobody_takes_are_bounded_with_the_rest() {
    in_little_memory(|raw| {
        // Each answer is larger than its window, and no credit is ever given; three of them fit into 16,384 bytes.
        let text = postcard::to_stdvec(&"x".repeat(5_390)).unwrap();
        let (first, rest) = text.split_at(3_900);
        let ask = |raw: &mut Raw, id| {
            raw.write(&call(id, "echo", Flags::CONTINUED, first));
            let piece = Draft::new(Kind::CallPiece, id);
            raw.write(&piece.payload(Encoding::RAW, rest).to_vec());
        };
        (1..=6).for_each(|id| ask(raw, id));
        // A request is held while its answer is made, so that one less may fit, and another one later.
        let lost = refused(raw, 1..=6);
        assert!((3..=4).contains(&lost.len()), "{lost:?}");
        // Who gives them up has room for others: when they have ended, which nothing tells.
        (1..=6).for_each(|id| raw.write(&plain(Kind::Cancel, id, 0)));
        let limit = std::time::Instant::now() + calc::PATIENCE;
        for id in 7.. {
            ask(raw, id);
            if refused(raw, id..=id).is_empty() {
                break;
            }
            assert!(std::time::Instant::now() < limit, "no room again");
        }
    });
}
