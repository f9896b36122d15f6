//! `files.csv`: a line per file, as `fleetlogs verify` found it; and the reader for the file of the verification
//! before.
//!
//! It is written for spreadsheets and read again by the next verification, so names are spelled in a way that can be
//! read back exactly. The lines of a directory are together; the order of directories has no meaning.

use std::collections::HashMap;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::Path;

use csv::{Position, StringRecord};
use fleetlogs_model::interval::Interval;
use fleetlogs_model::inventory::{FileStatus, InventoryFile};
use fleetlogs_model::planned::NodeAt;
use fleetlogs_model::timestamp::{self, clamped};
use fleetlogs_model::whole_file::WholeFile;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::spelling::{spelled, unspelled};
use crate::files::FILES_FILE;
use crate::text::for_spreadsheet;

const COLUMNS: [&str; 12] = [
    "account",
    "pool",
    "node",
    "directory",
    "file",
    "bytes",
    "last_modified",
    "etag",
    "content_md5",
    "first_time",
    "last_time",
    "status",
];

/// Column of the directory.
const DIRECTORY: usize = 3;

/// The table under construction.
pub(super) struct Inventory(csv::Writer<WholeFile>);

impl Inventory {
    pub(super) fn begin(dir: &Path) -> io::Result<Self> {
        let mut csv = csv::Writer::from_writer(WholeFile::create(dir, FILES_FILE)?);
        csv.write_record(COLUMNS)?;
        Ok(Self(csv))
    }

    /// Writes the files of a node.
    pub(super) fn node(
        &mut self,
        node: NodeAt<'_>,
        directory: &str,
        files: &[InventoryFile],
    ) -> csv::Result<()> {
        let account = for_spreadsheet(node.account().as_str());
        let id = node.id();
        let (pool, id) = (for_spreadsheet(node.pool().as_str()), for_spreadsheet(&id));
        let directory = spelled(directory);
        for file in files {
            let time = |time: Option<OffsetDateTime>| time.map(timestamp::text).unwrap_or_default();
            let cells: [&str; COLUMNS.len()] = [
                &account,
                &pool,
                &id,
                &directory,
                &spelled(&file.file),
                &file.bytes.to_string(),
                &time(file.last_modified),
                &spelled(file.etag.as_deref().unwrap_or_default()),
                &spelled(file.content_md5.as_deref().unwrap_or_default()),
                &time(file.lines.map(|lines| lines.from)),
                &time(file.lines.map(|lines| lines.to)),
                file.status.as_str(),
            ];
            self.0.write_record(cells)?;
        }
        Ok(())
    }

    pub(super) fn commit(self) -> io::Result<()> {
        self.0.into_inner().map_err(csv::IntoInnerError::into_error)?.commit()
    }
}

/// The inventory of an earlier verification. It keeps only where the lines of each directory are.
pub struct EarlierInventory {
    csv: csv::Reader<File>,
    hasher: RandomState,
    places: HashMap<u64, Position>,
}

/// An inventory that was changed after it was written.
#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    /// It cannot be read, or is not a table.
    #[error(transparent)]
    Table(#[from] csv::Error),
    /// It has other columns.
    #[error("its columns are not those of an inventory of this version")]
    Columns,
    /// A cell has an impossible value.
    #[error("line {line}: `{column}` cannot be read")]
    Cell {
        /// Which line, from 1.
        line: u64,
        /// Which column.
        column: &'static str,
    },
}

impl EarlierInventory {
    /// Opens the inventory of a run directory and reads it once; none if there is none.
    pub fn open(dir: &Path) -> Result<Option<Self>, InventoryError> {
        let file = match File::open(dir.join(FILES_FILE)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(csv::Error::from(error).into()),
        };
        let mut csv = csv::Reader::from_reader(file);
        if *csv.headers()? != COLUMNS[..] {
            return Err(InventoryError::Columns);
        }
        let hasher = RandomState::new();
        let mut places = HashMap::new();
        let mut line = StringRecord::new();
        loop {
            let place = csv.position().clone();
            if !csv.read_record(&mut line)? {
                break;
            }
            places.entry(hasher.hash_one(&line[DIRECTORY])).or_insert(place);
        }
        Ok(Some(Self { csv, hasher, places }))
    }

    /// The lines of a directory; none where it has none.
    pub fn of(&mut self, directory: &str) -> Result<Vec<InventoryFile>, InventoryError> {
        let directory = spelled(directory);
        let mut files = Vec::new();
        let Some(place) = self.places.get(&self.hasher.hash_one(&*directory)) else { return Ok(files) };
        self.csv.seek(place.clone())?;
        let mut line = StringRecord::new();
        while self.csv.read_record(&mut line)? && line[DIRECTORY] == *directory {
            files.push(file(&line)?);
        }
        Ok(files)
    }
}

