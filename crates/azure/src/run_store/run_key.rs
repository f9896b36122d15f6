//! A key that stands for a run: processes that were started with the same one, and know nothing of each other, work on
//! the same run.

use std::time::Duration;

use fleetlogs_model::ids::RunId;
use fleetlogs_model::run_store::{JournalError, JournalErrorKind};

use super::blobs::{RunBlobs, patiently};
use super::errors;
use crate::sas_source::SasSource;

/// For one call to storage.
const LIMIT: Duration = Duration::from_secs(15);

const LONGEST: usize = 100;

/// Whether a text may be a key: 1 to 100 letters, digits, `-`, `_` and `.`, and no `.` at its ends, because storage has
/// trouble with names that end with a dot.
#[must_use]
pub fn is_run_key(text: &str) -> bool {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    is_plain && (1..=LONGEST).contains(&text.len()) && !text.starts_with('.') && !text.ends_with('.')
}

/// The run that a key stands for: the first process that asks makes it that of `new_run`, and all get the same. Keys are
/// blobs in the directory `prefix` of the container, so they last as long as the records of runs.
///
/// # Errors
/// It is no key, or storage cannot be used.
pub async fn run_of_key(
    http: reqwest::Client,
    source: SasSource,
    prefix: &str,
    key: &str,
    new_run: &RunId,
) -> Result<RunId, JournalError> {
    if !is_run_key(key) {
        let what = "the key of a run has 1 to 100 letters, digits, `-`, `_` and `.`, and no `.` at its ends";
        return Err(JournalError::new(JournalErrorKind::Unsuitable, what));
    }
    let blobs = RunBlobs::new(http, source, format!("{prefix}/keys"), LIMIT);
    let failed = |failure| errors::failed(&blobs, &failure);
    let new = azure_core::Bytes::copy_from_slice(new_run.as_str().as_bytes());
    if patiently(|| blobs.create(key, new.clone(), &[])).await.map_err(failed)? {
        return Ok(new_run.clone());
    }
    let there = patiently(|| blobs.range(key, 0, LONGEST)).await.map_err(failed)?;
    let there = there.and_then(|text| String::from_utf8(text).ok()).unwrap_or_default();
    // A version that has more to say than an id says it as JSON.
    if there.trim_start().starts_with('{') {
        let what = format!("`{}/{key}` in Blob storage was written by a newer fleetlogs", blobs.dir);
        return Err(JournalError::new(JournalErrorKind::OtherFormat, what)
            .with_help("use the version of fleetlogs that wrote it, or another key"));
    }
    there.trim().parse().map_err(|_| {
        let what = format!("`{}/{key}` in Blob storage does not hold the id of a run", blobs.dir);
        JournalError::new(JournalErrorKind::Damaged, what).with_help("remove the blob, or use another key")
    })
}
