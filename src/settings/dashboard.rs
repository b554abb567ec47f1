//! Where the page of the broker is served: the keys `dashboard` and `dashboard_anyone`.
//!
//! Owns their reading and what must not go together, also in a program that was built without the page. Called by `settings` alone.

use super::check::Problem;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Where the page is served, and for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DashboardPlace {
    /// The address; port 0 is any free one.
    pub address: SocketAddr,
    /// For everybody who reaches the address, instead of those who may monitor.
    pub anyone: bool,
}

/// The place that the values name, if they name one.
pub(super) fn place(
    values: &super::Values,
    origin: &dyn Fn(&str) -> String,
    problems: &mut Vec<Problem>,
) -> Option<DashboardPlace> {
    let mut complain = |key: &str, text: String| problems.push(Problem::new(&origin(key), Some(key), text));
    let (text, anyone) = (values.dashboard.trim(), values.dashboard_anyone);
    if text.is_empty() {
        if anyone {
            let text =
                "is of use only with a dashboard: set `dashboard` to its address, as in 127.0.0.1:5180";
            complain("dashboard_anyone", text.into());
        }
        return None;
    }
    let Some(address) = address(text) else {
        let text = format!("{text:?} is no address; write an address and a port, as in 127.0.0.1:5180");
        complain("dashboard", text);
        return None;
    };
    if !anyone && !address.ip().to_canonical().is_loopback() {
        let text = format!(
            "{address} is not a loopback address: other machines could read everything; add --dashboard-anyone (or the key \
             `dashboard_anyone`) if that is meant"
        );
        complain("dashboard", text);
    }
    if !cfg!(feature = "dashboard") {
        let text = "this ipc-broker was built without the dashboard; build it with `cargo build --release --features dashboard`";
        complain("dashboard", text.into());
    }
    Some(DashboardPlace { address, anyone })
}

fn address(text: &str) -> Option<SocketAddr> {
    let localhost = text.strip_prefix("localhost:").and_then(|port| port.parse().ok());
    let localhost = localhost.map(|port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    localhost.or_else(|| text.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_and_a_port_are_a_place() {
        let table = [
            ("127.0.0.1:5180", Some("127.0.0.1:5180")),
            ("localhost:0", Some("127.0.0.1:0")),
            ("[::1]:80", Some("[::1]:80")),
            ("0.0.0.0:5180", Some("0.0.0.0:5180")),
            ("5180", None),
            ("example.org:80", None),
            ("127.0.0.1", None),
            ("localhost:x", None),
        ];
        for (text, expected) in table {
            assert_eq!(
                address(text),
                expected.map(|text| text.parse().unwrap()),
                "{text}"
            );
        }
    }

    /// The words that the problems of these values have, one for each problem.
    fn problems(dashboard: &str, anyone: bool, expected: &[&str]) {
        let values = super::super::Values {
            dashboard: dashboard.into(),
            dashboard_anyone: anyone,
            ..super::super::Values::default()
        };
        let mut found = Vec::new();
        let place = place(&values, &|key| key.to_owned(), &mut found);
        found.retain(|problem| !problem.text.contains("built without"));
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (problem, expected) in found.iter().zip(expected) {
            assert!(problem.text.contains(expected), "{problem}");
        }
        assert_eq!(place.is_some(), address(dashboard).is_some());
    }

    #[test]
    fn other_machines_take_a_second_word() {
        problems("", false, &[]);
        problems("", true, &["only with a dashboard"]);
        problems("here", false, &["no address"]);
        problems("127.0.0.1:0", false, &[]);
        problems("127.0.0.1:0", true, &[]);
        problems("0.0.0.0:0", false, &["--dashboard-anyone"]);
        problems("0.0.0.0:0", true, &[]);
    }

    #[test]
    fn a_program_without_the_page_says_so() {
        let values = super::super::Values {
            dashboard: "127.0.0.1:0".into(),
            ..super::super::Values::default()
        };
        let mut found = Vec::new();
        let _ = place(&values, &|key| key.to_owned(), &mut found);
        let said = found
            .iter()
            .any(|problem| problem.text.contains("--features dashboard"));
        assert_eq!(said, !cfg!(feature = "dashboard"), "{found:?}");
    }
}
