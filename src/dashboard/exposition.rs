//! The text format of Prometheus, version 0.0.4, as a writer.
//!
//! Owns its grammar: families, samples, labels, what has to be escaped. It does not know what is counted. Called by `families`.

use crate::text::printable;
use std::fmt::{Display, Write as _};

/// What a family is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It only grows; its name ends with `_total`.
    Counter,
    /// A level.
    Gauge,
    /// Counts by size.
    Histogram,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A label and its value.
pub(super) type Label<'a> = (&'a str, &'a str);

/// The text as far as it is written. Writing to it cannot fail.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    text: String,
}

impl Exposition {
    pub(super) fn text(self) -> String {
        self.text
    }

    /// Opens a family; its samples must follow before the next one is opened.
    pub(super) fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let help = help.trim().replace('\\', "\\\\").replace('\n', "\\n");
        let _ = writeln!(self.text, "# HELP {name} {help}");
        let _ = writeln!(self.text, "# TYPE {name} {}", kind.name());
    }

    /// One line.
    pub(super) fn sample(&mut self, name: &str, labels: &[Label<'_>], value: impl Display) {
        self.text.push_str(name);
        for (index, (label, value)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{before}{label}=\"{}\"", escaped(value));
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }

    /// A family of one sample without labels.
    pub(super) fn single(&mut self, name: &str, kind: Kind, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }
}

/// The value of a label. The format asks for three escapes; what could reorder or hide text in a terminal or a page becomes visible first, as
/// everywhere.
fn escaped(value: &str) -> String {
    printable(value)
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_labels_cannot_leave_their_quotes() {
        let table = [
            ("plain", "plain"),
            ("a\"} 1\nb", "a\\\"} 1\\\\nb"),
            ("back\\slash", "back\\\\slash"),
            ("\u{202e}drow", "\\\\u{202e}drow"),
            ("<script>", "<script>"),
            ("ünï", "ünï"),
        ];
        for (value, expected) in table {
            let mut out = Exposition::default();
            out.sample("x", &[("a", value), ("b", "c")], 1);
            assert_eq!(out.text(), format!("x{{a=\"{expected}\",b=\"c\"}} 1\n"));
        }
    }

    #[test]
    fn a_family_says_what_it_is() {
        let mut out = Exposition::default();
        out.single("x_total", Kind::Counter, " Two\nlines \\.", 7);
        assert_eq!(
            out.text(),
            "# HELP x_total Two\\nlines \\\\.\n# TYPE x_total counter\nx_total 7\n"
        );
    }
}
