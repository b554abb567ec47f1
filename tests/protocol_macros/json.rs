//! JSON point to point: what a program of another language sends that has no postcard.

use crate::broker::Place;
use actix_ipc::message::{Decoder, Draft, Encoding, Epoch, Flags, Kind, Meet, PROTOCOL_VERSION, Terms};
use actix_ipc::protocol::{Incoming, Items, NoProtocol, Result, RpcServer, RpcServerHandler, protocol};
use actix_ipc::{Endpoint, ErrorCode};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

protocol! {
    pub mod kit {
        echo { message: String, times: Option<u8> } -> { response: String };
        twice(u64) return u64;
        pair(u64, u64) return u64;
        done return ();
        count { to: u8 } return stream u8;
        sum stream { number: u64 } return u64;
        tick;
    }
}

struct Kit;

impl kit::Receive for Kit {
    async fn echo(&self, message: String, times: Option<u8>) -> Result<kit::echo::Response> {
        let response = message.repeat(times.unwrap_or(1).into());
        Ok(kit::echo::Response { response })
    }

    async fn twice(&self, number: u64) -> Result<u64> {
        Ok(number * 2)
    }

    async fn pair(&self, left: u64, right: u64) -> Result<u64> {
        Ok(left + right)
    }

    async fn done(&self) -> Result<()> {
        Ok(())
    }

    async fn count(&self, to: u8) -> Result<Items<u8>> {
        Ok((1..=to).collect())
    }

    async fn sum(&self, mut items: Incoming<kit::sum::Item>) -> Result<u64> {
        let mut sum = 0;
        while let Some(item) = items.next().await {
            sum += item?.number;
        }
        Ok(sum)
    }

    async fn tick(&self) -> Result<()> {
        Ok(())
    }
}

struct Serves;

impl RpcServerHandler for Serves {
    type ReceiveRpc = kit::Receiver<Kit>;
    type SendRpc = NoProtocol;

    async fn on_rpc_connect(&self, _: &NoProtocol) -> Self::ReceiveRpc {
        kit::Receiver::new(Kit)
    }
}

/// A program that knows the bytes and nothing else.
struct Other {
    stream: UnixStream,
    decoder: Decoder,
    calls: u64,
}

/// Kind, encoding, `aux` and payload of what came back.
type Came = (Kind, Encoding, u32, String);

