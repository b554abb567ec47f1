//! The file of `rob record`: JSON lines, the first of which says what they are.
//!
//! Owns the format, which `docs/recording.md` describes key by key: it is written and read here and nowhere else. A last line that was
//! torn off is no error. It knows no broker. Called by `record` and `replay`.

use super::tap::{Filter, Record};
use crate::output::compact;
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, Write};

/// The version of the format.
pub(crate) const VERSION: u32 = 1;

/// The first line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Header {
    /// The version of the format; what makes the file a recording.
    pub(crate) rob_recording: u32,
    /// The version of the rob that wrote it.
    pub(crate) rob: String,
    /// Which life of the broker it is.
    pub(crate) epoch: String,
    /// When it began, in microseconds since 1970.
    pub(crate) started_us: u64,
    /// What was asked for.
    pub(crate) filter: Filter,
}

/// Lines that are no records of the broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Mark {
    /// So many records are missing here.
    Dropped {
        /// In microseconds since 1970.
        at_us: u64,
        /// How many.
        count: u64,
    },
    /// The connection was lost here, and records are missing, nobody knows how many.
    Interrupted {
        /// In microseconds since 1970.
        at_us: u64,
        /// Why.
        reason: String,
        /// Whether it is the same broker behind it, which goes on with the same tickets.
        same_broker: bool,
    },
    /// The recording was ended in order.
    End {
        /// In microseconds since 1970.
        at_us: u64,
        /// Records before this line.
        records: u64,
        /// How many are missing.
        dropped: u64,
        /// How often the connection was lost.
        interrupted: u64,
    },
}

/// A file that is being written.
pub(crate) struct Writer<W> {
    out: W,
    /// Records that were written.
    pub(crate) records: u64,
    /// Records that are missing.
    pub(crate) dropped: u64,
    /// Times that the connection was lost.
    pub(crate) interrupted: u64,
}

impl<W: Write> Writer<W> {
    /// Writes the first line.
    ///
    /// # Errors
    /// As writing gives them; of the other methods as well.
    pub(crate) fn new(mut out: W, header: &Header) -> io::Result<Self> {
        line(&mut out, header)?;
        out.flush()?;
        Ok(Self {
            out,
            records: 0,
            dropped: 0,
            interrupted: 0,
        })
    }

    /// Writes a record as the broker told it.
    pub(crate) fn record(&mut self, raw: &str) -> io::Result<()> {
        self.out.write_all(compact(raw).as_bytes())?;
        self.out.write_all(b"\n")?;
        self.records = self.records.saturating_add(1);
        Ok(())
    }

    /// Notes that records are missing.
    pub(crate) fn dropped(&mut self, at_us: u64, count: u64) -> io::Result<()> {
        if count == 0 {
            return Ok(());
        }
        self.dropped = self.dropped.saturating_add(count);
        line(&mut self.out, &Mark::Dropped { at_us, count })
    }

    /// Notes that the connection was lost.
    pub(crate) fn interrupted(&mut self, at_us: u64, reason: String, same_broker: bool) -> io::Result<()> {
        self.interrupted = self.interrupted.saturating_add(1);
        let mark = Mark::Interrupted {
            at_us,
            reason,
            same_broker,
        };
        line(&mut self.out, &mark)
    }

    /// Hands everything to the system.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Writes the last line.
    pub(crate) fn end(&mut self, at_us: u64) -> io::Result<()> {
        let mark = Mark::End {
            at_us,
            records: self.records,
            dropped: self.dropped,
            interrupted: self.interrupted,
        };
        line(&mut self.out, &mark)?;
        self.out.flush()
    }
}

fn line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_string(value).map_err(io::Error::other)?;
    out.write_all(compact(&text).as_bytes())?;
    out.write_all(b"\n")
}

/// What a line of a recording is.
#[derive(Debug)]
pub(crate) enum Entry {
    /// A record.
    Record(Box<Record>),
    /// A word of who recorded.
    Mark(Mark),
    /// The last line, and it is not whole.
    Torn,
}

/// Why a file is no recording.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The system does not let it be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The first line is not what it must be.
    #[error("line 1 is not the first line of a recording ({0}); `rob record FILE` writes one")]
    NoHeader(String),
    /// A later rob wrote it.
    #[error(
        "it is of version {0} and this rob reads up to {VERSION}; use the rob that wrote it or a later one"
    )]
    Version(u32),
    /// A line is damaged, and others follow.
    #[error("line {number}: {reason}")]
    Line {
        /// Counted from 1.
        number: u64,
        /// What is wrong.
        reason: String,
    },
}

/// A file that is being read.
pub(crate) struct Reader<R> {
    input: R,
    /// The number of the line that was read last.
    pub(crate) line: u64,
    ended: bool,
}

