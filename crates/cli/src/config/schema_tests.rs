//! The published schema of the config against the reader: neither knows a key that the other does not.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::*;
use crate::commands::schema::CONFIG_SCHEMA;

#[path = "../../../../tests/e2e/json_schema.rs"]
mod json_schema;

/// Every table there is. The forms of `[window]` and `[destination]` are read with the same keys.
const EVERY_TABLE: &str = r#"
strict = true
window = { since = "boot", margin = "5m" }
limits = { rate = "unlimited" }
budget = { run = "5%", account = 3 }
[destination]
mint = "account-key"
account = "contosologs"
container = "incident-{run_id}"
account_key = { file = "key" }
[entra]
client_secret = { file = "key" }
[discover]
subscriptions = ["00000000-0000-0000-0000-000000000000"]
[defaults]
os = ["*ubuntu*"]
[[account]]
name = "contoso"
endpoint = "https://contoso.westeurope.batch.azure.com"
auth = { shared_key = { file = "key" } }
site = "west"
pool_metadata = { team = "render-*" }
allocation_states = ["steady"]
jobs = ["nightly", { id = "render", tasks = ["frame-*"], since = 2026-11-22T08:00:00Z }]
nodes = { states = ["idle"], kind = "spot", limit_per_pool = 5 }
[[snapshot]]
name = "nightly"
cron = "@daily"
window = "since-last"
on_state = ["unusable"]
[schedule.lease]
container_url = { file = "url" }
[journal]
container_url = { file = "url" }
[scale_out]
queue_url = { file = "queue" }
[schedule.listener]
secret = { file = "long" }
[[notify]]
webhook = { file = "hook" }
key = { file = "key" }
format = "slack"
on = ["partial"]
[[notify]]
command = ["page-oncall"]
[ticket]
resource_id = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/g/providers/Microsoft.Batch/batchAccounts/contoso"
problem_classification = "Node is unusable"
contact = { first_name = "Ada", last_name = "Operator", email = "ada@contoso.example", country = "DEU" }
"#;

const SIMULATED: &str = "[simulator]\nscenario = \"fleet.toml\"\n";

fn schema() -> Value {
    serde_json::from_str(CONFIG_SCHEMA).unwrap()
}

