//! Retention: deletes the runs of a snapshot that are older, or more, than the config keeps.
//!
//! A run directory is deleted only if its plan says that it is that run of that snapshot. Its container is deleted
//! first, if the config says so. Then the directory is renamed, so that a process that ends halfway leaves no run
//! directory with half of its files; the next process deletes the rest.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use fleetlogs_azure::{Client, Removal, StorageAccount};
use fleetlogs_engine::schedule::state::runs;
use fleetlogs_model::failure::Failure;
use fleetlogs_model::files::absolute;
use fleetlogs_model::ids::{RunId, SnapshotName};
use fleetlogs_model::outcome::RunOutcome;
use fleetlogs_model::run_store::RunHold;
use fleetlogs_model::snapshot::SnapshotRef;
use fleetlogs_model::whole_file::sync_directory;
use serde::Deserialize;
use time::OffsetDateTime;

use crate::config::{DestinationSettings, Place, Retention, SnapshotSettings, WriteSettings};
use crate::destination::storage;
use crate::error::CliError;
use crate::journal_container::KnownJournals;
use crate::run_dir::{PLAN_FILE, RunDir};
use crate::tokens::Tokens;

/// Prefix of the name of a directory that is being deleted; the id of the run follows.
const REMOVING: &str = ".removing-";

/// A run of a snapshot whose directory is on this machine.
#[derive(Clone, Debug)]
pub(crate) struct PastRun {
    pub(crate) run: RunId,
    pub(crate) dir: PathBuf,
    pub(crate) created: OffsetDateTime,
    /// None if its end is not recorded.
    pub(crate) outcome: Option<RunOutcome>,
    /// Whether another machine removed the run. Only files of it are left here.
    pub(crate) is_left_over: bool,
}

impl PastRun {
    /// The run of a row, if a directory of it is on this machine.
    pub(crate) fn here(run: runs::PastRun, machine: &str, output_dir: &Path) -> Option<Self> {
        let is_within_reach = run.is_within_reach();
        let (id, place) = run.run_id.zip(run.dir)?;
        let is_ours = run.machine.as_deref() == Some(machine) && run.removed_at.is_none();
        let dir = if is_within_reach { absolute(output_dir).join(id.as_str()) } else { place };
        // Each machine that worked on a run in Blob storage has a directory of its own.
        let is_here = is_ours || is_within_reach && dir.is_dir();
        let created = run.started_at.unwrap_or(run.snapshot.due);
        let outcome = run.outcome.filter(|_| run.status == runs::Status::Ended);
        let is_left_over = run.removed_at.is_some();
        is_here.then_some(Self { run: id, dir, created, outcome, is_left_over })
    }
}

/// The place of the containers that runs created for themselves.
pub(crate) struct Containers {
    storage: StorageAccount,
    place: Place,
}

impl Containers {
    /// The containers of a destination. None if all runs share one.
    pub(crate) fn of(
        destination: &DestinationSettings,
        http: &Client,
        tokens: &Tokens,
    ) -> Result<Option<Self>, CliError> {
        let (place, minting) = match &destination.write {
            WriteSettings::Minted(place, minting) => (place, Some(minting)),
            WriteSettings::Identity { place, .. } => (place, None),
            WriteSettings::Given(_) => return Ok(None),
        };
        if !place.is_per_run() {
            return Ok(None);
        }
        Ok(Some(Self { storage: storage(http, tokens, place, minting)?, place: place.clone() }))
    }

    async fn remove(&self, run: &RunId) -> Result<(), Failure> {
        let name = self.place.container(run);
        match self.storage.delete_container(&name, run).await? {
            Removal::Removed => tracing::info!(container = name, "deleted"),
            Removal::Absent => {}
            Removal::NotOurs => {
                tracing::warn!(container = name, %run, "the container is kept: this run did not create it, or it was changed");
            }
        }
        Ok(())
    }
}

