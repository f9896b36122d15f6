//! What identifies a machine: its disk, as run directories are there and can be resumed there only.

use std::path::{Path, PathBuf};

use fleetlogs_engine::schedule::state::StateError;
use fleetlogs_model::files::dir_of;
use fleetlogs_model::whole_file::write_whole;

/// The id of this machine's disk, kept beside the state of the schedule. It is made the first time.
pub(super) fn machine_id(state: &Path) -> Result<String, StateError> {
    let mut path = state.as_os_str().to_owned();
    path.push(".disk");
    let path = PathBuf::from(path);
    let failed = |error| StateError::File(path.clone(), error);
    match std::fs::read_to_string(&path) {
        // A version that has more to say than an id says it as JSON.
        Ok(text) if text.trim_start().starts_with('{') => {
            Err(failed(std::io::Error::other("it was written by a newer fleetlogs; use that version")))
        }
        Ok(name) if !name.trim().is_empty() => Ok(name.trim().to_owned()),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(error)),
        _ => {
            let name = uuid::Uuid::new_v4().to_string();
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            write_whole(dir_of(&path), &file, name.as_bytes()).map_err(failed)?;
            Ok(name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_keeps_its_id_and_one_of_a_newer_version_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("schedule.db");
        let id = machine_id(&state).unwrap();
        assert_eq!(machine_id(&state).unwrap(), id);
        let file = dir.path().join("schedule.db.disk");
        std::fs::write(&file, r#"{"schema":"fleetlogs.disk/v2","id":"a"}"#).unwrap();
        let refused = machine_id(&state).unwrap_err().to_string();
        assert!(refused.contains("written by a newer fleetlogs"), "{refused}");
    }
}
