//! Those who publish and those who listen, through the broker and through the relay.
//!
//! Owns what an event of `pubsub` is on either way: its first byte is unused, the next eight may hold the time at which it was
//! sent. Through the broker it is what any user of the client library would write. Called by `role`.

use super::floor::{CHUNK, End, Stopwatch, gone, join};
use super::latencies::Latencies;
use super::protocol::{Order, Slice, Spec, Way};
use super::role::Conversation;
use crate::exit::{Exit, Failure};
use actix_ipc::IpcClient;
use actix_ipc::client::{Subscription, Update};
use actix_ipc::message::Payload;
use actix_ipc::platform::local::Stream;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;

/// One of so many small events has the time in it, and lets its reader look at the clock.
const SAMPLE: u64 = 16;
/// From this size on every event has, in bytes.
const LARGE: usize = 1_024;
/// Silence after which a subscriber that misses events waits for them no longer.
const SILENCE: Duration = Duration::from_secs(2);

/// Bytes 1 to 8 of an event.
type Stamp = [u8; 8];

/// The time of day in ns: the one clock that all processes share without asking the system for more.
fn time_of_day() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

const fn sample(payload: usize) -> u64 {
    if payload < LARGE { SAMPLE } else { 1 }
}

/// Events as they are sent: most without the time, some with it.
struct Events {
    payload: usize,
    plain: Payload,
}

impl Events {
    fn new(payload: usize) -> Self {
        let plain = Payload::raw(vec![0; payload]);
        Self { payload, plain }
    }

    /// The event of this number.
    fn next(&self, number: u64) -> Payload {
        if self.payload <= size_of::<Stamp>() || !number.is_multiple_of(sample(self.payload)) {
            return self.plain.clone();
        }
        let mut bytes = vec![0; self.payload];
        if let Some(place) = bytes.get_mut(1..=size_of::<Stamp>()) {
            place.copy_from_slice(&time_of_day().to_le_bytes());
        }
        Payload::raw(bytes)
    }
}

/// Publishes, on the way and for the time that it is told.
///
/// # Errors
/// When an event is refused or a way ends.
pub(super) async fn publisher(conversation: &mut Conversation, client: IpcClient) -> Result<(), Failure> {
    let mut stream = join(conversation, End::Publisher)?;
    conversation.ready(String::new());
    let topics: Vec<String> = (0..conversation.spec.topics).map(topic).collect();
    loop {
        let slice = match conversation.order().await? {
            Order::Run {
                way: Way::Broker,
                nanos,
            } => publish(&conversation.spec, &client, &topics, nanos).await?,
            Order::Run {
                way: Way::Floor,
                nanos,
            } => bare_publish(&conversation.spec, &mut stream, nanos).map_err(|error| gone(&error))?,
            order => return Err(conversation.unfit(order)),
        };
        conversation.done(slice);
    }
}

fn topic(number: u64) -> String {
    format!("event{number}")
}

async fn publish(spec: &Spec, client: &IpcClient, topics: &[String], nanos: u64) -> Result<Slice, Failure> {
    let failed = |error| Failure::of_call(&format!("publish {}", spec.object), error);
    let events = Events::new(spec.payload);
    let every = sample(spec.payload);
    let mut watch = Stopwatch::start(nanos);
    let mut count = 0_u64;
    for (number, topic) in (0_u64..).zip(topics.iter().cycle()) {
        let event = client.publish_payload(&spec.object, topic, events.next(number));
        event.await.map_err(failed)?;
        count = count.saturating_add(1);
        if number.is_multiple_of(every) && !watch.goes_on() {
            break;
        }
    }
    client.flush().await.map_err(failed)?;
    watch.done(count, watch.now());
    Ok(watch.slice(Vec::new()))
}

fn bare_publish(spec: &Spec, stream: &mut Stream, nanos: u64) -> io::Result<Slice> {
    let events = Events::new(spec.payload);
    let every = sample(spec.payload);
    let mut watch = Stopwatch::start(nanos);
    for number in 0_u64.. {
        stream.write_all(&events.next(number).bytes)?;
        if number.is_multiple_of(every) && !watch.goes_on() {
            watch.done(number.saturating_add(1), watch.now());
            break;
        }
    }
    Ok(watch.slice(Vec::new()))
}

/// What one subscriber has heard since it was told to listen.
struct Tally {
    latencies: Latencies,
    every: u64,
    received: u64,
    missed: u64,
    first: Option<Instant>,
    /// How many had come at the last look at the clock, and when that was.
    last: Option<(u64, Instant)>,
    /// What is waited for.
    expected: Option<u64>,
}

/// One of the two ways of a subscriber: its tally, and the bell that rings when what was expected has come.
struct Heard {
    tally: Mutex<Tally>,
    complete: Notify,
}

impl Heard {
    fn new(payload: usize) -> Result<Arc<Self>, Failure> {
        let tally = Tally {
            latencies: Latencies::new()?,
            every: sample(payload),
            received: 0,
            missed: 0,
            first: None,
            last: None,
            expected: None,
        };
        let (tally, complete) = (Mutex::new(tally), Notify::new());
        Ok(Arc::new(Self { tally, complete }))
    }

