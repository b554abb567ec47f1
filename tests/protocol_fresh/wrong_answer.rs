//! Handlers that answer with another type, or take other arguments.

use actix_ipc::protocol::{Result, protocol};

protocol! {
    pub mod shop {
        buy { thing: String } return u32;
        sell { thing: String } -> { price: u32 };
        look { thing: String } return u32;
    }
}

struct Handler;

impl shop::Receive for Handler {
    async fn buy(&self, thing: String) -> Result<String> { //~ expected `buy` to
        Ok(thing)
    }

    async fn sell(&self, thing: String) -> Result<shop::sell::Response> {
        Ok(thing.len()) //~ mismatched types
    }

    async fn look(&self, thing: u32) -> Result<u32> { //~ incompatible type
        Ok(thing)
    }
}

fn main() {}
