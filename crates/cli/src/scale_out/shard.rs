//! `run --shard I/N`: one of several processes that share a run without a queue, such as the pods of an Indexed Job.
//!
//! Shards with the same key are one run. The first one that comes lays it out, and each plans and works on its own
//! partitions: those whose number leaves the rest I when divided by N. Two processes of the same shard do no harm: the
//! second one finds the partitions held, or done.

use std::env;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use clap::Parser;
use fleetlogs_azure::{BlobRunStore, StoredRun, is_run_key};
use fleetlogs_engine::clock::Clock;
use fleetlogs_engine::recorded_run::{RecordedRun, RunClaim};
use fleetlogs_engine::scale_out::{LocalQueue, is_over, work};
use fleetlogs_engine::stop::{Stop, StopHandle};
use fleetlogs_model::ids::{AccountName, RunId};
use fleetlogs_model::outcome::RunOutcome;
use fleetlogs_model::plan::Plan;
use fleetlogs_model::run_store::{JournalErrorKind, RunStore};
use fleetlogs_model::timestamp;
use fleetlogs_model::work_queue::WorkItem;
use serde::Serialize;

use super::lay_out::partition;
use super::partitions::Partitions;
use super::stored_pick::StoredPick;
use super::workers::worker_settings;
use crate::args::{Output, Pick};
use crate::config::Settings;
use crate::error::{CliError, Refusal};
use crate::error_document::EndOfCommand;
use crate::exit::Exit;
use crate::fleet::Fleet;
use crate::journal_container::{JournalContainer, RunRecords};
use crate::output::{as_json, print, say};
use crate::run::{BegunRun, run_facts};
use crate::run_dir::recorded_config;

/// What Kubernetes sets in each pod of an Indexed Job, and what the Job's author sets beside it.
const INDEX: &str = "JOB_COMPLETION_INDEX";
const COMPLETIONS: &str = "JOB_COMPLETIONS";
const KEY: &str = "FLEETLOGS_SHARD_KEY";

#[derive(Clone, Debug, Default, Parser)]
#[command(next_help_heading = "Sharing the run out")]
#[expect(clippy::doc_markdown, reason = "the help of a terminal")]
pub(crate) struct ShardArgs {
    /// Work on part I (from 0) of N of the accounts [default: $JOB_COMPLETION_INDEX/$JOB_COMPLETIONS, if set]
    #[arg(long, value_name = "I/N", conflicts_with = "plan")]
    pub(crate) shard: Option<Shard>,
    /// What all shards of one run have in common, and no other run has [default: $FLEETLOGS_SHARD_KEY]
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,
}

/// One of several parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    index: usize,
    of: usize,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts =
            text.split_once('/').and_then(|(index, of)| Some((index.parse().ok()?, of.parse().ok()?)));
        let Some((index, of)): Option<(usize, usize)> = parts else {
            return Err("write the number of this shard, from 0, and how many there are, such as 0/4".into());
        };
        if of == 0 {
            return Err("there is one shard at least, 0/1".into());
        }
        if index >= of {
            return Err(format!(
                "shards are counted from 0: the last of {of} is {}/{of}",
                of.saturating_sub(1)
            ));
        }
        Ok(Self { index, of })
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

impl ShardArgs {
    /// The shard that is asked for, and its key. None for a run of one process.
    pub(crate) fn wanted(&self) -> Result<Option<(Shard, String)>, CliError> {
        self.wanted_in(|variable| env::var(variable).ok().filter(|value| !value.is_empty()))
    }

