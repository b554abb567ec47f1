//! The label bus over every transport: who gets a message, what its sender is told, and when it has to wait.
//!
//! Each case joins the broker of its [`World`] by the bus library, as a program does that is told where the bus is.

use super::World;
use actix_ipc::Endpoint;
use actix_ipc::bus::{
    BytesMessage, EndpointReceiver, EndpointSender, Label, LabelOp, Message, MessageBox, Object, Options,
    Reason, Receipt, RecvError, Report, Selector, SendError, join_async, label,
};
use std::collections::HashSet;
use std::io::Read;
use std::time::Duration;

/// Longer than anything takes that works.
const LONG: Duration = Duration::from_secs(20);

type Ends<T> = (EndpointSender<T>, EndpointReceiver<T>);

async fn join<T: MessageBox>(world: &World, label: Label) -> Ends<T> {
    let options = Options::new("", label, "").at(world.endpoint.clone());
    join_async(options, Some(LONG)).await.unwrap()
}

fn to(selector: Selector, number: u64) -> Message<u64> {
    Message::new(selector, number)
}

async fn confirmed(sender: &EndpointSender<u64>, selector: Selector, number: u64) -> Result<u16, Reason> {
    use actix_ipc::bus::ConfirmError;
    match sender.send_confirmed_async(to(selector, number), LONG).await {
        Ok(Receipt { receivers, .. }) => Ok(receivers),
        Err(ConfirmError::Undelivered(told)) => Err(told.reason),
        Err(other) => panic!("{other}"),
    }
}

async fn next(receiver: &EndpointReceiver<u64>) -> u64 {
    receiver.recv_async().await.unwrap().payload
}

fn nothing(receiver: &EndpointReceiver<u64>) {
    assert_eq!(
        receiver.recv(Some(Duration::ZERO)).unwrap_err(),
        RecvError::Timeout
    );
}

pub async fn labels_decide_who_gets_a_message(world: World) {
    let (sender, own) = join::<u64>(&world, label!("sender")).await;
    let (_a, codec) = join::<u64>(&world, label!("renderer", "codec")).await;
    let (_b, plain) = join::<u64>(&world, label!("renderer")).await;
    let no_codec = LabelOp::from("renderer").and(!LabelOp::from("codec"));
    let either = LabelOp::from("codec").or("sender");
    let all: [(Selector, &[&EndpointReceiver<u64>]); 4] = [
        (Selector::multicast(true), &[&own, &codec, &plain]),
        (Selector::multicast(no_codec), &[&plain]),
        (Selector::multicast(either), &[&own, &codec]),
        (Selector::multicast("renderer"), &[&codec, &plain]),
    ];
    for (number, (selector, receivers)) in (0..).zip(all) {
        let taking = async {
            for receiver in receivers {
                assert_eq!(next(receiver).await, number);
            }
        };
        let (told, ()) = futures::join!(confirmed(&sender, selector, number), taking);
        assert_eq!(told.map(usize::from), Ok(receivers.len()), "{number}");
    }
    [&own, &codec, &plain].into_iter().for_each(nothing);
}

pub async fn one_of_several_gets_it_the_first_or_each_in_turn(world: World) {
    let (sender, _own) = join::<u64>(&world, label!("sender")).await;
    let mut workers = Vec::new();
    for _ in 0..3 {
        workers.push(join::<u64>(&world, label!("worker")).await);
    }
    for number in 0..5 {
        sender
            .send_async(to(Selector::unicast("worker"), number))
            .await
            .unwrap();
        assert_eq!(next(&workers[0].1).await, number, "who joined first");
    }
    for round in 0..2 {
        for _ in 0..3 {
            sender
                .send_async(to(Selector::round_robin("worker"), round))
                .await
                .unwrap();
        }
        for (_, receiver) in &workers {
            assert_eq!(next(receiver).await, round);
            nothing(receiver);
        }
    }
}

pub async fn a_message_waits_for_a_later_join_as_long_as_it_may(world: World) {
    let (sender, _own) = join::<u64>(&world, label!("sender")).await;
    let reports = sender.undelivered();
    let waiting = |ttl| Selector::unicast("late").with_ttl(ttl);
    let brief = to(waiting(Duration::from_millis(1)), 1);
    let id = sender.send_async(brief).await.unwrap();
    let Some(Report::Undelivered(told)) = reports.next().await else {
        panic!("no report");
    };
    assert_eq!(
        (told.id, told.reason, told.may_have_arrived),
        (id, Reason::NoMatch, false)
    );
    sender.send_async(to(waiting(LONG), 2)).await.unwrap();
    // Settled behind it, so that it waits already.
    assert_eq!(
        confirmed(&sender, Selector::unicast("nobody"), 3).await,
        Err(Reason::NoMatch)
    );
    let (_late, receiver) = join::<u64>(&world, label!("late")).await;
    assert_eq!(next(&receiver).await, 2);
    assert_eq!(
        confirmed(&sender, Selector::unicast("nobody"), 4).await,
        Err(Reason::NoMatch)
    );
    assert_eq!(reports.try_next(), None);
}

