//! The end of what a snapshot collected, once it is older or more than is to be kept.
//!
//! A run directory is looked at before it is removed: only one whose plan says that it is that run of that snapshot goes.
//! Its container goes first, where that is wanted; then the directory gets another name, so that a process that ends in
//! the middle leaves no run directory with half its files, and what it left goes the next time.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use fleetlogs_azure::{Client, Removal, StorageAccount};
use fleetlogs_model::failure::Failure;
use fleetlogs_model::ids::{RunId, SnapshotName};
use fleetlogs_model::outcome::RunOutcome;
use fleetlogs_model::snapshot::SnapshotRef;
use fleetlogs_model::whole_file::sync_directory;
use serde::Deserialize;
use time::OffsetDateTime;

use crate::config::{DestinationSettings, Place, Retention, SnapshotSettings, WriteSettings};
use crate::destination::storage;
use crate::error::CliError;
use crate::run_dir::{PLAN_FILE, RunDir};
use crate::tokens::Tokens;

/// A directory that is being removed is called so, and then as its run.
const REMOVING: &str = ".removing-";

/// A run of a snapshot whose directory is on this machine.
#[derive(Clone, Debug)]
pub(crate) struct PastRun {
    pub(crate) run: RunId,
    pub(crate) dir: PathBuf,
    pub(crate) created: OffsetDateTime,
    /// None while its end is not on record.
    pub(crate) outcome: Option<RunOutcome>,
}

/// Where the containers are that runs made for themselves.
pub(crate) struct Containers {
    storage: StorageAccount,
    place: Place,
}

impl Containers {
    /// The containers of a destination; none where all runs share one.
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
                tracing::warn!(container = name, %run, "this run did not make the container, or it was changed; it stays");
            }
        }
        Ok(())
    }
}

/// Removes the runs of a snapshot that are not to be kept, and returns those that are gone. What cannot be removed stays
/// and is told. `fold` takes over what a directory says, before it goes; it may be asked for the same one again.
///
/// Cancel safety: may be dropped at any time; the next call goes on.
pub(crate) async fn apply<E: Display>(
    settings: &SnapshotSettings,
    output_dir: &Path,
    past: &[PastRun],
    now: OffsetDateTime,
    containers: Option<&Containers>,
    mut fold: impl AsyncFnMut(&Path) -> Result<(), E>,
) -> Vec<RunId> {
    sweep(output_dir);
    let containers = containers.filter(|_| settings.retention.containers);
    let mut gone = vec![];
    for run in spent(&settings.retention, past, now) {
        match remove(settings.name(), output_dir, run, containers, &mut fold).await {
            Ok(()) => gone.push(run.run.clone()),
            Err(why) => tracing::warn!(run = %run.run, "the run directory is kept: {why}"),
        }
    }
    gone
}

