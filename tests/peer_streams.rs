//! Streams without a broker between two programs: items behind a request, streamed answers, both at once, and their ends; and an actor
//! as what answers there.
//!
//! What streams do through a broker is in `protocol_streams.rs` and `request_streams.rs`. Each case runs over a Unix socket, TCP, and
//! memory.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]

#[path = "peers/calc.rs"]
mod calc;
#[path = "support/until.rs"]
mod until;

use actix::{Actor, Context, Handler};
use actix_ipc::protocol::{
    Error, Incoming, Items, ProtocolSender, Result, RpcClient, RpcLimits, RpcServer, RpcServerHandler,
};
use actix_ipc::{Endpoint, ErrorCode};
use calc::within;
use futures::stream::{self, StreamExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::sync::{Semaphore, watch};
use until::until_with_others;

actix_ipc::protocol::protocol! {
    pub mod meter {
        sum stream { number: u64 } return u64;
        first stream { number: u64 } return u64;
        halfway return stream u64;
        running stream { number: u64 } return stream u64;
        /// Hands the items to a task that outlives the command.
        kept stream { number: u64 } return u64;
        /// Takes nothing before the gate is opened.
        slow stream { number: u64 } return u64;
        /// So many rows of so many bytes.
        rows { count: u64, bytes: u64 } return stream Vec<u8>;
        /// Takes nothing before the gate is opened.
        weigh stream { fill: Vec<u8> } return u64;
        /// Ends when it is taken back, and panics then.
        bomb return u64;
    }
}

actix_ipc::protocol::protocol! {
    pub mod tally {
        add { number: u64 } return u64;
        upto { number: u64 } return stream u64;
    }
}

/// What the handlers of all connections share.
#[derive(Debug)]
struct Shop {
    begun: watch::Sender<usize>,
    /// Why the items of `kept` have ended.
    ended: watch::Sender<Vec<ErrorCode>>,
    gate: Semaphore,
    /// Items that `slow` has taken.
    taken: AtomicU64,
}

impl Shop {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            begun: watch::Sender::new(0),
            ended: watch::Sender::new(Vec::new()),
            gate: Semaphore::new(0),
            taken: AtomicU64::new(0),
        })
    }

    async fn begun(&self, count: usize) {
        let mut begun = self.begun.subscribe();
        within("a handler", begun.wait_for(|begun| *begun >= count))
            .await
            .unwrap();
    }
}

#[derive(Clone, Debug)]
struct Meter(Arc<Shop>);

impl meter::Receive for Meter {
    async fn sum(&self, mut items: Incoming<meter::sum::Item>) -> Result<u64> {
        self.0.begun.send_modify(|begun| *begun += 1);
        let mut sum = 0;
        while let Some(item) = items.next().await {
            sum += item?.number;
        }
        Ok(sum)
    }

    async fn first(&self, mut items: Incoming<meter::first::Item>) -> Result<u64> {
        let first = items.next().await.ok_or_else(|| Error::new("there is none"))??;
        Ok(first.number)
    }

    async fn halfway(&self) -> Result<Items<u64>> {
        let fails = Error::new("the disk is gone").named("Disk");
        Ok(Items::new(stream::iter([Ok(1), Ok(2), Err(fails), Ok(4)])))
    }

    async fn running(&self, items: Incoming<meter::running::Item>) -> Result<Items<u64>> {
        let sums = items.scan(0, |sum, item| {
            let next = item.map(|item| {
                *sum += item.number;
                *sum
            });
            std::future::ready(Some(next.map_err(Error::from)))
        });
        Ok(Items::new(sums))
    }

    async fn kept(&self, mut items: Incoming<meter::kept::Item>) -> Result<u64> {
        let shop = Arc::clone(&self.0);
        let reading = tokio::spawn(async move {
            while let Some(item) = items.next().await {
                match item {
                    Ok(_) => shop.begun.send_modify(|begun| *begun += 1),
                    Err(error) => shop.ended.send_modify(|ended| ended.push(error.code)),
                }
            }
        });
        reading.await?;
        Ok(0)
    }

    async fn slow(&self, mut items: Incoming<meter::slow::Item>) -> Result<u64> {
        self.0.begun.send_modify(|begun| *begun += 1);
        self.0.gate.acquire().await?.forget();
        let mut count = 0;
        while let Some(item) = items.next().await {
            item?;
            count += 1;
            self.0.taken.store(count, Ordering::SeqCst);
        }
        Ok(count)
    }

    async fn rows(&self, count: u64, bytes: u64) -> Result<Items<Vec<u8>>> {
        let row = vec![7; usize::try_from(bytes)?];
        Ok((0..count).map(move |_| row.clone()).collect())
    }

    async fn weigh(&self, mut items: Incoming<meter::weigh::Item>) -> Result<u64> {
        self.0.begun.send_modify(|begun| *begun += 1);
        self.0.gate.acquire().await?.forget();
        let mut bytes = 0;
        while let Some(item) = items.next().await {
            bytes += item?.fill.len() as u64;
        }
        Ok(bytes)
    }

