//! Who gets a message, in which order, and what its sender is told.

use super::{Bus, LONG, text, to};
use actix_ipc::bus::{
    BytesMessage, ConfirmError, EndpointReceiver, LabelOp, Message, MessageBox, Reason, Report, Selector,
    SendError, TypeUuid, label,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Debug, PartialEq, Serialize, Deserialize, TypeUuid)]
#[uuid = "7b07473e-9659-4d47-a502-8245d71c0078"]
struct Position {
    x: i32,
    y: i32,
}

#[derive(Debug, MessageBox)]
enum Several {
    Text(String),
    Position(Position),
}

#[actix::test]
async fn a_message_goes_to_whom_its_selector_means() {
    let bus = Bus::start();
    let (sender, a) = bus.join::<String, String>(label!("x", "a")).await;
    let (_b, b) = bus.join::<String, String>(label!("x", "b")).await;
    let send = |selector: Selector, text: &str| {
        sender.send_confirmed_async(Message::new(selector, text.to_owned()), LONG)
    };
    let receive = async |receivers: &[&EndpointReceiver<String>], expected: &str| {
        for receiver in receivers {
            assert_eq!(text(receiver).await, expected);
        }
    };
    let x = || LabelOp::from("x");
    let cases: [(Selector, &[&EndpointReceiver<String>]); 6] = [
        (Selector::unicast("a"), &[&a]),
        (Selector::unicast(x()), &[&a]),
        (Selector::unicast(x().and(!LabelOp::from("a"))), &[&b]),
        (Selector::multicast(x()), &[&a, &b]),
        (Selector::multicast(LabelOp::from("b").or("none")), &[&b]),
        (Selector::multicast(true), &[&a, &b]),
    ];
    for (selector, receivers) in cases {
        let text = format!("{} {:?}", selector.label_op, selector.mode);
        let (receipt, ()) = futures::join!(send(selector, &text), receive(receivers, &text));
        assert_eq!(usize::from(receipt.unwrap().receivers), receivers.len(), "{text}");
    }
    let turns = async {
        let mut seen = Vec::new();
        for _ in 0..2 {
            let (a, b) = (a.recv_async(), b.recv_async());
            futures::pin_mut!(a, b);
            let one = futures::future::select(a, b).await;
            seen.push(matches!(one, futures::future::Either::Left(_)));
        }
        seen
    };
    let sending = async {
        for _ in 0..2 {
            send(Selector::round_robin(x()), "turn").await.unwrap();
        }
    };
    let (mut seen, ()) = futures::join!(turns, sending);
    seen.sort_unstable();
    assert_eq!(seen, [false, true], "each had its turn");
}

#[actix::test]
async fn messages_of_one_sender_arrive_in_order_and_all_come_back_as_taken() {
    const COUNT: u32 = 20_000;
    let bus = Bus::start();
    let (sender, _none) = bus.join::<u32, u32>(label!("a")).await;
    let (_sender, receiver) = bus.join::<u32, u32>(label!("b")).await;
    let sending = async {
        for number in 0..COUNT {
            let message = Message::new(Selector::unicast("b"), number);
            assert_eq!(sender.send_async(message).await.unwrap().0, u64::from(number) + 1);
        }
        let last = Message::new(Selector::unicast("b"), COUNT);
        sender.send_confirmed_async(last, LONG).await.unwrap()
    };
    let receiving = async {
        for number in 0..=COUNT {
            let message = receiver.recv_async().await.unwrap();
            assert_eq!(message.payload, number);
            assert!(message.origin.is_some() && message.selector.is_none());
        }
    };
    futures::join!(sending, receiving);
    assert_eq!(sender.undelivered().try_next(), None);
}

#[actix::test]
async fn types_that_a_receiver_does_not_know_are_skipped_and_counted() {
    let bus = Bus::start();
    let (sender, _none) = bus.join::<Several, ()>(label!("a")).await;
    let (_b, texts) = bus.join::<String, String>(label!("b")).await;
    let (_c, all) = bus.join::<String, Several>(label!("b")).await;
    let messages = [
        Several::Position(Position { x: 1, y: -2 }),
        Several::Text("hello".to_owned()),
    ];
    for message in messages {
        let message = Message::new(Selector::multicast("b"), message);
        sender.send_async(message).await.unwrap();
    }
    assert_eq!(text(&texts).await, "hello");
    assert_eq!((texts.skipped(), all.skipped()), (1, 0));
    let received = all.recv_async().await.unwrap().payload;
    assert!(
        matches!(received, Several::Position(Position { x: 1, y: -2 })),
        "{received:?}"
    );
    assert!(matches!(all.recv_async().await.unwrap().payload, Several::Text(text) if text == "hello"));
}

