//! `run.json`: what is stored about a run besides plan and journal. A run is there as soon as this blob is.
//!
//! A run can be laid out for others: then it has no journal until a process takes it. And it can be shared out: then it
//! has only a plan without accounts, and each of its partitions is a run of its own in a directory under it.

use azure_core::Bytes;
use fleetlogs_model::ids::{AccountName, RunId};
use fleetlogs_model::plan::Plan;
use fleetlogs_model::run_store::{JournalError, JournalErrorKind};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::blobs::{PIECE, patiently};
use super::plan_blob::{WrittenPlan, write_plan};
use super::{BlobRunStore, errors, this_process};
use crate::redact::one_line;

pub(super) const RUN: &str = "run.json";

/// Version of `run.json` and of the lines of the journal.
const SCHEMA: &str = "fleetlogs.stored-run/v1";

/// What `run.json` says about a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredRun {
    /// [`SCHEMA`].
    schema: String,
    /// The run.
    pub run_id: RunId,
    /// SHA-256 of its plan's text, in hex.
    pub plan_sha256: String,
    /// Path of the config that the run was started with.
    pub config: String,
    /// When.
    #[serde(with = "fleetlogs_model::timestamp")]
    pub created_at: OffsetDateTime,
    /// Which process created it.
    pub created_by: String,
    /// Account, container and directory; tells a run from its copy.
    pub(super) place: String,
    /// It was laid out for whoever takes it, and may have no journal yet. Any other run without a journal has lost it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) awaits_worker: bool,
    /// The parts that the run is shared out in, in the order of its plan. Each is a run of its own, in a directory of
    /// its name under `p`. Empty for a run that one process does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partitions: Vec<StoredPartition>,
    /// Which part of the fleet the run is about, as the command that shared it out said it: a partition may be planned
    /// later, on another machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pick: Option<serde_json::Value>,
}

/// A part of a run that is shared out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredPartition {
    /// The Batch account.
    pub name: AccountName,
    /// The site whose workers plan it and work on it. None if any worker may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
}

impl StoredRun {
    /// The text of `run.json`.
    pub(super) fn text(&self) -> Result<Bytes, JournalError> {
        let text = serde_json::to_vec_pretty(self).map_err(|error| {
            JournalError::new(JournalErrorKind::Failed, format!("run.json cannot be written: {error}"))
        })?;
        Ok(text.into())
    }
}

impl BlobRunStore {
    /// What `run.json` says.
    ///
    /// # Errors
    /// There is no run ([`JournalErrorKind::Missing`]), or it is of another version.
    pub async fn stored_run(&self) -> Result<StoredRun, JournalError> {
        let text = patiently(|| self.blobs.range(RUN, 0, PIECE)).await;
        let text = text.map_err(|failure| errors::failed(&self.blobs, &failure))?;
        let text = text.ok_or_else(|| errors::missing(&self.blobs))?;
        let damaged = |error: serde_json::Error| errors::damaged(&self.blobs, RUN, &error.to_string());
        let value: serde_json::Value = serde_json::from_slice(&text).map_err(damaged)?;
        match value.get("schema").and_then(|schema| schema.as_str()) {
            Some(SCHEMA) => serde_json::from_value(value).map_err(damaged),
            other => {
                let found = other.map_or_else(|| "no schema".to_owned(), |other| one_line(other, 100));
                let what = format!(
                    "`{}/{RUN}` in Blob storage has {found}, but this fleetlogs reads {SCHEMA}",
                    self.blobs.dir
                );
                Err(JournalError::new(JournalErrorKind::OtherFormat, what))
            }
        }
    }

    /// The same; none if there is no run.
    ///
    /// # Errors
    /// It is of another version, or storage cannot be used.
    pub async fn find_stored_run(&self) -> Result<Option<StoredRun>, JournalError> {
        match self.stored_run().await {
            Err(error) if error.kind == JournalErrorKind::Missing => Ok(None),
            stored => stored.map(Some),
        }
    }

    /// Writes `plan.json` and `run.json`, durably, for whoever takes the run; no journal yet. Repeating it with the same
    /// plan changes nothing.
    ///
    /// # Errors
    /// They cannot be written, or there is another plan.
    pub async fn lay_out(&self, plan: &Plan, config: &str) -> Result<(), JournalError> {
        let written = self.write_only_plan(plan).await?;
        self.write_run(StoredRun { awaits_worker: true, ..self.run_of(plan, written, config).await? }).await
    }

    /// The same, but a plan that is there already counts instead of this one. So several processes may plan a run, and
    /// one that died halfway leaves nothing that is in the way.
    ///
    /// # Errors
    /// They cannot be written.
    pub async fn lay_out_unless_planned(&self, plan: &Plan, config: &str) -> Result<(), JournalError> {
        let written = write_plan(&self.blobs, plan).await?;
        self.write_run(StoredRun { awaits_worker: true, ..self.run_of(plan, written, config).await? }).await
    }

