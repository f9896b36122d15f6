//! `fleetlogs history`: which time ranges the runs of a snapshot cover together, from their manifests. It sends no
//! request to any service.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::Parser;
use fleetlogs_engine::clock::Clock;
use fleetlogs_engine::schedule::state::{StateError, Store, coverage};
use fleetlogs_model::ids::{RunId, SnapshotName};
use fleetlogs_model::interval::Interval;
use fleetlogs_model::timestamp;
use fleetlogs_report::{HistoryError, Look, MANIFEST_FILE, RunHead, Series, Verdict, read_head};
use serde::Serialize;
use time::OffsetDateTime;

use crate::args::Output;
use crate::completion;
use crate::config::{self, Settings, SnapshotSettings, SnapshotWindow, is_stdin};
use crate::config_arg::find_config;
use crate::daemon::{require_snapshot, state_path};
use crate::error::{CliError, Refusal};
use crate::error_document::EndOfCommand;
use crate::exit::Exit;
use crate::journal_container::KnownJournals;
use crate::output::{as_json, print, say};
use crate::run_dir::{PLAN_FILE, RunDir, as_argument};

#[derive(Debug, Parser)]
#[expect(clippy::doc_markdown, reason = "the help of a terminal")]
pub(crate) struct HistoryArgs {
    /// The config file, `-` for stdin [default: fleetlogs.toml, else $FLEETLOGS_CONFIG]
    config: Option<PathBuf>,
    /// The snapshot [default: every one with `window = "since-last"`, or the only one]
    #[arg(add = completion::snapshots())]
    snapshot: Option<String>,
    /// Ignore everything before this time, such as 2026-11-22T08:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    from: Option<OffsetDateTime>,
    /// Ignore everything after this time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    to: Option<OffsetDateTime>,
    /// List every gap, and every node that disappeared
    #[arg(long)]
    nodes: bool,
}

impl HistoryArgs {
    /// A single argument that is neither a file nor looks like the path of one is a snapshot of the config that is found.
    fn config_and_snapshot(&self) -> (Option<&Path>, Option<&str>) {
        match (self.config.as_deref(), self.snapshot.as_deref()) {
            (Some(only), None) => match only.to_str() {
                Some(name) if !is_stdin(only) && !name.contains(['/', '.', '\\']) && !only.exists() => {
                    (None, Some(name))
                }
                _ => (Some(only), None),
            },
            both => both,
        }
    }
}

fn moment(text: &str) -> Result<OffsetDateTime, String> {
    timestamp::parse(text).ok_or_else(|| "write a time with its offset, such as 2026-11-22T08:00:00Z".into())
}

pub(crate) async fn history(args: &HistoryArgs, output: &Output) -> Result<Exit, CliError> {
    if let (Some(from), Some(to)) = (args.from, args.to)
        && to <= from
    {
        return Err(unusable("`--to` is not after `--from`", "pass the earlier time as `--from`"));
    }
    let now = Clock::System.now();
    if args.to.is_some_and(|to| to > now) && !output.quiet {
        say("`--to` is in the future: using the present time instead\n");
    }
    let to = args.to.map(|to| to.min(now));
    let (config, snapshot) = args.config_and_snapshot();
    let settings = config::load(&find_config(config)?)?;
    let snapshots = requested_snapshots(&settings, snapshot)?;
    let store = Store::look_in(&state_path(&settings)).map_err(|error| of_state(&error))?;
    let dirs = run_dirs(&settings.output_dir).await?;
    let mut histories = Vec::new();
    for snapshot in snapshots {
        histories.push(read_history(snapshot, store.as_ref(), &dirs).await?);
    }
    let series: Vec<_> = histories.iter().map(|history| history.series(args.from, to)).collect();
    let exit = exit_of(&series);
    if output.json {
        let help = ["`fleetlogs history CONFIG --nodes` lists every gap".to_owned()];
        let end = EndOfCommand::with(exit, "not every minute is covered", help);
        print(&as_json(&Document { schema: "fleetlogs.history/v1", series: &series, end })?)?;
    } else if !output.quiet {
        let look = Look::of_stdout();
        let texts: Vec<_> = series.iter().map(|series| series.to_terminal(&look, args.nodes)).collect();
        print(&texts.join("\n"))?;
    }
    Ok(exit)
}

fn exit_of(series: &[Series<'_>]) -> Exit {
    let is = |verdict| series.iter().filter(|series| series.verdict() == verdict).count();
    if is(Verdict::Whole) == series.len() {
        Exit::Complete
    } else if is(Verdict::Nothing) == series.len() {
        Exit::NothingCollected
    } else {
        Exit::Partial
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    series: &'a [Series<'a>],
    #[serde(flatten)]
    end: EndOfCommand,
}

/// The requested snapshots.
fn requested_snapshots<'a>(
    settings: &'a Settings,
    name: Option<&str>,
) -> Result<Vec<&'a SnapshotSettings>, CliError> {
    let all = &settings.snapshots;
    let names = || all.iter().map(|snapshot| snapshot.name().to_string()).collect::<Vec<_>>().join(", ");
    if all.is_empty() {
        return Err(unusable(
            "the config has no snapshot",
            "add a [[snapshot]]; `fleetlogs init --full -` shows an example",
        ));
    }
    if let Some(name) = name {
        return Ok(vec![require_snapshot(settings, name)?]);
    }
    let since_last = |snapshot: &&SnapshotSettings| longest(snapshot).is_some();
    let found: Vec<_> = all.iter().filter(since_last).collect();
    match (all.as_slice(), found.is_empty()) {
        (_, false) => Ok(found),
        ([only], true) => Ok(vec![only]),
        (_, true) => Err(unusable(
            "no snapshot of the config has `window = \"since-last\"`",
            format!("name a snapshot: {}", names()),
        )),
    }
}

