//! Streams: of answers, of what follows a request, and of both.

use crate::ways::{WAYS, serve};
use actix_ipc::protocol::{Error, Incoming, Items, ProtocolSender, Result, protocol};
use actix_ipc::{ErrorCode, HandlerError};
use futures::StreamExt;
use std::sync::atomic::{AtomicUsize, Ordering};

protocol! {
    pub mod streams {
        rows { query: String } -> stream #[derive(Debug, PartialEq)] { row: String };
        count { to: u64 } return stream u64;
        all return stream String;
        upload { name: String } stream #[derive(Debug)] { chunk: Vec<u8> } -> { total: u64 };
        sum stream { number: u64, items: u64 } return u64;
        tuple(u64) stream { number: u64 } return u64;
        view<'a> { items: &'a str } stream { number: u64 } return String;
        chat stream { line: String } -> stream { line: String };
        echo { greeting: String } stream { line: String } return stream String;
    }
}

struct Streams;

impl streams::Receive for Streams {
    async fn rows(&self, query: String) -> Result<Items<streams::rows::Response>> {
        let rows = (0..3).map(move |row| streams::rows::Response {
            row: format!("{query} {row}"),
        });
        Ok(rows.collect())
    }

    async fn count(&self, to: u64) -> Result<Items<u64>> {
        Ok((1..=to).collect())
    }

    async fn all(&self) -> Result<Items<String>> {
        let items = [Ok("one".to_owned()), Err(Error::new("no more"))];
        Ok(Items::new(futures::stream::iter(items)))
    }

    async fn upload(
        &self,
        name: String,
        mut items: Incoming<streams::upload::Item>,
    ) -> Result<streams::upload::Response> {
        let mut total = name.len() as u64;
        while let Some(item) = items.next().await {
            total += item?.chunk.len() as u64;
        }
        Ok(streams::upload::Response { total })
    }

    async fn sum(&self, mut items: Incoming<streams::sum::Item>) -> Result<u64> {
        let mut sum = 0;
        while let Some(item) = items.next().await {
            let item = item?;
            sum += item.number + item.items;
        }
        Ok(sum)
    }

    async fn tuple(&self, start: u64, items: Incoming<streams::tuple::Item>) -> Result<u64> {
        let numbers: Vec<_> = items.collect().await;
        Ok(start + numbers.len() as u64)
    }

    async fn view(&self, start: &str, items: Incoming<streams::view::Item>) -> Result<String> {
        let numbers: Vec<_> = items.collect().await;
        Ok(format!("{start} {}", numbers.len()))
    }

    async fn chat(&self, items: Incoming<streams::chat::Item>) -> Result<Items<streams::chat::Response>> {
        let lines = items.map(|item| {
            let line = item?.line.to_uppercase();
            Ok(streams::chat::Response { line })
        });
        Ok(Items::new(lines))
    }

    async fn echo(&self, greeting: String, items: Incoming<streams::echo::Item>) -> Result<Items<String>> {
        Ok(Items::new(
            items.map(move |item| Ok(format!("{greeting} {}", item?.line))),
        ))
    }
}

#[tokio::test]
async fn answers_come_one_by_one_and_an_error_ends_them() {
    for way in WAYS {
        let (_served, streams): (_, streams::Sender) = serve(way, streams::Receiver::new(Streams)).await;
        let rows: Vec<String> = streams
            .rows("q".to_owned())
            .map(|row| row.expect("a row").row)
            .collect()
            .await;
        assert_eq!(rows, ["q 0", "q 1", "q 2"]);
        let count: Vec<u64> = streams
            .count(4)
            .map(|number| number.expect("a number"))
            .collect()
            .await;
        assert_eq!(count, [1, 2, 3, 4]);
        let mut all = streams.all();
        assert_eq!(all.next().await.expect("an item").expect("the first"), "one");
        let error = all.next().await.expect("an item").expect_err("the second");
        assert!(error.to_string().contains("no more"), "{error}");
    }
}

