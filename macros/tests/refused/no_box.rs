//! What is no box of messages.

use actix_ipc_macros::MessageBox;

#[derive(MessageBox)]
struct Message {
    foo: i32,
}

#[derive(MessageBox)]
enum Nothing {}

#[derive(MessageBox)]
enum Generic<T> {
    One(T),
}

#[derive(MessageBox)]
enum Mixed {
    Fine(String),
    Unit,
    Pair(i32, i32),
    Named { foo: i32 },
}

fn main() {}
