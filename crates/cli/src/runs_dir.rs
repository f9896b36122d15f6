//! The directory that runs are looked for in, and which runs are there.

use std::io;
use std::path::{Path, PathBuf};

use fleetlogs_engine::local_store::PLAN_FILE;
use fleetlogs_model::ids::RunId;

use crate::found_config::{default_config, output_dir_of};
use crate::typed_path::as_typed;

/// The variable that names the directory of all runs.
pub(crate) const RUNS_DIR: &str = "FLEETLOGS_RUNS_DIR";

/// Where runs are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunsDir {
    pub(crate) path: PathBuf,
    /// What named it, for messages.
    pub(crate) named_by: String,
}

impl RunsDir {
    /// The directory of `--runs-dir`, else of the variable, else of the config that the command names or would find,
    /// else `runs`. A config that cannot be read names none: it must not keep anyone from looking at a run.
    pub(crate) fn find(option: Option<&Path>, config: Option<&Path>) -> Self {
        let variable = std::env::var_os(RUNS_DIR).filter(|dir| !dir.is_empty()).map(PathBuf::from);
        let config = config.map(Path::to_owned).or_else(default_config);
        Self::choose(option, variable.as_deref(), config.as_deref())
    }

    fn choose(option: Option<&Path>, variable: Option<&Path>, config: Option<&Path>) -> Self {
        let named = |path: &Path, named_by: String| Self { path: path.to_owned(), named_by };
        if let Some(dir) = option {
            return named(dir, "`--runs-dir`".into());
        }
        if let Some(dir) = variable {
            return named(dir, format!("the variable {RUNS_DIR}"));
        }
        match config.and_then(|config| Some((config, output_dir_of(config)?))) {
            Some((config, dir)) => named(&dir, format!("`output.dir` of `{}`", as_typed(config).display())),
            None => named(Path::new("runs"), "the default".into()),
        }
    }

    /// This directory, if somebody named it in another way.
    pub(crate) fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), named_by: "named".into() }
    }

    /// The directory that a run of this id has here.
    pub(crate) fn join(&self, run: &RunId) -> PathBuf {
        self.path.join(run.as_str())
    }

    /// The ids of the runs here, newest first: of every directory that is named after one. There is none if there is no
    /// such directory.
    pub(crate) fn ids(&self) -> io::Result<Vec<RunId>> {
        let entries = match std::fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            entries => entries?,
        };
        let mut ids = Vec::new();
        for entry in entries {
            let entry = entry?;
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<RunId>().ok()) else {
                continue;
            };
            if entry.path().is_dir() {
                ids.push(id);
            }
        }
        // An id begins with its time.
        ids.sort_unstable_by(|one, other| other.as_str().cmp(one.as_str()));
        Ok(ids)
    }

    /// The newest run that is on record: the first of `ids` whose plan is there.
    pub(crate) fn latest<'ids>(&self, ids: &'ids [RunId]) -> Option<&'ids RunId> {
        ids.iter().find(|id| self.join(id).join(PLAN_FILE).is_file())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_wins_over_the_variable_and_that_over_the_config() {
        let dir = tempfile::tempdir().unwrap();
        let config = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let good = config("good.toml", "[output]\ndir = \"elsewhere\"\n");
        // What else is wrong in it does not matter, nor what it lacks.
        let half = config("half.toml", "[output]\ndir = \"elsewhere\"\n[account\n");
        let silent = config("silent.toml", "strict = true\n");
        let wrong = config("wrong.toml", "[output]\ndir = 5\n");
        let absent = dir.path().join("absent.toml");
        let by = |option: Option<&str>, variable: Option<&str>, config: Option<&Path>| {
            RunsDir::choose(option.map(Path::new), variable.map(Path::new), config)
        };
        let told = |dir: RunsDir| (dir.path.display().to_string(), dir.named_by);
        let by_config = |config: &Path| told(by(None, None, Some(config)));

        let option = told(by(Some("a"), Some("b"), Some(&good)));
        assert_eq!(option, ("a".into(), "`--runs-dir`".into()));
        let variable = told(by(None, Some("b"), Some(&good)));
        assert_eq!(variable, ("b".into(), "the variable FLEETLOGS_RUNS_DIR".into()));
        let named_by = |config: &Path| format!("`output.dir` of `{}`", config.display());
        assert_eq!(by_config(&good), ("elsewhere".into(), named_by(&good)));
        assert_eq!(by_config(&half), ("elsewhere".into(), named_by(&half)));
        for config in [&silent, &wrong, &absent, &dir.path().to_owned()] {
            assert_eq!(by_config(config), ("runs".into(), "the default".into()), "{config:?}");
        }
        assert_eq!(told(by(None, None, None)), ("runs".into(), "the default".into()));
    }
}
