//! Users and groups by name.
//!
//! Owns the reading of `/etc/passwd` and `/etc/group`, and nothing else: a look-up elsewhere (LDAP) could block or fail at start-up,
//! and give another answer at the next one. Who is only known there is written as a number. Windows has no such tables; a file that lies at
//! those paths there may be anybody's. Called by the daemon, for policies.

use crate::policy::Users;
use std::io;

/// The two tables, read once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    users: Vec<(String, u32)>,
    groups: Vec<(String, u32)>,
}

impl Tables {
    /// Those of this system; empty where it has none.
    ///
    /// # Errors
    /// When a table is there and cannot be read: a name that is not found would mean something else then.
    pub fn read() -> io::Result<Self> {
        if !cfg!(unix) {
            return Ok(Self::default());
        }
        Ok(Self {
            users: table("/etc/passwd")?,
            groups: table("/etc/group")?,
        })
    }
}

fn table(path: &str) -> io::Result<Vec<(String, u32)>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(numbers(&String::from_utf8_lossy(&bytes))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(io::Error::new(
            error.kind(),
            format!("{path} cannot be read: {error}"),
        )),
    }
}

/// Names and numbers of `name:password:number:…` lines.
fn numbers(text: &str) -> Vec<(String, u32)> {
    let line = |line: &str| {
        let mut fields = line.split(':');
        let (name, _password, number) = (fields.next()?, fields.next()?, fields.next()?);
        Some((name.to_owned(), number.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

fn find(table: &[(String, u32)], name: &str) -> Option<u32> {
    // As the system's own look-up: the first line counts.
    table
        .iter()
        .find(|(known, _)| known == name)
        .map(|(_, number)| *number)
}

impl Users for Tables {
    fn uid(&self, name: &str) -> Option<u32> {
        find(&self.users, name)
    }

    fn gid(&self, name: &str) -> Option<u32> {
        find(&self.groups, name)
    }

    fn are_sids(&self) -> bool {
        cfg!(windows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_there_where_the_system_has_them() {
        // Under wine the path leads to those of the machine around it, which are not Windows' own.
        let tables = Tables::read().unwrap();
        assert_eq!(tables.uid("root"), cfg!(unix).then_some(0));
        assert_eq!(tables == Tables::default(), !cfg!(unix));
    }

    #[test]
    fn the_first_whole_line_of_a_name_counts() {
        let text = "root:x:0:0:root:/root:/bin/sh\n# note\nbroken:x\nalice:x:1000:1000::/:/bin/sh\nalice:x:0:0\n+::::::\nbob:x:-1:0\n";
        let users = numbers(text);
        let table = [
            ("root", Some(0)),
            ("alice", Some(1000)),
            ("bob", None),
            ("broken", None),
            ("", None),
        ];
        for (name, uid) in table {
            assert_eq!(find(&users, name), uid, "{name}");
        }
    }
}
