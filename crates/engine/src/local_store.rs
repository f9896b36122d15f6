//! The store of a run on this machine: a run directory with `plan.json` and an SQLite journal.
//!
//! Nothing outside of this module knows SQLite, the names of its files or its write-ahead log.

mod database;
mod disk;
mod failure;
mod journal;
mod lock;
mod plan_file;
mod reader;
mod wal;

use std::future::ready;
use std::path::PathBuf;
use std::time::SystemTime;

use fleetlogs_model::files::{create_private_dir, dir_of, refuse_if_open_to_all};
use fleetlogs_model::plan::Plan;
use fleetlogs_model::run_store::{
    Journal, JournalError, JournalReader, RunHold, RunMeta, RunStore, StoreFuture, StoredPlan,
};
use fleetlogs_model::whole_file::sync_directory;

use self::failure::LocalError;
use self::journal::SqliteJournal;
pub use self::plan_file::{PLAN_FILE, write_plan};
use self::reader::SqliteReader;

/// A run directory.
#[derive(Clone, Debug)]
pub struct LocalRunStore {
    dir: PathBuf,
}

impl LocalRunStore {
    /// The run directory at a path, which need not be there yet.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    fn create_dir(&self, plan: &Plan, config: &str) -> Result<SqliteJournal, LocalError> {
        let failed = |error| LocalError::RunDir(self.dir.clone(), error);
        let output_dir = dir_of(&self.dir);
        std::fs::create_dir_all(output_dir).map_err(failed)?;
        refuse_if_open_to_all(output_dir).map_err(|error| LocalError::File(output_dir.into(), error))?;
        create_private_dir(&self.dir).map_err(failed)?;
        let plan_digest = write_plan(&self.dir, PLAN_FILE, plan).map_err(failed)?;
        // The new directory's own entry must survive a crash, too.
        sync_directory(output_dir).map_err(failed)?;
        let meta = RunMeta { plan_digest, config: config.into(), ..RunMeta::default() };
        SqliteJournal::create(&self.dir, plan, &meta)
    }
}

impl RunStore for LocalRunStore {
    fn create<'a>(&'a self, plan: &'a Plan, config: &'a str) -> StoreFuture<'a, Box<dyn Journal>> {
        answer(self.create_dir(plan, config).map(|journal| Box::new(journal) as Box<dyn Journal>))
    }

    fn append(&self, accept_copy: bool) -> StoreFuture<'_, Box<dyn Journal>> {
        let journal = SqliteJournal::open(&self.dir, accept_copy);
        answer(journal.map(|journal| Box::new(journal) as Box<dyn Journal>))
    }

    fn plan(&self) -> StoreFuture<'_, StoredPlan> {
        answer(plan_file::read_plan(&self.dir))
    }

    fn read(&self) -> StoreFuture<'_, Box<dyn JournalReader>> {
        let reader = SqliteReader::open(&self.dir);
        answer(reader.map(|reader| Box::new(reader) as Box<dyn JournalReader>))
    }

    fn hold(&self) -> StoreFuture<'_, RunHold> {
        answer(lock::lock(&self.dir).map(|held| Box::new(held) as RunHold))
    }

    fn changed_at(&self) -> StoreFuture<'_, Option<SystemTime>> {
        answer(Ok(database::changed_at(&self.dir)))
    }

    fn is_held(&self) -> StoreFuture<'_, bool> {
        answer(lock::is_held(&self.dir))
    }
}

/// The disk answers at once.
fn answer<'a, T: Send + 'a>(result: Result<T, LocalError>) -> StoreFuture<'a, T> {
    Box::pin(ready(result.map_err(JournalError::from)))
}

#[cfg(test)]
mod tests;
