//! `fleetlogs verify`: looks again whether the files of a run are still there, and which time they cover.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Parser;
use fleetlogs_azure::{AzureLogStore, http_client};
use fleetlogs_engine::access::Access;
use fleetlogs_engine::clock::Clock;
use fleetlogs_engine::journal::{JournalReader, hold};
use fleetlogs_engine::revisit::{
    Expected, Found, Patience, Seen, TOLERANCE, Verified, Walk, compare, cover, judge,
};
use fleetlogs_engine::stop::{Stop, StopHandle};
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::ids::NodeIndex;
use fleetlogs_model::interval::Interval;
use fleetlogs_model::inventory::NodeCoverage;
use fleetlogs_model::plan::Plan;
use fleetlogs_model::service::UploadOrder;
use fleetlogs_report::{
    EarlierInventory, FILES_FILE, InventoryError, LookFacts, LookReported, LookReports, LookedAt,
    VERIFY_FILE, inventory_spelling,
};
use futures::StreamExt;

use super::{print, say};
use crate::args::Output;
use crate::config::{self, Settings};
use crate::destination::Destination;
use crate::error::{CliError, Refusal};
use crate::exit::Exit;
use crate::logging::{Logs, colours};
use crate::preflight::{self, Findings};
use crate::run_dir::RunDir;
use crate::signals;
use crate::tokens::Tokens;

/// Nodes whose files are read side by side, one file of each at a time.
const READS_AT_ONCE: usize = 8;

#[derive(Debug, Parser)]
pub(crate) struct Verify {
    /// The run directory
    pub(crate) run: PathBuf,
    /// The config file; left out: the one that the run was begun with
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Read the beginning and the end of every file, and tell which time they cover
    #[arg(long)]
    pub(crate) coverage: bool,
}

pub(crate) async fn verify(args: &Verify, output: &Output, logs: &Logs) -> Result<Exit, CliError> {
    let (dir, plan) = RunDir::open(&args.run)?;
    let journal = JournalReader::open(&dir.path)?;
    // Two of these would write the same files.
    let _held = hold(&dir.path)?;
    journal.check_plan(&dir.plan_digest)?;
    let config = match &args.config {
        Some(config) => config.clone(),
        None => PathBuf::from(journal.meta()?.config),
    };
    let settings = load(&config)?;
    logs.keep_in(dir.log_file()?);
    let stop = StopHandle::default();
    signals::listen(&stop)?;
    let reported = tokio::select! {
        reported = look(args, &dir, &plan, &journal, &settings) => reported?,
        () = stop.reached(Stop::Drain) => return Err(CliError::LookStopped),
    };
    let outcome = reported.outcome();
    tracing::info!(run_id = %plan.run_id, %outcome, "looked at again");
    if output.json {
        let document = dir.path.join(VERIFY_FILE);
        let text = std::fs::read_to_string(&document).map_err(|error| CliError::File(document, error))?;
        print(&text)?;
    } else if !output.quiet {
        say(&reported.to_terminal(&dir.path, colours() && std::io::stderr().is_terminal()));
    }
    Ok(outcome.into())
}

/// The config, whether or not it changed since: only what reaches the container is of use.
fn load(path: &Path) -> Result<Settings, CliError> {
    let mut settings = config::load(path)?;
    if settings.simulator.is_some() {
        return Err(CliError::SimulatorGone);
    }
    // The container is listed here, also for a run that did not.
    settings.verification = true;
    Ok(settings)
}

async fn look<'run>(
    args: &Verify,
    dir: &RunDir,
    plan: &'run Plan,
    journal: &JournalReader,
    settings: &Settings,
) -> Result<LookReported<'run>, CliError> {
    let (destination, store) = reach(args, plan, settings).await?;
    let order = UploadOrder { window: plan.window, access: Arc::new(destination.access.clone()) };
    let (_access, replace) = Access::new(order);
    let now = || Clock::System.now();
    tokio::select! {
        reported = go_through(args, dir, plan, journal, settings, &store) => reported,
        // A look at a large fleet may outlive the credential that it began with.
        () = destination.keep_fresh(settings.upload_allowance, now, replace, Some(&store)) => {
            unreachable!("credentials are kept fresh for as long as it takes")
        }
    }
}

/// The container of the run, proven by a listing.
async fn reach(
    args: &Verify,
    plan: &Plan,
    settings: &Settings,
) -> Result<(Destination, Arc<AzureLogStore>), CliError> {
    let http = http_client(READS_AT_ONCE)?;
    let tokens = Tokens::new(http.clone(), settings.entra.clone());
    let named = settings.destination.as_ref().expect("without a simulator the config names a container");
    let destination = Destination::of_run(named, &http, &tokens, &plan.run_id, true).await?;
    let config = destination.url();
    if config != plan.destination {
        return Err(CliError::OtherContainer { run: plan.destination.clone(), config });
    }
    let about = format!("destination.{}", destination.names.list);
    let mut findings = Findings::default();
    preflight::listing(&destination, Clock::System.now(), &mut findings);
    if args.coverage && destination.listing.as_ref().and_then(|listing| listing.grants('r')) == Some(false) {
        findings.refuse(&about, "its SAS lacks the permission `r`, and files are to be read", MAY_READ);
    }
    findings.settle()?;
    let store = preflight::open_store(&http, &destination, settings, &mut findings).await;
    findings.settle()?;
    let store = store.ok_or_else(|| {
        CliError::Refused(vec![Refusal::new(format!("{about}: the container cannot be listed"), MAY_READ)])
    })?;
    Ok((destination, store))
}

