//! A protocol that has been read: its commands, their fields and what stands above them.
//!
//! Plain data. Made by [`super::parse`], looked at by [`super::check`] and by what generates.

use super::attributes::{CommandAttributes, ModuleAttributes, doc_text};
use syn::{Attribute, Ident, Lifetime, Type, Visibility};

/// `pub mod name { … }`.
pub(crate) struct Protocol {
    pub(crate) attributes: ModuleAttributes,
    pub(crate) visibility: Visibility,
    pub(crate) name: Ident,
    pub(crate) commands: Vec<Command>,
}

/// `name<'a> { … } stream { … } -> { … }`.
pub(crate) struct Command {
    pub(crate) attributes: CommandAttributes,
    pub(crate) name: Ident,
    pub(crate) lifetimes: Vec<Lifetime>,
    pub(crate) request: Request,
    /// What follows the request, one after the other.
    pub(crate) items: Option<Body>,
    pub(crate) answer: Answer,
}

pub(crate) enum Request {
    Empty,
    Fields(Vec<Field>),
    Tuple(Vec<Field>),
}

pub(crate) enum Answer {
    Nothing,
    One(Body),
    Plain(Type),
    Stream(Body),
    PlainStream(Type),
}

/// `#[…] { … }`.
pub(crate) struct Body {
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) fields: Vec<Field>,
}

pub(crate) struct Field {
    pub(crate) attributes: Vec<Attribute>,
    /// None in a tuple.
    pub(crate) name: Option<Ident>,
    pub(crate) ty: Type,
}

impl Request {
    pub(crate) fn fields(&self) -> &[Field] {
        match self {
            Self::Empty => &[],
            Self::Fields(fields) | Self::Tuple(fields) => fields,
        }
    }
}

impl Field {
    /// The text above it.
    pub(crate) fn doc(&self) -> String {
        doc_text(
            self.attributes
                .iter()
                .filter(|attribute| attribute.path().is_ident("doc")),
        )
    }
}
