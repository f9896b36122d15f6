//! Checks a bundle. Nothing in it is trusted, neither names nor sizes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use fleetlogs_model::hex::hex;
use fleetlogs_model::outcome::{Outcome, OutcomeCounts};
use fleetlogs_model::schema::SchemaVersion;
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use sha2::{Digest, Sha256};
use zip::ZipArchive;
use zip::read::ZipFile;

use super::name::is_safe_path;
use super::own_files::{MANIFEST_SUM_FILE, README_FILE, SUMS_FILE};
use crate::files::MANIFEST_FILE;
use crate::manifest::MANIFEST_VERSION;
use crate::text::{counted, number};

/// Problems that are kept; further ones are only counted.
const MOST_PROBLEMS: usize = 100;

/// Longest line of a list of checksums.
const LONGEST_LINE: u64 = 8 * 1024;

/// Files that every bundle has.
const REQUIRED: [&str; 3] = [README_FILE, MANIFEST_FILE, MANIFEST_SUM_FILE];

/// What was found in a bundle.
#[derive(Debug, Default)]
pub struct CheckedBundle {
    /// SHA-256 of the file as a whole, in hex.
    pub sha256: String,
    /// Files in it.
    pub entries: u64,
    /// What is wrong, a sentence each, without secrets. Names in it are untrusted.
    pub problems: Vec<String>,
    /// Number of further problems.
    pub more: u64,
}

impl CheckedBundle {
    /// Whether the bundle is consistent. This does not prove that it is unchanged: whoever changes an entry can also
    /// change its checksum.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    fn add(&mut self, problem: impl Into<String>) {
        if self.problems.len() < MOST_PROBLEMS {
            self.problems.push(problem.into());
        } else {
            self.more += 1;
        }
    }
}

/// Checks a bundle. `sha256` is the expected digest of the whole file, in hex, if it is known from elsewhere.
pub fn check_bundle(path: &Path, sha256: Option<&str>) -> io::Result<CheckedBundle> {
    let mut file = File::open(path)?;
    let mut digest = DigestWriter::default();
    io::copy(&mut file, &mut digest)?;
    let mut checked = CheckedBundle { sha256: digest.hex(), ..CheckedBundle::default() };
    if let Some(expected) = sha256.filter(|expected| !expected.trim().eq_ignore_ascii_case(&checked.sha256)) {
        checked.add(format!("its SHA-256 is {}, not {}", checked.sha256, expected.trim()));
    }
    let ends_well = ends_with_end_record(&mut file)?;
    file.rewind()?;
    match ZipArchive::new(BufReader::new(file)) {
        Ok(mut archive) => {
            checked.entries = archive.len() as u64;
            if !ends_well {
                checked.add("there is data after its end record");
            }
            Check { checked: &mut checked }.archive(&mut archive);
        }
        Err(error) => checked.add(format!("it is not a zip file: {error}")),
    }
    Ok(checked)
}

/// Length of a zip file's end record without a comment.
const END_RECORD: usize = 22;

/// Whether the file ends with the end record, and that has no comment.
fn ends_with_end_record(file: &mut File) -> io::Result<bool> {
    let Some(begin) = file.seek(SeekFrom::End(0))?.checked_sub(END_RECORD as u64) else { return Ok(false) };
    file.seek(SeekFrom::Start(begin))?;
    let mut end = [0; END_RECORD];
    file.read_exact(&mut end)?;
    Ok(end.starts_with(b"PK\x05\x06") && end.ends_with(&[0, 0]))
}

struct Check<'a> {
    checked: &'a mut CheckedBundle,
}

