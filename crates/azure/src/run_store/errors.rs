//! What a failure of storage means for whoever opens a run, or appends to it.

use std::io;

use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::run_store::{JournalError, JournalErrorKind};

use super::blobs::RunBlobs;

/// A call about the run failed.
pub(super) fn failed(blobs: &RunBlobs, failure: &Failure) -> JournalError {
    let what = format!("the run `{}` in Blob storage cannot be used: {failure}", blobs.dir);
    let help = match failure.class {
        class if class.is_passing() => {
            return JournalError::new(JournalErrorKind::Failed, what)
                .with_help("check the storage account's name, DNS, proxy and the storage firewall");
        }
        FailureClass::Gone => "create the container first; fleetlogs creates only the blobs in it",
        FailureClass::Auth => {
            "grant read, create, write and list (sp=rcwl) on the container, or the role Storage Blob Data Contributor"
        }
        _ => return JournalError::new(JournalErrorKind::Failed, what),
    };
    JournalError::new(JournalErrorKind::Unsuitable, what).with_help(help)
}

/// The temporary file that a text is in on its way failed.
#[expect(clippy::needless_pass_by_value, reason = "it is what an error is mapped with")]
pub(super) fn spool_failed(error: io::Error) -> JournalError {
    JournalError::new(JournalErrorKind::Failed, format!("a temporary file cannot be used: {error}"))
}

/// Another process works on the run, as far as anybody can tell.
pub(super) fn busy(blobs: &RunBlobs, holder: Option<&str>, lease_seconds: u64) -> JournalError {
    let holder = holder.map(|holder| format!(" ({holder})")).unwrap_or_default();
    let what = format!("another process{holder} works on the run `{}` in Blob storage", blobs.dir);
    JournalError::new(JournalErrorKind::Busy, what).with_help(format!(
        "wait for it to end; if it was killed, its lease ends after {lease_seconds} seconds at most"
    ))
}

/// Another process took the run over.
pub(super) fn taken_over(blobs: &RunBlobs) -> JournalError {
    let what = format!("another process took over the run `{}` in Blob storage", blobs.dir);
    JournalError::new(JournalErrorKind::TakenOver, what)
}

/// There is no run, or it has no journal yet.
pub(super) fn missing(blobs: &RunBlobs) -> JournalError {
    JournalError::new(
        JournalErrorKind::Missing,
        format!("there is no journal in `{}` in Blob storage", blobs.dir),
    )
}

/// The journal was changed by something else.
pub(super) fn damaged(blobs: &RunBlobs, blob: &str, detail: &str) -> JournalError {
    let what = format!("the journal `{}/{blob}` in Blob storage is damaged: {detail}", blobs.dir);
    JournalError::new(JournalErrorKind::Damaged, what)
        .with_help("nothing was written to it; look at the blob, its snapshots and its versions")
}
