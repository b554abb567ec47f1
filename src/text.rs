//! How text that came from a peer is shown: it cannot drive a terminal, forge a line or fill a log.
//!
//! Owns which characters are dangerous, how they are written instead, and how long a name in a log may be. It knows
//! nothing of what the text says. Called wherever a peer's text meets a person: log fields, errors, terminals.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

/// How much of a peer's name a log shows, in bytes.
const NAME_SHOWN: usize = 64;
/// How much of a peer's longer text a log shows, in bytes.
const TEXT_SHOWN: usize = 512;

/// Whether a character could change what a terminal shows of other text: control characters, those that reorder or
/// break lines, and those that nobody sees: two names would look the same. Among these are the marks for how the letter before them is to look,
/// so that an emoji is shown with its own.
#[must_use]
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{13430}'..='\u{13455}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// As much of the beginning of a text as fits in so many bytes, cut between two characters.
pub(crate) fn cut(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

/// Bytes as hexadecimal digits, lower case.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied();
    let mut text = String::with_capacity(bytes.len().saturating_mul(2));
    text.extend(
        bytes
            .iter()
            .flat_map(|byte| [byte >> 4, byte & 15])
            .filter_map(digit),
    );
    text
}

/// `text` with every character of [`is_unsafe`] written as an escape (`\n`, `\t`, `\r`, otherwise `\u{1b}`).
/// Borrows when there is nothing to escape.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len().saturating_add(16));
    for c in text.chars() {
        // Writing to a String cannot fail.
        let _ = escape(&mut out, c);
    }
    Cow::Owned(out)
}

/// A line of JSON with every character of [`is_unsafe`] written as JSON's own escape, `\u001b`, so that it means the same and cannot
/// drive a terminal either. What is unsafe must stand inside of strings, as it does in JSON on one line.
/// Borrows when there is nothing to escape.
#[must_use]
pub fn json_safe(line: &str) -> Cow<'_, str> {
    if !line.chars().any(is_unsafe) {
        return Cow::Borrowed(line);
    }
    let mut out = String::with_capacity(line.len().saturating_add(16));
    for c in line.chars() {
        if !is_unsafe(c) {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\u{unit:04x}");
        }
    }
    Cow::Owned(out)
}

fn escape(out: &mut impl fmt::Write, c: char) -> fmt::Result {
    match c {
        '\n' => out.write_str("\\n"),
        '\r' => out.write_str("\\r"),
        '\t' => out.write_str("\\t"),
        c if is_unsafe(c) => write!(out, "\\u{{{:x}}}", u32::from(c)),
        c => out.write_char(c),
    }
}

/// A peer's text as a log shows it. Made by [`name`], [`text`] and [`escaped`].
#[derive(Clone, Copy)]
pub struct Shown<'a> {
    text: &'a str,
    most: usize,
}

/// A name for a log: escaped, and cut after 64 bytes.
#[must_use]
pub const fn name(text: &str) -> Shown<'_> {
    Shown {
        text,
        most: NAME_SHOWN,
    }
}

/// Any other text for a log: escaped, and cut after 512 bytes.
#[must_use]
pub const fn text(text: &str) -> Shown<'_> {
    Shown {
        text,
        most: TEXT_SHOWN,
    }
}

/// A text that is shown whole: escaped and not cut.
#[must_use]
pub const fn escaped(text: &str) -> Shown<'_> {
    Shown {
        text,
        most: usize::MAX,
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut length = 0_usize;
        for c in self.text.chars() {
            length = length.saturating_add(c.len_utf8());
            if length > self.most {
                return write!(f, "… ({} bytes)", self.text.len());
            }
            escape(f, c)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        fmt::Display::fmt(self, f)?;
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_are_escaped_and_text_is_not() {
        let cases = [
            ("25.6°C", "25.6°C"),
            ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
            ("\x1b[31mred", "\\u{1b}[31mred"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("\u{202e}txt.exe", "\\u{202e}txt.exe"),
            ("\x07\x7f", "\\u{7}\\u{7f}"),
            ("pay\u{200b}pal", "pay\\u{200b}pal"),
            ("math\u{fe0f}", "math\\u{fe0f}"),
            (
                "\u{13430}\u{1bca3}\u{1d173}\u{3164}",
                "\\u{13430}\\u{1bca3}\\u{1d173}\\u{3164}",
            ),
            (
                "\u{2066}x\u{2069}\u{feff}\u{e0041}",
                "\\u{2066}x\\u{2069}\\u{feff}\\u{e0041}",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(printable(text), expected);
            assert_eq!(name(text).to_string(), expected);
            assert_eq!(printable(expected), expected, "escaping twice changes nothing");
        }
    }

    #[test]
    fn a_text_is_cut_between_two_characters() {
        for (text, bytes, expected) in [
            ("abc", 4, "abc"),
            ("abc", 3, "abc"),
            ("abc", 2, "ab"),
            ("aé", 2, "a"),
            ("é", 1, ""),
            ("😀b", 3, ""),
            ("😀b", 4, "😀"),
            ("", 0, ""),
        ] {
            assert_eq!(cut(text, bytes), expected, "{text} at {bytes}");
        }
    }

    #[test]
    fn json_stays_the_same_json_without_what_drives_a_terminal() {
        for text in [
            "25.6°C",
            "a\nb\\u0041\"",
            "\x1b[31mred\u{9b}31m",
            "\u{202e}txt.exe\u{e0041}\u{7f}\u{feff}",
        ] {
            let line = format!("{{\"object\":{}}}", serde_json::Value::from(text));
            let safe = json_safe(&line);
            assert!(!safe.chars().any(is_unsafe), "{safe}");
            let back: serde_json::Value = serde_json::from_str(&safe).unwrap();
            assert_eq!(back.get("object").and_then(|v| v.as_str()), Some(text));
        }
        assert!(matches!(json_safe("{\"a\":\"é\"}"), Cow::Borrowed(_)));
    }

    #[test]
    fn long_names_are_cut_at_a_character() {
        let exact = "x".repeat(64);
        assert_eq!(name(&exact).to_string(), exact);
        assert_eq!(
            name(&format!("{exact}y")).to_string(),
            format!("{exact}… (65 bytes)")
        );
        let wide = "é".repeat(40);
        assert_eq!(name(&wide).to_string(), format!("{}… (80 bytes)", "é".repeat(32)));
        assert_eq!(format!("{:?}", name("a\u{1b}b")), "\"a\\u{1b}b\"");
    }
}
