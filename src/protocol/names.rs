//! Commands by name, as people and scripts call them.
//!
//! Owns which command a name means where several protocols are served, in several versions, and the texts for names that mean none.
//! Pure. Asked by [`super::dispatch`] for calls in JSON.

use super::info::{CommandInfo, ProtocolInfo};
use super::negotiate::{self, Served};
use crate::likeness::nearest;
use std::collections::BTreeSet;

/// So many commands or protocols are listed in a text.
const LISTED_MAX: usize = 16;

/// Why a name means no command.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unknown<'a> {
    /// There is no such command.
    None {
        /// The name without what says its protocol.
        command: &'a str,
        /// The protocols in which it was looked for.
        served: &'a [&'static ProtocolInfo],
    },
    /// Several protocols have it.
    Several {
        /// The name.
        command: &'a str,
        /// The names that have one meaning each.
        names: Vec<String>,
    },
}

/// The command that a name means: `command`, where one protocol has it, `protocol.command`, of the highest version that is served,
/// or `protocol.version.command`.
pub(super) fn find<'a>(
    name: &'a str,
    served: &'a [&'static ProtocolInfo],
) -> Result<(&'static ProtocolInfo, &'static CommandInfo), Unknown<'a>> {
    let mut found: Vec<(&'static ProtocolInfo, &'static CommandInfo)> = Vec::new();
    let (protocol, version, command) = parts(name);
    for info in served {
        let asked = protocol.is_none_or(|protocol| protocol == info.name)
            && version.is_none_or(|version| version == info.version);
        let Some(has) = info
            .commands
            .iter()
            .find(|has| has.name == command)
            .filter(|_| asked)
        else {
            continue;
        };
        match found.iter_mut().find(|(other, _)| other.name == info.name) {
            Some(other) if other.0.version < info.version => *other = (info, has),
            Some(_) => {}
            None => found.push((info, has)),
        }
    }
    match found.as_slice() {
        [only] => Ok(*only),
        [] => Err(Unknown::None {
            command: name,
            served,
        }),
        several => Err(Unknown::Several {
            command,
            names: several
                .iter()
                .map(|(info, _)| format!("{}.{command}", info.name))
                .collect(),
        }),
    }
}

fn parts(name: &str) -> (Option<&str>, Option<u16>, &str) {
    let Some((front, command)) = name.rsplit_once('.') else {
        return (None, None, name);
    };
    if let Some((protocol, version)) = front.rsplit_once('.')
        && let Ok(version) = version.parse()
    {
        return (Some(protocol), Some(version), command);
    }
    (Some(front), None, command)
}

/// The text for a command that `who` does not have in any of these protocols. A name that says its protocol is looked for there.
pub(super) fn no_command(who: &str, name: &str, served: &[&ProtocolInfo]) -> String {
    let (protocol, version, command) = parts(name);
    let Some(protocol) = protocol.filter(|name| !name.is_empty() && !served.is_empty()) else {
        return not_in(who, name, served);
    };
    let of_it = || served.iter().filter(|info| info.name == protocol).copied();
    if of_it().next().is_none() {
        return no_protocol(who, protocol, served);
    }
    let asked: Vec<&ProtocolInfo> = of_it()
        .filter(|info| version.is_none_or(|version| version == info.version))
        .collect();
    match version {
        Some(version) if asked.is_empty() => {
            let there: Vec<Served<'_>> = of_it()
                .map(|info| Served {
                    id: info.id,
                    name: info.name,
                    origin: None,
                })
                .collect();
            let versions = negotiate::versions(there.iter());
            format!("{who} serves {protocol} in {versions}, not in version {version}")
        }
        _ => not_in(who, command, &asked),
    }
}

fn no_protocol(who: &str, protocol: &str, served: &[&ProtocolInfo]) -> String {
    let names = || served.iter().map(|info| info.name);
    match nearest(protocol, names()) {
        Some(near) => format!("{who} serves no protocol {protocol}; did you mean {near}?"),
        None => format!(
            "{who} serves no protocol {protocol}; it serves {}",
            listed(names())
        ),
    }
}

/// Names, each once, and not too many of them.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut seen = BTreeSet::new();
    let mut names: Vec<&str> = names.filter(|name| seen.insert(*name)).collect();
    match names.len().saturating_sub(LISTED_MAX) {
        0 => names.join(", "),
        more => {
            names.truncate(LISTED_MAX);
            format!("{} and {more} more", names.join(", "))
        }
    }
}

