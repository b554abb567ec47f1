//! The example `database` as processes: isolation between connections, what a dead client leaves, and replicas.
//!
//! The test is a client itself: it includes the protocol of the example.

use crate::programs::{Place, interrupt, number, said, says_in_order};
use crate::signals;
use crate::support::PATIENCE;
use actix_ipc::Endpoint;
use actix_ipc::protocol::{self, RpcClient};
use futures::TryStreamExt;

#[path = "../../examples/database/protocol.rs"]
mod db;
#[path = "../../examples/database/log.rs"]
#[allow(clippy::duplicate_mod, reason = "the protocol names its types")]
mod log;

use db::{DbSender, db_protocol::Commands as _, replication_protocol};
use log::{Entry, Part};
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

async fn connect(place: &Place) -> RpcClient<DbSender> {
    let addr: Endpoint = place.addr().parse().unwrap();
    RpcClient::connect(addr, ()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn transactions_are_isolated_between_connections() {
    let place = Place::new();
    let running = place.listening("database", &format!("--server --addr {}", place.addr()));
    let (one, other) = (connect(&place).await, connect(&place).await);
    let (a, b) = (one.sender(), other.sender());
    a.put(None, "k".into(), "1".into()).await.unwrap();
    let (first, second) = (a.begin().await.unwrap(), b.begin().await.unwrap());
    a.put(Some(first.transaction), "k".into(), "2".into())
        .await
        .unwrap();
    let seen = |id| async move { b.get(id, "k".into()).await.unwrap().value.unwrap() };
    assert_eq!(seen(Some(second.transaction)).await, "1");
    assert_eq!(a.commit(first.transaction).await.unwrap().sequence, 2);
    assert_eq!(seen(Some(second.transaction)).await, "1", "its snapshot");
    assert_eq!(seen(None).await, "2");
    b.put(Some(second.transaction), "j".into(), "3".into())
        .await
        .unwrap();
    let conflict = b.commit(second.transaction).await.err().unwrap();
    assert_eq!(conflict.name.as_deref(), Some("Conflict"), "{conflict:?}");
    assert!(
        conflict.message.contains("`k` was changed by commit 2"),
        "{conflict}"
    );

    let third = a.begin().await.unwrap();
    let foreign = b.commit(third.transaction).await.err().unwrap();
    assert_eq!(foreign.name.as_deref(), Some("NoTransaction"));
    let long = a.put(None, "x".repeat(2000), String::new()).await.err().unwrap();
    assert_eq!(long.name.as_deref(), Some("TooLong"));
    let all: Vec<_> = b.scan(None, String::new()).try_collect().await.unwrap();
    assert_eq!(all.len(), 1);

    one.close().await;
    said(&running, "a client is gone: 1 transactions rolled back");
    other.close().await;
    tokio::task::spawn_blocking(|| interrupt(running)).await.unwrap();
}

/// More than the windows hold, so that most of it is still to be read when all of it is overwritten.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_scan_shows_the_state_that_it_began_with_and_keeps_it_only_while_it_is_read() {
    const KEYS: u64 = 300;
    let place = Place::new();
    let running = place.listening("database", &format!("--server --addr {}", place.addr()));
    let client = connect(&place).await;
    let db = client.sender();
    let fill = async |value: &str| {
        let value = value.repeat(10_000);
        for key in 0..KEYS {
            db.put(None, format!("{key:04}"), value.clone()).await.unwrap();
        }
    };
    let versions = async || db.get_status().await.unwrap().versions;
    fill("1").await;
    let mut whole = db.scan(None, String::new());
    let first = whole.try_next().await.unwrap().unwrap();
    fill("2").await;
    assert_eq!(versions().await, 2 * KEYS, "what the reader has yet to see");
    let rest: Vec<_> = whole.try_collect().await.unwrap();
    assert_eq!((first.key.as_str(), rest.len() as u64), ("0000", KEYS - 1));
    assert!(rest.iter().all(|pair| pair.value.starts_with('1')));

    let mut left = db.scan(None, String::new());
    left.try_next().await.unwrap().unwrap();
    fill("3").await;
    drop(left);
    // The first scan has ended with its last pair, the second when the primary hears of it.
    let given_back = async {
        while versions().await > KEYS {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, given_back).await.unwrap();
    client.close().await;
    tokio::task::spawn_blocking(|| interrupt(running)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_replica_catches_up_after_its_primary_and_itself_were_away() {
    let place = Place::new();
    let start = || place.listening("database", &format!("--server --log 2 --addr {}", place.addr()));
    let mut running = start();
    let replica = place.start("database", &format!("--replica --addr {}", place.addr()));
    said(&replica, "whole state, 0 keys");
    let client = connect(&place).await;
    client.sender().put(None, "a".into(), "1".into()).await.unwrap();
    said(&replica, "Replication update: #1 a = 1");

    // Another life of the primary, with another history: the replica forgets the first.
    running.kill();
    said(&replica, "Connection lost");
    client.close().await;
    let running = start();
    let client = connect(&place).await;
    said(&replica, "whole state, 0 keys");
    client.sender().put(None, "b".into(), "1".into()).await.unwrap();
    said(&replica, "Replication update: #1 b = 1");

    // A replica that stands still is sent what it has missed, though the log has only the last two commits.
    let standing = signals::stop(&replica);
    for round in 2..=9 {
        client
            .sender()
            .put(None, "b".into(), round.to_string())
            .await
            .unwrap();
    }
    client.sender().delete(None, "nothing".into()).await.unwrap();
    drop(standing);
    let whole = said(&replica, "whole state, 1 keys");
    assert_eq!(number(&whole, "#"), 10);
    client.close().await;
    let ended = tokio::task::spawn_blocking(|| interrupt(replica)).await.unwrap();
    says_in_order(&ended.stdout, &["Replica ended with 1 keys", "b = 9"]);
    tokio::task::spawn_blocking(|| interrupt(running)).await.unwrap();
}

/// A replica that refuses the first update that it is sent, and then takes everything.
struct Refusing {
    refused: AtomicBool,
    parts: UnboundedSender<Part>,
}

impl replication_protocol::Receive for Refusing {
    async fn update(
        &self,
        _life: u64,
        entries: Vec<Entry>,
    ) -> protocol::Result<replication_protocol::update::Response> {
        match self.refused.swap(true, Ordering::Relaxed) {
            false => Err(protocol::Error::new("something was missed").named("Gap")),
            true => Ok(replication_protocol::update::Response {
                applied: entries.len() as u64,
            }),
        }
    }

    async fn snapshot(
        &self,
        _life: u64,
        part: Part,
    ) -> protocol::Result<replication_protocol::snapshot::Response> {
        let whole = part.last;
        self.parts.send(part).unwrap();
        Ok(replication_protocol::snapshot::Response { whole })
    }
}

/// However it came to that, nobody stays behind for ever: who refuses a commit is sent the whole state.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_replica_that_refuses_an_update_is_sent_the_whole_state() {
    let place = Place::new();
    let running = place.listening("database", &format!("--server --addr {}", place.addr()));
    let (parts, mut sent) = unbounded_channel();
    let refusing = replication_protocol::Receiver::new(Refusing {
        refused: AtomicBool::new(false),
        parts,
    });
    let addr: Endpoint = place.addr().parse().unwrap();
    let client = RpcClient::<DbSender>::connect(addr, refusing).await.unwrap();
    let mut part = async || {
        tokio::time::timeout(PATIENCE, sent.recv())
            .await
            .unwrap()
            .unwrap()
    };
    client.sender().follow(0, 0).await.unwrap();
    assert_eq!(part().await.pairs, []);
    client.sender().put(None, "k".into(), "1".into()).await.unwrap();
    assert_eq!(part().await.pairs, [("k".to_owned(), "1".to_owned())]);
    client.close().await;
    tokio::task::spawn_blocking(|| interrupt(running)).await.unwrap();
}

/// Whatever order they come in, money is neither made nor lost, nobody owes any, and a conflict ends no client.
#[test]
fn clients_at_the_same_time_move_money_and_keep_the_sum() {
    let place = Place::new();
    let running = place.listening("database", "--server");
    let clients: Vec<_> = (0..8).map(|_| place.start("database", "--client")).collect();
    for client in clients {
        says_in_order(client.end().success(), &["All database operations completed"]);
    }
    let last = place.run("database", "--client");
    says_in_order(
        last.success(),
        &[
            "Not moved: account/ada has 10 of 30",
            "SCAN account/ada = 10",
            "SCAN account/bob = 90",
        ],
    );
    interrupt(running);
}