/// Deletes the runs of a snapshot that exceed its retention, and returns those that are gone. A run that cannot be
/// deleted stays, with a warning. Before a directory is deleted, `fold` saves what its journal says; it may be called
/// twice for the same directory.
///
/// Cancel safety: may be dropped at any time; the next call continues.
pub(crate) async fn apply<E: Display>(
    settings: &SnapshotSettings,
    output_dir: &Path,
    past: &[PastRun],
    now: OffsetDateTime,
    containers: Option<&Containers>,
    journals: &KnownJournals,
    mut fold: impl AsyncFnMut(&RunDir) -> Result<(), E>,
) -> Vec<RunId> {
    sweep(output_dir);
    let containers = containers.filter(|_| settings.retention.containers);
    let mut gone = vec![];
    for run in spent(&settings.retention, past, now) {
        match remove(settings.name(), output_dir, run, containers, journals, &mut fold).await {
            Ok(()) => gone.push(run.run.clone()),
            Err(why) => tracing::warn!(run = %run.run, "the run directory is kept: {why}"),
        }
    }
    gone
}

/// The runs that exceed the retention, oldest first. Each limit applies on its own.
///
/// Always kept: the newest run, the newest complete run, runs whose end is not recorded, and resumable runs that are
/// not too old.
fn spent<'a>(
    Retention { runs, age, .. }: &Retention,
    past: &'a [PastRun],
    now: OffsetDateTime,
) -> Vec<&'a PastRun> {
    let mut newest_first: Vec<_> = past.iter().collect();
    // What is only left over does not count as kept.
    newest_first.sort_unstable_by_key(|run| (run.is_left_over, std::cmp::Reverse((run.created, &run.run))));
    let complete = newest_first.iter().position(|run| run.outcome == Some(RunOutcome::Complete));
    let oldest = age.and_then(|age| now.checked_sub(time::Duration::try_from(age).ok()?));
    let most = runs.map(|runs| usize::try_from(runs).unwrap_or(usize::MAX));
    let goes = |at: usize, run: &PastRun| {
        let too_old = oldest.is_some_and(|oldest| run.created < oldest);
        let too_many = most.is_some_and(|most| at >= most);
        match run.outcome {
            _ if run.is_left_over => true,
            _ if at == 0 || Some(at) == complete => false,
            None => false,
            Some(RunOutcome::Interrupted | RunOutcome::BudgetSpent) => too_old,
            Some(_) => too_old || too_many,
        }
    };
    let going = newest_first.into_iter().enumerate().filter(|(at, run)| goes(*at, run));
    let mut going: Vec<_> = going.map(|(_, run)| run).collect();
    going.reverse();
    going
}

