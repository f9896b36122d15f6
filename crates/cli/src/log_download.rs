//! Downloads the logs of a run from its container into the run directory, below `logs/`.
//!
//! Downloaded files are kept, so that a second attempt downloads only what is missing. Beside a partial file stands its
//! version (etag), and the rest is requested only if the blob still has that version.

mod file;
mod on_disk;
mod patience;

use std::path::Path;
use std::time::Duration;

use fleetlogs_azure::{AzureLogStore, fell_silent};
use fleetlogs_model::count::counted;
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::hex::hex;
use fleetlogs_model::retry::{CallError, RetryPolicy, persistently};
use fleetlogs_model::service::{Blob, LogStore};
use fleetlogs_model::whole_file::WholeFile;
use fleetlogs_report::{
    DistinctPaths, DownloadedLogs, LOGS_FILE, LogFile, NodeDirectory, Notes, blob_path, logs_dir,
    node_directories,
};
use futures::StreamExt as _;
use tokio::time::{sleep, timeout_at};

use self::file::{DownloadError, LocalFile};
use self::on_disk::{keep, list_file};
use self::patience::{Brought, LONGEST, Patience};

/// Nodes whose files are downloaded side by side. Storage gives each connection some tens of megabytes a second.
const NODES_AT_ONCE: usize = 8;

/// How calls to storage are retried.
const RETRY: RetryPolicy =
    RetryPolicy { attempts: 5, base_delay: Duration::from_millis(500), max_delay: LONGEST_PAUSE };

/// The longest pause, even if storage asks for more.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Pages of the listing of one node: half a million files.
const MOST_PAGES: usize = 100;

/// Downloads the files of every node that has a directory, and writes the list of them. Adds a note for everything that
/// cannot be downloaded.
pub(crate) async fn fetch_logs(
    store: &AzureLogStore,
    run_dir: &Path,
    notes: &mut Notes,
) -> std::io::Result<DownloadedLogs> {
    let mut taken = DownloadedLogs::default();
    let mut list = WholeFile::create(run_dir, LOGS_FILE)?;
    let patience = Patience::new();
    let mut fetching = futures::stream::iter(node_directories(run_dir)?)
        .map(async |node| {
            let node = node?;
            let fetched = timeout_at(patience.until, fetch_node(store, run_dir, &node, &patience)).await;
            let fetched = fetched.unwrap_or_else(|_| {
                let message = format!("the downloads took longer than {} hours", LONGEST.as_secs() / 3600);
                Err(Failure::new(FailureClass::Transient, message))
            });
            std::io::Result::Ok((node, fetched))
        })
        // In the order of the plan, so that the same files give the same list.
        .buffered(NODES_AT_ONCE);
    let mut done = 0;
    while let Some(fetched) = fetching.next().await {
        let (node, fetched) = fetched?;
        let at = format!("{}/{}/{}", node.account, node.pool, node.node);
        let fetched = match fetched {
            Ok(fetched) => fetched,
            Err(failure) => {
                // Stop the other downloads, so that nothing changes on disk any more.
                drop(fetching);
                notes.add(format!(
                    "no log was downloaded from {at} on, because every further download would fail: {failure}"
                ));
                let rest = node_directories(run_dir)?.skip(done);
                keep(run_dir, rest, &mut list, &mut taken)?.note(notes);
                break;
            }
        };
        done += 1;
        for problem in fetched.problems {
            notes.add(format!("logs of {at}: {problem}"));
        }
        for file in fetched.files {
            taken.without_md5 += u64::from(file.md5.is_none());
            list_file(&file, &mut list, &mut taken)?;
        }
    }
    list.commit()?;
    Ok(taken)
}

/// Uses the complete logs in the run directory, if the container cannot be reached. None if there are none. Adds a note
/// for everything that is missing.
pub(crate) fn keep_logs(run_dir: &Path, notes: &mut Notes) -> std::io::Result<Option<DownloadedLogs>> {
    let mut taken = DownloadedLogs::default();
    let mut list = WholeFile::create(run_dir, LOGS_FILE)?;
    let kept = keep(run_dir, node_directories(run_dir)?, &mut list, &mut taken)?;
    if taken.files == 0 {
        return Ok(None);
    }
    kept.note(notes);
    list.commit()?;
    Ok(Some(taken))
}

/// The downloaded files of one node.
#[derive(Default)]
struct NodeFiles {
    files: Vec<LogFile>,
    problems: Vec<String>,
}

