//! What travels with messages: descriptors and memory.

use super::{Bus, LONG};
use actix_ipc::bus::{ConfirmError, MemoryRegion, Message, Object, Reason, Selector, SendError, label};
use std::fs::File;
use std::io::{Read, Write};

/// Anything that can be opened.
fn nothing() -> Object {
    File::open(if cfg!(windows) { "NUL" } else { "/dev/null" })
        .unwrap()
        .into()
}

fn object(end: std::io::PipeWriter) -> Object {
    #[cfg(unix)]
    let owned = std::os::fd::OwnedFd::from(end);
    #[cfg(windows)]
    let owned = std::os::windows::io::OwnedHandle::from(end);
    Object::from(owned)
}

fn file(object: Object) -> File {
    #[cfg(unix)]
    let owned = object.into_fd();
    #[cfg(windows)]
    let owned = object.into_handle();
    File::from(owned)
}

#[actix::test]
async fn a_descriptor_goes_to_one_receiver_and_is_the_same_thing_there() {
    let bus = Bus::start();
    let (sender, _none) = bus.join::<u8, u8>(label!("a")).await;
    let (_b, receiver) = bus.join::<u8, u8>(label!("b")).await;
    let (mut here, there) = std::io::pipe().unwrap();
    let mut message = Message::new(Selector::unicast("b"), 7);
    message.objects.push(object(there));
    sender.send_async(message).await.unwrap();
    let mut received = receiver.recv_async().await.unwrap();
    assert_eq!((received.payload, received.objects.len()), (7, 1));
    let mut pipe = file(received.objects.remove(0));
    pipe.write_all(b"through the pipe").unwrap();
    drop((pipe, received));
    // Where the sender hears that its own may go, this thread has to let it.
    let read = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        here.read_to_string(&mut text).map(|_| text)
    });
    let text = read.await.unwrap().unwrap();
    assert_eq!(text, "through the pipe", "and nobody else has it open");
}

#[actix::test]
async fn memory_goes_without_being_copied_and_is_looked_at_in_place() {
    let bus = Bus::start();
    let (sender, _none) = bus.join::<u8, u8>(label!("a")).await;
    let (_b, b) = bus.join::<u8, u8>(label!("b")).await;
    let mut region = MemoryRegion::new(100_000);
    region.map(..).unwrap()[99_999] = 9;
    let mut message = Message::new(Selector::unicast("b"), 1);
    message.objects.push(nothing());
    message.memory_regions.push(region);
    sender.send_async(message).await.unwrap();
    let received = b.recv_async().await.unwrap();
    let ([region], [_]) = (&received.memory_regions[..], &received.objects[..]) else {
        panic!("{received:?}");
    };
    assert_eq!(region.view(..).unwrap()[99_999], 9);
}

// A section of Windows can be written by whoever has it, and its seals do not exist.
#[cfg(unix)]
#[actix::test]
async fn memory_that_nobody_can_change_goes_to_all_of_several() {
    let bus = Bus::start();
    let (sender, a) = bus.join::<u8, u8>(label!("x")).await;
    let (_b, b) = bus.join::<u8, u8>(label!("x")).await;
    let (_c, c) = bus.join::<u8, u8>(label!("x")).await;
    for round in 0..20_u8 {
        let mut region = MemoryRegion::new(10_000);
        region.map(..).unwrap()[9_999] = round;
        let mut message = Message::new(Selector::multicast("x"), round);
        message.memory_regions.push(region);
        // A message without anything attached stays behind it.
        sender.send_async(message).await.unwrap();
        sender
            .send_async(Message::new(Selector::multicast("x"), 100 + round))
            .await
            .unwrap();
        for receiver in [&a, &b, &c] {
            let received = receiver.recv_async().await.unwrap();
            assert_eq!(received.payload, round);
            assert_eq!(received.memory_regions[0].view(..).unwrap()[9_999], round);
            assert_eq!(receiver.recv_async().await.unwrap().payload, 100 + round);
        }
    }
    assert!(sender.undelivered().try_next().is_none());
}

#[actix::test]
async fn what_several_could_change_goes_to_none_of_several() {
    let bus = Bus::start();
    let (sender, _a) = bus.join::<u8, u8>(label!("x")).await;
    let (_b, _receiver) = bus.join::<u8, u8>(label!("x")).await;
    let mut message = Message::new(Selector::multicast("x"), 2);
    message.objects.push(nothing());
    let refused = sender.send_confirmed_async(message, LONG).await.unwrap_err();
    assert!(
        matches!(refused, ConfirmError::Undelivered(told) if told.reason == Reason::NotShareable),
        "{refused}"
    );
}

#[actix::test]
async fn what_cannot_be_sent_is_closed() {
    let bus = Bus::start();
    let (sender, _a) = bus.join::<u8, u8>(label!("a")).await;
    for (count, selector) in [(17, "a"), (300, "a"), (1, "")] {
        let (mut here, there) = std::io::pipe().unwrap();
        let mut message = Message::new(Selector::unicast(selector), 0);
        for _ in 0..count {
            let there = there.try_clone().unwrap();
            message.objects.push(object(there));
        }
        let refused = sender.send_async(message).await.unwrap_err();
        let expected = matches!(
            refused,
            SendError::Attachments(_) | SendError::TooLarge(_) | SendError::Selector(_)
        );
        assert!(expected, "{refused}");
        drop(there);
        assert_eq!(here.read(&mut [0]).unwrap(), 0, "nobody has it open");
    }
}