#[actix::test]
async fn what_nobody_matches_waits_for_its_time_and_is_then_told() {
    let bus = Bus::start();
    let (sender, _none) = bus.join::<String, String>(label!("a")).await;
    let reports = sender.undelivered();
    let id = sender.send_async(to("nobody", "x")).await.unwrap();
    let Some(Report::Undelivered(told)) = reports.next().await else {
        panic!("no report");
    };
    assert_eq!(
        (told.id, told.reason, told.may_have_arrived),
        (id, Reason::NoMatch, false)
    );
    let waiting = |ttl| {
        let selector = Selector::unicast("late").with_ttl(ttl);
        sender.send_async(Message::new(selector, "early".to_owned()))
    };
    let id = waiting(Duration::from_millis(1)).await.unwrap();
    assert!(matches!(reports.next().await, Some(Report::Undelivered(told)) if told.id == id));
    waiting(LONG).await.unwrap();
    let (_late, late) = bus.join::<String, String>(label!("late")).await;
    assert_eq!(text(&late).await, "early");
    assert_eq!(reports.try_next(), None);
}

#[actix::test]
async fn what_was_not_taken_before_its_receiver_left_is_told() {
    let bus = Bus::start();
    let (sender, _none) = bus.join::<String, String>(label!("a")).await;
    let (b, receiver) = bus.join::<String, String>(label!("b")).await;
    for number in 0..3 {
        sender.send_async(to("b", &number.to_string())).await.unwrap();
    }
    assert_eq!(text(&receiver).await, "0");
    drop((b, receiver));
    let reports = sender.undelivered();
    for id in 2..=3 {
        let Some(Report::Undelivered(told)) = reports.next().await else {
            panic!("no report");
        };
        assert_eq!((told.id.0, told.reason), (id, Reason::ReceiverGone));
    }
}

#[actix::test]
async fn a_receiver_that_does_not_take_slows_its_sender() {
    let bus = Bus::start();
    let (sender, _none) = bus.join::<BytesMessage, ()>(label!("a")).await;
    let (_b, receiver) = bus.join::<(), BytesMessage>(label!("b")).await;
    let message = || Message::new(Selector::unicast("b"), BytesMessage::new(1, vec![0; 100_000]));
    // So many fit into a window of 1 MiB, and one that goes beyond it.
    for _ in 0..11 {
        sender.send_async(message()).await.unwrap();
    }
    let waiting = sender.send_async(message());
    futures::pin_mut!(waiting);
    assert!(futures::poll!(waiting.as_mut()).is_pending());
    let taking = async {
        for _ in 0..12 {
            receiver.recv_async().await.unwrap();
        }
    };
    let (sent, ()) = futures::join!(waiting, taking);
    assert_eq!(sent.unwrap().0, 12);
}

#[actix::test]
async fn what_can_never_be_sent_is_refused_at_once() {
    let bus = Bus::start();
    let (sender, receiver) = bus.join::<BytesMessage, BytesMessage>(label!("a")).await;
    let message =
        |op: LabelOp, length| Message::new(Selector::unicast(op), BytesMessage::new(0, vec![0; length]));
    let refused = sender.send_async(message("".into(), 0)).await.unwrap_err();
    assert!(matches!(refused, SendError::Selector(_)), "{refused}");
    let refused = sender
        .send_async(message("a".into(), 17 << 20))
        .await
        .unwrap_err();
    assert!(matches!(refused, SendError::TooLarge(_)), "{refused}");
    sender.send_async(message("a".into(), 15 << 20)).await.unwrap();
    let large = receiver.recv_async().await.unwrap();
    assert_eq!(large.payload.data.len(), 15 << 20);
    let refused = sender.send_async(large).await.unwrap_err();
    assert_eq!(refused, SendError::NoSelector);
}

#[actix::test]
async fn who_waits_too_briefly_is_told_by_the_reports_later() {
    let bus = Bus::start();
    let (sender, _none) = bus.join::<String, String>(label!("a")).await;
    let (b, receiver) = bus.join::<String, String>(label!("b")).await;
    let late = sender
        .send_confirmed_async(to("b", "x"), Duration::from_millis(20))
        .await
        .unwrap_err();
    let ConfirmError::Timeout { id } = late else {
        panic!("{late}");
    };
    drop((b, receiver));
    let told = sender.undelivered().next().await;
    assert!(
        matches!(told, Some(Report::Undelivered(told)) if told.id == id),
        "{told:?}"
    );
}
