//! Colour: whether a stream gets any, and the few that rob has.
//!
//! Owns the rule: on a terminal, and never with `NO_COLOR` (or `TERM=dumb`, `CLICOLOR=0`). It refuses to know what is coloured. Asked by
//! `main` for errors, by `output` for results and by `rob top` for its screen.

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};

/// Whether text for this stream may be coloured.
pub(crate) fn wanted(stream: &impl RawStream) -> bool {
    // Asked besides: to the choice `CI` means that a terminal knows colours, whatever it is.
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    stream.is_terminal() && !dumb && AutoStream::choice(stream) != ColorChoice::Never
}

/// What begins an error.
pub(crate) fn alarm(text: &str, wanted: bool) -> String {
    styled("1;31", text, wanted)
}

/// What is over other lines.
pub(crate) fn heading(text: &str, wanted: bool) -> String {
    styled("1", text, wanted)
}

fn styled(style: &str, text: &str, wanted: bool) -> String {
    match wanted {
        true => format!("\u{1b}[{style}m{text}\u{1b}[0m"),
        false => text.to_owned(),
    }
}
