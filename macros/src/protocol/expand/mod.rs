//! What becomes of a protocol: its module.
//!
//! Owns the module's frame and its description; [`command`] makes the types of each command, [`sender`] those who call, [`receive`]
//! those who answer, [`actor`] those among these that are actix actors, [`requests`] the enum of all requests. Called when nothing is
//! wrong any more.

mod actor;
mod command;
mod receive;
mod requests;
mod sender;

use super::attributes::doc_text;
use super::syntax::{Answer, Command, Protocol, Request};
use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};
use syn::ext::IdentExt;
use syn::{Attribute, Type};

/// What the generated code is not to be blamed for in a crate with strict lints: its parts that a program does not use, and forms
/// that people would not write. Of what a program writes itself, its types, nothing is hidden.
fn lenient() -> TokenStream {
    quote! {
        #[allow(
            dead_code, deprecated, elided_lifetimes_in_paths, missing_copy_implementations, missing_debug_implementations,
            single_use_lifetimes, unreachable_pub, unused_imports, unused_lifetimes, unused_qualifications, unused_results,
            clippy::all, clippy::pedantic, clippy::nursery
        )]
    }
}

/// What all parts need to know of a protocol.
pub(super) struct Scene {
    /// `::actix_ipc`.
    pub(super) root: TokenStream,
    /// `::actix_ipc::protocol`.
    pub(super) protocol: TokenStream,
    /// `::actix_ipc::protocol::__private`.
    pub(super) private: TokenStream,
    /// The protocol's name, for texts.
    pub(super) name: String,
}

impl Scene {
    pub(super) fn new(root: &TokenStream, name: &Ident) -> Self {
        Self {
            root: root.clone(),
            protocol: quote!(#root::protocol),
            private: quote!(#root::protocol::__private),
            name: name.unraw().to_string(),
        }
    }
}

pub(crate) fn expand(protocol: &Protocol) -> TokenStream {
    let scene = Scene::new(&protocol.attributes.root, &protocol.name);
    let head = head(protocol, &scene);
    let modules = protocol
        .commands
        .iter()
        .map(|command| command::module(command, &scene));
    let sender = sender::expand(&protocol.commands, &scene);
    let receive = receive::expand(&protocol.commands, &scene);
    let actor = actor::expand(&protocol.commands, &scene);
    let requests = requests::expand(&protocol.commands, &scene);
    let (docs, passed) = (&protocol.attributes.docs, &protocol.attributes.passed);
    let docs = docs_or(docs, &format!("The protocol `{}`.", scene.name));
    let (visibility, name) = (&protocol.visibility, &protocol.name);
    let lenient = lenient();
    quote! {
        #docs
        #(#passed)*
        #lenient
        #visibility mod #name {
            use super::*;
            #head
            #sender
            #receive
            #actor
            #requests
            #(#modules)*
        }
    }
}

/// The constants and the description.
fn head(protocol: &Protocol, scene: &Scene) -> TokenStream {
    let Scene {
        protocol: runtime,
        name,
        ..
    } = scene;
    let version = protocol.attributes.version;
    let origin = match &protocol.attributes.origin {
        Some(origin) => quote!(#origin),
        None => quote!(::core::env!("CARGO_PKG_NAME")),
    };
    let doc = doc_text(&protocol.attributes.docs);
    let infos = protocol.commands.iter().map(|command| {
        let (conditions, name) = (&command.attributes.conditions, &command.name);
        quote!(#(#conditions)* #name::INFO)
    });
    quote! {
        /// The number by which both sides know the protocol: its crate and name, with the version in the low 16 bits.
        pub const PROTOCOL_ID: u64 = #runtime::protocol_id(PROTOCOL_CRATE, PROTOCOL_NAME, PROTOCOL_VERSION);
        /// The name of the protocol.
        pub const PROTOCOL_NAME: &str = #name;
        /// The crate that defines the protocol.
        pub const PROTOCOL_CRATE: &str = #origin;
        /// The version of the protocol.
        pub const PROTOCOL_VERSION: u16 = #version;
        /// The protocol as it is described to others.
        pub static PROTOCOL: #runtime::ProtocolInfo = #runtime::ProtocolInfo::new(
            PROTOCOL_CRATE,
            PROTOCOL_NAME,
            PROTOCOL_VERSION,
            #doc,
            &[#(#infos),*],
        );

        /// Stands for the protocol where a type is wanted.
        #[derive(Clone, Copy, Debug)]
        pub struct ProtocolMarker;

        impl #runtime::ProtocolMetadata for ProtocolMarker {
            const PROTOCOL: &'static #runtime::ProtocolInfo = &PROTOCOL;
        }
    }
}

/// The author's own text, or ours where there is none.
fn docs_or<'a>(docs: impl IntoIterator<Item = &'a Attribute>, other: &str) -> TokenStream {
    let mut docs = docs.into_iter().peekable();
    match docs.peek() {
        None => quote!(#[doc = #other]),
        Some(_) => quote!(#(#docs)*),
    }
}

/// The arguments of a command: their names and types.
fn arguments(command: &Command) -> (Vec<Ident>, Vec<&Type>) {
    let fields = command.request.fields().iter().enumerate();
    fields
        .map(|(place, field)| match &field.name {
            Some(name) => (name.clone(), &field.ty),
            None => (format_ident!("arg{place}"), &field.ty),
        })
        .unzip()
}

/// A request of these arguments, as a value or as a pattern.
fn request_of(command: &Command) -> TokenStream {
    let name = &command.name;
    let (arguments, _) = arguments(command);
    match command.request {
        Request::Empty => quote!(#name::Request),
        Request::Fields(_) => quote!(#name::Request { #(#arguments),* }),
        Request::Tuple(_) => quote!(#name::Request(#(#arguments),*)),
    }
}

/// The type of an answer, or of one of its items.
fn answer_of(command: &Command) -> TokenStream {
    let name = &command.name;
    match &command.answer {
        Answer::Nothing => quote!(()),
        Answer::One(_) | Answer::Stream(_) => quote!(#name::Response),
        Answer::Plain(ty) | Answer::PlainStream(ty) => quote!(#ty),
    }
}

/// The type of a request, all that it borrows with the lifetime `'__request`.
fn erased(command: &Command) -> TokenStream {
    let name = &command.name;
    match command.lifetimes.len() {
        0 => quote!(#name::Request),
        count => {
            let lifetimes = std::iter::repeat_n(quote!('__request), count);
            quote!(#name::Request<#(#lifetimes),*>)
        }
    }
}

/// `<'a>`, or nothing.
fn generics(command: &Command) -> TokenStream {
    match &command.lifetimes[..] {
        [] => TokenStream::new(),
        lifetimes => quote!(<#(#lifetimes),*>),
    }
}
