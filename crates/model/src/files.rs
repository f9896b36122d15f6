//! Files that only their owner may read, and the directory of a path. Every crate that writes files uses these
//! functions.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// Options for opening a file; a file that they create is readable and writable by its owner only.
#[must_use]
pub fn owner_only() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Creates a directory that only its owner may use. It must not exist yet.
///
/// # Errors
/// It exists, its parent does not, or the file system refuses.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    private_dirs().create(path)
}

/// Creates a directory that only its owner may use, and every directory above it that is missing.
///
/// # Errors
/// The file system refuses.
pub fn create_private_dirs(path: &Path) -> io::Result<()> {
    private_dirs().recursive(true).create(path)
}

fn private_dirs() -> DirBuilder {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

/// Whether a file cannot be written because of its disk, and not because of its name or its permissions.
#[must_use]
pub fn is_disk_trouble(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    // EIO on Unix.
    let fails = cfg!(unix) && error.raw_os_error() == Some(5);
    fails || matches!(error.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem | FileTooLarge)
}

/// The directory of a path; `.` for a bare file name.
#[must_use]
pub fn dir_of(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The absolute form of a path; the path itself if the working directory is gone.
#[must_use]
pub fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_is_in_the_working_directory() {
        assert_eq!(dir_of(Path::new("plan.json")), Path::new("."));
        assert_eq!(dir_of(Path::new("runs/plan.json")), Path::new("runs"));
        assert_eq!(dir_of(Path::new("/plan.json")), Path::new("/"));
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_may_read_what_is_created() {
        use std::os::unix::fs::PermissionsExt as _;

        let dir = tempfile::tempdir().unwrap();
        let (sub, file) = (dir.path().join("sub"), dir.path().join("sub/file"));
        create_private_dir(&sub).unwrap();
        owner_only().create_new(true).write(true).open(&file).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&sub), mode(&file)), (0o700, 0o600));
    }
}