/// Why a run directory is not deleted.
#[derive(Debug, thiserror::Error)]
enum RetainReason {
    #[error("it is not in `output.dir`")]
    Elsewhere,
    #[error("it is not a directory")]
    NoDirectory,
    #[error("its plan is of another run or snapshot")]
    OtherRun,
    #[error("its plan cannot be read: {0}")]
    Plan(serde_json::Error),
    #[error("{0}")]
    Busy(#[from] fleetlogs_model::run_store::JournalError),
    #[error("{0}")]
    Journal(String),
    #[error("its journal cannot be saved in the state of the schedule: {0}")]
    Fold(String),
    #[error("its container cannot be deleted: {0}")]
    Container(#[from] Failure),
    #[error("{0}")]
    File(#[from] io::Error),
}

async fn remove<E: Display>(
    snapshot: &SnapshotName,
    output_dir: &Path,
    run: &PastRun,
    containers: Option<&Containers>,
    journals: &KnownJournals,
    fold: &mut impl AsyncFnMut(&RunDir) -> Result<(), E>,
) -> Result<(), RetainReason> {
    let Some(dir) = directory(output_dir, run)? else { return Ok(()) };
    check_plan(&dir, &run.run, snapshot)?;
    if run.is_left_over {
        // The machine that removed it saved what its journal says, which may be gone by now.
        return delete(&dir, &run.run, None).await;
    }
    let dir_of_run = RunDir::at(&dir, journals).map_err(|error| RetainReason::Journal(error.reason()))?;
    let held = dir_of_run.store.hold().await?;
    fold(&dir_of_run).await.map_err(|error| RetainReason::Fold(error.to_string()))?;
    if let Some(containers) = containers {
        containers.remove(&run.run).await?;
    }
    delete(&dir, &run.run, Some(held)).await
}

/// Deletes a run directory. Nobody else opens the run until it is renamed.
async fn delete(dir: &Path, run: &RunId, held: Option<RunHold>) -> Result<(), RetainReason> {
    // Windows does not rename a directory with open files, so the lock is released first.
    let held = held.filter(|_| cfg!(unix));
    let aside = set_aside(dir, run)?;
    drop(held);
    tokio::task::spawn_blocking(move || std::fs::remove_dir_all(aside)).await.map_err(io::Error::other)??;
    tracing::info!(%run, "deleted the run directory: its retention has ended");
    Ok(())
}

/// The real path of the run's directory, which must be a directory (not a link to one) directly in `output.dir`. None
/// if it is gone.
fn directory(output_dir: &Path, run: &PastRun) -> Result<Option<PathBuf>, RetainReason> {
    let parent = match run.dir.parent().map(std::fs::canonicalize) {
        Some(Ok(parent)) => parent,
        Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Some(Err(error)) => return Err(error.into()),
        None => return Err(RetainReason::Elsewhere),
    };
    if parent != std::fs::canonicalize(output_dir)? || run.dir.file_name() != Some(run.run.as_str().as_ref())
    {
        return Err(RetainReason::Elsewhere);
    }
    let dir = parent.join(run.run.as_str());
    match std::fs::symlink_metadata(&dir) {
        Ok(found) if found.is_dir() => Ok(Some(dir)),
        Ok(_) => Err(RetainReason::NoDirectory),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether a directory is that of a run of a snapshot, as far as it can be read: what is missing in it is told by whoever
/// opens it.
pub(super) fn is_run_of(dir: &Path, snapshot: &SnapshotName) -> bool {
    let run = dir.file_name().and_then(|name| name.to_str()?.parse::<RunId>().ok());
    run.is_some_and(|run| !matches!(check_plan(dir, &run, snapshot), Err(RetainReason::OtherRun)))
}

/// Refuses a directory whose plan is of another run. The plan may be long, so only the compared members are kept in
/// memory.
fn check_plan(dir: &Path, run: &RunId, snapshot: &SnapshotName) -> Result<(), RetainReason> {
    #[derive(Deserialize)]
    struct Head {
        run_id: RunId,
        snapshot: Option<SnapshotRef>,
    }
    let text = File::open(dir.join(PLAN_FILE))?;
    let head: Head = serde_json::from_reader(BufReader::new(text)).map_err(RetainReason::Plan)?;
    let is_ours = head.run_id == *run && head.snapshot.is_some_and(|of| of.name == *snapshot);
    if is_ours { Ok(()) } else { Err(RetainReason::OtherRun) }
}

/// Renames a run directory to mark that it is being deleted, durably.
fn set_aside(dir: &Path, run: &RunId) -> io::Result<PathBuf> {
    let parent = dir.parent().expect("a directory in the directory of all runs");
    let aside = parent.join(format!("{REMOVING}{run}"));
    std::fs::rename(dir, &aside)?;
    sync_directory(parent)?;
    Ok(aside)
}

/// Deletes the directories that an earlier process had renamed but not deleted.
fn sweep(output_dir: &Path) {
    let Ok(entries) = std::fs::read_dir(output_dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let run = name.to_str().and_then(|name| name.strip_prefix(REMOVING));
        let is_ours = run.is_some_and(|run| run.parse::<RunId>().is_ok())
            && entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_ours && let Err(error) = std::fs::remove_dir_all(entry.path()) {
            tracing::warn!("`{}` cannot be deleted: {error}", entry.path().display());
        }
    }
}

#[cfg(test)]
mod tests;
