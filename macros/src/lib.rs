//! The derive macros of the label bus, which `actix_ipc::bus` hands on beside the traits of the same names.
//!
//! Owns what may be derived for what, and what a program is told when it may not. It refuses to know how a message crosses the
//! wire: the code it makes names the traits of `actix_ipc::bus` and nothing else. Called by the compiler.

mod message_box;
mod protocol;
mod type_uuid;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Gives a type the UUID by which the two ends of a message know it.
///
/// The UUID stands in an attribute, written as 32 hexadecimal digits in the groups 8-4-4-4-12. It must be a new one for each type
/// (`uuidgen` makes one), and a new one when the type changes so that programs built before cannot read it any more.
/// A type parameter is refused: each type that it stands for would need a UUID of its own.
///
/// ```text
/// #[derive(Serialize, Deserialize, TypeUuid)]
/// #[uuid = "7b07473e-9659-4d47-a502-8245d71c0078"]
/// struct MyMessage {
///     foo: i32,
///     bar: bool,
/// }
/// ```
#[proc_macro_derive(TypeUuid, attributes(uuid))]
pub fn type_uuid(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    type_uuid::derive(&input)
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}

/// Makes an enum a box of several message types, so that one endpoint sends or receives all of them.
///
/// Each variant holds one message type with a UUID of its own; two of the same do not compile. What crosses the wire is the message in
/// the box: an endpoint whose only type is `String` reads what another sent as `Multiple::String`.
///
/// ```text
/// #[derive(MessageBox)]
/// enum Multiple {
///     String(String),
///     I32(i32),
///     MyMessage(MyMessage),
/// }
/// ```
#[proc_macro_derive(MessageBox)]
pub fn message_box(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    message_box::derive(&input)
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}

/// Makes a module of a protocol: its types, who calls and who answers.
#[proc_macro]
pub fn protocol(input: TokenStream) -> TokenStream {
    protocol::protocol(input.into())
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}

/// Makes a sender of several protocols.
#[proc_macro]
pub fn protocol_sender(input: TokenStream) -> TokenStream {
    protocol::sender(input.into())
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}

/// Makes a receiver of several protocols.
#[proc_macro]
pub fn protocol_handler(input: TokenStream) -> TokenStream {
    protocol::handler(input.into())
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}
