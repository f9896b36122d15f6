//! The run directory, and the store that the record of a run is kept in.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use fleetlogs_engine::local_store::LocalRunStore;
pub(crate) use fleetlogs_engine::local_store::{PLAN_FILE, write_plan};
use fleetlogs_engine::recorded_run::{RecordedRun, RunClaim};
use fleetlogs_model::files::{absolute, owner_only};
use fleetlogs_model::hex::hex;
use fleetlogs_model::ids::RunId;
use fleetlogs_model::run_store::{RunMeta, RunStore};
use sha2::{Digest as _, Sha256};

use crate::config::is_stdin;
use crate::error::{CliError, Refusal};
pub(crate) use crate::typed_path::{as_argument, as_typed};

/// A run as a command names it: where its reports are, and where its record is kept.
pub(crate) struct RunDir {
    pub(crate) path: PathBuf,
    pub(crate) store: Box<dyn RunStore>,
}

impl RunDir {
    /// The run at a path. The only place that chooses a store.
    pub(crate) fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), store: Box::new(LocalRunStore::new(path)) }
    }

    /// The directory of a run in the directory of all runs.
    pub(crate) fn of_run(output_dir: &Path, run: &RunId) -> Self {
        Self::at(&output_dir.join(run.as_str()))
    }

    /// The run at a path, opened for reading.
    pub(crate) async fn open(path: &Path, claim: RunClaim) -> Result<(Self, RecordedRun), CliError> {
        let dir = Self::at(path);
        let run = RecordedRun::open(&*dir.store, claim).await?;
        Ok((dir, run))
    }

    /// The program's own log, to be appended to.
    pub(crate) fn log_file(&self) -> Result<File, CliError> {
        let path = self.path.join("log.jsonl");
        owner_only().create().append().open(&path).map_err(|error| CliError::file(path, &error))
    }
}

/// The config that was named, or else the one that the run was started with, which is gone if it came from stdin.
pub(crate) fn config_of(meta: &RunMeta, named: Option<&Path>) -> Result<PathBuf, CliError> {
    let started_with = Path::new(&meta.config);
    match named {
        Some(named) => Ok(named.to_owned()),
        None if is_stdin(started_with) => {
            let what = "this run was started with a config from stdin, which is kept nowhere";
            let help = "pass the same config again, with `--config FILE` or `--config -`";
            Err(CliError::usage(Refusal::new(what, help)))
        }
        None => Ok(started_with.to_owned()),
    }
}

/// A config as a run records it, to be found again from any directory.
pub(crate) fn recorded_config(path: &Path) -> String {
    if is_stdin(path) { path.display().to_string() } else { absolute(path).display().to_string() }
}

/// SHA-256 of a text, in hex, and its length in bytes.
pub(crate) fn digest(mut text: impl io::Read) -> io::Result<(String, u64)> {
    let mut hasher = HashedSink(Sha256::new());
    let bytes = io::copy(&mut text, &mut hasher)?;
    Ok((hex(&hasher.0.finalize()), bytes))
}

/// Computes the digest of everything that is written to it.
struct HashedSink(Sha256);

impl io::Write for HashedSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
