//! Where the logs are, and how to download them.

use std::fmt::{self, Write};

use super::Readme;
use crate::bundle::own_files::NOTES_FILE;
use crate::files::LOGS_FILE;
use crate::text::{counted, for_markdown, number, size};

impl Readme<'_> {
    pub(super) fn places(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "## Where the logs are\n")?;
        let destination = &self.bundle.plan.destination;
        match self.bundle.logs {
            Some(taken) if taken.files > 0 => {
                writeln!(
                    out,
                    "**In this bundle**: {}, {}, under `logs/<account>/<pool>/<node>/`. `{LOGS_FILE}` lists each file with its \
                     name in the container, its size and its checksum. The files were compared with the container by size \
                     and MD5, except for those that `{NOTES_FILE}` lists, if there is one; storage has no MD5 of {}.\n",
                    counted(taken.files, "file"),
                    size(taken.bytes),
                    number(taken.without_md5),
                )?;
            }
            _ => writeln!(out, "Not in this bundle, but in the container.")?,
        }
        if self.survey.directories.all == 0 {
            return writeln!(out, "No node was assigned a directory: this run has no logs.\n");
        }
        writeln!(
            out,
            "The container is {}. To read it, you need a SAS with read and list permission; the customer sends it separately, \
             unless the list of files below names one. `DIRECTORY` is a virtual directory from the table below or from \
             `nodes.csv`.\n",
            for_markdown(destination)
        )?;
        commands(out, destination)?;
        for (account, beginnings) in &self.survey.beginnings {
            let names: Vec<String> = beginnings.iter().map(|name| for_markdown(name)).collect();
            writeln!(
                out,
                "- The directories of {} begin with {}. As `DIRECTORY`, that stands for all directories of the account, also \
                 those of other collections.",
                for_markdown(account),
                names.join(" or ")
            )?;
        }
        writeln!(out)
    }

    pub(super) fn directories(&self, out: &mut String) -> fmt::Result {
        let directories = &self.survey.directories;
        if directories.all == 0 {
            return Ok(());
        }
        writeln!(out, "## Virtual directories\n")?;
        writeln!(out, "| account | pool | node | outcome | virtual directory | files | bytes |")?;
        writeln!(out, "| --- | --- | --- | --- | --- | ---: | ---: |")?;
        for row in directories.rows() {
            writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} | {} |",
                for_markdown(&row.account),
                for_markdown(&row.pool),
                for_markdown(&row.node),
                row.outcome,
                for_markdown(&row.directory),
                row.files.map_or_else(|| "?".into(), number),
                row.bytes.map_or_else(|| "?".into(), number),
            )?;
        }
        let hidden = directories.all.saturating_sub(directories.rows().count() as u64);
        if hidden > 0 {
            writeln!(
                out,
                "\nand {}, in `nodes.csv`, column `virtual_directory`.",
                counted(hidden, "more node")
            )?;
        }
        writeln!(out)
    }
}

/// How to download one directory.
fn commands(out: &mut String, destination: &str) -> fmt::Result {
    // Readers paste this into a shell: if the URL is not plain, they fill it in themselves.
    let plain = |char: char| char.is_ascii_alphanumeric() || ":/.-_".contains(char);
    let url = if destination.chars().all(plain) { destination } else { "CONTAINER_URL" };
    let (endpoint, container) = url.rsplit_once('/').unwrap_or(("BLOB_ENDPOINT", "CONTAINER"));
    writeln!(out, "```sh")?;
    writeln!(out, "SAS='...'    # without the leading question mark")?;
    writeln!(out, "azcopy copy \"{url}/DIRECTORY?$SAS\" ./logs --recursive")?;
    writeln!(
        out,
        "az storage blob download-batch --blob-endpoint {endpoint} --source {container} --pattern 'DIRECTORY/*' \\\n    \
         --destination ./logs --sas-token \"$SAS\""
    )?;
    writeln!(out, "```\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strange_container_does_not_reach_the_shell() {
        let mut text = String::new();
        commands(&mut text, "https://logs.blob.core.windows.net/a$(reboot)`x`\"").unwrap();
        assert!(!text.contains("reboot"), "{text}");
        text.clear();
        commands(&mut text, "https://logs.blob.core.windows.net/batch").unwrap();
        assert!(text.contains("--blob-endpoint https://logs.blob.core.windows.net --source batch"), "{text}");
    }
}
