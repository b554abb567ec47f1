//! `rob man`: the manual pages.
//!
//! Owns which pages there are and their names. Their text is that of `--help`, their layout `page`'s. Called by `commands`; needs no broker.

mod page;

use crate::arguments::Rob;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::slips::meant;
use clap::{Args, CommandFactory};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  rob man | man -l -                      read it
  rob man call | man -l -
  rob man --dir /usr/local/share/man/man1     write all pages: rob.1, rob-call.1, …";

/// `rob man`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Man {
    /// The command whose page is printed; that of rob as a whole without it.
    #[arg(value_name = "COMMAND", id = "page")]
    command: Option<String>,
    /// Write all pages to this folder, which is made when it is not there, and print their paths.
    #[arg(long, value_name = "FOLDER", conflicts_with = "page")]
    dir: Option<PathBuf>,
}

/// Prints a page, or writes all.
pub(crate) fn run(wanted: &Man, quiet: bool) -> Result<(), Failure> {
    let mut output = Output::stdout(false);
    let Some(folder) = &wanted.dir else {
        let page = page(wanted.command.as_deref())?;
        return Ok(output.text(&String::from_utf8_lossy(&page))?);
    };
    let mut pages = Vec::new();
    collect(tree(), "rob", &mut pages);
    let names: Vec<String> = pages.iter().map(|(name, _)| name.clone()).collect();
    let failed = |path: &PathBuf, error: std::io::Error| {
        Failure::new(
            Exit::Output,
            format!("man: {} cannot be written: {error}", path.display()),
        )
    };
    std::fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    for (name, command) in pages {
        let path = folder.join(format!("{name}.1"));
        std::fs::write(&path, page::page(command, &name, &names)?).map_err(|error| failed(&path, error))?;
        if !quiet {
            output.text(&format!("{}\n", path.display()))?;
        }
    }
    Ok(())
}

/// The names that a page can be asked for.
pub(crate) fn names() -> Vec<String> {
    let mut pages = Vec::new();
    collect(tree(), "rob", &mut pages);
    let names = pages
        .into_iter()
        .filter_map(|(name, _)| Some(name.strip_prefix("rob-")?.to_owned()));
    names.collect()
}

/// The whole command line, with the options that all commands take in each.
fn tree() -> clap::Command {
    let mut rob = Rob::command();
    rob.build();
    rob
}

fn page(command: Option<&str>) -> Result<Vec<u8>, Failure> {
    let mut pages = Vec::new();
    collect(tree(), "rob", &mut pages);
    let wanted = command.map_or_else(|| "rob".to_owned(), |command| format!("rob-{command}"));
    let names: Vec<String> = pages.iter().map(|(name, _)| name.clone()).collect();
    match pages.into_iter().find(|(name, _)| *name == wanted) {
        Some((name, command)) => Ok(page::page(command, &name, &names)?),
        None => {
            let names: Vec<&str> = names.iter().map(|name| name.trim_start_matches("rob-")).collect();
            let word = command.unwrap_or_default();
            let near =
                meant(word, &names).map_or_else(String::new, |near| format!("did you mean {near:?}? "));
            let text = format!("man: there is no command {word:?}; {near}`rob --help` shows all of them");
            Err(Failure::new(Exit::Usage, text))
        }
    }
}

/// The command and all below it, as pages: `rob-bench-rpc`.
fn collect(command: clap::Command, name: &str, pages: &mut Vec<(String, clap::Command)>) {
    let below: Vec<clap::Command> = command.get_subcommands().cloned().collect();
    pages.push((name.to_owned(), command));
    for command in below.into_iter().filter(|command| !command.is_hide_set()) {
        let own = command.get_name().to_owned();
        if own != "help" {
            collect(command, &format!("{name}-{own}"), pages);
        }
    }
}