    /// Lays out a run that is shared out. Its plan says what the partitions have in common, and has no accounts. A plan
    /// that is there already counts instead, as in [`lay_out_unless_planned`](Self::lay_out_unless_planned).
    ///
    /// # Errors
    /// They cannot be written, or the run that is there is shared out in another way.
    pub async fn lay_out_whole(
        &self,
        seed: &Plan,
        config: &str,
        partitions: &[StoredPartition],
        pick: Option<serde_json::Value>,
    ) -> Result<(), JournalError> {
        let written = write_plan(&self.blobs, seed).await?;
        let run = self.run_of(seed, written, config).await?;
        self.write_run(StoredRun { partitions: partitions.to_vec(), pick, ..run }).await
    }

    /// The same as [`lay_out`](Self::lay_out) for a run that this process begins at once.
    pub(super) async fn lay_out_for_this_process(
        &self,
        plan: &Plan,
        config: &str,
    ) -> Result<(), JournalError> {
        let written = self.write_only_plan(plan).await?;
        self.write_run(self.run_of(plan, written, config).await?).await
    }

    async fn write_only_plan(&self, plan: &Plan) -> Result<WrittenPlan, JournalError> {
        let written = write_plan(&self.blobs, plan).await?;
        if !written.is_ours {
            let what = format!("`{}` in Blob storage already has another plan", self.blobs.dir);
            return Err(JournalError::new(JournalErrorKind::Unsuitable, what));
        }
        Ok(written)
    }

    async fn run_of(
        &self,
        plan: &Plan,
        written: WrittenPlan,
        config: &str,
    ) -> Result<StoredRun, JournalError> {
        let place = self.blobs.place().await.map_err(|failure| errors::failed(&self.blobs, &failure))?;
        Ok(StoredRun {
            schema: SCHEMA.into(),
            run_id: plan.run_id.clone(),
            plan_sha256: written.digest,
            config: config.into(),
            created_at: OffsetDateTime::now_utc(),
            created_by: this_process(),
            place,
            awaits_worker: false,
            partitions: vec![],
            pick: None,
        })
    }

    async fn write_run(&self, run: StoredRun) -> Result<(), JournalError> {
        let text = run.text()?;
        let created = patiently(|| self.blobs.create(RUN, text.clone(), &[])).await;
        if !created.map_err(|failure| errors::failed(&self.blobs, &failure))? {
            let there = self.stored_run().await?;
            let facts = |run: &StoredRun| {
                (run.run_id.clone(), run.plan_sha256.clone(), run.partitions.clone(), run.pick.clone())
            };
            if facts(&there) != facts(&run) {
                let what = format!("`{}` in Blob storage is another run", self.blobs.dir);
                return Err(JournalError::new(JournalErrorKind::OtherPlan, what));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use fleetlogs_model::event::{EVENTS_VERSION, Event, Recorded};
    use fleetlogs_model::ids::NodeIndex;
    use time::macros::datetime;

    use super::super::journal::journal_blob;
    use super::super::line::write_line;
    use super::super::{OWNER, RUN};
    use super::*;
    use crate::format_lock::{Additions, assert_locked};

    const AT: OffsetDateTime = datetime!(2026-11-22 09:30:00.125 UTC);

    fn run(partitions: Vec<StoredPartition>, pick: Option<serde_json::Value>) -> String {
        let run = StoredRun {
            schema: SCHEMA.into(),
            run_id: RunId::new(AT, 7),
            plan_sha256: "00".into(),
            config: "/srv/fleetlogs/fleetlogs.toml".into(),
            created_at: AT,
            created_by: "process 1".into(),
            place: "logs/logs/fleetlogs/20261122T093000Z-0007".into(),
            awaits_worker: !partitions.is_empty(),
            partitions,
            pick,
        };
        serde_json::to_string(&run).unwrap()
    }

    #[test]
    fn a_run_in_blob_storage_is_locked() {
        let name = AccountName::new("contoso");
        let partitions = vec![
            StoredPartition { name: name.clone(), site: Some("west".into()) },
            StoredPartition { name, site: None },
        ];
        let mut line = vec![];
        let event =
            Recorded { at: AT, node: Some(NodeIndex(17)), event: Event::UploadCancelled { attempt: 2 } };
        write_line(7, &event, &mut line).unwrap();
        let parts = [
            ("blobs", [RUN, OWNER, &journal_blob(1)].join(" ")),
            ("events", format!("version {EVENTS_VERSION}")),
            ("line of the journal", String::from_utf8(line).unwrap().trim_end().to_owned()),
            ("run.json with all", run(partitions, Some(serde_json::json!({ "accounts": ["con*"] })))),
            ("run.json", run(vec![], None)),
        ];
        let form = parts.map(|(name, part)| (name.to_owned(), part)).into();
        let version = SCHEMA.rsplit('/').next().unwrap();
        assert_locked("stored-run", version, &form, &Additions::default());
    }
}
