//! Coming onto a bus, and off it again.

use super::{Bus, LONG, text, to};
use actix_ipc::actors::{Broker, BusOptions};
use actix_ipc::bus::{
    ConfirmError, JoinError, Label, Message, Options, Reason, RecvError, Report, Selector, SendError, join,
    label,
};

#[actix::test]
async fn a_wrong_token_is_refused_and_named_as_that() {
    let bus = Bus::start();
    for token in ["", "Secret", "secret "] {
        let options = Options::new("", label!("a"), token).at(bus.endpoint());
        let refused = bus.try_join::<String, String>(options).await.unwrap_err();
        assert_eq!(refused, JoinError::TokenRefused, "{token:?}");
    }
}

#[actix::test]
async fn labels_and_tokens_that_cannot_be_are_refused_before_anything_is_sent() {
    let bus = Bus::start();
    let many: Label = (0..65).map(|number| number.to_string()).collect();
    for label in [label!(""), label!("a\nb"), label!("x".repeat(256)), many] {
        let refused = bus
            .try_join::<String, String>(bus.options(label))
            .await
            .unwrap_err();
        assert!(matches!(refused, JoinError::Invalid(_)), "{refused}");
    }
    let long = Options::new("", label!("a"), "x".repeat(1025)).at(bus.endpoint());
    let refused = bus.try_join::<String, String>(long).await.unwrap_err();
    assert!(matches!(refused, JoinError::Invalid(_)), "{refused}");
    let nameless = bus
        .try_join::<String, String>(Options::new("", label!("a"), ""))
        .await;
    assert!(matches!(nameless, Err(JoinError::Invalid(_))));
}

#[actix::test]
async fn without_a_host_the_time_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = actix_ipc::Endpoint::Unix(folder.path().join("nobody"));
    let options = Options::new("", label!("a"), "").at(nobody);
    let limit = Some(std::time::Duration::from_millis(50));
    let late = actix_ipc::bus::join_async::<String, String>(options, limit).await;
    assert!(matches!(late, Err(JoinError::Timeout(_))), "{late:?}");
}

#[actix::test]
async fn blocking_calls_refuse_to_block_an_executor() {
    let bus = Bus::start();
    let blocked = join::<String, String>(bus.options(label!("a")), Some(LONG)).unwrap_err();
    assert_eq!(blocked, JoinError::Blocking);
    let (sender, receiver) = bus.join::<String, String>(label!("a")).await;
    assert_eq!(receiver.recv(None).unwrap_err(), RecvError::Blocking);
    assert_eq!(
        receiver.recv(Some(std::time::Duration::ZERO)).unwrap_err(),
        RecvError::Timeout
    );
    let confirmed = sender.send_confirmed(to("a", "x"), LONG).unwrap_err();
    assert_eq!(confirmed, ConfirmError::NotSent(SendError::Blocking));
    sender
        .send(to("a", "there is room, so it does not block"))
        .unwrap();
    assert!(text(&receiver).await.starts_with("there is room"));
}

#[actix::test]
async fn a_confirmation_may_be_waited_for_without_a_limit() {
    let bus = Bus::start();
    let (sender, receiver) = bus.join::<String, String>(label!("a")).await;
    let (tell, told) = tokio::sync::oneshot::channel();
    let waiting = std::thread::spawn(move || {
        let confirmed = sender.send_confirmed(to("a", "x"), std::time::Duration::MAX);
        tell.send(confirmed).unwrap();
    });
    assert!(text(&receiver).await.starts_with('x'));
    let confirmed = tokio::time::timeout(LONG, told).await.unwrap().unwrap();
    assert_eq!(confirmed.unwrap().receivers, 1);
    waiting.join().unwrap();
}

