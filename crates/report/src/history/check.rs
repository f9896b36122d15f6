//! Checks whether a manifest is consistent: one that was cut, changed or put together by hand proves nothing.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use fleetlogs_model::json_stream::JsonStream;
use fleetlogs_model::outcome::Outcome;
use fleetlogs_model::window::Window;
use serde::Deserialize;
use serde::de::{Error as _, IgnoredAny};
use time::{Duration, OffsetDateTime};

use super::manifest::{HistoryError, Members, NodeText, read};
use crate::manifest::MANIFEST_VERSION;

/// How far the clock of a machine may be set back during a run.
const CLOCK_TOLERANCE: Duration = Duration::MINUTE;

/// Reads a manifest to its end and checks that its nodes, counts and times are consistent.
pub(super) fn check(path: &Path) -> Result<(), HistoryError> {
    let mut seen = ManifestTotals::default();
    let read = read(path, &mut seen);
    // Another version may have other members.
    if let Some(schema) = seen.schema.as_ref().filter(|schema| *schema != MANIFEST_VERSION) {
        return Err(HistoryError::Schema(schema.clone()));
    }
    read?;
    let ManifestTotals { schema: Some(_), counts: Some(counts), ended: Some(Rfc3339Time(ended)), .. } = &seen
    else {
        return Err(serde_json::Error::custom("it has no schema, no counts or no end time").into());
    };
    let disagreeing =
        || Outcome::ALL.into_iter().find(|outcome| counts.of(outcome.as_str()) != seen.of(*outcome));
    let planned = seen.nodes.values().sum::<u64>();
    Err(HistoryError::Contradiction(if counts.of("planned") != planned {
        format!("it counts {} nodes, but lists {planned}", counts.of("planned"))
    } else if let Some(outcome) = disagreeing() {
        format!(
            "it counts {} nodes as {outcome}, but lists {}",
            counts.of(outcome.as_str()),
            seen.of(outcome)
        )
    } else if seen.is_reversed {
        "a time window ends before it begins".into()
    } else if seen.latest.is_some_and(|latest| latest > *ended + CLOCK_TOLERANCE) {
        "a time window ends after the run".into()
    } else {
        return Ok(());
    }))
}

/// Totals of a manifest. The size does not depend on the number of nodes.
#[derive(Default)]
struct ManifestTotals {
    schema: Option<String>,
    counts: Option<Counts>,
    ended: Option<Rfc3339Time>,
    nodes: BTreeMap<Outcome, u64>,
    /// The latest end of a time window.
    latest: Option<OffsetDateTime>,
    is_reversed: bool,
}

#[derive(Deserialize)]
struct Counts(BTreeMap<String, u64>);

impl Counts {
    fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }
}

#[derive(Deserialize)]
struct Rfc3339Time(#[serde(with = "fleetlogs_model::timestamp")] OffsetDateTime);

impl ManifestTotals {
    fn of(&self, outcome: Outcome) -> u64 {
        self.nodes.get(&outcome).copied().unwrap_or_default()
    }

    fn window(&mut self, window: Window) {
        self.is_reversed |= window.end < window.start;
        self.latest = self.latest.max(Some(window.end));
    }
}

impl Members for ManifestTotals {
    fn member(&mut self, name: &str, manifest: &mut JsonStream<impl Read>) -> Result<(), serde_json::Error> {
        match name {
            "schema" => self.schema = Some(manifest.value()?),
            "counts" => self.counts = Some(manifest.value()?),
            "ended_at" => self.ended = Some(manifest.value()?),
            "window" => self.window(manifest.value()?),
            "nodes" => manifest.items(|node: NodeText| {
                *self.nodes.entry(node.outcome).or_default() += 1;
                if let Some(window) = node.window {
                    self.window(window);
                }
                Ok(())
            })?,
            _ => {
                manifest.value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}