impl Check<'_> {
    fn archive(&mut self, archive: &mut ZipArchive<impl Read + Seek>) {
        if let Err(error) = archive.validate_header_consistency() {
            self.checked.add(format!("its headers contradict each other: {error}"));
            return;
        }
        if archive.offset() > 0 || !archive.comment().is_empty() {
            self.checked.add("there is data before its first file or in its comment");
        }
        let Some(names) = self.names(archive) else { return };
        let Some(sums) = self.sums(archive, &names) else { return };
        for (name, index) in &names {
            if name == SUMS_FILE {
                continue;
            }
            match (digest_of(archive, *index), sums.get(name)) {
                (Ok(_), None) => self.checked.add(format!("`{name}` is not in {SUMS_FILE}")),
                (Ok(have), Some(want)) if have != *want => {
                    self.checked.add(format!("`{name}` does not have the checksum in {SUMS_FILE}"));
                }
                (Ok(_), Some(_)) => {}
                (Err(error), _) => self.checked.add(format!("`{name}` cannot be read: {error}")),
            }
        }
        for name in sums.keys().filter(|name| !names.contains_key(*name)) {
            self.checked.add(format!("`{name}` is in {SUMS_FILE}, but not in the bundle"));
        }
        for name in REQUIRED.iter().filter(|name| !names.contains_key(**name)) {
            self.checked.add(format!("`{name}` is missing"));
        }
        if let Some(index) = names.get(MANIFEST_FILE) {
            self.manifest(archive, *index, names.get(MANIFEST_SUM_FILE).copied());
        }
    }

    /// Every entry by its name below the top directory; none if there is more than one top directory.
    fn names(&mut self, archive: &mut ZipArchive<impl Read + Seek>) -> Option<BTreeMap<String, usize>> {
        let mut tops = BTreeSet::new();
        let mut names = BTreeMap::new();
        let mut folded = BTreeSet::new();
        for index in 0..archive.len() {
            let entry = match archive.by_index_raw(index) {
                Ok(entry) => entry,
                Err(error) => {
                    self.checked.add(format!("entry {index} cannot be read: {error}"));
                    continue;
                }
            };
            let Ok(name) = std::str::from_utf8(entry.name_raw()).map(str::to_owned) else {
                self.checked.add(format!("the name of entry {index} is not text"));
                continue;
            };
            if !is_safe_path(&name) {
                self.checked.add(format!("`{name}` leads out of its directory or is not a plain name"));
            } else if !is_plain(&entry) {
                self.checked.add(format!("`{name}` is not a plain file"));
            } else if name.split('/').any(is_device) {
                self.checked.add(format!("`{name}` has the name of a device on Windows"));
            } else if !folded.insert(name.to_lowercase()) {
                self.checked.add(format!("`{name}` differs from another name only in upper and lower case"));
            } else if let Some((top, rest)) = name.split_once('/') {
                tops.insert(top.to_owned());
                names.insert(rest.to_owned(), index);
            } else {
                self.checked.add(format!("`{name}` is not in a directory"));
            }
        }
        if tops.len() > 1 {
            let tops: Vec<_> = tops.into_iter().take(3).collect();
            self.checked.add(format!("there is more than one directory in it: {}", tops.join(", ")));
            return None;
        }
        Some(names)
    }

    fn sums(
        &mut self,
        archive: &mut ZipArchive<impl Read + Seek>,
        names: &BTreeMap<String, usize>,
    ) -> Option<BTreeMap<String, String>> {
        let Some(index) = names.get(SUMS_FILE) else {
            self.checked.add(format!("`{SUMS_FILE}` is missing"));
            return None;
        };
        let mut sums = BTreeMap::new();
        let entry = match content(archive, *index) {
            Ok(entry) => entry,
            Err(error) => {
                self.checked.add(format!("`{SUMS_FILE}` cannot be read: {error}"));
                return None;
            }
        };
        let mut lines = BufReader::new(entry);
        for number in 1_u64.. {
            let mut line = String::new();
            match lines.by_ref().take(LONGEST_LINE).read_line(&mut line) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    self.checked.add(format!("`{SUMS_FILE}` cannot be read: {error}"));
                    return None;
                }
            }
            match line.strip_suffix('\n').and_then(sum_of_line) {
                Some((sum, name)) => {
                    if sums.insert(name.to_owned(), sum.to_ascii_lowercase()).is_some() {
                        self.checked.add(format!("`{name}` is in {SUMS_FILE} twice"));
                    }
                }
                None => {
                    self.checked.add(format!("line {number} of {SUMS_FILE} is not a checksum and a name"));
                }
            }
        }
        Some(sums)
    }

    /// Checks the manifest against its own checksum, and its counts against its nodes.
    fn manifest(&mut self, archive: &mut ZipArchive<impl Read + Seek>, index: usize, sum: Option<usize>) {
        let wanted = sum.map(|sum| read_small(archive, sum));
        match (digest_of(archive, index), wanted) {
            (Ok(have), Some(Ok(text))) if text == format!("{have}  {MANIFEST_FILE}\n") => {}
            (_, None) | (Err(_), _) => {}
            _ => self
                .checked
                .add(format!("`{MANIFEST_FILE}` does not have the checksum in `{MANIFEST_SUM_FILE}`")),
        }
        let counted = parsed::<ManifestCounts>(archive, index);
        let schema = match &counted {
            Ok(manifest) => Some(manifest.schema.clone()),
            Err(_) => parsed(archive, index).ok().map(|SchemaVersion { schema }| schema),
        };
        if let Some(schema) = schema.filter(|schema| schema != MANIFEST_VERSION) {
            self.checked.add(format!(
                "`{MANIFEST_FILE}` has the schema `{schema}`, but this fleetlogs reads `{MANIFEST_VERSION}`: check the \
                 bundle with the version that wrote it"
            ));
            return;
        }
        match counted {
            Ok(manifest) => self.counts(&manifest),
            Err(error) => self.checked.add(format!("`{MANIFEST_FILE}` cannot be parsed: {error}")),
        }
    }

    fn counts(&mut self, manifest: &ManifestCounts) {
        let nodes = &manifest.nodes.0;
        let said = |name: &str| manifest.counts.get(name).copied().unwrap_or(0);
        let names = Outcome::ALL.iter().map(|outcome| (outcome.as_str(), nodes.get(*outcome)));
        for (name, have) in std::iter::once(("planned", nodes.total())).chain(names) {
            if said(name) != have {
                self.checked.add(format!(
                    "`{MANIFEST_FILE}` counts {} {name}, but lists {}",
                    number(said(name)),
                    counted(have, "such node"),
                ));
            }
        }
    }
}