    fn wanted_in(
        &self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<(Shard, String)>, CliError> {
        let shard = match (self.shard, variable(INDEX), variable(COMPLETIONS)) {
            (Some(shard), _, _) => shard,
            (None, Some(index), Some(completions)) => {
                let text = format!("{index}/{completions}");
                text.parse().map_err(|why: String| {
                    let about = format!("{INDEX} and {COMPLETIONS}");
                    CliError::usage(Refusal::new(format!("`{text}` is no shard"), why).about(about))
                })?
            }
            (None, Some(_), None) => {
                let what = format!("{INDEX} is set, but not {COMPLETIONS}: each pod would call every node");
                let help = format!(
                    "set {COMPLETIONS} to the number of completions of the Job, or pass `--shard 0/1` if this is the only pod"
                );
                return Err(CliError::usage(Refusal::new(what, help)));
            }
            (None, None, _) => {
                if self.key.is_some() {
                    let help = "pass `--shard`, too, or leave it out";
                    return Err(CliError::usage(Refusal::new("`--key` is for shards of a run", help)));
                }
                return Ok(None);
            }
        };
        match self.key.clone().or_else(|| variable(KEY)) {
            Some(key) if is_run_key(&key) => Ok(Some((shard, key))),
            Some(key) => {
                let what = format!("`{}` is no key", key.escape_debug());
                let help = "use 1 to 100 letters, digits, `-`, `_` and `.`, and no `.` at its ends";
                Err(CliError::usage(Refusal::new(what, help)))
            }
            None if shard.of == 1 => Ok(None),
            None => {
                let what = "the shards of a run find each other by a key, but none is given";
                let help =
                    format!("pass the same `--key` to all of them, or set {KEY}: the uid of the Job, say");
                Err(CliError::usage(Refusal::new(what, help)))
            }
        }
    }
}

/// Works on the partitions of a shard.
pub(crate) async fn run_shard(
    (shard, key): (Shard, String),
    pick: &Pick,
    settings: &Settings,
    config: &Path,
    stop: &StopHandle,
    output: &Output,
) -> Result<Exit, CliError> {
    if settings.simulator.is_some() {
        let what = "the simulated fleet of [simulator] ends with its process, and no other shard reaches it";
        let help = "`fleetlogs sim` serves a fleet for several processes";
        return Err(CliError::usage(Refusal::new(what, help)));
    }
    let container = JournalContainer::of_settings(settings, config)?;
    let records = container.records(settings.partition_lease())?;
    let new_run = RunId::new(Clock::System.now(), fastrand::u16(..));
    let laying_out = async {
        let run = records.run_of_key(&key, &new_run).await?;
        let begun = BegunRun::connect(run.clone(), settings, config).await?;
        Ok::<_, CliError>((lay_out(&records.of(&run), &begun, pick, settings, config).await?, begun))
    };
    let (stored, begun) = tokio::select! {
        laid_out = laying_out => laid_out?,
        () = stop.reached(Stop::Drain) => return Err(CliError::stopped_early()),
    };
    let run = stored.run_id;
    let ours: Vec<_> = stored.partitions.iter().skip(shard.index).step_by(shard.of).collect();
    if !output.quiet {
        say(&format!(
            "shard {shard} of run {run}: {} of {} partitions; reports of the whole run: fleetlogs fan-in {run}\n",
            ours.len(),
            stored.partitions.len()
        ));
    }
    let mut is_anything_left = false;
    for partition in &ours {
        is_anything_left |= !is_over(&records.of(&run).partition(partition.name.as_str())).await?;
    }
    if !ours.is_empty() && !is_anything_left && !output.quiet {
        let since = timestamp::text(stored.created_at);
        say(&format!(
            "nothing is left to do: the run of key `{key}` began at {since}; a new run needs a new key\n"
        ));
    }
    let queue = LocalQueue::default();
    for partition in &ours {
        queue.put(&WorkItem { run: run.clone(), partition: partition.name.clone() });
    }
    let how = worker_settings(settings);
    let partitions = Partitions {
        fleet: &begun.fleet,
        settings,
        records: &records,
        config: &recorded_config(config),
        at_once: how.at_once,
    };
    let end = work(&queue, &partitions, &how, Clock::System, stop).await;
    end.map_err(|failure| CliError::not_done(Refusal::without_help(failure.to_string())))?;
    let names: Vec<_> = ours.into_iter().map(|partition| partition.name.clone()).collect();
    let ends = ends_of(&records, &run, &names).await?;
    let outcome = outcome_of(&ends);
    if output.json {
        let next = format!("fleetlogs fan-in {run}");
        let partitions =
            ends.iter().map(|(name, outcome)| Partition { name: name.as_str(), outcome: *outcome });
        let document = Document {
            schema: "fleetlogs.shard/v1",
            end: EndOfCommand::with(
                outcome.into(),
                "partitions of this shard are not complete",
                [next.clone()],
            ),
            run_id: run.as_str(),
            shard: shard.to_string(),
            outcome,
            partitions: partitions.collect(),
            next,
        };
        print(&as_json(&document)?)?;
    } else if !output.quiet {
        for (name, outcome) in &ends {
            say(&format!("partition {name}: {outcome}\n"));
        }
    }
    begun.fleet.end().await;
    Ok(outcome.into())
}

/// The record of the run. It is laid out if no other shard has done so.
async fn lay_out(
    record: &BlobRunStore,
    begun: &BegunRun,
    pick: &Pick,
    settings: &Settings,
    config: &Path,
) -> Result<StoredRun, CliError> {
    if let Some(stored) = record.find_stored_run().await? {
        return Ok(stored);
    }
    let BegunRun { fleet, run_id, destination, .. } = begun;
    let seed = match record.plan().await {
        // Another shard is about to lay it out, or died before it had.
        Ok(stored) => stored.plan,
        Err(error) if error.kind == JournalErrorKind::NoPlan => {
            if destination.is_created() {
                destination.create().await?;
            }
            Fleet::empty_plan(settings, (run_id, &destination.url()))
        }
        Err(error) => return Err(error.into()),
    };
    let config = recorded_config(config);
    for unlisted in fleet.unlisted_accounts() {
        let plan = Plan { accounts: vec![unlisted.clone()], ..seed.head() };
        record.partition(unlisted.name.as_str()).lay_out_unless_planned(&plan, &config).await?;
    }
    let accounts =
        fleet.accounts().iter().map(|account| partition(account.planned.name.clone(), account.site.clone()));
    let unlisted = fleet.unlisted_accounts().iter().map(|account| partition(account.name.clone(), None));
    let partitions: Vec<_> = accounts.chain(unlisted).collect();
    match record.lay_out_whole(&seed, &config, &partitions, Some(StoredPick::of(pick).to_json()?)).await {
        // Another shard was faster, and found other accounts in the subscriptions.
        Err(error) if error.kind == JournalErrorKind::OtherPlan => {}
        laid_out => laid_out?,
    }
    Ok(record.stored_run().await?)
}

/// How each partition ended.
async fn ends_of(
    records: &RunRecords,
    run: &RunId,
    names: &[AccountName],
) -> Result<Vec<(AccountName, RunOutcome)>, CliError> {
    let mut ends = vec![];
    for name in names {
        let store = records.of(run).partition(name.as_str());
        let outcome = match RecordedRun::open(&store, RunClaim::Watch).await {
            Ok(recorded) => run_facts(&*recorded.journal, &recorded.plan, &recorded.ledger()?)?.outcome,
            // Nobody could plan it.
            Err(error) if matches!(error.kind, JournalErrorKind::NoPlan | JournalErrorKind::Missing) => {
                RunOutcome::Interrupted
            }
            Err(error) => return Err(error.into()),
        };
        ends.push((name.clone(), outcome));
    }
    Ok(ends)
}

/// What can be resumed comes first: whoever starts the shard again continues it.
fn outcome_of(ends: &[(AccountName, RunOutcome)]) -> RunOutcome {
    let has = |wanted: RunOutcome| ends.iter().any(|(_, outcome)| *outcome == wanted);
    match () {
        () if has(RunOutcome::Interrupted) => RunOutcome::Interrupted,
        () if has(RunOutcome::BudgetSpent) => RunOutcome::BudgetSpent,
        () if ends.iter().all(|(_, outcome)| *outcome == RunOutcome::Complete) => RunOutcome::Complete,
        () if ends.iter().all(|(_, outcome)| *outcome == RunOutcome::NothingCollected) => {
            RunOutcome::NothingCollected
        }
        () => RunOutcome::Partial,
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    #[serde(flatten)]
    end: EndOfCommand,
    run_id: &'a str,
    shard: String,
    outcome: RunOutcome,
    partitions: Vec<Partition<'a>>,
    /// Brings the run together, and reports.
    next: String,
}

#[derive(Serialize)]
struct Partition<'a> {
    name: &'a str,
    outcome: RunOutcome,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(shard: Option<&str>, key: Option<&str>, variables: &[(&str, &str)]) -> Result<String, String> {
        let args = ShardArgs { shard: shard.map(|text| text.parse().unwrap()), key: key.map(str::to_owned) };
        let variable = |name: &str| {
            variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
        };
        match args.wanted_in(variable) {
            Ok(Some((shard, key))) => Ok(format!("{shard} {key}")),
            Ok(None) => Ok("alone".to_owned()),
            Err(error) => Err(error.describe()),
        }
    }

    #[test]
    fn a_shard_is_named_by_options_or_by_its_pod() {
        let pod = [(INDEX, "2"), (COMPLETIONS, "4"), (KEY, "uid")];
        assert_eq!(wanted(Some("0/4"), Some("k"), &[]).unwrap(), "0/4 k");
        assert_eq!(wanted(None, None, &pod).unwrap(), "2/4 uid");
        assert_eq!(wanted(Some("1/3"), Some("k"), &pod).unwrap(), "1/3 k");
        assert_eq!(wanted(None, None, &[]).unwrap(), "alone");
        assert_eq!(wanted(Some("0/1"), None, &[]).unwrap(), "alone");
        assert_eq!(wanted(Some("0/1"), None, &[(INDEX, "0")]).unwrap(), "alone");
        assert_eq!(wanted(None, None, &[(COMPLETIONS, "4")]).unwrap(), "alone", "no pod of an Indexed Job");
    }

    #[test]
    fn pods_that_would_all_call_every_node_are_refused() {
        assert!(wanted(None, None, &[(INDEX, "0")]).unwrap_err().contains(COMPLETIONS));
        assert!(wanted(Some("0/4"), None, &[]).unwrap_err().contains(KEY));
        assert!(
            wanted(None, None, &[(INDEX, "4"), (COMPLETIONS, "4"), (KEY, "u")]).unwrap_err().contains("3/4")
        );
        assert!(wanted(None, Some("k"), &[]).unwrap_err().contains("--shard"));
        assert!(wanted(Some("0/4"), Some("a b/.."), &[]).unwrap_err().contains("`a b/..` is no key"));
        for wrong in ["", "1", "a/b", "4/4", "0/0", "-1/2"] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_shard_ends_as_its_partitions_did() {
        use RunOutcome::{BudgetSpent, Complete, Interrupted, NothingCollected, Partial};
        for (ends, outcome) in [
            (vec![], Complete),
            (vec![Complete, Complete], Complete),
            (vec![Complete, NothingCollected], Partial),
            (vec![NothingCollected, NothingCollected], NothingCollected),
            (vec![Partial, BudgetSpent], BudgetSpent),
            (vec![BudgetSpent, Interrupted, Complete], Interrupted),
        ] {
            let named: Vec<_> = ends.iter().map(|end| (AccountName::new("a"), *end)).collect();
            assert_eq!(outcome_of(&named), outcome, "{ends:?}");
        }
    }
}
