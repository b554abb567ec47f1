//! What a child process prints, line by line.
//!
//! Owns where a line ends. It refuses to know where the bytes come from. `child` of either system and `filter` are the callers.

/// The longest line that is passed on as one, in bytes.
const LINE_MAX: usize = 4 * 1024;

/// The line that is not complete.
#[derive(Debug, Default)]
pub(super) struct Lines(Vec<u8>);

impl Lines {
    /// Tells the lines that are complete with these bytes.
    pub(super) fn take(&mut self, bytes: &[u8], told: &(dyn Fn(&str) + Sync)) {
        for byte in bytes {
            if *byte == b'\n' || self.0.len() >= LINE_MAX {
                told(String::from_utf8_lossy(&self.0).trim_end_matches('\r'));
                self.0.clear();
            }
            if *byte != b'\n' {
                self.0.push(*byte);
            }
        }
    }

    /// Tells what is left.
    pub(super) fn end(self, told: &(dyn Fn(&str) + Sync)) {
        if !self.0.is_empty() {
            told(&String::from_utf8_lossy(&self.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn lines_are_the_same_in_any_parts() {
        let long = "x".repeat(LINE_MAX);
        let text = format!("one\r\n\ntwo\n{long}yz\nrest");
        let expected = ["one", "", "two", &long, "yz", "rest"];
        for part in [1, 2, 3, 7, text.len()] {
            let heard = Mutex::new(Vec::new());
            let told = |line: &str| heard.lock().unwrap().push(line.to_owned());
            let mut lines = Lines::default();
            text.as_bytes()
                .chunks(part)
                .for_each(|bytes| lines.take(bytes, &told));
            lines.end(&told);
            assert_eq!(heard.into_inner().unwrap(), expected, "in parts of {part}");
        }
    }
}
