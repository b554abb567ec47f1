//! A message type without a UUID.

use actix_ipc_macros::TypeUuid;

#[derive(TypeUuid)]
struct Message;

fn main() {}
