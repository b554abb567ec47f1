//! Signatures: how the words of a command line become one JSON value.
//!
//! ```text
//! value = s | i | n | b | d | j | { value… } | ( value… ) | [ value… ]
//! ```
//! Owns the grammar and its error texts. The result is JSON text rather than a tree, so that the keys of a map
//! stay in the order in which they were typed and raw JSON stays as it was typed. It knows no options and no
//! broker. Called by `arguments`.

use std::collections::HashSet;

/// Deepest nesting; serde_json reads no deeper than 128, with room for a caller's own levels.
const DEPTH_MAX: usize = 100;

/// What `j` wants.
pub(crate) const JSON: &str = "JSON";

/// The words of a command line as one value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Encoded {
    /// The value, as JSON text.
    pub(crate) json: String,
    /// How many of the arguments it took.
    pub(crate) used: usize,
}

/// Why signature and arguments give no value. Positions and argument numbers count from 1.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SignatureError {
    #[error(
        "signature {signature:?}: unexpected {found:?} at position {position}; it is made of s i n b d j {{…}} (…) […]"
    )]
    Unexpected {
        signature: String,
        found: char,
        position: usize,
    },
    #[error("signature {signature:?}: {opener:?} at position {position} is never closed; add {closer:?}")]
    Unclosed {
        signature: String,
        opener: char,
        closer: char,
        position: usize,
    },
    #[error(
        "signature {signature:?}: {found:?} at position {position} goes on after the end of the value; \
             a list of values is written ({})",
        .signature.escape_debug()
    )]
    Second {
        signature: String,
        found: char,
        position: usize,
    },
    #[error("signature {signature:?}: nested deeper than {DEPTH_MAX} at position {position}")]
    TooDeep { signature: String, position: usize },
    #[error("missing argument {number}: {wanted} for position {position} of the signature {signature:?}")]
    Missing {
        signature: String,
        number: usize,
        wanted: &'static str,
        position: usize,
    },
    #[error("argument {number}, {text:?}, is not {wanted}{reason}")]
    Invalid {
        number: usize,
        text: String,
        wanted: &'static str,
        reason: String,
    },
    #[error("argument {number}: the map has the key {key:?} already")]
    DuplicateKey { number: usize, key: String },
}

/// Builds the value that `signature` describes from the first of `arguments`. An empty signature is null.
///
/// # Errors
/// [`SignatureError`] says which position of the signature or which argument is wrong. Arguments that are left
/// over are the caller's business; see [`Encoded::used`].
pub(crate) fn encode(signature: &str, arguments: &[String]) -> Result<Encoded, SignatureError> {
    let letters: Vec<char> = signature.chars().collect();
    let mut reader = Reader {
        signature,
        letters: &letters,
        at: 0,
        arguments,
        used: 0,
        json: String::new(),
    };
    if letters.is_empty() {
        reader.json.push_str("null");
    } else {
        reader.value(0)?;
    }
    match reader.peek() {
        Some(found) => {
            let (signature, position) = (signature.to_owned(), reader.position());
            Err(match found {
                's' | 'i' | 'n' | 'b' | 'd' | 'j' | '{' | '(' | '[' => SignatureError::Second {
                    signature,
                    found,
                    position,
                },
                _ => SignatureError::Unexpected {
                    signature,
                    found,
                    position,
                },
            })
        }
        None => Ok(Encoded {
            json: reader.json,
            used: reader.used,
        }),
    }
}

