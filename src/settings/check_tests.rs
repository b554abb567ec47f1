//! Endpoints and buses that can never be had: found in the settings, before anything is started.

use super::*;
use crate::settings::{Flags, Settings, Sources};

#[test]
fn an_endpoint_that_can_never_be_had_is_named() {
    for (endpoint, says) in [
        ("tcp:0.0.0.0:5123", Some("which is not a loopback address")),
        ("tcp:[::]:5123", Some("which is not a loopback address")),
        ("tcp:192.0.2.1:0", Some("tls:host:port for other machines")),
        ("tcp:127.1.2.3:5123", None),
        ("tcp:[::ffff:127.0.0.1]:1", None),
        ("tcp:localhost:5123", None),
        ("", Some("it is empty")),
        #[cfg(not(feature = "tls"))]
        ("tls:0.0.0.0:5124", Some("built without TLS")),
        #[cfg(feature = "tls")]
        ("tls:0.0.0.0:5124", Some("set tls.certificate and tls.key")),
    ] {
        let sources = Sources {
            flags: Flags {
                listen: vec![endpoint.into()],
                ..Flags::default()
            },
            ..Sources::default()
        };
        for found in [
            Settings::load(&sources).map(|_| ()),
            Settings::check(&sources).map(|_| ()),
        ] {
            let found = found.err().map_or_else(Vec::new, |found| found.0);
            assert_eq!(found.len(), usize::from(says.is_some()), "{endpoint}: {found:?}");
            let named = |problem: &Problem| says.is_some_and(|says| problem.text.contains(says));
            assert!(found.iter().all(named), "{endpoint}: {found:?}");
        }
    }
}

#[test]
fn a_bus_that_nobody_can_host_here_is_named() {
    let sources = Sources {
        flags: Flags {
            bus: vec!["com.solar".into(), "system:x".into()],
            ..Flags::default()
        },
        ..Sources::default()
    };
    let found = Settings::load(&sources)
        .err()
        .map_or_else(Vec::new, |found| found.0);
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    let expected = "--bus: \"system:x\" cannot be hosted: this platform has no buses of all users, and nobody can host one; leave out `system:`";
    let expected: Vec<&str> = unhostable("system:x").map(|_| expected).into_iter().collect();
    assert_eq!(found, expected);
}
