//! CONFIG: the config file as a person names it, or the one that is found without a name.

use std::path::{Path, PathBuf};

use clap::Parser;

use crate::error::{CliError, Refusal};

/// The config that is found in the working directory.
const HERE: &str = "fleetlogs.toml";

/// The variable that names the config.
pub(crate) const CONFIG: &str = "FLEETLOGS_CONFIG";

#[derive(Clone, Debug, Default, Parser)]
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

/// The config of whoever names none.
pub(crate) fn default_config() -> Option<PathBuf> {
    choose(Path::new(HERE), std::env::var_os(CONFIG).map(PathBuf::from))
}

fn choose(here: &Path, variable: Option<PathBuf>) -> Option<PathBuf> {
    // A link to nowhere and a directory are to be told, and not to be passed over.
    here.symlink_metadata()
        .ok()
        .map(|_| here.to_owned())
        .or(variable.filter(|path| !path.as_os_str().is_empty()))
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
    fn a_config_is_found_here_and_then_by_the_variable() {
        let dir = tempfile::tempdir().unwrap();
        let here = dir.path().join(HERE);
        let variable = || Some(PathBuf::from("of-variable.toml"));
        assert_eq!(choose(&here, None), None);
        assert_eq!(choose(&here, Some(PathBuf::new())), None);
        assert_eq!(choose(&here, variable()), variable());
        std::fs::write(&here, "").unwrap();
        assert_eq!(choose(&here, variable()), Some(here.clone()));
        assert_eq!(choose(&here, None), Some(here));
    }

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
