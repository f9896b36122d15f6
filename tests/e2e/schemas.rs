//! What the program prints for other programs, against the schemas that it publishes.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::json_schema::mistakes;
use crate::stage::{Sim, fleetlogs};

/// Something of every kind: nodes of several outcomes, one left out, and an account that cannot be listed.
const FLEET: &str = r#"
[[account]]
name = "contoso"
[[account.pool]]
id = "a"
nodes = 4
arrival = "50ms"
states = { running = 0.5, preempted = 0.25, unusable = 0.25 }
[[account.pool]]
id = "blocked"
nodes = 2
storage_blocked = true
[[account]]
name = "fabrikam"
[[account.pool]]
id = "b"
nodes = 2
"#;

const SUBSCRIPTION: &str = "00000000-0000-4000-8000-00000000000a";

/// Two configs: one for everything, and one that has the key of the storage account.
fn configs(sim: &Sim) {
    let ticket = format!(
        "[ticket]\nresource_id = \"/subscriptions/{SUBSCRIPTION}/resourceGroups/g/providers/Microsoft.Batch/batchAccounts/contoso\"\n\
         problem_classification = \"Node is unusable\"\nmanagement = \"{}\"\n\
         contact = {{ first_name = \"Ada\", last_name = \"Operator\", email = \"ada@contoso.example\", country = \"DEU\" }}\n",
        sim.ready["arm"].as_str().unwrap()
    );
    let verify = "[verify]\ndeadline = \"2s\"\nsettle = \"1s\"\n";
    let path = sim.config(&format!("{verify}{ticket}"));
    std::fs::write(sim.dir.path().join("wrong"), "d3Jvbmcga2V5").unwrap();
    let text = std::fs::read_to_string(&path).unwrap().replace("\"ready.json.fabrikam.key\"", "\"wrong\"");
    let more = "[[snapshot]]\nname = \"nightly\"\ncron = \"15 2 * * *\"\nwindow = \"since-last\"\n\
                [[notify]]\ncommand = [\"sh\", \"-c\", \"cat > notified.json\"]\n";
    let text = format!("{text}\n{more}");
    std::fs::write(&path, &text).unwrap();

    let storage = &sim.ready["storage"];
    std::fs::write(sim.dir.path().join("secret-key"), storage["key"].as_str().unwrap()).unwrap();
    let with_key = format!(
        "mint = \"account-key\"\naccount = {}\ncontainer = \"batch-logs\"\naccount_key = {{ file = \"secret-key\" }}",
        storage["endpoint"]
    );
    let lines = text.lines().filter(|line| !line.starts_with("verify_url = "));
    let lines: Vec<_> =
        lines.map(|line| if line.starts_with("container_url = ") { &with_key } else { line }).collect();
    std::fs::write(sim.dir.path().join("with-key.toml"), lines.join("\n")).unwrap();
}

/// Holds a document against its schema.
pub(crate) fn assert_as_described(document: &str, value: &Value) {
    assert_eq!(mistakes(value, &schema_of(document)), [""; 0], "{document}: {value}");
}

fn schema_of(document: &str) -> Value {
    let output = fleetlogs().args(["schema", document]).output().unwrap();
    assert!(output.status.success(), "{document}: {output:?}");
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema", "{document}");
    schema
}

#[test]
fn every_document_is_as_its_schema_says() {
    let sim = Sim::start(FLEET);
    configs(&sim);
    let dir = sim.dir.path();
    // Schema, exit code, command. The order matters: the first makes the run that the others look at.
    let table = [
        ("run", 3, "schedule --once nightly --events events.jsonl"),
        ("run", 0, "report latest"),
        ("run", 3, "resume latest"),
        ("plan", 3, "plan"),
        ("check", 0, "check"),
        ("status", 0, "status latest"),
        ("runs", 0, "runs"),
        ("verify", 0, "verify latest --coverage"),
        ("history", 3, "history"),
        ("schedule", 0, "schedule --list"),
        ("fetch", 0, "fetch latest --to logs"),
        ("bundle", 0, "bundle latest --output case.zip"),
        ("bundle-check", 0, "bundle --check case.zip"),
        ("share", 0, "share latest --config with-key.toml"),
        ("unshare", 0, "unshare latest --config with-key.toml"),
        ("ticket", 0, "ticket latest --dry-run"),
        ("error", 2, "run nowhere.toml"),
    ];
    let mut wrong = Vec::new();
    let mut hold = |document: &str, what: &str, value: &Value| {
        wrong.extend(mistakes(value, &schema_of(document)).iter().map(|found| format!("{what}: {found}")));
    };
    for (document, code, line) in table {
        let output = fleetlogs().args(line.split(' ')).arg("--json").current_dir(dir).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{line}: {stderr}");
        let value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{line}: {error}: {stderr}"));
        hold(document, line, &value);
    }
    hold("notification", "the notification", &read(&dir.join("notified.json")));
    let run = std::fs::read_dir(dir.join("runs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.is_dir());
    let run = run.unwrap();
    hold("manifest", "manifest.json", &read(&run.join("manifest.json")));
    hold("plan", "plan.json", &read(&run.join("plan.json")));
    let events = std::fs::read_to_string(dir.join("events.jsonl")).unwrap();
    assert!(events.lines().count() > 10, "{events}");
    for line in events.lines() {
        hold("event", "a line of --events", &serde_json::from_str(line).unwrap());
    }
    assert!(wrong.is_empty(), "docs/schema does not describe what is printed:\n{}", wrong.join("\n"));
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Every member has a description, every reference leads somewhere, and the id says which document it is.
#[test]
fn every_schema_is_sound_and_explains_each_member() {
    let help = fleetlogs().args(["schema", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    let names = help.split("[possible values: ").nth(1).unwrap().split(']').next().unwrap();
    let documents: Vec<_> = names.split(", ").collect();
    let files = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schema")).unwrap();
    assert_eq!(files.count(), documents.len(), "a schema that `fleetlogs schema` does not print");
    let mut wrong = Vec::new();
    let mut ids = BTreeMap::new();
    for document in documents {
        let schema = schema_of(document);
        let id = schema["$id"].as_str().unwrap().to_owned();
        assert_eq!(id, format!("urn:fleetlogs:schema:{document}:v1"));
        ids.insert(id, document.to_owned());
        walk(&schema, &schema, document, &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn walk(schema: &Value, root: &Value, place: &str, wrong: &mut Vec<String>) {
    if let Some(reference) = schema["$ref"].as_str()
        && root.pointer(&reference[1..]).is_none()
    {
        wrong.push(format!("{place}: there is no {reference}"));
    }
    let properties = schema["properties"].as_object().cloned().unwrap_or_default();
    for name in schema["required"].as_array().into_iter().flatten() {
        if !properties.contains_key(name.as_str().unwrap()) {
            wrong.push(format!("{place}: requires {name}, which it does not describe"));
        }
    }
    for (name, member) in &properties {
        let is_described = member["description"].is_string() || member["$ref"].is_string();
        if !is_described {
            wrong.push(format!("{place}.{name}: no description"));
        }
        walk(member, root, &format!("{place}.{name}"), wrong);
    }
    for (name, inner) in schema["$defs"].as_object().into_iter().flatten() {
        walk(inner, root, &format!("{place}#{name}"), wrong);
    }
    for inner in schema["anyOf"].as_array().into_iter().flatten().chain(schema.get("items")) {
        walk(inner, root, place, wrong);
    }
}
