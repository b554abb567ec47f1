//! Calls that arrive by parts or in another encoding, as only bytes of one's own can send them: in which order they run, and what waits.

use super::*;

/// A call that says that more of it follows.
fn begun(id: u64, command: &str, value: &[u8]) -> Vec<u8> {
    call(id, command, Flags::CONTINUED, value)
}

/// The last piece of a call.
fn rest(id: u64, value: &[u8]) -> Vec<u8> {
    let draft = Draft::new(Kind::CallPiece, id);
    draft.payload(Encoding::PROTOCOL, value).to_vec()
}

#[test]
fn a_shutdown_waits_for_a_call_that_still_arrives() {
    actix::System::new().block_on(async {
        let place = Place::new();
        let service = Service::new(true);
        let server = service.bind(place.endpoint()).await;
        let (stops, stopping) = std::sync::mpsc::channel::<()>();
        let playing = playing("the call", &server, move |raw| {
            raw.meet(100, CALL_WINDOW, &[]);
            let text = postcard::to_stdvec("half and half").unwrap();
            let (first, second) = text.split_at(4);
            raw.write(&begun(1, "echo", first));
            raw.write(&plain(Kind::Ping, 1, 0));
            raw.until("the pong", |kind, id| (kind, id) == (Kind::Pong, 1));
            stops.send(()).unwrap();
            // It stops once what is new is refused as such, and waits for the other half. A call that finds nothing is answered at
            // once; any other waits behind the one that arrives.
            for number in 10.. {
                raw.write(&Draft::new(Kind::Call, number).pair("nobody", "x").to_vec());
                match raw.next().expect("the connection goes on") {
                    (Kind::Error, id, code) if code == ErrorCode::Draining.code() => {
                        assert_eq!(id, number);
                        break;
                    }
                    other => assert_eq!((other.0, other.1), (Kind::Error, number)),
                }
            }
            raw.write(&rest(1, second));
            raw.until("the answer", |kind, id| (kind, id) == (Kind::Reply, 1));
            assert_eq!(raw.last, text);
            assert_eq!(raw.goodbye(), Some(CloseReason::Finished));
        });
        let stopping = async {
            actix_rt::task::spawn_blocking(move || stopping.recv().unwrap())
                .await
                .unwrap();
            within("the shutdown", server.shutdown()).await;
        };
        futures::join!(playing, stopping);
    });
}

#[test]
fn calls_without_an_answer_wait_behind_one_that_arrives_and_are_paid_for_when_they_have_run() {
    const NOTES: u64 = 200;
    const WINDOW: u32 = 40_000;
    actix::System::new().block_on(async {
        let place = Place::new();
        let service = Service::new(false);
        // The notes are more than may be kept of other calls, 16,384 bytes: these are charged to their window.
        let own = limits().memory(0).call_window(WINDOW).open_calls(100);
        let builder = RpcServer::builder().limits(own);
        let server = service.bind_with(builder, place.endpoint()).await;
        playing("the calls", &server, move |raw| {
            raw.meet(100, WINDOW, &[]);
            let text = postcard::to_stdvec("first of all").unwrap();
            let (first, second) = text.split_at(4);
            raw.write(&begun(1, "echo", first));
            for number in 0..NOTES {
                let value = postcard::to_stdvec(&(number, vec![7_u8; 100])).unwrap();
                raw.write(&call(100 + number, "note", Flags::NO_REPLY, &value));
            }
            raw.write(&plain(Kind::Ping, 1, 0));
            // Nothing is refused, and nothing is given back before they have run.
            assert_eq!(raw.next(), Some((Kind::Pong, 1, 0)));
            raw.write(&rest(1, second));
            let (mut paid, mut answered) = (0, false);
            while !answered || paid < WINDOW / 2 {
                match raw.next().expect("the connection goes on") {
                    (Kind::CallCredit, 0, bytes) => paid += bytes,
                    (Kind::Reply, 1, _) => answered = true,
                    other => panic!("{other:?}"),
                }
            }
            raw.write(&call(2, "notes", Flags::NONE, b""));
            raw.until("the notes", |kind, id| (kind, id) == (Kind::Reply, 2));
            let notes: Vec<u64> = postcard::from_bytes(&raw.last).unwrap();
            assert_eq!(notes, (0..NOTES).collect::<Vec<_>>(), "in their order");
        })
        .await;
        service.ended(1).await;
        within("the shutdown", server.shutdown()).await;
    });
}

#[test]
fn json_is_answered_in_json_without_a_broker_too() {
    actix::System::new().block_on(async {
        let place = Place::new();
        let service = Service::new(false);
        let server = service.bind(place.endpoint()).await;
        playing("the calls", &server, move |raw| {
            raw.meet(100, CALL_WINDOW, &[]);
            let json = |id, command: &str, value: &str| {
                let draft = Draft::new(Kind::Call, id).pair("calc", command);
                draft.payload(Encoding::JSON, value.as_bytes()).to_vec()
            };
            for (id, command) in [(1, "echo"), (2, "calc.echo")] {
                raw.write(&json(id, command, "\"hi\""));
                raw.until("the answer", |kind, number| (kind, number) == (Kind::Reply, id));
                assert_eq!(raw.last, b"\"hi\"");
            }
            for (id, command, value, code) in [
                (3, "echo", "7", ErrorCode::Invalid),
                (4, "nothing", "null", ErrorCode::NoSuchMethod),
            ] {
                raw.write(&json(id, command, value));
                assert_eq!(raw.next(), Some((Kind::Error, id, code.code())));
            }
        })
        .await;
        service.ended(1).await;
        within("the shutdown", server.shutdown()).await;
    });
}
