//! Streams of typed protocols, through a broker and point to point, where they go wrong: what cannot be read, what fails halfway, who ends early.
//!
//! That each form of the macro works is in `protocol_macros/streams.rs`, and what a stream of any items may be relied on for in
//! `conformance/streams.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    dead_code,
    reason = "what is not as expected fails the test; shared harnesses are used in part"
)]

#[path = "support/broker.rs"]
mod broker;
#[path = "support/ways.rs"]
mod ways;

use actix_ipc::protocol::{Error, Incoming, Items, Result};
use actix_ipc::{Encoding, ErrorCode, Payload};
use futures::stream::{self, StreamExt};
use ways::{WAYS, Way, serve};

actix_ipc::protocol::protocol! {
    pub mod meter {
        sum stream { number: u64 } return u64;
        first stream { number: u64 } return u64;
        halfway return stream u64;
        running stream { number: u64 } return stream u64;
        large { bytes: usize } -> stream { #[serde(with = "serde_bytes")] part: Vec<u8> };
        weigh stream { #[serde(with = "serde_bytes")] part: Vec<u8> } return usize;
    }
}

struct Meter;

impl meter::Receive for Meter {
    async fn sum(&self, mut items: Incoming<meter::sum::Item>) -> Result<u64> {
        let mut sum = 0;
        while let Some(item) = items.next().await {
            match item {
                Ok(item) => sum += item.number,
                Err(error) => {
                    assert!(items.next().await.is_none(), "after an error nothing follows");
                    return Err(error.into());
                }
            }
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

    async fn large(&self, bytes: usize) -> Result<Items<meter::large::Response>> {
        let parts = [vec![7; bytes], vec![8]].into_iter();
        Ok(parts.map(|part| meter::large::Response { part }).collect())
    }

    async fn weigh(&self, mut items: Incoming<meter::weigh::Item>) -> Result<usize> {
        let mut sum = 0;
        while let Some(item) = items.next().await {
            sum += item?.part.len();
        }
        Ok(sum)
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
}

#[actix::test]
async fn an_item_that_cannot_be_read_ends_its_stream() {
    let (served, sender): (_, meter::Sender) = serve(Way::Broker, meter::Receiver::new(Meter)).await;
    let client = served.caller.as_ref().unwrap();
    let start = [&meter::PROTOCOL_ID.to_le_bytes()[..]].concat();
    let request = || Payload {
        encoding: Encoding::PROTOCOL,
        bytes: start.clone().into(),
    };
    let good = Payload::encode(Encoding::POSTCARD, &3_u64).unwrap();
    for (bad, code) in [
        (
            Payload {
                encoding: Encoding::POSTCARD,
                bytes: vec![0xff].into(),
            },
            ErrorCode::Handler,
        ),
        (Payload::raw("7"), ErrorCode::Handler),
    ] {
        let items = stream::iter([Ok(good.clone()), Ok(bad), Ok(good.clone())]);
        let call = client
            .call("served", "sum")
            .item_payloads(items)
            .send_payload(request());
        let error = call.await.unwrap_err();
        assert_eq!((error.code, error.may_have_run), (code, true));
        assert!(error.message.contains("item"), "{error}");
    }
    // Items in JSON behind a request in JSON, as from a shell.
    let items = stream::iter([3_u64, 4]).map(|number| serde_json::json!({ "number": number }));
    let call = client.call("served", "sum").encoding(Encoding::JSON).items(items);
    assert_eq!(call.send::<_, u64>(&serde_json::json!({})).await.unwrap(), 7);
    let plain = sender.sum(stream::empty()).await.unwrap();
    assert_eq!(plain, 0);
}

#[actix::test]
async fn a_streamed_answer_that_fails_ends_with_its_error() {
    for way in WAYS {
        let (_served, sender): (_, meter::Sender) = serve(way, meter::Receiver::new(Meter)).await;
        let got: Vec<_> = sender.halfway().collect().await;
        let [Ok(1), Ok(2), Err(error)] = &got[..] else {
            panic!("{got:?}");
        };
        assert_eq!(
            (error.code, error.name.as_deref()),
            (ErrorCode::Handler, Some("Disk"))
        );
        assert_eq!(error.message, "the disk is gone");
    }
}

/// Waits for room at every item, so that no window is larger than what was sent.
#[actix::test]
async fn items_of_more_than_a_window_arrive_in_order_in_both_directions_at_once() {
    for way in WAYS {
        let (_served, sender): (_, meter::Sender) = serve(way, meter::Receiver::new(Meter)).await;
        const COUNT: u64 = 100_000;
        let items = stream::iter(1..=COUNT).map(|number| meter::running::Item { number });
        let sums = sender.running(items);
        let (count, last) = sums
            .fold((0, 0), |(count, _), sum| async move { (count + 1, sum.unwrap()) })
            .await;
        assert_eq!((count, last), (COUNT, COUNT * (COUNT + 1) / 2), "{way:?}");
    }
}

/// As the table of limits in docs/protocols.md says.
#[actix::test]
async fn an_item_of_an_answer_may_be_larger_than_a_frame_and_one_of_a_request_may_not() {
    const LARGE: usize = 17 << 20;
    for way in WAYS {
        let (_served, sender): (_, meter::Sender) = serve(way, meter::Receiver::new(Meter)).await;
        let got: Vec<usize> = sender
            .large(LARGE)
            .map(|item| item.unwrap().part.len())
            .collect()
            .await;
        assert_eq!(got, [LARGE, 1], "{way:?}");
        let part = |bytes| meter::weigh::Item { part: vec![7; bytes] };
        let fits = sender.weigh(stream::iter([part(1 << 20), part(3)])).await;
        assert_eq!(fits.unwrap(), (1 << 20) + 3);
        let error = sender
            .weigh(stream::iter([part(3), part(LARGE)]))
            .await
            .unwrap_err();
        assert_eq!(
            (error.code, error.may_have_run),
            (ErrorCode::TooLarge, true),
            "{way:?}"
        );
    }
}

#[actix::test]
async fn who_ends_early_ends_the_other() {
    for way in WAYS {
        let (_served, sender): (_, meter::Sender) = serve(way, meter::Receiver::new(Meter)).await;
        let endless = stream::iter(5..).map(|number| meter::first::Item { number });
        assert_eq!(sender.first(endless).await.unwrap(), 5);
        let endless = stream::iter(1..).map(|number| meter::running::Item { number });
        let sums: Vec<_> = sender
            .running(endless)
            .take(4)
            .map(|sum| sum.unwrap())
            .collect()
            .await;
        assert_eq!(sums, [1, 3, 6, 10]);
        assert_eq!(
            sender
                .sum(stream::iter([meter::sum::Item { number: 2 }]))
                .await
                .unwrap(),
            2
        );
    }
}
