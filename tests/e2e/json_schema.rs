//! JSON Schemas, as far as docs/schema uses them, and stricter: a member that a schema does not describe is a mistake,
//! although a reader must ignore it. So a document cannot gain a member that its schema does not have.

use serde_json::Value;

/// What is wrong with a value, one text for each mistake.
pub(crate) fn mistakes(value: &Value, schema: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(value, schema, schema, "", &mut found);
    found
}

/// Keywords that say nothing about a value, or that only the validators of others look at.
const IGNORED: &[&str] =
    &["$schema", "$id", "$defs", "title", "description", "default", "format", "pattern", "examples"];

fn check(value: &Value, schema: &Value, root: &Value, place: &str, found: &mut Vec<String>) {
    let mut wrong = |what: String| {
        found.push(format!("{}: {what}", if place.is_empty() { "the document" } else { place }));
    };
    let keywords = schema.as_object().expect("a schema is an object");
    for (keyword, wanted) in keywords {
        match keyword.as_str() {
            "type" => {
                let types = wanted.as_array().cloned().unwrap_or_else(|| vec![wanted.clone()]);
                if !types.iter().any(|kind| is_of(value, kind.as_str().unwrap())) {
                    wrong(format!("{value} is no {wanted}"));
                }
            }
            "const" if value != wanted => wrong(format!("{value} is not {wanted}")),
            "enum" if !wanted.as_array().unwrap().contains(value) => {
                wrong(format!("{value} is none of {wanted}"));
            }
            "minimum" if value.as_f64().is_some_and(|number| number < wanted.as_f64().unwrap()) => {
                wrong(format!("{value} is below {wanted}"));
            }
            "maximum" if value.as_f64().is_some_and(|number| number > wanted.as_f64().unwrap()) => {
                wrong(format!("{value} is above {wanted}"));
            }
            "required" => {
                let names = wanted.as_array().unwrap().iter().map(|name| name.as_str().unwrap());
                for name in names.filter(|name| value.is_object() && value.get(name).is_none()) {
                    wrong(format!("`{name}` is missing"));
                }
            }
            "const"
            | "enum"
            | "minimum"
            | "maximum"
            | "properties"
            | "additionalProperties"
            | "items"
            | "$ref"
            | "anyOf" => {}
            known if IGNORED.contains(&known) => {}
            unknown => panic!("{place}: this checker does not know the keyword `{unknown}`"),
        }
    }
    if let Some(reference) = schema["$ref"].as_str() {
        let there =
            root.pointer(&reference[1..]).unwrap_or_else(|| panic!("{place}: there is no {reference}"));
        check(value, there, root, place, found);
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        let tried = choices.iter().map(|choice| {
            let mut found = Vec::new();
            check(value, choice, root, place, &mut found);
            let is_other = choice["type"].as_str().is_some_and(|kind| !is_of(value, kind));
            (is_other, found)
        });
        // Of choices that do not fit, the one that comes nearest says the most.
        if let Some((_, nearest)) =
            tried.min_by_key(|(is_other, found)| (!found.is_empty() && *is_other, found.len()))
        {
            found.extend(nearest);
        }
    }
    if let (Some(items), Some(schema)) = (value.as_array(), schema.get("items")) {
        for (at, item) in items.iter().enumerate() {
            check(item, schema, root, &format!("{place}[{at}]"), found);
        }
    }
    let is_described = schema.get("properties").is_some() || schema.get("additionalProperties").is_some();
    for (name, member) in value.as_object().into_iter().flatten().filter(|_| is_described) {
        let place = if place.is_empty() { name.clone() } else { format!("{place}.{name}") };
        match (&schema["properties"][name], &schema["additionalProperties"]) {
            (Value::Null, others @ Value::Object(_)) => check(member, others, root, &place, found),
            // Of an object without any description, nothing is promised.
            (Value::Null, Value::Bool(true)) if schema.get("properties").is_none() => {}
            (Value::Null, _) => found.push(format!("{place}: the schema does not have it")),
            (described, _) => check(member, described, root, &place, found),
        }
    }
}

fn is_of(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => panic!("no type is called {kind}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_checker_of_schemas_sees_what_does_not_fit() {
        let schema = json!({
            "type": "object",
            "additionalProperties": true,
            "required": ["name", "at"],
            "properties": {
                "name": { "enum": ["a", "b"] },
                "at": { "$ref": "#/$defs/count" },
                "more": { "anyOf": [{ "type": "null" }, { "type": "array", "items": { "$ref": "#/$defs/count" } }] },
                "any": { "type": "object", "additionalProperties": { "type": "string" } },
            },
            "$defs": { "count": { "type": "integer", "minimum": 0 } },
        });
        let found = |value| mistakes(&value, &schema);
        assert_eq!(found(json!({ "name": "a", "at": 1, "more": [1], "any": { "x": "y" } })), [""; 0]);
        assert_eq!(found(json!({ "name": "a", "at": 1, "more": null })), [""; 0]);
        assert_eq!(
            found(json!({ "name": "c" })),
            ["name: \"c\" is none of [\"a\",\"b\"]", "the document: `at` is missing"]
                .map(String::from)
                .into_iter()
                .rev()
                .collect::<Vec<_>>()
        );
        assert_eq!(found(json!({ "name": "a", "at": -1 })), ["at: -1 is below 0"]);
        assert_eq!(
            found(json!({ "name": "a", "at": 1, "more": [1, "x"] })),
            ["more[1]: \"x\" is no \"integer\""]
        );
        assert_eq!(found(json!({ "name": "a", "at": 1, "odd": 1 })), ["odd: the schema does not have it"]);
        assert_eq!(found(json!({ "name": "a", "at": 1, "any": { "x": 1 } })), ["any.x: 1 is no \"string\""]);
    }
}
