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
  Add-Content $PROFILE 'rob completions powershell | Out-String | Invoke-Expression'

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
    let script = String::from_utf8_lossy(&script);
    Ok(Output::stdout(false).text(&match wanted.shell {
        Shell::Bash => with_whole_words(&script),
        _ => script.into_owned(),
    })?)
}

/// Bash makes words of their own of `:` and `=`, so that `unix:/run/b.sock` would come in three pieces. What stands together on the line is
/// one word for rob, and of what is proposed bash is given back the part that it takes for the word.
fn with_whole_words(script: &str) -> String {
    let before = r#"    local words=("${COMP_WORDS[@]}")
    if [[ "${BASH_VERSINFO[0]}" -ge 4 ]]; then
        words[COMP_CWORD]="$2"
    fi
"#;
    let joined = r#"    local words=() rest="${COMP_LINE}" word blank index front=
    for index in "${!COMP_WORDS[@]}"; do
        word="${COMP_WORDS[index]}"
        blank="${rest%%[![:space:]]*}"
        rest="${rest#"$blank"}"
        rest="${rest#"$word"}"
        if [[ ${#words[@]} -eq 0 || -n "$blank" ]]; then
            words+=("$word")
        else
            words[${#words[@]}-1]+="$word"
        fi
        if [[ $index -eq $COMP_CWORD ]]; then
            _CLAP_COMPLETE_INDEX=$((${#words[@]} - 1))
            front="${words[_CLAP_COMPLETE_INDEX]}"
            [[ "$word" == [:=] ]] || front="${front%"$word"}"
            words=("${words[@]:0:_CLAP_COMPLETE_INDEX+1}")
            break
        fi
    done
"#;
    let after = "    if [[ $? != 0 ]]; then\n        unset COMPREPLY\n";
    let given_back = "    if [[ $? != 0 ]]; then\n        unset COMPREPLY\n        return\n    fi\n    \
                      COMPREPLY=(\"${COMPREPLY[@]#\"$front\"}\")\n    if false; then\n        :\n";
    script.replacen(before, joined, 1).replacen(after, given_back, 1)
}
