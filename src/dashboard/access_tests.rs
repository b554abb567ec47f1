//! Whom the gate lets through: tables of requests.

use super::*;
use crate::transport::current_uid;
use actix_web::http::header::HeaderName;

fn gate(bound: &str, access: Access) -> Gate {
    Gate::new(bound.parse().unwrap(), access)
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name: HeaderName = name.parse().unwrap();
        headers.append(name, value.parse().unwrap());
    }
    headers
}

fn check(gate: &Gate, method: Method, path: &str, pairs: &[(&str, &str)]) -> Result<(), Refusal> {
    let uri: Uri = path.parse().unwrap();
    gate.check(&method, &uri, &headers(pairs), &PeerCredentials::UNKNOWN)
}

fn get(gate: &Gate, path: &str, pairs: &[(&str, &str)]) -> Result<(), Refusal> {
    check(gate, Method::GET, path, pairs)
}

#[test]
fn only_names_that_nobody_else_can_give_are_ours() {
    let table = [
        ("127.0.0.1:5180", "127.0.0.1:5180", true),
        ("127.0.0.1:5180", "localhost:5180", true),
        ("127.0.0.1:5180", "LOCALHOST:5180", true),
        ("127.0.0.1:5180", "localhost", false),
        ("127.0.0.1:80", "localhost", true),
        ("127.0.0.1:5180", "localhost:5181", false),
        ("127.0.0.1:5180", "127.0.0.2:5180", false),
        ("127.0.0.1:5180", "[::1]:5180", false),
        ("[::1]:5180", "[::1]:5180", true),
        ("[::1]:80", "[::1]", true),
        ("[::1]:5180", "localhost:5180", true),
        ("127.0.0.1:5180", "evil.example:5180", false),
        ("127.0.0.1:5180", "127.0.0.1.evil.example:5180", false),
        ("127.0.0.1:5180", "localhost.evil.example:5180", false),
        ("127.0.0.1:5180", "localhost.:5180", false),
        ("127.0.0.1:5180", "user@127.0.0.1:5180", false),
        ("127.0.0.1:5180", "", false),
        ("127.0.0.1:5180", ":5180", false),
        ("127.0.0.1:5180", "127.1:5180", false),
        ("10.0.0.5:5180", "10.0.0.5:5180", true),
        ("10.0.0.5:5180", "localhost:5180", false),
        ("10.0.0.5:5180", "intranet:5180", false),
        ("0.0.0.0:5180", "10.0.0.5:5180", true),
        ("0.0.0.0:5180", "localhost:5180", true),
        ("0.0.0.0:5180", "evil.example:5180", false),
    ];
    for (bound, host, ours) in table {
        let found = get(&gate(bound, Access::Anyone), "/", &[("host", host)]);
        assert_eq!(
            found,
            if ours { Ok(()) } else { Err(Refusal::Host) },
            "{bound} {host}"
        );
    }
    let gate = gate("127.0.0.1:5180", Access::Anyone);
    let ours = ("host", "127.0.0.1:5180");
    assert_eq!(get(&gate, "/", &[]), Err(Refusal::Host), "none");
    assert_eq!(get(&gate, "/", &[ours, ours]), Err(Refusal::Host), "two");
    assert_eq!(
        get(&gate, "http://evil.example:5180/", &[ours]),
        Err(Refusal::Host),
        "two ways to say it"
    );
}

#[test]
fn other_pages_may_not_ask() {
    let gate = gate("127.0.0.1:5180", Access::Anyone);
    let navigation: &[(&str, &str)] = &[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
    let frame: &[(&str, &str)] = &[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")];
    type Row<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], bool);
    let table: [Row<'_>; 12] = [
        ("/api/status", "same-origin", &[], true),
        ("/api/status", "none", &[], true),
        ("/api/status", "cross-site", &[], false),
        ("/api/status", "same-site", &[], false),
        ("/api/status", "cross-site", navigation, false),
        ("/", "cross-site", navigation, true),
        ("/", "same-site", navigation, true),
        ("/", "cross-site", frame, false),
        ("/", "cross-site", &[("sec-fetch-mode", "no-cors")], false),
        (
            "/api/status",
            "same-origin",
            &[("origin", "http://127.0.0.1:5180")],
            true,
        ),
        (
            "/api/status",
            "same-origin",
            &[("origin", "http://127.0.0.1:5181")],
            false,
        ),
        ("/api/status", "none", &[("origin", "null")], false),
    ];
    for (path, site, more, answered) in table {
        let mut pairs = vec![("host", "127.0.0.1:5180"), ("sec-fetch-site", site)];
        pairs.extend(more);
        let found = get(&gate, path, &pairs);
        assert_eq!(
            found,
            if answered { Ok(()) } else { Err(Refusal::Foreign) },
            "{path} {site} {more:?}"
        );
    }
}

