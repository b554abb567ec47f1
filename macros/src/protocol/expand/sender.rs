//! Those who call: `Sender`, and the trait `Commands` for senders of several protocols.

use super::super::syntax::{Answer, Command};
use super::{Scene, answer_of, arguments, docs_or, request_of};
use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;
use syn::ext::IdentExt;

pub(super) fn expand(commands: &[Command], scene: &Scene) -> TokenStream {
    let Scene {
        protocol: runtime,
        name,
        ..
    } = scene;
    let own = commands
        .iter()
        .map(|command| method(command, scene, Place::Sender));
    let shared = commands
        .iter()
        .map(|command| method(command, scene, Place::Trait));
    let (doc, trait_doc) = (
        format!("Sends the commands of `{name}`. Cloning shares the connection."),
        format!("The commands of `{name}`, for senders of several protocols."),
    );
    quote! {
        #[doc = #doc]
        #[derive(Clone, Debug)]
        pub struct Sender {
            caller: #runtime::Caller,
        }

        impl Sender {
            #(#own)*
        }

        impl #runtime::ProtocolSender for Sender {
            fn new(caller: #runtime::Caller) -> Self {
                Self { caller }
            }

            fn caller(&self) -> &#runtime::Caller {
                &self.caller
            }

            fn protocols() -> ::std::vec::Vec<&'static #runtime::ProtocolInfo> {
                ::std::vec![&PROTOCOL]
            }
        }

        #[doc = #trait_doc]
        pub trait Commands: #runtime::ProtocolSender {
            #(#shared)*
        }

        impl Commands for Sender {}
    }
}

/// Where a method stands.
#[derive(Clone, Copy)]
enum Place {
    Sender,
    Trait,
}

fn method(command: &Command, scene: &Scene, place: Place) -> TokenStream {
    let Scene {
        root,
        protocol: runtime,
        ..
    } = scene;
    let name = &command.name;
    let docs = match place {
        Place::Sender => docs_or(&command.attributes.docs, &format!("Calls `{}`.", name.unraw())),
        Place::Trait => docs_or(&[], &format!("Calls `{0}`, as [`Sender::{0}`].", name.unraw())),
    };
    let (conditions, deprecated) = (&command.attributes.conditions, &command.attributes.deprecated);
    let (arguments, types) = arguments(command);
    let value = request_of(command);
    let (visibility, caller) = match place {
        Place::Sender => (quote!(pub), quote!(self.caller)),
        Place::Trait => (quote!(), quote!(#runtime::ProtocolSender::caller(self))),
    };
    let (what, returned) = exchange(command, root);
    let lifetimes = &command.lifetimes;
    let private = &scene.private;
    let (bound, parameter, given) = match command.items {
        None => (quote!(), quote!(), quote!()),
        Some(_) => {
            // A field may have the same name.
            let items = Ident::new("items", Span::mixed_site());
            (
                quote!(__Items: #private::ItemStream<#name::Item> + ::core::marker::Send + 'static),
                quote!(#items: __Items),
                quote!(, #items),
            )
        }
    };
    quote! {
        #docs
        #(#conditions)*
        #(#deprecated)*
        #visibility fn #name<#(#lifetimes,)* #bound>(&self, #(#arguments: #types,)* #parameter) -> #returned {
            #caller.#what(&PROTOCOL, &#name::INFO, &#value #given)
        }
    }
}

/// What a method of `Caller` is called, and what it returns.
fn exchange(command: &Command, root: &TokenStream) -> (TokenStream, TokenStream) {
    let answer = answer_of(command);
    match (&command.answer, command.items.is_some()) {
        (Answer::Nothing, _) => (quote!(notify), quote!(#root::client::Sent)),
        (Answer::One(_) | Answer::Plain(_), items) => {
            let what = if items { quote!(upload) } else { quote!(call) };
            (what, quote!(#root::client::Call<#answer>))
        }
        (Answer::Stream(_) | Answer::PlainStream(_), items) => {
            let what = if items { quote!(exchange) } else { quote!(stream) };
            (what, quote!(#root::client::ReplyStream<#answer>))
        }
    }
}
