//! `#[derive(MessageBox)]`: an enum whose variants are message types.
//!
//! Owns which enums those are. Each variant's own type decides how it is written and read. Called by the crate's root.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Fields, Ident, Result, Type, Variant};

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let Data::Enum(data) = &input.data else {
        let text = "only an enum is a box of several message types; a message type of its own derives TypeUuid, serde::Serialize \
                    and serde::Deserialize";
        return Err(Error::new(input.ident.span(), text));
    };
    if let Some(parameter) = input.generics.params.first() {
        let text = "a box of messages has no parameters: which types it holds is known where it is written";
        return Err(Error::new_spanned(parameter, text));
    }
    if data.variants.is_empty() {
        return Err(Error::new(input.ident.span(), "no message is in this box"));
    }
    let mut held = Vec::with_capacity(data.variants.len());
    let mut wrong: Option<Error> = None;
    for variant in &data.variants {
        match message(variant) {
            Ok(message) => held.push((&variant.ident, message)),
            Err(error) => match &mut wrong {
                Some(all) => all.combine(error),
                None => wrong = Some(error),
            },
        }
    }
    wrong.map_or_else(|| Ok(generate(&input.ident, &held)), Err)
}

/// The one message type of a variant.
fn message(variant: &Variant) -> Result<&Type> {
    let name = &variant.ident;
    if let Fields::Unnamed(fields) = &variant.fields
        && let (Some(field), 1) = (fields.unnamed.first(), fields.unnamed.len())
    {
        return Ok(&field.ty);
    }
    let text = format!("a variant holds one message, as in {name}(Message)");
    Err(Error::new_spanned(variant, text))
}

fn generate(name: &Ident, held: &[(&Ident, &Type)]) -> TokenStream {
    let (variants, types): (Vec<&Ident>, Vec<&Type>) = held.iter().copied().unzip();
    let twice = format!(
        "two variants of {name} hold messages of the same UUID: which one a message is, would be by chance"
    );
    quote! {
        const _: () = {
            const UUIDS: &[::actix_ipc::bus::Uuid] = &[#(<#types as ::actix_ipc::bus::TypeUuid>::UUID),*];
            ::core::assert!(::actix_ipc::bus::are_distinct(UUIDS), #twice);

            #[automatically_derived]
            impl ::actix_ipc::bus::MessageBox for #name {
                fn accepts(uuid: &::actix_ipc::bus::Uuid) -> bool {
                    UUIDS.contains(uuid)
                }

                fn uuid(&self) -> ::actix_ipc::bus::Uuid {
                    match self {
                        #(Self::#variants(_) => <#types as ::actix_ipc::bus::TypeUuid>::UUID,)*
                    }
                }

                fn encode(
                    &self,
                    out: &mut ::std::vec::Vec<u8>,
                ) -> ::core::result::Result<(), ::actix_ipc::bus::CodecError> {
                    match self {
                        #(Self::#variants(message) => ::actix_ipc::bus::MessageBox::encode(message, out),)*
                    }
                }

                fn decode(
                    uuid: &::actix_ipc::bus::Uuid,
                    body: &[u8],
                ) -> ::core::result::Result<Self, ::actix_ipc::bus::CodecError> {
                    #(
                        if *uuid == <#types as ::actix_ipc::bus::TypeUuid>::UUID {
                            return <#types as ::actix_ipc::bus::MessageBox>::decode(uuid, body).map(Self::#variants);
                        }
                    )*
                    ::core::result::Result::Err(::actix_ipc::bus::CodecError::unknown(uuid))
                }
            }
        };
    }
}
