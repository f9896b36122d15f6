//! What the shell offers at a tab: runs, pools, accounts and snapshots that are on this disk. Nothing is asked of any
//! service, and no secret is read.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{BufReader, Read as _};
use std::path::Path;

use clap::Command;
use clap_complete::CompleteEnv;
use clap_complete::engine::{
    ArgValueCandidates, ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter as _,
};
use fleetlogs_engine::local_store::PLAN_FILE;
use serde::Deserialize;

use crate::found_config::default_config;
use crate::runs_dir::RunsDir;

/// The variable by which the script of a shell asks the program.
pub(crate) const VARIABLE: &str = "FLEETLOGS_COMPLETE";

/// The most runs that are offered. Older ones can still be named.
const MOST_RUNS: usize = 50;
/// A longer file would delay the shell.
const LONGEST_FILE: u64 = 64 << 20;

/// Answers the shell about this command line and ends the program, if the shell asks.
pub(crate) fn answer_shell(command_line: fn() -> Command) {
    CompleteEnv::with_factory(command_line).var(VARIABLE).complete();
}

/// Ids of runs, the newest first, and paths.
pub(crate) fn runs() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let text = typed.to_string_lossy();
        if text.starts_with(['.', '~']) || text.contains(std::path::MAIN_SEPARATOR) {
            return PathCompleter::dir().complete(typed);
        }
        let runs = RunsDir::find(None, None);
        let ids = runs.ids().unwrap_or_default();
        let names = ids.iter().take(MOST_RUNS).map(ToString::to_string);
        let latest =
            ids.first().map(|id| CompletionCandidate::new("latest").help(Some(format!("{id}").into())));
        let candidates = latest.into_iter().chain(names.map(CompletionCandidate::new));
        let ordered = candidates.enumerate().map(|(place, candidate)| candidate.display_order(Some(place)));
        ordered.filter(|candidate| candidate.get_value().to_string_lossy().starts_with(&*text)).collect()
    })
}

/// Ids of the pools of the newest run.
pub(crate) fn pools() -> ArgValueCandidates {
    ArgValueCandidates::new(|| candidates(newest_plan().pools.into_iter().map(|pool| pool.id)))
}

/// Names of the accounts of the config and of the newest run.
pub(crate) fn accounts() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let planned = newest_plan().accounts.into_iter().map(|account| account.name);
        candidates(names_in_config("account").into_iter().chain(planned))
    })
}

/// Names of the snapshots of the config.
pub(crate) fn snapshots() -> ArgValueCandidates {
    ArgValueCandidates::new(|| candidates(names_in_config("snapshot")))
}

/// Each text once, in order.
fn candidates(texts: impl IntoIterator<Item = String>) -> Vec<CompletionCandidate> {
    texts.into_iter().collect::<BTreeSet<_>>().into_iter().map(CompletionCandidate::new).collect()
}

/// What is offered of a plan.
#[derive(Default, Deserialize)]
#[serde(default)]
struct PlannedNames {
    accounts: Vec<PlannedAccountName>,
    pools: Vec<PlannedPoolId>,
}

#[derive(Deserialize)]
struct PlannedAccountName {
    name: String,
}

#[derive(Deserialize)]
struct PlannedPoolId {
    id: String,
}

/// The plan of the newest run; nothing where there is none, or it cannot be read.
fn newest_plan() -> PlannedNames {
    let runs = RunsDir::find(None, None);
    let ids = runs.ids().unwrap_or_default();
    runs.latest(&ids).and_then(|id| names_in_plan(&runs.join(id).join(PLAN_FILE))).unwrap_or_default()
}

fn names_in_plan(path: &Path) -> Option<PlannedNames> {
    let file = std::fs::File::open(path).ok()?.take(LONGEST_FILE);
    serde_json::from_reader(BufReader::new(file)).ok()
}

/// The names in an array of tables of the config that would be found.
fn names_in_config(array: &str) -> Vec<String> {
    let text =
        default_config().filter(|path| path.is_file()).and_then(|path| std::fs::read_to_string(path).ok());
    let table: Option<toml::Table> = text.and_then(|text| text.parse().ok());
    let tables = table.as_ref().and_then(|table| table.get(array)).and_then(toml::Value::as_array);
    let names = tables.into_iter().flatten().filter_map(|table| table.get("name")?.as_str());
    names.map(String::from).collect()
}
