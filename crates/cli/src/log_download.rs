//! Downloads the logs of a run from its container: for `fetch`, and for a bundle.
//!
//! Downloaded files are kept, so that a second attempt downloads only what is missing. Beside a partial file stands its
//! version (etag), and the rest is requested only if the blob still has that version.

mod file;
mod on_disk;
mod patience;
mod place;
mod source;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use fleetlogs_azure::{AzureLogStore, BlobVersion, fell_silent};
use fleetlogs_model::count::counted;
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::hex::hex;
use fleetlogs_model::ids::NodeRef;
use fleetlogs_model::retry::{CallError, RetryPolicy, persistently};
use fleetlogs_model::service::{BlobDetails, LogStore};
use fleetlogs_report::{
    DistinctPaths, DownloadProgress, DownloadedLogs, LogFile, NodeDirectory, Notes, blob_path,
    node_directories,
};
use futures::StreamExt as _;
use tokio::sync::Semaphore;
use tokio::time::{interval, sleep, timeout_at};

use self::file::{DownloadError, LocalFile};
use self::on_disk::{DiskCounts, keep, list_file};
use self::patience::{Brought, LONGEST, Patience};
use self::source::BlobSource;

pub(crate) use self::file::OnDisk;
pub(crate) use self::on_disk::size_on_disk;
pub(crate) use self::place::{LogPlace, PlaceError};

/// Calls to storage at a time. A connection gets some tens of megabytes a second, and a small file takes as long as the
/// way there and back.
pub(crate) const CALLS_AT_ONCE: usize = 16;

/// Nodes that are begun for each call at a time: a large file must not keep the others waiting.
const NODES_BEGUN: usize = 2;

/// How calls to storage are retried.
const RETRY: RetryPolicy =
    RetryPolicy { attempts: 5, base_delay: Duration::from_millis(500), max_delay: LONGEST_PAUSE };

/// The longest pause, even if storage asks for more.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Pages of the listing of one node: half a million files.
const MOST_PAGES: usize = 100;

/// Problems that are kept; further ones are only counted.
const MOST_PROBLEMS: usize = 1000;

/// Time between two looks at the progress.
const REFRESH_EVERY: Duration = Duration::from_millis(250);

/// How logs are downloaded.
pub(crate) struct Order<'a> {
    pub(crate) place: &'a LogPlace,
    /// What is done about files that are there already.
    pub(crate) on_disk: OnDisk,
    /// Calls to storage at a time.
    pub(crate) at_once: usize,
    /// Which entries of an earlier list stay in the list, besides those of the nodes that are asked for.
    pub(crate) keeps: &'a dyn Fn(&LogFile) -> bool,
    pub(crate) progress: &'a DownloadProgress,
}

/// What came of a download.
#[derive(Debug, Default)]
pub(crate) struct Downloads {
    /// Complete files, with those that were there before.
    pub(crate) logs: DownloadedLogs,
    pub(crate) problems: Vec<Problem>,
    /// Problems that are not kept.
    pub(crate) more_problems: u64,
    /// Why it ended before the last node, and the node.
    pub(crate) ended: Option<(NodeRef, Ended)>,
    /// What is on disk of the nodes after that.
    rest: DiskCounts,
}

/// Something that could not be downloaded, or is not what the run saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) node: NodeRef,
    /// The blob; none if it is about the whole directory.
    pub(crate) blob: Option<String>,
    pub(crate) why: String,
    /// Whether a file is missing. Otherwise there is more than the run saw.
    pub(crate) is_loss: bool,
}

/// Why no further file can be downloaded.
#[derive(Debug)]
pub(crate) enum Ended {
    /// Storage refuses, is away, or sends nothing.
    Storage(Failure),
    /// The disk is full, or fails.
    Disk(io::Error),
    /// It was told to end.
    Stopped,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage(failure) => failure.fmt(f),
            Self::Disk(error) => write!(f, "the disk fails: {error}"),
            Self::Stopped => f.write_str("stopped by a signal"),
        }
    }
}

impl Downloads {
    fn add(&mut self, problem: Problem) {
        if self.problems.len() < MOST_PROBLEMS {
            self.problems.push(problem);
        } else {
            self.more_problems += 1;
        }
    }

    /// Nodes of which files are missing because the download ended early.
    pub(crate) fn nodes_cut_off(&self) -> u64 {
        self.rest.missing + self.rest.in_part
    }

