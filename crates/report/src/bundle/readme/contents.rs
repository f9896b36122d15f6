//! The list of the files in the bundle.

use std::fmt::{self, Write};

use super::Readme;
use crate::bundle::contents::ListedFile;
use crate::bundle::own_files::{NOTES_FILE, SUMS_FILE};
use crate::text::{counted, number};

impl Readme<'_> {
    pub(super) fn files(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "## What is in this bundle\n")?;
        writeln!(out, "| file | bytes | what it is |\n| --- | ---: | --- |")?;
        for ListedFile { name, bytes } in self.listed {
            writeln!(out, "| `{name}` | {} | {} |", number(*bytes), about(name))?;
        }
        for extra in self.bundle.extras {
            writeln!(out, "| `{}` | {} | {} |", extra.name, number(extra.content.len() as u64), extra.about)?;
        }
        if !self.survey.pools.is_empty() {
            writeln!(
                out,
                "| `evidence/<account>/<pool>.jsonl` | | {}: what is known of each node, one JSON object per line: state and \
                 errors, boot and allocation time, start task, recent tasks, image, agent, directory, and every call. \
                 `grep NODE -r evidence` finds a node |",
                counted(self.survey.pools.len() as u64, "file")
            )?;
        }
        if self.bundle.logs.is_some_and(|taken| taken.files > 0) {
            writeln!(out, "| `logs/<account>/<pool>/<node>/` | | the logs themselves |")?;
        }
        if !self.notes.is_empty() {
            writeln!(out, "| `{NOTES_FILE}` | | what is missing or different in this bundle, and why |")?;
        }
        writeln!(out, "| `{SUMS_FILE}` | | SHA-256 of every other file: `sha256sum -c {SUMS_FILE}` |")?;
        if !self.absent.is_empty() {
            let names: Vec<String> = self.absent.iter().map(|name| format!("`{name}`")).collect();
            writeln!(out, "\nNot created for this run: {}.", names.join(", "))?;
        }
        writeln!(
            out,
            "\nIn file names, characters that a file system may refuse are percent-encoded; inside the files, the names of \
             accounts, pools, nodes and blobs are verbatim. `fleetlogs bundle --check FILE` checks the whole bundle.\n"
        )
    }
}

fn about(name: &str) -> &'static str {
    match name {
        "manifest.json" => {
            "every node, its outcome, its directory, and every call with its ids, for programs"
        }
        "manifest.json.sha256" => "SHA-256 of the manifest, to be kept separately",
        "nodes.csv" => "a line for each node, for a spreadsheet",
        "plan.json" => "the nodes to call, frozen before the first call",
        "summary.md" => "the customer's summary, with what to do next",
        "report.html" => "the same as a page for a browser",
        "ticket.md" => "text for the support request",
        "verify.json" => "what `fleetlogs verify` found when it checked the files again",
        "coverage.json" => "which part of its time window the files of each node cover, and the gaps",
        "files.csv" => "a line for each file, as `fleetlogs verify` saw it",
        "tool.log.jsonl" => "the log of fleetlogs itself",
        "left-out.jsonl" => "nodes and pools that were skipped, with the reason",
        "logs.jsonl" => "the logs in this bundle: where each comes from, and how it was checked",
        _ => "",
    }
}