pub async fn each_message_has_one_outcome(world: World) {
    const COUNT: u64 = 500;
    let (sender, _own) = join::<u64>(&world, label!("sender")).await;
    let (taker, receiver) = join::<u64>(&world, label!("taker")).await;
    let mut expected = HashSet::new();
    for number in 0..COUNT {
        let label = if number % 3 == 0 { "nobody" } else { "taker" };
        let id = sender
            .send_async(to(Selector::unicast(label), number))
            .await
            .unwrap();
        if number % 3 == 0 {
            expected.insert((id, Reason::NoMatch));
        }
    }
    for number in (0..COUNT).filter(|number| number % 3 != 0) {
        assert_eq!(
            next(&receiver).await,
            number,
            "in the order in which they were sent"
        );
    }
    let last = sender
        .send_async(to(Selector::unicast("taker"), COUNT))
        .await
        .unwrap();
    // It came and is not taken before its receiver leaves.
    assert_eq!(
        confirmed(&sender, Selector::unicast("nobody"), 0).await,
        Err(Reason::NoMatch)
    );
    drop(receiver);
    taker.leave_async().await.unwrap();
    expected.insert((last, Reason::ReceiverGone));
    assert_eq!(
        confirmed(&sender, Selector::unicast("taker"), 0).await,
        Err(Reason::NoMatch)
    );
    let reports = sender.undelivered();
    let mut told = HashSet::new();
    while let Some(Report::Undelivered(lost)) = reports.try_next() {
        assert!(told.insert((lost.id, lost.reason)), "{lost} is told twice");
    }
    assert_eq!(told, expected);
}

pub async fn a_sender_waits_for_its_receivers(world: World) {
    let (sender, _own) = join::<BytesMessage>(&world, label!("sender")).await;
    let (_b, receiver) = join::<BytesMessage>(&world, label!("b")).await;
    let message = || Message::new(Selector::unicast("b"), BytesMessage::new(1, vec![0; 200_000]));
    for _ in 0..6 {
        sender.send_async(message()).await.unwrap();
    }
    let waiting = sender.send_async(message());
    futures::pin_mut!(waiting);
    assert!(
        futures::poll!(waiting.as_mut()).is_pending(),
        "1 MiB is under way"
    );
    let taking = async {
        for _ in 0..7 {
            assert_eq!(receiver.recv_async().await.unwrap().payload.data.len(), 200_000);
        }
    };
    let (sent, ()) = futures::join!(waiting, taking);
    assert_eq!(sent.unwrap().0, 7);
}

/// A pipe, of which one end is to travel.
fn pipe() -> (std::io::PipeReader, Object) {
    let (reader, writer) = std::io::pipe().unwrap();
    #[cfg(unix)]
    let owned = std::os::fd::OwnedFd::from(writer);
    #[cfg(windows)]
    let owned = std::os::windows::io::OwnedHandle::from(writer);
    (reader, Object::from(owned))
}

pub async fn descriptors_travel_or_are_refused_aloud(world: World) {
    let (sender, receiver) = join::<u64>(&world, label!("a")).await;
    let (mut reader, object) = pipe();
    let mut message = to(Selector::unicast("a"), 1);
    message.objects.push(object);
    // Inside one process they travel as they are, over a Windows pipe as handles.
    let travels = matches!(
        world.endpoint,
        Endpoint::Unix(_) | Endpoint::Memory(_) | Endpoint::Pipe(_)
    );
    match sender.send_async(message).await {
        Ok(_) => {
            assert!(travels, "{}", world.endpoint);
            let received = receiver.recv_async().await.unwrap();
            assert_eq!((received.payload, received.objects.len()), (1, 1));
        }
        Err(error) => {
            assert!(
                !travels && matches!(error, SendError::Attachments(_)),
                "{error:?}"
            );
        }
    }
    // Where the sender hears that its own may go, this thread has to let it.
    let read = tokio::task::spawn_blocking(move || reader.read(&mut [0]));
    let read = read.await.unwrap().unwrap();
    assert_eq!(read, 0, "nobody has its other end any more");
    assert_eq!(confirmed_own(&sender, &receiver).await, Ok(1), "all else goes on");
}

async fn confirmed_own(
    sender: &EndpointSender<u64>,
    receiver: &EndpointReceiver<u64>,
) -> Result<u16, Reason> {
    let (told, got) = futures::join!(confirmed(sender, Selector::unicast("a"), 2), next(receiver));
    assert_eq!(got, 2);
    told
}
