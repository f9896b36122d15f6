//! `fleetlogs fetch`: downloads the logs of a run from its container.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Parser;
use fleetlogs_engine::clock::Clock;
use fleetlogs_engine::recorded_run::{RecordedRun, RunClaim};
use fleetlogs_engine::stop::{Stop, StopHandle};
use fleetlogs_model::failure::FailureClass;
use fleetlogs_model::shell_word::quoted;
use fleetlogs_report::{FetchFailure, Fetched, Look, NodeDirectory, size};
use globset::{Glob, GlobSet};
use serde::Serialize;

use crate::args::Output;
use crate::config::{self, pattern_set};
use crate::error::{CliError, Refusal};
use crate::error_document::EndOfCommand;
use crate::exit::Exit;
use crate::log_download::{
    CALLS_AT_ONCE, Downloads, Ended, LogPlace, OnDisk, Order, PlaceError, Problem, download, size_on_disk,
};
use crate::logging::Logs;
use crate::output::{as_json, download_progress, print, print_lines, say_styled};
use crate::run_container::{Reading, container_help, open_container, prove_listing};
use crate::run_dir::{as_argument, as_typed};
use crate::run_name::RunArg;
use crate::signals;

/// Storage takes more, but each call may have a file of its own open.
const MOST_CALLS: usize = 256;

#[derive(Debug, Parser)]
pub(crate) struct FetchArgs {
    #[command(flatten)]
    pub(crate) run: RunArg,
    /// Download into this directory [default: logs/ in the run directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) to: Option<PathBuf>,
    /// Download only the logs of accounts with a matching name
    #[arg(long = "account", value_name = "PATTERN", help_heading = "Choosing nodes")]
    pub(crate) accounts: Vec<Glob>,
    /// Download only the logs of pools with a matching id
    #[arg(long = "pool", value_name = "PATTERN", help_heading = "Choosing nodes")]
    pub(crate) pools: Vec<Glob>,
    /// Download only the logs of nodes with a matching id
    #[arg(long = "node", value_name = "PATTERN", help_heading = "Choosing nodes")]
    pub(crate) nodes: Vec<Glob>,
    /// Download only files that are missing or incomplete on disk, without comparing the others with storage
    #[arg(long)]
    pub(crate) missing: bool,
    /// Leave out the second directory of a node that was called twice
    #[arg(long)]
    pub(crate) no_duplicates: bool,
    /// Make this many calls to storage at a time
    #[arg(long, value_name = "NUMBER", default_value_t = CALLS_AT_ONCE, value_parser = calls_at_once)]
    pub(crate) concurrency: usize,
    /// Use this config file instead of the one that the run was started with
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

fn calls_at_once(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (1..=MOST_CALLS).contains(&number) => Ok(number),
        _ => Err(format!("must be a number from 1 to {MOST_CALLS}")),
    }
}

