//! The enum of a protocol's requests: what a journal before a receiver sees.

use crate::ways::{WAYS, serve};
use actix_ipc::client::{HandlerError, Response};
use actix_ipc::protocol::{Dispatch, ProtocolInfo, Request, Result, protocol};
use futures::StreamExt;
use futures::future::BoxFuture;
use std::sync::{Arc, Mutex};

protocol! {
    pub mod notes {
        add { number: u64, text: String } return u64;
        view<'a, 'b> { name: &'a str, other: &'b str } return usize;
        clear;
        pair(u8, u8) return u8;
        upload<'a> { name: &'a str } stream { part: u8 } return u64;
        #[cfg(any())]
        never { lost: u8 };
    }
}

protocol! {
    /// All that borrows is not always there.
    mod sometimes {
        #[cfg(any())]
        lost<'a> { name: &'a str };
        #[cfg(all())]
        found<'a> { name: &'a str };
    }
}

protocol! {
    mod nothing {}
}

struct Notes;

impl notes::Receive for Notes {
    async fn add(&self, number: u64, text: String) -> Result<u64> {
        Ok(number + text.len() as u64)
    }

    async fn view(&self, name: &str, other: &str) -> Result<usize> {
        Ok(name.len() + other.len())
    }

    async fn clear(&self) -> Result<()> {
        Ok(())
    }

    async fn pair(&self, left: u8, right: u8) -> Result<u8> {
        Ok(left + right)
    }

    async fn upload(
        &self,
        name: &str,
        items: actix_ipc::protocol::Incoming<notes::upload::Item>,
    ) -> Result<u64> {
        Ok(name.len() as u64 + items.count().await as u64)
    }
}

/// Writes down what is asked for, and lets the receiver answer.
struct Journal<D> {
    answers: D,
    lines: Arc<Mutex<Vec<String>>>,
}

impl<D: Dispatch> Dispatch for Journal<D> {
    fn protocols(&self) -> Vec<&'static ProtocolInfo> {
        self.answers.protocols()
    }

    fn dispatch(&self, request: Request) -> BoxFuture<'_, std::result::Result<Response, HandlerError>> {
        let line = match notes::Requests::decode(&request) {
            Ok(notes::Requests::add(asked)) => format!("add {} {}", asked.number, asked.text),
            Ok(notes::Requests::view(asked)) => format!("view {} {}", asked.name, asked.other),
            Ok(other) => other.command().to_owned(),
            Err(error) => error.to_string(),
        };
        self.lines.lock().expect("no handler panics").push(line);
        self.answers.dispatch(request)
    }
}

#[tokio::test]
async fn every_request_is_read_before_its_handler_gets_it() {
    for way in WAYS {
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let journal = Journal {
            answers: notes::Receiver::new(Notes),
            lines: Arc::clone(&lines),
        };
        let (_served, notes): (_, notes::Sender) = serve(way, journal).await;
        assert_eq!(notes.add(1, "two".to_owned()).await.expect("answered"), 4);
        assert_eq!(notes.view("a", "bc").await.expect("answered"), 3);
        notes.clear().await.expect("sent");
        assert_eq!(notes.pair(1, 2).await.expect("answered"), 3);
        let parts = (0..3).map(|part| notes::upload::Item { part });
        assert_eq!(
            notes
                .upload("xy", futures::stream::iter(parts))
                .await
                .expect("answered"),
            5
        );
        let lines = lines.lock().expect("no handler panics").clone();
        assert_eq!(
            lines,
            ["add 1 two", "view a bc", "clear", "pair", "upload"],
            "{way:?}"
        );
    }
}

#[test]
fn a_request_of_any_command_is_one_value_that_can_be_kept() {
    let add = notes::add::Request {
        number: 1,
        text: "two".to_owned(),
    };
    let (name, other) = (String::from("a"), String::from("b"));
    let view = notes::view::Request {
        name: &name,
        other: &other,
    };
    for (request, text) in [
        (notes::Requests::from(add), r#"{"add":{"number":1,"text":"two"}}"#),
        (view.into(), r#"{"view":{"name":"a","other":"b"}}"#),
        (notes::pair::Request(1, 2).into(), r#"{"pair":[1,2]}"#),
    ] {
        assert_eq!(serde_json::to_string(&request).expect("it has a form"), text);
        let again: notes::Requests<'_> = serde_json::from_str(text).expect("it is read again");
        assert_eq!(again.command(), request.command());
    }
    let found = sometimes::Requests::from(sometimes::found::Request { name: &name });
    assert_eq!(found.command(), "found");
    assert_eq!(nothing::PROTOCOL.commands.len(), 0);
    assert_eq!(size_of::<nothing::Requests>(), 0);
}
