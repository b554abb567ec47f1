//! `protocol_sender!` and `protocol_handler!`: several protocols on one sender, or answered by one handler.
//!
//! Owns how these are written and what becomes of them. They name the modules of the protocols by path and know nothing of what is in
//! these but `Sender`, `Commands`, `Receive`, `PROTOCOL` and `__dispatch`. Called by [`super`].

use super::attributes;
use super::names;
use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::ext::IdentExt;
use syn::parse::ParseStream;
use syn::punctuated::Punctuated;
use syn::{Attribute, Error, Ident, Path, Result, Token, Type, Visibility, bracketed, token};

syn::custom_keyword!(with);

/// `pub Name impl [p1, p2] with Handler`.
pub(crate) struct Several {
    docs: Vec<Attribute>,
    root: TokenStream,
    visibility: Visibility,
    name: Ident,
    protocols: Vec<Path>,
    handler: Option<Type>,
}

pub(crate) fn parse_sender(input: ParseStream<'_>) -> Result<Several> {
    let several = parse(input, "protocol_sender!(AppSender impl [app, admin])")?;
    end(input, several)
}

pub(crate) fn parse_handler(input: ParseStream<'_>) -> Result<Several> {
    let mut several = parse(
        input,
        "protocol_handler!(AppReceiver impl [app, admin] with Handler)",
    )?;
    if input.peek(with) {
        input.parse::<with>()?;
        several.handler = Some(input.parse()?);
    }
    end(input, several)
}

fn parse(input: ParseStream<'_>, form: &str) -> Result<Several> {
    let all = input.call(Attribute::parse_outer)?;
    let (docs, other): (Vec<Attribute>, Vec<Attribute>) = all
        .into_iter()
        .partition(|attribute| attribute.path().is_ident("doc"));
    let root = attributes::root(&other)?;
    let visibility = input.parse()?;
    let name = names::parse(input, "the type")?;
    if !input.peek(Token![impl]) {
        return Err(input.error(format_args!(
            "here `impl` and the protocols are expected: `{form}`"
        )));
    }
    input.parse::<Token![impl]>()?;
    if !input.peek(token::Bracket) {
        return Err(input.error(format_args!("the protocols stand in brackets: `{form}`")));
    }
    let content;
    let bracket = bracketed!(content in input);
    let protocols: Punctuated<Path, Token![,]> =
        content.parse_terminated(Path::parse_mod_style, Token![,])?;
    if protocols.is_empty() {
        let text = format!("here the modules of the protocols are expected: `{form}`");
        return Err(Error::new(bracket.span.join(), text));
    }
    Ok(Several {
        docs,
        root,
        visibility,
        name,
        protocols: protocols.into_iter().collect(),
        handler: None,
    })
}

fn end(input: ParseStream<'_>, several: Several) -> Result<Several> {
    match input.is_empty() {
        true => Ok(several),
        false => Err(input.error("nothing is expected here")),
    }
}

/// The name of a protocol: that of its module.
fn last(path: &Path) -> Option<&Ident> {
    path.segments.last().map(|segment| &segment.ident)
}

