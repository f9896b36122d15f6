//! Downloads from a container that follows a script.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use fleetlogs_model::ids::{AccountName, NodeId, PoolId};
use fleetlogs_model::service::{BlobPage, DetailsPage};
use fleetlogs_report::{LOGS_FILE, ProgressMode};
use md5::{Digest as _, Md5};
use tempfile::TempDir;

use super::source::BlobStream;
use super::*;
use crate::run::progress_clock;

/// How a request for a blob ends. Each is used once; then the blob comes as it is.
#[derive(Clone, Debug)]
enum Answer {
    Fails(Failure),
    /// So many bytes, then the connection breaks.
    BreaksOff(usize),
    /// A byte is wrong.
    Wrong,
    /// Somebody writes to the blob after so many bytes.
    Changes(usize, &'static str),
    /// It is deleted, but the listing was earlier.
    Vanishes,
    Never,
}

/// A container in memory.
#[derive(Clone, Default)]
struct Container(Arc<Mutex<Contents>>);

#[derive(Default)]
struct Contents {
    blobs: BTreeMap<String, String>,
    /// Whether storage has an MD5 of each.
    with_md5: bool,
    /// Whether listings have no more than name and size.
    bare: bool,
    answers: BTreeMap<String, Vec<Answer>>,
    /// Answered for every request.
    down: Option<Failure>,
    /// Of blobs: with the byte that it was to begin with.
    requests: Vec<(String, u64)>,
    versions_asked: usize,
    /// Requests under way, and the most of them.
    under_way: usize,
    most_under_way: usize,
}

impl Container {
    fn of(blobs: &[(&str, &str)]) -> Self {
        let container = Self::default();
        container.get().with_md5 = true;
        for (name, text) in blobs {
            container.put(name, text);
        }
        container
    }

    fn get(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, name: &str, text: &str) {
        self.get().blobs.insert(name.into(), text.into());
    }

    fn answer(&self, name: &str, answers: &[Answer]) {
        self.get().answers.insert(name.into(), answers.iter().rev().cloned().collect());
    }

    fn requests(&self) -> Vec<(String, u64)> {
        std::mem::take(&mut self.get().requests)
    }
}

impl Contents {
    fn version(&self, name: &str) -> Result<BlobVersion, Failure> {
        let text = self.blobs.get(name).ok_or_else(gone)?;
        let md5: [u8; 16] = Md5::digest(text).into();
        let etag = format!("\"0x{}\"", hex(&md5[..4]));
        Ok(BlobVersion { size: text.len() as u64, etag, md5: self.with_md5.then_some(md5) })
    }
}

fn answered(class: FailureClass, status: u16, code: &str) -> Failure {
    Failure { status: Some(status), code: Some(code.into()), ..Failure::new(class, "no") }
}

fn gone() -> Failure {
    answered(FailureClass::Refused, 404, "BlobNotFound")
}

fn busy() -> Failure {
    answered(FailureClass::Throttled, 503, "ServerBusy")
}

impl LogStore for Container {
    async fn list(&self, _: &str, _: Option<&str>) -> Result<BlobPage, Failure> {
        unreachable!("details are listed")
    }

    async fn list_details(&self, prefix: &str, _: Option<&str>) -> Result<DetailsPage, Failure> {
        let contents = self.get();
        if let Some(failure) = &contents.down {
            return Err(failure.clone());
        }
        let details = |name: &String| {
            let BlobVersion { size, etag, md5 } = contents.version(name).unwrap();
            BlobDetails {
                name: name.clone(),
                size,
                created_at: None,
                last_modified: None,
                etag: (!contents.bare).then(|| etag.trim_matches('"').into()),
                content_md5: md5.filter(|_| !contents.bare).map(|md5| BASE64_STANDARD.encode(md5).into()),
            }
        };
        let blobs = contents.blobs.keys().filter(|name| name.starts_with(prefix)).map(details).collect();
        Ok(DetailsPage { blobs, next: None })
    }
}

struct Stream {
    container: Container,
    name: String,
    version: BlobVersion,
    rest: Vec<u8>,
    end: Option<Answer>,
}

impl BlobSource for Container {
    type Open = Stream;

