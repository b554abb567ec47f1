//! A type that stands for many, one for each number.

use actix_ipc_macros::TypeUuid;

#[derive(TypeUuid)]
#[uuid = "7b07473e-9659-4d47-a502-8245d71c0078"]
struct Message<const N: usize> {
    inner: [u8; N],
}

fn main() {}
