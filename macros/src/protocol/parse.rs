//! How a protocol is written.
//!
//! Owns the grammar, and what is said where a text departs from it. Whether what it says makes sense is for [`super::check`].

use super::attributes::{CommandAttributes, ModuleAttributes};
use super::names;
use super::syntax::{Answer, Body, Command, Field, Protocol, Request};
use syn::parse::ParseStream;
use syn::punctuated::Punctuated;
use syn::{Attribute, Error, Ident, Lifetime, Result, Token, braced, parenthesized, token};

syn::custom_keyword!(stream);

pub(crate) fn protocol(input: ParseStream<'_>) -> Result<Protocol> {
    let attributes = input.call(Attribute::parse_outer)?;
    let attributes = ModuleAttributes::sort(attributes)?;
    let visibility = input.parse()?;
    if !input.peek(Token![mod]) {
        let text = "a protocol is written as a module: `pub mod name { commands }`";
        return Err(input.error(text));
    }
    input.parse::<Token![mod]>()?;
    let name = names::parse(input, "a protocol")?;
    let content;
    braced!(content in input);
    let commands = commands(&content)?;
    if !input.is_empty() {
        return Err(input.error("one `protocol!` holds one module: write another `protocol!` for this"));
    }
    Ok(Protocol {
        attributes,
        visibility,
        name,
        commands,
    })
}

fn commands(input: ParseStream<'_>) -> Result<Vec<Command>> {
    let mut commands = Vec::new();
    while !input.is_empty() {
        let command = command(input)?;
        if !input.is_empty() && !input.peek(Token![;]) {
            return Err(no_semicolon(input, &command));
        }
        input.parse::<Option<Token![;]>>()?;
        commands.push(command);
    }
    Ok(commands)
}

/// What stands where the `;` behind a command should be.
fn no_semicolon(input: ParseStream<'_>, command: &Command) -> Error {
    let name = &command.name;
    if input.peek(Token![=>]) {
        return input.error(format_args!("the answer of `{name}` is written behind `->`"));
    }
    if input.peek(Token![:]) {
        return input.error(format_args!(
            "the fields of `{name}` stand in braces: `{name} {{ field: Type }};`"
        ));
    }
    input.error(format_args!(
        "a `;` is missing behind the command `{name}`, before this"
    ))
}

fn command(input: ParseStream<'_>) -> Result<Command> {
    let attributes = CommandAttributes::sort(input.call(Attribute::parse_outer)?)?;
    if input.peek(Token![fn]) || input.peek(Token![async]) || input.peek(Token![pub]) {
        let text = "a command begins with its name, with no `pub`, `async` or `fn`: `echo { message: String } -> { response: String };`";
        return Err(input.error(text));
    }
    let name = names::parse(input, "a command")?;
    Ok(Command {
        attributes,
        lifetimes: lifetimes(input)?,
        request: request(input)?,
        items: items(input)?,
        answer: answer(input, &name)?,
        name,
    })
}

fn lifetimes(input: ParseStream<'_>) -> Result<Vec<Lifetime>> {
    if !input.peek(Token![<]) {
        return Ok(Vec::new());
    }
    input.parse::<Token![<]>()?;
    let mut lifetimes = Vec::new();
    while !input.peek(Token![>]) {
        if !input.peek(Lifetime) {
            let text = "a command may have lifetimes, as `view<'a>`, but no types: its types are known where it is written";
            return Err(input.error(text));
        }
        lifetimes.push(input.parse()?);
        if !input.peek(Token![>]) {
            input.parse::<Token![,]>()?;
        }
    }
    input.parse::<Token![>]>()?;
    Ok(lifetimes)
}

