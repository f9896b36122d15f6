//! One log: from the container into a file, whole or to be gone on with.
//!
//! `NAME.part` is what there is so far, and `NAME.etag` the version that it is of. The part is given its name once size
//! and MD5 agree; the version stays, so that a blob without MD5 can be told from a later one of the same size.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use fleetlogs_azure::{AzureLogStore, BlobVersion, OpenBlob, has_changed};
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::files::{create_private_dirs, owner_only};
use fleetlogs_model::retry::CallError;
use md5::{Digest as _, Md5};

use fleetlogs_model::hex::hex;

/// Why a log is not there whole.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// Storage does not give it.
    #[error("{0}")]
    Failed(Failure),
    /// It is another now than the one whose beginning was fetched.
    #[error("it changed while it was fetched; another try fetches it as it is then")]
    Changed,
    /// The file cannot be written or read.
    #[error("cannot write its file: {0}")]
    File(#[from] io::Error),
}

impl CallError for Trouble {
    fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failed(failure) => Some(failure),
            Self::Changed | Self::File(_) => None,
        }
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        if has_changed(&failure) { Self::Changed } else { Self::Failed(failure) }
    }
}

/// Where a log goes.
pub(super) struct LocalFile {
    /// Below the run directory, with slashes.
    pub(super) name: String,
    whole: PathBuf,
    part: PathBuf,
    etag: PathBuf,
}

impl LocalFile {
    pub(super) fn new(run_dir: &Path, name: String) -> Self {
        let [whole, part, etag] =
            ["", ".part", ".etag"].map(|ending| run_dir.join(format!("{name}{ending}")));
        Self { name, whole, part, etag }
    }

    /// Fetches what is missing. A file that is whole is not fetched again.
    pub(super) async fn fetch(&self, store: &AzureLogStore, blob: &str) -> Result<BlobVersion, Trouble> {
        let kept = fs::read_to_string(&self.etag).ok();
        if self.whole.exists() {
            let version = store.blob_version(blob).await?;
            if self.is_whole(&version, kept.as_deref()).await? {
                return Ok(version);
            }
            // Of another version.
            fs::remove_file(&self.whole)?;
            self.forget()?;
        }
        let mut begun = match kept {
            Some(etag) if self.part.exists() => Begun::again(&self.part, etag).await?,
            _ => Begun::anew(&self.part)?,
        };
        let from = begun.length;
        let etag = begun.etag.as_deref().filter(|_| from > 0);
        let mut open = match store.open_blob(blob, from, etag).await.map_err(Trouble::from) {
            Ok(open) => open,
            Err(trouble) => {
                // With the part there is no going on: the blob changed, or has nothing behind it.
                let beyond = trouble.failure().is_some_and(|failure| failure.status == Some(416));
                if beyond || matches!(trouble, Trouble::Changed) {
                    self.forget()?;
                }
                return Err(if beyond {
                    passing("the part that was fetched is as long as the blob")
                } else {
                    trouble
                });
            }
        };
        if from == 0 {
            write_private(&self.etag, open.version.etag.as_bytes())?;
        }
        begun.take(&mut open).await?;
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

    /// Gives the part its name, if it is what storage says.
    fn end(&self, begun: Begun, version: BlobVersion) -> Result<BlobVersion, Trouble> {
        let Begun { file, digest, length, .. } = begun;
        if length < version.size {
            return Err(passing("the answer broke off"));
        }
        let digest = digest.finalize();
        let wrong = match version.md5 {
            Some(md5) if digest[..] != md5 => {
                Some(format!("its MD5 is {}, and storage has {}", hex(&digest), hex(&md5)))
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

    /// Nothing of it is to be gone on with.
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

/// Worth another try.
fn passing(message: impl Into<Box<str>>) -> Trouble {
    Trouble::Failed(Failure::new(FailureClass::Transient, message))
}

/// A part under way.
struct Begun {
    file: File,
    digest: Md5,
    length: u64,
    etag: Option<String>,
}

impl Begun {
    fn anew(part: &Path) -> io::Result<Self> {
        if let Some(dir) = part.parent() {
            create_private_dirs(dir)?;
        }
        let file = owner_only().create(true).write(true).truncate(true).open(part)?;
        Ok(Self { file, digest: Md5::new(), length: 0, etag: None })
    }

    async fn again(part: &Path, etag: String) -> io::Result<Self> {
        let (digest, length) = digest_of(part).await?;
        let file = owner_only().append(true).open(part)?;
        Ok(Self { file, digest, length, etag: Some(etag) })
    }

    async fn take(&mut self, open: &mut OpenBlob) -> Result<(), Trouble> {
        while let Some(chunk) = open.chunk().await? {
            let bytes = chunk.as_ref();
            self.file.write_all(bytes)?;
            self.digest.update(bytes);
            self.length += bytes.len() as u64;
            if self.length > open.version.size {
                break;
            }
        }
        Ok(())
    }
}

fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    owner_only().create(true).write(true).truncate(true).open(path)?.write_all(content)
}

/// MD5 so far, and length, of a file.
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
        .unwrap_or_else(|_| Err(io::Error::other("reading it did not end")))
}