fn longest(snapshot: &SnapshotSettings) -> Option<std::time::Duration> {
    match snapshot.window {
        SnapshotWindow::SinceLast { longest, .. } => Some(longest),
        SnapshotWindow::OfConfig | SnapshotWindow::Last(_) => None,
    }
}

/// Reads all runs of a snapshot.
async fn read_history(
    snapshot: &SnapshotSettings,
    store: Option<&Store>,
    dirs: &BTreeMap<String, DirContent>,
) -> Result<fleetlogs_report::History, CliError> {
    let name = snapshot.name();
    let start = |began| fleetlogs_report::History::new(name.clone(), began, longest(snapshot));
    let (mut history, begun) = match store {
        None => (start(None), BTreeMap::new()),
        Some(store) => {
            let look = |state: &_| {
                let mut history = start(coverage::series_began(state, name)?);
                coverage::for_each_folded(state, name, |row| {
                    let stretch = Interval::between(row.start, row.until);
                    history.add_folded(
                        (row.account, row.pool, row.node),
                        row.allocated,
                        row.outcome,
                        stretch,
                    );
                })?;
                Ok((history, coverage::begun_runs(state, name)?))
            };
            store.read(look).await.map_err(|error| of_state(&error))?
        }
    };
    for (run, found) in dirs {
        let on_record = begun.get(run);
        match found {
            DirContent::Run(path, head) if is_of(head, name) => history.add_run(path, head),
            DirContent::Run(_, head) if on_record.is_some() => {
                let of = head.snapshot.as_ref().map_or("no snapshot", |snapshot| snapshot.name.as_str());
                let why = format!("its manifest names {of}, but the schedule started it for {name}");
                history.add_unread(run, why, true);
            }
            DirContent::Unread { head: Some(head), .. } if !is_of(head, name) && on_record.is_none() => {}
            DirContent::Unread { is_broken: false, .. } if on_record == Some(&true) => {
                history.add_unread(run, "it is recorded as ended, but its manifest is missing", true);
            }
            // Without a plan, its snapshot is unknown.
            DirContent::Unread { why, is_broken, .. } => history.add_unread(run, why, *is_broken),
            DirContent::Run(..) => {}
        }
    }
    for (run, is_over) in begun.iter().filter(|(run, _)| !dirs.contains_key(*run)) {
        history.add_unread(run, "its directory is not here", *is_over);
    }
    Ok(history)
}

fn is_of(head: &RunHead, name: &SnapshotName) -> bool {
    head.snapshot.as_ref().is_some_and(|snapshot| snapshot.name == *name)
}

/// What a run directory contains.
enum DirContent {
    /// A manifest, and what the manifest says about the run.
    Run(PathBuf, RunHead),
    /// No readable manifest.
    Unread {
        /// What the plan says about the run, if it can be read.
        head: Option<RunHead>,
        why: String,
        /// Whether there is a manifest: then the run has ended.
        is_broken: bool,
    },
}

/// All run directories by run id, and so by time. A copy under another name is the same run.
async fn run_dirs(output_dir: &Path) -> Result<BTreeMap<String, DirContent>, CliError> {
    let failed = |error| CliError::file(output_dir, &error);
    let entries = match std::fs::read_dir(output_dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        entries => entries.map_err(failed)?,
    };
    let mut found = BTreeMap::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let dir = entry.path();
        match run_dir(&dir).await {
            DirContent::Run(manifest, head) => {
                found.insert(head.run_id.to_string(), DirContent::Run(manifest, head));
            }
            unread @ DirContent::Unread { .. } => {
                let planned = match &unread {
                    DirContent::Unread { head: Some(head), .. } => head.run_id.to_string(),
                    _ => name,
                };
                // A directory without a run id in its name or plan is not a run.
                if planned.parse::<RunId>().is_ok() {
                    found.entry(planned).or_insert(unread);
                }
            }
        }
    }
    Ok(found)
}

async fn run_dir(dir: &Path) -> DirContent {
    let manifest = dir.join(MANIFEST_FILE);
    let error = match read_head(&manifest) {
        Ok(head) => return DirContent::Run(manifest, head),
        Err(error) => error,
    };
    let head = read_head(&dir.join(PLAN_FILE)).ok();
    let is_broken = !matches!(&error, HistoryError::File(error) if error.kind() == ErrorKind::NotFound);
    let why = if is_broken {
        error.to_string()
    } else if head.is_none() {
        "it has neither a readable manifest nor a readable plan".into()
    } else if is_held(dir).await {
        "it is still running".into()
    } else {
        format!("it has no manifest; resume it with `fleetlogs resume {}`", as_argument(dir))
    };
    DirContent::Unread { head, why, is_broken }
}

/// Whether a process works on a run, as far as that can be found out.
async fn is_held(dir: &Path) -> bool {
    match RunDir::at(dir, &KnownJournals::new(None)) {
        Ok(dir) => dir.store.is_held().await.unwrap_or_default(),
        Err(_) => false,
    }
}

fn unusable(what: impl Into<String>, help: impl Into<String>) -> CliError {
    CliError::usage(Refusal::new(what, help))
}

fn of_state(error: &StateError) -> CliError {
    unusable(error.to_string(), "check that `schedule.state` names the database of this schedule")
}
