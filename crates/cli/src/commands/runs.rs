//! `fleetlogs runs`: lists the runs of this disk, and of the container where the config has journals, newest first.
//!
//! A run that has ended and is reported is read from the head of its manifest, whatever its size. The journal of the
//! others is replayed: of those that are running, were interrupted, or whose reports are missing or older than it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Parser;
use fleetlogs_engine::recorded_run::RunClaim;
use fleetlogs_model::ids::RunId;
use fleetlogs_report::{
    ListedCounts, ListedRun, ListedState, Look, MANIFEST_FILE, RunSummary, read_summary, run_lines,
};
use futures::StreamExt as _;
use serde::Serialize;

use crate::args::Output;
use crate::error::CliError;
use crate::exit::Exit;
use crate::journal_container::{JournalContainer, JournalUse, KnownJournals};
use crate::output::{as_json, print, say};
use crate::record_file::RECORD_FILE;
use crate::run::{RunState, run_facts};
use crate::run_dir::{PLAN_FILE, RunDir, as_typed};
use crate::runs_dir::RunsDir;
use crate::text::counted;

/// How many runs are listed for a person.
const MOST: usize = 20;
/// How many runs are read side by side.
const READS_AT_ONCE: usize = 8;

#[derive(Debug, Parser)]
#[expect(clippy::doc_markdown, reason = "the help of a terminal")]
pub(crate) struct RunsArgs {
    /// List the runs in this directory instead of `output.dir` of the config
    #[arg(long, value_name = "DIR")]
    pub(crate) runs_dir: Option<PathBuf>,
    /// List at most this many runs [default: 20, with --json all]
    #[arg(short = 'L', long, value_name = "NUMBER")]
    pub(crate) limit: Option<usize>,
    /// Look for runs as this config says [default: fleetlogs.toml, else $FLEETLOGS_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    runs_dir: String,
    /// Where the config has the journals of runs; null if they are in their directories.
    journals: Option<&'a str>,
    runs: &'a [ListedRun],
    /// How many older runs there are.
    more: usize,
}

pub(crate) async fn runs(args: &RunsArgs, output: &Output) -> Result<Exit, CliError> {
    let config = args.config.as_deref();
    let (place, journals) = (RunsDir::find(args.runs_dir.as_deref(), config), KnownJournals::new(config));
    let all = AllRuns::find(&place, &journals).await?;
    let limit = args.limit.unwrap_or(if output.json { usize::MAX } else { MOST });
    let runs = all.listed(&place, &journals, limit).await;
    let more = all.ids.len() - runs.len();
    let container = all.container.as_ref().map(|container| container.url());
    let dir = as_typed(&place.path).display();
    if output.json {
        let runs_dir = dir.to_string();
        return print(&as_json(&Document {
            schema: "fleetlogs.runs/v1",
            runs_dir,
            journals: container.as_deref(),
            runs: &runs,
            more,
        })?);
    }
    let there = container.map(|url| format!(" and {url}")).unwrap_or_default();
    if all.ids.is_empty() {
        if !output.quiet {
            say(&format!("no runs in {dir}/ ({}){there}\n", place.named_by));
        }
        return Ok(Exit::Complete);
    }
    print(&(run_lines(&runs, &Look::of_stdout()).join("\n") + "\n"))?;
    if more > 0 && !output.quiet {
        let (counted, all) = (counted(more, "more run"), all.ids.len());
        say(&format!("{counted} in {dir}/{there}: `fleetlogs runs --limit {all}` lists them all\n"));
    }
    Ok(Exit::Complete)
}

/// The runs of this disk, and those in the container where the config has journals.
struct AllRuns {
    /// Newest first.
    ids: Vec<RunId>,
    latest: Option<RunId>,
    container: Option<Arc<JournalContainer>>,
    /// Those that are in the container.
    there: Vec<RunId>,
}

impl AllRuns {
    async fn find(place: &RunsDir, journals: &KnownJournals) -> Result<Self, CliError> {
        let mut ids = place.ids().map_err(|error| CliError::file(&place.path, &error))?;
        let mut latest = place.latest(&ids).cloned();
        let (container, mut there) = (journals.of_config()?, vec![]);
        if let Some(container) = &container {
            there = container.runs().await?;
            latest =
                latest.into_iter().chain(there.first().cloned()).max_by(|a, b| a.as_str().cmp(b.as_str()));
            ids.extend(there.iter().cloned());
            ids.sort_unstable_by(|one, other| other.as_str().cmp(one.as_str()));
            ids.dedup();
        }
        Ok(Self { ids, latest, container, there })
    }

    /// The newest runs as far as they can be read. One that cannot be read is listed with the reason.
    async fn listed(&self, place: &RunsDir, journals: &KnownJournals, limit: usize) -> Vec<ListedRun> {
        let listed = self.ids.iter().take(limit).map(|id| self.run(id, place, journals));
        // Some may have to be read from a container.
        futures::stream::iter(listed).buffered(READS_AT_ONCE).collect().await
    }