pub(crate) async fn fetch(args: &FetchArgs, output: &Output, logs: &Logs) -> Result<Exit, CliError> {
    // Watched only: a process that works on the run goes on, and its next files are for the next fetch.
    let dir = args.run.find(args.config.as_deref()).await?;
    let recorded = dir.open(RunClaim::Watch).await?;
    let choice = Choice::of(args)?;
    let nodes = choice.directories(&recorded, args)?;
    let settings = config::load(&dir.config(&recorded.meta, args.config.as_deref())?)?;
    let reading = Reading::Blobs("`fetch`");
    let (destination, store) = open_container(&recorded.plan, &settings, reading, args.concurrency).await?;
    dir.keep_here(&recorded.plan)?;
    let _kept = dir.log_file().ok().map(|file| logs.keep_in(file));
    let stop = StopHandle::default();
    signals::listen(&stop)?;
    tokio::select! {
        proved = prove_listing(&store, "fetch") => proved?,
        () = stop.reached(Stop::Drain) => return Err(CliError::interrupted("stopped before anything was downloaded")),
    }
    let place = match &args.to {
        Some(to) => LogPlace::elsewhere(to),
        None => LogPlace::in_run(&dir.path),
    };
    let place = place.map_err(|error| unusable(args, &dir.path, error))?;
    has_room(&place, &nodes.directories)?;

    let begun = Instant::now();
    let progress = download_progress(output);
    let order = Order {
        place: &place,
        on_disk: if args.missing { OnDisk::Trust } else { OnDisk::Compare },
        at_once: args.concurrency,
        keeps: &|log| !choice.has(log.account.as_str(), log.pool.as_str(), log.node.as_str()),
        progress: &progress,
    };
    let each = || std::io::Result::Ok(nodes.directories.iter().cloned().map(std::io::Result::Ok));
    let downloads = tokio::select! {
        downloads = download(&store, &order, each, stop.reached(Stop::Drain)) => downloads,
        never = destination.keep_listing(|| Clock::System.now(), &store) => never,
    };
    let downloaded = progress.finish();
    let downloads = downloads.map_err(|error| CliError::file(place.list(), &error))?;

    let exit = exit_of(&downloads);
    let help = match &downloads.ended {
        Some((_, ended)) => Some(help_for_end(ended)),
        None => is_short(&downloads).then(|| DOWNLOAD_REST.to_owned()),
    };
    let nodes_cut_off = downloads.nodes_cut_off();
    let Downloads { logs, problems, more_problems, ended, .. } = downloads;
    let fetched = Fetched {
        schema: "fleetlogs.fetch/v1",
        run_id: recorded.plan.run_id.clone(),
        directory: as_typed(&place.top()).display().to_string(),
        list: as_typed(&place.list()).display().to_string(),
        nodes: nodes.selected,
        nodes_without_directory: nodes.without_directory,
        files: logs.files,
        bytes: logs.bytes,
        downloaded_files: downloaded.files,
        downloaded_bytes: downloaded.bytes,
        files_without_md5: logs.without_md5,
        failures: problems.into_iter().filter(|problem| problem.is_loss).map(failure).collect(),
        more_failures: more_problems,
        nodes_cut_off,
        ended_early: ended.map(|(_, ended)| ended.to_string()),
        next: help.is_some().then(|| command(args, &dir.path)),
        help,
        took: begun.elapsed(),
        exit_code: exit as u8,
    };
    if output.json {
        let help = fetched.help.as_ref().map(|help| match &fetched.next {
            Some(command) => format!("{help} {command}"),
            None => help.clone(),
        });
        let end = EndOfCommand::with(exit, fetched.sentence(), help);
        print(&as_json(&FetchDocument { fetched: &fetched, end })?)?;
    } else {
        if !output.quiet {
            say_styled(&fetched.to_terminal(&Look::of_stderr()));
        }
        // For `cd "$(fleetlogs fetch RUN)"`. On a terminal, the summary has it.
        if output.quiet || !std::io::stdout().is_terminal() {
            print_lines(&format!("{}\n", fetched.directory))?;
        }
    }
    Ok(exit)
}

/// What `--json` prints.
#[derive(Serialize)]
struct FetchDocument<'a> {
    #[serde(flatten)]
    fetched: &'a Fetched,
    #[serde(flatten)]
    end: EndOfCommand,
}

/// Which nodes were asked for.
struct Choice {
    accounts: Option<GlobSet>,
    pools: Option<GlobSet>,
    nodes: Option<GlobSet>,
}

/// The directories of the nodes that were asked for.
struct ChosenNodes {
    directories: Vec<NodeDirectory>,
    /// Nodes.
    selected: u64,
    /// Nodes.
    without_directory: u64,
}

impl Choice {
    fn of(args: &FetchArgs) -> Result<Self, CliError> {
        Ok(Self {
            accounts: pattern_set(&args.accounts)?,
            pools: pattern_set(&args.pools)?,
            nodes: pattern_set(&args.nodes)?,
        })
    }

    fn has(&self, account: &str, pool: &str, node: &str) -> bool {
        let has = |set: &Option<GlobSet>, name: &str| set.as_ref().is_none_or(|set| set.is_match(name));
        has(&self.accounts, account) && has(&self.pools, pool) && has(&self.nodes, node)
    }

