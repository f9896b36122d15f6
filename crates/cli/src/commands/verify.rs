//! `fleetlogs verify`: checks that the files of a run are still there and unchanged, and which time ranges they cover.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Parser;
use fleetlogs_azure::AzureLogStore;
use fleetlogs_engine::access::Access;
use fleetlogs_engine::clock::Clock;
use fleetlogs_engine::recorded_run::RunClaim;
use fleetlogs_engine::revisit::{
    ExpectedDirectory, FoundDirectory, SeenFile, StorageRetry, TOLERANCE, VerifiedFiles, Walk, compare,
    cover, judge,
};
use fleetlogs_engine::stop::{Stop, StopHandle};
use fleetlogs_model::failure::Failure;
use fleetlogs_model::ids::NodeIndex;
use fleetlogs_model::interval::Interval;
use fleetlogs_model::inventory::NodeCoverage;
use fleetlogs_model::outcome::Outcome;
use fleetlogs_model::plan::Plan;
use fleetlogs_model::run_store::JournalReader;
use fleetlogs_model::service::UploadOrder;
use fleetlogs_report::{
    EarlierInventory, FILES_FILE, InventoryError, Look, NodeFinding, RevisitFacts, RevisitReports,
    RevisitResult, VERIFY_FILE,
};
use futures::StreamExt;

use crate::args::Output;
use crate::config::{self, Settings};
use crate::destination::Destination;
use crate::error::CliError;
use crate::exit::Exit;
use crate::logging::Logs;
use crate::output::{print, say_styled};
use crate::run_container::{Reading, open_container, prove_listing, unreachable_container};
use crate::run_dir::{RunDir, as_argument, as_typed};
use crate::run_name::RunArg;
use crate::signals;

/// Nodes whose files are read side by side, one file of each at a time.
const READS_AT_ONCE: usize = 8;

#[derive(Debug, Parser)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) run: RunArg,
    /// Use this config file instead of the one that the run was started with
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Also report the time range each file covers (reads its first and last lines)
    #[arg(long)]
    pub(crate) coverage: bool,
}

pub(crate) async fn verify(args: &VerifyArgs, output: &Output, logs: &Logs) -> Result<Exit, CliError> {
    // Held: two of these would write the same files.
    let dir = args.run.find(args.config.as_deref()).await?;
    let recorded = dir.open(RunClaim::Hold).await?;
    let (plan, journal) = (&*recorded.plan, &*recorded.journal);
    let config = dir.config(&recorded.meta, args.config.as_deref())?;
    let settings = load(&config)?;
    dir.keep_here(plan)?;
    let _kept = logs.keep_in(dir.log_file()?);
    let stop = StopHandle::default();
    signals::listen(&stop)?;
    let reported = tokio::select! {
        reported = verify_files(args, &dir, plan, journal, &settings) => reported?,
        () = stop.reached(Stop::Drain) => return Err(CliError::interrupted("stopped before every file was checked; earlier results stay as they are")),
    };
    let outcome = reported.outcome();
    tracing::info!(run_id = %plan.run_id, %outcome, "verified again");
    if output.json {
        let document = dir.path.join(VERIFY_FILE);
        let text = std::fs::read_to_string(&document).map_err(|error| CliError::file(&document, &error))?;
        print(&text)?;
    } else if !output.quiet {
        say_styled(&reported.to_terminal(&Look::of_stderr(), as_typed(&dir.path), &as_argument(&dir.path)));
    }
    Ok(outcome.into())
}

/// Loads the config. It may have changed since the run: only what is needed to reach the container is used.
fn load(path: &Path) -> Result<Settings, CliError> {
    let settings = config::load(path)?;
    if settings.simulator.is_some() {
        return Err(CliError::simulator_gone());
    }
    Ok(settings)
}

async fn verify_files<'run>(
    args: &VerifyArgs,
    dir: &RunDir,
    plan: &'run Plan,
    journal: &dyn JournalReader,
    settings: &Settings,
) -> Result<RevisitResult<'run>, CliError> {
    let (destination, store) = connect(args, plan, settings).await?;
    let order = UploadOrder { window: plan.window, access: Arc::new(destination.access.clone()) };
    let (_access, replace) = Access::new(order);
    let now = || Clock::System.now();
    tokio::select! {
        reported = compare_files(args, dir, plan, journal, settings, &store) => reported,
        // On a large fleet this may take longer than the first credential is valid.
        never = destination.keep_fresh(settings.upload_allowance, now, replace, Some(&store)) => never,
    }
}

/// Opens the container of the run, and lists it once to prove that this works.
async fn connect(
    args: &VerifyArgs,
    plan: &Plan,
    settings: &Settings,
) -> Result<(Destination, Arc<AzureLogStore>), CliError> {
    let reading = if args.coverage { Reading::Blobs("`--coverage`") } else { Reading::List };
    let (destination, store) = open_container(plan, settings, reading, READS_AT_ONCE).await?;
    prove_listing(&store, "verify").await?;
    Ok((destination, Arc::new(store)))
}

/// What the journal says about every node that the run called.
type NodeRecords = HashMap<NodeIndex, NodeRecord>;

