//! Types as they are written in a protocol: their text, their lifetimes and the names that they begin with.
//!
//! Looks at tokens only, so that it needs no more of the compiler's grammar than the crate has. Called by checks and by what describes
//! a protocol.

use proc_macro2::{Delimiter, Ident, Spacing, Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::Type;

/// A lifetime in a type.
pub(crate) enum Borrow {
    /// `'a`.
    Named(Ident),
    /// A `&` with no lifetime behind it.
    Nameless(Span),
}

/// The text of a type as people write it: `HashMap<String, Vec<u8>>`.
pub(crate) fn text(ty: &Type) -> String {
    let mut out = String::new();
    write(ty.to_token_stream(), &mut out);
    out
}

/// Every lifetime in a type, in order.
pub(crate) fn borrows(ty: &Type) -> Vec<Borrow> {
    let mut found = Vec::new();
    find_borrows(ty.to_token_stream(), &mut found);
    found
}

/// The first name of each path in a type that does not begin with `::`.
pub(crate) fn first_names(ty: &Type) -> Vec<Ident> {
    let mut found = Vec::new();
    find_names(ty.to_token_stream(), &mut found);
    found
}

fn write(tokens: TokenStream, out: &mut String) {
    // Whether a blank is needed before a word, and whether the last word was that of a lifetime.
    let (mut after_word, mut after_lifetime) = (false, false);
    for token in tokens {
        match token {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                if after_lifetime {
                    out.push(' ');
                }
                out.push_str(open);
                write(group.stream(), out);
                out.push_str(close);
                (after_word, after_lifetime) = (true, false);
            }
            TokenTree::Punct(punct) => {
                match punct.as_char() {
                    sign @ (',' | ';') => out.extend([sign, ' ']),
                    sign @ ('+' | '=') => out.extend([' ', sign, ' ']),
                    '-' => out.push_str(" -"),
                    '>' if out.ends_with(" -") => out.push_str("> "),
                    sign => out.push(sign),
                }
                after_word = punct.as_char() == '>' && punct.spacing() == Spacing::Alone;
                after_word &= !out.ends_with(' ');
                after_lifetime = false;
            }
            word => {
                if after_word && !out.ends_with(' ') {
                    out.push(' ');
                }
                after_lifetime = out.ends_with('\'');
                out.push_str(&word.to_string());
                after_word = true;
            }
        }
    }
}

fn find_borrows(tokens: TokenStream, found: &mut Vec<Borrow>) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Group(group) => find_borrows(group.stream(), found),
            TokenTree::Punct(punct) if punct.as_char() == '&' => {
                let named = matches!(tokens.peek(), Some(TokenTree::Punct(next)) if matches!(next.as_char(), '\'' | '&'));
                if !named {
                    found.push(Borrow::Nameless(punct.span()));
                }
            }
            TokenTree::Punct(punct) if punct.as_char() == '\'' => {
                if let Some(TokenTree::Ident(name)) = tokens.next() {
                    found.push(Borrow::Named(name));
                }
            }
            _ => {}
        }
    }
}

fn find_names(tokens: TokenStream, found: &mut Vec<Ident>) {
    // What stands before: a path goes on after `::`, and a lifetime is no path.
    let (mut goes_on, mut colons) = (false, 0);
    for token in tokens {
        match token {
            TokenTree::Group(group) => {
                find_names(group.stream(), found);
                (goes_on, colons) = (false, 0);
            }
            TokenTree::Punct(punct) => {
                colons = if punct.as_char() == ':' { colons + 1 } else { 0 };
                goes_on = punct.as_char() == '\'' || colons == 2;
            }
            TokenTree::Ident(name) => {
                if !goes_on {
                    found.push(name);
                }
                (goes_on, colons) = (false, 0);
            }
            TokenTree::Literal(_) => (goes_on, colons) = (false, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Type {
        syn::parse_str(text).unwrap()
    }

    #[test]
    fn the_text_of_a_type_is_as_people_write_it() {
        for written in [
            "String",
            "HashMap<String, Vec<u8>>",
            "Option<&'a str>",
            "&'a [u8]",
            "[u8; 16]",
            "(i32, String)",
            "std::collections::BTreeMap<u64, (i32, i32)>",
            "::std::time::Duration",
            "&'a mut T",
            "Box<dyn Fn(i32) -> i32 + Send>",
            "()",
        ] {
            assert_eq!(text(&parsed(written)), written);
        }
    }

    #[test]
    fn lifetimes_and_first_names_are_found() {
        let ty = parsed("Vec<(&'a str, &u8, Cow<'b, [::std::Name; 2]>, other::Thing)>");
        let borrows: Vec<String> = borrows(&ty)
            .into_iter()
            .map(|borrow| match borrow {
                Borrow::Named(name) => name.to_string(),
                Borrow::Nameless(_) => "&".to_owned(),
            })
            .collect();
        assert_eq!(borrows, ["a", "&", "b"]);
        let names: Vec<String> = first_names(&ty).iter().map(ToString::to_string).collect();
        assert_eq!(names, ["Vec", "str", "u8", "Cow", "other"]);
    }
}