    /// The directories, from the journal: they are there before the reports, and while the run is going on.
    fn directories(&self, recorded: &RecordedRun, args: &FetchArgs) -> Result<ChosenNodes, CliError> {
        let plan = &*recorded.plan;
        let of_plan = plan.indexed();
        let selected =
            of_plan.filter(|(_, node)| self.has(node.account().as_str(), node.pool().as_str(), &node.id()));
        let selected = selected.count() as u64;
        if selected == 0 {
            return Err(no_such_node(recorded, args));
        }
        let mut chosen = ChosenNodes { directories: vec![], selected, without_directory: selected };
        let mut query = recorded.journal.histories()?;
        for history in query.rows()? {
            let (index, history) = history?;
            let node = plan.node(index);
            if !self.has(node.account().as_str(), node.pool().as_str(), &node.id()) {
                continue;
            }
            let Some(first) = &history.directory else { continue };
            chosen.without_directory -= 1;
            let directory = |name: &str, is_duplicate: bool| NodeDirectory {
                account: node.account().clone(),
                pool: node.pool().clone(),
                node: node.node(),
                directory: name.to_owned(),
                seen: history.files_arrived.map(u64::from).zip(history.bytes).filter(|_| !is_duplicate),
                is_duplicate,
            };
            chosen.directories.push(directory(first, false));
            if !args.no_duplicates {
                chosen.directories.extend(history.duplicates.iter().map(|name| directory(name, true)));
            }
        }
        Ok(chosen)
    }
}

/// Pools that are named.
const MOST_NAMED: usize = 20;

fn no_such_node(recorded: &RecordedRun, args: &FetchArgs) -> CliError {
    let mut pools: Vec<String> = Vec::new();
    for (_, node) in recorded.plan.indexed() {
        let name = format!("{}/{}", node.account(), node.pool());
        if pools.last() != Some(&name) && !pools.contains(&name) {
            pools.push(name);
        }
        if pools.len() > MOST_NAMED {
            break;
        }
    }
    let more = if pools.len() > MOST_NAMED { " and more" } else { "" };
    pools.truncate(MOST_NAMED);
    let help = if pools.is_empty() {
        "the plan of this run has no node".to_owned()
    } else {
        let what =
            if args.nodes.is_empty() { "" } else { "; `nodes.csv` in the run directory lists its nodes" };
        format!("case counts; this run has these pools: {}{more}{what}", pools.join(", "))
    };
    CliError::no_node_of_run(Refusal::new("no node of this run matches", help))
}

/// The place cannot be used.
fn unusable(args: &FetchArgs, run: &Path, error: PlaceError) -> CliError {
    match error {
        PlaceError::Busy => CliError::not_done(Refusal::new(
            error.to_string(),
            "wait until it has ended, or name another directory with `--to DIR`",
        )),
        PlaceError::File(error) => CliError::file(args.to.as_deref().unwrap_or(run), &error),
    }
}

/// Refuses a download that does not fit on the disk, as far as the run knows the sizes.
fn has_room(place: &LogPlace, nodes: &[NodeDirectory]) -> Result<(), CliError> {
    let bytes =
        nodes.iter().filter_map(|node| node.seen).fold(0_u64, |sum, (_, bytes)| sum.saturating_add(bytes));
    let Some(room) = place.room().filter(|room| *room < bytes) else { return Ok(()) };
    let mut needed = bytes;
    for node in nodes {
        let there = size_on_disk(place, node).map_err(|error| CliError::file(place.top(), &error))?;
        needed = needed.saturating_sub(there);
    }
    if room >= needed {
        return Ok(());
    }
    let what = format!(
        "the logs need {}, and `{}` has room for {}",
        size(needed),
        place.top().display(),
        size(room)
    );
    let help = "make room, name a directory on another disk with `--to DIR`, or choose fewer nodes with `--pool` or `--node`";
    Err(CliError::not_done(Refusal::new(what, help)))
}

/// Whether something is missing of what could be listed.
fn is_short(downloads: &Downloads) -> bool {
    downloads.more_problems > 0 || downloads.problems.iter().any(|problem| problem.is_loss)
}

