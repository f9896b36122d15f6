//! The manifest against its published JSON Schema.

use super::*;
use crate::manifest::{MANIFEST_SCHEMA, MANIFEST_VERSION};

#[test]
fn the_published_schema_names_what_is_written_and_nothing_required_is_missing() {
    let reported = small();
    let schema: Value = serde_json::from_str(MANIFEST_SCHEMA).unwrap();
    let manifest = reported.manifest();
    assert_eq!(schema["properties"]["schema"]["const"], MANIFEST_VERSION);
    let mut seen = BTreeSet::new();
    check(&manifest, &schema, &schema, "manifest", &mut seen);
    // The example must be rich enough to say something of every kind of object.
    for place in [
        "manifest.accounts[]",
        "manifest.nodes[].errors[]",
        "manifest.nodes[].start_task",
        "manifest.nodes[].attempts[]",
        "manifest.left_out[]",
        "manifest.left_out[].evidence",
        "manifest.pools[].resize_errors[]",
        "manifest.nodes[].recent_tasks[]",
        "manifest.nodes[].seen_again",
        "manifest.appeared[]",
    ] {
        assert!(seen.contains(place), "the example has no {place}");
    }
    let outcomes: Vec<&str> = Outcome::ALL.iter().map(|outcome| outcome.as_str()).collect();
    assert_eq!(schema["$defs"]["outcome"]["enum"], Value::from(outcomes));
}

/// Walks a value and its schema side by side: members, required members, types and enums.
fn check(value: &Value, schema: &Value, root: &Value, place: &str, seen: &mut BTreeSet<String>) {
    let schema = match schema["$ref"].as_str() {
        Some(reference) => root.pointer(&reference[1..]).unwrap_or_else(|| panic!("{place}: no {reference}")),
        None => schema,
    };
    if let Some(choices) = schema["anyOf"].as_array() {
        let of_null = |choice: &&Value| (choice["type"] == "null") == value.is_null();
        return check(value, choices.iter().find(of_null).unwrap(), root, place, seen);
    }
    if let Some(allowed) = schema["enum"].as_array() {
        assert!(allowed.contains(value), "{place}: {value} is not in the schema's list");
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let types = &schema["type"];
    let fits =
        types.is_null() || types == kind || types.as_array().is_some_and(|all| all.contains(&kind.into()));
    assert!(fits, "{place}: {kind} does not fit {types}");
    match value {
        Value::Array(items) => {
            for item in items {
                check(item, &schema["items"], root, &format!("{place}[]"), seen);
            }
        }
        Value::Object(members) => {
            seen.insert(place.to_owned());
            for (name, member) in members {
                let described = &schema["properties"][name];
                assert!(!described.is_null(), "{place}: the schema does not know `{name}`");
                check(member, described, root, &format!("{place}.{name}"), seen);
            }
            let required: BTreeSet<&str> = schema["required"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|name| name.as_str().unwrap())
                .collect();
            let there = members.keys().map(String::as_str).collect();
            let some_are_left_out =
                schema["description"].as_str().is_some_and(|text| text.contains("are omitted"));
            if some_are_left_out {
                assert!(required.is_subset(&there), "{place}: required members");
            } else {
                assert_eq!(required, there, "{place}: required members");
            }
        }
        _ => {}
    }
}
