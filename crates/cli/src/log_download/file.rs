//! Downloads one log into a file. An interrupted download can be continued.
//!
//! `NAME.part` is the part downloaded so far, and `NAME.etag` its version. The part gets its final name once size and
//! MD5 are correct. The version stays, so that a blob without MD5 can be told from a later one of the same size.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fleetlogs_azure::{AzureLogStore, BlobVersion, fell_silent, has_changed};
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::files::{create_private_dirs, owner_only};
use fleetlogs_model::retry::CallError;
use md5::{Digest as _, Md5};

use fleetlogs_model::hex::hex;
use tokio::time::{Instant, timeout_at};

use super::patience::{Brought, time_for};

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
    pub(super) fn new(run_dir: &Path, name: String) -> Self {
        let [whole, part, etag] =
            ["", ".part", ".etag"].map(|ending| run_dir.join(format!("{name}{ending}")));
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
        store: &AzureLogStore,
        blob: &str,
    ) -> Result<BlobVersion, DownloadError> {
        let kept = fs::read_to_string(&self.etag).ok();
        if self.whole.exists() {
            let version = store.blob_version(blob).await?;
            if self.is_whole(&version, kept.as_deref()).await? {
                return Ok(version);
            }
            // The file has another version.
            fs::remove_file(&self.whole)?;
            self.forget()?;
        }
        let mut begun = match kept {
            Some(etag) if self.part.exists() => PartFile::again(&self.part, etag).await?,
            _ => PartFile::anew(&self.part)?,
        };
        let from = begun.length;
        let etag = begun.etag.as_deref().filter(|_| from > 0);
        let mut open = match store.open_blob(blob, from, etag).await.map_err(DownloadError::from) {
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
        if from == 0 {
            write_private(&self.etag, open.version.etag.as_bytes())?;
        }
        let size = open.version.size;
        let limit = time_for(size.saturating_sub(from));
        let taken = begun.take(size, limit, async || open.chunk().await).await;
        self.gained.fetch_add(begun.length.saturating_sub(from), Ordering::Relaxed);
        taken?;
        self.end(begun, open.version)
    }

    async fn is_whole(&self, version: &BlobVersion, kept: Option<&str>) -> io::Result<bool> {
        if fs::metadata(&self.whole)?.len() != version.size {
            return Ok(false);
        }
        match version.md5 {
            Some(md5) => Ok(digest_of(&self.whole).await?.0.finalize()[..] == md5),
            None => Ok(kept == Some(&version.etag)),
        }
    }

    /// Gives the part its final name, if its size and MD5 are correct.
    fn end(&self, begun: PartFile, version: BlobVersion) -> Result<BlobVersion, DownloadError> {
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
        file.sync_all()?;
        fs::rename(&self.part, &self.whole)?;
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
    async fn take<C: AsRef<[u8]>>(
        &mut self,
        size: u64,
        limit: Duration,
        mut next: impl AsyncFnMut() -> Result<Option<C>, Failure>,
    ) -> Result<(), DownloadError> {
        let (begun, deadline) = (self.length, Instant::now() + limit);
        loop {
            let Ok(chunk) = timeout_at(deadline, next()).await else {
                return Err(DownloadError::TooSlow(self.length - begun, limit.as_secs()));
            };
            let Some(chunk) = chunk? else { return Ok(()) };
            let bytes = chunk.as_ref();
            self.file.write_all(bytes)?;
            self.digest.update(bytes);
            self.length = self.length.saturating_add(bytes.len() as u64);
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
    let read = move || {
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
    };
    tokio::task::spawn_blocking(read)
        .await
        .unwrap_or_else(|_| Err(io::Error::other("reading it did not finish")))
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_file_that_trickles_is_given_up_and_what_came_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut part = PartFile::anew(&dir.path().join("a.part")).unwrap();
        let begun = Instant::now();
        let trickle = async || {
            sleep(Duration::from_secs(5)).await;
            Ok(Some([b'x']))
        };
        let end = part.take(1 << 20, time_for(1 << 20), trickle).await;
        assert!(matches!(end, Err(DownloadError::TooSlow(63, 316))), "{end:?}");
        assert_eq!((begun.elapsed().as_secs(), part.length), (316, 63));
        assert_eq!(fs::read(dir.path().join("a.part")).unwrap().len(), 63);
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_file_at_a_common_speed_has_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let mut part = PartFile::anew(&dir.path().join("a.part")).unwrap();
        let mut left = 200;
        let slow = async || {
            sleep(Duration::from_secs(1)).await;
            left -= 1;
            Ok((left >= 0).then(|| vec![0; 16 << 10]))
        };
        part.take(200 << 14, time_for(200 << 14), slow).await.unwrap();
        assert_eq!(part.length, 200 << 14);
    }
}
