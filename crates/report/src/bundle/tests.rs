//! A bundle of a small run, read as somebody would who has nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Cursor, Read};
use std::path::Path;

use fleetlogs_model::hex::hex;
use fleetlogs_model::outcome::RunOutcome;
use tempfile::TempDir;
use zip::ZipArchive;

use super::own_files::MANIFEST_SUM_FILE;
use super::*;
use crate::files::{LOGS_FILE, MANIFEST_FILE};
use crate::reports::write_reports;
use crate::testing::{ended, folded, left_out, plan_of, planned, small_plan, small_run};

/// A run directory with its reports, and what they were made of.
struct Run {
    dir: TempDir,
    plan: fleetlogs_model::plan::Plan,
}

impl Run {
    fn of(plan: fleetlogs_model::plan::Plan) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in
            [("plan.json", "{}"), ("summary.md", "# run\n"), ("log.jsonl", "{\"level\":\"INFO\"}\n")]
        {
            fs::write(dir.path().join(name), text).unwrap();
        }
        Self { dir, plan }
    }

    fn bundle(&self, logs: Option<DownloadedLogs>, extras: &[ExtraFile]) -> (Vec<u8>, Notes) {
        let events = if self.plan.nodes.len() == 6 { small_run() } else { vec![] };
        let (ledger, histories) = folded(&self.plan, &events);
        let facts = ended(RunOutcome::Partial);
        let histories = histories.into_iter().map(Ok::<_, io::Error>);
        let findings = write_reports(
            self.dir.path(),
            &self.plan,
            &facts,
            &ledger,
            crate::advice::Commands::default(),
            histories,
        )
        .unwrap();
        self.file("manifest.json");
        let bundle = Bundle {
            dir: self.dir.path(),
            plan: &self.plan,
            facts: &facts,
            ledger: &ledger,
            findings: &findings,
            logs,
            extras,
            notes: Notes::default(),
        };
        let FinishedBundle { target, notes, .. } = bundle.write(Cursor::new(vec![])).unwrap();
        (target.into_inner(), notes)
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(name)).unwrap()
    }
}

fn entries(bundle: &[u8]) -> BTreeMap<String, String> {
    let mut archive = ZipArchive::new(Cursor::new(bundle)).unwrap();
    let mut entries = BTreeMap::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).unwrap();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        let name = String::from_utf8(entry.name_raw().to_vec()).unwrap();
        entries.insert(name.split_once('/').unwrap().1.to_owned(), text);
    }
    entries
}

fn problems(bundle: &[u8], sha256: Option<&str>) -> Vec<String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bundle).unwrap();
    check_bundle(file.path(), sha256).unwrap().problems
}

/// The same entries, but for what `change` makes of them: none leaves it out.
fn repacked(bundle: &[u8], change: impl Fn(&str, String) -> Vec<(String, String)>) -> Vec<u8> {
    use std::io::Write as _;
    let mut zip = zip::ZipWriter::new(Cursor::new(vec![]));
    for (name, text) in entries(bundle) {
        for (name, text) in change(&format!("top/{name}"), text) {
            zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(text.as_bytes()).unwrap();
        }
    }
    zip.finish().unwrap().into_inner()
}

fn same(name: &str, text: String) -> Vec<(String, String)> {
    vec![(name.to_owned(), text)]
}

#[test]
fn the_readme_answers_who_when_where_and_why() {
    let (bundle, notes) = Run::of(small_plan()).bundle(None, &[]);
    assert!(notes.is_empty(), "{notes:?}");
    // Its size is that of the page's style and script.
    let readme = &entries(&bundle)["README.md"];
    let readme = readme.lines().map(|line| match line.strip_prefix("| `report.html` | ") {
        Some(line) => format!("| `report.html` | SIZE{}\n", line.trim_start_matches(|c: char| c != ' ')),
        None => format!("{line}\n"),
    });
    insta::assert_snapshot!(readme.collect::<String>());
}

#[test]
fn a_bundle_is_sound_and_the_same_every_time() {
    let run = Run::of(small_plan());
    let (first, _) = run.bundle(None, &[]);
    let (second, _) = run.bundle(None, &[]);
    assert_eq!(problems(&first, None), Vec::<String>::new());
    assert_eq!(first, second);
    let names: Vec<_> = entries(&first).into_keys().collect();
    assert_eq!(
        names,
        [
            "README.md",
            "SHA256SUMS",
            "evidence/contoso/blocked.jsonl",
            "evidence/contoso/render.jsonl",
            "evidence/fabrikam/web.jsonl",
            "left-out.jsonl",
            "manifest.json",
            "manifest.json.sha256",
            "nodes.csv",
            "plan.json",
            "report.html",
            "summary.md",
            "tool.log.jsonl",
        ]
    );
}