/// What the journal says about a node.
#[derive(Clone, Copy)]
struct NodeRecord {
    outcome: Outcome,
    verified: Option<VerifiedFiles>,
    has_directory: bool,
}

impl NodeRecord {
    /// The record of a node that the journal does not mention.
    const NONE: Self = Self { outcome: Outcome::NotSent, verified: None, has_directory: false };
}

/// A directory, and the times in its files.
struct DirectoryTimes {
    found: FoundDirectory,
    coverage: Option<NodeCoverage>,
    /// The time range of each file, if it was read and has times.
    lines: Vec<Option<Interval>>,
}

impl DirectoryTimes {
    /// A directory whose files are not read.
    fn unread(found: FoundDirectory) -> Self {
        Self { lines: vec![None; found.blobs.len()], found, coverage: None }
    }
}

/// Lists every directory in turn, compares it with the journal and the earlier inventory, and writes the reports.
async fn compare_files<'run>(
    args: &VerifyArgs,
    dir: &RunDir,
    plan: &'run Plan,
    journal: &dyn JournalReader,
    settings: &Settings,
    store: &AzureLogStore,
) -> Result<RevisitResult<'run>, CliError> {
    let mut earlier = EarlierInventory::open(&dir.path).map_err(|error| edited(&dir.path, &error))?;
    let facts = RevisitFacts {
        at: Clock::System.now(),
        has_earlier: earlier.is_some(),
        verification: settings.verification,
        tolerance: args.coverage.then_some(TOLERANCE),
    };
    let mut reports = RevisitReports::begin(&dir.path, plan, facts)?;
    let (known, expected) = node_records(journal)?;
    let window_of = |node| Interval::from(plan.node(node).window.unwrap_or(plan.window));
    let past = |index| known.get(&index).copied().unwrap_or(NodeRecord::NONE);
    for (index, node) in plan.indexed().filter(|(index, _)| !past(*index).has_directory) {
        let look = compare("", vec![], None, vec![]);
        let outcome = past(index).outcome;
        let coverage = args.coverage.then(|| judge(window_of(index), &[]));
        let coverage = coverage.as_ref();
        reports.node(NodeFinding {
            node,
            directory: None,
            outcome,
            verified: None,
            look: &look,
            coverage,
        })?;
    }

    let retry = StorageRetry::new(&settings.retry, fastrand::Rng::new());
    let mut walk = Walk::new(store, &retry, expected);
    {
        let found = futures::stream::unfold(&mut walk, async |walk| {
            let next = walk.next().await.transpose()?;
            Some((next, walk))
        });
        let read = async |found: Result<FoundDirectory, Failure>| {
            let found = found?;
            if !args.coverage {
                return Ok(DirectoryTimes::unread(found));
            }
            let (coverage, times) = cover(store, &retry, window_of(found.node), &found.blobs).await?;
            let lines = times.into_iter().map(Result::ok).collect();
            Ok(DirectoryTimes { found, coverage: Some(coverage), lines })
        };
        let mut looked = std::pin::pin!(found.map(read).buffered(READS_AT_ONCE));
        while let Some(looked) = looked.next().await {
            let DirectoryTimes { found, coverage, lines } =
                looked.map_err(|failure: Failure| unreachable_container(&failure, "verify"))?;
            let FoundDirectory { node, directory, blobs } = found;
            let seen = blobs.into_iter().zip(lines).map(|(blob, lines)| SeenFile { blob, lines }).collect();
            let NodeRecord { outcome, verified, .. } = past(node);
            let before = earlier.as_mut().map(|earlier| earlier.of(&directory)).transpose();
            let before = before.map_err(|error| edited(&dir.path, &error))?.unwrap_or_default();
            let look = compare(&directory, seen, verified, before);
            reports.node(NodeFinding {
                node: plan.node(node),
                directory: Some(&directory),
                outcome,
                verified: verified.map(|verified| (verified.files, verified.bytes)),
                look: &look,
                coverage: coverage.as_ref(),
            })?;
        }
    }
    // Windows does not replace an open file, so it is closed first.
    drop(earlier);
    let exit = Exit::from(reports.outcome());
    Ok(reports.commit(walk.list_calls(), exit as u8)?)
}

/// What the journal says about the nodes, and the directories to list with the number of files expected in each.
fn node_records(
    journal: &dyn JournalReader,
) -> Result<(NodeRecords, Vec<(ExpectedDirectory, u32)>), CliError> {
    let mut known = NodeRecords::new();
    let mut expected = Vec::new();
    for history in journal.histories()?.rows()? {
        let (node, history) = history?;
        let verified = VerifiedFiles::of(&history);
        let outcome = history.status.outcome();
        known.insert(node, NodeRecord { outcome, verified, has_directory: history.directory.is_some() });
        let Some(directory) = history.directory else { continue };
        let files = verified.map(|verified| verified.files).or(history.files_promised).unwrap_or(1);
        expected.push((ExpectedDirectory { directory, node }, files.max(1)));
    }
    Ok((known, expected))
}

fn edited(dir: &Path, error: &InventoryError) -> CliError {
    let error = std::io::Error::other(format!("{error}; move it away to start a new inventory"));
    CliError::file(dir.join(FILES_FILE), &error)
}