fn docs_or(several: &Several, text: &str) -> TokenStream {
    match &several.docs[..] {
        [] => quote!(#[doc = #text]),
        docs => quote!(#(#docs)*),
    }
}

/// The names of the protocols in a text.
fn listed(several: &Several) -> String {
    let names: Vec<String> = several
        .protocols
        .iter()
        .filter_map(last)
        .map(|name| format!("`{}`", name.unraw()))
        .collect();
    names.join(", ")
}

pub(crate) fn sender(several: &Several) -> TokenStream {
    let Several {
        root,
        visibility,
        name,
        protocols,
        ..
    } = several;
    let docs = docs_or(
        several,
        &format!(
            "Sends the commands of {}. Cloning shares the connection.",
            listed(several)
        ),
    );
    // Two modules of one name, of two versions perhaps, have no accessor: which one it gives would be by chance.
    let accessors = protocols.iter().filter_map(|path| {
        let accessor = last(path)?;
        let twice = protocols
            .iter()
            .filter(|other| last(other) == Some(accessor))
            .count()
            > 1;
        let doc = format!("The commands of `{}` alone.", accessor.unraw());
        (!twice && names::reserved(accessor).is_none()).then(|| {
            quote! {
                #[doc = #doc]
                #[allow(dead_code)]
                pub fn #accessor(&self) -> #path::Sender {
                    #root::protocol::ProtocolSender::new(::core::clone::Clone::clone(&self.caller))
                }
            }
        })
    });
    quote! {
        #docs
        #[derive(Clone, Debug)]
        #visibility struct #name {
            caller: #root::protocol::Caller,
        }

        impl #name {
            #(#accessors)*
        }

        impl #root::protocol::ProtocolSender for #name {
            fn new(caller: #root::protocol::Caller) -> Self {
                Self { caller }
            }

            fn caller(&self) -> &#root::protocol::Caller {
                &self.caller
            }

            fn protocols() -> ::std::vec::Vec<&'static #root::protocol::ProtocolInfo> {
                ::std::vec![#(&#protocols::PROTOCOL),*]
            }
        }

        #(
            impl #protocols::Commands for #name {}

            #[allow(unused_imports)]
            use #protocols::Commands as _;
        )*

        const _: () = #root::protocol::__private::assert_distinct(&[#(#protocols::PROTOCOL_ID),*]);
    }
}

pub(crate) fn handler(several: &Several) -> TokenStream {
    let Several {
        root,
        visibility,
        name,
        protocols,
        handler,
        ..
    } = several;
    let text = format!(
        "Answers the commands of {} with one handler. Cloning shares the handler.",
        listed(several)
    );
    let docs = docs_or(several, &text);
    // A type of its own, or one for any handler of these protocols.
    let (name, generics, arguments, handler) = match handler {
        Some(handler) => (name.clone(), quote!(), quote!(), quote!(#handler)),
        None => (
            format_ident!("{}Receiver", name.unraw(), span = name.span()),
            quote!(<__Handler: #(#protocols::Receive)+*>),
            quote!(<__Handler>),
            quote!(__Handler),
        ),
    };
    let usual = usual(&name, &generics, &arguments, &handler);
    let private = quote!(#root::protocol::__private);
    quote! {
        #docs
        #visibility struct #name #generics {
            handler: ::std::sync::Arc<#handler>,
        }

        #[allow(dead_code)]
        impl #generics #name #arguments {
            /// What answers with this handler.
            pub fn new(handler: #handler) -> Self {
                ::core::convert::From::from(::std::sync::Arc::new(handler))
            }

            /// The handler.
            pub fn handler(&self) -> &#handler {
                &self.handler
            }
        }

        #usual

        impl #generics #root::protocol::Dispatch for #name #arguments {
            fn protocols(&self) -> ::std::vec::Vec<&'static #root::protocol::ProtocolInfo> {
                ::std::vec![#(&#protocols::PROTOCOL),*]
            }

            fn dispatch(&self, request: #root::protocol::Request) -> #private::Answering<'_> {
                match request.protocol() {
                    #(#protocols::PROTOCOL_ID => #protocols::__dispatch(&*self.handler, request),)*
                    _ => #private::refuse(request.unknown(&[#(&#protocols::PROTOCOL),*])),
                }
            }
        }

        const _: () = #private::assert_distinct(&[#(#protocols::PROTOCOL_ID),*]);
    }
}

/// What any handle of a handler can do: made of one that is shared, cloned, shown.
fn usual(
    name: &Ident,
    generics: &TokenStream,
    arguments: &TokenStream,
    handler: &TokenStream,
) -> TokenStream {
    let text = name.to_string();
    quote! {
        impl #generics ::core::convert::From<::std::sync::Arc<#handler>> for #name #arguments {
            fn from(handler: ::std::sync::Arc<#handler>) -> Self {
                Self { handler }
            }
        }

        impl #generics ::core::clone::Clone for #name #arguments {
            fn clone(&self) -> Self {
                Self { handler: ::std::sync::Arc::clone(&self.handler) }
            }
        }

        impl #generics ::core::fmt::Debug for #name #arguments {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.debug_struct(#text).finish_non_exhaustive()
            }
        }
    }
}
