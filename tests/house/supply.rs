//! What fleetlogs is made of: no dependency without a reason, no source but one, no build script that nobody read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::{CRATES, read, root};

/// Names of the entries of one table of a Cargo.toml.
fn entries(manifest: &str, table: &str) -> BTreeSet<String> {
    let header = format!("[{table}]");
    let lines = manifest.lines().skip_while(|line| *line != header).skip(1);
    let lines = lines.take_while(|line| !line.starts_with('['));
    let names = lines.filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(['.', ' ']));
    names.map(|(name, _)| name.to_owned()).collect()
}

/// Each dependency of the workspace, and the crates that name it.
fn direct_dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let tables =
        ["dependencies", "target.'cfg(unix)'.dependencies", "dev-dependencies", "build-dependencies"];
    let all = entries(&read(&root().join("Cargo.toml")), "workspace.dependencies");
    let foreign = all.into_iter().filter(|name| !name.starts_with("fleetlogs-"));
    let mut users: BTreeMap<_, BTreeSet<_>> = foreign.map(|name| (name, BTreeSet::new())).collect();
    for user in CRATES {
        let manifest = read(&root().join("crates").join(user).join("Cargo.toml"));
        for name in tables.iter().flat_map(|table| entries(&manifest, table)) {
            if !name.starts_with("fleetlogs-") {
                let users =
                    users.get_mut(&name).unwrap_or_else(|| panic!("{user}: `{name}` is not the workspace's"));
                users.insert(user.to_owned());
            }
        }
    }
    users
}

/// The rows of a page's table whose first cell is code: the code, and the other cells.
fn rows<'page>(page: &'page str, heading: &str) -> Vec<(&'page str, Vec<&'page str>)> {
    let section = page.split("\n## ").find(|section| section.starts_with(heading));
    let section = section.unwrap_or_else(|| panic!("the page has no section `{heading}`"));
    let row = |line: &'page str| {
        let mut cells = line.strip_prefix("| `")?.strip_suffix(" |")?.split(" | ");
        Some((cells.next()?.strip_suffix('`')?, cells.collect()))
    };
    section.lines().filter_map(row).collect()
}

#[test]
fn every_direct_dependency_has_its_reason_on_the_page() {
    let page = read(&root().join("docs/design/dependencies.md"));
    let mut told = BTreeMap::new();
    for (name, cells) in rows(&page, "Every direct dependency") {
        let [users, reason] = cells[..] else { panic!("the row of `{name}` has no two further cells") };
        assert!(reason.len() > 20, "`{name}` has no reason");
        let users: BTreeSet<_> = users.split(", ").map(String::from).collect();
        assert!(told.insert(name.to_owned(), users).is_none(), "`{name}` has two rows");
    }
    assert_eq!(
        told,
        direct_dependencies(),
        "the page and the Cargo.tomls, by dependency and the crates that use it"
    );
}

#[test]
fn every_package_is_of_one_registry_and_has_a_checksum() {
    let lock = read(&root().join("Cargo.lock"));
    let mut count = 0;
    for package in lock.split("[[package]]\n").skip(1) {
        let value = |key: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""));
            line.and_then(|line| line.strip_suffix('"'))
        };
        let name = value("name").unwrap();
        if name == "fleetlogs" || name.starts_with("fleetlogs-") {
            assert_eq!(value("source"), None, "{name} is built from this tree");
            continue;
        }
        count += 1;
        let source = value("source").unwrap_or_else(|| panic!("{name} comes from a path"));
        let is_usual = source.starts_with("registry+https://") && source.ends_with("/crates.io-index");
        assert!(is_usual, "{name} comes from {source}");
        let checksum = value("checksum").unwrap_or_else(|| panic!("{name} has no checksum"));
        assert!(checksum.len() == 64 && checksum.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");
    }
    assert!(count > 100, "only {count} packages are seen");
}

#[test]
fn every_tool_of_the_tests_has_a_digest_and_none_runs_when_it_is_installed() {
    let tools = root().join("tests/tools");
    let lock: serde_json::Value = serde_json::from_str(&read(&tools.join("package-lock.json"))).unwrap();
    let packages = lock["packages"].as_object().unwrap();
    assert!(packages.len() > 100);
    for (path, package) in packages.iter().filter(|(path, _)| !path.is_empty()) {
        assert!(package["integrity"].is_string(), "{path} has no digest");
        assert!(package["hasInstallScript"].is_null(), "{path} has a script that runs when it is installed");
    }
    for name in ["requirements.txt", "deploy-requirements.txt", "mutants-requirements.txt"] {
        let text = read(&tools.join(name)).replace("\\\n", "");
        let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert!(lines.len() > 1, "{name}");
        for line in lines {
            let mut words = line.split_whitespace();
            assert!(words.next().is_some_and(|package| package.contains("==")), "{name}: {line}");
            let mut digests = words.peekable();
            assert!(digests.peek().is_some(), "{name}: {line} has no digest");
            assert!(digests.all(|word| word.starts_with("--hash=sha256:")), "{name}: {line}");
        }
    }
}

/// Build scripts run with all rights of whoever builds. The list holds the digest of each, so that a new one, and a new
/// version of one that does something else, are read before they are accepted.
#[test]
#[cfg_attr(
    not(all(target_os = "linux", target_arch = "x86_64")),
    ignore = "the list is that of one platform"
)]
fn every_build_script_was_read() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--locked", "--offline", "--all-features", "--format-version=1"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu", "--manifest-path"])
        .arg(root().join("Cargo.toml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut found = String::new();
    for package in metadata["packages"].as_array().unwrap() {
        for target in package["targets"].as_array().unwrap() {
            if target["kind"][0] == "custom-build" {
                let script = read(target["src_path"].as_str().unwrap().as_ref()).replace("\r\n", "\n");
                let digest = Sha256::digest(script);
                write!(found, "{} ", package["name"].as_str().unwrap()).unwrap();
                digest.iter().for_each(|byte| write!(found, "{byte:02x}").unwrap());
                found.push('\n');
            }
        }
    }
    let mut found: Vec<_> = found.lines().collect();
    found.sort_unstable();
    let list = read(&root().join("tests/house/build-scripts.txt"));
    let known: Vec<_> = list.lines().filter(|line| !line.starts_with('#')).collect();
    let unread: Vec<_> = found.iter().filter(|line| !known.contains(line)).collect();
    let gone: Vec<_> = known.iter().filter(|line| !found.contains(line)).collect();
    assert!(unread.is_empty(), "read these build scripts, then put them into the list: {unread:#?}");
    assert!(gone.is_empty(), "not in the tree any more: {gone:#?}");

    let page = read(&root().join("docs/design/dependencies.md"));
    let told: BTreeSet<_> = rows(&page, "Build scripts").into_iter().map(|(name, _)| name).collect();
    let scripts: BTreeSet<_> = found.iter().filter_map(|line| Some(line.split_once(' ')?.0)).collect();
    assert_eq!(told, scripts, "the page says what each build script does");
}
