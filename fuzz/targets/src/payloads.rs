//! What the ends read: payloads in their encodings, and endpoints.

use crate::input::Input;
use actix_ipc::message::{Encoding, Payload};
use actix_ipc::transport::Endpoint;
use serde_json::Value;
use std::collections::BTreeMap;

/// Input: the encoding, then the payload. It is read as many types; what was read is written and read again.
pub fn payloads(data: &[u8]) {
    let mut input = Input::new(data);
    let encoding = Encoding(input.byte() % 4);
    let payload = Payload {
        encoding,
        bytes: input.rest().to_vec().into(),
    };
    assert!(!format!("{payload:?}").is_empty());
    comes_back::<u64>(&payload);
    comes_back::<i8>(&payload);
    comes_back::<bool>(&payload);
    comes_back::<char>(&payload);
    comes_back::<String>(&payload);
    comes_back::<Vec<u8>>(&payload);
    comes_back::<Option<(u32, String)>>(&payload);
    comes_back::<BTreeMap<String, Vec<i64>>>(&payload);
    comes_back::<Result<u16, (bool, Vec<String>)>>(&payload);
    if encoding == Encoding::JSON {
        comes_back::<Value>(&payload);
    }
}

fn comes_back<T>(payload: &Payload)
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    match payload.decode::<T>() {
        Ok(value) => {
            let Ok(again) = Payload::encode(payload.encoding, &value) else {
                // Raw is text and bytes only, and reads a little more than it writes.
                assert_eq!(payload.encoding, Encoding::RAW, "{value:?}");
                return;
            };
            assert_eq!(again.decode::<T>().as_ref(), Ok(&value));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Input: text. What is an endpoint is written as it was read, and nothing panics over what is not.
pub fn endpoints(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match text.parse::<Endpoint>() {
        Ok(endpoint) => {
            assert_eq!(endpoint.to_string(), text);
            let (scheme, rest) = text.split_once(':').expect("a transport");
            assert!(["unix", "tcp", "pipe", "mem"].contains(&scheme));
            assert!(!rest.is_empty());
            if scheme == "unix" {
                assert!(rest.starts_with('/') && !rest.ends_with('/') && !rest.contains('\0'));
            }
            if scheme == "tcp" {
                let (host, port) = rest.rsplit_once(':').expect("a port");
                assert!(!host.is_empty() && port.parse::<u16>().is_ok());
            }
            let json = serde_json::to_string(&endpoint).expect("text");
            assert_eq!(serde_json::from_str::<Endpoint>(&json).ok(), Some(endpoint));
        }
        Err(error) => assert!(error.to_string().contains("is not an endpoint")),
    }
}
