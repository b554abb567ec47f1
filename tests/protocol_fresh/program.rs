//! A program whose only crates are actix-ipc and tokio: every form of a protocol, answered and called through the broker whose address
//! is its argument.
#![deny(warnings, missing_docs, clippy::all)]

use actix_ipc::protocol::{Incoming, Items, Result, protocol, protocol_handler, protocol_sender};
use actix_ipc::{Endpoint, IpcClient};
use std::borrow::Cow;

protocol! {
    /// What is calculated.
    #[version(3)]
    pub mod calc {
        add { a: i32, b: i32 } -> #[derive(Debug)] { sum: i32 };
        forget;
        find<'a> { name: &'a str, other: Cow<'a, str> } return usize;
        pair(i32, String) return (String, i32);
        count { to: u32 } return stream u32;
        rows -> stream { row: String };
        total { start: u32 } stream { number: u32 } return u32;
        r#match { r#type: u8 } return u8
    }
}

protocol! {
    mod admin {
        stop { reason: String };
        ask return Option<String>;
    }
}

protocol_sender!(Both impl [calc, admin]);
protocol_handler!(BothReceiver impl [calc, admin] with Handler);
protocol_handler!(Any impl [calc, admin]);

/// Answers both.
#[derive(Debug)]
pub struct Handler;

impl calc::Receive for Handler {
    async fn add(&self, a: i32, b: i32) -> Result<calc::add::Response> {
        Ok(calc::add::Response { sum: a + b })
    }

    async fn forget(&self) -> Result<()> {
        Ok(())
    }

    async fn find(&self, name: &str, other: Cow<'_, str>) -> Result<usize> {
        Ok(name.len() + other.len())
    }

    async fn pair(&self, number: i32, text: String) -> Result<(String, i32)> {
        Ok((text, number))
    }

    async fn count(&self, to: u32) -> Result<Items<u32>> {
        Ok((0..to).collect())
    }

    async fn rows(&self) -> Result<Items<calc::rows::Response>> {
        let row = "only".to_owned();
        Ok([calc::rows::Response { row }].into_iter().collect())
    }

    async fn total(&self, start: u32, mut items: Incoming<calc::total::Item>) -> Result<u32> {
        let mut total = start;
        while let Some(item) = items.next().await {
            total += item?.number;
        }
        Ok(total)
    }

    async fn r#match(&self, r#type: u8) -> Result<u8> {
        Ok(r#type)
    }
}

impl admin::Receive for Handler {
    async fn stop(&self, _reason: String) -> Result<()> {
        Ok(())
    }

    async fn ask(&self) -> Result<Option<String>> {
        // Any error of the standard library becomes one of the protocol.
        let number: u8 = "7".parse()?;
        Ok(Some(number.to_string()))
    }
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args()
        .nth(1)
        .ok_or("the address of the broker is missing")?;
    let endpoint: Endpoint = address.parse()?;
    let client = IpcClient::connect_to(endpoint).await?;
    let _calc = client.add_protocol("fresh", BothReceiver::new(Handler)).await?;
    let both: Both = client.protocol("fresh").await?;
    let (sum, pair) = (both.add(40, 2).await?.sum, both.pair(1, "one".to_owned()).await?);
    let found = both.find("four", Cow::Borrowed("four")).await?;
    both.forget().await?;
    both.admin().stop("done".to_owned()).await?;
    let mut count = both.count(3);
    let mut counted = Vec::new();
    while let Some(number) = count.next().await {
        counted.push(number?);
    }
    println!("{sum} {pair:?} {found} {counted:?} {:?}", both.ask().await?);
    Ok(())
}
