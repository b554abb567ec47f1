//! What of a recording is done again, in its order.
//!
//! Owns where the recording comes from, that it is read through once before anything is done, and the choice of records. `recording` has
//! the format, `steps` what a record becomes. Called by `replay`.

use super::monitor::Kind;
use super::recording::{Entry, Mark, ReadError, Reader};
use super::steps::{Outcomes, SkippedCounts, Step, is_damaged, step};
use super::tap::Record;
use super::words::count;
use crate::exit::{Exit, Failure};
use crate::say::warn;
use actix_ipc::message::Pattern;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// Where the recording comes from: it is read twice.
pub(crate) struct Source {
    /// For messages.
    pub(crate) name: String,
    /// What standard input, a pipe or a device had.
    bytes: Option<Vec<u8>>,
    path: PathBuf,
}

impl Source {
    /// Opens it; - is standard input. What is no file, as a pipe, gives its bytes only once, so they are kept.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let mut source = Self {
            name: path.display().to_string(),
            bytes: None,
            path: path.to_path_buf(),
        };
        if path.as_os_str() == "-" {
            let mut bytes = Vec::new();
            let read = io::stdin().lock().read_to_end(&mut bytes);
            read.map_err(|error| source.wrong(&error.into()))?;
            source.name = "standard input".to_owned();
            source.bytes = Some(bytes);
        } else if std::fs::metadata(path).is_ok_and(|there| !there.is_file()) {
            let bytes = std::fs::read(path).map_err(|error| source.wrong(&error.into()))?;
            source.bytes = Some(bytes);
        }
        Ok(source)
    }

    /// Reads from the beginning.
    ///
    /// # Errors
    /// When it cannot be opened or is no recording.
    pub(crate) fn reader(&self) -> Result<Reader<Box<dyn BufRead + '_>>, Failure> {
        let input: Box<dyn BufRead + '_> = match &self.bytes {
            Some(bytes) => Box::new(bytes.as_slice()),
            None => Box::new(BufReader::new(
                File::open(&self.path).map_err(|error| self.wrong(&error.into()))?,
            )),
        };
        Reader::new(input).map_err(|error| self.wrong(&error))
    }

    fn wrong(&self, error: &ReadError) -> Failure {
        unreadable(&self.name, error)
    }
}

fn unreadable(name: &str, error: &ReadError) -> Failure {
    Failure::new(Exit::Usage, format!("replay: {name}: {error}"))
}

/// The first way through: how calls ended, and whether every line can be read.
///
/// # Errors
/// When a line cannot be read.
pub(crate) fn learn(source: &Source) -> Result<Outcomes, Failure> {
    let mut reader = source.reader()?;
    let (mut outcomes, mut missing, mut ended, mut torn) = (Outcomes::default(), 0_u64, false, None);
    while let Some(entry) = reader.next().map_err(|error| source.wrong(&error))? {
        outcomes.learn(&entry);
        if let Entry::Record(record) = &entry
            && is_damaged(record)
        {
            return Err(source.wrong(&ReadError::Line {
                number: reader.line,
                reason: format!("its payload is damaged: it is not {} bytes", record.bytes),
            }));
        }
        match entry {
            Entry::Mark(Mark::Dropped { count, .. }) => missing = missing.saturating_add(count),
            Entry::Mark(Mark::End { .. }) => ended = true,
            Entry::Torn => torn = Some(reader.line),
            _ => {}
        }
    }
    if let Some(line) = torn {
        warn(&format!(
            "{}: line {line}, the last, is torn off; what is before it is replayed",
            source.name
        ));
    } else if !ended {
        warn(&format!(
            "{}: the recording was not ended in order; what is there is replayed",
            source.name
        ));
    }
    if missing > 0 {
        warn(&format!(
            "{}: {} records are missing in the recording",
            source.name,
            count(missing)
        ));
    }
    outcomes.rewind();
    Ok(outcomes)
}

/// What is asked for of a recording.
pub(crate) struct Choice {
    /// Of these objects.
    pub(crate) object: Option<Pattern>,
    /// Of these methods and topics.
    pub(crate) member: Option<Pattern>,
    /// Of these kinds; none for all.
    pub(crate) kinds: Vec<Kind>,
}

impl Choice {
    fn takes(&self, kind: &str, object: &str, member: &str) -> bool {
        let selects = |pattern: &Option<Pattern>, name: &str| {
            pattern
                .as_ref()
                .is_none_or(|pattern| pattern.as_str() == name || pattern.matches(name))
        };
        let of_kind = self.kinds.is_empty() || self.kinds.iter().any(|wanted| wanted.name() == kind);
        of_kind && selects(&self.object, object) && selects(&self.member, member)
    }
}

/// What is to be done, in the order of the recording.
pub(crate) struct Script<'a> {
    /// At the first record.
    pub(crate) reader: Reader<Box<dyn BufRead + 'a>>,
    /// For messages.
    pub(crate) file: String,
    /// What is chosen.
    pub(crate) choice: Choice,
    /// How calls ended.
    pub(crate) outcomes: Outcomes,
    /// What could not be done.
    pub(crate) skipped: SkippedCounts,
    /// So many steps at most.
    pub(crate) left: Option<u64>,
}

impl Script<'_> {
    /// The next step, and the record that it comes from.
    ///
    /// # Errors
    /// When a line cannot be read.
    pub(crate) fn next(&mut self) -> Result<Option<(Record, Step)>, Failure> {
        while self.left != Some(0) {
            let entry = self
                .reader
                .next()
                .map_err(|error| unreadable(&self.file, &error))?;
            let Some(entry) = entry else {
                return Ok(None);
            };
            self.outcomes.pass(&entry);
            let Entry::Record(record) = entry else {
                continue;
            };
            let (object, member) = (record.object.as_deref(), record.member.as_deref());
            if !self.choice.takes(
                &record.kind,
                object.unwrap_or_default(),
                member.unwrap_or_default(),
            ) {
                continue;
            }
            match step(&record, self.reader.line, &self.outcomes) {
                Ok(Some(step)) => {
                    self.left = self.left.map(|left| left.saturating_sub(1));
                    return Ok(Some((*record, step)));
                }
                Ok(None) => {}
                Err(why) => {
                    let skipped = self.skipped.entry(why).or_default();
                    *skipped = skipped.saturating_add(1);
                }
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_by_kind_and_patterns() {
        let choice = |object: &str, member: &str, kinds: &[Kind]| Choice {
            object: Some(Pattern::new(object).unwrap()),
            member: Some(Pattern::new(member).unwrap()),
            kinds: kinds.to_vec(),
        };
        assert!(choice("math", "*", &[]).takes("call", "math", "add"));
        assert!(!choice("math", "mul", &[]).takes("call", "math", "add"));
        assert!(!choice("math", "*", &[Kind::Event]).takes("call", "math", "add"));
        assert!(choice("a.**", "add", &[Kind::Call, Kind::Event]).takes("call", "a.b.c", "add"));
    }
}
