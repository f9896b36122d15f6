//! What a file or directory is that a person names: so one that stands in the place of another is called by its name.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use fleetlogs_engine::local_store::PLAN_FILE;
use fleetlogs_model::files::dir_of;

use crate::config::SecretForm;
use crate::input_file::decode;
use crate::record_file::RECORD_FILE;
use crate::typed_path::as_argument;

/// What a file or directory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// The directory of a run.
    RunDirectory,
    /// Another directory.
    Directory,
    /// A database of SQLite, such as the journal of a run.
    Database,
    /// A document of fleetlogs, by the name in its schema, such as `plan` or `manifest`.
    Document(String),
    /// Other JSON.
    Json,
    Yaml,
    /// XML or HTML.
    Markup,
    /// A zip or gzip file.
    Archive,
    /// Not text.
    Binary,
    /// A secret, alone in its file.
    Secret(SecretForm),
    /// A scenario of the simulator.
    Scenario,
    /// A config.
    Config,
}

/// This much of a file tells what it is.
const HEAD: u64 = 16 * 1024;

impl FileKind {
    /// What is at a path, if it is one of these. A pipe is not read.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        if metadata.is_dir() {
            // A run that was killed at its very beginning has no journal yet.
            let has = |name: &str| path.join(name).is_file();
            let is_run = has("run.db") || has(RECORD_FILE) || (has(PLAN_FILE) && has("run.lock"));
            return Some(if is_run { Self::RunDirectory } else { Self::Directory });
        }
        if !metadata.is_file() {
            return None;
        }
        let mut head = Vec::new();
        File::open(path).ok()?.take(HEAD).read_to_end(&mut head).ok()?;
        Self::of_head(&head)
    }

    /// What a file is that begins with these bytes.
    pub(crate) fn of_head(head: &[u8]) -> Option<Self> {
        let begins = |magic: &[u8]| head.starts_with(magic);
        if begins(b"SQLite format 3\0") {
            return Some(Self::Database);
        }
        if begins(b"PK\x03\x04") || begins(b"\x1f\x8b") {
            return Some(Self::Archive);
        }
        // The head may end within a character, or within half of one.
        let text = (0..4).find_map(|cut| decode(head.get(..head.len().checked_sub(cut)?)?).ok());
        match text {
            Some(text) if !text.contains('\0') => Self::of_text(&text),
            // Text in an encoding of old has no zeros.
            _ => head.contains(&0).then_some(Self::Binary),
        }
    }

    fn of_text(text: &str) -> Option<Self> {
        let text = text.trim();
        let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let after = |open: char| text.strip_prefix(open).map(str::trim_start);
        let is_object = after('{').is_some_and(|rest| rest.starts_with(['"', '}']));
        let is_array = after('[').is_some_and(|rest| rest.starts_with('{'));
        if is_object || is_array {
            return Some(schema_in(text).map_or(Self::Json, Self::Document));
        }
        if text.starts_with('<') {
            return Some(Self::Markup);
        }
        let is_pem = text.starts_with("-----BEGIN ");
        if let Some(form) = SecretForm::of(text).filter(|_| is_pem || lines().count() == 1) {
            return Some(Self::Secret(form));
        }
        let has_line = |wanted: &[&str]| lines().any(|line| wanted.iter().any(|part| line.starts_with(part)));
        if has_line(&["[[account.pool]]", "[[account.fault]]"]) {
            return Some(Self::Scenario);
        }
        if has_line(&["[destination]", "[[account]]", "[window]"]) {
            return Some(Self::Config);
        }
        let is_pair = |line: &str| {
            let key = line.split_once(':').filter(|(_, value)| value.is_empty() || value.starts_with(' '));
            key.is_some_and(|(key, _)| key.chars().all(|c| c.is_alphanumeric() || "_-".contains(c)))
        };
        let is_yaml = lines().next().is_some_and(|line| line == "---" || is_pair(line));
        (is_yaml && !lines().any(|line| line.contains(" = "))).then_some(Self::Yaml)
    }

    /// Its name with an article.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::RunDirectory => "a run directory".into(),
            Self::Directory => "a directory".into(),
            Self::Database => "a database".into(),
            Self::Document(name) => match name.as_str() {
                "plan" => "the plan of a run".into(),
                "manifest" => "the manifest of a run".into(),
                "sim-ready" => "the ready document of a simulator".into(),
                "event" => "a file of events".into(),
                _ => format!("a document of fleetlogs (`{name}`)"),
            },
            Self::Json => "JSON".into(),
            Self::Yaml => "YAML".into(),
            Self::Markup => "XML or HTML".into(),
            Self::Archive => "a zip or gzip file".into(),
            Self::Binary => "not a text file".into(),
            Self::Secret(form) => form.name().into(),
            Self::Scenario => "a scenario of the simulator".into(),
            Self::Config => "a config".into(),
        }
    }

    /// What to do with it where a config is wanted.
    pub(crate) fn instead_of_config(&self, path: &Path) -> String {
        let argument = as_argument(path);
        match self {
            Self::RunDirectory => resume_or_status(path),
            Self::Directory => match path.join("fleetlogs.toml") {
                config if config.is_file() => format!("name the config in it: {}", as_argument(&config)),
                _ => format!("name a config file; {INIT}"),
            },
            Self::Document(name) if name == "plan" && !is_in_run(path) => {
                format!("run it with a config: `fleetlogs run CONFIG --plan {argument}`")
            }
            Self::Document(name) if name == "sim-ready" => match config_beside(path) {
                Some(config) => format!("name the config that the simulator wrote: {}", as_argument(&config)),
                None => "name the config that its member `config` names".into(),
            },
            Self::Database | Self::Document(_) if is_in_run(path) => resume_or_status(dir_of(path)),
            Self::Secret(_) => {
                format!(
                    "leave it in its file, and name that file in a config: {{ file = \"{argument}\" }}; {INIT}"
                )
            }
            Self::Scenario => {
                format!("serve it with `fleetlogs sim {argument} --ready ready.json`, which writes a config")
            }
            _ => format!("a config is a TOML file; {INIT}"),
        }
    }
}

