//! Files that describe services: what they mean, and that whatever is wrong is said with its file and its mend.

use super::*;
use std::fs;

/// Writes a file that nobody else can write.
fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    #[cfg(unix)]
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    path
}

#[test]
fn what_is_wrong_in_the_folder_that_nobody_named_is_left_out_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let entry = |object: &str, unit: &str| {
        format!(r#"[{{"type":"RegisterService","object_name":"{object}","service_name":"{unit}"}}]"#)
    };
    write(folder.path(), "a.json", &entry("math", "old.service"));
    write(folder.path(), "b.json", "no JSON");
    let good = entry("y", "y.service");
    let both = format!(
        "{},{}",
        entry("x", "a b.service").trim_end_matches(']'),
        good.trim_start_matches('[')
    );
    write(folder.path(), "c.json", &both);
    write(folder.path(), "d.json", &entry("math", "new.service"));
    let (services, notes) = usual(folder.path());
    let units: Vec<&str> = services.all().iter().map(|one| one.name()).collect();
    assert_eq!(
        units,
        ["y.service", "new.service"],
        "what is good in a file is used"
    );
    for said in ["b.json: is no JSON array", "c.json: ", "described twice"] {
        assert!(notes.iter().any(|note| note.contains(said)), "{said}: {notes:?}");
    }
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o775);
        fs::set_permissions(folder.path(), mode).unwrap();
        let (services, notes) = usual(folder.path());
        assert!(services.is_empty() && notes[0].contains("chmod"), "{notes:?}");
    }
}

#[test]
#[cfg_attr(windows, ignore = "its files name units of systemd")]
fn both_formats_of_a_folder_are_read_together() {
    let folder = tempfile::tempdir().unwrap();
    let own = "[[service]]\nobjects = [\"math\", \"more\"]\nprocess = [\"worker\", \"-x\"]\nfolder = \"/\"\n\
        environment = { LEVEL = \"3\" }\nstart_ms = 5\nstarts = 2\nrest_ms = 7\nat_end = \"leave\"\n\
        [[service]]\nobjects = [\"unit\"]\nuser_unit = \"u.service\"\n";
    let old = r#"[{"type":"RegisterService","object_name":"old","service_name":"old.service","extra":1},
        {"type":"Other"},
        {"type":"RegisterService","object_name":"older","service_name":"old.service"},
        {"type":"RegisterService","object_name":"mine","service_name":"mine.service","scope":"user"}]"#;
    write(folder.path(), "a.toml", own);
    write(folder.path(), "b.json", old);
    write(folder.path(), "notes.txt", "not read");
    let (services, notes) = services(folder.path()).unwrap();
    let program = Program {
        argv: vec!["worker".into(), "-x".into()],
        folder: Some("/".into()),
        environment: vec![("LEVEL".into(), "3".into())],
    };
    let first = Service {
        start_ms: 5,
        starts: 2,
        rest_ms: 7,
        at_end: AtEnd::Leave,
        ..Service::new(["math", "more"], Start::Process(program))
    };
    let rest = [
        Service::new(["unit"], Start::UserUnit("u.service".into())),
        Service::new(["old", "older"], Start::SystemUnit("old.service".into())),
        Service::new(["mine"], Start::UserUnit("mine.service".into())),
    ];
    assert_eq!(*services.all()[0], first);
    assert_eq!(services.all()[1..], rest.map(std::sync::Arc::new));
    assert!(
        notes.len() == 1 && notes[0].contains("b.json") && notes[0].contains("\"Other\""),
        "{notes:?}"
    );
}