#[tokio::test]
async fn what_follows_a_request_arrives_in_order() {
    for way in WAYS {
        let (_served, streams): (_, streams::Sender) = serve(way, streams::Receiver::new(Streams)).await;
        let chunks = (0..5).map(|length| streams::upload::Item {
            chunk: vec![0; length],
        });
        let upload = streams.upload("name".to_owned(), futures::stream::iter(chunks));
        assert_eq!(upload.await.expect("answered").total, 14);
        let numbers = (0..4).map(|number| streams::sum::Item { number, items: 1 });
        assert_eq!(
            streams
                .sum(futures::stream::iter(numbers))
                .await
                .expect("answered"),
            10
        );
        let numbers = (0..4).map(|number| streams::tuple::Item { number });
        assert_eq!(
            streams
                .tuple(5, futures::stream::iter(numbers))
                .await
                .expect("answered"),
            9
        );
        let view = {
            let start = String::from("start");
            let numbers = (0..4).map(|number| streams::view::Item { number });
            streams.view(&start, futures::stream::iter(numbers))
        };
        assert_eq!(view.await.expect("answered"), "start 4");
    }
}

#[tokio::test]
async fn both_ways_at_once() {
    for way in WAYS {
        let (_served, streams): (_, streams::Sender) = serve(way, streams::Receiver::new(Streams)).await;
        let lines = ["a", "b"].map(|line| streams::chat::Item {
            line: line.to_owned(),
        });
        let answers = streams.chat(futures::stream::iter(lines));
        let answers: Vec<String> = answers.map(|answer| answer.expect("a line").line).collect().await;
        assert_eq!(answers, ["A", "B"]);
        let lines = ["a", "b"].map(|line| streams::echo::Item {
            line: line.to_owned(),
        });
        let answers = streams.echo("hi".to_owned(), futures::stream::iter(lines));
        let answers: Vec<String> = answers.map(|answer| answer.expect("a line")).collect().await;
        assert_eq!(answers, ["hi a", "hi b"]);
    }
}

protocol! {
    mod late {
        numbers return stream u8;
    }
}

/// Finds in the middle of its answer that it cannot go on.
struct Late(AtomicUsize);

impl late::Receive for Late {
    async fn numbers(&self) -> Result<Items<u8>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        let error = HandlerError {
            code: ErrorCode::Overloaded,
            ..HandlerError::new("no more of them")
        };
        Ok(Items::new(futures::stream::iter([Ok(1), Err(error.into())])))
    }
}

#[tokio::test]
async fn an_error_in_the_middle_of_an_answer_never_says_that_nothing_has_run() {
    for way in WAYS {
        let answers = late::Receiver::new(Late(AtomicUsize::new(0)));
        let (_served, late): (_, late::Sender) = serve(way, answers).await;
        let mut numbers = late.numbers();
        assert_eq!(numbers.next().await.expect("an item").expect("a number"), 1);
        let error = numbers.next().await.expect("an item").expect_err("the end");
        assert_eq!((error.code, error.may_have_run), (ErrorCode::Overloaded, true));
    }
}

#[tokio::test]
async fn a_caller_that_takes_no_stream_is_refused_before_anything_runs() {
    for way in WAYS {
        let answers = late::Receiver::new(Late(AtomicUsize::new(0)));
        let (_served, late): (_, late::Sender) = serve(way, answers.clone()).await;
        let numbers = late::PROTOCOL.commands.first().expect("it has one");
        let call = late
            .caller()
            .call::<_, u8>(&late::PROTOCOL, numbers, &late::numbers::Request);
        let error = call.await.expect_err("it takes one answer");
        assert_eq!(
            (error.code, error.may_have_run),
            (ErrorCode::Invalid, false),
            "{error}"
        );
        assert!(error.message.contains("the caller must ask for one"), "{error}");
        assert_eq!(answers.handler().0.load(Ordering::SeqCst), 0, "it has not run");
    }
}
