//! Downloads one log into a file. An interrupted download can be continued.
//!
//! `NAME.part` is the part downloaded so far, and `NAME.etag` its version. The part gets its final name once size and
//! MD5 are correct. The version stays, so that a blob without MD5 can be told from a later one of the same size.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use fleetlogs_azure::{BlobVersion, fell_silent, has_changed};
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::files::{create_private_dirs, is_disk_trouble, owner_only};
use fleetlogs_model::hex::hex;
use fleetlogs_model::retry::CallError;
use fleetlogs_model::service::BlobDetails;
use fleetlogs_report::{DownloadProgress, FileProgress};
use md5::{Digest as _, Md5};
use tokio::time::{Instant, timeout_at};

use super::patience::{Brought, time_for};
use super::place::LogPlace;
use super::source::{BlobSource, BlobStream};

/// What is done about a file that is on disk already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnDisk {
    /// It is compared with storage: size, and MD5 or version. A file that differs is downloaded again.
    Compare,
    /// It is taken as it is, if it has the size that storage has.
    Trust,
}

/// Why a log is incomplete.
#[derive(Debug, thiserror::Error)]
pub(super) enum DownloadError {
    /// Storage refused.
    #[error("{0}")]
    Failed(Failure),
    /// It came more slowly than a file may come.
    #[error("it came too slowly: {0} of its bytes in {1} s; retry to continue it")]
    TooSlow(u64, u64),
    /// The blob changed since its beginning was downloaded.
    #[error("it changed during the download; retry to download the new version")]
    Changed,
    /// The local file cannot be read or written.
    #[error("cannot write its file: {0}")]
    File(#[from] io::Error),
}

impl DownloadError {
    /// Whether the disk is full or fails, and so every other file would fail in the same way.
    pub(super) fn of_disk(self) -> Result<io::Error, Self> {
        match self {
            Self::File(error) if is_disk_trouble(&error) => Ok(error),
            other => Err(other),
        }
    }
}

impl CallError for DownloadError {
    fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failed(failure) => Some(failure),
            Self::TooSlow(..) | Self::Changed | Self::File(_) => None,
        }
    }
}

impl From<Failure> for DownloadError {
    fn from(failure: Failure) -> Self {
        if has_changed(&failure) { Self::Changed } else { Self::Failed(failure) }
    }
}

/// The local files of a log.
pub(super) struct LocalFile {
    /// Relative to the run directory, with slashes.
    pub(super) name: String,
    whole: PathBuf,
    part: PathBuf,
    etag: PathBuf,
    /// Bytes that were downloaded.
    gained: AtomicU64,
}

impl LocalFile {
    pub(super) fn new(place: &LogPlace, name: String) -> Self {
        let [whole, part, etag] = ["", ".part", ".etag"].map(|ending| place.path(&format!("{name}{ending}")));
        Self { name, whole, part, etag, gained: AtomicU64::new(0) }
    }

    /// What a download that failed brought.
    pub(super) fn brought(&self, trouble: &DownloadError) -> Brought {
        match trouble {
            DownloadError::TooSlow(..) => Brought::Silence,
            _ if self.gained.load(Ordering::Relaxed) > 0 => Brought::Something,
            DownloadError::Failed(failure) if fell_silent(failure) => Brought::Silence,
            _ => Brought::Nothing,
        }
    }