fn not_in(who: &str, command: &str, served: &[&ProtocolInfo]) -> String {
    let all = || {
        served
            .iter()
            .flat_map(|info| info.commands.iter().map(|has| has.name))
    };
    let place = match served {
        [info] => format!("{who} has no command {command} in {} {}", info.name, info.version),
        _ => format!("{who} has no command {command}"),
    };
    if let Some(near) = nearest(command, all()).filter(|near| *near != command) {
        return format!("{place}; did you mean {near}?");
    }
    match all().next() {
        None => place,
        Some(_) => format!("{place}; it has {}", listed(all())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Answer, Shape};

    const fn command(name: &'static str) -> CommandInfo {
        CommandInfo::new(name, "", Shape::Empty, None, Answer::Nothing)
    }

    static OLD: [CommandInfo; 2] = [command("echo"), command("gone")];
    static NEW: [CommandInfo; 2] = [command("echo"), command("added")];
    static CALC_1: ProtocolInfo = ProtocolInfo::new("shop", "calc", 1, "", &OLD);
    static CALC_3: ProtocolInfo = ProtocolInfo::new("shop", "calc", 3, "", &NEW);
    static LOG: ProtocolInfo = ProtocolInfo::new("shop", "log", 1, "", &OLD);

    /// What is served, a name, and the protocol, version and command that it means.
    type Case = (
        &'static [&'static ProtocolInfo],
        &'static str,
        Option<(&'static str, u16, &'static str)>,
    );

    #[test]
    fn a_name_means_the_command_of_one_protocol_and_of_its_highest_version() {
        static CALC: [&ProtocolInfo; 2] = [&CALC_3, &CALC_1];
        static ALL: [&ProtocolInfo; 3] = [&CALC_1, &CALC_3, &LOG];
        let table: [Case; 13] = [
            (&CALC, "echo", Some(("calc", 3, "echo"))),
            (&CALC, "gone", Some(("calc", 1, "gone"))),
            (&CALC, "calc.echo", Some(("calc", 3, "echo"))),
            (&CALC, "calc.1.echo", Some(("calc", 1, "echo"))),
            (&CALC, "calc.2.echo", None),
            (&CALC, "calc.1.added", None),
            (&CALC, "log.echo", None),
            (&CALC, "", None),
            (&CALC, ".", None),
            (&ALL, "added", Some(("calc", 3, "added"))),
            (&ALL, "calc.gone", Some(("calc", 1, "gone"))),
            (&ALL, "log.1.echo", Some(("log", 1, "echo"))),
            (&[], "echo", None),
        ];
        for (served, name, expected) in table {
            let found = find(name, served).ok();
            let found = found.map(|(info, has)| (info.name, info.version, has.name));
            assert_eq!(found, expected, "{name}");
        }
        let several = Unknown::Several {
            command: "echo",
            names: vec!["calc.echo".to_owned(), "log.echo".to_owned()],
        };
        assert_eq!(find("echo", &ALL).unwrap_err(), several);
    }

    #[test]
    fn a_name_that_means_nothing_gets_a_proposal_or_a_list() {
        let table: [(&[&ProtocolInfo], &str, &str); 10] = [
            (
                &[&CALC_1, &LOG, &CALC_3],
                "zzzzz",
                "box has no command zzzzz; it has echo, gone, added",
            ),
            (
                &[&CALC_1, &LOG, &CALC_3],
                "zzzzz.echo",
                "box serves no protocol zzzzz; it serves calc, log",
            ),
            (
                &[&CALC_1],
                "ecko",
                "box has no command ecko in calc 1; did you mean echo?",
            ),
            (
                &[&CALC_1, &LOG],
                "log.gome",
                "box has no command gome in log 1; did you mean gone?",
            ),
            (
                &[&CALC_3],
                "zzzzz",
                "box has no command zzzzz in calc 3; it has echo, added",
            ),
            (
                &[&CALC_3],
                "log.echo",
                "box serves no protocol log; it serves calc",
            ),
            (
                &[&CALC_3, &LOG],
                "clac.echo",
                "box serves no protocol clac; did you mean calc?",
            ),
            (
                &[&CALC_1, &CALC_3, &LOG],
                "calc.2.echo",
                "box serves calc in versions 1 and 3, not in version 2",
            ),
            (
                &[&CALC_1, &CALC_3],
                "calc.1.added",
                "box has no command added in calc 1; it has echo, gone",
            ),
            (&[], "echo", "box has no command echo"),
        ];
        for (served, name, expected) in table {
            assert_eq!(no_command("box", name, served), expected);
        }
    }
}
