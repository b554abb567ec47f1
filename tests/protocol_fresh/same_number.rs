//! One protocol twice in a receiver: a call could not be told apart.

use actix_ipc::protocol::{protocol, protocol_sender};

protocol! {
    pub mod shop {
        buy { thing: String } return u32;
    }
}

/// Another place.
pub mod other {
    actix_ipc::protocol::protocol! {
        pub mod shop {
            buy { thing: String } return u32;
        }
    }
}

protocol_sender!(Both impl [shop, other::shop]); //~ two of these protocols have the same number

fn main() {}
