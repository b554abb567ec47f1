//! A handler that has not all of the commands.

use actix_ipc::protocol::{Result, protocol};

protocol! {
    pub mod shop {
        buy { thing: String } return u32;
        sell { thing: String } return u32;
    }
}

struct Handler;

impl shop::Receive for Handler { //~ missing: `sell`
    async fn buy(&self, thing: String) -> Result<u32> {
        Ok(thing.len() as u32)
    }
}

fn main() {}