    /// Downloads what is missing. A complete file is not downloaded again.
    pub(super) async fn fetch(
        &self,
        source: &impl BlobSource,
        blob: &BlobDetails,
        on_disk: OnDisk,
        progress: &DownloadProgress,
    ) -> Result<BlobVersion, DownloadError> {
        let kept = fs::read_to_string(&self.etag).ok();
        if self.whole.symlink_metadata().is_ok() {
            if let Some(version) = self.as_listed(source, blob, on_disk, kept.as_deref()).await? {
                progress.found(version.size);
                return Ok(version);
            }
            // The file has another version.
            fs::remove_file(&self.whole)?;
            self.forget()?;
        }
        let earlier = match kept {
            Some(etag) if self.part.exists() => Some(PartFile::again(&self.part, etag).await?),
            _ => None,
        };
        let from = earlier.as_ref().map_or(0, |part| part.length);
        let etag = earlier.as_ref().and_then(|part| part.etag.as_deref()).filter(|_| from > 0);
        let mut open = match source.open(&blob.name, from, etag).await.map_err(DownloadError::from) {
            Ok(open) => open,
            Err(trouble) => {
                // The part cannot be continued: the blob changed, or has no more bytes.
                let beyond = trouble.failure().is_some_and(|failure| failure.status == Some(416));
                if beyond || matches!(trouble, DownloadError::Changed) {
                    self.forget()?;
                }
                return Err(if beyond {
                    passing("the downloaded part is as long as the blob")
                } else {
                    trouble
                });
            }
        };
        let version = open.version().clone();
        let mut begun = match earlier {
            Some(part) => part,
            None => PartFile::anew(&self.part)?,
        };
        if from == 0 {
            write_private(&self.etag, version.etag.as_bytes())?;
        }
        let limit = time_for(version.size.saturating_sub(from));
        let mut coming = progress.begin(from);
        let taken = begun.take(version.size, limit, &mut coming, &mut open).await;
        self.gained.fetch_add(begun.length.saturating_sub(from), Ordering::Relaxed);
        taken?;
        let version = self.end(begun, version).await?;
        coming.whole(version.size);
        Ok(version)
    }

    /// The version of a file that is on disk, if it is the one that storage lists.
    async fn as_listed(
        &self,
        source: &impl BlobSource,
        blob: &BlobDetails,
        on_disk: OnDisk,
        kept: Option<&str>,
    ) -> Result<Option<BlobVersion>, DownloadError> {
        let found = self.whole.symlink_metadata()?;
        let mut listed = BlobVersion {
            size: blob.size,
            etag: blob.etag.as_deref().map(|etag| format!("\"{etag}\"")).unwrap_or_default(),
            md5: blob
                .content_md5
                .as_deref()
                .and_then(|text| BASE64_STANDARD.decode(text).ok()?.try_into().ok()),
        };
        // The listing has no quotes around it, and the answer to a download has.
        let same_version = |version: &BlobVersion| {
            let plain = |etag: &str| etag.trim_matches('"').to_owned();
            kept.filter(|kept| !kept.is_empty() && plain(kept) == plain(&version.etag)).map(ToOwned::to_owned)
        };
        let is_whole = found.is_file() && found.len() == blob.size;
        if is_whole && on_disk == OnDisk::Trust {
            if let Some(kept) = same_version(&listed) {
                listed.etag = kept;
            } else {
                listed.md5 = None;
            }
            return Ok(Some(listed));
        }
        if is_whole && listed.md5.is_none() && listed.etag.is_empty() {
            listed = source.version(&blob.name).await?;
        }
        if !found.is_file() || found.len() != listed.size {
            return Ok(None);
        }
        let kept = same_version(&listed);
        let is_same = match listed.md5 {
            Some(md5) => digest_of(&self.whole).await?.0.finalize()[..] == md5,
            None => kept.is_some(),
        };
        listed.etag = kept.unwrap_or(listed.etag);
        Ok(is_same.then_some(listed))
    }

    /// Gives the part its final name, if its size and MD5 are correct.
    async fn end(&self, begun: PartFile, version: BlobVersion) -> Result<BlobVersion, DownloadError> {
        let PartFile { file, digest, length, .. } = begun;
        if length < version.size {
            return Err(passing("the answer broke off"));
        }
        let digest = digest.finalize();
        let wrong = match version.md5 {
            Some(md5) if digest[..] != md5 => {
                Some(format!("its MD5 is {}, but storage has {}", hex(&digest), hex(&md5)))
            }
            _ if length > version.size => Some("it is longer than storage says".to_owned()),
            _ => None,
        };
        if let Some(wrong) = wrong {
            self.forget()?;
            return Err(passing(wrong));
        }
        let (part, whole) = (self.part.clone(), self.whole.clone());
        // A disk takes its time to sync, and the other downloads go on meanwhile.
        blocking(move || {
            file.sync_all()?;
            fs::rename(part, whole)
        })
        .await?;
        Ok(version)
    }