#[test]
fn the_evidence_of_a_pool_is_a_line_for_each_of_its_nodes() {
    let (bundle, _) = Run::of(small_plan()).bundle(None, &[]);
    let text = &entries(&bundle)["evidence/contoso/render.jsonl"];
    let nodes: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(nodes.len(), 2);
    assert_eq!((&nodes[0]["node"], &nodes[1]["node"]), (&"tvm-1".into(), &"tvm-2".into()));
    assert_eq!(nodes[0]["errors"][0]["code"], "DiskFull");
    assert_eq!(nodes[0]["recent_tasks"][0]["exit_code"], 137);
}

#[test]
fn names_of_the_service_lead_nowhere_else() {
    let mut plan =
        plan_of(vec![planned("../..", "/etc/passwd", "a|b`c<script>\u{202e}"), planned("con", "..", "x")]);
    plan.left_out = vec![left_out("a", "b\n| x |", None, fleetlogs_model::plan::LeftOutReason::PoolGone)];
    let (bundle, notes) = Run::of(plan).bundle(None, &[]);
    assert!(notes.is_empty(), "{notes:?}");
    assert_eq!(problems(&bundle, None), Vec::<String>::new());
    let entries = entries(&bundle);
    assert!(entries.contains_key("evidence/%2E.%2F.%2E/%2Fetc%2Fpasswd.jsonl"), "{:?}", entries.keys());
    assert!(entries.contains_key("evidence/%63on/%2E%2E.jsonl"), "{:?}", entries.keys());
    assert!(!entries["README.md"].contains("<script>"));
}

#[test]
fn what_looks_like_a_secret_stays_out_and_is_noted() {
    let run = Run::of(small_plan());
    fs::write(
        run.dir.path().join("log.jsonl"),
        "{\"m\":\"?sp=w&sig=CANARYCANARY\"}\nBearer CANARYCANARYCANARYCANARY\n",
    )
    .unwrap();
    let (bundle, notes) = run.bundle(None, &[]);
    let entries = entries(&bundle);
    assert!(entries.values().all(|text| !text.contains("CANARY")));
    assert!(entries["NOTES.md"].contains("2 texts"), "{}", entries["NOTES.md"]);
    assert!(entries["README.md"].contains("This bundle is incomplete"));
    assert!(!notes.is_empty());
    assert_eq!(problems(&bundle, None), Vec::<String>::new());
}

#[test]
fn an_extra_file_goes_in_as_it_is() {
    let extra = ExtraFile {
        name: "ACCESS-SAS.txt",
        about: "a SAS",
        content: "https://a/b?sig=MEANTTOBEGIVEN".into(),
    };
    let (bundle, notes) = Run::of(small_plan()).bundle(None, std::slice::from_ref(&extra));
    assert!(notes.is_empty());
    let entries = entries(&bundle);
    assert_eq!(entries["ACCESS-SAS.txt"], extra.content);
    let elsewhere = entries.iter().filter(|(name, _)| *name != "ACCESS-SAS.txt");
    assert!(elsewhere.into_iter().all(|(_, text)| !text.contains("MEANTTOBEGIVEN")));
    assert_eq!(problems(&bundle, None), Vec::<String>::new());
}

#[test]
fn a_missing_file_is_noted_and_the_rest_is_there() {
    let run = Run::of(small_plan());
    fs::remove_file(run.dir.path().join("plan.json")).unwrap();
    let (bundle, notes) = run.bundle(None, &[]);
    assert_eq!(notes.lines().count(), 1);
    let entries = entries(&bundle);
    assert!(entries["NOTES.md"].contains("plan.json"));
    assert!(entries.contains_key("manifest.json") && !entries.contains_key("plan.json"));
}

