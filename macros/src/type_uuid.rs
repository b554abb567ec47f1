//! `#[derive(TypeUuid)]`: from the text of an attribute to sixteen bytes.
//!
//! Owns the one form in which a UUID is written, and the texts about what is wrong with another. Called by the crate's root.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{Attribute, DeriveInput, Error, Expr, ExprLit, GenericParam, Lit, LitStr, Meta, Result};

/// Where the dashes are.
const DASHES: [usize; 4] = [8, 13, 18, 23];
const LENGTH: usize = 36;

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let several = |parameter: &&GenericParam| !matches!(parameter, GenericParam::Lifetime(_));
    if let Some(parameter) = input.generics.params.iter().find(several) {
        let text = "a generic type has no UUID: each type that its parameter stands for needs one of its own";
        return Err(Error::new_spanned(parameter, text));
    }
    let uuid = parse(attribute(input)?)?;
    let name = &input.ident;
    let (here, types, wheres) = input.generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #here ::actix_ipc::bus::TypeUuid for #name #types #wheres {
            const UUID: ::actix_ipc::bus::Uuid = [#(#uuid),*];
        }
    })
}

fn attribute(input: &DeriveInput) -> Result<&LitStr> {
    let mut given = input
        .attrs
        .iter()
        .filter(|attribute| attribute.path().is_ident("uuid"));
    let Some(first) = given.next() else {
        let text =
            "a message type needs a UUID of its own: #[uuid = \"…\"] above it, with what `uuidgen` prints";
        return Err(Error::new(input.ident.span(), text));
    };
    if let Some(second) = given.next() {
        return Err(Error::new_spanned(second, "a type has one UUID"));
    }
    literal(first)
}

fn literal(attribute: &Attribute) -> Result<&LitStr> {
    if let Meta::NameValue(pair) = &attribute.meta
        && let Expr::Lit(ExprLit {
            lit: Lit::Str(text), ..
        }) = &pair.value
    {
        return Ok(text);
    }
    let text = "written as #[uuid = \"7b07473e-9659-4d47-a502-8245d71c0078\"], with a UUID of your own";
    Err(Error::new_spanned(attribute, text))
}

fn parse(literal: &LitStr) -> Result<Vec<u8>> {
    let (text, span) = (literal.value(), literal.span());
    let length = text.chars().count();
    if length != LENGTH {
        return refuse(span, format!("{length} characters where a UUID has {LENGTH}"));
    }
    let mut digits = Vec::with_capacity(32);
    for (at, character) in text.chars().enumerate() {
        match (DASHES.contains(&at), character.to_digit(16)) {
            (true, _) if character == '-' => {}
            (false, Some(digit)) => digits.push(u8::try_from(digit).unwrap_or_default()),
            (dash, _) => {
                let wanted = if dash { "a dash" } else { "a hexadecimal digit" };
                let text = format!("{character:?} where character {} of a UUID is {wanted}", at + 1);
                return refuse(span, text);
            }
        }
    }
    let (pairs, _) = digits.as_chunks::<2>();
    let bytes: Vec<u8> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
    if bytes.iter().all(|byte| *byte == 0) {
        return refuse(span, "the UUID of nothing; `uuidgen` prints a new one".to_owned());
    }
    Ok(bytes)
}

fn refuse<T>(span: Span, text: String) -> Result<T> {
    Err(Error::new(span, text))
}