impl<R: BufRead> Reader<R> {
    /// Reads the first line.
    ///
    /// # Errors
    /// When it is none, or of a later version.
    pub(crate) fn new(mut input: R) -> Result<Self, ReadError> {
        let mut text = Vec::new();
        input.read_until(b'\n', &mut text)?;
        let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&text);
        let header: Header =
            serde_json::from_slice(text).map_err(|error| ReadError::NoHeader(error.to_string()))?;
        match header.rob_recording {
            0 => return Err(ReadError::NoHeader("it has no \"rob_recording\"".to_owned())),
            VERSION => {}
            later => return Err(ReadError::Version(later)),
        }
        Ok(Self {
            input,
            line: 1,
            ended: false,
        })
    }

    /// The next line; none at the end. Empty lines are passed over.
    ///
    /// # Errors
    /// When a line that is not the last is no record.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, ReadError> {
        let mut text = Vec::new();
        while !self.ended {
            text.clear();
            if self.input.read_until(b'\n', &mut text)? == 0 {
                break;
            }
            self.line = self.line.saturating_add(1);
            if text.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let whole = text.ends_with(b"\n");
            let reason = match entry(&text) {
                Ok(entry) => return Ok(Some(entry)),
                Err(reason) => reason,
            };
            self.ended = true;
            // Torn off without its break, or damaged with nothing behind it: what a full disk or a power cut leaves.
            if !whole || self.input.fill_buf()?.is_empty() {
                return Ok(Some(Entry::Torn));
            }
            return Err(ReadError::Line {
                number: self.line,
                reason,
            });
        }
        Ok(None)
    }
}

fn entry(text: &[u8]) -> Result<Entry, String> {
    let record: Record = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    match record.kind.as_str() {
        "" => Err("it has no \"kind\"".to_owned()),
        "dropped" | "interrupted" | "end" => serde_json::from_slice(text)
            .map(Entry::Mark)
            .map_err(|error| error.to_string()),
        _ => Ok(Entry::Record(Box::new(record))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            rob_recording: VERSION,
            rob: "0.1.0".into(),
            epoch: "5eed".into(),
            started_us: 7,
            filter: Filter::default(),
        }
    }

    fn written() -> Vec<u8> {
        let mut file = Vec::new();
        let mut writer = Writer::new(&mut file, &header()).unwrap();
        writer
            .record("{ \"at_us\": 8, \"kind\": \"event\",\n \"later\": [1] }")
            .unwrap();
        writer.dropped(9, 0).unwrap();
        writer.dropped(9, 3).unwrap();
        writer.interrupted(10, "gone\u{1b}".into(), false).unwrap();
        writer.end(11).unwrap();
        file
    }

    fn read(text: &[u8]) -> Result<Vec<Entry>, ReadError> {
        let mut reader = Reader::new(text)?;
        let mut entries = Vec::new();
        while let Some(entry) = reader.next()? {
            entries.push(entry);
        }
        Ok(entries)
    }

    #[test]
    fn the_mark_of_utf_8_is_no_part_of_a_recording() {
        let marked = ["\u{feff}".as_bytes(), &written()].concat();
        assert_eq!(read(&marked).unwrap().len(), read(&written()).unwrap().len());
    }

    #[test]
    fn a_recording_is_lines() {
        let expected = concat!(
            r#"{"rob_recording":1,"rob":"0.1.0","epoch":"5eed","started_us":7,"filter":{}}"#,
            "\n",
            r#"{"at_us":8,"kind":"event","later":[1]}"#,
            "\n",
            r#"{"kind":"dropped","at_us":9,"count":3}"#,
            "\n",
            r#"{"kind":"interrupted","at_us":10,"reason":"gone\u001b","same_broker":false}"#,
            "\n",
            r#"{"kind":"end","at_us":11,"records":1,"dropped":3,"interrupted":1}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(written()).unwrap(), expected);
        let entries = read(&written()).unwrap();
        assert!(matches!(&entries[0], Entry::Record(record) if record.at_us == 8));
        assert!(matches!(&entries[1], Entry::Mark(Mark::Dropped { count: 3, .. })));
        assert!(matches!(&entries[3], Entry::Mark(Mark::End { records: 1, .. })));
    }

    #[test]
    fn wherever_the_end_is_torn_off_the_whole_lines_are_read() {
        let file = written();
        let first = file.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for end in first..file.len() {
            let part = &file[..end];
            let whole = part[first..].iter().filter(|byte| **byte == b'\n').count();
            let entries = read(part).unwrap();
            let torn = matches!(entries.last(), Some(Entry::Torn));
            // A last line that lacks only its break is whole.
            let lacks_break = !part.ends_with(b"\n") && !torn;
            assert_eq!(
                entries.len() - usize::from(torn),
                whole + usize::from(lacks_break),
                "cut at {end}"
            );
            assert!(
                part.ends_with(b"\n") || torn || file[end] == b'\n',
                "cut at {end}"
            );
        }
    }

    #[test]
    fn what_is_no_recording_is_refused_with_its_reason() {
        let head = r#"{"rob_recording":1}"#;
        let table = [
            (String::new(), "line 1 is not the first line of a recording"),
            ("{}\n".to_owned(), "it has no \"rob_recording\""),
            (
                "{\"rob_recording\":2}\n".to_owned(),
                "it is of version 2 and this rob reads up to 1",
            ),
            (
                format!("{head}\n{{\"kind\":\n{{\"kind\":\"end\"}}\n"),
                "line 2: EOF while parsing",
            ),
            (
                format!("{head}\n\n{{}}\n{{\"kind\":\"call\"}}\n"),
                "line 3: it has no \"kind\"",
            ),
            (
                format!("{head}\n{{\"kind\":\"dropped\"}}\n{{\"kind\":\"call\"}}\n"),
                "line 2: missing field",
            ),
        ];
        for (text, expected) in table {
            let error = read(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let mut text = b"{\"rob_recording\":1}\n".to_vec();
            text.extend(bytes);
            let _ = read(&text);
        }
    }
}
