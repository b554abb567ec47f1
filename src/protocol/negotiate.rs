//! Whether two sides mean the same protocols.
//!
//! Owns the comparison of numbers, names, versions and crates, and the texts of all that can be wrong with them. Pure. Asked by
//! the serving side about one request, and by the calling side about what an object or a peer says that it serves.

use super::info::ProtocolInfo;
use crate::error::{CallError, ErrorCode};

/// So many protocols are listed in a text.
const LISTED_MAX: usize = 16;

/// A protocol that the other side says it serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Served<'a> {
    /// Its number.
    pub(crate) id: u64,
    /// Its name.
    pub(crate) name: &'a str,
    /// The crate that defines it, when the other side says so.
    pub(crate) origin: Option<&'a str>,
}

impl Served<'_> {
    const fn version(self) -> u16 {
        version_of(self.id)
    }
}

impl From<&'static ProtocolInfo> for Served<'static> {
    fn from(info: &'static ProtocolInfo) -> Self {
        Self {
            id: info.id,
            name: info.name,
            origin: Some(info.origin),
        }
    }
}

/// The version, which is in the low 16 bits of a protocol's number.
pub(crate) const fn version_of(id: u64) -> u16 {
    // The mask is what makes it fit.
    (id & 0xffff) as u16
}

/// Whether two numbers are of one protocol, in whatever version.
pub(crate) const fn same_protocol(a: u64, b: u64) -> bool {
    a & !0xffff == b & !0xffff
}

