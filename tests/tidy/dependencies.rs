//! What the library pulls in with few features, asked of cargo.

use super::root;
use std::process::Command;

/// What the library must not pull in without its default features.
const CLI_ONLY: &[&str] = &[
    "clap",
    "figment",
    "toml",
    "toml_edit",
    "tracing-subscriber",
    "anyhow",
    "ratatui",
];

/// The names in the output of `cargo tree --prefix none`.
fn packages(tree: &str) -> Vec<&str> {
    tree.lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect()
}

fn dependencies(features: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--locked",
            "--edges",
            "normal",
            "--prefix",
            "none",
        ])
        .args(features)
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "cargo tree: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_library_alone_pulls_in_no_command_line() {
    let tree = dependencies(&["--no-default-features", "--features", "broker"]);
    let library = packages(&tree);
    assert!(library.contains(&"actix"), "{tree}");
    let found: Vec<&&str> = CLI_ONLY.iter().filter(|name| library.contains(name)).collect();
    assert!(
        found.is_empty(),
        "the library without default features depends on {found:?}"
    );
    // The check fires: the default features do bring them.
    assert!(packages(&dependencies(&[])).contains(&"clap"));
}

#[test]
fn the_lazy_server_alone_pulls_in_no_runtime() {
    let tree = dependencies(&["--no-default-features", "--features", "lazy"]);
    let lazy = packages(&tree);
    assert!(lazy.contains(&"postcard"), "{tree}");
    let runtimes = ["actix", "actix-rt", "tokio", "tokio-util", "futures", "tracing"];
    let found: Vec<_> = runtimes.iter().filter(|name| lazy.contains(name)).collect();
    assert!(found.is_empty(), "the lazy server alone depends on {found:?}");
    // The check fires: the broker does bring them.
    assert!(packages(&dependencies(&[])).contains(&"tokio"));
}
