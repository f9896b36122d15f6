//! CONFIG: the config file as a person names it, or the one that is found without a name.

use std::path::{Path, PathBuf};

use clap::Parser;

use crate::error::{CliError, Refusal};
use crate::found_config::{CONFIG, HERE, default_config};

#[derive(Clone, Debug, Default, Parser)]
#[expect(clippy::doc_markdown, reason = "the help of a terminal")]
pub(crate) struct ConfigArg {
    /// The config file, `-` for stdin [default: fleetlogs.toml, else $FLEETLOGS_CONFIG]
    #[arg(value_name = "CONFIG")]
    pub(crate) config: Option<PathBuf>,
}

impl ConfigArg {
    /// The config that is named, else the one that is found.
    pub(crate) fn path(&self) -> Result<PathBuf, CliError> {
        find_config(self.config.as_deref())
    }
}

/// The config that is named, else `fleetlogs.toml` in the working directory, else the one that the variable names.
pub(crate) fn find_config(named: Option<&Path>) -> Result<PathBuf, CliError> {
    named.map(Path::to_owned).or_else(default_config).ok_or_else(none_found)
}

fn none_found() -> CliError {
    let what = format!("no config: there is no `{HERE}` here, and the variable {CONFIG} is not set");
    let help = "name a config file, or write one with `fleetlogs init`";
    CliError::usage(Refusal::new(what, help))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_config_wins_and_none_at_all_is_told() {
        let named = Path::new("named.toml");
        assert_eq!(find_config(Some(named)).unwrap(), named);
        insta::assert_snapshot!(none_found().describe(), @r"
        error: no config: there is no `fleetlogs.toml` here, and the variable FLEETLOGS_CONFIG is not set
          help: name a config file, or write one with `fleetlogs init`
        ");
    }
}
