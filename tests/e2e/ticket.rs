//! Support tickets: shown first, opened once, and as the service has them what the program said it would send.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use crate::stage::{Run, Sim, fleetlogs, get};

const SUBSCRIPTION: &str = "00000000-0000-4000-8000-00000000000a";

/// One pool whose storage is blocked, and some nodes that are unusable.
const FLEET: &str = r#"
[[account]]
name = "contoso"
[[account.pool]]
id = "a"
nodes = 6
arrival = "50ms"
states = { unusable = 0.5 }
[[account.pool]]
id = "blocked"
nodes = 2
storage_blocked = true
"#;

fn table(sim: &Sim, more: &str) -> String {
    let arm = sim.ready["arm"].as_str().unwrap();
    format!(
        r#"
        [ticket]
        resource_id = "/subscriptions/{SUBSCRIPTION}/resourceGroups/g/providers/Microsoft.Batch/batchAccounts/contoso"
        management = "{arm}"
        contact = {{ first_name = "Ada", last_name = "Operator", email = "ada@contoso.example", country = "deu" }}
        {more}
        "#
    )
}

/// A run, and the config of its tickets.
fn collected(more: &str) -> (Sim, Run, PathBuf) {
    let sim = Sim::start(FLEET);
    let config = sim.config(&table(&sim, more));
    let run = sim.run(&config);
    assert_eq!(run.code, 3, "{}", run.stderr);
    (sim, run, config)
}

/// `fleetlogs ticket` with a managed identity that the simulator plays.
fn ticket(sim: &Sim, config: &Path, run: &Run, arguments: &[&str]) -> Output {
    let identity = sim.ready["ledger"].as_str().unwrap().replace("/_sim/ledger", "/_sim/identity");
    let mut command = fleetlogs();
    command.arg("ticket").arg(config).arg(run.dir.as_ref().unwrap()).args(arguments);
    command.env("IDENTITY_ENDPOINT", identity).env("IDENTITY_HEADER", "fake-header");
    let output = command.current_dir(sim.dir.path()).output().unwrap();
    // It searches for secrets what was said and written.
    let (code, said) = (output.status, (output.stdout.clone(), output.stderr.clone()));
    Run::of(sim.dir.path(), Output { status: code, stdout: said.0, stderr: said.1 });
    output
}