    fn lock(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a slice.
    fn begin(&self) {
        let mut tally = self.lock();
        tally.latencies.take();
        (tally.received, tally.missed) = (0, 0);
        (tally.first, tally.last, tally.expected) = (None, None, None);
    }

    /// An event has come, and before it some were missed.
    fn hear(&self, event: &[u8], missed: u64) {
        let mut tally = self.lock();
        tally.missed = tally.missed.saturating_add(missed);
        tally.hear(event);
        self.ring(&tally);
    }

    /// Events were missed and none follows for now.
    fn miss(&self, missed: u64) {
        let mut tally = self.lock();
        tally.missed = tally.missed.saturating_add(missed);
        self.ring(&tally);
    }

    fn ring(&self, tally: &Tally) {
        if tally.is_complete() {
            self.complete.notify_one();
        }
    }

    /// Waits until so many have come or were missed, or nothing has come for a while; ends the slice.
    async fn expect(&self, events: u64) -> Slice {
        let mut before = None;
        loop {
            let now = {
                let mut tally = self.lock();
                tally.expected = Some(events);
                let heard = (tally.received, tally.missed);
                if tally.is_complete() || before == Some(heard) {
                    return tally.slice(events);
                }
                heard
            };
            before = tokio::time::timeout(SILENCE, self.complete.notified())
                .await
                .is_err()
                .then_some(now);
        }
    }
}

impl Tally {
    fn hear(&mut self, event: &[u8]) {
        self.received = self.received.saturating_add(1);
        let stamp = event
            .get(1..=size_of::<Stamp>())
            .and_then(|stamp| Stamp::try_from(stamp).ok());
        let sent = stamp.map_or(0, u64::from_le_bytes);
        if sent > 0 {
            self.latencies.record(time_of_day().saturating_sub(sent));
        }
        if self.first.is_none() || self.received.is_multiple_of(self.every) || self.is_complete() {
            let now = Instant::now();
            self.first.get_or_insert(now);
            self.last = Some((self.received, now));
        }
    }

    fn is_complete(&self) -> bool {
        let heard = self.received.saturating_add(self.missed);
        self.expected.is_some_and(|expected| heard >= expected)
    }

    fn slice(&mut self, expected: u64) -> Slice {
        let (timed, nanos) = match (self.first, self.last) {
            // The first one only starts the clock.
            (Some(first), Some((received, last))) => (
                received.saturating_sub(1),
                u64::try_from(last.duration_since(first).as_nanos()).unwrap_or(u64::MAX),
            ),
            _ => (0, 0),
        };
        Slice {
            done: self.received,
            timed,
            nanos,
            lost: expected.saturating_sub(self.received),
            latencies: self.latencies.take(),
        }
    }
}

/// Listens on both ways.
///
/// # Errors
/// When a subscription is refused or ends.
pub(super) async fn subscriber(conversation: &mut Conversation, client: IpcClient) -> Result<(), Failure> {
    let spec = &conversation.spec;
    let (broker, floor) = (Heard::new(spec.payload)?, Heard::new(spec.payload)?);
    for number in 0..spec.topics {
        let subscription = client.subscribe(&spec.object, &topic(number)).await;
        let subscription = subscription
            .map_err(|error| Failure::of_call(&format!("subscribe to {}", spec.object), error))?;
        actix_rt::spawn(listen(subscription, Arc::clone(&broker)));
    }
    let stream = join(conversation, End::Subscriber)?;
    let (bare, message) = (Arc::clone(&floor), spec.payload);
    std::thread::Builder::new()
        // The relay's end is noticed by the measuring process.
        .spawn(move || drop(bare_listen(stream, message, &bare)))
        .map_err(|error| Failure::new(Exit::Refused, format!("no thread: {error}")))?;
    conversation.ready(String::new());
    let mut heard = &broker;
    loop {
        let order = tokio::select! {
            order = conversation.order() => order?,
            ended = client.closed() => return Err(Failure::of_call("the connection", ended)),
        };
        match order {
            Order::Listen { way } => {
                heard = if way == Way::Broker { &broker } else { &floor };
                heard.begin();
                conversation.listening();
            }
            Order::Expect { events } => {
                let slice = heard.expect(events).await;
                conversation.done(slice);
            }
            order => return Err(conversation.unfit(order)),
        }
    }
}

async fn listen(mut subscription: Subscription, heard: Arc<Heard>) {
    // Its end is that of the connection, which is waited for elsewhere.
    while let Some(update) = subscription.next_update().await {
        match update {
            Update::Event(event) => heard.hear(&event.payload.bytes, event.missed),
            Update::Missed(missed) => heard.miss(missed),
            _ => {}
        }
    }
}

fn bare_listen(mut stream: Stream, message: usize, heard: &Heard) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK.max(message)];
    let mut held = 0_usize;
    loop {
        let count = stream.read(buffer.get_mut(held..).unwrap_or_default())?;
        if count == 0 {
            return Ok(());
        }
        held = held.saturating_add(count);
        let whole = held.saturating_sub(held.checked_rem(message).unwrap_or_default());
        {
            let mut tally = heard.lock();
            let events = buffer
                .get(..whole)
                .unwrap_or_default()
                .chunks_exact(message.max(1));
            events.for_each(|event| tally.hear(event));
            heard.ring(&tally);
        }
        buffer.copy_within(whole..held, 0);
        held = held.saturating_sub(whole);
    }
}
