//! What the manual says of the program is true: every command in it is understood, and every exit code and outcome is in
//! it. The keys of the config are compared in `config/schema_tests.rs`, options and messages in `tests/e2e/help.rs`.

mod shell_words;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use fleetlogs_model::outcome::Outcome;

use crate::command_line::EXIT_CODES;
use crate::exit::Exit;

use shell_words::commands;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn page(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap()
}

/// The README and every page of the manual, by name.
fn pages() -> Vec<(String, String)> {
    let mut pages = vec![("README.md".to_owned(), page("README.md"))];
    let mut dirs = vec![root().join("docs")];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                let name = path.strip_prefix(root()).unwrap().display().to_string();
                pages.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    pages
}

/// The commands of this program in the blocks of a page that are in a shell's language. Those with `text` show output.
fn commands_in_blocks(page: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut language: Option<&str> = None;
    let mut block = String::new();
    for line in page.lines() {
        match (line.trim_start().strip_prefix("```"), language) {
            (Some(name), None) => language = Some(name),
            (Some(_), Some(name)) => {
                match name {
                    "console" | "bash" | "sh" => found.extend(commands(&block, '\\')),
                    "powershell" => found.extend(commands(&block, '`')),
                    _ => {}
                }
                language = None;
                block.clear();
            }
            (None, Some(_)) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, None) => {}
        }
    }
    assert_eq!(language, None, "a block has no end");
    found
}

/// The commands of this program that stand in prose between backticks.
fn commands_in_prose(page: &str) -> Vec<Vec<String>> {
    let is_fence = |line: &&str| line.trim_start().starts_with("```");
    let mut is_block = false;
    let prose = page.lines().filter(|line| {
        is_block ^= is_fence(line);
        !is_block && !is_fence(line)
    });
    let prose = prose.collect::<Vec<_>>().join("\n");
    let quoted = prose.split('`').skip(1).step_by(2).filter(|text| text.starts_with("fleetlogs "));
    quoted.flat_map(|text| commands(&text.replace('\n', " "), '\\')).collect()
}

/// What the program does not understand of a command. A word in capitals stands for a value, as in `schema DOCUMENT`.
fn mistake(command: &[String]) -> Option<clap::Error> {
    let mistake = crate::command_line_with_help().try_get_matches_from(command).err()?;
    let is_placeholder = match mistake.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) => value.chars().all(|char| char.is_ascii_uppercase()),
        _ => false,
    };
    (!is_placeholder).then_some(mistake)
}

#[test]
fn every_command_in_a_block_of_the_manual_is_understood() {
    let mut parsed = 0;
    let mut wrong = Vec::new();
    for (name, text) in pages() {
        for command in commands_in_blocks(&text) {
            parsed += 1;
            if let Some(mistake) = mistake(&command) {
                wrong.push(format!("{name}: {}: {mistake}", command.join(" ")));
            }
        }
    }
    assert!(parsed > 60, "{parsed} commands");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// In prose, a command may lack what the sentence is not about. Its options and its command must exist.
#[test]
fn every_command_in_the_prose_of_the_manual_is_understood() {
    let mut parsed = 0;
    let mut wrong = Vec::new();
    for (name, text) in pages() {
        for command in commands_in_prose(&text) {
            parsed += 1;
            let mistake = mistake(&command).filter(|mistake| {
                !matches!(
                    mistake.kind(),
                    ErrorKind::MissingRequiredArgument | ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
                )
            });
            if let Some(mistake) = mistake {
                wrong.push(format!("{name}: {}: {mistake}", command.join(" ")));
            }
        }
    }
    assert!(parsed > 80, "{parsed} commands");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What stands in the first cells of the rows of the tables below a heading.
fn first_cells<'a>(page: &'a str, heading: &str) -> Vec<&'a str> {
    let start = page.find(&format!("{heading}\n")).unwrap_or_else(|| panic!("no heading `{heading}`"));
    let section = &page[start + heading.len()..];
    let section = section.split("\n#").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| "));
    rows.filter_map(|row| row.split(" |").next()).filter(|cell| !cell.starts_with("---")).collect()
}

#[test]
fn every_exit_code_is_in_the_manual_and_in_the_help() {
    let codes = (0..=u8::MAX).filter(|code| Exit::of_code(*code) as u8 == *code);
    let codes: Vec<String> = codes.map(|code| code.to_string()).collect();
    assert!(codes.len() > 5);
    let rows = |name: &str, heading: &str| -> Vec<String> {
        let page = page(name);
        let cells = first_cells(&page, heading).into_iter();
        cells.filter(|cell| cell.parse::<u8>().is_ok()).map(String::from).collect()
    };
    assert_eq!(rows("docs/reference/exit-codes.md", "# Exit codes"), codes);
    assert_eq!(rows("docs/deploy/README.md", "## Exit codes"), codes);
    let in_help = EXIT_CODES.split(", ").filter_map(|code| code.split(' ').next());
    assert_eq!(in_help.collect::<Vec<_>>(), codes);
}

#[test]
fn every_outcome_is_in_the_manual() {
    let known: BTreeSet<String> = Outcome::ALL.iter().map(|outcome| format!("`{outcome}`")).collect();
    let manifest = page("docs/reference/manifest.md");
    let described = first_cells(&manifest, "## Outcomes").into_iter().filter(|cell| cell.starts_with('`'));
    assert_eq!(described.map(String::from).collect::<BTreeSet<_>>(), known);

    let troubleshooting = page("docs/guide/troubleshooting.md");
    let rows = first_cells(&troubleshooting, "## Outcomes");
    let glossary = page("docs/reference/glossary.md");
    let entry = glossary.split("\n## ").find(|entry| entry.starts_with("Outcome\n")).unwrap();
    for outcome in known {
        assert!(entry.contains(&outcome), "the glossary lacks {outcome}");
        // There is nothing to do about a node whose logs are there.
        let is_explained = outcome == "`verified`" || rows.iter().any(|row| row.starts_with(&outcome));
        assert!(is_explained, "troubleshooting lacks {outcome}");
    }
}
