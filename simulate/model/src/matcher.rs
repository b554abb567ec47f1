//! Names and patterns by the text of the protocol's section 5, the slow and obvious way.
//!
//! Owns the naive matcher that the broker's trie is compared with. It refuses to know frames.

/// Whether `bytes` are a name: UTF-8 of 1 to 255 bytes without control characters.
pub(crate) fn is_name(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let control = |c: char| matches!(c as u32, 0..=0x1f | 0x7f..=0x9f);
    !text.is_empty() && text.len() <= 255 && !text.chars().any(control)
}

/// Whether `text` is a legal pattern: at most 32 levels, `*` alone in its level, `**` alone in the last one.
pub(crate) fn is_pattern(text: &str) -> bool {
    let levels: Vec<&str> = text.split('.').collect();
    let last = levels.len().saturating_sub(1);
    is_name(text.as_bytes())
        && levels.len() <= 32
        && levels.iter().enumerate().all(|(at, level)| match *level {
            "*" => true,
            "**" => at == last,
            other => !other.contains('*'),
        })
}

/// Whether the pattern selects the name: `*` is one level, `**` at the end is one or more.
#[must_use]
pub fn selects(pattern: &str, name: &str) -> bool {
    fn rest(pattern: &[&str], name: &[&str]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            (["**"], [_, ..]) => true,
            (["*", more @ ..], [_, left @ ..]) => rest(more, left),
            ([level, more @ ..], [first, left @ ..]) => level == first && rest(more, left),
            _ => false,
        }
    }
    let (pattern, name): (Vec<&str>, Vec<&str>) = (pattern.split('.').collect(), name.split('.').collect());
    rest(&pattern, &name)
}

/// Both halves of a key of two names, when they are names.
pub(crate) fn pair(key: &[u8]) -> Option<(&str, &str)> {
    let at = key.iter().position(|byte| *byte == 0)?;
    let (object, member) = (key.get(..at)?, key.get(at.saturating_add(1)..)?);
    if !is_name(object) || !is_name(member) {
        return None;
    }
    Some((
        std::str::from_utf8(object).ok()?,
        std::str::from_utf8(member).ok()?,
    ))
}

/// Whether a subscription's key selects a topic's.
pub(crate) fn topic(subscribed: &[u8], pattern: bool, published: &[u8]) -> bool {
    if !pattern {
        return subscribed == published;
    }
    match (pair(subscribed), pair(published)) {
        (Some((object, event)), Some((name, member))) => selects(object, name) && selects(event, member),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_protocol() {
        let cases = [
            ("room.*", "room.a", true),
            ("room.*", "room", false),
            ("room.*", "room.a.b", false),
            ("room.**", "room.a", true),
            ("room.**", "room.a.b", true),
            ("room.**", "room", false),
            ("**", "x.y", true),
            ("*.b", "a.b", true),
            ("*.b", "a.c", false),
            ("a", "a", true),
            ("a.", "a", false),
            ("a.*", "a.", true),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(selects(pattern, name), expected, "{pattern} {name}");
        }
        for (pattern, legal) in [
            ("a.**.b", false),
            ("a*", false),
            ("**", true),
            ("", false),
            ("a..b", true),
        ] {
            assert_eq!(is_pattern(pattern), legal, "{pattern}");
        }
        assert!(!is_pattern(&vec!["a"; 33].join(".")));
        assert!(!topic(b"a.*\0e", false, b"a.b\0e") && topic(b"a.*\0e", true, b"a.b\0e"));
        assert!(
            !topic(b"**\0e", true, b"a\0f"),
            "no half reaches over the zero byte"
        );
    }
}
