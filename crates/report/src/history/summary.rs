//! What a manifest says about its run as a whole. Nothing behind its accounts is read, whatever its size.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use fleetlogs_model::ids::RunId;
use fleetlogs_model::json_stream::JsonStream;
use fleetlogs_model::outcome::{Outcome, OutcomeCounts, RunOutcome};
use fleetlogs_model::snapshot::SnapshotRef;
use serde::Deserialize;
use serde::de::{self, IgnoredAny};
use time::OffsetDateTime;

use super::manifest::{AccountText, HistoryError, Members, read};
use crate::manifest::MANIFEST_VERSION;

/// How a run went, by its manifest.
#[derive(Clone, Debug)]
pub struct RunSummary {
    /// The run.
    pub run_id: RunId,
    /// The snapshot that it belongs to; none for a run that was started by hand.
    pub snapshot: Option<SnapshotRef>,
    /// How it ended.
    pub outcome: RunOutcome,
    /// When its first process started.
    pub started_at: OffsetDateTime,
    /// When its last one ended.
    pub ended_at: OffsetDateTime,
    /// How its nodes ended.
    pub counts: OutcomeCounts,
    /// How many of them were collected.
    pub collected: u64,
    /// Accounts that could not be listed.
    pub not_listed: u64,
}

/// Reads what a `manifest.json` says about its run as a whole.
///
/// # Errors
/// The file cannot be read, or is not a manifest of this version.
pub fn read_summary(path: &Path) -> Result<RunSummary, HistoryError> {
    let mut found = SummaryMembers::default();
    let read = read(path, &mut found);
    if let Some(schema) = found.schema.filter(|schema| schema != MANIFEST_VERSION) {
        return Err(HistoryError::Schema(schema));
    }
    let SummaryMembers { run_id, snapshot, outcome, times, verification, counts, not_listed, .. } = found;
    let [started_at, ended_at] = times;
    let whole =
        run_id.zip(outcome).zip(started_at.zip(ended_at)).zip(verification.zip(counts).zip(not_listed));
    let Some((((run_id, outcome), (started_at, ended_at)), ((verified, counts), not_listed))) = whole else {
        let lacking = || <serde_json::Error as de::Error>::custom("a member is missing");
        return Err(read.err().unwrap_or_else(|| lacking().into()));
    };
    let collected = counts.collected(verified);
    Ok(RunSummary { run_id, snapshot, outcome, started_at, ended_at, counts, collected, not_listed })
}

#[derive(Default)]
struct SummaryMembers {
    schema: Option<String>,
    run_id: Option<RunId>,
    snapshot: Option<SnapshotRef>,
    outcome: Option<RunOutcome>,
    /// Start and end.
    times: [Option<OffsetDateTime>; 2],
    verification: Option<bool>,
    counts: Option<OutcomeCounts>,
    not_listed: Option<u64>,
}

#[derive(Deserialize)]
struct VerificationText {
    enabled: bool,
}

#[derive(Deserialize)]
struct Time(#[serde(with = "fleetlogs_model::timestamp::exact")] OffsetDateTime);

impl Members for SummaryMembers {
    fn member(&mut self, name: &str, manifest: &mut JsonStream<impl Read>) -> Result<(), serde_json::Error> {
        match name {
            "schema" => self.schema = Some(manifest.value()?),
            "run_id" => self.run_id = Some(manifest.value()?),
            "snapshot" => self.snapshot = manifest.value()?,
            "outcome" => self.outcome = Some(manifest.value()?),
            "started_at" => self.times[0] = Some(manifest.value::<Time>()?.0),
            "ended_at" => self.times[1] = Some(manifest.value::<Time>()?.0),
            "verification" => self.verification = Some(manifest.value::<VerificationText>()?.enabled),
            "counts" => {
                let read: BTreeMap<String, u64> = manifest.value()?;
                let mut counts = OutcomeCounts::default();
                for outcome in Outcome::ALL {
                    counts.add_many(outcome, read.get(outcome.as_str()).copied().unwrap_or_default());
                }
                self.counts = Some(counts);
            }
            "accounts" => {
                let mut not_listed = 0;
                manifest.items(|account: AccountText| {
                    not_listed += u64::from(account.is_unlisted());
                    Ok(())
                })?;
                self.not_listed = Some(not_listed);
            }
            // Everything needed stands before them.
            "pools" | "nodes" => return Err(de::Error::custom("the rest is not asked for")),
            _ => {
                manifest.value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}
