//! The shape of the source tree, which no compiler checks: the star of crates, no import circles of more than two files,
//! one meaning for a name, a map of the architecture that names only places that exist, pages that name only tests that
//! exist, [links that lead somewhere](pages), and [what the tree is made of](supply).

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, and says where")]

mod imports;
mod pages;
mod supply;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use imports::{Crate, circles};

const CRATES: [&str; 6] = ["model", "engine", "azure", "report", "sim", "cli"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_crates_form_a_star_around_model() {
    for name in CRATES {
        let manifest = read(&root().join("crates").join(name).join("Cargo.toml"));
        let dependencies = manifest.split("[dev-dependencies]").next().unwrap();
        let used: BTreeSet<_> = CRATES
            .into_iter()
            .filter(|other| dependencies.contains(&format!("\nfleetlogs-{other}.workspace")))
            .collect();
        let allowed = match name {
            "cli" => ["model", "engine", "azure", "report", "sim"].into(),
            "model" | "sim" => BTreeSet::new(),
            _ => ["model"].into(),
        };
        assert_eq!(used, allowed, "what `{name}` depends on");
    }
}

#[test]
fn no_more_than_two_files_of_a_crate_import_each_other_in_a_circle() {
    let mut found = Vec::new();
    for name in CRATES {
        let files = Crate::read(&root().join("crates").join(name).join("src"));
        assert!(
            files.imports.values().map(BTreeSet::len).sum::<usize>() > 10,
            "no imports are seen in `{name}`"
        );
        let large = circles(&files.imports).into_iter().filter(|circle| circle.len() > 2);
        found.extend(large.map(|circle| format!("{name}: {}", circle.join(" "))));
    }
    assert!(found.is_empty(), "import circles of more than two files:\n{}", found.join("\n"));
}

#[test]
fn a_type_name_has_one_meaning_in_its_crate() {
    let mut found = Vec::new();
    for name in CRATES {
        let files = Crate::read(&root().join("crates").join(name).join("src"));
        let mut places: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (file, text) in &files.texts {
            for line in text.lines() {
                let Some(item) = line.strip_prefix("pub ").or_else(|| line.strip_prefix("pub(crate) "))
                else {
                    continue;
                };
                let kind = ["struct ", "enum ", "trait "].iter().find_map(|kind| item.strip_prefix(kind));
                let Some(item) = kind else { continue };
                let end =
                    item.find(|char: char| !char.is_alphanumeric() && char != '_').unwrap_or(item.len());
                places.entry(item[..end].to_owned()).or_default().push(file);
            }
        }
        assert!(places.len() > 10, "no types are seen in `{name}`");
        let twice = places.into_iter().filter(|(_, files)| files.len() > 1);
        found.extend(twice.map(|(item, files)| format!("{name}: {item} in {}", files.join(", "))));
    }
    assert!(found.is_empty(), "types of one name in one crate:\n{}", found.join("\n"));
}

#[test]
fn every_place_that_the_architecture_page_names_exists() {
    let page = read(&root().join("docs/design/architecture.md"));
    let tops = ["crates/", "config/", "docs/", "tests/"];
    let quoted = page.split('`').skip(1).step_by(2);
    let places: BTreeSet<_> = quoted.filter(|text| tops.iter().any(|top| text.starts_with(top))).collect();
    assert!(places.len() > 20, "the page names its places as paths from the root: {places:?}");
    let missing: Vec<_> = places.into_iter().filter(|place| !root().join(place).exists()).collect();
    assert!(missing.is_empty(), "docs/design/architecture.md names places that are not there: {missing:?}");
}

/// Each function of the sources and tests, with the parts of the paths where it stands.
fn functions() -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut dirs = vec![root().join("crates"), root().join("tests")];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = read(&path);
                let words = text.split(|char: char| !char.is_alphanumeric() && char != '_');
                let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
                let path = path.strip_prefix(root()).unwrap().with_extension("");
                let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
                for pair in words.windows(2).filter(|pair| pair[0] == "fn") {
                    found.entry(pair[1].to_owned()).or_default().extend(parts.iter().cloned());
                }
            }
        }
    }
    found
}

#[test]
fn every_test_that_a_page_names_exists() {
    let functions = functions();
    let mut missing = Vec::new();
    for name in ["docs/reference/security.md", "docs/reference/faults.md"] {
        let page = read(&root().join(name));
        let is_word = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let quoted = page.split('`').skip(1).step_by(2).filter_map(|text| text.split_once("::"));
        let tests: Vec<_> =
            quoted.filter(|(file, test)| is_word(file) && test.contains('_') && is_word(test)).collect();
        assert!(tests.len() > 30, "{name} names its tests as `file::test`");
        for (file, test) in tests {
            let known = functions.get(test);
            // The other page has names of its own for some files, and explains them.
            let is_there =
                known.is_some_and(|parts| name != "docs/reference/security.md" || parts.contains(file));
            if !is_there {
                missing.push(format!("{name}: {file}::{test}"));
            }
        }
    }
    assert!(missing.is_empty(), "tests that do not exist, or not there:\n{}", missing.join("\n"));
}
