//! Tests of what a batch of the broker's does to a client.

use super::*;
use crate::client::builder::ClientBuilder;
use crate::client::request::Request;
use crate::client::subscription::SlowPolicy;
use crate::message::Encoding;
use std::time::{Duration, Instant};

#[test]
fn an_answers_descriptor_does_not_wait_for_the_events_of_the_same_read() {
    let shared = Arc::new(Shared::new(ClientBuilder::new().options));
    let queue = Arc::new(EventQueue::new("o", "t", 10_000, SlowPolicy::Hold));
    let mut state = shared.lock();
    let fact = Fact::Subscription(Arc::clone(&queue));
    let subscribed = state.lasting.add(fact, None, |_| Vec::new()).unwrap();
    let now = Instant::now();
    let asked = state
        .requests
        .insert(Request::new(now, Duration::ZERO, 100))
        .unwrap();
    drop(state);
    let mut bytes = Vec::new();
    let event = Draft::new(Kind::Event, subscribed);
    event.payload(Encoding::RAW, &[7; 1_000]).encode(&mut bytes);
    let reply = Draft::new(Kind::Reply, asked).payload(Encoding::RAW, b"here");
    Draft {
        attachments: 1,
        ..reply
    }
    .encode(&mut bytes);
    let object = Arc::new(7_u8);
    let mut batch = Batch::from_bytes(bytes.into(), 10_000).unwrap();
    batch.attach(1, vec![Arc::clone(&object) as Attachment]);
    assert_eq!(dispatch(&shared, batch, &mut After::default()), None);
    let answer = shared.lock().requests.get_mut(asked).unwrap().answer.take();
    let Some(Ok(Answer::Reply(reply))) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!((reply.attachments.len(), Arc::strong_count(&object)), (1, 2));
    drop(reply);
    assert_eq!(Arc::strong_count(&object), 1, "an event lies there");
}

#[test]
fn a_broker_that_has_not_taken_a_large_frame_yet_is_not_given_up() {
    let mut state = State::new(100, Role::Broker, Instant::now());
    state.out.push(&[&vec![0; OWED_MAX + 1_000]]);
    assert_eq!(unread(&state, 100), None);
    state.out.owe(OWED_MAX + 101);
    let ended = unread(&state, 100).unwrap();
    assert_eq!(ended.reason, CloseReason::SlowConsumer);
}

#[test]
fn each_part_of_a_reply_gives_its_call_the_whole_deadline_again() {
    let patience = Duration::from_millis(100);
    let old = Instant::now() - patience;
    let mut state = State::new(100, Role::Peer, old);
    let key = state.requests.insert(Request::new(old, patience, 100)).unwrap();
    let frame = Draft::new(Kind::Reply, key).flags(Flags::CONTINUED);
    let frame = frame.payload(Encoding::RAW, b"the first part").to_vec();
    let batch = Batch::from_bytes(frame.into(), 100).unwrap();
    let (view, now) = (batch.view(0).unwrap(), Instant::now());
    state.grants.message_bytes = 100;
    let ended = replied(
        &mut state,
        (&batch, 0),
        &view,
        &mut Brought::default(),
        &mut After::default(),
    );
    assert_eq!(ended, None);
    assert!(state.requests.get_mut(key).unwrap().expires >= now + patience);
}

/// Notes at its end whether a program could use the client then.
#[cfg(not(feature = "models"))]
struct NeedsTheLocks {
    shared: Arc<Shared>,
    queue: Arc<EventQueue>,
    ends: Arc<std::sync::Mutex<Vec<bool>>>,
}

#[cfg(not(feature = "models"))]
impl Drop for NeedsTheLocks {
    fn drop(&mut self) {
        let free = self.shared.is_free() && self.queue.is_free();
        self.ends.lock().unwrap().push(free);
    }
}

/// A client with a subscription, an endpoint and a call.
#[cfg(not(feature = "models"))]
struct Scene {
    shared: Arc<Shared>,
    queue: Arc<EventQueue>,
    ends: Arc<std::sync::Mutex<Vec<bool>>>,
    subscribed: u64,
    joined: u64,
    asked: u64,
}

#[cfg(not(feature = "models"))]
impl Scene {
    /// Two events fill the queue.
    fn new(policy: SlowPolicy) -> Self {
        let shared = Arc::new(Shared::new(ClientBuilder::new().options));
        let queue = Arc::new(EventQueue::new("o", "t", 128, policy));
        let mut state = shared.lock();
        state.grants.message_bytes = 1_000;
        state.grants.stream_window = 10_000;
        let fact = Fact::Subscription(Arc::clone(&queue));
        let subscribed = state.lasting.add(fact, None, |_| Vec::new()).unwrap();
        let port = Arc::default();
        let fact = Fact::Endpoint { port, joined: true };
        let joined = state.lasting.add(fact, None, |_| Vec::new()).unwrap();
        let expires = Instant::now() + Duration::from_secs(3_600);
        let request = Request::new(expires, Duration::ZERO, 100);
        let asked = state.requests.insert(request).unwrap();
        drop(state);
        Self {
            shared,
            queue,
            ends: Arc::default(),
            subscribed,
            joined,
            asked,
        }
    }

    fn ends(&self) -> Vec<bool> {
        self.ends.lock().unwrap().clone()
    }

    fn attachment(&self) -> Attachment {
        Arc::new(NeedsTheLocks {
            shared: Arc::clone(&self.shared),
            queue: Arc::clone(&self.queue),
            ends: Arc::clone(&self.ends),
        })
    }