    async fn version(&self, blob: &str) -> Result<BlobVersion, Failure> {
        let mut contents = self.get();
        contents.versions_asked += 1;
        contents.version(blob)
    }

    async fn open(&self, blob: &str, from: u64, etag: Option<&str>) -> Result<Stream, Failure> {
        // As long as the way there and back.
        self.get().under_way += 1;
        sleep(Duration::from_millis(10)).await;
        let mut contents = self.get();
        contents.most_under_way = contents.most_under_way.max(contents.under_way);
        contents.under_way -= 1;
        contents.requests.push((blob.to_owned(), from));
        if let Some(failure) = &contents.down {
            return Err(failure.clone());
        }
        let end = contents.answers.get_mut(blob).and_then(Vec::pop);
        match &end {
            Some(Answer::Fails(failure)) => return Err(failure.clone()),
            Some(Answer::Vanishes) => _ = contents.blobs.remove(blob),
            _ => {}
        }
        let version = contents.version(blob)?;
        if etag.is_some_and(|etag| etag != version.etag) {
            return Err(answered(FailureClass::Config, 412, "ConditionNotMet"));
        }
        let text = &contents.blobs[blob];
        let from = usize::try_from(from).unwrap();
        if from >= text.len() && from > 0 {
            return Err(answered(FailureClass::Config, 416, "InvalidRange"));
        }
        let mut rest = text.as_bytes()[from..].to_vec();
        match &end {
            Some(Answer::BreaksOff(bytes) | Answer::Changes(bytes, _)) => rest.truncate(*bytes),
            Some(Answer::Wrong) => rest[0] ^= 1,
            _ => {}
        }
        Ok(Stream { container: self.clone(), name: blob.to_owned(), version, rest, end })
    }
}

impl BlobStream for Stream {
    fn version(&self) -> &BlobVersion {
        &self.version
    }

    async fn chunk(&mut self) -> Result<Option<impl AsRef<[u8]>>, Failure> {
        if !self.rest.is_empty() {
            let bytes = self.rest.len().min(4);
            return Ok(Some(self.rest.drain(..bytes).collect::<Vec<u8>>()));
        }
        match self.end.take() {
            Some(Answer::BreaksOff(_)) => Err(Failure::new(FailureClass::Transient, "connection reset")),
            Some(Answer::Changes(_, text)) => {
                self.container.put(&self.name, text);
                Err(Failure::new(FailureClass::Transient, "connection reset"))
            }
            Some(Answer::Never) => std::future::pending().await,
            _ => Ok(None),
        }
    }
}

/// A node whose directory has its name.
fn node(name: &str, seen: Option<(u64, u64)>) -> NodeDirectory {
    NodeDirectory {
        account: AccountName::new("contoso"),
        pool: PoolId::new("a"),
        node: NodeId::new(name),
        directory: format!("batch/{name}"),
        seen,
        is_duplicate: false,
    }
}

fn has_ending(file: &str, ending: &str) -> bool {
    Path::new(file).extension().is_some_and(|found| found == ending)
}

/// A directory to download into.
struct Disk {
    dir: TempDir,
    progress: DownloadProgress,
}

impl Disk {
    fn new() -> Self {
        let progress = DownloadProgress::new(ProgressMode::Silent, progress_clock());
        Self { dir: tempfile::tempdir().unwrap(), progress }
    }

    async fn fetch(&self, container: &Container, nodes: &[NodeDirectory]) -> Downloads {
        self.fetch_with(container, nodes, OnDisk::Compare, std::future::pending()).await
    }

