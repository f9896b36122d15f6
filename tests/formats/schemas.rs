//! Schemas of documents. What a person reads in them (titles and descriptions) is not part of the form.

use std::path::Path;

use serde_json::Value;

use crate::lock::{Additions, Form, assert_locked, form_of, refused, text_of};

/// Between a part and a choice for it.
const CHOICE: &str = " | ";

/// Documents that fleetlogs writes gain members. A new text in a closed list, or another type, is a new version: whoever
/// reads the document knows the old ones only.
const OF_A_DOCUMENT: Additions = Additions {
    may_become: |_, _, _| false,
    may_come: |name, _, locked| choice_for(name).is_none_or(|of| !locked.contains_key(of)),
};

/// A config is written by people. What was a config stays one: whatever may be in it may grow, and nothing more is
/// required.
const OF_THE_CONFIG: Additions = Additions {
    may_become: |_, was, is| was.strip_prefix("required ").is_some_and(|was| was == is),
    may_come: |name, is, locked| !is.starts_with("required ") || !locked.contains_key(parent(name)),
};

/// What a part is one of several choices for, if it is one.
fn choice_for(name: &str) -> Option<&str> {
    let (of, choice) = name.rsplit_once(CHOICE)?;
    serde_json::from_str::<Value>(choice).is_ok().then_some(of)
}

/// The name of the object that a member is in.
fn parent(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(parent, _)| parent)
}

/// The form that a schema describes, member by member.
fn form(schema: &Value) -> Form {
    let mut form = Form::new();
    walk(schema, "$", false, &mut form);
    form
}

fn walk(schema: &Value, name: &str, is_required: bool, form: &mut Form) {
    let marked = if is_required { "required " } else { "" };
    let Value::Object(members) = schema else {
        form.insert(name.to_owned(), format!("{marked}{schema}"));
        return;
    };
    let mut own = members.clone();
    for elsewhere in ["$schema", "title", "description", "examples", "default", "required"] {
        own.remove(elsewhere);
    }
    let inner = ["properties", "$defs", "items", "additionalProperties", "anyOf", "enum"];
    let inner = inner.map(|name| own.remove(name));
    let [properties, definitions, items, others, choices, texts] = inner;
    form.insert(name.to_owned(), format!("{marked}{}", Value::Object(own)));
    let required =
        |name: &str| schema["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name));
    for (member, described) in properties.iter().filter_map(Value::as_object).flatten() {
        walk(described, &format!("{name}.{member}"), required(member), form);
    }
    for (definition, described) in definitions.iter().filter_map(Value::as_object).flatten() {
        walk(described, &format!("{name}.#{definition}"), false, form);
    }
    if let Some(items) = &items {
        walk(items, &format!("{name}.[]"), false, form);
    }
    if let Some(others) = &others {
        walk(others, &format!("{name}.*"), false, form);
    }
    // By what they are, not by where they stand.
    for choice in choices.iter().filter_map(Value::as_array).flatten() {
        let kind = ["$ref", "type", "const"].into_iter().find_map(|kind| choice.get(kind));
        walk(choice, &format!("{name}{CHOICE}{}", kind.unwrap_or(&Value::Null)), false, form);
    }
    for text in texts.iter().filter_map(Value::as_array).flatten() {
        form.insert(format!("{name}{CHOICE}{text}"), "one of".into());
    }
}

#[test]
fn every_schema_is_locked() {
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schema");
    let mut seen = 0;
    for file in std::fs::read_dir(schemas).unwrap() {
        let path = file.unwrap().path();
        let schema: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let (name, version) = path.file_stem().unwrap().to_str().unwrap().split_once('.').unwrap();
        let additions = if name == "config" { OF_THE_CONFIG } else { OF_A_DOCUMENT };
        assert_locked(&format!("schema-{name}"), version, &form(&schema), &additions);
        seen += 1;
    }
    assert!(seen > 20, "{seen} schemas");
}

type Change = fn(&mut Value);

/// The rule itself: what may change within a version, and what may not.
#[test]
fn a_document_gains_members_and_a_config_stays_valid() {
    let schema = serde_json::json!({
        "type": "object", "required": ["a"], "additionalProperties": false, "properties": {
            "a": { "type": "string", "enum": ["x", "y"], "description": "d" },
            "b": { "anyOf": [{ "type": "null" }, { "$ref": "#/$defs/c" }] },
            "l": { "type": "array", "items": { "type": "object", "properties": { "m": { "type": "integer" } } } },
        }, "$defs": { "c": { "type": "object", "properties": {} } },
    });
    // Whether it is additional for a document, and for the config.
    let changes: [(&str, Change, bool, bool); 12] = [
        ("other words", |it| it["properties"]["a"]["description"] = "e".into(), true, true),
        ("a new member", |it| it["properties"]["n"] = serde_json::json!({ "type": "string" }), true, true),
        (
            "a new member of an item",
            |it| it["properties"]["l"]["items"]["properties"]["n"] = true.into(),
            true,
            true,
        ),
        (
            "a new member with a closed list",
            |it| it["properties"]["n"] = serde_json::json!({ "enum": ["x"] }),
            true,
            true,
        ),
        (
            "a new member that is required",
            |it| {
                it["properties"]["n"] = true.into();
                it["required"] = serde_json::json!(["a", "n"]);
            },
            true,
            false,
        ),
        ("a member is no longer certain", |it| it["required"] = serde_json::json!([]), false, true),
        ("another type", |it| it["properties"]["a"]["type"] = "integer".into(), false, false),
        ("a new text", |it| it["properties"]["a"]["enum"] = serde_json::json!(["x", "y", "z"]), false, true),
        ("another text", |it| it["properties"]["a"]["enum"][1] = "z".into(), false, false),
        (
            "a new choice",
            |it| {
                it["properties"]["b"]["anyOf"]
                    .as_array_mut()
                    .unwrap()
                    .push(serde_json::json!({ "type": "string" }));
            },
            false,
            true,
        ),
        (
            "a choice less",
            |it| it["properties"]["b"]["anyOf"] = serde_json::json!([{ "type": "null" }]),
            false,
            false,
        ),
        (
            "a member is renamed",
            |it| {
                it["properties"]["l"]["items"]["properties"] =
                    serde_json::json!({ "k": { "type": "integer" } });
            },
            false,
            false,
        ),
    ];
    for (what, change, of_a_document, of_the_config) in changes {
        let mut other = schema.clone();
        change(&mut other);
        for (additions, expected) in [(OF_A_DOCUMENT, of_a_document), (OF_THE_CONFIG, of_the_config)] {
            let refused = refused(&form(&schema), &form(&other), &additions);
            assert_eq!(refused.is_empty(), expected, "{what}: {refused:?}");
        }
    }
    assert_eq!(form_of(&text_of(&form(&schema))), form(&schema), "a lock is read as it was written");
}
