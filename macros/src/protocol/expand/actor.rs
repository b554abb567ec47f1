//! Actix actors that answer: each request is a message of actix, and one type of the module asks an actor for every command.
//!
//! A request that borrows is no message: the actor gets it as `Owned`, which keeps what was borrowed. Bounds cannot depend on `#[cfg]`, so
//! a command with one stands behind a trait that asks for nothing where the command is not there.

use super::super::syntax::{Answer, Command};
use super::{Scene, answer_of, arguments, generics, request_of};
use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote};
use syn::Meta;
use syn::ext::IdentExt;

pub(super) fn expand(commands: &[Command], scene: &Scene) -> TokenStream {
    let messages = commands.iter().map(|command| message(command, scene));
    let optional = commands.iter().map(|command| optional(command, scene));
    let receive = receive(commands, scene);
    quote! {
        #(#messages)*
        #(#optional)*
        #receive
    }
}

/// What a handler returns for a command.
fn result(command: &Command, scene: &Scene) -> TokenStream {
    let (runtime, answer) = (&scene.protocol, answer_of(command));
    match command.answer {
        Answer::Stream(_) | Answer::PlainStream(_) => quote!(#runtime::Result<#runtime::Items<#answer>>),
        Answer::Nothing | Answer::One(_) | Answer::Plain(_) => quote!(#runtime::Result<#answer>),
    }
}

/// The message of a command: its request, whole where it borrows, and the items with it when some follow.
fn message_type(command: &Command) -> TokenStream {
    let name = &command.name;
    match (&command.items, command.lifetimes.is_empty()) {
        (Some(_), _) => quote!(#name::Streamed),
        (None, true) => quote!(#name::Request),
        (None, false) => quote!(#name::Owned),
    }
}

fn message(command: &Command, scene: &Scene) -> TokenStream {
    let (private, result) = (&scene.private, result(command, scene));
    let (message, conditions) = (message_type(command), &command.attributes.conditions);
    quote! {
        #(#conditions)*
        impl #private::actix::Message for #message {
            type Result = #result;
        }
    }
}

/// The trait of the actors that handle a command which is not always there.
fn handles(command: &Command) -> Ident {
    format_ident!("__Handles_{}", command.name.unraw())
}

/// What an actor needs for a command.
fn bound(command: &Command, scene: &Scene) -> TokenStream {
    let private = &scene.private;
    if !command.attributes.conditions.is_empty() {
        let handles = handles(command);
        return quote!(__Actor: #handles,);
    }
    let message = message_type(command);
    quote! {
        __Actor: #private::actix::Handler<#message>,
        <__Actor as #private::actix::Actor>::Context: #private::actix::dev::ToEnvelope<__Actor, #message>,
    }
}

fn optional(command: &Command, scene: &Scene) -> Option<TokenStream> {
    let conditions = &command.attributes.conditions;
    if conditions.is_empty() {
        return None;
    }
    let inner = conditions.iter().filter_map(|condition| match &condition.meta {
        Meta::List(list) => Some(&list.tokens),
        _ => None,
    });
    let absent = quote!(#[cfg(not(all(#(#inner),*)))]);
    let (private, handles, message) = (&scene.private, handles(command), message_type(command));
    let text = format!(
        "`{{Self}}` does not handle the command `{}` of `{}`",
        command.name.unraw(),
        scene.name
    );
    let note = format!(
        "implement `actix::Handler<{}>` for it",
        message.to_string().replace(' ', "")
    );
    Some(quote! {
        #(#conditions)*
        #[doc(hidden)]
        #[diagnostic::on_unimplemented(message = #text, note = #note)]
        #[allow(non_camel_case_types)]
        pub trait #handles:
            #private::actix::Actor<Context: #private::actix::dev::ToEnvelope<Self, #message>> + #private::actix::Handler<#message>
        {
        }

        #(#conditions)*
        impl<__Actor> #handles for __Actor
        where
            __Actor: #private::actix::Handler<#message>,
            <__Actor as #private::actix::Actor>::Context: #private::actix::dev::ToEnvelope<__Actor, #message>,
        {
        }

        #absent
        #[doc(hidden)]
        #[allow(non_camel_case_types)]
        pub trait #handles {}

        #absent
        impl<__Actor> #handles for __Actor {}
    })
}

fn receive(commands: &[Command], scene: &Scene) -> TokenStream {
    let Scene {
        protocol: runtime,
        private,
        name,
        ..
    } = scene;
    let bounds: Vec<TokenStream> = commands.iter().map(|command| bound(command, scene)).collect();
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
    let (runtime, private) = (&scene.protocol, &scene.private);
    let (name, result, generics) = (&command.name, result(command, scene), generics(command));
    let conditions = &command.attributes.conditions;
    let (arguments, types) = arguments(command);
    let request = request_of(command);
    let items = Ident::new("items", Span::mixed_site());
    let parameter = command
        .items
        .is_some()
        .then(|| quote!(#items: #runtime::Incoming<#name::Item>));
    let asked = |request: TokenStream| match command.items {
        None => request,
        Some(_) => quote!(#name::Streamed { request: #request, items: #items }),
    };
    let body = if command.lifetimes.is_empty() {
        let message = asked(request);
        quote!(#private::ask(&self.handler, #message))
    } else {
        // What is borrowed is kept before the future begins, which may outlive it.
        let kept = Ident::new("kept", Span::mixed_site());
        let message = asked(quote!(#name::Owned(#kept?)));
        quote! {
            let #kept = #private::Kept::new(&#request);
            async move { #private::ask(&self.handler, #message).await }
        }
    };
    quote! {
        #(#conditions)*
        fn #name #generics(
            &self,
            #(#arguments: #types,)*
            #parameter
        ) -> impl ::core::future::Future<Output = #result> + ::core::marker::Send {
            #body
        }
    }
}

/// The messages of a command whose request is none by itself: what borrows, and what goes on with items.
pub(super) fn messages(command: &Command, scene: &Scene) -> TokenStream {
    let (runtime, private) = (&scene.protocol, &scene.private);
    let owned = (!command.lifetimes.is_empty()).then(|| {
        let lifetimes = command.lifetimes.iter().map(|_| quote!('_));
        quote! {
            /// The request as a message to an actor: it keeps what the request borrows.
            pub struct Owned(pub(super) #private::Kept);

            impl Owned {
                /// The request, which borrows from this.
                ///
                /// # Errors
                /// A type of one of its fields does not read what it has written.
                pub fn request(&self) -> #runtime::Result<Request<#(#lifetimes),*>> {
                    self.0.read()
                }
            }
        }
    });
    let request = match command.lifetimes.is_empty() {
        true => quote!(Request),
        false => quote!(Owned),
    };
    let streamed = command.items.is_some().then(|| {
        quote! {
            /// The request and what follows it, as a message to an actor.
            pub struct Streamed {
                /// The request.
                pub request: #request,
                /// What follows it.
                pub items: #runtime::Incoming<Item>,
            }
        }
    });
    quote!(#owned #streamed)
}