#[test]
fn it_only_shows_and_takes_nothing() {
    let gate = gate("127.0.0.1:5180", Access::Anyone);
    let host = ("host", "127.0.0.1:5180");
    for method in [
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::OPTIONS,
        Method::TRACE,
        Method::PATCH,
        Method::CONNECT,
    ] {
        assert_eq!(
            check(&gate, method.clone(), "/", &[host]),
            Err(Refusal::Method),
            "{method}"
        );
    }
    for method in [Method::GET, Method::HEAD] {
        assert_eq!(check(&gate, method.clone(), "/", &[host]), Ok(()), "{method}");
    }
    assert_eq!(get(&gate, "/", &[host, ("content-length", "0")]), Ok(()));
    for body in [
        ("content-length", "5"),
        ("transfer-encoding", "chunked"),
        ("content-length", "-1"),
    ] {
        assert_eq!(get(&gate, "/", &[host, body]), Err(Refusal::Body), "{body:?}");
    }
    let long = format!("/{}", "a".repeat(ADDRESS_MAX));
    assert_eq!(get(&gate, &long, &[host]), Err(Refusal::Address(ADDRESS_MAX)));
    let large = "a".repeat(HEADERS_MAX);
    assert_eq!(
        get(&gate, "/", &[host, ("x", &large)]),
        Err(Refusal::Headers(HEADERS_MAX))
    );
}

#[test]
fn a_token_is_asked_for_everything_but_the_page_itself() {
    let access = Access::token().unwrap();
    let secret = access.secret().unwrap().to_owned();
    assert_eq!(secret.len(), 2 * TOKEN_BYTES);
    let gate = gate("127.0.0.1:5180", access);
    let host = ("host", "127.0.0.1:5180");
    assert_eq!(get(&gate, "/", &[host]), Ok(()));
    let right = format!("Bearer {secret}");
    let almost = format!("Bearer {}", secret.get(1..).unwrap());
    for path in ["/api/status", "/api/stream", "/metrics", "/healthz", "/x"] {
        assert_eq!(get(&gate, path, &[host]), Err(Refusal::Token), "{path}");
        for wrong in ["", "Bearer ", "Bearer x", &secret, &almost] {
            assert_eq!(
                get(&gate, path, &[host, ("authorization", wrong)]),
                Err(Refusal::Token),
                "{path} {wrong}"
            );
        }
        assert_eq!(
            get(&gate, path, &[host, ("authorization", &right)]),
            Ok(()),
            "{path}"
        );
    }
    let in_query = format!("/api/status?token={secret}");
    assert_eq!(
        get(&gate, &in_query, &[host]),
        Err(Refusal::Token),
        "addresses are written down by many"
    );
}

#[test]
fn without_a_token_the_user_counts() {
    actix::System::new().block_on(async {
        let broker = crate::actors::Broker::builder().start().unwrap();
        let gate = gate("127.0.0.1:5180", Access::Monitors(broker.clone()));
        let ours = current_uid().unwrap();
        let of = |uid| PeerCredentials {
            uid,
            ..PeerCredentials::UNKNOWN
        };
        let stranger = ours.wrapping_add(7).max(1);
        let ask = |uid| {
            let headers = headers(&[("host", "127.0.0.1:5180")]);
            gate.check(&Method::GET, &Uri::from_static("/"), &headers, &of(uid))
        };
        assert_eq!(ask(Some(ours)), Ok(()));
        assert_eq!(ask(Some(0)), Ok(()));
        assert_eq!(ask(Some(stranger)), Err(Refusal::User));
        assert_eq!(ask(None), Err(Refusal::Unknown));
        assert!(gate.still_lets(&of(Some(ours))));

        // From now on the policy counts, and not whose broker it is.
        let lets = crate::policy::Rule::allow([crate::policy::Who::Uid(stranger)]);
        broker.set_policy(crate::policy::Policy::new(vec![
            lets.plain(crate::policy::Right::Monitor),
        ]));
        assert_eq!(ask(Some(stranger)), Ok(()));
        assert_eq!(ask(Some(ours)), Err(Refusal::User));
        assert_eq!(ask(None), Err(Refusal::Unknown));
        assert!(!gate.still_lets(&of(Some(ours))));
        broker.stop().await;
    });
}