    async fn run(&self, id: &RunId, place: &RunsDir, journals: &KnownJournals) -> ListedRun {
        let path = place.join(id);
        let is_here = path.join(PLAN_FILE).exists() || path.join(RECORD_FILE).exists();
        let dir = match &self.container {
            Some(container) if !is_here && self.there.contains(id) => {
                container.run(path.clone(), id, JournalUse::Look)
            }
            _ => RunDir::at(&path, journals),
        };
        listed(&path, dir, id, self.latest.as_ref() == Some(id)).await
    }
}

async fn listed(path: &Path, dir: Result<RunDir, CliError>, id: &RunId, latest: bool) -> ListedRun {
    let unread = ListedRun {
        run_id: id.clone(),
        dir: as_typed(path).display().to_string(),
        started_at: id.time(),
        ended_at: None,
        config: None,
        snapshot: None,
        state: ListedState::Unreadable,
        outcome: None,
        counts: None,
        partitions: None,
        accounts_not_listed: None,
        journal: None,
        bytes_on_disk: bytes_in(path),
        latest,
        why: None,
    };
    let dir = match dir {
        Ok(dir) => dir,
        Err(error) => return ListedRun { why: Some(error.reason()), ..unread },
    };
    let unread = ListedRun { journal: dir.record.as_ref().map(|record| record.url.clone()), ..unread };
    if dir.record.is_none()
        && let Err(error) = path.join(PLAN_FILE).metadata()
    {
        let why = match error.kind() {
            ErrorKind::NotFound => format!("it has no {PLAN_FILE}"),
            ErrorKind::PermissionDenied => "permission denied".to_owned(),
            _ => error.to_string(),
        };
        return ListedRun { why: Some(why), ..unread };
    }
    let shared = dir.shared().await.ok().flatten();
    let partitions = shared.map(|shared| shared.stored.partitions.len() as u64);
    let unread = ListedRun { partitions, ..unread };
    let is_running = dir.store.is_held().await.unwrap_or_default();
    if !is_running && let Some(summary) = current_summary(&dir).await {
        return of_summary(&dir, summary, unread).await;
    }
    replayed(&dir, is_running, unread.clone())
        .await
        .unwrap_or_else(|error| ListedRun { why: Some(error.reason()), ..unread })
}

/// What the manifest says, if that is how the run ended: it is no older than the journal.
async fn current_summary(dir: &RunDir) -> Option<RunSummary> {
    let manifest = dir.path.join(MANIFEST_FILE);
    let written = manifest.metadata().and_then(|file| file.modified()).ok()?;
    let recorded = dir.store.changed_at().await.ok()?;
    if recorded.is_some_and(|recorded| recorded > written) {
        return None;
    }
    // Whether a run that can be resumed was killed is in the journal.
    read_summary(&manifest).ok().filter(|summary| !summary.outcome.is_resumable())
}

async fn of_summary(dir: &RunDir, summary: RunSummary, unread: ListedRun) -> ListedRun {
    let config = match dir.store.read().await {
        Ok(journal) => journal.meta().ok().map(|meta| meta.config),
        Err(_) => None,
    };
    ListedRun {
        started_at: Some(summary.started_at),
        ended_at: Some(summary.ended_at),
        config,
        snapshot: summary.snapshot.map(|snapshot| snapshot.name),
        state: ListedState::Ended,
        outcome: Some(summary.outcome),
        counts: Some(ListedCounts::new(summary.counts, summary.collected)),
        accounts_not_listed: Some(summary.not_listed),
        ..unread
    }
}

async fn replayed(dir: &RunDir, is_running: bool, unread: ListedRun) -> Result<ListedRun, CliError> {
    let run = dir.open(RunClaim::Watch).await?;
    let ledger = run.ledger()?;
    let facts = run_facts(&*run.journal, &run.plan, &ledger)?;
    let is_waiting = !is_running && run.meta.shared_out_at.is_some() && !facts.is_over;
    let state = match (is_running, is_waiting) {
        (true, _) => RunState::Running,
        (false, true) => RunState::Waiting,
        (false, false) => RunState::of_ended(&facts),
    };
    let is_over = !is_running && !is_waiting;
    let counts = ledger.outcomes();
    let not_listed = run.plan.accounts.iter().filter(|account| account.unlisted.is_some()).count();
    Ok(ListedRun {
        started_at: Some(facts.started_at),
        ended_at: is_over.then_some(facts.ended_at),
        config: Some(run.meta.config),
        snapshot: run.plan.snapshot.as_ref().map(|snapshot| snapshot.name.clone()),
        state: match state {
            RunState::Running => ListedState::Running,
            RunState::Waiting => ListedState::Waiting,
            RunState::Ended => ListedState::Ended,
            RunState::Stopped => ListedState::Stopped,
            RunState::Interrupted => ListedState::Interrupted,
        },
        outcome: is_over.then_some(facts.outcome),
        counts: Some(ListedCounts::new(counts, counts.collected(facts.verification))),
        accounts_not_listed: Some(not_listed as u64),
        ..unread
    })
}

/// The bytes of all files in a directory, as far as they can be seen. Links are not followed.
fn bytes_in(dir: &Path) -> u64 {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok) {
        match entry.metadata() {
            Ok(found) if found.is_dir() => bytes += bytes_in(&entry.path()),
            Ok(found) => bytes += found.len(),
            Err(_) => {}
        }
    }
    bytes
}

#[cfg(test)]
mod tests;
