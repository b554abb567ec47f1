//! Those who answer: the trait `Receive`, its `Receiver`, and the way from a request to a method.
//!
//! Each command's future is boxed by itself, once, so that a call costs one allocation of the size that its own handler needs.

use super::super::syntax::{Answer, Command};
use super::{Scene, answer_of, arguments, docs_or, generics, request_of};
use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;
use syn::ext::IdentExt;

pub(super) fn expand(commands: &[Command], scene: &Scene) -> TokenStream {
    let declared = commands
        .iter()
        .map(|command| method(command, scene, Place::Declared));
    let shared = commands
        .iter()
        .map(|command| method(command, scene, Place::Shared));
    let doc = format!(
        "Answers the commands of `{}`. Methods may be written as `async fn`.",
        scene.name
    );
    let (receiver, dispatch) = (receiver(scene), dispatch(commands, scene));
    quote! {
        #[doc = #doc]
        pub trait Receive: ::core::marker::Send + ::core::marker::Sync + 'static {
            #(#declared)*

            /// What answers calls with this handler.
            fn into_receiver(self) -> Receiver<Self>
            where
                Self: ::core::marker::Sized,
            {
                Receiver::new(self)
            }
        }

        impl<__Handler: Receive> Receive for ::std::sync::Arc<__Handler> {
            #(#shared)*
        }

        #receiver
        #dispatch
    }
}

/// Where a method stands.
#[derive(Clone, Copy)]
enum Place {
    /// In the trait.
    Declared,
    /// In what it is for shared handlers.
    Shared,
}

fn method(command: &Command, scene: &Scene, place: Place) -> TokenStream {
    let Scene {
        protocol: runtime, ..
    } = scene;
    let name = &command.name;
    let (conditions, generics) = (&command.attributes.conditions, generics(command));
    let (arguments, types) = arguments(command);
    let answer = answer_of(command);
    let answer = match &command.answer {
        Answer::Stream(_) | Answer::PlainStream(_) => quote!(#runtime::Items<#answer>),
        _ => answer,
    };
    let given = items();
    let (given, parameter) = match &command.items {
        None => (quote!(), quote!()),
        Some(_) => (quote!(#given), quote!(#given: #runtime::Incoming<#name::Item>)),
    };
    let (docs, body) = match place {
        Place::Declared => (
            docs_or(&command.attributes.docs, &format!("Answers `{}`.", name.unraw())),
            quote!(;),
        ),
        Place::Shared => (
            quote!(),
            quote!({ <__Handler as Receive>::#name(self, #(#arguments,)* #given) }),
        ),
    };
    quote! {
        #docs
        #(#conditions)*
        fn #name #generics(
            &self,
            #(#arguments: #types,)*
            #parameter
        ) -> impl ::core::future::Future<Output = #runtime::Result<#answer>> + ::core::marker::Send
        #body
    }
}

/// The name of the items of a request. A field may have the same name, which is another then.
fn items() -> Ident {
    Ident::new("items", Span::mixed_site())
}

fn receiver(scene: &Scene) -> TokenStream {
    let Scene {
        protocol: runtime,
        private,
        name,
        ..
    } = scene;
    let doc = format!("Answers calls of `{name}` with a handler. Cloning shares the handler.");
    quote! {
        #[doc = #doc]
        pub struct Receiver<R: Receive> {
            handler: ::std::sync::Arc<R>,
        }

        /// The same under another name.
        pub type ReceiverWrapper<R> = Receiver<R>;

        impl<R: Receive> Receiver<R> {
            /// What answers with this handler.
            pub fn new(handler: R) -> Self {
                ::core::convert::From::from(::std::sync::Arc::new(handler))
            }

            /// The handler.
            pub fn handler(&self) -> &R {
                &self.handler
            }
        }

        impl<R: Receive> ::core::convert::From<::std::sync::Arc<R>> for Receiver<R> {
            /// What answers with a handler that others have as well.
            fn from(handler: ::std::sync::Arc<R>) -> Self {
                Self { handler }
            }
        }

        impl<R: Receive> ::core::clone::Clone for Receiver<R> {
            fn clone(&self) -> Self {
                Self { handler: ::std::sync::Arc::clone(&self.handler) }
            }
        }

        impl<R: Receive> ::core::fmt::Debug for Receiver<R> {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.debug_struct("Receiver").field("protocol", &PROTOCOL_NAME).finish_non_exhaustive()
            }
        }

        impl<R: Receive> #runtime::Dispatch for Receiver<R> {
            fn protocols(&self) -> ::std::vec::Vec<&'static #runtime::ProtocolInfo> {
                ::std::vec![&PROTOCOL]
            }

            fn dispatch(&self, request: #runtime::Request) -> #private::Answering<'_> {
                match request.protocol() {
                    PROTOCOL_ID => __dispatch(&*self.handler, request),
                    _ => #private::refuse(request.unknown(&[&PROTOCOL])),
                }
            }
        }
    }
}

/// The function that all receivers of the protocol share.
fn dispatch(commands: &[Command], scene: &Scene) -> TokenStream {
    let Scene {
        protocol: runtime,
        private,
        ..
    } = scene;
    let (handler, request) = (local("handler"), local("request"));
    let arms = commands.iter().map(|command| arm(command, scene));
    quote! {
        /// A command of this protocol, answered by a handler.
        #[doc(hidden)]
        #[allow(unused_variables, unused_mut)]
        pub fn __dispatch<__Handler: Receive>(
            #handler: &__Handler,
            mut #request: #runtime::Request,
        ) -> #private::Answering<'_> {
            match #request.command() {
                #(#arms)*
                _ => #private::refuse(#request.unknown(&[&PROTOCOL])),
            }
        }
    }
}

/// A variable of the generated code, which no field of an author's is ever taken for.
fn local(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}

fn arm(command: &Command, scene: &Scene) -> TokenStream {
    let runtime = &scene.protocol;
    let name = &command.name;
    let text = name.unraw().to_string();
    let conditions = &command.attributes.conditions;
    let (handler, request, answer, items) = (local("handler"), local("request"), local("answer"), items());
    let (arguments, _) = arguments(command);
    let pattern = request_of(command);
    let (incoming, given) = match &command.items {
        None => (quote!(), quote!()),
        Some(_) => (
            quote!(let #items = #request.items::<#name::Item>();),
            quote!(#items),
        ),
    };
    let reply = match &command.answer {
        Answer::Stream(_) | Answer::PlainStream(_) => {
            quote!(::core::result::Result::Ok(#request.reply_stream(#answer)))
        }
        Answer::Nothing | Answer::One(_) | Answer::Plain(_) => quote!(#request.reply(&#answer)),
    };
    let streamed = matches!(command.answer, Answer::Stream(_) | Answer::PlainStream(_));
    let streamed = streamed.then(|| quote!(#request.takes_stream()?;));
    // What an owned request was read from is not kept while its handler runs; what borrows needs it.
    let release = command.lifetimes.is_empty().then(|| quote!(#request.release();));
    quote! {
        #(#conditions)*
        #text => ::std::boxed::Box::pin(async move {
            #streamed
            let #pattern = #request.decode()?;
            #incoming
            #release
            let #answer = #request
                .scope(<__Handler as Receive>::#name(#handler, #(#arguments,)* #given))
                .await
                .map_err(#runtime::Error::into_inner)?;
            #reply
        }),
    }
}
