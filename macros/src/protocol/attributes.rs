//! What may stand above the parts of a protocol, and where it goes.
//!
//! Owns the protocol's own attributes (`version`, `crate_name`, `actix_ipc`), and which of the others belong to the types, the methods
//! or to everything that a command becomes. Called while a protocol is read.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Error, Expr, Ident, Lit, LitInt, LitStr, Meta, Path, Result, Token};

/// The numbers that a version may be.
const VERSIONS: &str = "a version is a number from 1 to 65535, as in #[version(2)]";

/// What the compiler knows above modules. Attributes of other tools have a path, as `rustfmt::skip`.
const OF_MODULES: [&str; 8] = [
    "allow",
    "warn",
    "deny",
    "forbid",
    "expect",
    "cfg",
    "cfg_attr",
    "deprecated",
];

/// Above the module.
pub(crate) struct ModuleAttributes {
    pub(crate) docs: Vec<Attribute>,
    pub(crate) passed: Vec<Attribute>,
    pub(crate) version: u16,
    pub(crate) origin: Option<LitStr>,
    pub(crate) root: TokenStream,
}

/// Above a command.
#[derive(Default)]
pub(crate) struct CommandAttributes {
    pub(crate) docs: Vec<Attribute>,
    /// For everything that the command becomes.
    pub(crate) conditions: Vec<Attribute>,
    /// For the methods that call it.
    pub(crate) deprecated: Vec<Attribute>,
    /// For its request.
    pub(crate) passed: Vec<Attribute>,
}

impl ModuleAttributes {
    pub(crate) fn sort(attributes: Vec<Attribute>) -> Result<Self> {
        let (mut docs, mut passed) = (Vec::new(), Vec::new());
        let (mut version, mut origin, mut root) = (None, None, None);
        for attribute in attributes {
            let path = attribute.path();
            if path.is_ident("doc") {
                docs.push(attribute);
            } else if path.is_ident("version") {
                once(&version, &attribute)?;
                version = Some(read_version(&attribute)?);
            } else if path.is_ident("crate_name") {
                once(&origin, &attribute)?;
                origin = Some(read_origin(&attribute)?);
            } else if path.is_ident("actix_ipc") {
                once(&root, &attribute)?;
                root = Some(read_root(&attribute)?);
            } else if path.get_ident().is_some_and(|name| !is_of_modules(name)) {
                return Err(unknown(&attribute));
            } else {
                passed.push(attribute);
            }
        }
        Ok(Self {
            docs,
            passed,
            version: version.unwrap_or(1),
            origin,
            root: root.unwrap_or_else(default_root),
        })
    }
}

impl CommandAttributes {
    pub(crate) fn sort(attributes: Vec<Attribute>) -> Result<Self> {
        let mut sorted = Self::default();
        for attribute in attributes {
            let path = attribute.path();
            let group = if path.is_ident("doc") {
                &mut sorted.docs
            } else if path.is_ident("cfg") {
                &mut sorted.conditions
            } else if path.is_ident("deprecated") {
                &mut sorted.deprecated
            } else if ["version", "crate_name", "actix_ipc"]
                .iter()
                .any(|own| path.is_ident(own))
            {
                let text = "this belongs above the module: it says something about the whole protocol";
                return Err(Error::new_spanned(&attribute, text));
            } else {
                &mut sorted.passed
            };
            group.push(attribute);
        }
        Ok(sorted)
    }
}

/// The crate that the code names: what `#[actix_ipc(crate = …)]` says, else `::actix_ipc`.
pub(crate) fn root(attributes: &[Attribute]) -> Result<TokenStream> {
    let mut root = None;
    for attribute in attributes {
        if !attribute.path().is_ident("actix_ipc") {
            return Err(Error::new_spanned(
                attribute,
                "here only #[actix_ipc(crate = path)] may stand",
            ));
        }
        root = Some(read_root(attribute)?);
    }
    Ok(root.unwrap_or_else(default_root))
}

fn default_root() -> TokenStream {
    quote!(::actix_ipc)
}

fn is_of_modules(name: &Ident) -> bool {
    OF_MODULES.iter().any(|known| name == known)
}

fn once<T>(before: &Option<T>, attribute: &Attribute) -> Result<()> {
    match before {
        None => Ok(()),
        Some(_) => Err(Error::new_spanned(attribute, "this is said twice")),
    }
}

fn unknown(attribute: &Attribute) -> Error {
    let text = "a protocol has no such attribute; its own are #[version(2)], #[crate_name(\"shop\")] and \
                #[actix_ipc(crate = path)], and those of the compiler for modules are passed on";
    Error::new_spanned(attribute, text)
}

fn read_version(attribute: &Attribute) -> Result<u16> {
    let wrong = |span: Span| Error::new(span, VERSIONS);
    let Meta::List(list) = &attribute.meta else {
        return Err(Error::new_spanned(attribute, VERSIONS));
    };
    let number: LitInt = list
        .parse_args()
        .map_err(|_| Error::new_spanned(&list.tokens, VERSIONS))?;
    match number.base10_parse::<u16>() {
        Ok(0) | Err(_) => Err(wrong(number.span())),
        Ok(version) => Ok(version),
    }
}

fn read_origin(attribute: &Attribute) -> Result<LitStr> {
    let text = "written as #[crate_name(\"shop\")], with the name of the crate that the protocol belongs to";
    let name: LitStr = attribute
        .parse_args()
        .map_err(|_| Error::new_spanned(attribute, text))?;
    match name.value().is_empty() {
        true => Err(Error::new(name.span(), "this name is empty")),
        false => Ok(name),
    }
}

fn read_root(attribute: &Attribute) -> Result<TokenStream> {
    struct Root(Path);
    impl Parse for Root {
        fn parse(input: ParseStream<'_>) -> Result<Self> {
            input.parse::<Token![crate]>()?;
            input.parse::<Token![=]>()?;
            input.call(Path::parse_mod_style).map(Self)
        }
    }
    let text =
        "written as #[actix_ipc(crate = path)], with the path at which the crate actix-ipc is known here";
    match attribute.parse_args::<Root>() {
        Ok(Root(path)) => Ok(quote!(#path)),
        Err(_) => Err(Error::new_spanned(attribute, text)),
    }
}

/// The text of doc comments.
pub(crate) fn doc_text<'a>(docs: impl IntoIterator<Item = &'a Attribute>) -> String {
    let lines: Vec<String> = docs.into_iter().filter_map(line).collect();
    lines.join("\n").trim().to_owned()
}

fn line(doc: &Attribute) -> Option<String> {
    let Meta::NameValue(pair) = &doc.meta else {
        return None;
    };
    let Expr::Lit(literal) = &pair.value else {
        return None;
    };
    match &literal.lit {
        Lit::Str(text) => {
            let text = text.value();
            Some(text.strip_prefix(' ').unwrap_or(&text).trim_end().to_owned())
        }
        _ => None,
    }
}

/// Whether an attribute is `#[name(… word …)]`.
pub(crate) fn mentions(attribute: &Attribute, name: &str, words: &[&str]) -> bool {
    let Meta::List(list) = &attribute.meta else {
        return false;
    };
    attribute.path().is_ident(name)
        && list.tokens.clone().into_iter().any(|token| match token {
            proc_macro2::TokenTree::Ident(ident) => {
                let ident = ident.unraw();
                words.iter().any(|word| ident == *word)
            }
            _ => false,
        })
}
