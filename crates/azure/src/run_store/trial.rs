//! Tries out with a blob of its own whether a container can keep the record of a run.

use std::time::Duration;

use azure_core::Bytes;
use fleetlogs_model::failure::{Failure, FailureClass};
use uuid::Uuid;

use super::blobs::RunBlobs;
use crate::own_blobs::LeaseAnswer;
use crate::sas_source::SasSource;
use crate::trial::FailedTrial;

/// The shortest lease there is: if it cannot be released, it ends soon.
const LEASE: Duration = Duration::from_secs(15);

/// How long a call may take.
const LIMIT: Duration = Duration::from_secs(15);

/// Where every trial goes whose blob cannot be deleted, so that at most one stays.
const KEPT: &str = "check.jsonl";

/// What is appended.
const LINE: &[u8] = b"a trial of `fleetlogs check`\n";

/// A trial that went well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobTrial {
    /// The blob that stays in the container, because the SAS does not permit deleting it.
    pub left_behind: Option<String>,
}

/// Does what a run does with its journal, in the directory `dir` of a container: creates, leases and appends to a blob.
/// Then deletes it, if that is permitted.
///
/// # Errors
/// A step failed.
pub async fn try_out_container(
    http: &reqwest::Client,
    source: SasSource,
    dir: &str,
) -> Result<BlobTrial, FailedTrial> {
    let blobs = RunBlobs::new(http.clone(), source, dir.to_owned(), LIMIT);
    let may_delete = blobs.grants('d').await.map_err(FailedTrial::at("get a SAS"))? != Some(false);
    let id = Uuid::new_v4();
    let blob = if may_delete { format!("check-{}.jsonl", id.simple()) } else { KEPT.to_owned() };
    blobs.create_log(&blob, &[]).await.map_err(FailedTrial::at("create a blob"))?;
    let lease = id.to_string();
    match blobs.lease(&blob, &lease, LEASE).await.map_err(FailedTrial::at("lease a blob"))? {
        LeaseAnswer::Ours => {}
        // Another trial is at work with the blob that is kept.
        LeaseAnswer::Theirs => return Ok(BlobTrial { left_behind: Some(format!("{dir}/{blob}")) }),
        LeaseAnswer::NoBlob => return Err(disappeared()),
    }
    let facts = blobs.facts(&blob).await.map_err(FailedTrial::at("look at a blob"))?;
    let Some(facts) = facts else { return Err(disappeared()) };
    let line = Bytes::from_static(LINE);
    blobs.append(&blob, &lease, facts.size, line).await.map_err(FailedTrial::at("append to a blob"))?;
    blobs.release(&blob, &lease).await.map_err(FailedTrial::at("release a lease"))?;
    let is_deleted = may_delete && blobs.delete(&blob).await.is_ok();
    Ok(BlobTrial { left_behind: (!is_deleted).then(|| format!("{dir}/{blob}")) })
}

fn disappeared() -> FailedTrial {
    let failure = Failure::new(FailureClass::Transient, "the blob disappeared right after it was created");
    FailedTrial { step: "create a blob", failure }
}

#[cfg(test)]
mod tests {
    use super::super::fake_storage::{FakeStorage, Fault};
    use super::*;

    async fn tried(storage: &FakeStorage, permissions: &str) -> Result<BlobTrial, FailedTrial> {
        let (http, source) = storage.access_with(permissions);
        try_out_container(&http, source, "fleetlogs").await
    }

    #[tokio::test]
    async fn nothing_stays_of_a_trial_where_deleting_is_permitted() {
        let storage = FakeStorage::start().await;
        assert_eq!(tried(&storage, "rcwdl").await.unwrap(), BlobTrial { left_behind: None });
        assert!(storage.state().blobs.is_empty());
        for action in ["put", "acquire", "append", "release", "delete"] {
            assert_eq!(storage.count(action), 1, "{action}");
        }
        // The text of the SAS says so, but storage refuses.
        storage.fail("delete", [Fault::Refused("403 Forbidden", "AuthorizationPermissionMismatch")]);
        let left_behind = tried(&storage, "rcwdl").await.unwrap().left_behind.unwrap();
        assert_eq!(storage.state().blobs.keys().collect::<Vec<_>>(), [&left_behind]);
    }

    #[tokio::test]
    async fn one_blob_stays_of_all_trials_where_deleting_is_not_permitted() {
        let storage = FakeStorage::start().await;
        for trial in 1..=3 {
            let kept = Some("fleetlogs/check.jsonl".to_owned());
            assert_eq!(tried(&storage, "rcwl").await.unwrap(), BlobTrial { left_behind: kept });
            let state = storage.state();
            let blob = &state.blobs["fleetlogs/check.jsonl"];
            assert_eq!((blob.content.len(), state.blobs.len()), (LINE.len() * trial, 1));
            assert!(blob.lease.is_none());
        }
        // While another trial is at work.
        storage.state().blobs.get_mut("fleetlogs/check.jsonl").unwrap().lease = Some("another".into());
        assert!(tried(&storage, "rcwl").await.unwrap().left_behind.is_some());
        assert_eq!((storage.count("append"), storage.count("delete")), (3, 0));
    }

    #[tokio::test]
    async fn the_step_that_is_not_permitted_is_named() {
        for (action, step) in
            [("put", "create a blob"), ("acquire", "lease a blob"), ("append", "append to a blob")]
        {
            let storage = FakeStorage::start().await;
            storage.fail(action, [Fault::Refused("403 Forbidden", "AuthorizationPermissionMismatch")]);
            let failed = tried(&storage, "rcwdl").await.unwrap_err();
            assert_eq!((failed.step, failed.failure.class), (step, FailureClass::Auth));
        }
    }
}