/// A config as the schema sees it: moments are texts.
fn as_json(value: &toml::Value) -> Value {
    match value {
        toml::Value::Table(table) => table
            .iter()
            .map(|(key, value)| (key.clone(), as_json(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        toml::Value::Array(items) => items.iter().map(as_json).collect(),
        toml::Value::Datetime(moment) => moment.to_string().into(),
        other => serde_json::to_value(other).unwrap(),
    }
}

fn refused_by_schema(text: &str) -> Vec<String> {
    let table: toml::Table = text.parse().unwrap();
    json_schema::mistakes(&as_json(&table.into()), &schema())
}

fn load(text: &str) -> Result<Settings, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("key", "c29tZWtleQ==\n");
    write("long", "0123456789abcdef\n");
    write("hook", "https://hooks.contoso.example/1\n");
    write("url", "https://state.blob.core.windows.net/state?sr=c&sp=rcw&se=2036-01-01&sig=FAKE");
    write("queue", "https://state.queue.core.windows.net/work?ss=q&srt=co&sp=racup&sig=FAKE");
    write("fleet.toml", "[[account]]\nname = \"contoso\"\n[[account.pool]]\nid = \"a\"\nnodes = 1\n");
    write("fleetlogs.toml", text);
    load_for(&dir.path().join("fleetlogs.toml"), EVERYTHING)
}

const EVERYTHING: Needs = Needs { scale_out: true, ..Needs::SCHEDULE };

/// The keys of every table that the schema describes, by its path; `[]` stands for an item.
fn keys_of_schema(schema: &Value, root: &Value, path: &str, keys: &mut BTreeMap<String, BTreeSet<String>>) {
    if let Some(reference) = schema["$ref"].as_str() {
        return keys_of_schema(root.pointer(&reference[1..]).unwrap(), root, path, keys);
    }
    for choice in schema["anyOf"].as_array().into_iter().flatten() {
        keys_of_schema(choice, root, path, keys);
    }
    if let Some(items) = schema.get("items") {
        keys_of_schema(items, root, &format!("{path}[]"), keys);
    }
    let Some(properties) = schema["properties"].as_object() else { return };
    assert_eq!(schema["additionalProperties"], false, "{path}");
    keys.insert(path.to_owned(), properties.keys().cloned().collect());
    for (name, described) in properties {
        assert!(described["description"].is_string(), "{path}.{name} has no description");
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        keys_of_schema(described, root, &path, keys);
    }
}

#[test]
fn the_schema_has_exactly_the_keys_that_the_reader_knows() {
    let known = reader::record_known_keys(|| {
        let by_identity = EVERY_TABLE.replace("account_key = { file = \"key\" }", "").replace(
            "mint = \"account-key\"",
            "identity = \"/subscriptions/ID/resourceGroups/G/providers/Microsoft.ManagedIdentity/userAssignedIdentities/N\"\n\
             verify_url = { file = \"url\" }",
        );
        let by_url =
            "[destination]\ncontainer_url = { file = \"url\" }\nverify_url = { file = \"url\" }\n".to_owned();
        load(EVERY_TABLE).unwrap();
        load(SIMULATED).unwrap();
        // Whether it can be used does not matter here.
        let _ = (load(&by_identity), load(&by_url));
        let lease = EVERY_TABLE.replace(
            "container_url = { file = \"url\" }",
            "account = \"a\"\ncontainer = \"c\"\naccount_key = { file = \"key\" }",
        );
        let _ = load(&lease);
        let queue = "account = \"a\"\nqueue = \"work\"\naccount_key = { file = \"key\" }";
        let _ = load(&EVERY_TABLE.replace("queue_url = { file = \"queue\" }", queue));
    });
    let mut described = BTreeMap::new();
    keys_of_schema(&schema(), &schema(), "", &mut described);
    for (path, keys) in &known {
        assert_eq!(Some(keys), described.get(path), "the keys of `{path}`: of the reader, and of the schema");
    }
    // What [defaults] holds is read as if it were in each account.
    let is_unread = |path: &&String| !known.contains_key(*path) && !path.starts_with("defaults.");
    let unread: Vec<_> = described.keys().filter(is_unread).collect();
    assert!(unread.is_empty(), "no config of this test has {unread:?}");
    let mut account = schema()["properties"]["account"]["items"]["properties"].clone();
    for own in ["name", "endpoint"] {
        account.as_object_mut().unwrap().remove(own);
    }
    assert_eq!(schema()["properties"]["defaults"]["properties"], account);
}

/// The keys that `docs/reference/config.md` describes: the first cells of its tables, by heading.
fn keys_of_the_reference() -> BTreeMap<String, BTreeSet<String>> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/config.md");
    let page = std::fs::read_to_string(page).unwrap();
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut heading = "";
    for line in page.lines() {
        if let Some(title) = line.strip_prefix('#') {
            heading = title.trim_start_matches(['#', ' ']);
        } else if let Some(cell) = line.strip_prefix("| `").and_then(|row| row.split(" | ").next()) {
            let keys = cell.split(['`', ',', ' ']).filter(|key| !key.is_empty()).map(String::from);
            found.entry(heading.to_owned()).or_default().extend(keys);
        }
    }
    found
}

#[test]
fn the_reference_has_exactly_the_keys_of_the_schema() {
    let documented = keys_of_the_reference();
    // `account[].nodes` is below `nodes`, and `ticket.contact` among the keys of `[ticket]`.
    let heading_of = |path: &str| -> String {
        let (parent, last) = path.rsplit_once('.').unwrap_or(("", path));
        let own = match path.strip_suffix("[]") {
            Some(name) => format!("`[[{name}]]`"),
            None => format!("`[{path}]`"),
        };
        let short = format!("`{}`", last.trim_end_matches("[]"));
        let known =
            [own, short, format!("`[{parent}]`")].into_iter().find(|name| documented.contains_key(name));
        if path.is_empty() { "Before the first table".to_owned() } else { known.unwrap_or_default() }
    };
    let mut described = BTreeMap::new();
    keys_of_schema(&schema(), &schema(), "", &mut described);
    let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, keys) in &described {
        // What [defaults] holds is that of an account; the forms of a secret are those of every secret.
        let is_secret = keys.contains("command") && keys.contains("env");
        if is_secret || path.rsplit('.').next() == Some("auth") || path.starts_with("defaults") {
            continue;
        }
        // A table has a heading of its own, or its keys are below that of the table around it.
        let is_table = |key: &&String| {
            let path = if path.is_empty() { (*key).clone() } else { format!("{path}.{key}") };
            documented.contains_key(&format!("`[{path}]`"))
                || documented.contains_key(&format!("`[[{path}]]`"))
        };
        let keys = keys.iter().filter(|key| !is_table(key) && *key != "defaults").cloned();
        known.entry(heading_of(path)).or_default().extend(keys);
    }
    let mut documented = documented;
    documented.retain(|heading, _| heading != "Environment" && heading != "Kinds of values");
    assert_eq!(documented, known, "the keys by heading: of docs/reference/config.md, and of the schema");
}

