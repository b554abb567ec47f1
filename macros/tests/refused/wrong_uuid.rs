//! Texts that are no UUID, or none of one type.

use actix_ipc_macros::TypeUuid;

#[derive(TypeUuid)]
#[uuid = "7b07473e"]
struct Short;

#[derive(TypeUuid)]
#[uuid = "7b07473e-9659-4d47-a502-8245d71c007g"]
struct NoDigit;

#[derive(TypeUuid)]
#[uuid = "7b07473e09659-4d47-a502-8245d71c0078"]
struct NoDash;

#[derive(TypeUuid)]
#[uuid = "00000000-0000-0000-0000-000000000000"]
struct Nil;

#[derive(TypeUuid)]
#[uuid("7b07473e-9659-4d47-a502-8245d71c0078")]
struct List;

#[derive(TypeUuid)]
#[uuid = "7b07473e-9659-4d47-a502-8245d71c0078"]
#[uuid = "7b07473e-9659-4d47-a502-8245d71c0079"]
struct Two;

fn main() {}
