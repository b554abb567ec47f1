//! A type that stands for many.

use actix_ipc_macros::TypeUuid;

#[derive(TypeUuid)]
#[uuid = "7b07473e-9659-4d47-a502-8245d71c0078"]
struct Message<T> {
    inner: T,
}

fn main() {}