    async fn bomb(&self) -> Result<u64> {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("on purpose");
            }
        }
        let _bomb = Bomb;
        self.0.begun.send_modify(|begun| *begun += 1);
        std::future::pending().await
    }
}

impl RpcServerHandler for Meter {
    type ReceiveRpc = meter::Receiver<Self>;
    type SendRpc = meter::Sender;

    async fn on_rpc_connect(&self, _: &meter::Sender) -> Self::ReceiveRpc {
        meter::Receiver::new(self.clone())
    }
}

struct Places {
    endpoints: Vec<Endpoint>,
    _folder: tempfile::TempDir,
}

impl Places {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let folder = tempfile::tempdir().unwrap();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut endpoints = vec![
            Endpoint::Tcp("127.0.0.1:0".into()),
            Endpoint::Memory(format!("streams-{}-{number}", std::process::id())),
        ];
        if cfg!(unix) {
            endpoints.push(Endpoint::Unix(folder.path().join("s")));
        }
        if cfg!(windows) {
            endpoints.push(Endpoint::Pipe(format!("streams-{}-{number}", std::process::id())));
        }
        Self {
            endpoints,
            _folder: folder,
        }
    }
}

async fn meet(endpoint: Endpoint, limits: RpcLimits) -> (Arc<Shop>, RpcServer, RpcClient<meter::Sender>) {
    let shop = Shop::new();
    let builder = RpcServer::builder().limits(limits);
    let server = builder.bind(endpoint, Meter(Arc::clone(&shop))).await.unwrap();
    let client = RpcClient::connect(server.endpoint().clone(), ()).await.unwrap();
    (shop, server, client)
}

#[actix::test]
async fn items_come_in_order_and_answers_end_as_they_should() {
    const ITEMS: u64 = 10_000;
    for endpoint in Places::new().endpoints {
        let (_shop, _server, client) = meet(endpoint, RpcLimits::default().stream_window(4_000)).await;
        let sender = client.clone_sender();
        let items = stream::iter(1..=ITEMS).map(|number| meter::sum::Item { number });
        let sum = within("the sum", sender.sum(items)).await.unwrap();
        assert_eq!(sum, ITEMS * (ITEMS + 1) / 2);
        // Who answers early ends the items.
        let endless = stream::iter(5..).map(|number| meter::first::Item { number });
        assert_eq!(within("the first", sender.first(endless)).await.unwrap(), 5);
        let items = stream::iter(1..=ITEMS).map(|number| meter::running::Item { number });
        let mut sums = sender.running(items);
        let mut expected = 0;
        for number in 1..=ITEMS {
            expected += number;
            assert_eq!(
                within("a running sum", sums.next()).await.unwrap().unwrap(),
                expected
            );
        }
        assert!(within("the end", sums.next()).await.is_none());
        let got: Vec<_> = within("the rest", sender.halfway().collect()).await;
        let [Ok(1), Ok(2), Err(error)] = &got[..] else {
            panic!("{got:?}");
        };
        assert_eq!(
            (error.code, error.name.as_deref()),
            (ErrorCode::Handler, Some("Disk"))
        );
    }
}

/// One frame may always be beyond the window, however small that is; the end that follows it is no flood.
#[actix::test]
async fn items_larger_than_the_window_come_to_their_end_however_slowly_they_are_read() {
    const BYTES: u64 = 50_000;
    for window in [1, 1_000, 16_000] {
        for endpoint in Places::new().endpoints {
            let limits = RpcLimits::default().stream_window(window);
            let (shop, _server, client) = meet(endpoint, limits).await;
            let sender = &client.sender;
            for count in 1..=3 {
                let mut rows = sender.rows(count, BYTES);
                for _ in 0..count {
                    // What the server has sent by then, is here by then.
                    for _ in 0..3 {
                        let nothing = sender.sum(stream::empty());
                        assert_eq!(within("a sum of nothing", nothing).await.unwrap(), 0);
                    }
                    let row = within("a row", rows.next()).await.unwrap().unwrap();
                    assert_eq!(row.len() as u64, BYTES);
                }
                assert!(within("the end", rows.next()).await.is_none());

                let begun = *shop.begun.borrow();
                let items = (0..count).map(|_| meter::weigh::Item {
                    fill: vec![7; BYTES as usize],
                });
                let weighing = actix_rt::spawn(sender.weigh(stream::iter(items.collect::<Vec<_>>())));
                shop.begun(begun + 1).await;
                for _ in 0..100 {
                    actix_rt::task::yield_now().await;
                }
                shop.gate.add_permits(1);
                let weight = within("the weight", weighing).await.unwrap();
                assert_eq!(weight.unwrap(), count * BYTES);
            }
        }
    }
}

