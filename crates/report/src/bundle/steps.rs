//! Writes a bundle, step by step.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use fleetlogs_model::files::owner_only;
use fleetlogs_model::plan::Plan;

use super::archive::{AddedEntry, Archive, BundleError};
use super::contents::{Bundle, FinishedBundle, ListedFile};
use super::logs::{LogFile, log_files};
use super::name::{evidence_path, is_safe_path};
use super::node_lines::LineSpan;
use super::notes::Notes;
use super::own_files::{MANIFEST_SUM_FILE, NOTES_FILE, README_FILE};
use super::readme::Readme;
use super::survey::Survey;
use crate::files::{
    COVERAGE_FILE, FILES_FILE, LOGS_FILE, MANIFEST_FILE, NODES_FILE, PAGE_FILE, PLAN_FILE, SUMMARY_FILE,
    TICKET_FILE, VERIFY_FILE,
};
use crate::manifest::LeftOutRecord;
use crate::text::counted;

/// Files of a run directory that go into the bundle: name there, name in the bundle, and whether every run has it.
const FILES: [(&str, &str, bool); 10] = [
    (MANIFEST_FILE, MANIFEST_FILE, true),
    (NODES_FILE, NODES_FILE, true),
    (PLAN_FILE, PLAN_FILE, true),
    (SUMMARY_FILE, SUMMARY_FILE, true),
    (PAGE_FILE, PAGE_FILE, true),
    (TICKET_FILE, TICKET_FILE, false),
    (VERIFY_FILE, VERIFY_FILE, false),
    (COVERAGE_FILE, COVERAGE_FILE, false),
    (FILES_FILE, FILES_FILE, false),
    ("log.jsonl", "tool.log.jsonl", true),
];

/// The list of skipped nodes and pools.
const LEFT_OUT_FILE: &str = "left-out.jsonl";

impl Bundle<'_> {
    /// Writes the bundle. What cannot be read is noted; only a target that cannot be written is an error.
    pub fn write<W: Write + Seek>(self, target: W) -> Result<FinishedBundle<W>, BundleError> {
        let archive = Archive::begin(target, Self::name(self.plan), self.facts.ended_at);
        let mut steps = Steps { archive, listed: vec![], absent: vec![], notes: self.notes.clone() };
        let manifest = steps.files(self.dir)?;
        if let Some(sha256) = manifest {
            steps.add(MANIFEST_SUM_FILE, 0, format!("{sha256}  {MANIFEST_FILE}\n").as_bytes())?;
        }
        let path = self.dir.join(MANIFEST_FILE);
        let survey = Survey::of(&path, self.facts.verification).unwrap_or_else(|error| {
            steps
                .notes
                .add(format!("the evidence of the nodes cannot be read from `{MANIFEST_FILE}`: {error}"));
            Survey::default()
        });
        steps.evidence(&path, &survey)?;
        steps.left_out(self.plan)?;
        if self.logs.is_some() {
            steps.logs(self.dir)?;
        }
        for extra in self.extras {
            steps.archive.add_verbatim(extra.name, extra.content.as_bytes())?;
        }
        let Steps { mut archive, listed, absent, notes } = steps;
        let readme =
            Readme { bundle: &self, survey: &survey, listed: &listed, absent: &absent, notes: &notes };
        archive.add(README_FILE, 0, readme.to_markdown().as_bytes())?;
        if !notes.is_empty() {
            archive.add(NOTES_FILE, 0, notes.markdown().as_bytes())?;
        }
        let (target, entries) = archive.finish()?;
        Ok(FinishedBundle { target, entries, notes })
    }
}

/// A bundle under way.
struct Steps<W: Write + Seek> {
    archive: Archive<W>,
    /// The files so far, except logs and evidence, of which there may be very many.
    listed: Vec<ListedFile>,
    /// Optional files that this run does not have.
    absent: Vec<&'static str>,
    notes: Notes,
}

