//! Who waits, and for how long: deadlines of streams, and calls behind a window that is spent.

use super::{Places, connect};
use crate::calc::{Calc, Service, within};
use actix_ipc::ErrorCode;
use actix_ipc::protocol::{
    Items, NoProtocol, ProtocolSender, Result, RpcClient, RpcLimits, RpcServer, RpcServerHandler,
};
use futures::stream;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

actix_ipc::protocol::protocol! {
    pub mod clock {
        /// A number now and then.
        ticks { every_ms: u64 } return stream u64;
    }
}

#[derive(Clone, Copy, Debug)]
struct Clock;

impl clock::Receive for Clock {
    async fn ticks(&self, every_ms: u64) -> Result<Items<u64>> {
        let every = tokio::time::interval(Duration::from_millis(every_ms));
        let ticks = stream::unfold((every, 0_u64), |(mut every, number)| async move {
            every.tick().await;
            Some((number, (every, number + 1)))
        });
        Ok(Items::values(ticks))
    }
}

impl RpcServerHandler for Clock {
    type ReceiveRpc = clock::Receiver<Self>;
    type SendRpc = NoProtocol;

    async fn on_rpc_connect(&self, _: &NoProtocol) -> Self::ReceiveRpc {
        clock::Receiver::new(*self)
    }
}

/// The deadline counts from each item again.
#[actix::test]
async fn a_stream_goes_on_beyond_its_deadline_as_long_as_its_items_come() {
    const DEADLINE: Duration = Duration::from_millis(100);
    const TRIES: usize = 20;
    for endpoint in Places::new().endpoints {
        let server = RpcServer::builder().bind(endpoint, Clock).await.unwrap();
        let connecting = RpcClient::<clock::Sender>::connect(server.endpoint().clone(), ());
        let client = within("connecting", connecting).await.unwrap();
        let sender = clock::Sender::new(client.sender.caller().clone().with_deadline(DEADLINE));
        let mut tries = 0;
        // Where the machine has no time for the server, an item may be late indeed.
        'again: while tries < TRIES {
            tries += 1;
            let mut ticks = sender.ticks(5);
            let (begun, mut last) = (Instant::now(), Instant::now());
            while begun.elapsed() < DEADLINE * 5 {
                match within("an item", ticks.next()).await.unwrap() {
                    Ok(_) => last = Instant::now(),
                    Err(error) => {
                        assert_eq!(error.code, ErrorCode::Deadline);
                        let waited = last.elapsed();
                        assert!(waited > DEADLINE / 2, "given up {waited:?} behind an item");
                        continue 'again;
                    }
                }
            }
            break;
        }
        assert!(tries < TRIES, "this machine has no time");
    }
}

/// A task that is told apart from others by what wakes it.
#[derive(Default)]
struct Task(Notify);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

#[actix::test]
async fn a_call_goes_when_the_command_before_it_is_given_up() {
    let limits = RpcLimits::default().call_window(2_000);
    for endpoint in Places::new().endpoints {
        let service = Service::new(true);
        let builder = RpcServer::builder().limits(limits).concurrency(64);
        let server = service.bind_with(builder, endpoint).await;
        let client = connect(&server).await;
        let tell = |note| {
            let sender = client.clone_sender();
            Box::pin(async move { sender.note(note, 1_000).await })
        };
        // Their handlers wait, and so the window stays spent.
        let mut sent = 0;
        let held = loop {
            let mut next = tell(sent);
            match futures::poll!(&mut next) {
                std::task::Poll::Ready(told) => told.unwrap(),
                std::task::Poll::Pending => break next,
            }
            sent += 1;
            assert!(sent < 10, "the window is never spent");
        };
        let sender = Calc(client.sender.0.clone());
        let mut asked = Box::pin(async move { sender.echo("x").await });
        let task = Arc::new(Task::default());
        let waker = Waker::from(Arc::clone(&task));
        assert!(asked.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(held);
        // It is the first now, and needs no window.
        within("to be woken", task.0.notified()).await;
        assert_eq!(within("the answer", asked).await.unwrap(), "x");
        service.answers.gate.add_permits(sent as usize);
    }
}
