//! The processes of a run: caller, worker, publisher, subscriber, each this test program once more and told by variables what to be.
//!
//! Owns what each of them does and what it writes down; all of it through the public client library. A role says "ready" when it
//! works, ends in order when its standard input ends, and at any moment when it is killed.

use crate::journal::{Entry, Journal};
use actix_ipc::client::{Balance, Methods, SlowPolicy, Update};
use actix_ipc::{CallError, Encoding, Endpoint, ErrorCode, IpcClient};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

pub const ROLE: &str = "ACTIX_IPC_FAULTS_ROLE";
pub const PROCESS: &str = "ACTIX_IPC_FAULTS_PROCESS";
pub const ENDPOINT: &str = "ACTIX_IPC_FAULTS_ENDPOINT";
pub const JOURNAL: &str = "ACTIX_IPC_FAULTS_JOURNAL";
pub const PAYLOAD: &str = "ACTIX_IPC_FAULTS_PAYLOAD";

/// The object that all workers serve together.
pub const OBJECT: &str = "faults.work";
/// The object half of everything that is published.
pub const TOPIC: &str = "faults.news";
/// Deadline of each call.
pub const DEADLINE: Duration = Duration::from_secs(2);
/// Calls that a caller has open at once.
const TOGETHER: u64 = 8;
/// The pause of one who calls or publishes, so that two cores carry a whole run.
const PAUSE: Duration = Duration::from_millis(4);
/// Events of which the last one is acknowledged.
const BURST: u64 = 8;

/// Does nothing by itself: it is the processes of the other tests, which name a role.
#[test]
fn as_a_role() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let text = |name| std::env::var(name).unwrap();
    if role == "connector" {
        return crate::handshakes::connector(Path::new(text(ENDPOINT).strip_prefix("unix:").unwrap()));
    }
    let me = Me {
        process: text(PROCESS).parse().unwrap(),
        endpoint: text(ENDPOINT).parse().unwrap(),
        journal: Arc::new(Journal::create(&PathBuf::from(text(JOURNAL)))),
        payload: std::env::var(PAYLOAD).map_or(16, |size| size.parse().unwrap()),
        stop: stop(),
    };
    let run_time = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    run_time.block_on(async move {
        match role.as_str() {
            "caller" => caller(me).await,
            "worker" => worker(me).await,
            "publisher" => publisher(me).await,
            "subscriber" => subscriber(me).await,
            other => panic!("{other} is no role"),
        }
    });
}

struct Me {
    process: u64,
    endpoint: Endpoint,
    journal: Arc<Journal>,
    payload: usize,
    stop: watch::Receiver<bool>,
}

impl Me {
    async fn connect(&self) -> IpcClient {
        IpcClient::builder()
            .endpoint(self.endpoint.clone())
            .name(format!("process {}", self.process))
            .deadline(DEADLINE)
            .connect_wait(Duration::from_secs(60))
            .await
            .unwrap()
    }

    fn write(&self, entry: Entry) {
        self.journal.write(entry);
    }

    fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    async fn stopped(&self) {
        let mut stop = self.stop.clone();
        let _ = stop.wait_for(|stopped| *stopped).await;
    }
}

/// True once standard input has ended.
fn stop() -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(false);
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = sender.send(true);
    });
    receiver
}

fn ready() {
    println!("ready");
}

async fn caller(me: Me) {
    let client = me.connect().await;
    ready();
    let me = Arc::new(me);
    let next = Arc::new(AtomicU64::new(0));
    let tasks = (0..TOGETHER).map(|task| {
        let (me, client, next) = (Arc::clone(&me), client.clone(), Arc::clone(&next));
        async move {
            let mut pause = interval(PAUSE);
            pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while !me.is_stopped() {
                pause.tick().await;
                let call = me.process << 32 | next.fetch_add(1, Ordering::Relaxed);
                me.write(Entry::Called { call });
                let calling = client.call(OBJECT, "run");
                // Half of the tasks wait for a worker that is not there, the others are told at once.
                let calling = if task % 2 == 0 {
                    calling.wait_for_object()
                } else {
                    calling
                };
                let result = calling.send::<_, u64>(&call).await;
                let (code, may_have_run) = match result {
                    Ok(answer) => (
                        Some(answer)
                            .filter(|answer| *answer != call)
                            .map(|_| "WrongAnswer".into()),
                        true,
                    ),
                    Err(error) => (Some(format!("{:?}", error.code)), error.may_have_run),
                };
                me.write(Entry::Ended {
                    call,
                    code,
                    may_have_run,
                });
            }
        }
    });
    futures::future::join_all(tasks).await;
    me.write(Entry::Stopped);
}