/// A file's name, what is in it, and what is said of it beside its name.
const WRONG: &[(&str, &str, &str)] = &[
    ("a.toml", "", "[[service]]"),
    ("a.toml", "service = 1", "[[service]]"),
    (
        "a.toml",
        "[[service]]\nobjects = [\"a\"]\n",
        "one of process, user_unit and system_unit",
    ),
    (
        "a.toml",
        "[[service]]\nobjects = [\"a\"]\nprocess = [\"x\"]\nuser_unit = \"x\"\n",
        "one of process",
    ),
    (
        "a.toml",
        "[[service]]\nobjects = \"a\"\nuser_unit = \"x\"\n",
        "objects = [\"math\"]",
    ),
    ("a.toml", "[[service]]\nuser_unit = \"x\"\n", "objects"),
    (
        "a.toml",
        "[[service]]\nobjects = []\nuser_unit = \"x\"\n",
        "1 to 256 objects",
    ),
    (
        "a.toml",
        "[[service]]\nobjects = [\"a\"]\nprocess = []\n",
        "write process =",
    ),
    (
        "a.toml",
        "[[service]]\nobjects = [\"a\"]\nprocess = \"x -y\"\n",
        "process",
    ),
    (
        "a.toml",
        "[[service]]\nobjects = [\"a\"]\nsystem_unit = \"-x\"\n",
        "math-worker.service",
    ),
    (
        "a.toml",
        "[[service]]\nobjects = [\"sys.a\"]\nuser_unit = \"x\"\n",
        "take it out",
    ),
    (
        "a.toml",
        "[[service]]\nobjects = [\"a\"]\nuser_unit = \"x\"\nfolder = \"/\"\n",
        "take them out",
    ),
    (
        "a.toml",
        "[[service]]\nobjects = [\"a\"]\nuser_unit = \"x\"\nat_end = \"stop\"\n",
        "take them out",
    ),
    (
        "a.toml",
        "[[service]]\nobjects = [\"a\"]\nuser_unit = \"x\"\nstarts = 0\n",
        "at least 1",
    ),
    (
        "a.toml",
        "[[service]]\nobjects = [\"a\"]\nuser_unit = \"x\"\nstarts = -1\n",
        "[[service]]",
    ),
    (
        "a.toml",
        "[[service]]\nobjects = [\"a\"]\nuser_unit = \"x\"\nretries = 1\n",
        "retries",
    ),
    (
        "a.toml",
        "[[service]]\nobjects = [\"a\"]\nprocess = [\"x\"]\nat_end = \"never\"\n",
        "never",
    ),
    (
        "a.toml",
        "[[service]]\nobjects = [\"a\"]\nprocess = [\"x\"]\nenvironment = { \"A=B\" = \"\" }\n",
        "NAME =",
    ),
    (
        "a.toml",
        "[[service]]\nobjects = [\"a\", \"a\"]\nuser_unit = \"x\"\n",
        "\"a\" is listed twice; leave one of them out",
    ),
    (
        "a.toml",
        "[[service]]\nobjects = [\"a\"]\nuser_unit = \"a\"\n[[service]]\nobjects = []\nuser_unit = \"x\"\n",
        "service 2: a service has 1 to 256 objects",
    ),
    (
        "a.toml",
        "[[service]]\nobjects = [\"a\"]\n[[service]]\nobjects = [\"sys.b\"]\nuser_unit = \"x\"\n",
        "service 2, of \"sys.b\"",
    ),
    (
        "a.toml",
        "[[service]]\nobjects = [\"a\"]\nprocess = [\"x\"]\nfolder = \"~/math\"\n",
        "no whole path",
    ),
    ("a.json", "", "no JSON array"),
    ("a.json", "{}", "no JSON array"),
    ("a.json", "[1]", "entry 1 has no type"),
    ("a.json", "[{}]", "\"type\":\"RegisterService\""),
    ("a.json", r#"[{"type":"RegisterService"}]"#, "object_name"),
    (
        "a.json",
        r#"[{"type":"RegisterService","object_name":"a"}]"#,
        "service_name",
    ),
    (
        "a.json",
        r#"[{"type":"RegisterService","object_name":"a","service_name":"x; reboot"}]"#,
        "no name of a unit",
    ),
    (
        "a.json",
        r#"[{"type":"RegisterService","object_name":1,"service_name":"x"}]"#,
        "string",
    ),
    (
        "a.json",
        r#"[{"type":"RegisterService","object_name":"a","service_name":"x","scope":"all"}]"#,
        "all",
    ),
];

#[test]
fn whatever_is_wrong_is_said_with_its_file_and_its_mend() {
    for (name, text, says) in WRONG {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), name, text);
        let wrong = services(folder.path()).unwrap_err().join("\n");
        assert!(
            wrong.contains(name) && wrong.contains(says),
            "{text:?}\nsays: {wrong}\nnot: {says}"
        );
    }
}

