//! `protocol!`, `protocol_sender!` and `protocol_handler!`: from the text of a protocol to its module.
//!
//! [`parse`] knows how a protocol is written, [`syntax`] what it is then, [`attributes`] what may stand above its parts, [`check`] what is wrong in one that can be
//! read, [`wire`] what serde makes of it, [`expand`] what becomes of it, and [`several`] what joins several protocols. The code that is made names one crate,
//! actix-ipc, and in it only what `protocol` exports. Called by the crate's root.

mod attributes;
mod check;
mod expand;
mod names;
mod parse;
mod several;
mod syntax;
#[cfg(test)]
mod tests;
mod types;
mod wire;

use proc_macro2::TokenStream;
use syn::Result;
use syn::parse::Parser;

/// The module of a protocol.
pub(crate) fn protocol(input: TokenStream) -> Result<TokenStream> {
    let protocol = parse::protocol.parse2(input)?;
    check::check(&protocol)?;
    Ok(expand::expand(&protocol))
}

/// One sender of several protocols.
pub(crate) fn sender(input: TokenStream) -> Result<TokenStream> {
    several::parse_sender
        .parse2(input)
        .map(|several| several::sender(&several))
}

/// One receiver of several protocols.
pub(crate) fn handler(input: TokenStream) -> Result<TokenStream> {
    several::parse_handler
        .parse2(input)
        .map(|several| several::handler(&several))
}