impl<W: Write + Seek> Steps<W> {
    /// The files of the run directory. Returns the digest of the manifest that is in the bundle.
    fn files(&mut self, dir: &Path) -> Result<Option<String>, BundleError> {
        let mut manifest = None;
        for (from, to, required) in FILES {
            match open(&dir.join(from)) {
                Ok((file, size)) => {
                    let sha256 = self.add(to, size, file)?;
                    if from == MANIFEST_FILE {
                        manifest = Some(sha256);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound && !required => self.absent.push(to),
                Err(error) => self.notes.add(format!("`{to}` is missing: {error}")),
            }
        }
        Ok(manifest)
    }

    /// Adds a file, and notes what is wrong with it. Returns its digest.
    fn add(&mut self, name: &str, size: u64, source: impl Read) -> Result<String, BundleError> {
        let added = self.archive.add(name, size, source)?;
        self.note(name, &added);
        self.listed.push(ListedFile { name: name.to_owned(), bytes: added.bytes });
        Ok(added.sha256)
    }

    fn note(&mut self, name: &str, added: &AddedEntry) {
        let entry = &added.name;
        if entry != name {
            self.notes.add(format!("`{name}` is `{entry}` here, as another file has that name in upper or lower case, or it held a secret"));
        }
        if let Some(error) = &added.cut {
            self.notes.add(format!("`{name}` is cut off, because it could not be read to its end: {error}"));
        }
        if added.removed > 0 {
            let texts = counted(added.removed, "text");
            self.notes
                .add(format!("`{name}`: {texts} left out that looked like a signature, a key or a token"));
        }
    }

    /// What is known of each node, in a file for each pool.
    fn evidence(&mut self, manifest: &Path, survey: &Survey) -> Result<(), BundleError> {
        for ((account, pool), places) in &survey.pools {
            let name = evidence_path(account, pool);
            match File::open(manifest) {
                Ok(manifest) => {
                    let size = places.iter().map(|place| u64::from(place.length) + 1).sum();
                    let added = self.archive.add(&name, size, lines_at(manifest, places))?;
                    self.note(&name, &added);
                }
                Err(error) => self.notes.add(format!("`{name}` is missing: {error}")),
            }
        }
        Ok(())
    }

    /// What was skipped, with what is known of it.
    fn left_out(&mut self, plan: &Plan) -> Result<(), BundleError> {
        if plan.left_out.is_empty() {
            return Ok(());
        }
        let mut lines = plan.left_out.iter();
        let source = Generated::new(|line| {
            let Some(left) = lines.next() else { return Ok(false) };
            serde_json::to_writer(&mut *line, &LeftOutRecord::from(left))?;
            line.push(b'\n');
            Ok(true)
        });
        self.add(LEFT_OUT_FILE, 0, source).map(|_| ())
    }

    /// The logs that are in the run directory.
    fn logs(&mut self, dir: &Path) -> Result<(), BundleError> {
        match open(&dir.join(LOGS_FILE)) {
            Ok((file, size)) => self.add(LOGS_FILE, size, file)?,
            // The notes already say why no logs could be downloaded.
            Err(_) => return Ok(()),
        };
        let files = match log_files(dir) {
            Ok(files) => files,
            Err(error) => {
                self.notes.add(format!("the logs are missing: {error}"));
                return Ok(());
            }
        };
        for file in files {
            match file.and_then(|log| Ok((open_log(dir, &log)?, log.file))) {
                Ok(((file, size), name)) => {
                    let added = self.archive.add(&name, size, file)?;
                    self.note(&name, &added);
                }
                Err(error) => self.notes.add(format!("a log is missing: {error}")),
            }
        }
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    // A link in a run directory would put another file into the bundle.
    let file = owner_only().read().open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

fn open_log(dir: &Path, log: &LogFile) -> io::Result<(File, u64)> {
    if log.file.starts_with("logs/") && is_safe_path(&log.file) {
        open(&dir.join(&log.file))
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, "its name leads elsewhere"))
    }
}

/// Some lines of a file, one after another.
fn lines_at(mut file: File, places: &[LineSpan]) -> impl Read {
    let mut places = places.iter();
    Generated::new(move |line| {
        let Some(place) = places.next() else { return Ok(false) };
        line.resize(place.length as usize, 0);
        file.seek(SeekFrom::Start(place.at))?;
        file.read_exact(line)?;
        line.push(b'\n');
        Ok(true)
    })
}

/// A text that is produced line by line while it is read.
struct Generated<F> {
    /// Fills an empty line; false at the end.
    next: F,
    line: Vec<u8>,
    at: usize,
}

impl<F: FnMut(&mut Vec<u8>) -> io::Result<bool>> Generated<F> {
    fn new(next: F) -> Self {
        Self { next, line: vec![], at: 0 }
    }
}

impl<F: FnMut(&mut Vec<u8>) -> io::Result<bool>> Read for Generated<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.line.len() {
            self.line.clear();
            self.at = 0;
            if !(self.next)(&mut self.line)? {
                return Ok(0);
            }
        }
        let length = buffer.len().min(self.line.len() - self.at);
        buffer[..length].copy_from_slice(&self.line[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}
