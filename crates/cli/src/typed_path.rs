//! Paths as a user would type them.

use std::path::Path;

use fleetlogs_model::shell_word::quoted;

/// A path as the user would type it: relative if it is below the working directory.
pub(crate) fn as_typed(path: &Path) -> &Path {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).ok().filter(|below| !below.as_os_str().is_empty()).unwrap_or(path)
}

/// A path as an argument of a command that is typed in another directory, wherever this process works.
pub(crate) fn argument_in(dir: &Path, path: &Path) -> String {
    let below = path.strip_prefix(dir).ok().filter(|below| !below.as_os_str().is_empty());
    quoted(&below.unwrap_or(path).to_string_lossy()).into_owned()
}

/// A path as an argument of a command, in quotes if the shell needs them.
pub(crate) fn as_argument(path: &Path) -> String {
    quoted(&as_typed(path).to_string_lossy()).into_owned()
}