#[test]
fn a_manifest_of_a_newer_version_is_told_as_such() {
    let run = Run::of(small_plan());
    let (bundle, _) = run.bundle(None, &[]);
    let newer = |text: String| {
        text.replace("fleetlogs.manifest/v1", "fleetlogs.manifest/v9").replace("\"outcome\"", "\"end\"")
    };
    let told = "has the schema `fleetlogs.manifest/v9`, but this fleetlogs reads `fleetlogs.manifest/v1`";
    let repacked = repacked(&bundle, |name, text| {
        let text = if name.ends_with("/manifest.json") { newer(text) } else { text };
        vec![(name.to_owned(), text)]
    });
    let problems = problems(&repacked, None);
    assert!(problems.iter().any(|problem| problem.contains(told)), "{problems:?}");
    assert!(!problems.iter().any(|problem| problem.contains("cannot be parsed")), "{problems:?}");

    fs::write(run.dir.path().join("manifest.json"), newer(run.file("manifest.json"))).unwrap();
    let refused = node_directories(run.dir.path()).err().unwrap().to_string();
    assert!(refused.contains(told), "{refused}");
}

#[test]
fn a_manifest_without_a_version_cannot_be_parsed() {
    let (bundle, _) = Run::of(small_plan()).bundle(None, &[]);
    let repacked = repacked(&bundle, |name, text| {
        vec![(name.to_owned(), text.replace(r#""schema": "fleetlogs.manifest/v1","#, ""))]
    });
    let problems = problems(&repacked, None);
    assert!(
        problems.iter().any(|problem| problem.contains("cannot be parsed: missing field `schema`")),
        "{problems:?}"
    );
}

/// A line of the list of logs.
fn log(file: &str) -> String {
    let log = LogFile {
        account: fleetlogs_model::ids::AccountName::new("contoso"),
        pool: fleetlogs_model::ids::PoolId::new("render"),
        node: fleetlogs_model::ids::NodeId::new("tvm-1"),
        blob: "batch-2f/render/tvm-1/agent.log".into(),
        file: file.into(),
        bytes: 6,
        etag: "\"0x1\"".into(),
        md5: None,
    };
    serde_json::to_string(&log).unwrap()
}

#[cfg(unix)]
#[test]
fn logs_that_differ_in_case_hold_a_secret_in_their_name_or_are_links_make_a_sound_bundle() {
    let run = Run::of(small_plan());
    let dir = run.dir.path().join("logs/contoso/render/tvm-1");
    fs::create_dir_all(&dir).unwrap();
    let names = ["Agent.log", "agent.log", "a%3Fsig%3DAbCdEfGhIjKl.log"];
    for name in names {
        fs::write(dir.join(name), "hello\n").unwrap();
    }
    fs::write(run.dir.path().join("victim"), "precious").unwrap();
    std::os::unix::fs::symlink(run.dir.path().join("victim"), dir.join("link.log")).unwrap();
    let lines: Vec<_> = names
        .iter()
        .chain(&["link.log"])
        .map(|name| log(&format!("logs/contoso/render/tvm-1/{name}")))
        .collect();
    fs::write(run.dir.path().join(LOGS_FILE), lines.join("\n")).unwrap();
    let taken = DownloadedLogs { files: 4, bytes: 24, without_md5: 4 };
    let (bundle, notes) = run.bundle(Some(taken), &[]);
    let notes: Vec<_> = notes.lines().collect();
    assert!(notes.iter().any(|note| note.contains("it is a symbolic link")), "{notes:?}");
    let logs: Vec<_> = entries(&bundle).into_keys().filter(|name| name.starts_with("logs/")).collect();
    assert_eq!(logs.len(), 3, "{logs:?}");
    assert!(!logs.iter().any(|name| name.contains("AbCdEfGhIjKl")), "{logs:?}");
    assert_eq!(problems(&bundle, None), Vec::<String>::new());
}

#[test]
fn logs_are_those_of_the_list_and_no_others() {
    let run = Run::of(small_plan());
    let dir = run.dir.path().join("logs/contoso/render/tvm-1");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("agent.log"), "hello\n").unwrap();
    fs::write(dir.join("other.log.part"), "hel").unwrap();
    let lines = [log("logs/contoso/render/tvm-1/agent.log"), log("logs/../../secret"), log("/etc/passwd")];
    fs::write(run.dir.path().join(LOGS_FILE), lines.join("\n")).unwrap();
    let taken = DownloadedLogs { files: 1, bytes: 6, without_md5: 1 };
    let (bundle, notes) = run.bundle(Some(taken), &[]);
    assert_eq!(notes.lines().count(), 2, "{notes:?}");
    let entries = entries(&bundle);
    assert_eq!(entries["logs/contoso/render/tvm-1/agent.log"], "hello\n");
    assert_eq!(entries.keys().filter(|name| name.starts_with("logs/")).count(), 1);
    assert_eq!(problems(&bundle, None), Vec::<String>::new());
}

#[test]
fn whatever_is_changed_is_found() {
    let (bundle, _) = Run::of(small_plan()).bundle(None, &[]);
    assert_eq!(problems(&repacked(&bundle, same), None), Vec::<String>::new(), "packing anew is no change");
    let names: Vec<String> = entries(&bundle).into_keys().collect();
    for name in &names {
        let path = format!("top/{name}");
        let is_it = |have: &str| have == path;
        let flipped = repacked(&bundle, |have, text| {
            let text = if is_it(have) { text.replacen(|_: char| true, "~", 1) } else { text };
            same(have, text)
        });
        assert!(!problems(&flipped, None).is_empty(), "a changed {name}");
        let removed = repacked(&bundle, |have, text| if is_it(have) { vec![] } else { same(have, text) });
        assert!(!problems(&removed, None).is_empty(), "a missing {name}");
        let renamed = repacked(&bundle, |have, text| {
            same(&if is_it(have) { format!("{have}x") } else { have.to_owned() }, text)
        });
        assert!(!problems(&renamed, None).is_empty(), "a renamed {name}");
    }
    for added in ["top/new.txt", "other/new.txt", "/etc/passwd", "top/../x", "top\\x", "top/a/"] {
        let text = "x".to_owned();
        let more = repacked(&bundle, |have, own| {
            let mut entries = same(have, own);
            if have == "top/README.md" {
                entries.push((added.to_owned(), text.clone()));
            }
            entries
        });
        assert!(!problems(&more, None).is_empty(), "an added {added}");
    }
}

#[test]
fn a_manifest_that_was_changed_with_its_checksums_still_has_to_add_up() {
    let (bundle, _) = Run::of(small_plan()).bundle(None, &[]);
    let forged =
        entries(&bundle)[MANIFEST_FILE].replacen("\"outcome\":\"gone\"", "\"outcome\":\"verified\"", 1);
    let sha256 = {
        use sha2::Digest as _;
        hex(&sha2::Sha256::digest(&forged))
    };
    let old = entries(&bundle)[MANIFEST_SUM_FILE][..64].to_owned();
    let sum_file = format!("{sha256}  {MANIFEST_FILE}\n");
    let sum_of_sum = {
        use sha2::Digest as _;
        hex(&sha2::Sha256::digest(&sum_file))
    };
    let bundle = repacked(&bundle, |name, text| match name {
        "top/manifest.json" => same(name, forged.clone()),
        "top/manifest.json.sha256" => same(name, sum_file.clone()),
        "top/SHA256SUMS" => {
            let lines = text.lines().map(|line| match line.split_once("  ") {
                Some((_, "manifest.json.sha256")) => format!("{sum_of_sum}  manifest.json.sha256\n"),
                _ => format!("{}\n", line.replace(&old, &sha256)),
            });
            same(name, lines.collect())
        }
        _ => same(name, text),
    });
    let problems = problems(&bundle, None);
    assert!(
        !problems.is_empty() && problems.iter().all(|problem| problem.contains("counts")),
        "{problems:?}"
    );
}

#[test]
fn the_digest_of_the_whole_is_held_against_the_one_that_is_known() {
    let (bundle, _) = Run::of(small_plan()).bundle(None, &[]);
    let digest = {
        use sha2::Digest as _;
        hex(&sha2::Sha256::digest(&bundle))
    };
    assert_eq!(problems(&bundle, Some(&digest.to_uppercase())), Vec::<String>::new());
    assert_eq!(problems(&bundle, Some("00")).len(), 1);
    let mut longer = bundle.clone();
    longer.push(b'x');
    assert!(!problems(&longer, Some(&digest)).is_empty());
    assert!(problems(b"not a zip", None)[0].contains("not a zip file"));
    assert!(check_bundle(Path::new("/nonexistent"), None).is_err());
}

/// A sound bundle with one entry more, which is on the list of checksums, too.
fn with_entry(name: &str, options: zip::write::SimpleFileOptions) -> Vec<u8> {
    use sha2::Digest as _;
    use std::io::Write as _;
    let (bundle, _) = Run::of(small_plan()).bundle(None, &[]);
    let sum = hex(&sha2::Sha256::digest("x"));
    let listed = repacked(&bundle, |have, text| match have {
        "top/SHA256SUMS" => same(have, format!("{text}{sum}  {name}\n")),
        _ => same(have, text),
    });
    let mut zip = zip::ZipWriter::new_append(Cursor::new(listed)).unwrap();
    zip.start_file(format!("top/{name}"), options).unwrap();
    zip.write_all(b"x").unwrap();
    zip.finish().unwrap().into_inner()
}

/// Writes over each header of an entry: `central` and `local` are places in them.
fn overwrite(bundle: &mut [u8], name: &str, value: &[u8], central: usize, local: Option<usize>) {
    let mut archive = ZipArchive::new(Cursor::new(&*bundle)).unwrap();
    let places: Vec<_> = (0..archive.len())
        .filter_map(|index| {
            let entry = archive.by_index_raw(index).unwrap();
            let is_it = entry.name_raw().ends_with(format!("/{name}").as_bytes());
            is_it.then(|| (entry.central_header_start(), entry.header_start()))
        })
        .collect();
    assert_eq!(places.len(), 1, "{name}");
    for (central_header, local_header) in places {
        let at = usize::try_from(central_header).unwrap() + central;
        bundle[at..at + value.len()].copy_from_slice(value);
        if let Some(local) = local {
            let at = usize::try_from(local_header).unwrap() + local;
            bundle[at..at + value.len()].copy_from_slice(value);
        }
    }
}

#[test]
fn nothing_may_be_behind_the_end_record() {
    let (bundle, _) = Run::of(small_plan()).bundle(None, &[]);
    for junk in [&b"x"[..], &[0; 22], b"#!/bin/sh\n"] {
        let found = problems(&[&bundle[..], junk].concat(), None);
        assert!(!found.is_empty(), "{junk:?}");
    }
    // The end record takes it in as its comment.
    let mut commented = [&bundle[..], b"junk"].concat();
    commented[bundle.len() - 2] = 4;
    assert!(problems(&commented, None).iter().any(|problem| problem.contains("after its end record")));
}

#[test]
fn an_entry_is_a_regular_file_and_nothing_else() {
    let plain = zip::write::SimpleFileOptions::default();
    assert_eq!(problems(&with_entry("more.txt", plain), None), Vec::<String>::new());
    for mode in
        [0o010_644, 0o020_644, 0o040_755, 0o060_644, 0o120_777, 0o140_644, 0o104_755, 0o102_755, 0o101_777]
    {
        let mut bundle = with_entry("more.txt", plain);
        overwrite(&mut bundle, "more.txt", &(u32::to_le_bytes(mode << 16)), 38, None);
        let found = problems(&bundle, None);
        assert!(found.iter().any(|problem| problem.contains("is not a plain file")), "{mode:o}: {found:?}");
    }
}

#[test]
fn names_mean_the_same_on_every_system() {
    let plain = zip::write::SimpleFileOptions::default();
    for name in ["readme.MD", "Manifest.json"] {
        let found = problems(&with_entry(name, plain), None);
        assert!(found.iter().any(|problem| problem.contains("upper and lower case")), "{name}: {found:?}");
    }
    for name in ["CON", "nul.txt", "logs/Aux/x", "prn .a", "com1", "LPT9.log", "com²"] {
        let found = problems(&with_entry(name, plain), None);
        assert!(found.iter().any(|problem| problem.contains("device on Windows")), "{name}: {found:?}");
    }
    for name in ["console", "com", "com10", "nully.txt", "a.con"] {
        assert_eq!(problems(&with_entry(name, plain), None), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn no_more_is_inflated_than_a_header_says() {
    let (bundle, _) = Run::of(small_plan()).bundle(None, &[]);
    for name in ["README.md", "SHA256SUMS", MANIFEST_FILE] {
        let size = u32::try_from(entries(&bundle)[name].len()).unwrap();
        for said in [size - 1, 1, size + 1] {
            let mut changed = bundle.clone();
            overwrite(&mut changed, name, &said.to_le_bytes(), 24, Some(22));
            let found = problems(&changed, None);
            // The first is in the words of the zip library.
            let expected =
                ["larger than its declared", "more than its header says", "less than its header says"];
            let is_said = |problem: &String| expected.iter().any(|words| problem.contains(words));
            assert!(found.iter().any(is_said), "{name} {said}: {found:?}");
        }
    }
}
