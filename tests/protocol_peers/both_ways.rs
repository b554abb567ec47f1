//! Calls in both directions at the same time, and what is sent last.

use super::{Places, connect};
use crate::calc::{Answers, Calc, Receiver, Service, within};
use actix_ipc::protocol::RpcClient;
use actix_ipc::{Endpoint, ErrorCode};
use futures::future::join_all;
use std::sync::Arc;

async fn both_ways(endpoint: &Endpoint) {
    let service = Service::new(false);
    let server = service.bind(endpoint.clone()).await;
    let client = connect(&server).await;
    assert_eq!(client.sender.echo("hello").await.unwrap(), "hello");
    let (peer, back) = service.client(0).await;
    assert_eq!(Some(peer.id), client.peer().map(|server| server.id));
    assert_eq!(back.echo("you too").await.unwrap(), "you too");
    let large = "x".repeat(3 << 20);
    assert_eq!(client.sender.echo(&large).await.unwrap(), large, "in pieces");
    let many = (0..200).map(|number| {
        let (there, back) = (client.clone_sender(), back.clone());
        async move {
            let text = number.to_string();
            assert_eq!(there.echo(&text).await.unwrap(), text);
            assert_eq!(back.echo(&text).await.unwrap(), text);
        }
    });
    within("calls beside each other", join_all(many)).await;
    for note in 0..100 {
        client.sender.note(note, 10).await.unwrap();
    }
    assert_eq!(client.sender.notes().await.unwrap(), (0..100).collect::<Vec<_>>());
    within("closing", client.close()).await;
    assert_eq!(service.ended(1).await, [peer.id]);
    assert_eq!(back.0.peer(), None, "there is no connection");
    assert_eq!(back.echo("gone").await.unwrap_err().code, ErrorCode::NotConnected);
    within("the shutdown", server.shutdown()).await;
}

/// As large as what a client offers to a broker as a region, here and back.
#[tokio::test]
async fn the_largest_payloads_go_in_pieces_without_a_broker_that_could_answer_an_offer() {
    let places = Places::new();
    let large = "x".repeat(25 << 20);
    for endpoint in &places.endpoints {
        let service = Service::new(false);
        let server = service.bind(endpoint.clone()).await;
        let client = connect(&server).await;
        let echo = within("a large call", client.sender.echo(&large)).await.unwrap();
        assert!(echo == large, "{endpoint}");
        within("closing", client.close()).await;
        within("the shutdown", server.shutdown()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_ends_call_each_other_under_a_multi_threaded_run_time() {
    for endpoint in &Places::new().endpoints {
        both_ways(endpoint).await;
    }
}

#[tokio::test]
async fn both_ends_call_each_other_under_a_run_time_of_one_thread() {
    for endpoint in &Places::new().endpoints {
        both_ways(endpoint).await;
    }
}

#[actix::test]
async fn both_ends_call_each_other_inside_an_actix_system() {
    for endpoint in &Places::new().endpoints {
        both_ways(endpoint).await;
    }
}

/// Many short lives: what was sent without asking for an answer before an orderly end is done.
async fn sent_and_left() {
    const ROUNDS: u64 = 200;
    let endpoint = Endpoint::Memory(format!("left-{:?}", std::thread::current().id()));
    let service = Service::new(false);
    let server = service.bind(endpoint).await;
    for round in 0..ROUNDS {
        let connecting = RpcClient::<Calc>::connect(server.endpoint().clone(), ());
        let client = within("connecting", connecting).await.unwrap();
        for note in 0..10 {
            client.sender.note(round * 10 + note, 1).await.unwrap();
        }
        within("closing", client.close()).await;
    }
    service.ended(ROUNDS as usize).await;
    let mut notes = service.answers.notes.lock().unwrap().clone();
    notes.sort_unstable();
    assert_eq!(notes, (0..ROUNDS * 10).collect::<Vec<_>>());
    within("the shutdown", server.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sent_before_an_orderly_end_is_done_under_a_multi_threaded_run_time() {
    sent_and_left().await;
}

#[tokio::test]
async fn what_was_sent_before_an_orderly_end_is_done_under_a_run_time_of_one_thread() {
    sent_and_left().await;
}

/// The same from a server that stops to its clients.
async fn pushed_and_stopped() {
    for endpoint in Places::new().endpoints {
        let service = Service::new(false);
        let server = service.bind(endpoint).await;
        let answers = Answers::new(true);
        let builder = RpcClient::<Calc>::builder().reconnect(false);
        let connecting = builder.connect(server.endpoint().clone(), Receiver(Arc::clone(&answers)));
        let client = within("connecting", connecting).await.unwrap();
        let (_, back) = service.client(0).await;
        for note in 0..10 {
            back.note(note, 1).await.unwrap();
        }
        within("the shutdown", server.shutdown()).await;
        answers.gate.add_permits(10);
        within("the end", client.closed()).await;
        assert_eq!(*answers.notes.lock().unwrap(), (0..10).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_pushed_before_it_stopped_is_done_under_a_multi_threaded_run_time() {
    pushed_and_stopped().await;
}

#[tokio::test]
async fn what_a_server_pushed_before_it_stopped_is_done_under_a_run_time_of_one_thread() {
    pushed_and_stopped().await;
}
