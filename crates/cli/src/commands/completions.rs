//! `fleetlogs completions`: prints the script by which a shell asks the program what may come next.

use clap::{Parser, ValueEnum};
use clap_complete::env::{Bash, Elvish, EnvCompleter, Fish, Powershell, Zsh};

use crate::completion::VARIABLE;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::print;

#[derive(Debug, Parser)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
    #[value(alias = "pwsh")]
    Powershell,
    Elvish,
}

impl Shell {
    fn completer(self) -> &'static dyn EnvCompleter {
        match self {
            Self::Bash => &Bash,
            Self::Zsh => &Zsh,
            Self::Fish => &Fish,
            Self::Powershell => &Powershell,
            Self::Elvish => &Elvish,
        }
    }
}

pub(crate) fn completions(args: &CompletionsArgs) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    // By its name, which the shell looks up: the script stays right when the program is moved.
    let name = "fleetlogs";
    args.shell.completer().write_registration(VARIABLE, name, name, name, &mut script)?;
    print(&String::from_utf8_lossy(&script))
}