/// Whether `who`, which serves these protocols, serves all of those that are wanted.
///
/// # Errors
/// `NoSuchProtocol` and `ProtocolVersion`, for the first that is not. Nothing has run.
pub(crate) fn check(
    wanted: &[&'static ProtocolInfo],
    served: &[Served<'_>],
    who: &str,
) -> Result<(), CallError> {
    wanted
        .iter()
        .try_for_each(|wanted| check_one(wanted, served, who))
        .map_err(|(code, text)| CallError::new(code, text).ran(false))
}

fn check_one(wanted: &ProtocolInfo, served: &[Served<'_>], who: &str) -> Result<(), (ErrorCode, String)> {
    if served.iter().any(|has| has.id == wanted.id) {
        return Ok(());
    }
    let name = wanted.name;
    let versions = versions(served.iter().filter(|has| same_protocol(has.id, wanted.id)));
    if !versions.is_empty() {
        let text = format!(
            "{who} serves {name} in {versions}; this side has version {}: update one of them",
            wanted.version
        );
        return Err((ErrorCode::ProtocolVersion, text));
    }
    if let Some(other) = served.iter().find(|has| has.name == name) {
        let theirs = match other.origin {
            Some(origin) => format!("version {} of the crate {origin}", other.version()),
            None => format!("version {} of another crate", other.version()),
        };
        let text = format!(
            "{who} serves another definition of the name {name}: {theirs}; this side has version {} of the crate {}",
            wanted.version, wanted.origin
        );
        return Err((ErrorCode::ProtocolVersion, text));
    }
    let text = format!("{who} does not serve {name}; it serves {}", list(served));
    Err((ErrorCode::NoSuchProtocol, text))
}

/// What is wrong with a request for the protocol of this number, which `who` does not serve.
pub(super) fn refused(id: u64, served: &[Served<'_>], who: &str) -> (ErrorCode, String) {
    let same = || served.iter().filter(|has| same_protocol(has.id, id));
    match same().next() {
        Some(has) => {
            let text = format!(
                "{who} serves {} in {}; the caller has version {}: update one of them",
                has.name,
                versions(same()),
                version_of(id)
            );
            (ErrorCode::ProtocolVersion, text)
        }
        None => {
            let text = format!(
                "{who} does not serve the protocol {id:016x}; it serves {}",
                list(served)
            );
            (ErrorCode::NoSuchProtocol, text)
        }
    }
}

/// "version 2", "versions 2 and 3", or nothing.
pub(super) fn versions<'a>(served: impl Iterator<Item = &'a Served<'a>>) -> String {
    let mut numbers: Vec<u16> = served.map(|has| has.version()).collect();
    numbers.sort_unstable();
    let texts: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    match texts.split_last() {
        None => String::new(),
        Some((only, [])) => format!("version {only}"),
        Some((last, before)) => format!("versions {} and {last}", before.join(", ")),
    }
}

/// "calc 2, admin 1", or "no protocol".
pub(super) fn list(served: &[Served<'_>]) -> String {
    if served.is_empty() {
        return "no protocol".to_owned();
    }
    let shown = served.iter().take(LISTED_MAX);
    let texts: Vec<String> = shown
        .map(|has| format!("{} {}", has.name, has.version()))
        .collect();
    match served.len().saturating_sub(LISTED_MAX) {
        0 => texts.join(", "),
        more => format!("{} and {more} more", texts.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::protocol_id;

    static CALC_2: ProtocolInfo = ProtocolInfo::new("shop", "calc", 2, "", &[]);

    fn served(origin: &'static str, name: &'static str, version: u16) -> Served<'static> {
        Served {
            id: protocol_id(origin, name, version),
            name,
            origin: Some(origin),
        }
    }

    #[test]
    fn both_sides_must_mean_the_same_and_are_told_what_each_has() {
        let unnamed = Served {
            origin: None,
            ..served("other", "calc", 2)
        };
        let table = [
            (vec![served("shop", "calc", 2)], None),
            (vec![served("shop", "calc", 1), served("shop", "calc", 2)], None),
            (
                vec![],
                Some((
                    ErrorCode::NoSuchProtocol,
                    "box does not serve calc; it serves no protocol",
                )),
            ),
            (
                vec![served("shop", "admin", 1), served("shop", "log", 7)],
                Some((
                    ErrorCode::NoSuchProtocol,
                    "box does not serve calc; it serves admin 1, log 7",
                )),
            ),
            (
                vec![served("shop", "calc", 3)],
                Some((
                    ErrorCode::ProtocolVersion,
                    "box serves calc in version 3; this side has version 2: update one of them",
                )),
            ),
            (
                vec![served("shop", "calc", 4), served("shop", "calc", 3)],
                Some((
                    ErrorCode::ProtocolVersion,
                    "box serves calc in versions 3 and 4; this side has version 2: update one of them",
                )),
            ),
            (
                vec![served("other", "calc", 2)],
                Some((
                    ErrorCode::ProtocolVersion,
                    "box serves another definition of the name calc: version 2 of the crate other; \
                     this side has version 2 of the crate shop",
                )),
            ),
            (
                vec![unnamed],
                Some((
                    ErrorCode::ProtocolVersion,
                    "box serves another definition of the name calc: version 2 of another crate; \
                     this side has version 2 of the crate shop",
                )),
            ),
        ];
        for (served, expected) in table {
            let said = check(&[&CALC_2], &served, "box");
            let said = said.map_err(|error| {
                assert!(!error.may_have_run, "{error}");
                (error.code, error.message)
            });
            let expected = expected.map_or(Ok(()), |(code, text)| Err((code, text.to_owned())));
            assert_eq!(said, expected, "{served:?}");
        }
    }

    #[test]
    fn a_request_for_what_is_not_served_names_what_is() {
        let served = [served("shop", "calc", 1), served("shop", "calc", 3)];
        assert_eq!(
            refused(CALC_2.id, &served, "box"),
            (
                ErrorCode::ProtocolVersion,
                "box serves calc in versions 1 and 3; the caller has version 2: update one of them"
                    .to_owned()
            )
        );
        let (code, text) = refused(0xabc, &served, "box");
        assert_eq!(code, ErrorCode::NoSuchProtocol);
        assert_eq!(
            text,
            "box does not serve the protocol 0000000000000abc; it serves calc 1, calc 3"
        );
    }

    #[test]
    fn a_long_list_is_cut_with_a_count() {
        let many: Vec<_> = (1..=20).map(|version| served("shop", "x", version)).collect();
        let text = list(&many);
        assert!(text.ends_with("x 16 and 4 more"), "{text}");
    }
}
