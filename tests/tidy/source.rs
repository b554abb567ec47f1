//! One text file as the checks see it: its lines, and its code without strings, comments and test modules.
//!
//! Owns the small lexer. It knows enough of Rust to find where strings and comments end and nothing of
//! grammar; `tests/tidy.rs` decides what the rules are.

use std::path::Path;

/// A file below the package's root.
pub(crate) struct Source {
    /// Its path with `/` between the parts.
    pub(crate) path: String,
    /// What it holds.
    pub(crate) text: String,
    /// The same, where every byte of a comment, string or character is a blank. Lines stay where they are.
    pub(crate) code: String,
    /// The code without what `#[cfg(test)]` guards.
    pub(crate) production: String,
}

/// A broken rule and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) what: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = if path.ends_with(".rs") {
            blank_strings_and_comments(text)
        } else {
            text.to_owned()
        };
        let production = blank_tests(&code);
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code,
            production,
        }
    }

    /// Whether the file holds nothing but tests of its neighbours.
    pub(crate) fn is_test(&self) -> bool {
        self.path.starts_with("tests/") || self.path.ends_with("tests.rs") || self.path.contains("/tests/")
    }

    pub(crate) fn finding(&self, line: usize, what: impl Into<String>) -> Finding {
        Finding {
            path: self.path.clone(),
            line,
            what: what.into(),
        }
    }

    /// The finding at a byte of any of the texts (they have the same lines).
    pub(crate) fn finding_at(&self, text: &str, at: usize, what: impl Into<String>) -> Finding {
        self.finding(line_of(text, at), what)
    }
}

/// The number of the line that byte `at` of `text` is in, from 1.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
        + 1
}

/// The files below `folder` with one of the endings, in order.
pub(crate) fn read_all(root: &Path, folder: &str, endings: &[&str], found: &mut Vec<Source>) {
    let Ok(entries) = std::fs::read_dir(root.join(folder)) else {
        return;
    };
    let mut names: Vec<(String, bool)> = entries
        .map(|entry| entry.unwrap())
        .map(|entry| {
            (
                entry.file_name().to_string_lossy().into_owned(),
                entry.file_type().unwrap().is_dir(),
            )
        })
        .collect();
    names.sort();
    for (name, is_dir) in names {
        let path = if folder.is_empty() {
            name.clone()
        } else {
            format!("{folder}/{name}")
        };
        if is_dir {
            read_all(root, &path, endings, found);
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            found.push(Source::new(
                &path,
                &std::fs::read_to_string(root.join(&path)).unwrap(),
            ));
        }
    }
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Where `word` stands in `code` with no letter, digit or underscore at either side.
pub(crate) fn words(code: &str, word: &str) -> Vec<usize> {
    let bytes = code.as_bytes();
    let free = |at: Option<&u8>| at.is_none_or(|byte| !is_name(*byte));
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(|at| {
            free(at.checked_sub(1).and_then(|before| bytes.get(before))) || !is_name(word.as_bytes()[0])
        })
        .filter(|at| free(bytes.get(at + word.len())) || !is_name(word.as_bytes()[word.len() - 1]))
        .collect()
}

/// The byte behind the bracket that closes the one at `open`.
pub(crate) fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' | b'(' | b'[' => depth += 1,
            b'}' | b')' | b']' => depth = depth.saturating_sub(1),
            _ => continue,
        }
        if depth == 0 {
            return at + 1;
        }
    }
    code.len()
}

fn blank(out: &mut [u8], from: usize, to: usize) {
    let to = to.min(out.len());
    out[from..to]
        .iter_mut()
        .filter(|byte| **byte != b'\n')
        .for_each(|byte| *byte = b' ');
}

fn blank_strings_and_comments(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let end = match rest {
            [b'/', b'/', ..] => at + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()),
            [b'/', b'*', ..] => block_comment_end(bytes, at),
            [b'"', ..] => string_end(bytes, at),
            [b'r', b'"' | b'#', ..] if starts_a_literal(bytes, at) => raw_string_end(bytes, at).unwrap_or(at),
            [b'\'', ..] => character_end(bytes, at).unwrap_or(at),
            _ => at,
        };
        blank(&mut out, at, end);
        at = end.max(at + 1);
    }
    String::from_utf8(out).unwrap()
}

