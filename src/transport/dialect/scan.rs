//! Where a JSON document ends, in bytes that come in parts.
//!
//! Owns the little that must be known for that: brackets, strings and escapes. Whether the document is well formed is serde_json's
//! matter. Pure; each byte is looked at once.

/// How far the first document of a connection's bytes has been looked through.
#[derive(Debug, Default)]
pub(super) struct Scan {
    at: usize,
    depth: u32,
    in_string: bool,
    escaped: bool,
    /// A bare word or number outside of brackets: how long it is when complete, and how much of it has come.
    word: Option<(usize, usize)>,
}

impl Scan {
    /// The end of the first document in `input`, which begins with the same bytes as at the last call. `None`: it is not complete.
    /// Afterwards the scan is ready for the document behind it.
    pub(super) fn end(&mut self, input: &[u8]) -> Option<usize> {
        for (index, byte) in input.iter().enumerate().skip(self.at) {
            if let Some(end) = self.step(index, *byte) {
                *self = Self::default();
                return Some(end);
            }
        }
        self.at = input.len();
        None
    }

    /// What was looked at is forgotten: `input` begins behind it from now on.
    pub(super) const fn forget(&mut self) {
        self.at = 0;
    }

    /// Whether no document has begun: there were only blanks, if anything.
    pub(super) const fn is_between(&self) -> bool {
        self.depth == 0 && !self.in_string && self.word.is_none()
    }

    fn step(&mut self, index: usize, byte: u8) -> Option<usize> {
        let behind = index.saturating_add(1);
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => {
                    self.in_string = false;
                    return (self.depth == 0).then_some(behind);
                }
                _ => {}
            }
            return None;
        }
        match byte {
            // What follows a word is the next document's.
            b'{' | b'[' | b'"' | b' ' | b'\t' | b'\r' | b'\n' if self.word.is_some() => return Some(index),
            b'{' | b'[' => self.depth = self.depth.saturating_add(1),
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                return (self.depth == 0).then_some(behind);
            }
            b'"' => self.in_string = true,
            b' ' | b'\t' | b'\r' | b'\n' => {}
            _ if self.depth == 0 => {
                let (length, come) = self.word.get_or_insert_with(|| (word_length(byte), 0));
                *come = come.saturating_add(1);
                return (*come == *length).then_some(behind);
            }
            _ => {}
        }
        None
    }
}

/// How long a word is that begins so; a number has its end where something else begins.
const fn word_length(first: u8) -> usize {
    match first {
        b'n' | b't' => 4,
        b'f' => 5,
        _ => usize::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_end_where_they_end_in_any_parts() {
        let documents: [&[u8]; 9] = [
            br#"{"a":"}\"{"}"#,
            b"null",
            br#"["\\",{"b":[]}]"#,
            b"true",
            b"\n {\"c\":1}",
            br#""x\"y""#,
            b"false",
            br#"{}"#,
            br#"{"d":"\u007d"}"#,
        ];
        let all = documents.concat();
        for part in 1..all.len() {
            let (mut scan, mut held, mut found) = (Scan::default(), Vec::new(), Vec::new());
            for bytes in all.chunks(part) {
                held.extend_from_slice(bytes);
                while let Some(end) = scan.end(&held) {
                    found.push(held.drain(..end).collect::<Vec<u8>>());
                }
            }
            assert_eq!(found, documents.map(<[u8]>::to_vec), "in parts of {part}");
            assert!(held.is_empty());
        }
        let mut scan = Scan::default();
        assert_eq!(
            (scan.end(b"12"), scan.end(b"123 "), scan.end(b" ")),
            (None, Some(3), None)
        );
    }
}
