//! Actors for the tests of embedding: an object that calculates, one that keeps its calls, a subscriber that tells what it hears.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "an actor of a test fails by panicking"
)]

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, Message, WrapFuture};
use actix_ipc::actors::{CallItems, MissedEvents, ObjectCall, Responder, TopicEvent};
use actix_ipc::error::{CallError, ErrorCode};
use actix_ipc::message::{Encoding, Metadata, Payload};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

/// Adds the lengths of the items to the payload.
async fn sum(payload: Payload, mut items: CallItems, responder: Responder) {
    let mut sum = payload.decode::<u64>().expect("a number");
    while let Some(item) = items.next().await {
        match item {
            Ok(item) => sum += item.bytes.len() as u64,
            Err(error) => return responder.error(error).expect("a caller"),
        }
    }
    responder.reply_value(&sum).expect("a caller");
}

/// Answers with the first item; then the others end with an error.
async fn first(mut items: CallItems, responder: Responder) {
    let first = items.next().await.expect("an item").expect("a caller");
    responder.reply(first).expect("a caller");
    let mut last = items.next().await;
    while let Some(Ok(_)) = last {
        last = items.next().await;
    }
    let error = last.expect("an end").expect_err("the call is over");
    assert_eq!(error.code, ErrorCode::Cancelled);
}

/// An object with a method for each way to end a call.
pub struct Calculator;

impl Actor for Calculator {
    type Context = Context<Self>;
}

impl Handler<ObjectCall> for Calculator {
    type Result = ();

    fn handle(&mut self, call: ObjectCall, ctx: &mut Self::Context) {
        let ObjectCall {
            method,
            payload,
            metadata,
            items,
            caller,
            mut responder,
            ..
        } = call;
        // What can be sent is seen at the caller's end.
        let _ = match &*method {
            "add" => {
                let (a, b): (i64, i64) = payload.decode().expect("two numbers");
                responder.reply_value(&(a + b))
            }
            "who" => responder.reply_json(&json!({ "name": caller.name, "pid": caller.origin.pid })),
            "trace" => {
                let mut traced = Metadata::new();
                traced.insert("traced", "yes").expect("room");
                let value = metadata.get_str("trace").unwrap_or_default();
                responder.reply_with(Payload::json(value).expect("JSON"), &traced)
            }
            "length" => responder.reply(Payload {
                encoding: Encoding::JSON,
                bytes: payload.bytes.len().to_string().into(),
            }),
            "large" => responder.reply(Payload::raw(vec![0_u8; 100_001])),
            "sum" => {
                ctx.spawn(sum(payload, items, responder).into_actor(self));
                Ok(())
            }
            "first" => {
                ctx.spawn(first(items, responder).into_actor(self));
                Ok(())
            }
            "keep" => {
                ctx.spawn(
                    async move {
                        responder.cancelled().await;
                        assert!(responder.is_cancelled());
                    }
                    .into_actor(self),
                );
                Ok(())
            }
            "count" => {
                ctx.spawn(
                    async move {
                        for item in 0..10_u8 {
                            if let Err(error) = responder.more(Payload::raw(vec![item; 64 * 1024])).await {
                                return responder.error(error).expect("a caller");
                            }
                        }
                        responder.reply(Payload::default()).expect("a caller");
                    }
                    .into_actor(self),
                );
                Ok(())
            }
            "refuse" => responder.error(CallError {
                name: Some("math.Domain".into()),
                payload: Payload::json(&json!({ "at": 0 })).expect("JSON"),
                ..CallError::new(ErrorCode::Handler, "not defined there")
            }),
            "drop" => Ok(()),
            "panic" => panic!("as asked"),
            _ => responder.error(ErrorCode::NoSuchMethod),
        };
    }
}

/// An object that passes its calls on to the test.
pub struct Probe(mpsc::UnboundedSender<ObjectCall>);

impl Probe {
    pub fn start_new() -> (Addr<Self>, mpsc::UnboundedReceiver<ObjectCall>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender).start(), receiver)
    }
}

impl Actor for Probe {
    type Context = Context<Self>;
}

impl Handler<ObjectCall> for Probe {
    type Result = ();

    fn handle(&mut self, call: ObjectCall, _: &mut Self::Context) {
        self.0.send(call).expect("the test listens");
    }
}

/// One event, as a test compares it.
#[derive(Debug, PartialEq, Eq)]
pub struct Heard {
    pub topic: String,
    pub value: Value,
    pub retained: bool,
    pub missed: u32,
}

/// A subscriber that tells the test what it hears.
pub struct Hearer(mpsc::UnboundedSender<Heard>);

impl Hearer {
    pub fn start_new() -> (Addr<Self>, mpsc::UnboundedReceiver<Heard>) {
        Self::start_with(16)
    }

    /// With a mailbox of this capacity; 0 is without bound.
    pub fn start_with(mailbox: usize) -> (Addr<Self>, mpsc::UnboundedReceiver<Heard>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let actor = Self::create(move |ctx| {
            ctx.set_mailbox_capacity(mailbox);
            Self(sender)
        });
        (actor, receiver)
    }
}

impl Actor for Hearer {
    type Context = Context<Self>;
}

impl Handler<TopicEvent> for Hearer {
    type Result = ();

    fn handle(&mut self, event: TopicEvent, _: &mut Self::Context) {
        let text = String::from_utf8_lossy(&event.payload.bytes);
        let heard = Heard {
            topic: format!("{} {}", event.object, event.event),
            value: serde_json::from_str(&text).unwrap_or(Value::Null),
            retained: event.retained,
            missed: event.missed,
        };
        // At the end of a test nobody listens any more.
        let _ = self.0.send(heard);
    }
}

impl Handler<MissedEvents> for Hearer {
    type Result = ();

    fn handle(&mut self, missed: MissedEvents, _: &mut Self::Context) {
        let heard = Heard {
            topic: format!("{} {}", missed.object, missed.event),
            value: Value::Null,
            retained: false,
            missed: missed.count,
        };
        let _ = self.0.send(heard);
    }
}

/// Ends the actor.
#[derive(Message)]
#[rtype(result = "()")]
pub struct End;

impl Handler<End> for Hearer {
    type Result = ();

    fn handle(&mut self, _: End, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

/// Keeps an actor from handling anything until the test says so.
#[derive(Message)]
#[rtype(result = "()")]
struct Close(oneshot::Receiver<()>);

impl Handler<Close> for Hearer {
    type Result = ();

    fn handle(&mut self, Close(opened): Close, ctx: &mut Self::Context) {
        ctx.wait(
            async move {
                let _ = opened.await;
            }
            .into_actor(self),
        );
    }
}

/// From now on the actor handles nothing, until the sender is used.
pub async fn close(hearer: &Addr<Hearer>) -> oneshot::Sender<()> {
    let (open, opened) = oneshot::channel();
    hearer.send(Close(opened)).await.expect("the actor lives");
    open
}