    /// The broker sends frames, each with something attached or without.
    fn hand(&self, frames: &[(Draft<'_>, bool)]) {
        let mut bytes = Vec::new();
        for (draft, attached) in frames {
            let attachments = u8::from(*attached);
            Draft {
                attachments,
                ..*draft
            }
            .encode(&mut bytes);
        }
        let mut batch = Batch::from_bytes(bytes.into(), 10_000).unwrap();
        for (index, _) in frames.iter().enumerate().filter(|(_, (_, attached))| *attached) {
            batch.attach(index, vec![self.attachment()]);
        }
        assert_eq!(dispatch(&self.shared, batch, &mut After::default()), None);
    }
}

#[cfg(not(feature = "models"))]
#[test]
fn what_is_attached_to_a_message_that_nobody_gets_is_dropped_when_no_lock_is_held() {
    static LARGE: [u8; 2_000] = [7; 2_000];
    let some = |draft: Draft<'static>| (draft, true);
    let plain = |draft: Draft<'static>| (draft, false);
    let (event, message) = (Draft::new(Kind::Event, 0), Draft::new(Kind::Message, 0));
    let begun = event.aux(9).flags(Flags::CONTINUED);
    let part = Draft::new(Kind::EventPiece, 0).aux(9);
    let reply = Draft::new(Kind::Reply, 0);
    let (first, piece) = (reply.flags(Flags::CONTINUED), Draft::new(Kind::ReplyPiece, 0));
    let void = |draft: Draft<'static>| plain(draft.flags(Flags::ABORT));
    let too_large =
        |draft: Draft<'static>| plain(draft.flags(Flags::CONTINUED).payload(Encoding::RAW, &LARGE));
    let error = Draft::new(Kind::Error, 0).aux(ErrorCode::Cancelled.code());
    let full = SlowPolicy::DropOldest;
    // What the broker sends, and how much of it is nobody's at the end.
    let table = [
        (SlowPolicy::Hold, vec![some(event); 3], 1),
        (SlowPolicy::Disconnect, vec![some(event); 3], 1),
        (SlowPolicy::Latest, vec![some(event); 3], 2),
        (full, vec![some(event); 3], 1),
        (full, vec![some(event), some(event), plain(event)], 1),
        (SlowPolicy::Hold, vec![some(begun), void(part)], 1),
        (SlowPolicy::Hold, vec![some(begun), some(begun)], 1),
        (SlowPolicy::Hold, vec![some(begun), too_large(part)], 1),
        (SlowPolicy::Hold, vec![some(event), some(event), some(begun)], 1),
        (
            SlowPolicy::Hold,
            vec![some(begun), some(event), some(event), plain(part)],
            1,
        ),
        (SlowPolicy::Hold, vec![some(message), plain(message)], 1),
        (SlowPolicy::Hold, vec![some(reply.flags(Flags::MORE))], 1),
        (SlowPolicy::Hold, vec![some(first), void(piece)], 1),
        (SlowPolicy::Hold, vec![some(first), some(first)], 1),
        (SlowPolicy::Hold, vec![some(first), too_large(piece)], 1),
        (SlowPolicy::Hold, vec![some(first), plain(error)], 1),
    ];
    for (number, (policy, frames, gone)) in table.into_iter().enumerate() {
        for together in [true, false] {
            let scene = Scene::new(policy);
            let mut left = true;
            let to = |draft: Draft<'static>| match draft.kind {
                Kind::Event | Kind::EventPiece => scene.subscribed,
                // The first is for an endpoint that is not there any more.
                Kind::Message if std::mem::take(&mut left) => scene.joined + 1,
                Kind::Message => scene.joined,
                _ => scene.asked,
            };
            let ids: Vec<u64> = frames.iter().map(|(draft, _)| *draft).map(to).collect();
            let frames = ids.iter().zip(&frames);
            let frames: Vec<_> = frames
                .map(|(id, (draft, attached))| (Draft { id: *id, ..*draft }, *attached))
                .collect();
            match together {
                true => scene.hand(&frames),
                false => frames.chunks(1).for_each(|frame| scene.hand(frame)),
            }
            assert_eq!(
                scene.ends(),
                vec![true; gone],
                "case {number}, together: {together}"
            );
        }
    }
}

#[cfg(not(feature = "models"))]
#[test]
fn what_is_attached_to_what_ends_with_the_connection_is_dropped_when_no_lock_is_held() {
    let scene = Scene::new(SlowPolicy::Hold);
    let begun = Draft::new(Kind::Event, scene.subscribed).flags(Flags::CONTINUED);
    let first = Draft::new(Kind::Reply, scene.asked).flags(Flags::CONTINUED);
    scene.hand(&[(begun, true), (first, true)]);
    let call = |id| {
        let attachments = Attachments::from(vec![scene.attachment()]);
        let mut state = scene.shared.lock();
        state.out.encode_with(&Draft::new(Kind::Call, id), &attachments);
    };
    call(7);
    let claim = scene.shared.lock().out.claim().unwrap();
    call(8);
    scene.shared.disconnected(&Ended::new(CloseReason::Lost, "gone"));
    assert_eq!(scene.ends(), [true; 3]);
    // Who was writing gives it back to a connection that is over.
    let left = scene.shared.lock().out.release(claim, true);
    drop(left);
    assert_eq!(scene.ends(), [true; 4]);
}
