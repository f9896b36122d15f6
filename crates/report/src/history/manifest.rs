//! Reads manifests as a stream: one may have a hundred thousand nodes, and a series has hundreds of manifests.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use fleetlogs_model::ids::{AccountName, PoolId, RunId};
use fleetlogs_model::interval::Interval;
use fleetlogs_model::json_stream::JsonStream;
use fleetlogs_model::outcome::Outcome;
use fleetlogs_model::plan::{LeftOutReason, PLAN_SCHEMA};
use fleetlogs_model::snapshot::SnapshotRef;
use fleetlogs_model::window::Window;
use serde::de::IgnoredAny;
use serde::{Deserialize, de};
use time::OffsetDateTime;

use crate::manifest::MANIFEST_VERSION;

/// A manifest, or a plan, cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The file cannot be read.
    #[error("its manifest cannot be read: {0}")]
    File(#[from] std::io::Error),
    /// It is not in the form that fleetlogs writes.
    #[error("its manifest is not in the form that fleetlogs writes: {0}")]
    Malformed(#[from] serde_json::Error),
    /// It has a schema that this fleetlogs does not read.
    #[error("its manifest has the schema `{0}`, but this fleetlogs reads `{MANIFEST_VERSION}`")]
    Schema(String),
    /// It is not consistent.
    #[error("its manifest contradicts itself: {0}")]
    Contradiction(String),
}

/// What a manifest or a plan says about the whole run.
#[derive(Clone, Debug)]
pub struct RunHead {
    /// The run.
    pub run_id: RunId,
    /// The snapshot that it belongs to; none for a run that was started by hand.
    pub snapshot: Option<SnapshotRef>,
    /// Covers the time windows of all its nodes. It ends when the run was planned.
    pub(super) window: Interval,
}

/// Reads what a `manifest.json` or a `plan.json` says about the whole run. Nodes are read only if they come first.
pub fn read_head(path: &Path) -> Result<RunHead, HistoryError> {
    let mut found = ManifestHead::default();
    let read = read(path, &mut found);
    if let Some(schema) = found.schema.filter(|schema| ![MANIFEST_VERSION, PLAN_SCHEMA].contains(&&**schema))
    {
        return Err(HistoryError::Schema(schema));
    }
    match (found.run_id, found.window, read) {
        (Some(run_id), Some(window), read) if found.snapshot_told || read.is_ok() => {
            Ok(RunHead { run_id, snapshot: found.snapshot, window: window.into() })
        }
        (_, _, Err(error)) => Err(error),
        _ => Err(<serde_json::Error as de::Error>::custom("it has no run id or no time window").into()),
    }
}

/// Receives the accounts and nodes of a manifest.
pub(super) trait ManifestListener {
    fn account(&mut self, account: AccountText);
    fn node(&mut self, node: NodeText);
    fn left_out(&mut self, left: LeftOutText);
}

/// Passes the accounts and nodes of a manifest to the listener. Check the manifest with [`check`](super::check::check)
/// first.
pub(super) fn read_nodes(path: &Path, hearer: &mut impl ManifestListener) -> Result<(), HistoryError> {
    read(path, &mut ManifestNodes(hearer))
}

pub(super) fn read(path: &Path, into: &mut impl Members) -> Result<(), HistoryError> {
    let mut manifest = JsonStream::open(File::open(path)?)?;
    while let Some(name) = manifest.next_name()? {
        into.member(&name, &mut manifest)?;
    }
    Ok(())
}

/// An account of a manifest.
#[derive(Debug, Deserialize)]
pub(super) struct AccountText {
    pub(super) name: AccountName,
    reason: Option<String>,
    pools: u64,
    planned: u64,
}

impl AccountText {
    /// Whether it could not be listed: it has a reason, and no pools or nodes.
    pub(super) fn is_unlisted(&self) -> bool {
        self.reason.is_some() && self.pools == 0 && self.planned == 0
    }
}

/// A node of a manifest, as far as it is needed here.
#[derive(Debug, Deserialize)]
pub(super) struct NodeText {
    pub(super) account: AccountName,
    pub(super) pool: PoolId,
    pub(super) node: Box<str>,
    pub(super) outcome: Outcome,
    pub(super) reason: Option<Box<str>>,
    #[serde(default, with = "fleetlogs_model::timestamp::exact::option")]
    pub(super) allocation_time: Option<OffsetDateTime>,
    pub(super) window: Option<Window>,
    identity_changed: Option<bool>,
    identity_now: Option<IdentityText>,
}

impl NodeText {
    /// Whether another node had its id in the second look: then the files may belong to either.
    pub(super) fn is_replaced(&self) -> bool {
        let now = self.identity_now.as_ref().and_then(|now| now.allocation_time);
        now.zip(self.allocation_time).is_some_and(|(now, then)| now != then)
    }

    /// Whether its files may be from before a reboot or replacement: in the second look it was replaced, rebooted or
    /// gone.
    pub(super) fn is_another(&self) -> bool {
        self.identity_changed == Some(true) || self.is_replaced()
    }

    /// Whether it was gone in the second look.
    pub(super) fn has_left(&self) -> bool {
        self.identity_changed == Some(true) && self.identity_now.is_none()
    }
}

#[derive(Debug, Deserialize)]
struct IdentityText {
    #[serde(default, with = "fleetlogs_model::timestamp::exact::option")]
    allocation_time: Option<OffsetDateTime>,
}

/// A skipped node or pool.
#[derive(Debug, Deserialize)]
pub(super) struct LeftOutText {
    pub(super) account: AccountName,
    pub(super) pool: PoolId,
    pub(super) node: Option<Box<str>>,
    pub(super) reason: LeftOutReason,
    evidence: Option<IdentityText>,
}

impl LeftOutText {
    pub(super) fn allocation_time(&self) -> Option<OffsetDateTime> {
        self.evidence.as_ref().and_then(|evidence| evidence.allocation_time)
    }
}

/// Receives the members of a manifest one by one.
pub(super) trait Members {
    /// Reads a member, whose name was read.
    fn member(&mut self, name: &str, manifest: &mut JsonStream<impl Read>) -> Result<(), serde_json::Error>;
}

#[derive(Default)]
struct ManifestHead {
    schema: Option<String>,
    run_id: Option<RunId>,
    snapshot: Option<SnapshotRef>,
    /// Whether the member was present; it is null for a run that was started by hand.
    snapshot_told: bool,
    window: Option<Window>,
}

impl Members for ManifestHead {
    fn member(&mut self, name: &str, manifest: &mut JsonStream<impl Read>) -> Result<(), serde_json::Error> {
        match name {
            "schema" => self.schema = Some(manifest.value()?),
            "run_id" => self.run_id = Some(manifest.value()?),
            "snapshot" => (self.snapshot, self.snapshot_told) = (manifest.value()?, true),
            "window" => self.window = Some(manifest.value()?),
            // Everything needed is known, and reading the nodes would take long.
            "nodes" if self.run_id.is_some() && self.snapshot_told && self.window.is_some() => {
                return Err(de::Error::custom("the rest is not asked for"));
            }
            _ => {
                manifest.value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

struct ManifestNodes<'a, H>(&'a mut H);

impl<H: ManifestListener> Members for ManifestNodes<'_, H> {
    fn member(&mut self, name: &str, manifest: &mut JsonStream<impl Read>) -> Result<(), serde_json::Error> {
        match name {
            "accounts" => manifest.items(|account| {
                self.0.account(account);
                Ok(())
            }),
            "nodes" => manifest.items(|node| {
                self.0.node(node);
                Ok(())
            }),
            "left_out" => manifest.items(|left| {
                self.0.left_out(left);
                Ok(())
            }),
            _ => manifest.value::<IgnoredAny>().map(|_| ()),
        }
    }
}