fn ledger(sim: &Sim) -> Value {
    let url = sim.ready["ledger"].as_str().unwrap().replace("/_sim/ledger", "/_sim/tickets");
    serde_json::from_str(&get(&url)).unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_ticket_lies_beside_the_summary() {
    let (_sim, run, _config) = collected(r#"problem_classification = "x""#);
    let ticket = run.file("ticket.md");
    for said in [
        "Severity: moderate",
        "## Problem",
        "storage blocked",
        "unusable",
        "request-id ",
        "## What was tried",
    ] {
        assert!(ticket.contains(said), "`{said}` is not in\n{ticket}");
    }
    let container = run.manifest()["destination"].as_str().unwrap().to_owned();
    assert!(ticket.contains(&container), "{ticket}");
    let manifest = run.manifest();
    let nodes = manifest["nodes"].as_array().unwrap();
    let blocked = nodes.iter().find(|node| node["pool"] == "blocked").unwrap();
    assert!(ticket.contains(blocked["attempts"][0]["request_id"].as_str().unwrap()), "{ticket}");
}

#[test]
fn a_dry_run_and_a_ticket_that_nobody_agreed_to_send_nothing() {
    let (sim, run, config) = collected(r#"problem_classification = "unusable""#);
    let read = ticket(&sim, &config, &run, &["--dry-run", "--problem", "Nodes are lost."]);
    assert_eq!(read.status.code(), Some(0), "{}", text(&read.stderr));
    let shown = text(&read.stdout);
    for said in [
        "\nseverity      moderate\n",
        "\nkind          (looked up: unusable)\n",
        "\nfiles         summary.md, manifest.json, nodes.csv\n\n# Azure Batch, ",
        "\n\n## Problem\n\nNodes are lost.\n\nWe asked ",
    ] {
        assert!(shown.contains(said), "`{said}` is not in\n{shown}");
    }
    assert!(!shown.contains("\\n") && !shown.contains('{'), "text to be read: {shown}");
    let dry = ticket(&sim, &config, &run, &["--dry-run", "--json"]);
    assert_eq!(dry.status.code(), Some(0), "{}", text(&dry.stderr));
    let document: Value = serde_json::from_slice(&dry.stdout).unwrap();
    assert_eq!((&document["schema"], &document["sent"]), (&"fleetlogs.ticket/v1".into(), &false.into()));
    let properties = &document["request"]["properties"];
    assert_eq!(properties["severity"], "moderate");
    assert_eq!(properties["contactDetails"]["country"], "DEU");
    assert_eq!(properties["problemClassificationId"], "(looked up: unusable)");
    let names: Vec<_> = document["files"].as_array().unwrap().iter().map(|file| &file["name"]).collect();
    assert_eq!(names, ["summary.md", "manifest.json", "nodes.csv"]);

    let unasked = ticket(&sim, &config, &run, &[]);
    assert_eq!(unasked.status.code(), Some(2));
    assert!(text(&unasked.stderr).contains("there is no terminal"), "{}", text(&unasked.stderr));
    assert_eq!(ledger(&sim)["calls"], 0);
}

#[test]
fn a_ticket_is_opened_once_as_it_was_shown_and_added_to_on_request() {
    let (sim, run, config) = collected(
        r#"
        problem_classification = "node is unusable"
        severity = "critical"
        "#,
    );
    std::fs::write(sim.dir.path().join("screen.txt"), "what the portal says").unwrap();
    std::fs::write(sim.dir.path().join("large.bin"), vec![b'x'; 5_000_001]).unwrap();
    let more = ["--problem", "Nodes of <a> are lost.", "--attach", "screen.txt", "--attach", "large.bin"];
    let sent = ticket(&sim, &config, &run, &[&["--yes", "--json"], &more[..]].concat());
    assert_eq!(sent.status.code(), Some(0), "{}", text(&sent.stderr));
    let shown = text(&sent.stderr);
    let shown: Value = serde_json::from_str(&shown[shown.find('{').unwrap()..]).unwrap();

    let opened = ledger(&sim);
    let [there] = opened["tickets"].as_array().unwrap().as_slice() else { panic!("{opened:#}") };
    let name = format!("fleetlogs-{}", run.manifest()["run_id"].as_str().unwrap());
    assert_eq!((&there["name"], &there["subscription"]), (&name.clone().into(), &SUBSCRIPTION.into()));
    assert_eq!(there["properties"], shown["request"]["properties"], "what was sent is what was shown");
    assert!(text(&sent.stdout).contains(there["number"].as_str().unwrap()), "{}", text(&sent.stdout));
    let properties = &there["properties"];
    assert_eq!(
        (&properties["severity"], &properties["advancedDiagnosticConsent"]),
        (&"critical".into(), &"No".into())
    );
    let description = properties["description"].as_str().unwrap();
    for said in [
        "Nodes of &lt;a&gt; are lost.",
        "storage blocked",
        SUBSCRIPTION,
        "large.bin, 5,000,001 bytes: left out",
    ] {
        assert!(description.contains(said), "`{said}` is not in\n{description}");
    }
    let files = there["files"].as_object().unwrap();
    assert_eq!(files.keys().collect::<Vec<_>>(), ["manifest.json", "nodes.csv", "screen.txt", "summary.md"]);
    assert_eq!(files["manifest.json"].as_str().unwrap(), run.file("manifest.json"));
    assert_eq!(files["screen.txt"], "what the portal says");

    let again = ticket(&sim, &config, &run, &["--yes"]);
    insta::assert_snapshot!(Run::of(sim.dir.path(), again).picture(), @r"
    exit code: 0
    ----- stdout -----
    ticket fleetlogs-RUN, support request 120000000000000, open
    ----- stderr -----
    this run already has a ticket; add to it with `--amend fleetlogs-RUN`
    ");
    assert_eq!(ledger(&sim)["tickets"].as_array().unwrap().len(), 1);

    for _ in 0..2 {
        let amended =
            ticket(&sim, &config, &run, &["--yes", "--json", "--problem", "Still so.", "--amend", &name]);
        assert_eq!(amended.status.code(), Some(0), "{}", text(&amended.stderr));
        let document: Value = serde_json::from_slice(&amended.stdout).unwrap();
        assert_eq!(document["support_ticket_id"], there["number"]);
    }
    let messages = ledger(&sim)["tickets"][0]["messages"].as_object().unwrap().clone();
    assert_eq!(messages.len(), 1, "the same message twice is one");
    let message = messages.values().next().unwrap();
    assert!(message["body"].as_str().unwrap().contains("Still so."), "{message}");
    assert_eq!(message["sender"], "ada@contoso.example");

    let absent = ticket(&sim, &config, &run, &["--yes", "--amend", "other"]);
    assert_eq!(absent.status.code(), Some(2), "{}", text(&absent.stderr));
}

#[test]
fn a_kind_of_problem_that_there_is_not_is_answered_with_those_there_are() {
    let (sim, run, config) = collected(r#"problem_classification = "pools""#);
    let refused = ticket(&sim, &config, &run, &["--yes"]);
    insta::assert_snapshot!(Run::of(sim.dir.path(), refused).picture(), @r"
    exit code: 2
    ----- stderr -----
    error: `ticket.problem_classification`: more than one matches `pools`
      help: name one of `Pools and nodes / Node is unusable`, `Pools and nodes / Start task failed`
    ");
    assert!(ledger(&sim)["tickets"].as_array().unwrap().is_empty());
}

#[test]
fn mistakes_in_the_table_are_told_each_with_its_place() {
    let sim = Sim::start(FLEET);
    let config = sim.config(
        r#"
        [ticket]
        resource_id = "contoso"
        severity = "high"
        subscriptions = "x"
        contact = { first_name = "", email = "ada", country = "Germany", preferred_method = "pigeon" }
        "#,
    );
    let refused = fleetlogs().arg("check").arg(&config).output().unwrap();
    insta::assert_snapshot!(Run::of(sim.dir.path(), refused).picture(), @r#"
    exit code: 2
    ----- stderr -----
    error: DIR/fleetlogs.toml:2: `ticket.problem_classification`: this key is missing
      help: add `problem_classification = "Node is unusable"`
    error: DIR/fleetlogs.toml:3: `ticket.resource_id`: `contoso` is not the ARM id of a Batch account
      help: write "/subscriptions/ID/resourceGroups/GROUP/providers/Microsoft.Batch/batchAccounts/NAME"
    error: DIR/fleetlogs.toml:4: `ticket.severity`: `high` is not a severity
      help: use `minimal`, `moderate`, `critical` or `highestcriticalimpact`
    error: DIR/fleetlogs.toml:5: `ticket.subscriptions`: unknown key
      help: did you mean `subscription`?
    error: DIR/fleetlogs.toml:6: `ticket.contact.first_name`: must not be empty
      help: write a text, or remove the key if it has a default
    error: DIR/fleetlogs.toml:6: `ticket.contact.last_name`: this key is missing
      help: add `last_name = "..."`
    error: DIR/fleetlogs.toml:6: `ticket.contact.email`: `ada` is not an e-mail address
      help: write it as "name@contoso.example"
    error: DIR/fleetlogs.toml:6: `ticket.contact.country`: `Germany` is not a country
      help: write the three letters of ISO 3166-1, such as "USA" or "DEU"
    error: DIR/fleetlogs.toml:6: `ticket.contact.preferred_method`: `pigeon` is not a contact method
      help: use `email` or `phone`
    "#);
}
