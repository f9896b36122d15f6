//! Files that only their owner may read, and the directory of a path. Every crate that writes files uses these
//! functions.
//!
//! The directory of all runs may be one that others can write to. So no file of fleetlogs' own is opened through a link
//! that is found in its place, and a directory that everyone can write to is refused.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// Options for opening a file of fleetlogs' own: a file that they create is readable and writable by its owner only, and
/// a link, a pipe or a device in its place is not opened.
#[must_use]
pub fn owner_only() -> OwnFile {
    let mut options = owner_only_anywhere();
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        // A pipe that nobody reads would be waited for.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags.cast_signed());
    }
    OwnFile(options)
}

/// The same for a file that the user names, which may be a link or a pipe.
#[must_use]
pub fn owner_only_anywhere() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// See [`owner_only`]; otherwise like [`OpenOptions`].
#[derive(Clone, Debug)]
pub struct OwnFile(OpenOptions);

impl OwnFile {
    /// As in [`OpenOptions`].
    #[must_use]
    pub fn read(mut self) -> Self {
        self.0.read(true);
        self
    }

    /// As in [`OpenOptions`].
    #[must_use]
    pub fn write(mut self) -> Self {
        self.0.write(true);
        self
    }

    /// As in [`OpenOptions`].
    #[must_use]
    pub fn append(mut self) -> Self {
        self.0.append(true);
        self
    }

    /// As in [`OpenOptions`]: an existing file keeps its content.
    #[must_use]
    pub fn create(mut self) -> Self {
        self.0.create(true);
        self
    }

    /// As in [`OpenOptions`].
    #[must_use]
    pub fn create_new(mut self) -> Self {
        self.0.create_new(true);
        self
    }

    /// Opens the file.
    ///
    /// # Errors
    /// It is a link or not a file, another user made it where everyone can write, or the file system refuses.
    pub fn open(self, path: &Path) -> io::Result<File> {
        #[cfg(not(unix))]
        if path.is_symlink() {
            return Err(io::Error::other(IS_A_LINK));
        }
        let file = self.0.open(path).map_err(in_words)?;
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(io::Error::other("it is not a file; remove it"));
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt as _;
            let is_ours = found.uid() == rustix::process::geteuid().as_raw();
            if !is_ours && std::fs::metadata(dir_of(path))?.mode() & OTHERS_WRITE != 0 {
                return Err(io::Error::other(
                    "another user made it, in a directory that everyone can write to",
                ));
            }
        }
        Ok(file)
    }
}

const IS_A_LINK: &str = "it is a symbolic link, and what it leads to may not be changed; remove it";

/// The write permission of everybody else, in a mode.
#[cfg(unix)]
const OTHERS_WRITE: u32 = 0o002;

/// Says what the flags of [`owner_only`] refused.
#[cfg(unix)]
fn in_words(error: io::Error) -> io::Error {
    use rustix::io::Errno;
    match Errno::from_io_error(&error) {
        Some(Errno::LOOP | Errno::MLINK) => io::Error::other(IS_A_LINK),
        Some(Errno::NXIO) => io::Error::other("it is a pipe, and not a file; remove it"),
        _ => error,
    }
}

#[cfg(not(unix))]
fn in_words(error: io::Error) -> io::Error {
    error
}

/// Refuses a directory in which every user of the machine can replace files. One that is shared with a group is taken:
/// in many systems each user has a group of their own, and a team may share one. So is one like `/tmp`, in which nobody
/// can replace the files of others.
///
/// # Errors
/// Everyone can write to it, or it cannot be looked at.
pub fn refuse_if_open_to_all(dir: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        const STICKY: u32 = 0o1000;
        let mode = std::fs::metadata(dir)?.mode();
        if mode & OTHERS_WRITE != 0 && mode & STICKY == 0 {
            return Err(io::Error::other(
                "every user of this machine can write to this directory, and so replace the files in it: take that away \
                 with `chmod o-w`, or name a directory below it, which fleetlogs creates for its user only",
            ));
        }
    }
    #[cfg(not(unix))]
    let _ = dir;
    Ok(())
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
        owner_only().create_new().write().open(&file).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&sub), mode(&file)), (0o700, 0o600));
    }

    #[cfg(unix)]
    #[test]
    fn what_stands_in_the_place_of_a_file_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let (victim, link, pipe) =
            (dir.path().join("victim"), dir.path().join("link"), dir.path().join("pipe"));
        std::fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, &link).unwrap();
        std::os::unix::fs::symlink(dir.path().join("nothing"), dir.path().join("dangling")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        for (name, why) in [("link", "symbolic link"), ("dangling", "symbolic link"), ("pipe", "not a file")]
        {
            let options = [
                owner_only().write().create(),
                owner_only().append().create(),
                owner_only().read().write().create(),
            ];
            for options in options {
                let error = options.open(&dir.path().join(name)).unwrap_err();
                assert!(error.to_string().contains(why), "{name}: {error}");
            }
        }
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
        assert!(!dir.path().join("nothing").exists());
        owner_only().write().create().open(&victim).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn only_a_directory_that_everyone_can_change_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;

        let dir = tempfile::tempdir().unwrap();
        for (mode, good) in [
            (0o700, true),
            (0o755, true),
            (0o775, true),
            (0o2775, true),
            (0o1777, true),
            (0o777, false),
            (0o702, false),
        ] {
            std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(refuse_if_open_to_all(dir.path()).is_ok(), good, "{mode:o}");
        }
    }
}
