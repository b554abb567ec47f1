//! Actix actors that answer: each request is a message of actix, and one type of the module asks an actor for every command.
//!
//! A request that borrows is no message, and bounds cannot depend on `#[cfg]`: a protocol with either has messages, but no `actor`.

use super::super::syntax::{Answer, Command};
use super::{Scene, answer_of, arguments, request_of};
use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;

pub(super) fn expand(commands: &[Command], scene: &Scene) -> TokenStream {
    let messages = commands.iter().filter_map(|command| message(command, scene));
    let receive = commands.iter().all(is_simple).then(|| receive(commands, scene));
    quote! {
        #(#messages)*
        #receive
    }
}

fn is_simple(command: &Command) -> bool {
    command.lifetimes.is_empty() && command.attributes.conditions.is_empty()
}

/// What a handler returns for a command.
fn result(command: &Command, scene: &Scene) -> TokenStream {
    let (runtime, answer) = (&scene.protocol, answer_of(command));
    match command.answer {
        Answer::Stream(_) | Answer::PlainStream(_) => quote!(#runtime::Result<#runtime::Items<#answer>>),
        Answer::Nothing | Answer::One(_) | Answer::Plain(_) => quote!(#runtime::Result<#answer>),
    }
}

/// The message of a command: its request, and the items with it when some follow.
fn message_type(command: &Command) -> TokenStream {
    let name = &command.name;
    match command.items {
        None => quote!(#name::Request),
        Some(_) => quote!(#name::Streamed),
    }
}

fn message(command: &Command, scene: &Scene) -> Option<TokenStream> {
    let (private, result) = (&scene.private, result(command, scene));
    let (message, conditions) = (message_type(command), &command.attributes.conditions);
    command.lifetimes.is_empty().then(|| {
        quote! {
            #(#conditions)*
            impl #private::actix::Message for #message {
                type Result = #result;
            }
        }
    })
}

fn receive(commands: &[Command], scene: &Scene) -> TokenStream {
    let Scene {
        protocol: runtime,
        private,
        name,
        ..
    } = scene;
    let bounds: Vec<TokenStream> = commands
        .iter()
        .map(|command| {
            let message = message_type(command);
            quote! {
                __Actor: #private::actix::Handler<#message>,
                <__Actor as #private::actix::Actor>::Context:
                    #private::actix::dev::ToEnvelope<__Actor, #message>,
            }
        })
        .collect();
    let methods = commands.iter().map(|command| method(command, scene));
    let doc = format!("Answers the commands of `{name}` by an actix actor: each command is a message to it.");
    let actor_doc = format!(
        "What answers calls of `{name}` by an actix actor, which has at most 256 commands under way; \
         `ActorReceive::from(ActorHandler::new(addr).with_capacity(n))` says another number."
    );
    quote! {
        #[doc = #doc]
        pub struct ActorReceive<A: #private::actix::Actor> {
            handler: #runtime::ActorHandler<A>,
        }

        impl<A: #private::actix::Actor> ::core::convert::From<#runtime::ActorHandler<A>> for ActorReceive<A> {
            fn from(handler: #runtime::ActorHandler<A>) -> Self {
                Self { handler }
            }
        }

        impl<A: #private::actix::Actor> ::core::fmt::Debug for ActorReceive<A> {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.debug_struct("ActorReceive").field("protocol", &PROTOCOL_NAME).finish_non_exhaustive()
            }
        }

        impl<__Actor: #private::actix::Actor> Receive for ActorReceive<__Actor>
        where
            #(#bounds)*
        {
            #(#methods)*
        }

        #[doc = #actor_doc]
        pub fn actor<__Actor: #private::actix::Actor>(
            addr: #private::actix::Addr<__Actor>,
        ) -> Receiver<ActorReceive<__Actor>>
        where
            #(#bounds)*
        {
            Receiver::new(::core::convert::From::from(#runtime::ActorHandler::new(addr)))
        }
    }
}

fn method(command: &Command, scene: &Scene) -> TokenStream {
    let runtime = &scene.protocol;
    let (name, result) = (&command.name, result(command, scene));
    let (arguments, types) = arguments(command);
    let request = request_of(command);
    let items = Ident::new("items", Span::mixed_site());
    let (parameter, message) = match command.items {
        None => (quote!(), request),
        Some(_) => (
            quote!(#items: #runtime::Incoming<#name::Item>),
            quote!(#name::Streamed { request: #request, items: #items }),
        ),
    };
    quote! {
        fn #name(
            &self,
            #(#arguments: #types,)*
            #parameter
        ) -> impl ::core::future::Future<Output = #result> + ::core::marker::Send {
            self.handler.ask(#message)
        }
    }
}

/// The message of a command whose request goes on with items.
pub(super) fn streamed(command: &Command, scene: &Scene) -> Option<TokenStream> {
    let runtime = &scene.protocol;
    (command.items.is_some() && command.lifetimes.is_empty()).then(|| {
        quote! {
            /// The request and what follows it, as a message to an actor.
            pub struct Streamed {
                /// The request.
                pub request: Request,
                /// What follows it.
                pub items: #runtime::Incoming<Item>,
            }
        }
    })
}