#[actix::test]
async fn who_gives_up_ends_what_the_other_one_reads() {
    for endpoint in Places::new().endpoints {
        let (shop, _server, client) = meet(endpoint, RpcLimits::default()).await;
        let items = stream::iter(1..=3).chain(stream::pending());
        let mut sums = client
            .sender
            .running(items.map(|number| meter::running::Item { number }));
        for expected in [1, 3, 6] {
            assert_eq!(within("a sum", sums.next()).await.unwrap().unwrap(), expected);
        }
        drop(sums);
        let items = stream::iter(1..=2).chain(stream::pending());
        let mut kept = client
            .sender
            .kept(items.map(|number| meter::kept::Item { number }));
        let given_up = async {
            tokio::select! {
                answer = &mut kept => panic!("{answer:?}"),
                () = shop.begun(2) => {}
            }
        };
        given_up.await;
        drop(kept);
        let mut ended = shop.ended.subscribe();
        let told = within("the end of the items", ended.wait_for(|ended| !ended.is_empty())).await;
        assert_eq!(*told.unwrap(), [ErrorCode::Cancelled]);
        // The next command runs.
        let items = stream::iter([meter::sum::Item { number: 2 }]);
        assert_eq!(within("the next", client.sender.sum(items)).await.unwrap(), 2);
    }
}

#[actix::test]
async fn a_handler_that_takes_nothing_holds_its_caller_back() {
    const ITEMS: u64 = 2_000;
    /// Each is 24 bytes and one to two of its number.
    const WINDOW: u32 = 1_000;
    for endpoint in Places::new().endpoints {
        let (shop, _server, client) = meet(endpoint, RpcLimits::default().stream_window(WINDOW)).await;
        let ahead = Arc::new(AtomicU64::new(0));
        let (most, taken) = (Arc::clone(&ahead), Arc::clone(&shop));
        let items = stream::iter(1..=ITEMS).map(move |number| {
            let unread = number - taken.taken.load(Ordering::SeqCst);
            most.fetch_max(unread, Ordering::SeqCst);
            meter::slow::Item { number }
        });
        let sender = client.clone_sender();
        let call = actix_rt::spawn(async move { sender.slow(items).await });
        shop.begun(1).await;
        // The call goes on as far as it is let.
        until_with_others("it goes on", || ahead.load(Ordering::SeqCst) >= 20).await;
        shop.gate.add_permits(1);
        assert_eq!(within("all of them", call).await.unwrap().unwrap(), ITEMS);
        let ahead = ahead.load(Ordering::SeqCst);
        assert!(
            (20..=100).contains(&ahead),
            "{ahead} items were made that nobody had taken"
        );
    }
}

#[actix::test]
async fn a_handler_that_panics_while_it_is_given_up_keeps_nobody_out() {
    for endpoint in Places::new().endpoints {
        let (shop, _server, client) = meet(endpoint, RpcLimits::default()).await;
        let mut bomb = client.sender.bomb();
        assert!(futures::poll!(&mut bomb).is_pending());
        shop.begun(1).await;
        // It waits behind the one that is given up.
        let mut next = client
            .sender
            .first(stream::iter([meter::first::Item { number: 7 }]));
        assert!(futures::poll!(&mut next).is_pending());
        drop(bomb);
        assert_eq!(within("the next", next).await.unwrap(), 7);
    }
}

/// Adds up, one message after the other.
#[derive(Default)]
struct Tally(u64);

impl Actor for Tally {
    type Context = Context<Self>;
}

impl Handler<tally::add::Request> for Tally {
    type Result = Result<u64>;

    fn handle(&mut self, asked: tally::add::Request, _: &mut Context<Self>) -> Self::Result {
        self.0 += asked.number;
        Ok(self.0)
    }
}

impl Handler<tally::upto::Request> for Tally {
    type Result = Result<Items<u64>>;

    fn handle(&mut self, asked: tally::upto::Request, _: &mut Context<Self>) -> Self::Result {
        Ok((1..=asked.number).collect())
    }
}

/// Hands its clients to the test.
struct Desk(watch::Sender<Option<tally::Sender>>);

impl RpcServerHandler for Desk {
    type ReceiveRpc = ();
    type SendRpc = tally::Sender;

    async fn on_rpc_connect(&self, _: &tally::Sender) {}

    async fn on_rpc_ready(&self, client: &tally::Sender) {
        let sender = tally::Sender::new(client.caller().clone());
        self.0.send_replace(Some(sender));
    }
}

#[actix::test]
async fn an_actor_answers_the_other_program() {
    for endpoint in Places::new().endpoints {
        let clients = watch::Sender::new(None);
        let mut ready = clients.subscribe();
        let server = RpcServer::bind(endpoint, Desk(clients)).await.unwrap();
        let actor = tally::actor(Tally::default().start());
        let connecting =
            RpcClient::<actix_ipc::protocol::NoProtocol>::connect(server.endpoint().clone(), actor);
        let _client = connecting.await.unwrap();
        let there = within("the client", ready.wait_for(Option::is_some)).await;
        let sender = there.unwrap().clone().unwrap();
        for (number, total) in [(2, 2), (3, 5)] {
            assert_eq!(within("a sum", sender.add(number)).await.unwrap(), total);
        }
        let all: Vec<u64> = within("a stream", sender.upto(3).map(|number| number.unwrap()).collect()).await;
        assert_eq!(all, [1, 2, 3]);
    }
}
