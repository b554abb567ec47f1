//! How many handles one frame carries, and how many of a connection and of a user the broker holds.

use super::*;
use crate::wire::Wire;
use actix_ipc::actors::BrokerHandle;
use actix_ipc::error::CloseReason;
use actix_ipc::message::{Attachment, Draft, Encoding, Hello, Kind};
use std::sync::Arc;

/// A connection in raw frames that carries handles.
pub async fn wire(endpoint: &Endpoint) -> Wire {
    let handles = true;
    let hello = Hello {
        handles,
        ..Hello::default()
    };
    Wire::connect_as(endpoint, &hello).await
}

/// One that has registered `o`.
pub async fn callee(endpoint: &Endpoint) -> Wire {
    let mut callee = wire(endpoint).await;
    let (_, done) = callee.ask(Draft::new(Kind::Register, 1).key(b"o")).await;
    assert_eq!(done.kind, Kind::Done);
    callee
}

pub fn attached(handle: OwnedHandle) -> Attachment {
    Arc::new(handle)
}

/// Calls `o`, with more than a few of which no pipe is filled.
pub async fn call(caller: &Wire, id: u64, attachments: &[Attachment]) {
    let draft = Draft::new(Kind::Call, id).pair("o", "m");
    caller
        .send_with(draft.payload(Encoding::RAW, &[7; 8_000]), attachments)
        .await;
}

fn patient(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits {
        // Nobody is closed for reading nothing.
        descriptor_wait_ms: 600_000,
        ..Limits::default()
    };
    change(&mut limits);
    limits
}

#[actix::test]
async fn a_frame_carries_as_many_as_are_granted_and_no_more() {
    for most in [1, 3, 16] {
        let place = Place::new();
        let broker = place.start_with(patient(|limits| limits.attachments = most));
        let (callee, caller) = (broker.client().await, broker.client().await);
        let _echo = callee.register("echo", Echo).await.unwrap();
        let some = |count| {
            (0..count)
                .map(|_| event())
                .fold(Attachments::new(), Attachments::with)
        };
        for count in [most - 1, most] {
            assert_eq!(echo(&caller, some(count)).await.len(), count);
        }
        let call = caller.call("echo", "m").attachments(some(most + 1));
        let refused = call.send_payload(Payload::default()).await.unwrap_err();
        assert_eq!(
            (refused.code, refused.may_have_run),
            (ErrorCode::TooLarge, false),
            "{refused}"
        );
        // More than sixteen are no frame at all.
        if most < 16 {
            let mut liar = wire(&broker.endpoint).await;
            let (reader, writer) = pipe();
            let mut sent = vec![attached(writer)];
            sent.extend((0..most).map(|_| attached(event())));
            limits::call(&liar, 2, &sent).await;
            drop(sent);
            let goodbye = liar.read().await;
            assert_eq!(
                (goodbye.kind, CloseReason::from_code(goodbye.aux)),
                (Kind::Goodbye, CloseReason::Protocol)
            );
            assert!(
                goodbye.text().contains("limits.attachments"),
                "{}",
                goodbye.text()
            );
            drop(liar);
            assert_eq!(to_the_end(reader).await, b"");
        }
        assert_eq!(echo(&caller, some(most)).await.len(), most);
        broker.stop().await;
    }
}

/// However many of them one read brings.
#[actix::test]
async fn a_burst_of_small_frames_with_handles_is_beyond_no_limit() {
    const FRAMES: u64 = 200;
    let place = Place::new();
    let broker = place.start();
    let mut caller = wire(&broker.endpoint).await;
    for id in 1..=FRAMES {
        let draft = Draft::new(Kind::Call, id).pair("nobody", "m");
        caller.send_with(draft, &[attached(event())]).await;
    }
    for id in 1..=FRAMES {
        let got = caller.read().await;
        assert_eq!((got.kind, got.id), (Kind::Error, id), "{got:?}");
    }
    broker.stop().await;
}

/// Calls with one handle each until the broker holds so many and takes no more; how many it took, and what it said then.
async fn fill(caller: &mut Wire, broker: &BrokerHandle, most: usize) -> (u64, raw::Got) {
    let mut taken = 0;
    for id in 100..1_000 {
        call(caller, id, &[attached(event())]).await;
        let Some(refused) = caller.ping().await.pop() else {
            taken += 1;
            continue;
        };
        assert_eq!((refused.kind, refused.id), (Kind::Error, id), "{refused:?}");
        // What is on its way to the callee's pipe has had its time.
        for _ in 0..20 {
            caller.ping().await;
        }
        if held(broker) == most {
            return (taken, refused);
        }
    }
    panic!("{taken} handles were taken for one who reads nothing");
}

fn refused(got: &raw::Got, limit: &str) {
    assert_eq!(got.error(), (ErrorCode::TooMany, false), "{}", got.text());
    assert!(got.text().contains(limit), "{}", got.text());
}

fn held(broker: &BrokerHandle) -> usize {
    broker.levels().descriptors
}

#[actix::test]
async fn a_callee_that_does_not_read_costs_its_callers_a_typed_error() {
    let place = Place::new();
    let broker = place.start_with(patient(|limits| {
        (limits.descriptors, limits.descriptors_per_user) = (16, 24);
    }));
    let endpoint = &broker.endpoint;
    let (mut callee, mut one, mut two) = (callee(endpoint).await, wire(endpoint).await, wire(endpoint).await);
    // Beside what lies in the callee's pipe.
    let (first, told) = fill(&mut one, &broker.handle, 16).await;
    refused(&told, "limits.descriptors)");
    // Of the same user, although its connection has room.
    let (second, told) = fill(&mut two, &broker.handle, 24).await;
    refused(&told, "limits.descriptors_per_user");
    assert_eq!(second, 8);
    // When it reads, all come, and there is room again.
    for _ in 0..first + second {
        let (got, came) = callee.read_with().await;
        assert_eq!((got.kind, came.len()), (Kind::Call, 1));
        set(came[0].downcast_ref::<OwnedHandle>().unwrap());
    }
    while held(&broker.handle) > 0 {
        one.ping().await;
    }
    for caller in [&one, &two] {
        let sent = event();
        call(caller, 5, &[attached(sent.try_clone().unwrap())]).await;
        let (_, came) = callee.read_with().await;
        set(came[0].downcast_ref::<OwnedHandle>().unwrap());
        assert!(is_set(&sent));
    }
    drop((callee, one, two));
    broker.stop().await;
}
