//! What travels with messages: descriptors and memory.

use super::{Bus, LONG};
use actix_ipc::bus::{ConfirmError, MemoryRegion, Message, Object, Reason, Selector, label};
use std::fs::File;
use std::io::{Read, Write};

#[actix::test]
async fn a_descriptor_goes_to_one_receiver_and_is_the_same_thing_there() {
    let bus = Bus::start();
    let (sender, _none) = bus.join::<u8, u8>(label!("a")).await;
    let (_b, receiver) = bus.join::<u8, u8>(label!("b")).await;
    let (mut here, there) = std::io::pipe().unwrap();
    let mut message = Message::new(Selector::unicast("b"), 7);
    message
        .objects
        .push(Object::from(std::os::fd::OwnedFd::from(there)));
    sender.send_async(message).await.unwrap();
    let mut received = receiver.recv_async().await.unwrap();
    assert_eq!((received.payload, received.objects.len()), (7, 1));
    let mut pipe = File::from(received.objects.remove(0).into_fd());
    pipe.write_all(b"through the pipe").unwrap();
    drop((pipe, received));
    let mut text = String::new();
    here.read_to_string(&mut text).unwrap();
    assert_eq!(text, "through the pipe", "and nobody else has it open");
}

#[actix::test]
async fn memory_that_nobody_can_change_goes_to_all_and_other_things_to_one() {
    let bus = Bus::start();
    let (sender, a) = bus.join::<u8, u8>(label!("x")).await;
    let (_b, b) = bus.join::<u8, u8>(label!("x")).await;
    let mut region = MemoryRegion::new(100_000);
    region.map(..).unwrap()[99_999] = 9;
    let mut message = Message::new(Selector::multicast("x"), 1);
    message.memory_regions.push(region);
    let (sent, ()) = futures::join!(sender.send_confirmed_async(message, LONG), async {
        for receiver in [&a, &b] {
            let received = receiver.recv_async().await.unwrap();
            let [region] = &received.memory_regions[..] else {
                panic!("{received:?}");
            };
            assert_eq!(region.view(..).unwrap()[99_999], 9);
        }
    });
    assert_eq!(sent.unwrap().receivers, 2);
    let message = |share| {
        let mut message = Message::new(Selector::multicast("x"), 2);
        message.objects.push(File::open("/dev/null").unwrap().into());
        message.share = share;
        message
    };
    let refused = sender
        .send_confirmed_async(message(false), LONG)
        .await
        .unwrap_err();
    assert!(
        matches!(refused, ConfirmError::Undelivered(told) if told.reason == Reason::NotShareable),
        "{refused}"
    );
    sender.send_async(message(true)).await.unwrap();
    for receiver in [&a, &b] {
        assert_eq!(receiver.recv_async().await.unwrap().objects.len(), 1);
    }
}
