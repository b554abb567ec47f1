//! The module of one command: its types and its description.

use super::super::attributes::{doc_text, mentions};
use super::super::syntax::{Answer, Body, Command, Field, Request};
use super::super::types;
use super::super::wire::{self, Way};
use super::{Scene, actor, docs_or, generics};
use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Attribute, Type};

/// What an author may say about a request that decides itself what becomes of other fields.
const SHAPING: &[&str] = &["deny_unknown_fields", "from", "try_from", "transparent", "remote"];

pub(super) fn module(command: &Command, scene: &Scene) -> TokenStream {
    let name = &command.name;
    let text = name.unraw().to_string();
    let docs = docs_or(&command.attributes.docs, &format!("The command `{text}`."));
    let conditions = &command.attributes.conditions;
    let request = request(command, &text, scene);
    let items = command.items.as_ref().map(|body| {
        let doc = format!("One of those that follow the request of `{text}`.");
        structure(name, &quote!(Item), &doc, body, scene)
    });
    let response = match &command.answer {
        Answer::One(body) => Some((format!("The answer to `{text}`."), body)),
        Answer::Stream(body) => Some((format!("One of the answers to `{text}`."), body)),
        Answer::Nothing | Answer::Plain(_) | Answer::PlainStream(_) => None,
    };
    let response = response.map(|(doc, body)| structure(name, &quote!(Response), &doc, body, scene));
    let messages = actor::messages(command, scene);
    let info = info(command, &text, scene);
    quote! {
        #(#conditions)*
        #docs
        pub mod #name {
            use super::*;
            #request
            #items
            #messages
            #response
            #info
        }
    }
}

