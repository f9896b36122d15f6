//! The config that is found without a name, and what of it is needed before anything else.

use std::path::{Path, PathBuf};

use toml::de::DeTable;

use crate::input_file::{LONGEST_TEXT, read_text};

/// The config that is found in the working directory.
pub(crate) const HERE: &str = "fleetlogs.toml";

/// The variable that names the config.
pub(crate) const CONFIG: &str = "FLEETLOGS_CONFIG";

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

/// What a config says `output.dir` is, if it says so and can be read that far. Nothing else of it matters.
pub(crate) fn output_dir_of(path: &Path) -> Option<PathBuf> {
    // A pipe can be read once only, and is for the one who needs all of it.
    let text = path.is_file().then(|| read_text(path, LONGEST_TEXT).ok()).flatten()?.text;
    let (document, _) = DeTable::parse_recoverable(&text);
    let dir = document.get_ref().get("output")?.get_ref().as_table()?.get("dir")?.get_ref().as_str()?;
    (!dir.is_empty()).then(|| dir.into())
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
}