/// Whether the `r` at `at` is no part of a longer name (`br` and `cr` are literals too).
fn starts_a_literal(bytes: &[u8], at: usize) -> bool {
    match at.checked_sub(1).map(|before| bytes[before]) {
        Some(b'b' | b'c') => at < 2 || !is_name(bytes[at - 2]),
        Some(before) => !is_name(before),
        None => true,
    }
}

fn block_comment_end(bytes: &[u8], from: usize) -> usize {
    let (mut depth, mut at) = (0_usize, from);
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn string_end(bytes: &[u8], from: usize) -> usize {
    let mut at = from + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// `None` for a raw identifier such as `r#type`.
fn raw_string_end(bytes: &[u8], from: usize) -> Option<usize> {
    let hashes = bytes[from + 1..].iter().take_while(|byte| **byte == b'#').count();
    if bytes.get(from + 1 + hashes) != Some(&b'"') {
        return None;
    }
    let close = [b"\"".as_slice(), &vec![b'#'; hashes]].concat();
    let body = from + hashes + 2;
    let length = bytes[body..]
        .windows(close.len())
        .position(|window| window == close)?;
    Some(body + length + close.len())
}

/// `None` for a lifetime.
fn character_end(bytes: &[u8], from: usize) -> Option<usize> {
    match bytes.get(from + 1)? {
        b'\\' => Some(from + 3 + bytes.get(from + 3..)?.iter().position(|byte| *byte == b'\'')? + 1),
        first => {
            let length = match first {
                0..=0x7f => 1,
                0xc0..=0xdf => 2,
                0xe0..=0xef => 3,
                _ => 4,
            };
            (bytes.get(from + 1 + length) == Some(&b'\'')).then_some(from + length + 2)
        }
    }
}

/// Blanks the item behind every attribute that mentions `test` in a `cfg`.
fn blank_tests(code: &str) -> String {
    let mut out = code.as_bytes().to_vec();
    for (at, _) in code.match_indices("#[cfg(") {
        let attribute = closing(code, at + 1);
        let guards_tests =
            !words(&code[at..attribute], "test").is_empty() && !code[at..attribute].contains("not");
        if guards_tests {
            blank(&mut out, at, item_end(code, attribute));
        }
    }
    String::from_utf8(out).unwrap()
}

/// Where the item that begins at `from` ends: behind its block, or its semicolon.
pub(crate) fn item_end(code: &str, from: usize) -> usize {
    let mut at = from;
    while let Some(byte) = code.as_bytes().get(at) {
        match byte {
            b'{' => return closing(code, at),
            b';' => return at + 1,
            b'(' | b'[' => at = closing(code, at),
            _ => at += 1,
        }
    }
    code.len()
}

#[test]
fn strings_comments_and_characters_are_blanked_and_nothing_else() {
    let cases = [
        ("let a = \"{ // \\\" }\"; b", "let a =            ; b"),
        ("x // { \"\ny", "x       \ny"),
        ("/* { /* } */ \" */z", "                 z"),
        ("r#\"a\"{\"# + r\"{\" + br\"}\"", "         +      + b    "),
        ("r#type for", "r#type for"),
        ("'{' 'a '\\'' '\\u{7f}' &'b str", "    'a               &'b str"),
        ("'\u{e9}' x", "     x"),
    ];
    for (text, expected) in cases {
        assert_eq!(blank_strings_and_comments(text), expected, "{text}");
    }
}

#[test]
fn what_cfg_test_guards_is_no_production_code() {
    let file = Source::new(
        "src/a.rs",
        "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() { x() }\n}\nfn c() {}\n",
    );
    assert!(words(&file.production, "x").is_empty() && !words(&file.production, "c").is_empty());
    assert_eq!(file.production.lines().count(), 6);
    let file = Source::new(
        "src/a.rs",
        "#[cfg(all(test, unix))] mod t;\nfn c() {}\n#[cfg(not(test))]\nfn d() {}",
    );
    assert!(!words(&file.production, "c").is_empty() && !words(&file.production, "d").is_empty());
    assert!(words(&file.production, "t").is_empty());
}

#[test]
fn words_are_whole() {
    assert_eq!(words("tokio::a tokio_util::b xtokio", "tokio"), [0]);
    assert_eq!(words("a::sleep(x) no_sleep(y)", "sleep("), [3]);
}