    async fn fetch_with(
        &self,
        container: &Container,
        nodes: &[NodeDirectory],
        on_disk: OnDisk,
        stop: impl Future<Output = ()>,
    ) -> Downloads {
        let place = LogPlace::elsewhere(self.dir.path()).unwrap();
        let of_others = |log: &LogFile| nodes.iter().all(|node| node.node != log.node);
        let order = Order { place: &place, on_disk, at_once: 4, keeps: &of_others, progress: &self.progress };
        download(container, &order, || Ok(nodes.iter().cloned().map(Ok)), stop).await.unwrap()
    }

    fn read(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.dir.path().join("contoso/a").join(file)).ok()
    }

    /// Every file below the directory of the pool, without those beside a file.
    fn whole(&self) -> BTreeSet<String> {
        fn walk(dir: &Path, below: &str, files: &mut BTreeSet<String>) {
            for entry in fs::read_dir(dir).into_iter().flatten().map(Result::unwrap) {
                let name = format!("{below}{}", entry.file_name().to_str().unwrap());
                if entry.file_type().unwrap().is_dir() {
                    walk(&entry.path(), &format!("{name}/"), files);
                } else if !has_ending(&name, "etag") {
                    files.insert(name);
                }
            }
        }
        let mut files = BTreeSet::new();
        walk(&self.dir.path().join("contoso/a"), "", &mut files);
        files
    }