/// Walks the signature once, taking arguments as it goes.
struct Reader<'a> {
    signature: &'a str,
    letters: &'a [char],
    at: usize,
    arguments: &'a [String],
    used: usize,
    json: String,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<char> {
        self.letters.get(self.at).copied()
    }

    const fn position(&self) -> usize {
        self.at.saturating_add(1)
    }

    /// One value; there is at least one letter left.
    fn value(&mut self, depth: usize) -> Result<(), SignatureError> {
        let found = self.peek().unwrap_or(' ');
        if depth > DEPTH_MAX {
            return Err(SignatureError::TooDeep {
                signature: self.signature.into(),
                position: self.position(),
            });
        }
        match found {
            's' => {
                let text = self.argument("a string")?;
                self.string(text);
            }
            'i' => self.integer()?,
            'n' => self.json.push_str("null"),
            'b' => self.boolean()?,
            'd' => self.float()?,
            'j' => self.raw()?,
            '{' => return self.map(depth),
            '(' => return self.list(')', depth),
            '[' => return self.list(']', depth),
            _ => {
                let (signature, position) = (self.signature.to_owned(), self.position());
                return Err(SignatureError::Unexpected {
                    signature,
                    found,
                    position,
                });
            }
        }
        self.at = self.at.saturating_add(1);
        Ok(())
    }

    fn map(&mut self, depth: usize) -> Result<(), SignatureError> {
        let mut keys = HashSet::new();
        self.members(('{', '}'), |reader, first| {
            let key = reader.argument("a key")?;
            if !keys.insert(key) {
                return Err(SignatureError::DuplicateKey {
                    number: reader.used,
                    key: key.into(),
                });
            }
            reader.json.push_str(if first { "" } else { "," });
            reader.string(key);
            reader.json.push(':');
            reader.value(depth.saturating_add(1))
        })
    }

    fn list(&mut self, closer: char, depth: usize) -> Result<(), SignatureError> {
        let opener = if closer == ')' { '(' } else { '[' };
        self.members((opener, closer), |reader, first| {
            reader.json.push_str(if first { "" } else { "," });
            reader.value(depth.saturating_add(1))
        })
    }

    /// What stands between a pair of brackets, both included.
    fn members(
        &mut self,
        (opener, closer): (char, char),
        mut member: impl FnMut(&mut Self, bool) -> Result<(), SignatureError>,
    ) -> Result<(), SignatureError> {
        let position = self.position();
        self.at = self.at.saturating_add(1);
        self.json.push(if opener == '{' { '{' } else { '[' });
        let mut first = true;
        loop {
            match self.peek() {
                None => {
                    let signature = self.signature.to_owned();
                    return Err(SignatureError::Unclosed {
                        signature,
                        opener,
                        closer,
                        position,
                    });
                }
                Some(found) if found == closer => break,
                // A letter that begins no value is reported before an argument is asked for.
                Some(found) if !"sinbdj{([".contains(found) => {
                    let (signature, position) = (self.signature.to_owned(), self.position());
                    return Err(SignatureError::Unexpected {
                        signature,
                        found,
                        position,
                    });
                }
                Some(_) => member(self, std::mem::take(&mut first))?,
            }
        }
        self.at = self.at.saturating_add(1);
        self.json.push(if closer == '}' { '}' } else { ']' });
        Ok(())
    }

    fn argument(&mut self, wanted: &'static str) -> Result<&'a str, SignatureError> {
        let number = self.used.saturating_add(1);
        let Some(text) = self.arguments.get(self.used) else {
            let (signature, position) = (self.signature.to_owned(), self.position());
            return Err(SignatureError::Missing {
                signature,
                number,
                wanted,
                position,
            });
        };
        self.used = number;
        Ok(text)
    }

    fn invalid(&self, text: &str, wanted: &'static str, reason: String) -> SignatureError {
        SignatureError::Invalid {
            number: self.used,
            text: text.into(),
            wanted,
            reason,
        }
    }

    fn string(&mut self, text: &str) {
        self.json.push_str(&serde_json::Value::from(text).to_string());
    }

    fn integer(&mut self) -> Result<(), SignatureError> {
        const WANTED: &str = "an integer";
        let text = self.argument(WANTED)?;
        let value = text.parse::<i64>().map(serde_json::Value::from);
        let value = value.or_else(|error| {
            text.parse::<u64>()
                .map(serde_json::Value::from)
                .map_err(|_| error)
        });
        let value = value.map_err(|error| {
            use std::num::IntErrorKind::{NegOverflow, PosOverflow};
            let large = matches!(error.kind(), PosOverflow | NegOverflow);
            self.invalid(
                text,
                WANTED,
                if large {
                    " of 64 bits".into()
                } else {
                    String::new()
                },
            )
        })?;
        self.json.push_str(&value.to_string());
        Ok(())
    }

    fn boolean(&mut self) -> Result<(), SignatureError> {
        const WANTED: &str = "a boolean (true or false)";
        let text = self.argument(WANTED)?;
        match text {
            "true" | "false" => self.json.push_str(text),
            _ => return Err(self.invalid(text, WANTED, String::new())),
        }
        Ok(())
    }

    fn float(&mut self) -> Result<(), SignatureError> {
        const WANTED: &str = "a number";
        let text = self.argument(WANTED)?;
        let value = text
            .parse::<f64>()
            .map_err(|_| self.invalid(text, WANTED, String::new()))?;
        let Some(value) = serde_json::Number::from_f64(value) else {
            return Err(self.invalid(text, WANTED, " that JSON can hold".into()));
        };
        self.json.push_str(&value.to_string());
        Ok(())
    }

    fn raw(&mut self) -> Result<(), SignatureError> {
        let text = self.argument(JSON)?;
        serde_json::from_str::<serde_json::Value>(text)
            .map_err(|error| self.invalid(text, JSON, format!(": {error}")))?;
        self.json.push_str(text.trim());
        Ok(())
    }
}

#[cfg(test)]
#[path = "signature_tests.rs"]
mod tests;