fn methods(journal: Arc<Journal>) -> Methods {
    Methods::new().method("run", move |call: u64, _| {
        journal.write(Entry::Ran { call });
        async move {
            if call.is_multiple_of(5) {
                // Long enough to be killed in the middle of.
                let _ = timeout(Duration::from_millis(call % 40), std::future::pending::<()>()).await;
            }
            Ok(call)
        }
    })
}

async fn worker(me: Me) {
    let client = me.connect().await;
    let registration = loop {
        let joining = client.register(OBJECT, methods(Arc::clone(&me.journal)));
        // A broker that dies meanwhile is a part of the test.
        match joining.group(Balance::RoundRobin).await {
            Ok(registration) => break registration,
            Err(error) => again(&error).await,
        }
    };
    ready();
    me.stopped().await;
    let _ = registration.unregister().await;
    client.close().await;
    me.write(Entry::Stopped);
}

/// What can be asked once more after a moment.
async fn again(error: &CallError) {
    let passing = [
        ErrorCode::NotConnected,
        ErrorCode::BrokerGone,
        ErrorCode::Deadline,
        ErrorCode::Draining,
    ];
    assert!(passing.contains(&error.code), "{error}");
    let mut pause = interval(PAUSE);
    pause.tick().await;
    pause.tick().await;
}

async fn publisher(me: Me) {
    let client = me.connect().await;
    ready();
    let (mut number, topic) = (0, format!("of.{}", me.process));
    let mut pause = interval(PAUSE);
    pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !me.is_stopped() {
        pause.tick().await;
        for _ in 0..BURST {
            number += 1;
            publish(&me, &client, &topic, number).await;
        }
    }
    client.close().await;
    me.write(Entry::Stopped);
}

async fn publish(me: &Me, client: &IpcClient, topic: &str, number: u64) {
    let mut payload = number.to_le_bytes().to_vec();
    payload.extend_from_slice(&me.process.to_le_bytes());
    payload.resize(me.payload.max(16), 0);
    let payload = actix_ipc::Payload {
        encoding: Encoding::RAW,
        bytes: payload.into(),
    };
    me.write(Entry::Publishing { number });
    let publish = client.publish_payload(TOPIC, topic, payload);
    let result = if number.is_multiple_of(BURST) {
        publish.acknowledged().await.map(|_| Entry::Accepted { number })
    } else {
        publish.await.map(|()| Entry::Sent { number })
    };
    me.write(result.unwrap_or_else(|error| Entry::Failed {
        number,
        may_have_run: error.may_have_run,
    }));
}

async fn subscriber(me: Me) {
    let client = me.connect().await;
    me.write(Entry::Subscribing);
    let mut events = loop {
        match client
            .subscribe(TOPIC, "**")
            .pattern()
            .policy(SlowPolicy::Hold)
            .await
        {
            Ok(events) => break events,
            Err(error) => again(&error).await,
        }
    };
    me.write(Entry::Subscribed);
    ready();
    let mut ask = interval(Duration::from_millis(200));
    loop {
        let update = tokio::select! {
            update = events.next_update() => update.expect("it is subscribed again after every loss"),
            _ = async { me.stopped().await; ask.tick().await } => {
                me.write(Entry::Asked);
                // Everything that was accepted before this is in front of it, unless it is told to be missing. When it fails, or is
                // itself missing, the next one is asked for.
                let topic = format!("end.{}", me.process);
                let _ = client.publish(TOPIC, &topic, &()).acknowledged().await;
                continue;
            }
        };
        if heard(&me, update) {
            break;
        }
    }
    me.write(Entry::Stopped);
}

/// Writes an update down. `true`: it is the end that this subscriber has asked for.
fn heard(me: &Me, update: Update) -> bool {
    let event = match update {
        Update::Event(event) => event,
        Update::Missed(missed) => {
            me.write(Entry::Gap { missed });
            return false;
        }
        Update::Interrupted => {
            me.write(Entry::Interrupted);
            return false;
        }
        other => panic!("{other:?}"),
    };
    if event.topic().starts_with("end.") {
        if event.interrupted {
            me.write(Entry::Interrupted);
        }
        if event.missed > 0 {
            me.write(Entry::Gap { missed: event.missed });
        }
        return event.topic() == format!("end.{}", me.process);
    }
    let word = |at: usize| u64::from_le_bytes(event.payload.bytes[at..at + 8].try_into().unwrap());
    me.write(Entry::Heard {
        publisher: word(8),
        number: word(0),
        missed: event.missed,
        interrupted: event.interrupted,
    });
    false
}