    fn list(&self) -> Vec<LogFile> {
        let text = fs::read_to_string(self.dir.path().join(LOGS_FILE)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn all_files_come_once_and_a_second_fetch_asks_for_none() {
    let container = Container::of(&[
        ("batch/n1/agent.log", "one"),
        ("batch/n1/startup/stdout.txt", "two"),
        ("batch/n2/agent.log", "three"),
        ("batch/n22/agent.log", "of another node"),
    ]);
    let (disk, nodes) = (Disk::new(), [node("n1", Some((2, 6))), node("n2", None)]);
    let downloads = disk.fetch(&container, &nodes).await;

    assert!(downloads.problems.is_empty() && downloads.ended.is_none(), "{downloads:?}");
    assert_eq!(downloads.logs, DownloadedLogs { files: 3, bytes: 11, without_md5: 0 });
    assert_eq!(disk.read("n1/startup/stdout.txt").as_deref(), Some("two"));
    assert_eq!(
        disk.list().iter().map(|log| log.blob.as_str()).collect::<Vec<_>>(),
        ["batch/n1/agent.log", "batch/n1/startup/stdout.txt", "batch/n2/agent.log"]
    );
    assert_eq!(container.requests().len(), 3);
    assert_eq!(disk.progress.finish().files, 3);

    let list = disk.list();
    let again = disk.fetch(&container, &nodes).await;
    assert_eq!((again.logs, disk.list()), (downloads.logs, list));
    assert_eq!((container.requests().len(), container.get().versions_asked), (0, 0), "the listing tells");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode =
            |file: &str| fs::metadata(disk.dir.path().join(file)).unwrap().permissions().mode() & 0o777;
        assert_eq!(
            (mode("contoso/a/n1/agent.log"), mode("contoso/a/n1"), mode(LOGS_FILE)),
            (0o600, 0o700, 0o600)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_damaged_here_or_written_anew_there_comes_again_unless_files_are_trusted() {
    for (with_md5, bare) in [(true, false), (false, false), (true, true), (false, true)] {
        let container = Container::of(&[("batch/n1/a.log", "1234"), ("batch/n1/b.log", "5678")]);
        (container.get().with_md5, container.get().bare) = (with_md5, bare);
        let (disk, nodes) = (Disk::new(), [node("n1", Some((2, 8)))]);
        disk.fetch(&container, &nodes).await;
        container.requests();
        // Of the same size.
        container.put("batch/n1/a.log", "4321");
        if with_md5 {
            fs::write(disk.dir.path().join("contoso/a/n1/b.log"), "5670").unwrap();
        }
        container.put("batch/n1/late.log", "late");

        let trusting = disk.fetch_with(&container, &nodes, OnDisk::Trust, std::future::pending()).await;
        assert_eq!(container.requests(), [("batch/n1/late.log".to_owned(), 0)], "{with_md5} {bare}");
        assert_eq!(trusting.logs.files, 3);
        assert_eq!(disk.read("n1/a.log").as_deref(), Some("1234"));
        assert!(!trusting.problems[0].is_loss, "a file more than the run saw is no loss: {trusting:?}");
        // What it says of the version is what is known of it.
        let list = disk.list();
        assert_eq!(list[0].md5, None, "{list:?}");

        disk.fetch(&container, &nodes).await;
        let mut again: Vec<_> = container.requests().into_iter().map(|(blob, _)| blob).collect();
        again.sort();
        let damaged = if with_md5 { &["batch/n1/a.log", "batch/n1/b.log"][..] } else { &["batch/n1/a.log"] };
        assert_eq!(again, damaged, "{with_md5} {bare}");
        assert_eq!(disk.read("n1/a.log").as_deref(), Some("4321"));
        assert_eq!(disk.read("n1/b.log").as_deref(), Some("5678"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_breaks_off_goes_on_and_a_wrong_one_comes_again() {
    let container = Container::of(&[("batch/n1/a.log", "0123456789"), ("batch/n1/b.log", "abcdef")]);
    container.answer("batch/n1/a.log", &[Answer::BreaksOff(4), Answer::BreaksOff(3)]);
    container.answer("batch/n1/b.log", &[Answer::Wrong]);
    let disk = Disk::new();
    let downloads = disk.fetch(&container, &[node("n1", None)]).await;
    assert!(downloads.problems.is_empty(), "{downloads:?}");
    assert_eq!(disk.read("n1/a.log").as_deref(), Some("0123456789"));
    assert_eq!(disk.read("n1/b.log").as_deref(), Some("abcdef"));
    let from = |name: &str, all: &[(String, u64)]| -> Vec<u64> {
        all.iter().filter(|(blob, _)| blob.ends_with(name)).map(|(_, from)| *from).collect()
    };
    let requests = container.requests();
    assert_eq!((from("a.log", &requests), from("b.log", &requests)), (vec![0, 4, 7], vec![0, 0]));
}

#[tokio::test(start_paused = true)]
async fn what_fails_for_good_is_named_and_the_rest_comes() {
    let container = Container::of(&[
        ("batch/n1/changes.log", "0123456789"),
        ("batch/n1/good.log", "good"),
        ("batch/n1/vanishes.log", "gone"),
        ("batch/n1/wrong.log", "wrong"),
        ("batch/n2/good.log", "good"),
    ]);
    container.answer("batch/n1/changes.log", &[Answer::Changes(4, "another one, and longer")]);
    container.answer("batch/n1/vanishes.log", &[Answer::Vanishes]);
    container.answer("batch/n1/wrong.log", &[const { Answer::Wrong }; 5]);
    let (disk, nodes) =
        (Disk::new(), [node("n1", Some((4, 23))), node("n2", None), node("n3", Some((1, 7)))]);
    let downloads = disk.fetch(&container, &nodes).await;

    assert_eq!(disk.whole(), ["n1/good.log", "n2/good.log"].map(String::from).into());
    let said: Vec<_> = downloads.problems.iter().map(|it| (it.blob.as_deref(), it.why.as_str())).collect();
    assert_eq!(said[0].0, Some("batch/n1/changes.log"));
    assert!(said[0].1.contains("changed during the download"), "{said:?}");
    assert_eq!(said[1], (Some("batch/n1/vanishes.log"), "404 BlobNotFound: no"));
    assert!(said[2].1.starts_with("its MD5 is "), "{said:?}");
    assert_eq!(said[3], (None, "the container has 0 files (0 bytes), but the run saw 1 file (7 bytes)"));
    assert!(downloads.problems.iter().all(|problem| problem.is_loss) && downloads.ended.is_none());
    assert_eq!(downloads.logs.files, 2);

    // The next one has what it has become.
    let again = disk.fetch(&container, &nodes[..1]).await;
    assert_eq!(disk.read("n1/changes.log").as_deref(), Some("another one, and longer"));
    assert_eq!(disk.read("n1/wrong.log").as_deref(), Some("wrong"));
    assert_eq!(again.logs.files, 3);
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_503_is_waited_for_and_one_that_does_not_end_is_given_up() {
    let names: Vec<String> = (0..60).map(|at| format!("batch/n1/{at:02}.log")).collect();
    let container = Container::of(&names.iter().map(|name| (name.as_str(), "x")).collect::<Vec<_>>());
    for name in &names {
        container.answer(name, &[Answer::Fails(busy()), Answer::Fails(busy())]);
    }
    let disk = Disk::new();
    let downloads = disk.fetch(&container, &[node("n1", None)]).await;
    assert_eq!((downloads.logs.files, downloads.problems.len()), (60, 0));
    assert_eq!(container.get().most_under_way, 4, "as many at a time as may be");

    container.get().down = Some(busy());
    let disk = Disk::new();
    let nodes: Vec<_> = (0..100).map(|at| node(&format!("n{at}"), Some((1, 1)))).collect();
    let downloads = disk.fetch(&container, &nodes).await;
    let (at, ended) = downloads.ended.as_ref().unwrap();
    assert_eq!(ended.to_string(), "503 ServerBusy: no");
    assert!(at.node.as_str().starts_with('n') && downloads.problems.len() < 30, "{downloads:?}");
    assert_eq!(downloads.problems.len() as u64 + downloads.nodes_cut_off(), 100, "each is accounted for");
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_is_refused_half_way_ends_it_and_what_is_there_stays_listed() {
    let names: Vec<String> = (0..20).map(|at| format!("batch/n{at:02}/a.log")).collect();
    let container = Container::of(&names.iter().map(|name| (name.as_str(), "x")).collect::<Vec<_>>());
    let refused = answered(FailureClass::Auth, 403, "AuthenticationFailed");
    container.answer("batch/n11/a.log", &[Answer::Fails(refused)]);
    let disk = Disk::new();
    let nodes: Vec<_> = (0..20).map(|at| node(&format!("n{at:02}"), Some((1, 1)))).collect();
    let downloads = disk.fetch(&container, &nodes).await;
    let (at, ended) = downloads.ended.as_ref().unwrap();
    assert_eq!((at.node.as_str(), ended.to_string().as_str()), ("n11", "403 AuthenticationFailed: no"));
    let whole = disk.whole().iter().filter(|file| !has_ending(file, "part")).count();
    assert_eq!(disk.list().len(), whole);
    assert!((11..20).contains(&disk.list().len()));
    assert_eq!(downloads.logs.files, disk.list().len() as u64);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_stopped_leaves_whole_files_and_parts_and_goes_on_later() {
    let container = Container::of(&[("batch/n1/a.log", "whole"), ("batch/n2/b.log", "0123456789")]);
    container.answer("batch/n2/b.log", &[Answer::Never]);
    let (disk, nodes) = (Disk::new(), [node("n1", None), node("n2", None)]);
    let stop = sleep(Duration::from_secs(20));
    let stopped = disk.fetch_with(&container, &nodes, OnDisk::Compare, stop).await;
    assert!(matches!(&stopped.ended, Some((at, Ended::Stopped)) if at.node.as_str() == "n2"), "{stopped:?}");
    assert_eq!(disk.whole(), ["n1/a.log", "n2/b.log.part"].map(String::from).into());
    assert_eq!(disk.list().len(), 1);
    container.requests();
    // As a process leaves it that is killed: a part of the part.
    fs::write(disk.dir.path().join("contoso/a/n2/b.log.part"), "0123").unwrap();
    let rest = disk.fetch(&container, &nodes).await;
    assert_eq!((rest.logs.files, container.requests()), (2, vec![("batch/n2/b.log".to_owned(), 4)]));
    assert_eq!(disk.read("n2/b.log").as_deref(), Some("0123456789"));
}

#[tokio::test(start_paused = true)]
async fn no_name_of_a_blob_leads_out_of_the_directory() {
    let names =
        ["../../../x", "/etc/passwd", "a\\b:c", "nul", "A.log", "a.log", "x.part", "x", "\u{1b}[2J", "x/y"];
    let names: Vec<String> = names.iter().map(|name| format!("batch/n1/{name}")).collect();
    let container =
        Container::of(&names.iter().map(|name| (name.as_str(), name.as_str())).collect::<Vec<_>>());
    let disk = Disk::new();
    let downloads = disk.fetch(&container, &[node("n1", None)]).await;
    assert!(downloads.problems.is_empty(), "{downloads:?}");
    assert_eq!((disk.whole().len(), disk.list().len()), (names.len(), names.len()));
    for log in disk.list() {
        assert_eq!(fs::read_to_string(disk.dir.path().join(&log.file)).unwrap(), log.blob, "{log:?}");
    }
    assert!(disk.whole().iter().all(|file| file.starts_with("n1/") && !file.contains(['\\', ':', '\u{1b}'])));
    let beside: Vec<_> = fs::read_dir(disk.dir.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(beside.len(), 3, "{beside:?}");
    // Without a directory, all that the container has would be downloaded.
    let nameless = NodeDirectory { directory: "/".into(), ..node("n2", None) };
    let downloads = disk.fetch(&container, &[nameless]).await;
    assert_eq!((downloads.logs.files, downloads.problems[0].is_loss), (0, true));
}

#[tokio::test(start_paused = true)]
async fn a_second_directory_is_beside_the_first_and_the_list_keeps_other_nodes() {
    let container = Container::of(&[
        ("batch/n1/a.log", "first"),
        ("batch/n1-again/a.log", "second"),
        ("batch/n2/a.log", "other"),
    ]);
    let again = NodeDirectory { directory: "batch/n1-again".into(), is_duplicate: true, ..node("n1", None) };
    let disk = Disk::new();
    disk.fetch(&container, &[node("n2", None)]).await;
    let downloads = disk.fetch(&container, &[node("n1", None), again]).await;
    assert_eq!(downloads.logs.files, 2);
    let files: Vec<_> = disk.list().into_iter().map(|log| (log.blob, log.file)).collect();
    assert_eq!(files[0], ("batch/n2/a.log".to_owned(), "contoso/a/n2/a.log".to_owned()));
    assert_eq!(files[1].1, "contoso/a/n1/a.log");
    assert!(files[2].1.starts_with("contoso/a/n1+"), "{files:?}");
    // Of the others, those that are there still.
    fs::remove_file(disk.dir.path().join("contoso/a/n2/a.log")).unwrap();
    disk.fetch(&container, &[node("n1", None)]).await;
    assert_eq!(disk.list().len(), 1);
}

/// Every page has a blob and the marker that this function names.
struct Endless<F>(F, AtomicUsize);

impl<F: Fn(usize) -> String + Send + Sync + 'static> LogStore for Endless<F> {
    async fn list(&self, _: &str, _: Option<&str>) -> Result<BlobPage, Failure> {
        unreachable!("details are listed")
    }

    async fn list_details(&self, _: &str, _: Option<&str>) -> Result<DetailsPage, Failure> {
        let page = self.1.fetch_add(1, Ordering::Relaxed);
        Ok(DetailsPage { blobs: vec![], next: Some(self.0(page)) })
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