/// Downloads the files of one node. An error means that every other node would fail in the same way.
async fn fetch_node(
    store: &AzureLogStore,
    run_dir: &Path,
    node: &NodeDirectory,
    patience: &Patience,
) -> Result<NodeFiles, Failure> {
    let mut fetched = NodeFiles::default();
    let prefix = format!("{}/", node.directory.trim_end_matches('/'));
    if prefix == "/" {
        fetched.problems.push("the name of its directory is empty".into());
        return Ok(fetched);
    }
    let blobs = match list(store, &prefix).await {
        Ok(blobs) => blobs,
        Err(failure) if concerns_all(&failure) => return Err(failure),
        Err(failure) => {
            let silent = fell_silent(&failure);
            if patience.is_over(if silent { Brought::Silence } else { Brought::Nothing }) {
                return Err(failure);
            }
            fetched.problems.push(format!("its directory could not be listed: {failure}"));
            return Ok(fetched);
        }
    };
    patience.went_well();
    let bytes = blobs.iter().fold(0_u64, |bytes, blob| bytes.saturating_add(blob.size));
    let count = blobs.len() as u64;
    if let Some((seen, seen_bytes)) = node.seen.filter(|seen| *seen != (count, bytes)) {
        fetched.problems.push(format!(
            "the container has {} ({bytes} bytes), but the run saw {} ({seen_bytes} bytes)",
            counted(count, "file"),
            counted(seen, "file")
        ));
    }
    let dir = logs_dir(&node.account, &node.pool, &node.node);
    let mut paths = DistinctPaths::default();
    for blob in blobs {
        let name = blob_path(&blob.name[prefix.len()..]);
        let local = LocalFile::new(run_dir, paths.distinct(&format!("{dir}/{name}")));
        match fetch_blob(store, &blob.name, &local).await {
            Ok(version) => {
                patience.went_well();
                fetched.files.push(LogFile {
                    account: node.account.clone(),
                    pool: node.pool.clone(),
                    node: node.node.clone(),
                    file: local.name,
                    bytes: version.size,
                    etag: version.etag,
                    md5: version.md5.map(|md5| hex(&md5)),
                    blob: blob.name,
                });
            }
            Err(DownloadError::Failed(failure)) if concerns_all(&failure) => return Err(failure),
            Err(trouble) => {
                let is_over = patience.is_over(local.brought(&trouble));
                let said = format!("`{}`: {trouble}", blob.name);
                if is_over {
                    return Err(Failure::new(FailureClass::Transient, said));
                }
                fetched.problems.push(said);
            }
        }
    }
    Ok(fetched)
}

/// Lists all blobs of a directory, by name.
async fn list(store: &impl LogStore, prefix: &str) -> Result<Vec<Blob>, Failure> {
    let mut blobs = vec![];
    let mut markers: Vec<String> = vec![];
    loop {
        let page = retried(|| store.list(prefix, markers.last().map(String::as_str))).await?;
        blobs.extend(page.blobs.into_iter().filter(|blob| blob.name.starts_with(prefix)));
        let Some(next) = page.next else { return Ok(blobs) };
        if markers.len() >= MOST_PAGES || markers.contains(&next) {
            return Err(Failure::new(FailureClass::Refused, "the listing has no end: its pages loop"));
        }
        markers.push(next);
    }
}

async fn fetch_blob(
    store: &AzureLogStore,
    blob: &str,
    local: &LocalFile,
) -> Result<fleetlogs_azure::BlobVersion, DownloadError> {
    retried(|| local.fetch(store, blob)).await
}

/// Makes a call to storage, and retries it while the failure may pass.
async fn retried<T, E: CallError, C: Future<Output = Result<T, E>>>(call: impl FnMut() -> C) -> Result<T, E> {
    let pause = |attempt, failure: &Failure| patience::pause(&RETRY, LONGEST_PAUSE, attempt, failure);
    persistently(call, pause, sleep).await
}

/// Whether every other call would fail in the same way.
fn concerns_all(failure: &Failure) -> bool {
    matches!(failure.class, FailureClass::NotSent | FailureClass::Auth | FailureClass::Gone)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use fleetlogs_model::service::BlobPage;

    use super::*;

    /// Every page has a blob and the marker that this function names.
    struct Endless<F>(F, AtomicUsize);

    impl<F: Fn(usize) -> String + Send + Sync + 'static> LogStore for Endless<F> {
        async fn list(&self, _: &str, _: Option<&str>) -> Result<BlobPage, Failure> {
            let page = self.1.fetch_add(1, Ordering::Relaxed);
            let blobs = vec![Blob { name: format!("d/{page}"), size: 1, created_at: None }];
            Ok(BlobPage { blobs, next: Some(self.0(page)), ..BlobPage::default() })
        }
    }

    #[tokio::test]
    async fn a_listing_without_an_end_ends() {
        async fn pages<F: Fn(usize) -> String + Send + Sync + 'static>(next: F) -> usize {
            let store = Endless(next, AtomicUsize::new(0));
            let failure = list(&store, "d/").await.unwrap_err();
            assert_eq!(failure.class, FailureClass::Refused, "{failure}");
            store.1.into_inner()
        }
        assert_eq!(pages(|_| "a".into()).await, 2);
        assert_eq!(pages(|page| ["a", "b"][page % 2].into()).await, 3);
        assert_eq!(pages(|page| page.to_string()).await, MOST_PAGES + 1);
    }
}