/// What makes serde's derives work without serde in the program's own list of crates. What they find wrong is told at the command.
fn derives(name: &Ident, scene: &Scene) -> TokenStream {
    let private = &scene.private;
    let path = quote!(#private::serde).to_string().replace(' ', "");
    let place = Span::call_site().located_at(name.span());
    let there = |tokens: TokenStream| -> TokenStream {
        let tokens = tokens.into_iter().map(|mut token| {
            token.set_span(place);
            token
        });
        tokens.collect()
    };
    let serialize = there(quote!(#private::serde::Serialize));
    let deserialize = there(quote!(#private::serde::Deserialize));
    quote! {
        #[derive(#serialize, #deserialize)]
        #[serde(crate = #path)]
    }
}

fn request(command: &Command, text: &str, scene: &Scene) -> TokenStream {
    let (derives, passed, generics) = (
        derives(&command.name, scene),
        &command.attributes.passed,
        generics(command),
    );
    let body = match &command.request {
        Request::Empty => quote!(;),
        Request::Fields(fields) => {
            let fields = fields.iter().map(field);
            quote!({ #(#fields),* })
        }
        Request::Tuple(fields) => {
            let fields = fields.iter().map(field);
            quote!((#(#fields),*);)
        }
    };
    let doc = format!("The request of `{text}`.");
    let strict = strict(command);
    quote! {
        #[doc = #doc]
        #derives
        #strict
        #(#passed)*
        pub struct Request #generics #body
    }
}

/// A field in JSON that the request does not have is a slip of its caller, which an optional one in its place would hide.
fn strict(command: &Command) -> Option<TokenStream> {
    let Request::Fields(fields) = &command.request else {
        return None;
    };
    let of_fields = fields.iter().flat_map(|field| &field.attributes);
    let said = |attribute: &Attribute| mentions(attribute, "serde", SHAPING);
    let free = !of_fields.chain(&command.attributes.passed).any(said);
    let place = Span::call_site().located_at(command.name.span());
    free.then(|| quote_spanned!(place=> #[serde(deny_unknown_fields)]))
}

fn structure(command: &Ident, name: &TokenStream, doc: &str, body: &Body, scene: &Scene) -> TokenStream {
    let (derives, attributes) = (derives(command, scene), &body.attributes);
    let (docs, passed): (Vec<&Attribute>, Vec<&Attribute>) = attributes
        .iter()
        .partition(|attribute| attribute.path().is_ident("doc"));
    let docs = docs_or(docs, doc);
    let fields = match &body.fields[..] {
        [] => quote!(;),
        fields => {
            let fields = fields.iter().map(field);
            quote!({ #(#fields),* })
        }
    };
    quote! {
        #docs
        #derives
        #(#passed)*
        pub struct #name #fields
    }
}

fn field(field: &Field) -> TokenStream {
    let Field { attributes, name, ty } = field;
    // So that what serde says of a field, is said at the field.
    let place = name.as_ref().map_or_else(|| ty.span(), Ident::span);
    let place = Span::call_site().located_at(place);
    let doc = match (name, field.doc().is_empty()) {
        (Some(name), true) => {
            let text = format!("The `{}`.", name.unraw());
            Some(quote_spanned!(place=> #[doc = #text]))
        }
        _ => None,
    };
    let borrows = !types::borrows(ty).is_empty();
    let said = attributes
        .iter()
        .any(|attribute| mentions(attribute, "serde", &["borrow"]));
    let borrow = (borrows && !said).then(|| quote_spanned!(place=> #[serde(borrow)]));
    let public = quote_spanned!(place=> pub);
    let name = name.iter();
    quote!(#doc #(#attributes)* #borrow #public #(#name:)* #ty)
}

fn info(command: &Command, text: &str, scene: &Scene) -> TokenStream {
    let runtime = &scene.protocol;
    let doc = doc_text(&command.attributes.docs);
    let request = match &command.request {
        Request::Empty => quote!(#runtime::Shape::Empty),
        Request::Fields(fields) => shape(fields, &command.attributes.passed, Way::In, scene),
        Request::Tuple(fields) => {
            let fields = infos(fields, &[], Way::In, scene);
            quote!(#runtime::Shape::Tuple(&[#(#fields),*]))
        }
    };
    let items = match &command.items {
        None => quote!(::core::option::Option::None),
        Some(body) => {
            let shape = shape(&body.fields, &body.attributes, Way::In, scene);
            quote!(::core::option::Option::Some(#shape))
        }
    };
    let answer = match &command.answer {
        Answer::Nothing => quote!(Nothing),
        Answer::One(body) => {
            let shape = shape(&body.fields, &body.attributes, Way::Out, scene);
            quote!(One(#shape))
        }
        Answer::Stream(body) => {
            let shape = shape(&body.fields, &body.attributes, Way::Out, scene);
            quote!(Stream(#shape))
        }
        Answer::Plain(ty) => {
            let shape = plain(ty, scene);
            quote!(One(#shape))
        }
        Answer::PlainStream(ty) => {
            let shape = plain(ty, scene);
            quote!(Stream(#shape))
        }
    };
    quote! {
        /// The command as it is described to others.
        pub const INFO: #runtime::CommandInfo =
            #runtime::CommandInfo::new(#text, #doc, #request, #items, #runtime::Answer::#answer);
    }
}

fn shape(fields: &[Field], of_all: &[Attribute], way: Way, scene: &Scene) -> TokenStream {
    let runtime = &scene.protocol;
    let fields = infos(fields, of_all, way, scene);
    if fields.is_empty() {
        return quote!(#runtime::Shape::Empty);
    }
    quote!(#runtime::Shape::Fields(&[#(#fields),*]))
}

fn plain(ty: &Type, scene: &Scene) -> TokenStream {
    let (runtime, text) = (&scene.protocol, types::text(ty));
    quote!(#runtime::Shape::Plain(#text))
}

/// Fields as others write them.
fn infos(fields: &[Field], of_all: &[Attribute], way: Way, scene: &Scene) -> Vec<TokenStream> {
    let runtime = &scene.protocol;
    let crossing = fields.iter().filter(|field| !wire::is_skipped(field));
    let each = crossing.enumerate().map(|(place, field)| {
        let name = wire::name(field, of_all, way).unwrap_or_else(|| place.to_string());
        let (ty, doc) = (types::text(&field.ty), field.doc());
        quote!(#runtime::FieldInfo::new(#name, #ty, #doc))
    });
    each.collect()
}
