//! The enum of all requests of a protocol: one value for whatever command was sent.
//!
//! For code that looks at commands before or beside their handler: journals, counters, filters. A protocol with a request that borrows
//! has an enum that borrows.

use super::super::syntax::Command;
use super::{Scene, erased};
use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;

pub(super) fn expand(commands: &[Command], scene: &Scene) -> TokenStream {
    let Scene { private, name, .. } = scene;
    let borrows = commands.iter().any(|command| !command.lifetimes.is_empty());
    let generics = borrows.then(|| quote!(<'__request>));
    let variants = commands.iter().map(variant);
    // Without the commands that borrow, nothing else would have the lifetime.
    let conditional = commands
        .iter()
        .filter(|command| !command.lifetimes.is_empty())
        .all(|command| !command.attributes.conditions.is_empty());
    let kept = (borrows && conditional).then(|| {
        quote! {
            #[doc(hidden)]
            #[serde(skip)]
            __Lifetime(::core::convert::Infallible, ::core::marker::PhantomData<&'__request ()>),
        }
    });
    let path = quote!(#private::serde).to_string().replace(' ', "");
    let doc = format!("A request of any command of `{name}`.");
    let names = commands.iter().map(|command| {
        let (name, conditions) = (&command.name, &command.attributes.conditions);
        let text = name.unraw().to_string();
        quote!(#(#conditions)* Self::#name(..) => #text,)
    });
    let decode = decode(commands, scene, borrows);
    let from = commands.iter().map(|command| from(command, generics.as_ref()));
    quote! {
        #[doc = #doc]
        ///
        /// The variants have the names of the commands. With [`Requests::decode`] code that stands before a receiver, as a journal does,
        /// sees what is asked for; of a streamed request it is the part before the items.
        #[allow(non_camel_case_types)]
        #[derive(#private::serde::Serialize, #private::serde::Deserialize)]
        #[serde(crate = #path)]
        pub enum Requests #generics {
            #(#variants,)*
            #kept
        }

        impl #generics Requests #generics {
            /// The name of the command.
            pub fn command(&self) -> &'static str {
                match self {
                    #(#names)*
                    #[allow(unreachable_patterns)]
                    _ => "",
                }
            }

            #decode
        }

        #(#from)*
    }
}

fn variant(command: &Command) -> TokenStream {
    let (name, request) = (&command.name, erased(command));
    let conditions = &command.attributes.conditions;
    let borrow = (!command.lifetimes.is_empty()).then(|| quote_spanned!(name.span()=> #[serde(borrow)]));
    let doc = format!("The request of `{}`.", name.unraw());
    quote! {
        #(#conditions)*
        #[doc = #doc]
        #name(#borrow #request)
    }
}

fn decode(commands: &[Command], scene: &Scene, borrows: bool) -> TokenStream {
    let Scene {
        root,
        protocol: runtime,
        ..
    } = scene;
    let lifetime = borrows.then(|| quote!('__request));
    let arms = commands.iter().map(|command| {
        let (name, conditions) = (&command.name, &command.attributes.conditions);
        let text = name.unraw().to_string();
        quote!(#(#conditions)* #text => request.decode().map(Self::#name),)
    });
    quote! {
        /// What a call asks for.
        ///
        /// # Errors
        /// What its caller is to be told: it is of another protocol or command, or cannot be read.
        pub fn decode(
            request: &#lifetime #runtime::Request,
        ) -> ::core::result::Result<Self, #root::client::HandlerError> {
            if request.protocol() != PROTOCOL_ID {
                return ::core::result::Result::Err(request.unknown(&[&PROTOCOL]));
            }
            match request.command() {
                #(#arms)*
                _ => ::core::result::Result::Err(request.unknown(&[&PROTOCOL])),
            }
        }
    }
}

fn from(command: &Command, generics: Option<&TokenStream>) -> TokenStream {
    let (name, request) = (&command.name, erased(command));
    let conditions = &command.attributes.conditions;
    quote! {
        #(#conditions)*
        impl #generics ::core::convert::From<#request> for Requests #generics {
            fn from(request: #request) -> Self {
                Self::#name(request)
            }
        }
    }
}