fn exit_of(downloads: &Downloads) -> Exit {
    match &downloads.ended {
        Some((_, Ended::Stopped)) => Exit::Interrupted,
        Some((_, Ended::Storage(failure)))
            if downloads.logs.files == 0 && failure.class == FailureClass::Auth =>
        {
            Exit::Refused
        }
        _ if downloads.logs.files == 0 => Exit::NothingCollected,
        Some(_) => Exit::Partial,
        None if is_short(downloads) => Exit::Partial,
        None => Exit::Complete,
    }
}

/// What to do before the command is repeated, which follows.
fn help_for_end(ended: &Ended) -> String {
    match ended {
        Ended::Stopped => DOWNLOAD_REST.into(),
        Ended::Disk(_) => format!("make room on the disk, then {DOWNLOAD_REST}"),
        Ended::Storage(failure) => format!("{}:", container_help(failure, "fetch")),
    }
}

const DOWNLOAD_REST: &str = "download the rest; complete files stay as they are:";

fn failure(Problem { node, blob, why, .. }: Problem) -> FetchFailure {
    FetchFailure { account: node.account, pool: node.pool, node: node.node, blob, reason: why }
}

/// The same command again, as a person types it.
fn command(args: &FetchArgs, run: &Path) -> String {
    let mut words = vec!["fleetlogs fetch".to_owned(), as_argument(run)];
    let mut option = |name: &str, value: String| words.push(format!("{name} {value}"));
    if let Some(to) = &args.to {
        option("--to", as_argument(to));
    }
    for (name, globs) in [("--account", &args.accounts), ("--pool", &args.pools), ("--node", &args.nodes)] {
        for glob in globs {
            option(name, quoted(glob.glob()).into_owned());
        }
    }
    if args.concurrency != CALLS_AT_ONCE {
        option("--concurrency", args.concurrency.to_string());
    }
    if let Some(config) = &args.config {
        option("--config", as_argument(config));
    }
    if args.missing {
        words.push("--missing".into());
    }
    if args.no_duplicates {
        words.push("--no-duplicates".into());
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_to_repeat_has_every_option_of_this_one() {
        let typed = "fetch runs/20261122T093000Z-4f2a --to /tmp/a --pool render-* --node tvm_1 --concurrency 4 --config c.toml --missing --no-duplicates";
        let args = FetchArgs::parse_from(typed.split(' '));
        assert_eq!(
            command(&args, Path::new("runs/20261122T093000Z-4f2a")),
            "fleetlogs fetch runs/20261122T093000Z-4f2a --to /tmp/a --pool 'render-*' --node tvm_1 --concurrency 4 \
             --config c.toml --missing --no-duplicates"
        );
        assert_eq!(
            command(&FetchArgs::parse_from(["fetch", "latest"]), Path::new("runs/a b")),
            "fleetlogs fetch 'runs/a b'"
        );
        for wrong in ["0", "257", "x"] {
            assert!(FetchArgs::try_parse_from(["fetch", "r", "--concurrency", wrong]).is_err());
        }
    }

    #[cfg(unix)]
    #[test]
    fn logs_that_do_not_fit_on_the_disk_are_refused() {
        use fleetlogs_model::ids::{AccountName, NodeId, PoolId};
        let dir = tempfile::tempdir().unwrap();
        let place = LogPlace::in_run(dir.path()).unwrap();
        let node = |bytes| NodeDirectory {
            account: AccountName::new("contoso"),
            pool: PoolId::new("a"),
            node: NodeId::new("n1"),
            directory: "batch/n1".into(),
            seen: Some((1, bytes)),
            is_duplicate: false,
        };
        has_room(&place, &[node(1 << 10)]).unwrap();
        let refused = has_room(&place, &[node(1 << 60), node(1 << 40)]).unwrap_err();
        assert_eq!(refused.exit, Exit::Refused);
        let said = refused.describe();
        assert!(said.contains("the logs need 1024.0 PiB, and `") && said.contains("--to DIR"), "{said}");
    }
}