const MAY_READ: &str = "give a SAS with the permissions `r` and `l` as `destination.verify_url`";

/// What the journal has of the nodes that have a directory.
type Known = HashMap<NodeIndex, Option<Verified>>;

/// A directory, and what its files tell of their times.
struct Read {
    found: Found,
    coverage: Option<NodeCoverage>,
    /// Of each file, where somebody looked and there are any.
    lines: Vec<Option<Interval>>,
}

impl Read {
    /// A directory whose files are not read.
    fn unread(found: Found) -> Self {
        Self { lines: vec![None; found.blobs.len()], found, coverage: None }
    }
}

/// Looks into every directory, one after the other, and writes down what is there.
async fn go_through<'run>(
    args: &Verify,
    dir: &RunDir,
    plan: &'run Plan,
    journal: &JournalReader,
    settings: &Settings,
    store: &AzureLogStore,
) -> Result<LookReported<'run>, CliError> {
    let mut earlier = EarlierInventory::open(&dir.path).map_err(|error| edited(&dir.path, &error))?;
    let facts = LookFacts {
        at: Clock::System.now(),
        has_earlier: earlier.is_some(),
        tolerance: args.coverage.then_some(TOLERANCE),
    };
    let mut reports = LookReports::begin(&dir.path, plan, facts)?;
    let (known, expected) = known(journal)?;
    let window_of = |node| Interval::from(plan.node(node).window.unwrap_or(plan.window));
    for (index, node) in plan.indexed().filter(|(index, _)| !known.contains_key(index)) {
        let look = compare("", vec![], None, vec![], inventory_spelling);
        let coverage = args.coverage.then(|| judge(window_of(index), &[]));
        let coverage = coverage.as_ref();
        reports.node(LookedAt { node, directory: None, verified: None, look: &look, coverage })?;
    }

    let patience = Patience(&settings.retry);
    let mut walk = Walk::new(store, patience, expected);
    {
        let found = futures::stream::unfold(&mut walk, async |walk| {
            let next = walk.next().await.transpose()?;
            Some((next, walk))
        });
        let read = async |found: Result<Found, Failure>| {
            let found = found?;
            if !args.coverage {
                return Ok(Read::unread(found));
            }
            let (coverage, times) = cover(store, patience, window_of(found.node), &found.blobs).await?;
            let lines = times.into_iter().map(Result::ok).collect();
            Ok(Read { found, coverage: Some(coverage), lines })
        };
        let mut looked = std::pin::pin!(found.map(read).buffered(READS_AT_ONCE));
        while let Some(looked) = looked.next().await {
            let Read { found, coverage, lines } =
                looked.map_err(|failure: Failure| unreachable_container(&failure))?;
            let Found { node, directory, blobs } = found;
            let seen = blobs.into_iter().zip(lines).map(|(blob, lines)| Seen { blob, lines }).collect();
            let verified = known.get(&node).copied().flatten();
            let before = earlier.as_mut().map(|earlier| earlier.of(&directory)).transpose();
            let before = before.map_err(|error| edited(&dir.path, &error))?.unwrap_or_default();
            let look = compare(&directory, seen, verified, before, inventory_spelling);
            reports.node(LookedAt {
                node: plan.node(node),
                directory: Some(&directory),
                verified: verified.map(|verified| (verified.files, verified.bytes)),
                look: &look,
                coverage: coverage.as_ref(),
            })?;
        }
    }
    // Where a file that is open cannot be replaced, it has to be closed first.
    drop(earlier);
    let exit = Exit::from(reports.outcome());
    Ok(reports.commit(walk.list_calls(), exit as u8)?)
}

/// The nodes that have a directory, with what the run verified of each.
fn known(journal: &JournalReader) -> Result<(Known, Vec<(Expected, u32)>), CliError> {
    let mut known = Known::new();
    let mut expected = Vec::new();
    for history in journal.histories()?.rows()? {
        let (node, history) = history?;
        let verified = Verified::of(&history);
        let Some(directory) = history.directory else { continue };
        known.insert(node, verified);
        let files = verified.map(|verified| verified.files).or(history.files_promised).unwrap_or(1);
        expected.push((Expected { directory, node }, files.max(1)));
    }
    Ok((known, expected))
}

fn edited(dir: &Path, error: &InventoryError) -> CliError {
    let path = dir.join(FILES_FILE);
    CliError::File(path, std::io::Error::other(format!("{error}; move it away to begin a new inventory")))
}

fn unreachable_container(failure: &Failure) -> CliError {
    let help = match failure.class {
        FailureClass::Auth => MAY_READ,
        FailureClass::Gone => {
            "the container is gone, and its files with it: see who deleted it, and whether it can be restored"
        }
        _ => "nothing was written; try again, or check DNS, proxy and the storage firewall",
    };
    CliError::Refused(vec![Refusal::new(format!("the container cannot be looked through: {failure}"), help)])
}