/// The runs that are not to be kept, oldest first. Each limit holds by itself.
///
/// Kept whatever the limits say: the newest run, the newest complete one, those whose end is not on record, and those that can
/// be taken up again for as long as they are not too old.
fn spent<'a>(
    Retention { runs, age, .. }: &Retention,
    past: &'a [PastRun],
    now: OffsetDateTime,
) -> Vec<&'a PastRun> {
    let mut newest_first: Vec<_> = past.iter().collect();
    newest_first.sort_unstable_by_key(|run| std::cmp::Reverse((run.created, &run.run)));
    let complete = newest_first.iter().position(|run| run.outcome == Some(RunOutcome::Complete));
    let oldest = age.and_then(|age| now.checked_sub(time::Duration::try_from(age).ok()?));
    let most = runs.map(|runs| usize::try_from(runs).unwrap_or(usize::MAX));
    let goes = |at: usize, run: &PastRun| {
        let too_old = oldest.is_some_and(|oldest| run.created < oldest);
        let too_many = most.is_some_and(|most| at >= most);
        match run.outcome {
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

/// Why a run directory is not removed.
#[derive(Debug, thiserror::Error)]
enum Kept {
    #[error("it is not in `output.dir`")]
    Elsewhere,
    #[error("it is not a directory")]
    NoDirectory,
    #[error("its plan is not that of this run of this snapshot")]
    OtherRun,
    #[error("its plan cannot be read: {0}")]
    Plan(serde_json::Error),
    #[error("{0}")]
    Busy(#[from] fleetlogs_model::run_store::JournalError),
    #[error("what it says cannot be taken over: {0}")]
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
    fold: &mut impl AsyncFnMut(&Path) -> Result<(), E>,
) -> Result<(), Kept> {
    let Some(dir) = directory(output_dir, run)? else { return Ok(()) };
    check_plan(&dir, &run.run, snapshot)?;
    let held = RunDir::at(&dir).store.hold().await?;
    fold(&dir).await.map_err(|error| Kept::Fold(error.to_string()))?;
    if let Some(containers) = containers {
        containers.remove(&run.run).await?;
    }
    // Where open files keep a directory from being renamed, the lock has to go first.
    let held = cfg!(unix).then_some(held);
    let aside = set_aside(&dir, &run.run)?;
    drop(held);
    tokio::task::spawn_blocking(move || std::fs::remove_dir_all(aside)).await.map_err(io::Error::other)??;
    tracing::info!(run = %run.run, "removed: it is not to be kept any longer");
    Ok(())
}

/// The run's directory by its real path: a directory, no link to one, right in the directory of all runs. None where it is
/// gone.
fn directory(output_dir: &Path, run: &PastRun) -> Result<Option<PathBuf>, Kept> {
    let parent = match run.dir.parent().map(std::fs::canonicalize) {
        Some(Ok(parent)) => parent,
        Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Some(Err(error)) => return Err(error.into()),
        None => return Err(Kept::Elsewhere),
    };
    if parent != std::fs::canonicalize(output_dir)? || run.dir.file_name() != Some(run.run.as_str().as_ref())
    {
        return Err(Kept::Elsewhere);
    }
    let dir = parent.join(run.run.as_str());
    match std::fs::symlink_metadata(&dir) {
        Ok(found) if found.is_dir() => Ok(Some(dir)),
        Ok(_) => Err(Kept::NoDirectory),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Refuses a directory whose plan is another's. Of the plan, which may be long, no more is held than what is compared.
fn check_plan(dir: &Path, run: &RunId, snapshot: &SnapshotName) -> Result<(), Kept> {
    #[derive(Deserialize)]
    struct Head {
        run_id: RunId,
        snapshot: Option<SnapshotRef>,
    }
    let text = File::open(dir.join(PLAN_FILE))?;
    let head: Head = serde_json::from_reader(BufReader::new(text)).map_err(Kept::Plan)?;
    let is_ours = head.run_id == *run && head.snapshot.is_some_and(|of| of.name == *snapshot);
    if is_ours { Ok(()) } else { Err(Kept::OtherRun) }
}

/// Gives a run directory the name of what is being removed, durably.
fn set_aside(dir: &Path, run: &RunId) -> io::Result<PathBuf> {
    let parent = dir.parent().expect("a directory in the directory of all runs");
    let aside = parent.join(format!("{REMOVING}{run}"));
    std::fs::rename(dir, &aside)?;
    sync_directory(parent)?;
    Ok(aside)
}

/// Removes what an earlier process was about to remove when it ended.
fn sweep(output_dir: &Path) {
    let Ok(entries) = std::fs::read_dir(output_dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let run = name.to_str().and_then(|name| name.strip_prefix(REMOVING));
        let is_ours = run.is_some_and(|run| run.parse::<RunId>().is_ok())
            && entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_ours && let Err(error) = std::fs::remove_dir_all(entry.path()) {
            tracing::warn!("`{}` cannot be removed: {error}", entry.path().display());
        }
    }
}

#[cfg(test)]
mod tests;