    /// Deletes the part and its version, so that the next download starts from the beginning.
    fn forget(&self) -> io::Result<()> {
        for path in [&self.part, &self.etag] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// A failure that may pass.
fn passing(message: impl Into<Box<str>>) -> DownloadError {
    DownloadError::Failed(Failure::new(FailureClass::Transient, message))
}

/// A partial file that is being written.
struct PartFile {
    file: File,
    digest: Md5,
    length: u64,
    etag: Option<String>,
}

impl PartFile {
    fn anew(part: &Path) -> io::Result<Self> {
        if let Some(dir) = part.parent() {
            create_private_dirs(dir)?;
        }
        let file = owner_only().create().write().open(part)?;
        file.set_len(0)?;
        Ok(Self { file, digest: Md5::new(), length: 0, etag: None })
    }

    async fn again(part: &Path, etag: String) -> io::Result<Self> {
        let (digest, length) = digest_of(part).await?;
        let file = owner_only().append().open(part)?;
        Ok(Self { file, digest, length, etag: Some(etag) })
    }

    /// Takes the rest of a blob of this size, within a time limit.
    async fn take(
        &mut self,
        size: u64,
        limit: Duration,
        coming: &mut FileProgress<'_>,
        blob: &mut impl BlobStream,
    ) -> Result<(), DownloadError> {
        let (begun, deadline) = (self.length, Instant::now() + limit);
        loop {
            let Ok(chunk) = timeout_at(deadline, blob.chunk()).await else {
                return Err(DownloadError::TooSlow(self.length - begun, limit.as_secs()));
            };
            let Some(chunk) = chunk? else { return Ok(()) };
            let bytes = chunk.as_ref();
            self.file.write_all(bytes)?;
            self.digest.update(bytes);
            self.length = self.length.saturating_add(bytes.len() as u64);
            coming.received(bytes.len() as u64);
            if self.length > size {
                return Ok(());
            }
        }
    }
}

fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = owner_only().create().write().open(path)?;
    file.set_len(0)?;
    file.write_all(content)
}

/// The MD5 state and the length of a file.
async fn digest_of(path: &Path) -> io::Result<(Md5, u64)> {
    let path = path.to_owned();
    blocking(move || {
        let (mut file, mut digest, mut length) = (File::open(path)?, Md5::new(), 0);
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok((digest, length)),
                read => {
                    digest.update(&buffer[..read]);
                    length += read as u64;
                }
            }
        }
    })
    .await
}

/// Work on files that may take long.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(io::Error::other("working on it did not finish")))
}

#[cfg(test)]
mod tests {
    use fleetlogs_report::ProgressMode;
    use tokio::time::sleep;

    use super::*;
    use crate::run::progress_clock;

    fn silent() -> DownloadProgress {
        DownloadProgress::new(ProgressMode::Silent, progress_clock())
    }

    /// A blob that comes in pieces of some bytes, one in so much time.
    struct Slow {
        pieces: u64,
        bytes: usize,
        pause: Duration,
        version: BlobVersion,
    }

    impl Slow {
        fn new(pieces: u64, bytes: usize, pause: u64) -> Self {
            let version = BlobVersion { size: 0, etag: String::new(), md5: None };
            Self { pieces, bytes, pause: Duration::from_secs(pause), version }
        }
    }

    impl BlobStream for Slow {
        fn version(&self) -> &BlobVersion {
            &self.version
        }

        async fn chunk(&mut self) -> Result<Option<impl AsRef<[u8]>>, Failure> {
            sleep(self.pause).await;
            let more = self.pieces.checked_sub(1);
            self.pieces = more.unwrap_or_default();
            Ok(more.map(|_| vec![b'x'; self.bytes]))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_trickles_is_given_up_and_what_came_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut part = PartFile::anew(&dir.path().join("a.part")).unwrap();
        let begun = Instant::now();
        let (size, progress) = (1 << 20, silent());
        let mut trickle = Slow::new(u64::MAX, 1, 5);
        let end = part.take(size, time_for(size), &mut progress.begin(0), &mut trickle).await;
        assert!(matches!(end, Err(DownloadError::TooSlow(63, 316))), "{end:?}");
        assert_eq!((begun.elapsed().as_secs(), part.length), (316, 63));
        assert_eq!(fs::read(dir.path().join("a.part")).unwrap().len(), 63);
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_file_at_a_common_speed_has_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let mut part = PartFile::anew(&dir.path().join("a.part")).unwrap();
        let (size, progress) = (200 << 14, silent());
        let mut slow = Slow::new(200, 16 << 10, 1);
        part.take(size, time_for(size), &mut progress.begin(0), &mut slow).await.unwrap();
        assert_eq!(part.length, size);
    }
}