#[actix::test]
async fn who_stops_receiving_goes_on_sending_and_is_found_no_more() {
    let bus = Bus::start();
    let (sender, receiver) = bus.join::<String, String>(label!("a")).await;
    let (other, inbox) = bus.join::<String, String>(label!("b")).await;
    let confirm = |message| other.send_confirmed_async(message, LONG);
    drop(receiver);
    let gone = confirm(to("a", "x")).await.unwrap_err();
    assert!(
        matches!(gone, ConfirmError::Undelivered(told) if matches!(told.reason, Reason::NoMatch | Reason::ReceiverGone)),
        "{gone}"
    );
    sender.send_async(to("b", "still here")).await.unwrap();
    assert_eq!(text(&inbox).await, "still here");
    drop(sender);
}

#[actix::test]
async fn an_endpoint_is_gone_when_its_ends_are() {
    let bus = Bus::start();
    let (sender, inbox) = bus.join::<String, String>(label!("a")).await;
    let (other, mailbox) = bus.join::<String, String>(label!("b")).await;
    sender.send_async(to("b", "last words")).await.unwrap();
    drop(inbox);
    sender.leave_async().await.unwrap();
    assert_eq!(text(&mailbox).await, "last words");
    let told = other.send_confirmed_async(to("a", "x"), LONG).await.unwrap_err();
    assert!(matches!(told, ConfirmError::Undelivered(_)), "{told}");
}

#[actix::test]
async fn all_that_was_lost_is_told_before_the_end_of_an_endpoint_is() {
    let mut bus = Bus::start();
    let (sender, receiver) = bus.join::<String, String>(label!("a")).await;
    let reports = sender.undelivered();
    bus.broker.take().unwrap().stop().await;
    let mut sent = Vec::new();
    for _ in 0..3 {
        sent.push(sender.send_async(to("b", "x")).await.unwrap());
    }
    let other = Broker::builder()
        .listen(bus.endpoint())
        .bus(BusOptions::new(b"another"));
    bus.broker = Some(other.start().unwrap());
    let ended = receiver.recv_async().await.unwrap_err();
    assert_eq!(ended, RecvError::Refused(JoinError::TokenRefused));
    let mut told = Vec::new();
    while let Some(Report::Undelivered(lost)) = reports.try_next() {
        assert!(matches!(lost.reason, Reason::Closed | Reason::HostLost), "{lost}");
        told.push(lost.id);
    }
    assert_eq!(told, sent, "who has seen the end has all the losses before it");
    assert_eq!(reports.next().await, None);
}

#[actix::test]
async fn when_the_host_is_lost_what_was_written_is_told_and_the_rest_goes_to_the_next() {
    let mut bus = Bus::start();
    let (sender, _none) = bus.join::<String, String>(label!("a")).await;
    let (_b, receiver) = bus.join::<String, String>(label!("b")).await;
    let reports = sender.undelivered();
    sender
        .send_confirmed_async(to("nobody", "x"), LONG)
        .await
        .unwrap_err();
    let waiting = Selector::unicast("nobody").with_ttl(LONG);
    let id = sender
        .send_async(Message::new(waiting, "written".to_owned()))
        .await
        .unwrap();
    // The answer comes behind the message that waits.
    sender
        .send_confirmed_async(to("nobody", "y"), LONG)
        .await
        .unwrap_err();
    bus.broker.take().unwrap().stop().await;
    let Some(Report::Undelivered(told)) = reports.next().await else {
        panic!("no report");
    };
    assert_eq!(told.id, id);
    let held = sender
        .send_async(Message::new(
            Selector::unicast("b").with_ttl(LONG),
            "held".to_owned(),
        ))
        .await
        .unwrap();
    assert_eq!(held.0, id.0 + 2);
    bus.host(actix_ipc::config::Limits::default());
    assert_eq!(text(&receiver).await, "held");
    sender
        .send_confirmed_async(to("nobody", "z"), LONG)
        .await
        .unwrap_err();
    assert_eq!(reports.try_next(), None, "nothing else was lost");
}
