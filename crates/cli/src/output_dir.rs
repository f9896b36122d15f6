//! The directory of all runs (`output.dir`): tried out before a run needs it.

use std::io::{self, Write as _};
use std::path::Path;

use fleetlogs_model::files::{
    absolute, create_private_dir, is_disk_trouble, owner_only, refuse_if_open_to_all,
};

use crate::error::{MAKE_ROOM, Refusal};

/// What the refusals are about.
const KEY: &str = "output.dir";

/// Makes a directory with a file in it, as a run would, and removes both: in the directory, or if it is missing, in the
/// nearest one above it, where it would be made. Permissions alone do not tell: the superuser has all of them, and still
/// no directory can be made in `/proc`.
pub(crate) fn try_out(dir: &Path) -> Result<(), Refusal> {
    let dir = absolute(dir);
    let there = dir.ancestors().find(|above| above.exists()).unwrap_or(&dir);
    let shown = dir.display();
    if !there.is_dir() {
        let what = format!("`{shown}` cannot be created: `{}` is not a directory", there.display());
        return Err(Refusal::new(what, "name another directory").about(KEY));
    }
    if there == dir {
        refuse_if_open_to_all(&dir).map_err(|error| {
            Refusal::new(format!("`{shown}` is no place for runs: {error}"), "then check again").about(KEY)
        })?;
    }
    let fails = if there == dir { "written to" } else { "created" };
    write_in(there).map_err(|error| refused(there, &format!("`{shown}` cannot be {fails}"), &error))
}

/// Makes a directory with a file in it, and removes both.
fn write_in(dir: &Path) -> io::Result<()> {
    let trial = dir.join(format!(".fleetlogs-trial-{:08x}", fastrand::u32(..)));
    let file = trial.join("file");
    create_private_dir(&trial)?;
    // To the disk: a full one may take what it cannot keep.
    let written = owner_only().create_new().write().open(&file).and_then(|mut file| {
        file.write_all(&[b'.'; 4096])?;
        file.sync_all()
    });
    let removed = std::fs::remove_file(&file);
    let emptied = std::fs::remove_dir(&trial);
    written.and(removed).and(emptied)
}

fn refused(place: &Path, what: &str, error: &io::Error) -> Refusal {
    let help = match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => "name a directory on another disk: this one is read-only".into(),
        _ if is_disk_trouble(error) => MAKE_ROOM.into(),
        io::ErrorKind::PermissionDenied => {
            "name another directory, or run as a user who may write there".into()
        }
        _ => format!("name another directory: `{}` takes no files", place.display()),
    };
    Refusal::new(format!("{what}: {error}"), help).about(KEY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(dir: &Path) -> String {
        let refusal = try_out(dir).unwrap_err();
        format!("{refusal}\nhelp: {}", refusal.help.as_deref().unwrap_or_default())
    }

    #[test]
    fn what_was_made_to_try_a_directory_is_removed_again() {
        let dir = tempfile::tempdir().unwrap();
        try_out(&dir.path().join("a/b/runs")).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let there = dir.path().join("runs");
        std::fs::create_dir(&there).unwrap();
        try_out(&there).unwrap();
        assert_eq!(std::fs::read_dir(&there).unwrap().count(), 0);
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("runs");
        std::fs::write(&file, "").unwrap();
        for wanted in [file.clone(), file.join("deeper")] {
            let told = refusal(&wanted);
            let expected = format!(
                "output.dir: `{}` cannot be created: `{}` is not a directory\nhelp: name another directory",
                wanted.display(),
                file.display()
            );
            assert_eq!(told, expected);
        }
    }

    /// The superuser has every permission there, and still nothing can be made.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_system_that_takes_no_files_is_found_out() {
        for place in ["/proc", "/sys"] {
            let told = refusal(&Path::new(place).join("fleetlogs/runs"));
            assert!(told.contains(&format!("`{place}/fleetlogs/runs` cannot be created: ")), "{told}");
            let told = refusal(Path::new(place));
            assert!(told.contains(&format!("`{place}` cannot be written to: ")), "{told}");
        }
    }
}