    /// Adds a note for everything that is missing or different.
    fn note(&self, notes: &mut Notes) {
        for Problem { node, blob, why, .. } in &self.problems {
            let file = blob.as_ref().map(|blob| format!("`{blob}`: ")).unwrap_or_default();
            notes.add(format!("logs of {}: {file}{why}", name_of(node)));
        }
        if self.more_problems > 0 {
            notes.add(format!("and {} with logs", counted(self.more_problems, "more problem")));
        }
        if let Some((node, why)) = &self.ended {
            notes.add(format!(
                "no log was downloaded from {} on, because every further download would fail: {why}",
                name_of(node)
            ));
            self.rest.note(notes);
        }
    }
}

fn name_of(node: &NodeRef) -> String {
    format!("{}/{}/{}", node.account, node.pool, node.node)
}

/// Downloads the logs of a run into its directory, for a bundle. Adds a note for everything that cannot be downloaded.
pub(crate) async fn fetch_logs(
    store: &AzureLogStore,
    run_dir: &Path,
    progress: &DownloadProgress,
    notes: &mut Notes,
) -> Result<DownloadedLogs, PlaceError> {
    let place = LogPlace::in_run(run_dir)?;
    let order = Order {
        place: &place,
        on_disk: OnDisk::Compare,
        at_once: CALLS_AT_ONCE,
        keeps: &|_| false,
        progress,
    };
    let never = std::future::pending();
    let downloads = download(store, &order, || node_directories(run_dir), never).await?;
    downloads.note(notes);
    Ok(downloads.logs)
}

/// Uses the complete logs in the run directory, if the container cannot be reached. None if there are none. Adds a note
/// for everything that is missing.
pub(crate) fn keep_logs(run_dir: &Path, notes: &mut Notes) -> Result<Option<DownloadedLogs>, PlaceError> {
    let place = LogPlace::in_run(run_dir)?;
    let mut taken = DownloadedLogs::default();
    let mut list = place.new_list()?;
    let kept = keep(&place, node_directories(run_dir)?, &mut list, &mut taken)?;
    if taken.files == 0 {
        return Ok(None);
    }
    kept.note(notes);
    list.commit()?;
    Ok(Some(taken))
}

/// Downloads the files of these directories, and writes the list of the logs. The iterator of the directories may be
/// asked for more than once.
///
/// If `stop` ends first, the downloads under way end, and their parts stay.
pub(crate) async fn download<I: Iterator<Item = io::Result<NodeDirectory>>>(
    source: &impl BlobSource,
    order: &Order<'_>,
    nodes: impl Fn() -> io::Result<I>,
    stop: impl Future<Output = ()>,
) -> io::Result<Downloads> {
    let mut taken = Downloads::default();
    let mut list = order.place.new_list()?;
    for log in order.place.earlier_list().filter(order.keeps) {
        list_file(&log, &mut list, &mut DownloadedLogs::default())?;
    }
    for node in nodes()? {
        order.progress.expect(node?.seen);
    }
    let (patience, permits) = (Patience::new(), Semaphore::new(order.at_once));
    let downloader = Downloader { source, order, patience: &patience, permits: &permits };
    let mut fetching = futures::stream::iter(nodes()?)
        .map(async |node| {
            let node = node?;
            let fetched = timeout_at(patience.until, downloader.node(&node)).await;
            let fetched = fetched.unwrap_or_else(|_| {
                let message = format!("the downloads took longer than {} hours", LONGEST.as_secs() / 3600);
                Err(Ended::Storage(Failure::new(FailureClass::Transient, message)))
            });
            io::Result::Ok((node, fetched))
        })
        // In the order of the plan, so that the same files give the same list.
        .buffered(order.at_once.saturating_mul(NODES_BEGUN));
    let (mut stop, mut look) = (pin!(stop), interval(REFRESH_EVERY));
    let mut done = 0;
    let ended = loop {
        let next = tokio::select! {
            next = fetching.next() => next,
            () = &mut stop => break Some(Ended::Stopped),
            _ = look.tick() => {
                order.progress.refresh();
                continue;
            }
        };
        let Some(fetched) = next else { break None };
        let (node, fetched) = fetched?;
        let NodeFiles { files, problems } = match fetched {
            Ok(fetched) => fetched,
            Err(ended) => break Some(ended),
        };
        done += 1;
        for (blob, why, is_loss) in problems {
            taken.add(Problem { node: place_of(&node), blob, why, is_loss });
        }
        for file in files {
            taken.logs.without_md5 += u64::from(file.md5.is_none());
            list_file(&file, &mut list, &mut taken.logs)?;
        }
    };
    // Stop the other downloads, so that nothing changes on disk any more.
    drop(fetching);
    if let Some(ended) = ended
        && let Some(first) = nodes()?.nth(done).transpose()?
    {
        taken.ended = Some((place_of(&first), ended));
        taken.rest = keep(order.place, nodes()?.skip(done), &mut list, &mut taken.logs)?;
    }
    list.commit()?;
    Ok(taken)
}