impl Other {
    fn meet(endpoint: &Endpoint) -> Self {
        let Endpoint::Unix(path) = endpoint else {
            panic!("{endpoint} is no path");
        };
        let mut stream = UnixStream::connect(path).expect("it listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .expect("a limit");
        let meet = Meet {
            epoch: Epoch([3; 16]),
            terms: Terms {
                frame_bytes: 1 << 20,
                message_bytes: 1 << 20,
                stream_window: 1 << 16,
                open_calls: 8,
                call_window: 1 << 16,
                attachments: 0,
            },
            ..Meet::default()
        };
        let payload = meet.encode().expect("it is short");
        let frame = Draft::new(Kind::Meet, u64::from(PROTOCOL_VERSION)).aux(PROTOCOL_VERSION);
        let frame = frame.payload(Encoding::RAW, &payload).to_vec();
        let greeting = [&actix_ipc::message::handshake::PREFACE[..], &frame].concat();
        stream.write_all(&greeting).expect("it reads");
        let mut other = Self {
            stream,
            decoder: Decoder::new(1 << 20),
            calls: 0,
        };
        assert_eq!(other.next().0, Kind::Meet);
        other
    }

    fn next(&mut self) -> Came {
        let mut byte = [0];
        loop {
            self.stream.read_exact(&mut byte).expect("more comes");
            let batch = self.decoder.decode(&byte).expect("a frame");
            if let Some(view) = batch.view(0) {
                let text = String::from_utf8_lossy(view.payload).into_owned();
                return (view.header.kind, view.header.encoding, view.header.aux, text);
            }
        }
    }

    fn send(&mut self, method: &str, flags: Flags, json: &str) {
        self.calls += 1;
        let key = format!("kit\0{method}");
        let call = Draft::new(Kind::Call, self.calls)
            .flags(flags)
            .key(key.as_bytes())
            .payload(Encoding::JSON, json.as_bytes());
        self.stream.write_all(&call.to_vec()).expect("it reads");
    }

    fn call(&mut self, method: &str, json: &str) -> Came {
        self.send(method, Flags::NONE, json);
        self.next()
    }
}

#[actix::test]
async fn commands_in_json_are_answered_in_json() {
    let place = Place::new();
    let server = RpcServer::bind(place.endpoint(), Serves)
        .await
        .expect("it listens");
    let endpoint = server.endpoint().clone();
    let talk = tokio::task::spawn_blocking(move || {
        let mut other = Other::meet(&endpoint);
        let table = [
            ("echo", r#"{"message": "hi"}"#, r#"{"response":"hi"}"#),
            (
                "kit.echo",
                r#"{"message": "a", "times": 3}"#,
                r#"{"response":"aaa"}"#,
            ),
            ("kit.1.twice", "4", "8"),
            ("pair", "[1, 2]", "3"),
            ("done", "null", "null"),
            ("done", "{}", "null"),
        ];
        for (method, sent, expected) in table {
            let (kind, encoding, _, came) = other.call(method, sent);
            assert_eq!(
                (kind, encoding, came.as_str()),
                (Kind::Reply, Encoding::JSON, expected),
                "{method} {sent}"
            );
        }
        other.send("tick", Flags::NO_REPLY, "null");
        other.send("count", Flags::STREAM, r#"{"to": 2}"#);
        let streamed = [other.next(), other.next(), other.next()].map(|came| came.3);
        assert_eq!(streamed, ["1", "2", ""]);
        other.send("sum", Flags::ITEMS.with(Flags::CONTINUED), "{}");
        let number = other.calls;
        for (flags, item) in [
            (Flags::CONTINUED, r#"{"number": 3}"#),
            (Flags::CONTINUED, r#"{"number": 4}"#),
            (Flags::NONE, ""),
        ] {
            let piece = Draft::new(Kind::CallPiece, number).flags(flags);
            let piece = match item {
                "" => piece,
                item => piece.payload(Encoding::JSON, item.as_bytes()),
            };
            other.stream.write_all(&piece.to_vec()).expect("it reads");
        }
        let sum = std::iter::repeat_with(|| other.next()).find(|came| came.0 == Kind::Reply);
        assert_eq!(sum.expect("an answer").3, "7");
    });
    talk.await.expect("all as expected");
    server.shutdown().await;
}

#[actix::test]
async fn what_is_wrong_in_json_is_said_in_the_words_of_json() {
    let place = Place::new();
    let server = RpcServer::bind(place.endpoint(), Serves)
        .await
        .expect("it listens");
    let endpoint = server.endpoint().clone();
    let talk = tokio::task::spawn_blocking(move || {
        let mut other = Other::meet(&endpoint);
        let takes = "it takes {message: String, times: Option<u8>}";
        let table = [
            ("echo", "{}", format!("missing field `message`; {takes}")),
            (
                "echo",
                "7",
                format!("invalid type: integer `7`, expected an object; {takes}"),
            ),
            (
                "echo",
                r#"{"message": "a", "tmies": 3}"#,
                format!("unknown field `tmies`, expected `message` or `times`; {takes}"),
            ),
            (
                "twice",
                "[4]",
                "invalid type: sequence, expected u64; it takes u64, not in brackets".to_owned(),
            ),
            (
                "pair",
                "[1]",
                "invalid length 1, expected an array with 2 elements; it takes (u64, u64)".to_owned(),
            ),
            (
                "kit.2.echo",
                "{}",
                "kit serves kit in version 1, not in version 2".to_owned(),
            ),
            (
                "ecko",
                "{}",
                "kit has no command ecko in kit 1; did you mean echo?".to_owned(),
            ),
            (
                "kid.echo",
                "{}",
                "kit serves no protocol kid; did you mean kit?".to_owned(),
            ),
        ];
        for (method, sent, expected) in table {
            let (kind, _, code, came) = other.call(method, sent);
            assert_eq!(kind, Kind::Error, "{method} {sent}: {came}");
            let code = ErrorCode::from_code(code);
            assert!(
                matches!(code, ErrorCode::Invalid | ErrorCode::NoSuchMethod),
                "{method} {sent}: {code:?}"
            );
            assert!(came.ends_with(&expected), "{method} {sent}: {came}");
        }
    });
    talk.await.expect("all as expected");
    server.shutdown().await;
}
