//! Where a protocol may stand, and what its names may be.

use actix_ipc::protocol::{Answer, Result, Shape, protocol};
use serde_json::to_value;

/// Outside names that a careless expansion would take for its own.
#[allow(dead_code)]
mod outside {
    use actix_ipc::protocol::protocol;

    type Result<T> = ::core::result::Result<T, String>;
    type Option<T> = Result<T>;
    #[derive(Debug)]
    struct Box;
    #[derive(Debug)]
    struct Vec;
    #[derive(Debug)]
    struct Arc;
    trait Send {}
    trait Sync {}
    trait Clone {}
    mod std {}
    mod core {}
    mod serde {}
    mod actix_ipc_protocol {}

    protocol! {
        mod hidden {
            echo { message: String } -> { response: String };
            tick;
            rows -> stream { row: u8 };
            put stream { part: u8 } -> {};
        }
    }

    #[test]
    fn a_private_protocol_has_a_number() {
        assert_eq!(hidden::PROTOCOL_ID & 0xffff, 1);
        assert_eq!(hidden::PROTOCOL_CRATE, "actix-ipc");
    }
}

/// A crate that knows actix-ipc under another path.
mod renamed {
    pub(super) mod ipc {
        pub(crate) use actix_ipc::*;
    }
}

protocol! {
    #[actix_ipc(crate = crate::names::renamed::ipc)]
    pub(crate) mod elsewhere {
        echo { message: String } -> { response: String };
    }
}

protocol! {
    pub mod nothing {}
}

#[derive(Debug)]
struct Echo;

impl elsewhere::Receive for Echo {
    async fn echo(&self, message: String) -> Result<elsewhere::echo::Response> {
        Ok(elsewhere::echo::Response { response: message })
    }
}

protocol! {
    pub mod spelled {
        #[serde(rename_all = "camelCase")]
        ask { #[serde(rename = "tag", default)] own: i32, two_words: i32, #[serde(skip)] never: i32 }
            -> #[serde(rename_all = "SCREAMING-KEBAB-CASE")] {
                two_words: i32,
                #[serde(default, rename(serialize = "out", deserialize = "in"))]
                both: i32,
                r#type: i32,
            };
        all { #[serde(skip)] never: i32 } return ();
    }
}

/// What `rob describe` shows is what JSON callers write and read.
#[test]
fn fields_are_described_with_their_names_in_json() {
    let names = |shape: &Shape| match shape {
        Shape::Fields(fields) => fields.iter().map(|field| field.name).collect(),
        _ => Vec::new(),
    };
    let written = |value: serde_json::Value| {
        let mut keys: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    };
    let [ask, all] = spelled::PROTOCOL.commands else {
        panic!("{:?}", spelled::PROTOCOL);
    };
    assert_eq!(names(&ask.request), ["tag", "twoWords"]);
    let request = spelled::ask::Request {
        own: 1,
        two_words: 2,
        never: 3,
    };
    assert_eq!(written(to_value(request).unwrap()), ["tag", "twoWords"]);
    let Answer::One(answer) = &ask.answer else {
        panic!("{ask:?}");
    };
    assert_eq!(names(answer), ["TWO-WORDS", "out", "TYPE"]);
    let response = spelled::ask::Response {
        two_words: 1,
        both: 2,
        r#type: 3,
    };
    assert_eq!(written(to_value(response).unwrap()), ["TWO-WORDS", "TYPE", "out"]);
    assert_eq!(all.request, Shape::Empty, "nothing of it crosses");
}

#[test]
fn a_protocol_may_stand_in_a_function() {
    protocol! {
        mod local {
            say { text: String } return String;
        }
    }
    struct Say;
    impl local::Receive for Say {
        async fn say(&self, text: String) -> Result<String> {
            Ok(text)
        }
    }
    assert_eq!(local::PROTOCOL.commands.len(), 1);
    let receiver = local::Receiver::new(Say);
    assert!(format!("{receiver:?}").contains("local"), "{receiver:?}");
    assert_eq!(nothing::PROTOCOL.commands.len(), 0);
    assert_eq!(elsewhere::PROTOCOL_NAME, "elsewhere");
    assert_ne!(elsewhere::PROTOCOL_ID, local::PROTOCOL_ID);
    drop(elsewhere::Receiver::new(Echo));
}
