//! The client for plain threads, against a real broker.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unit_arg,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]

#[path = "support/broker.rs"]
mod broker;

use actix_ipc::async_trait;
use actix_ipc::client::blocking::{Client, block_on};
use actix_ipc::client::{Methods, SharedObject};
use actix_ipc::error::ErrorCode;
use broker::Place;
use serde_json::{Value, json};
use std::time::Duration;

struct Name;

#[async_trait]
impl SharedObject for Name {
    async fn call(&self, _method: &str, _args: &Value) -> Value {
        json!(std::thread::current().name())
    }
}

#[test]
fn plain_threads_call_serve_publish_and_subscribe() {
    let place = Place::new();
    let broker = place.start();
    let client = Client::connect_to(broker.endpoint.clone()).unwrap();
    let _name = client.register_object("name", Name).unwrap();
    let add = Methods::new().method("add", |(a, b): (i32, i32), _| async move { Ok(a + b) });
    let _math = client.register("math", add).unwrap();
    client.wait_for_object("math", Duration::from_secs(10)).unwrap();
    let caller = Client::connect_wait_at(&broker);
    assert_eq!(caller.call::<_, i32>("math", "add", (10, 32)).unwrap(), 42);
    let thread: String = caller.call("name", "m", ()).unwrap();
    assert_eq!(
        thread, "actix-ipc handlers",
        "handlers do not run where the sockets are"
    );
    assert_eq!(
        caller.call::<_, i32>("none", "add", ()).unwrap_err().code,
        ErrorCode::NoSuchObject
    );
    let mut events = caller.subscribe("o", "e").unwrap();
    assert_eq!(events.next_timeout(Duration::from_millis(20)).unwrap(), None);
    let threads: Vec<_> = (0..4_u32)
        .map(|thread| {
            let client = client.clone();
            std::thread::spawn(move || {
                for number in 0..100 {
                    client.publish("o", "e", &(thread * 100 + number)).unwrap();
                }
            })
        })
        .collect();
    let mut seen: Vec<u32> = events.take(400).map(|event| event.decode().unwrap()).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    seen.sort_unstable();
    assert_eq!(seen, (0..400).collect::<Vec<_>>());
    assert_eq!(client.publish_acknowledged("o", "nobody", &1).unwrap(), 0);
    client.flush().unwrap();
    let serving = client.clone();
    let end = std::thread::spawn(move || serving.serve().unwrap());
    client.close().unwrap();
    assert_eq!(end.join().unwrap().code, ErrorCode::NotConnected);
}

trait ConnectWait {
    fn connect_wait_at(broker: &broker::TestBroker) -> Client;
}

impl ConnectWait for Client {
    fn connect_wait_at(broker: &broker::TestBroker) -> Client {
        let builder = actix_ipc::client::IpcClient::builder().endpoint(broker.endpoint.clone());
        block_on(builder.connect_wait(Duration::from_secs(10)))
            .unwrap()
            .unwrap()
            .into()
    }
}

#[test]
fn threads_that_run_an_executor_are_told() {
    let refused = |error: actix_ipc::error::CallError| assert_eq!(error.code, ErrorCode::Invalid, "{error}");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async { refused(Client::connect().unwrap_err()) });
    actix::System::new().block_on(async { refused(block_on(async {}).unwrap_err()) });
    assert_eq!(block_on(async { 7 }).unwrap(), 7);
}
