//! What proves that the files of a node are all there, and what does not: the manifest beside the ledger.

use serde_json::Value;

use crate::stage::{Sim, assert_manifest_equals_ledger, fleetlogs};

const FOREIGN: &str =
    "the service named a directory that is not this node's, so what is in it does not count";

/// One thing that goes wrong, and how the run must end.
struct Case {
    what: String,
    /// Follows an account with a pool of eight nodes that promise four files each.
    faults: String,
    code: i32,
    /// Counts that are not zero.
    counts: &'static [(&'static str, u64)],
    /// The reason of the second node.
    reason: Option<&'static str>,
}

const LOST: &str = r#"
[[account.fault]]
kind = "timeout-accepted"
share = 1.0
"#;

#[test]
fn a_node_is_verified_by_its_own_files_counted_once_or_not_at_all() {
    let mut cases = vec![
        Case {
            what: "one answer lost, and seven peers that promise alike".into(),
            faults: "[[account.fault]]\nkind = \"timeout-accepted\"\nnodes = { min = 1, max = 1 }".into(),
            code: 0,
            counts: &[("verified", 8)],
            reason: Some("the call's answer was lost; its directory was found in the container"),
        },
        Case {
            what: "one answer lost, and a file of that node".into(),
            faults: "[[account.fault]]\nkind = \"timeout-accepted\"\nnodes = { min = 1, max = 1 }
                     [[account.arrival_fault]]\nkind = \"short\"\nnodes = { min = 1, max = 1 }"
                .into(),
            code: 3,
            counts: &[("verified", 7), ("adopted", 1)],
            reason: Some(
                "how many files the node promised is not known; another node of the pool promised 4",
            ),
        },
        Case {
            what: "a listing that shows every blob twice".into(),
            faults: "[[account.arrival_fault]]\nkind = \"short\"\nnodes = { min = 1, max = 1 }
                     [storage]\n[[storage.fault]]\nkind = \"twice\""
                .into(),
            code: 3,
            counts: &[("verified", 7), ("incomplete", 1)],
            reason: Some("3 of 4 files arrived before the verification deadline"),
        },
        Case {
            what: "a promise of 2^32 files".into(),
            faults: "[[account.fault]]\nkind = \"promise\"\nfiles = 4294967296\nnodes = { min = 1, max = 1 }"
                .into(),
            code: 3,
            counts: &[("verified", 7), ("incomplete", 1)],
            reason: Some("4 of 4294967295 files arrived before the verification deadline"),
        },
        Case {
            what: "one failed listing, and no file of a node".into(),
            faults: "[[account.arrival_fault]]\nkind = \"never\"\nnodes = { min = 1, max = 1 }
                     [storage]\n[[storage.fault]]\nkind = \"server-busy\"\nskip = 1\nfirst = 1"
                .into(),
            code: 3,
            counts: &[("verified", 7), ("incomplete", 1)],
            reason: Some("no file arrived before the verification deadline"),
        },
    ];
    for directory in ["account", "pool", "node", "first-node", "next-node"] {
        cases.push(Case {
            what: format!("directory = \"{directory}\""),
            faults: format!(
                "[[account.fault]]\nkind = \"directory\"\ndirectory = \"{directory}\"\nnodes = {{ min = 1, max = 2 }}"
            ),
            code: 3,
            counts: &[("verified", 6), ("incomplete", 2)],
            reason: Some(FOREIGN),
        });
    }
    for some in cases.chunks(4) {
        std::thread::scope(|scope| {
            for case in some {
                scope.spawn(|| holds(case));
            }
        });
    }
}

fn holds(case: &Case) {
    let sim = Sim::start(&format!(
        "[[account]]\nname = \"contoso\"\n[[account.pool]]\nid = \"a\"\nnodes = 8\nfiles = 4\n{}",
        case.faults
    ));
    let run = sim.run(&sim.config("limits = { rate = 100, concurrency = 1 }"));
    let manifest = run.manifest();
    assert_eq!(run.code, case.code, "{}: {}", case.what, run.stderr);
    for (outcome, count) in manifest["counts"].as_object().unwrap() {
        let expected = case.counts.iter().find(|(name, _)| name == outcome).map_or(0, |(_, count)| *count);
        let expected = if outcome == "planned" { 8 } else { expected };
        assert_eq!(*count, expected, "{}: {outcome}: {}", case.what, manifest["counts"]);
    }
    let nodes = manifest["nodes"].as_array().unwrap();
    let reasons: Vec<&str> = nodes.iter().filter_map(|node| node["reason"].as_str()).collect();
    match case.reason {
        Some(reason) => assert!(
            !reasons.is_empty() && reasons.iter().all(|is| *is == reason),
            "{}: {reasons:?}",
            case.what
        ),
        None => assert!(reasons.is_empty(), "{}: {reasons:?}", case.what),
    }
    for node in nodes {
        let proof = match (node["outcome"].as_str().unwrap(), node["files_promised"].is_null()) {
            ("verified", true) => Value::from("peers"),
            ("verified", false) => Value::from("promise"),
            _ => Value::Null,
        };
        assert_eq!(node["proof"], proof, "{}: {node}", case.what);
    }
    assert_eq!(sim.upload_calls(), 8, "{}: every node is called once", case.what);
}

#[test]
fn every_answer_lost_and_every_node_one_file_short_is_no_complete_run() {
    let sim = Sim::start(&format!(
        "[[account]]\nname = \"contoso\"\n[[account.pool]]\nid = \"a\"\nnodes = 40\nfiles = 4\n{LOST}
         [[account.arrival_fault]]\nkind = \"short\"\nshare = 1.0",
    ));
    let run = sim.run(&sim.config("limits = { rate = 200 }"));
    assert_eq!(run.code, 3, "{}", run.stderr);
    assert_eq!(run.count("adopted"), 40, "{}", run.manifest()["counts"]);
    assert_manifest_equals_ledger(&run.manifest(), &sim.ledger());
    assert_eq!(sim.upload_calls(), 40);
    let summary = run.file("summary.md");
    assert!(summary.contains("--retry adopted"), "{summary}");
    assert!(run.stderr.contains("--retry adopted"), "{}", run.stderr);

    // Collected again on request.
    let dir = run.dir.as_ref().unwrap();
    let again =
        fleetlogs().arg("resume").arg(dir).args(["--retry", "adopted"]).current_dir(sim.dir.path()).output();
    assert_eq!(again.unwrap().status.code(), Some(3));
    assert_eq!(sim.upload_calls(), 80);
    let manifest: Value = serde_json::from_str(&run.file("manifest.json")).unwrap();
    assert_eq!(manifest["nodes"][0]["duplicates"].as_array().unwrap().len(), 1);
}