fn place_of(node: &NodeDirectory) -> NodeRef {
    NodeRef { account: node.account.clone(), pool: node.pool.clone(), node: node.node.clone() }
}

/// The downloaded files of one node.
#[derive(Default)]
struct NodeFiles {
    files: Vec<LogFile>,
    /// A blob, or none for the whole directory; what is wrong; and whether something is missing.
    problems: Vec<(Option<String>, String, bool)>,
}

/// What all downloads share.
struct Downloader<'a, S> {
    source: &'a S,
    order: &'a Order<'a>,
    patience: &'a Patience,
    /// One for each call at a time.
    permits: &'a Semaphore,
}

impl<S: BlobSource> Downloader<'_, S> {
    /// Downloads the files of one node. An error means that every other node would fail in the same way.
    async fn node(&self, node: &NodeDirectory) -> Result<NodeFiles, Ended> {
        let mut fetched = NodeFiles::default();
        let prefix = format!("{}/", node.directory.trim_end_matches('/'));
        if prefix == "/" {
            fetched.problems.push((None, "the name of its directory is empty".into(), true));
            return Ok(fetched);
        }
        let blobs = match self.list(&prefix).await {
            Ok(blobs) => blobs,
            Err(failure) if concerns_all(&failure) => return Err(Ended::Storage(failure)),
            Err(failure) => {
                let silent = fell_silent(&failure);
                if self.patience.is_over(if silent { Brought::Silence } else { Brought::Nothing }) {
                    return Err(Ended::Storage(failure));
                }
                let why = format!("its directory could not be listed: {failure}");
                fetched.problems.push((None, why, true));
                return Ok(fetched);
            }
        };
        self.patience.went_well();
        let bytes = blobs.iter().fold(0_u64, |bytes, blob| bytes.saturating_add(blob.size));
        let count = blobs.len() as u64;
        self.order.progress.listed(node.seen, count, bytes);
        if let Some((seen, seen_bytes)) = node.seen.filter(|seen| *seen != (count, bytes)) {
            let why = format!(
                "the container has {} ({bytes} bytes), but the run saw {} ({seen_bytes} bytes)",
                counted(count, "file"),
                counted(seen, "file")
            );
            fetched.problems.push((None, why, count < seen || bytes < seen_bytes));
        }
        let dir = self.order.place.dir_of(node);
        let mut paths = DistinctPaths::default();
        let named: Vec<_> = blobs
            .into_iter()
            .map(|blob| {
                let name = blob_path(&blob.name[prefix.len()..]);
                (blob, LocalFile::new(self.order.place, paths.distinct(&format!("{dir}/{name}"))))
            })
            .collect();
        let mut fetching = futures::stream::iter(named)
            .map(async |(blob, local)| {
                let got = self.file(&blob, &local).await;
                (blob, local, got)
            })
            .buffered(self.order.at_once);
        while let Some((blob, local, got)) = fetching.next().await {
            match got.map_err(DownloadError::of_disk) {
                Ok(version) => {
                    self.patience.went_well();
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
                Err(Ok(disk)) => return Err(Ended::Disk(disk)),
                Err(Err(DownloadError::Failed(failure))) if concerns_all(&failure) => {
                    return Err(Ended::Storage(failure));
                }
                Err(Err(trouble)) => {
                    if self.patience.is_over(local.brought(&trouble)) {
                        let said = format!("`{}`: {trouble}", blob.name);
                        return Err(Ended::Storage(Failure::new(FailureClass::Transient, said)));
                    }
                    fetched.problems.push((Some(blob.name), trouble.to_string(), true));
                }
            }
        }
        Ok(fetched)
    }

    async fn file(&self, blob: &BlobDetails, local: &LocalFile) -> Result<BlobVersion, DownloadError> {
        let _permit = self.permits.acquire().await;
        let Order { on_disk, progress, .. } = self.order;
        retried(|| local.fetch(self.source, blob, *on_disk, progress)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<BlobDetails>, Failure> {
        let _permit = self.permits.acquire().await;
        list(self.source, prefix).await
    }
}

/// Lists all blobs of a directory, by name.
async fn list(store: &impl LogStore, prefix: &str) -> Result<Vec<BlobDetails>, Failure> {
    let mut blobs = vec![];
    let mut markers: Vec<String> = vec![];
    loop {
        let page = retried(|| store.list_details(prefix, markers.last().map(String::as_str))).await?;
        blobs.extend(page.blobs.into_iter().filter(|blob| blob.name.starts_with(prefix)));
        let Some(next) = page.next else { return Ok(blobs) };
        if markers.len() >= MOST_PAGES || markers.contains(&next) {
            return Err(Failure::new(FailureClass::Refused, "the listing has no end: its pages loop"));
        }
        markers.push(next);
    }
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
