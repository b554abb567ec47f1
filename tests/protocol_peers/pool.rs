//! One connection for many.

use super::Places;
use crate::calc::{Calc, Service, within};
use actix_ipc::client::ConnectionEvent;
use actix_ipc::protocol::{RpcClient, RpcPool};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_makes_one_connection_for_all_who_call_the_same_server() {
    for endpoint in Places::new().endpoints {
        let service = Service::new(false);
        let server = service.bind(endpoint).await;
        let pool = RpcPool::new();
        let handles = (0..10).map(|handle| {
            let (pool, endpoint) = (pool.clone(), server.endpoint().clone());
            tokio::spawn(async move {
                for call in 0..100 {
                    let sender = pool.client::<Calc>(endpoint.clone()).await.unwrap();
                    let text = format!("{handle}.{call}");
                    assert_eq!(sender.echo(&text).await.unwrap(), text);
                }
            })
        });
        for handle in handles.collect::<Vec<_>>() {
            within("a handle", handle).await.unwrap();
        }
        assert_eq!((server.accepted(), pool.len()), (1, 1));
        // One that was closed is dialled again.
        let sender = pool.client::<Calc>(server.endpoint().clone()).await.unwrap();
        let closing = RpcClient { sender };
        within("closing", closing.close()).await;
        let sender = pool.client::<Calc>(server.endpoint().clone()).await.unwrap();
        assert_eq!(sender.echo("again").await.unwrap(), "again");
        assert_eq!((server.accepted(), pool.len()), (2, 1));
    }
}

#[actix::test]
async fn a_pool_forgets_what_is_away_and_unused() {
    for endpoint in Places::new().endpoints {
        let server = Service::new(false).bind(endpoint).await;
        let endpoint = server.endpoint().clone();
        let pool = RpcPool::new();
        let client = RpcClient {
            sender: pool.client::<Calc>(endpoint.clone()).await.unwrap(),
        };
        pool.remove(&endpoint);
        assert_eq!(pool.len(), 0);
        assert_eq!(client.sender.echo("kept").await.unwrap(), "kept");
        drop(client);
        let client = RpcClient {
            sender: pool.client::<Calc>(endpoint).await.unwrap(),
        };
        let mut events = client.connection_events();
        within("the shutdown", server.shutdown()).await;
        assert!(matches!(
            within("the loss", events.next()).await,
            Some(ConnectionEvent::Lost { .. })
        ));
        assert_eq!(pool.len(), 1, "somebody uses it");
        drop((client, events));
        assert_eq!(pool.len(), 0);
    }
}