fn request(input: ParseStream<'_>) -> Result<Request> {
    if input.peek(token::Brace) {
        let fields = fields(input)?;
        return Ok(if fields.is_empty() {
            Request::Empty
        } else {
            Request::Fields(fields)
        });
    }
    if !input.peek(token::Paren) {
        return Ok(Request::Empty);
    }
    let content;
    parenthesized!(content in input);
    let place = |input: ParseStream<'_>| -> Result<Field> {
        let attributes = input.call(Attribute::parse_outer)?;
        if input.peek(Ident) && input.peek2(Token![:]) && !input.peek2(Token![::]) {
            return Err(input.error(
                "fields with names stand in braces: `{ name: Type }`; in parentheses stand types only",
            ));
        }
        let ty = input.parse()?;
        Ok(Field {
            attributes,
            name: None,
            ty,
        })
    };
    let fields: Vec<Field> = Punctuated::<Field, Token![,]>::parse_terminated_with(&content, place)?
        .into_iter()
        .collect();
    Ok(if fields.is_empty() {
        Request::Empty
    } else {
        Request::Tuple(fields)
    })
}

/// `stream { … }` behind the request.
fn items(input: ParseStream<'_>) -> Result<Option<Body>> {
    if !input.peek(stream) {
        return Ok(None);
    }
    input.parse::<stream>()?;
    let attributes = input.call(Attribute::parse_outer)?;
    if !input.peek(token::Brace) {
        return Err(input.error("what is streamed is written as fields: `stream { field: Type }`"));
    }
    let fields = fields(input)?;
    Ok(Some(Body { attributes, fields }))
}

fn answer(input: ParseStream<'_>, command: &Ident) -> Result<Answer> {
    if input.peek(Token![return]) {
        input.parse::<Token![return]>()?;
        // A type may have this name as well.
        let streamed =
            input.peek(stream) && !input.peek2(Token![;]) && !input.peek2(Token![::]) && !ends(input);
        if streamed {
            input.parse::<stream>()?;
            return input.parse().map(Answer::PlainStream);
        }
        return input.parse().map(Answer::Plain);
    }
    if !input.peek(Token![->]) {
        return Ok(Answer::Nothing);
    }
    input.parse::<Token![->]>()?;
    let mut attributes = input.call(Attribute::parse_outer)?;
    let streamed = input.peek(stream);
    if streamed {
        input.parse::<stream>()?;
        attributes.extend(input.call(Attribute::parse_outer)?);
    }
    if !input.peek(token::Brace) {
        let text = match streamed {
            true => format!(
                "streamed fields stand in braces: `{command} -> stream {{ field: Type }};`, plain items behind `return stream`"
            ),
            false => format!(
                "the fields of an answer stand in braces: `{command} -> {{ field: Type }};`, a plain value behind `return`: \
                 `{command} return Type;`"
            ),
        };
        return Err(input.error(text));
    }
    let body = Body {
        attributes,
        fields: fields(input)?,
    };
    Ok(if streamed {
        Answer::Stream(body)
    } else {
        Answer::One(body)
    })
}

/// Whether nothing follows the next token.
fn ends(input: ParseStream<'_>) -> bool {
    let ahead = input.fork();
    ahead.parse::<stream>().is_ok() && ahead.is_empty()
}

fn fields(input: ParseStream<'_>) -> Result<Vec<Field>> {
    let content;
    braced!(content in input);
    let mut fields = Vec::new();
    while !content.is_empty() {
        fields.push(field(&content)?);
        if content.is_empty() {
            break;
        }
        if !content.peek(Token![,]) {
            return Err(content.error("a `,` is missing before this: fields are written `{ a: A, b: B }`"));
        }
        content.parse::<Token![,]>()?;
    }
    Ok(fields)
}

fn field(input: ParseStream<'_>) -> Result<Field> {
    let attributes = input.call(Attribute::parse_outer)?;
    if input.peek(Token![pub]) {
        return Err(input.error("fields are public without `pub`"));
    }
    let name = names::parse(input, "a field")?;
    if !input.peek(Token![:]) {
        return Err(input.error(format_args!("the type of `{name}` is missing: `{name}: Type`")));
    }
    input.parse::<Token![:]>()?;
    Ok(Field {
        attributes,
        name: Some(name),
        ty: input.parse()?,
    })
}