#[test]
fn configs_that_work_fit_the_schema() {
    for text in [EVERY_TABLE, SIMULATED, DEFAULTS] {
        assert_eq!(refused_by_schema(text), [""; 0]);
    }
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config");
    for name in ["demo.toml", "snapshots.toml"] {
        let text = std::fs::read_to_string(dir.join(name)).unwrap();
        assert_eq!(refused_by_schema(&text), [""; 0], "{name}");
    }
}

/// The defaults that the schema names are those of the config that is built in.
#[test]
fn the_schema_names_the_defaults_of_the_program() {
    fn compare(defaults: &Value, schema: &Value, path: &str, compared: &mut usize) {
        for (key, value) in defaults.as_object().unwrap() {
            let described = &schema["properties"][key];
            match value {
                Value::Object(_) => compare(value, described, &format!("{path}{key}."), compared),
                value => {
                    assert_eq!(&described["default"], value, "{path}{key}");
                    *compared += 1;
                }
            }
        }
    }
    let defaults: toml::Table = DEFAULTS.parse().unwrap();
    let mut compared = 0;
    compare(&as_json(&defaults.into()), &schema(), "", &mut compared);
    assert!(compared > 15, "{compared} defaults");
}

#[test]
fn what_the_reader_refuses_the_schema_refuses() {
    for (from, to) in [
        ("strict = true", "strct = true"),
        ("strict = true", "strict = \"yes\""),
        ("margin = \"5m\"", "margn = \"5m\""),
        ("since = \"boot\"", "since = \"birth\""),
        ("rate = \"unlimited\"", "rate = \"fast\""),
        ("rate = \"unlimited\"", "rate = 0"),
        ("{ file = \"key\" }\n[entra]", "{ path = \"key\" }\n[entra]"),
        ("mint = \"account-key\"", "mint = \"sas\""),
        ("endpoint = \"https://contoso.westeurope.batch.azure.com\"\n", ""),
        ("kind = \"spot\"", "kind = \"cheap\""),
        ("limit_per_pool = 5", "limit_per_pool = 0"),
        ("states = [\"idle\"]", "states = [\"idel\"]"),
        ("tasks = [\"frame-*\"]", "task = [\"frame-*\"]"),
        ("allocation_states = [\"steady\"]", "allocation_states = \"steady\""),
        ("on = [\"partial\"]", "on = [\"failed\"]"),
        ("country = \"DEU\" }", "}"),
        ("[schedule.lease]", "[schedule.leases]"),
        ("[scale_out]", "[scale_out]\npoison_after = 0"),
        ("[scale_out]", "[scale_out]\nheartbeats = \"15s\""),
        ("site = \"west\"", "site = 3"),
    ] {
        assert!(EVERY_TABLE.contains(from), "{from}");
        let text = EVERY_TABLE.replacen(from, to, 1);
        assert!(load(&text).is_err(), "the reader takes {to}");
        assert!(!refused_by_schema(&text).is_empty(), "the schema takes {to}");
    }
}