#[test]
#[cfg_attr(windows, ignore = "its files name units of systemd")]
fn what_two_files_say_of_one_object_is_told_of_the_second() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.toml", "b.toml"] {
        write(
            folder.path(),
            name,
            "[[service]]\nobjects = [\"x\"]\nuser_unit = \"x\"\n",
        );
    }
    let wrong = services(folder.path()).unwrap_err();
    assert!(
        wrong.len() == 1 && wrong[0].contains("b.toml") && wrong[0].contains("\"x\""),
        "{wrong:?}"
    );
}

#[test]
fn a_path_that_is_not_there_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = services(&folder.path().join("none.toml")).unwrap_err();
    assert!(wrong[0].contains("none.toml"), "{wrong:?}");
}

#[test]
fn a_program_that_is_not_there_yet_is_told_however_its_path_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("none.exe");
    let text = format!("[[service]]\nobjects = [\"x\"]\nprocess = [{program:?}]\n");
    let path = write(folder.path(), "a.toml", &text);
    let (services, notes) = services(&path).unwrap();
    assert_eq!(services.all().len(), 1);
    assert!(
        notes.len() == 1 && notes[0].contains("cannot be started as it is now"),
        "{notes:?}"
    );
}

#[cfg(unix)]
#[test]
fn a_file_alone_is_used_where_nobody_else_can_put_another_and_its_program_is_nobody_elses() {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::Permissions::from_mode;
    let folder = tempfile::tempdir().unwrap();
    let program = write(folder.path(), "worker", "");
    let text = format!("[[service]]\nobjects = [\"x\"]\nprocess = [{program:?}]\nfolder = \"/none\"\n");
    let path = write(folder.path(), "a.toml", &text);
    let (_, notes) = services(&path).unwrap();
    assert!(
        notes.len() == 1 && notes[0].contains("no folder /none"),
        "{notes:?}"
    );
    fs::set_permissions(&program, mode(0o777)).unwrap();
    let wrong = services(&path).unwrap_err();
    assert!(wrong[0].contains("chmod o-w"), "{wrong:?}");
    fs::remove_file(&program).unwrap();
    let (_, notes) = services(&path).unwrap();
    assert!(notes[0].contains("cannot be started as it is now"), "{notes:?}");
    fs::set_permissions(folder.path(), mode(0o777)).unwrap();
    let wrong = services(&path).unwrap_err();
    assert!(
        wrong[0].contains("its folder") && wrong[0].contains("chmod go-w"),
        "{wrong:?}"
    );
}

#[cfg(unix)]
#[test]
fn what_others_can_write_is_not_used() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let text = "[[service]]\nobjects = [\"x\"]\nuser_unit = \"x\"\n";
    let path = write(folder.path(), "a.toml", text);
    for (mode, good) in [(0o644, true), (0o620, false), (0o602, false)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(services(folder.path()).is_ok(), good, "{mode:o}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    for (mode, good) in [(0o755, true), (0o777, false), (0o775, false)] {
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
        let read = services(folder.path());
        assert_eq!(read.is_ok(), good, "{mode:o}");
        assert!(read.err().is_none_or(|wrong| wrong[0].contains("chmod go-w")));
    }
}
