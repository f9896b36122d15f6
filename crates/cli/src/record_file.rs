//! The file in a run directory that says where the record of its run is, if that is in Blob storage.

use std::io::{self, Read as _};
use std::path::Path;

use fleetlogs_model::files::owner_only;
use fleetlogs_model::schema::SchemaVersion;
use fleetlogs_model::whole_file::write_whole;
use serde::{Deserialize, Serialize};

/// Its name.
pub(crate) const RECORD_FILE: &str = "journal.json";

const SCHEMA: &str = "fleetlogs.journal/v1";

/// The most bytes of the file: a URL and a path.
const LONGEST: u64 = 64 << 10;

/// Where the record of a run is in Blob storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecordInBlob {
    /// Its directory, without a SAS.
    pub(crate) url: String,
    /// A config that opens it, by its path on this machine.
    pub(crate) config: String,
}

#[derive(Serialize, Deserialize)]
struct Document {
    schema: String,
    journal: String,
    config: String,
}

impl RecordInBlob {
    /// What the file in a directory says. None if there is no such file: the record is in the directory itself.
    pub(crate) fn read_in(dir: &Path) -> io::Result<Option<Self>> {
        let file = match owner_only().read().open(&dir.join(RECORD_FILE)) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            file => file?,
        };
        let mut text = String::new();
        file.take(LONGEST).read_to_string(&mut text)?;
        let unusable = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
        if let Ok(SchemaVersion { schema }) = serde_json::from_str(&text)
            && schema != SCHEMA
        {
            return Err(unusable(format!("it has schema `{schema}`, but this fleetlogs reads `{SCHEMA}`")));
        }
        match serde_json::from_str(&text) {
            Ok(Document { schema: _, journal, config }) => Ok(Some(Self { url: journal, config })),
            Err(_) => Err(unusable("it does not say where the journal is".into())),
        }
    }

    /// Writes the file.
    pub(crate) fn write_in(&self, dir: &Path) -> io::Result<()> {
        let document =
            Document { schema: SCHEMA.into(), journal: self.url.clone(), config: self.config.clone() };
        let text = serde_json::to_string_pretty(&document)? + "\n";
        write_whole(dir, RECORD_FILE, text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format_lock::{Additions, assert_locked};

    #[test]
    fn the_file_that_says_where_a_journal_is_is_locked() {
        let dir = tempfile::tempdir().unwrap();
        let record = RecordInBlob { url: "https://a/b/c".into(), config: "/srv/fleetlogs.toml".into() };
        record.write_in(dir.path()).unwrap();
        let text = std::fs::read_to_string(dir.path().join(RECORD_FILE)).unwrap();
        let form = [(RECORD_FILE.to_owned(), text.split_whitespace().collect())].into();
        assert_locked("journal-file", SCHEMA.rsplit('/').next().unwrap(), &form, &Additions::default());
    }

    #[test]
    fn what_is_written_is_read_and_what_is_not_understood_is_not_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(RecordInBlob::read_in(dir.path()).unwrap(), None);
        assert_eq!(RecordInBlob::read_in(&dir.path().join("absent")).unwrap(), None);
        let record = RecordInBlob { url: "https://a/b/c".into(), config: "/srv/fleetlogs.toml".into() };
        record.write_in(dir.path()).unwrap();
        assert_eq!(RecordInBlob::read_in(dir.path()).unwrap(), Some(record));
        let file = dir.path().join(RECORD_FILE);
        for (other, told) in [
            ("", "does not say where the journal is"),
            ("{}", "does not say where the journal is"),
            (
                r#"{"schema":"fleetlogs.journal/v1","journal":"https://a"}"#,
                "does not say where the journal is",
            ),
            (
                r#"{"schema":"fleetlogs.journal/v2","place":["https://a"]}"#,
                "has schema `fleetlogs.journal/v2`",
            ),
        ] {
            std::fs::write(&file, other).unwrap();
            let refused = RecordInBlob::read_in(dir.path()).unwrap_err().to_string();
            assert!(refused.contains(told), "{other}: {refused}");
        }
    }
}
