//! Those who call and those who answer, through the broker and through the relay.
//!
//! Owns what a call of `rpc` and of `bulk` is on either way. Through the broker it is what any user of the client library would
//! write. Called by `role`.

use super::floor::{CHUNK, End, Stopwatch, gone, join};
use super::latencies::Latencies;
use super::protocol::{Order, Slice, Spec, Way, confused};
use super::role::Conversation;
use crate::exit::{Exit, Failure};
use actix_ipc::client::Balance;
use actix_ipc::message::Payload;
use actix_ipc::platform::local::Stream;
use actix_ipc::{Handler, HandlerError, IncomingCall, IpcClient, Response, async_trait};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::rc::Rc;

const METHOD: &str = "call";
/// What callers at the relay may have on their way, in bytes: sockets hold more than that in either direction, so that
/// nobody waits to write to somebody who waits to write.
const FLOOR_WINDOW: usize = 64 * 1024;

/// The object: answers a call with what it brought, or reads it through and answers with nothing.
struct Answering {
    bulk: bool,
}

#[async_trait]
impl Handler for Answering {
    async fn handle(&self, call: IncomingCall) -> Result<Response, HandlerError> {
        if self.bulk {
            read_through(&call.payload.bytes);
            return Ok(Response::payload(Payload::raw(Vec::new())));
        }
        Ok(Response::payload(call.payload))
    }
}

/// Reads every byte, as a receiver does that has a use for them.
fn read_through(bytes: &[u8]) {
    black_box(
        bytes
            .iter()
            .fold(0_u64, |sum, byte| sum.wrapping_add(u64::from(*byte))),
    );
}

/// Answers on both ways until the process ends.
///
/// # Errors
/// When the object cannot be registered, the relay cannot be joined, or the broker ends.
pub(super) async fn worker(conversation: &Conversation, client: IpcClient) -> Result<(), Failure> {
    let spec = &conversation.spec;
    let mut object = client.register(&spec.object, Answering { bulk: spec.bulk });
    if spec.workers > 1 {
        object = object.group(Balance::RoundRobin);
    }
    let _object = object
        .await
        .map_err(|error| Failure::of_call("register", error))?;
    for _ in 0..spec.callers {
        let stream = join(conversation, End::Worker)?;
        let (message, bulk) = (spec.payload, spec.bulk);
        std::thread::Builder::new()
            // Its caller says what became of it.
            .spawn(move || drop(answer(stream, message, bulk)))
            .map_err(|error| Failure::new(Exit::Refused, format!("no thread: {error}")))?;
    }
    conversation.ready(String::new());
    Err(Failure::of_call("the connection", client.closed().await))
}

/// The worker's end of the relay.
fn answer(mut stream: Stream, message: usize, bulk: bool) -> io::Result<()> {
    let mut buffer = vec![0; message];
    loop {
        stream.read_exact(&mut buffer)?;
        if bulk {
            read_through(&buffer);
            stream.write_all(&[0])?;
        } else {
            stream.write_all(&buffer)?;
        }
    }
}

/// Calls, on the way and for the time that it is told.
///
/// # Errors
/// When a call fails.
pub(super) async fn caller(conversation: &mut Conversation, client: IpcClient) -> Result<(), Failure> {
    let mut stream = join(conversation, End::Caller)?;
    conversation.ready(String::new());
    let mut latencies = Latencies::new()?;
    loop {
        let slice = match conversation.order().await? {
            Order::Run {
                way: Way::Broker,
                nanos,
            } => calls(&conversation.spec, &client, nanos).await?,
            Order::Run {
                way: Way::Floor,
                nanos,
            } => {
                let spec = &conversation.spec;
                bare_calls(spec, &mut stream, nanos, &mut latencies).map_err(|error| gone(&error))?
            }
            order => return Err(conversation.unfit(order)),
        };
        conversation.done(slice);
    }
}

/// What the lanes of one caller share.
struct Lanes {
    watch: Stopwatch,
    latencies: Latencies,
}

async fn calls(spec: &Spec, client: &IpcClient, nanos: u64) -> Result<Slice, Failure> {
    let lanes = Rc::new(RefCell::new(Lanes {
        watch: Stopwatch::start(nanos),
        latencies: Latencies::new()?,
    }));
    let payload = Payload::raw(vec![b'0'; spec.payload]);
    if spec.in_flight == 1 {
        lane(client, &spec.object, payload, &lanes).await?;
    } else {
        let started: Vec<_> = (0..spec.in_flight)
            .map(|_| {
                let (client, object) = (client.clone(), spec.object.clone());
                let (payload, lanes) = (payload.clone(), Rc::clone(&lanes));
                actix_rt::spawn(async move { lane(&client, &object, payload, &lanes).await })
            })
            .collect();
        for lane in started {
            lane.await.map_err(|error| confused(&error.to_string()))??;
        }
    }
    let mut lanes = lanes.borrow_mut();
    let counts = lanes.latencies.take();
    Ok(lanes.watch.slice(counts))
}

/// One call after the other.
async fn lane(
    client: &IpcClient,
    object: &str,
    payload: Payload,
    lanes: &RefCell<Lanes>,
) -> Result<(), Failure> {
    let mut before = lanes.borrow().watch.now();
    loop {
        let call = client.call(object, METHOD).send_payload(payload.clone()).await;
        call.map_err(|error| Failure::of_call(&format!("call {object}.{METHOD}"), error))?;
        let mut lanes = lanes.borrow_mut();
        let now = lanes.watch.now();
        lanes.latencies.record(now.saturating_sub(before));
        before = now;
        if !lanes.watch.done(1, now) {
            return Ok(());
        }
    }
}

fn bare_calls(spec: &Spec, stream: &mut Stream, nanos: u64, latencies: &mut Latencies) -> io::Result<Slice> {
    let answer = if spec.bulk { 1 } else { spec.payload };
    let window = FLOOR_WINDOW.checked_div(spec.payload).unwrap_or_default().max(1);
    let lanes = usize::try_from(spec.in_flight).unwrap_or(usize::MAX).min(window);
    let messages = vec![b'0'; spec.payload.saturating_mul(lanes)];
    let mut buffer = vec![0; answer.max(CHUNK)];
    let mut sent = VecDeque::with_capacity(lanes);
    let mut watch = Stopwatch::start(nanos);
    let (mut free, mut held, mut goes_on) = (lanes, 0_usize, true);
    while goes_on || !sent.is_empty() {
        if goes_on && free > 0 {
            let now = watch.now();
            (0..free).for_each(|_| sent.push_back(now));
            stream.write_all(
                messages
                    .get(..free.saturating_mul(spec.payload))
                    .unwrap_or_default(),
            )?;
        }
        let count = stream.read(buffer.get_mut(held..).unwrap_or_default())?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        held = held.saturating_add(count);
        let answers = held.checked_div(answer).unwrap_or_default();
        held = held.checked_rem(answer).unwrap_or_default();
        let now = watch.now();
        for before in sent.drain(..answers.min(sent.len())) {
            latencies.record(now.saturating_sub(before));
        }
        if answers > 0 {
            goes_on = watch.done(answers as u64, now);
        }
        free = answers;
    }
    Ok(watch.slice(latencies.take()))
}
