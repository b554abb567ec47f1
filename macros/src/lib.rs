//! The macros of actix-ipc: what the label bus derives, which `actix_ipc::bus` hands on beside the traits of the same names, and typed
//! protocols, which `actix_ipc::protocol` hands on.
//!
//! Owns what may be derived for what, how a protocol is written, and what a program is told when it may not. It refuses to know how a
//! message crosses the wire: the code it makes names the traits and functions of `actix_ipc` and nothing else. Called by the compiler.

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
///
/// ```text
/// protocol! {
///     /// What the shop can do.
///     #[version(2)]
///     pub mod shop {
///         /// Says the same again.
///         echo { message: String } -> { response: String };        // a request and an answer
///         get_status -> #[derive(Debug)] { status: String };       // no parameters
///         plain { a: i32, b: i32 } return i64;                     // the answer is one plain value
///         pair(i32, String) return (String, i32);                  // parameters without names: `arg0`, `arg1`
///         ack { id: u64 } -> {};                                   // an answer that only says that it is done
///         notify { event: String };                                // one-way: nothing comes back, no error either
///         tick;                                                    // one-way without parameters
///         view<'a> { name: &'a str } -> { found: bool };           // decoded borrowing from the frame, without a copy
///         rows { query: String } -> stream { row: String };        // a streamed answer
///         count { to: u64 } return stream u64;                     // the same with plain items
///         upload { name: String } stream { chunk: Vec<u8> } -> { total: u64 };   // items that follow the request
///         chat stream { line: String } -> stream { line: String };               // both ways at once
///     }
/// }
/// ```
///
/// # What may be written
///
/// Above the module: `#[version(N)]` (1 to 65535, default 1), `#[crate_name("shop")]` (for two crates that define the same protocol;
/// default: the crate in which it is written), `#[actix_ipc(crate = path)]` (where actix-ipc has another path; default
/// `::actix_ipc`), texts, and what the compiler knows for modules.
/// Above a command: texts, `#[cfg(…)]` for all of it, `#[deprecated]` for the methods that call it, and whatever is to stand above its
/// `Request`; after `->` or `stream` the same for `Response` or `Item`; above a field, for the field. Types implement serde's
/// `Serialize` and `Deserialize`, which the generated ones derive. Only requests may borrow, with named lifetimes.
/// A command that takes a stream has an answer. A name that is a keyword is written `r#type`; on the wire it is `type`.
/// In JSON a request has no other fields than its own; it is a slip of the caller's (`serde`'s `deny_unknown_fields`).
/// The module begins with `use super::*`; types that are not in scope beside it are written with a path from `crate`.
///
/// # What is made
///
/// - `PROTOCOL_ID` (FNV-1a of `crate::module`, the version in the low 16 bits), `PROTOCOL_NAME`, `PROTOCOL_CRATE`,
///   `PROTOCOL_VERSION`, the description `PROTOCOL` and the type `ProtocolMarker` for it.
/// - A module for each command with its `Request`, and its `Response` and `Item` where it has fields for them.
/// - `Sender`, with one method for each command, which takes the fields in order. It returns the future of the answer, a stream of
///   answers, or the future of a one-way command that is ready when it is sent. `Commands` is the trait with the same methods, for
///   senders of several protocols.
/// - `Receive`, the trait of a handler: the same methods, written as `async fn`, which return `protocol::Result` of the answer, of
///   `protocol::Items` for a stream, of `()` for a one-way command. Items of a request come as `protocol::Incoming`, last.
/// - `Receiver`, which answers calls with a handler, made by `Receiver::new(handler)`, by `handler.into_receiver()` or from an
///   `Arc` of a handler that others share.
/// - `actor(addr)`, the same for an actix actor: each `Request` is a message of actix, or, where it borrows, each `Owned`, whose
///   `request()` lends it again, and, where items follow, each `Streamed`, which has one of these and the items.
/// - `Requests`, an enum with a variant of its name for each command, which holds its `Request`. `Requests::decode` makes one of what a
///   `Dispatch` gets: for journals and filters before a receiver. It has serde's two traits.
///
/// Not allowed as names of commands, because the generated code has them: `new`, `clone`, `caller`, `protocols`, `into_receiver`, and
/// those of the module's types.
#[proc_macro]
pub fn protocol(input: TokenStream) -> TokenStream {
    protocol::protocol(input.into())
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}

/// Makes a sender of several protocols: `protocol_sender!(pub AppSender impl [app, admin::control]);`.
///
/// It has the methods of all of them, and for each a method with the name of its module that gives the protocol's own `Sender`: by it,
/// or as `app::Commands::ping(&sender)`, a command is called that two of them have. Where the type is used elsewhere, import the
/// protocols' `Commands` there. Texts above the name are passed on, and `#[actix_ipc(crate = path)]` is as for `protocol!`.
/// Two protocols with the same number do not compile.
#[proc_macro]
pub fn protocol_sender(input: TokenStream) -> TokenStream {
    protocol::sender(input.into())
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}

/// Makes a receiver of several protocols that one handler answers, which implements the `Receive` of each.
///
/// `protocol_handler!(pub AppReceiver impl [app, admin] with Handler);` makes `AppReceiver` for this type of handler,
/// `protocol_handler!(pub App impl [app, admin]);` makes `AppReceiver<H>` for any. Both have `new(handler)`, `handler()` and come from an
/// `Arc` of a handler too. Texts, paths and equal numbers are as for `protocol_sender!`. Protocols that are put together at run time
/// go into a `ProtocolRegistry`.
#[proc_macro]
pub fn protocol_handler(input: TokenStream) -> TokenStream {
    protocol::handler(input.into())
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}
