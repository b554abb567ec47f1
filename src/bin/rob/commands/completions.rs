//! `rob completions`: what makes a shell complete rob's command lines.
//!
//! Owns which shells there are. What is proposed is `completion`'s. Called by `commands`; needs no broker.

use crate::completion::VARIABLE;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use clap::{Args, ValueEnum};
use clap_complete::env::Shells;

const EXAMPLES: &str = "\
Examples, for this user, from the next shell on:
  echo 'source <(rob completions bash)' >> ~/.bashrc
  echo 'source <(rob completions zsh)' >> ~/.zshrc
  rob completions fish > ~/.config/fish/completions/rob.fish
  echo 'eval (rob completions elvish | slurp)' >> ~/.elvish/rc.elv
  rob completions powershell >> $PROFILE

Objects are completed as the running broker has them, methods where an object describes itself, topics that somebody
listens to. The broker is asked for at most a quarter of a second.";

/// `rob completions`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Completions {
    /// The shell.
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
    Elvish,
    Powershell,
}

impl Shell {
    const fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Zsh => "zsh",
            Self::Fish => "fish",
            Self::Elvish => "elvish",
            Self::Powershell => "powershell",
        }
    }
}

/// Prints the script.
pub(crate) fn run(wanted: &Completions) -> Result<(), Failure> {
    let name = wanted.shell.name();
    let shells = Shells::builtins();
    let failed = |why: String| Failure::new(Exit::Output, format!("completions {name}: {why}"));
    let shell = shells
        .completer(name)
        .ok_or_else(|| failed("this build lacks it".to_owned()))?;
    let mut script = Vec::new();
    shell
        .write_registration(VARIABLE, "rob", "rob", "rob", &mut script)
        .map_err(|error| failed(error.to_string()))?;
    Ok(Output::stdout(false).text(&String::from_utf8_lossy(&script))?)
}
