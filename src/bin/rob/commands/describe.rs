//! `rob describe`: who owns an object, and what it says of itself.
//!
//! Called by `commands`; the layout of protocols is `protocols`'.

use super::protocols;
use super::session::Session;
use crate::exit::Failure;
use crate::options::name;
use crate::value;
use clap::Args;

const EXAMPLES: &str = "\
Examples:
  rob describe math
  rob describe calc --json | jq '.description.protocols[].commands'";

/// `rob describe`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Describe {
    /// The object's name.
    #[arg(value_name = "OBJECT", value_parser = name)]
    object: String,
}

/// Prints what the broker and the object say.
pub(crate) async fn run(wanted: &Describe, session: &mut Session) -> Result<(), Failure> {
    let object = wanted.object.as_str();
    let described = session.limited(session.client.describe(object)).await;
    let mut description = match described {
        Ok(description) => description,
        Err(error) => return Err(session.failed(&format!("describe {object}"), object, error).await),
    };
    let output = &mut session.output;
    if output.json() {
        return Ok(output.result(&value::payload(description.to_string()))?);
    }
    let protocols = description.get("description").and_then(protocols::text);
    if let (Some(_), Some(entries)) = (&protocols, description.as_object_mut()) {
        entries.remove("description");
    }
    output.result(&value::payload(description.to_string()))?;
    if let Some(text) = protocols {
        output.gap()?;
        output.text(&text)?;
    }
    Ok(())
}