fn file(line: &StringRecord) -> Result<InventoryFile, InventoryError> {
    let number = line.position().map_or(0, Position::line);
    let wrong = |column: &'static str| InventoryError::Cell { line: number, column };
    let time = |at: usize| match &line[at] {
        "" => Ok(None),
        text => OffsetDateTime::parse(text, &Rfc3339).map(clamped).map(Some).map_err(|_| wrong(COLUMNS[at])),
    };
    let name = |at: usize| unspelled(&line[at]).ok_or_else(|| wrong(COLUMNS[at]));
    let said = |at: usize| name(at).map(|text| Some(text).filter(|text| !text.is_empty()).map(String::into));
    let status = FileStatus::ALL.into_iter().find(|status| status.as_str() == &line[11]);
    let lines = time(9)?.zip(time(10)?).map(|(first, last)| Interval::between(first, last));
    Ok(InventoryFile {
        file: name(4)?.into(),
        bytes: line[5].parse().map_err(|_| wrong("bytes"))?,
        last_modified: time(6)?,
        etag: said(7)?,
        content_md5: said(8)?,
        lines,
        status: status.ok_or_else(|| wrong("status"))?,
    })
}

#[cfg(test)]
mod tests {
    use fleetlogs_model::ids::{AccountName, NodeId, NodeIndex, PoolId};
    use time::macros::datetime;

    use super::*;
    use crate::bundle::LogFile;
    use crate::format_lock::{Additions, Form, assert_locked};
    use crate::testing::{plan_of, planned};

    /// `files.csv` has no version: its columns stand for it. Nor has a line of `logs.jsonl`, which may gain members.
    #[test]
    fn the_tables_of_files_are_locked() {
        let text = |md5: Option<&str>| {
            let log = LogFile {
                account: AccountName::new("contoso"),
                pool: PoolId::new("Render"),
                node: NodeId::new("tvm-1"),
                blob: "d/agent.log".into(),
                file: "logs/contoso/Render/tvm-1/agent.log".into(),
                bytes: 6,
                etag: "0x8D".into(),
                md5: md5.map(Into::into),
            };
            serde_json::to_string(&log).unwrap()
        };
        let mut form = Form::from([
            ("logs.jsonl with all".into(), text(Some("00"))),
            ("logs.jsonl".into(), text(None)),
            ("columns".into(), COLUMNS.join(",")),
        ]);
        form.extend(
            FileStatus::ALL.map(|status| (format!("status {}", status.as_str()), format!("{status:?}"))),
        );
        assert_locked("files", "v1", &form, &Additions::default());
    }

    fn file(name: &str, status: FileStatus) -> InventoryFile {
        InventoryFile {
            file: name.into(),
            bytes: 42,
            last_modified: Some(datetime!(2026-11-22 09:30:00 UTC)),
            etag: Some("0x8D".into()),
            content_md5: Some("+abc==".into()),
            lines: Some(Interval::between(
                datetime!(2026-11-22 09:00:00.125 UTC),
                datetime!(2026-11-22 09:30:00 UTC),
            )),
            status,
        }
    }

    #[test]
    fn what_is_written_is_read_again_directory_by_directory() {
        let dir = tempfile::tempdir().unwrap();
        let plan = plan_of(vec![planned("contoso", "pool", "n0"), planned("contoso", "pool", "n1")]);
        let bare = InventoryFile {
            last_modified: None,
            etag: None,
            content_md5: None,
            lines: None,
            ..file("=cmd|' /C calc'!A1\u{1b}[2J", FileStatus::Missing)
        };
        let hostile =
            ["=f", "'=f", "a b.log", "a\nb.log", "\\u{a}", " "].map(|name| file(name, FileStatus::Present));
        let first = [vec![file("a, \"b\".log", FileStatus::Present), bare], hostile.into()].concat();
        let second: Vec<_> = FileStatus::ALL.map(|status| file("archive/x.log", status)).into();
        let mut inventory = Inventory::begin(dir.path()).unwrap();
        inventory.node(plan.node(NodeIndex(0)), "=acc/pool/n0/id", &first).unwrap();
        inventory.node(plan.node(NodeIndex(1)), "acc/pool/n1/id", &second).unwrap();
        inventory.commit().unwrap();

        let mut earlier = EarlierInventory::open(dir.path()).unwrap().unwrap();
        assert_eq!(earlier.of("acc/pool/n1/id").unwrap(), second);
        assert_eq!(earlier.of("=acc/pool/n0/id").unwrap(), first);
        assert_eq!(earlier.of("acc/pool/n2/id").unwrap(), []);
        let text = std::fs::read_to_string(dir.path().join(FILES_FILE)).unwrap();
        assert!(!text.contains('\u{1b}') && !text.contains(",=") && !text.contains(",+"), "{text}");
    }

    #[test]
    fn a_table_that_was_edited_says_where_it_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        assert!(EarlierInventory::open(dir.path()).unwrap().is_none());
        let open = |text: String| {
            std::fs::write(dir.path().join(FILES_FILE), text).unwrap();
            EarlierInventory::open(dir.path()).map(Option::unwrap)
        };
        assert!(matches!(open("a,b\n".into()), Err(InventoryError::Columns)));
        let head = COLUMNS.join(",");
        assert!(matches!(open(format!("{head}\na,b\n")), Err(InventoryError::Table(_))));
        let mut edited = open(format!("{head}\na,p,n,d,f,4 KB,,,,,,present\n")).unwrap();
        assert_eq!(edited.of("d").unwrap_err().to_string(), "line 2: `bytes` cannot be read");
        let mut edited = open(format!("{head}\na,p,n,d,a\\b,4,,,,,,present\n")).unwrap();
        assert_eq!(edited.of("d").unwrap_err().to_string(), "line 2: `file` cannot be read");
    }
}
