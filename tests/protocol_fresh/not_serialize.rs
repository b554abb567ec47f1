//! A field whose type cannot be sent.

use actix_ipc::protocol::protocol;

/// A type of the program.
#[derive(Debug)]
pub struct Plain;

protocol! {
    pub mod shop {
        buy { //~ the trait bound `Plain: serde::Serialize` is not satisfied
            thing: Plain, //~ the trait bound `Plain: serde::Deserialize<'de>` is not satisfied
        } -> { price: u32 };
    }
}

fn main() {}