/// `<64 hex digits>  <name>`, as sha256sum writes it; a star before the name says binary.
fn sum_of_line(line: &str) -> Option<(&str, &str)> {
    let (sum, name) = line.split_at_checked(64)?;
    let name = name.strip_prefix("  ").or_else(|| name.strip_prefix(" *"))?;
    (sum.bytes().all(|byte| byte.is_ascii_hexdigit()) && !name.is_empty()).then_some((sum, name))
}

/// Whether an entry is a regular file, whatever system it claims to be from.
fn is_plain(entry: &ZipFile<'_, impl Read>) -> bool {
    const TYPE: u32 = 0o170_000;
    const REGULAR: u32 = 0o100_000;
    const SET_ID_OR_STICKY: u32 = 0o7_000;
    const DOS_LABEL_OR_DIRECTORY: u32 = 0x18;
    let attributes = entry.external_attributes();
    let mode = attributes >> 16;
    entry.is_file()
        && !entry.encrypted()
        && matches!(mode & TYPE, 0 | REGULAR)
        && mode & SET_ID_OR_STICKY == 0
        && attributes & DOS_LABEL_OR_DIRECTORY == 0
}

/// Whether a name is a device on Windows, whatever its extension.
fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_ascii_lowercase();
    let is_port = ["com", "lpt"].iter().filter_map(|kind| stem.strip_prefix(kind)).any(|number| {
        // Windows also treats the superscript digits of Latin-1 as digits.
        matches!(number, "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" | "¹" | "²" | "³")
    });
    is_port || matches!(&*stem, "con" | "nul" | "aux" | "prn")
}

/// The content of an entry, limited to the size in its header.
fn content<R: Read + Seek>(
    archive: &mut ZipArchive<R>,
    index: usize,
) -> io::Result<ExactSize<ZipFile<'_, R>>> {
    let source = archive.by_index(index)?;
    Ok(ExactSize { left: source.size(), source })
}

/// Fails if the source has more or less than the expected size. Surplus is not inflated.
struct ExactSize<R> {
    source: R,
    left: u64,
}

impl<R: Read> Read for ExactSize<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let wrong = |what| Err(io::Error::new(io::ErrorKind::InvalidData, what));
        if self.left == 0 {
            return match self.source.read(&mut [0])? {
                0 => Ok(0),
                _ => wrong("it inflates to more than its header says"),
            };
        }
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        match self.source.read(&mut buffer[..most])? {
            0 => wrong("it inflates to less than its header says"),
            read => {
                self.left -= read as u64;
                Ok(read)
            }
        }
    }
}

fn digest_of(archive: &mut ZipArchive<impl Read + Seek>, index: usize) -> io::Result<String> {
    let mut digest = DigestWriter::default();
    io::copy(&mut content(archive, index)?, &mut digest)?;
    Ok(digest.hex())
}

/// An entry as JSON.
fn parsed<T: serde::de::DeserializeOwned>(
    archive: &mut ZipArchive<impl Read + Seek>,
    index: usize,
) -> io::Result<T> {
    let mut json = serde_json::Deserializer::from_reader(BufReader::new(content(archive, index)?));
    let value = T::deserialize(&mut json)?;
    json.end()?;
    Ok(value)
}

fn read_small(archive: &mut ZipArchive<impl Read + Seek>, index: usize) -> io::Result<String> {
    let mut text = String::new();
    content(archive, index)?.take(LONGEST_LINE).read_to_string(&mut text)?;
    Ok(text)
}

/// A writer that only computes the digest.
#[derive(Default)]
struct DigestWriter(Sha256);

impl DigestWriter {
    fn hex(self) -> String {
        hex(&self.0.finalize())
    }
}

impl io::Write for DigestWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The counts of a manifest; the rest of it is not kept.
#[derive(Deserialize)]
struct ManifestCounts {
    schema: String,
    counts: BTreeMap<String, u64>,
    nodes: CountedNodes,
}

struct CountedNodes(OutcomeCounts);

impl<'de> Deserialize<'de> for CountedNodes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Counting;

        impl<'de> Visitor<'de> for Counting {
            type Value = CountedNodes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of nodes")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut nodes: A) -> Result<CountedNodes, A::Error> {
                #[derive(Deserialize)]
                struct Node {
                    outcome: Outcome,
                }
                let mut counts = OutcomeCounts::default();
                while let Some(Node { outcome }) = nodes.next_element()? {
                    counts.add(outcome);
                }
                Ok(CountedNodes(counts))
            }
        }

        deserializer.deserialize_seq(Counting)
    }
}
