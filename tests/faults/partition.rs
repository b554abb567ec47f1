//! A network that drops everything, for real: TCP over the loopback of a network namespace that is taken down and up again.
//!
//! Owns nothing of the namespace: `ci/soak` makes one and runs this in it. Elsewhere nothing may be taken down, so nothing is done.

use crate::rig::Rig;
use actix_ipc::client::{ConnectionEvent, ConnectionEvents, Methods};
use actix_ipc::{ErrorCode, IpcClient};
use futures::future::{join_all, pending};
use std::process::Command;
use std::time::{Duration, Instant};

const KEEPALIVE: Duration = Duration::from_millis(500);

fn loopback(state: &str) {
    let done = Command::new("ip")
        .args(["link", "set", "lo", state])
        .status()
        .unwrap();
    assert!(done.success(), "ip link set lo {state}: {done}");
}

async fn back(told: &mut ConnectionEvents) {
    loop {
        if let ConnectionEvent::Reconnected { lost, .. } = told.next().await.unwrap() {
            assert!(lost.is_empty(), "{lost:?}");
            return;
        }
    }
}

#[actix::test]
#[ignore = "takes the loopback interface down; ci/soak runs it in a network namespace of its own"]
async fn a_partition_is_found_by_both_sides_and_healed() {
    if std::env::var_os("FAULTS_PARTITION").is_none() {
        return;
    }
    let rig = Rig::start_on(&["unix:", "tcp:127.0.0.1:0"], &[("keepalive_ms", 500)]);
    let endpoint = rig.endpoints[1].clone();
    let far = IpcClient::builder()
        .endpoint(endpoint)
        .keepalive(KEEPALIVE)
        .connect()
        .await
        .unwrap();
    let near = rig.client().await;
    let methods = Methods::new()
        .method("hang", |(): (), _| async { Ok(pending::<()>().await) })
        .method("double", |n: i64, _| async move { Ok(n * 2) });
    let _registration = far.register("far", methods).await.unwrap();
    let mut events = far.subscribe("partition", "news").await.unwrap();
    let mut told = far.connection_events();
    for round in 0..5_u64 {
        let calls = join_all((0..20).map(|_| near.remote_call::<_, ()>("far", "hang", ())));
        let mut calls = std::pin::pin!(calls);
        assert!(futures::poll!(&mut calls).is_pending());
        near.describe("far").await.unwrap();
        loopback("down");
        let at = Instant::now();
        // In every second round bytes are on their way, for which the kernel's own keep-alive rests.
        if round % 2 == 1 {
            near.publish("partition", "news", &round)
                .acknowledged()
                .await
                .unwrap();
        }
        for result in calls.await {
            assert_eq!(result.unwrap_err().code, ErrorCode::CalleeGone);
        }
        let broker = at.elapsed();
        while !matches!(told.next().await.unwrap(), ConnectionEvent::Lost { .. }) {}
        eprintln!(
            "partition {round}: found by the broker after {broker:?}, by the client after {:?}; promised {:?}",
            at.elapsed(),
            KEEPALIVE * 4
        );
        assert!(at.elapsed() < KEEPALIVE * 40);
        loopback("up");
        back(&mut told).await;
        assert_eq!(near.remote_call::<_, i64>("far", "double", 21).await.unwrap(), 42);
        near.publish("partition", "news", &round)
            .acknowledged()
            .await
            .unwrap();
        let event = events.next().await.unwrap();
        assert_eq!((event.decode::<u64>().unwrap(), event.interrupted), (round, true));
    }
    drop((near, far, events));
    rig.stop();
}