const INIT: &str = "`fleetlogs init` writes one";

fn resume_or_status(run: &Path) -> String {
    let run = as_argument(run);
    format!("resume the run with `fleetlogs resume {run}`, or show it with `fleetlogs status {run}`")
}

fn is_in_run(path: &Path) -> bool {
    FileKind::of(dir_of(path)) == Some(FileKind::RunDirectory)
}

/// The config that `fleetlogs sim` wrote beside its ready document.
fn config_beside(ready: &Path) -> Option<PathBuf> {
    let name = ready.file_name()?.to_str()?;
    Some(ready.with_file_name(format!("{name}.fleetlogs.toml"))).filter(|config| config.is_file())
}

/// The name in the first schema of a document of fleetlogs: `plan` of `"schema": "fleetlogs.plan/v1"`.
fn schema_in(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("\"schema\"")?;
    let value = rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix("\"fleetlogs.")?;
    let name = value.split_once('/')?.0;
    let is_name = name.len() < 40 && name.chars().all(|c| c.is_ascii_lowercase() || c == '-');
    is_name.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_for_what_they_are() {
        let key = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBw==";
        let document = |name: &str| Some(FileKind::Document(name.into()));
        let secret = |form| Some(FileKind::Secret(form));
        let utf16: Vec<u8> = "{\"a\": 1}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let table: [(&[u8], Option<FileKind>); 21] = [
            (b"{\n  \"schema\": \"fleetlogs.plan/v1\", \"run_id\": 1", document("plan")),
            (b"{\"run_id\": 1, \"schema\":\"fleetlogs.manifest/v1\"}", document("manifest")),
            (b"{\"schema\": \"fleetlogs.event/v1\", \"event\": \"x\"}\n{}", document("event")),
            (b"{\"a\": 1}", Some(FileKind::Json)),
            (b"[\n  {\"a\": 1}\n]", Some(FileKind::Json)),
            (&utf16, Some(FileKind::Json)),
            (b"---\na: 1\n", Some(FileKind::Yaml)),
            (b"# a comment\naccounts:\n  - name: x\n", Some(FileKind::Yaml)),
            (b"<!doctype html>", Some(FileKind::Markup)),
            (b"PK\x03\x04...", Some(FileKind::Archive)),
            (b"SQLite format 3\0...", Some(FileKind::Database)),
            (b"\x7fELF\x02\x01\x01\0\0\0\xff", Some(FileKind::Binary)),
            (key.as_bytes(), secret(SecretForm::AccountKey)),
            (b"AccountName=x;AccountKey=abc\r\n", secret(SecretForm::ConnectionString)),
            (b"https://a.blob.core.windows.net/c?sp=w&sig=x", secret(SecretForm::SasUrl)),
            (b"[[account]]\nname = \"a\"\n[[account.pool]]\n", Some(FileKind::Scenario)),
            (b"# sig=&\n[destination]\nmint = \"user-delegation\"\n", Some(FileKind::Config)),
            (b"strict = true\n", None),
            (b"", None),
            (b"contoso-host\n", None),
            (b"# Gr\xFC\xDFe\n", None),
        ];
        for (head, kind) in table {
            assert_eq!(FileKind::of_head(head), kind, "{}", String::from_utf8_lossy(head));
        }
        let long = "ä".repeat(9000);
        assert_eq!(FileKind::of_head(&long.as_bytes()[..16383]), None, "cut within a character");
    }
}
