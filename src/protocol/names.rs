//! Commands by name, as people and scripts call them.
//!
//! Owns which command a name means where several protocols are served, in several versions, and the texts for names that mean none.
//! Pure. Asked by [`super::dispatch`] for calls in JSON.

use super::info::{CommandInfo, ProtocolInfo};
use crate::likeness::nearest;

/// So many commands are listed in a text.
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

/// The text for a command that `who` does not have in any of these protocols.
pub(super) fn no_command(who: &str, command: &str, served: &[&ProtocolInfo]) -> String {
    let bare = parts(command).2;
    let all = || {
        served
            .iter()
            .flat_map(|info| info.commands.iter().map(|has| has.name))
    };
    let place = match served {
        [info] => format!("{who} has no command {command} in {} {}", info.name, info.version),
        _ => format!("{who} has no command {command}"),
    };
    if let Some(near) = nearest(bare, all()).filter(|near| *near != bare) {
        return format!("{place}; did you mean {near}?");
    }
    let mut names: Vec<&str> = all().collect();
    names.dedup();
    match names.len().saturating_sub(LISTED_MAX) {
        _ if names.is_empty() => place,
        0 => format!("{place}; it has {}", names.join(", ")),
        more => {
            names.truncate(LISTED_MAX);
            format!("{place}; it has {} and {more} more", names.join(", "))
        }
    }
}
