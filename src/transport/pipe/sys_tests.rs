//! What `sys` says of users, processes and labels.

use super::*;
use std::os::windows::io::AsHandle;
use tokio::net::windows::named_pipe::ClientOptions;

#[test]
fn identities_read_as_they_are_written() {
    let system = Sid(vec![1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0]);
    assert_eq!(system.to_string(), "S-1-5-18");
    assert_eq!(system.number(), 0);
    let user = Sid(vec![1, 2, 0, 0, 0, 0, 0, 5, 21, 0, 0, 0, 0xE9, 3, 0, 0]);
    assert_eq!(user.to_string(), "S-1-5-21-1001");
    assert_eq!(user.number(), 1001);
}

#[test]
fn nobody_but_the_system_has_its_number() {
    let everyone = Sid(vec![1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
    assert_eq!(everyone.to_string(), "S-1-1-0");
    assert_eq!(everyone.number(), u32::MAX);
}

#[test]
fn an_equal_number_of_another_domain_is_not_ours() {
    let ours = current_user().unwrap();
    assert_eq!(ours.known_number(), Some(ours.number()));
    let mut other = ours.clone();
    // The first part after the authority: another domain.
    other.0[8] ^= 1;
    assert_eq!((other.number(), other.known_number()), (ours.number(), None));
}

#[test]
fn only_of_this_machines_own_users_the_number_is_nobody_elses() {
    let domain = domain().expect("every machine has a domain of its own");
    let user = |of: &Sid| {
        let mut bytes = of.0.clone();
        bytes[1] += 1;
        bytes.extend([0xE9, 3, 0, 0]);
        WindowsUser::from(Sid(bytes))
    };
    assert_eq!(
        user(domain),
        WindowsUser {
            sid: format!("{domain}-1001").into(),
            has_number: true,
        }
    );
    let mut other = domain.clone();
    *other.0.last_mut().unwrap() ^= 1;
    assert!(!user(&other).has_number, "a user of another domain");
    assert!(!WindowsUser::from(domain.clone()).has_number, "the domain itself");
    assert!(WindowsUser::from(current_user().unwrap()).has_number);
    let service = Sid(vec![1, 2, 0, 0, 0, 0, 0, 5, 80, 0, 0, 0, 0xE9, 3, 0, 0]);
    assert!(!WindowsUser::from(service).has_number);
}

#[test]
fn labels_say_how_much_a_process_is_trusted() {
    for (text, expected) in [
        ("", MEDIUM),
        ("S:", MEDIUM),
        ("S:(ML;;NW;;;ME)", MEDIUM),
        ("S:AI(ML;;NWNR;;;HI)", MEDIUM + 1),
        ("S:(ML;;NW;;;SI)", MEDIUM + 1),
        ("S:(ML;;NW;;;LW)", LOW),
        ("S:(ML;;NW;;;S-1-16-0)", 0),
        ("S:(ML;;NW;;;S-1-16-8192)", MEDIUM),
        ("S:(ML;;NW;;;??)", 0),
        // Another kind of entry is no label.
        ("S:(AU;SA;FA;;;WD)(ML;;NW;;;LW)", LOW),
        ("S:(AU;SA;FA;;;LW)", MEDIUM),
    ] {
        assert_eq!(level(text), expected, "{text:?}");
    }
}

#[tokio::test]
#[ignore = "wine keeps no labels of pipes"]
async fn a_pipe_of_a_process_that_is_trusted_less_is_refused() {
    let user = current_user().unwrap();
    let made = |name: &str, label: &str| {
        let path = format!(r"\\.\pipe\actix-ipc-label-{}-{name}", std::process::id());
        let server = instance_with(&path, true, &format!("O:{user}D:P(A;;GA;;;{user}){label}")).unwrap();
        (ClientOptions::new().open(&path).unwrap(), server)
    };
    let (low, _server) = made("low", "S:(ML;;NW;;;LW)");
    let error = check_label(low.as_handle()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
}

#[test]
fn this_process_has_a_user() {
    let user = current_user().unwrap();
    assert!(user.to_string().starts_with("S-1-"), "{user}");
    let this = Process::open(std::process::id()).unwrap();
    assert_eq!(this.user().unwrap(), user);
    let began = this.began().unwrap();
    assert!(began != 0 && began <= now(), "{began}");
}
