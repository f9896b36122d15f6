//! Holds the form in which something is stored or published against a lock: a file in the repository that has this form
//! under its version. A form that changes without its version is refused; the rule is in docs/design/stored-files.md.
//!
//! A lock is a text: a line for each part of the form, with its name, a tab, and what it looks like. It is named after
//! its version, so the locks of earlier versions stay, and readers are held against them as well.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// If it is set, locks follow the forms as far as the rule allows. `just accept-formats` sets it.
const ACCEPT: &str = "FLEETLOGS_ACCEPT_FORMATS";

/// The parts of a form: what each looks like, by its name.
pub(crate) type Form = BTreeMap<String, String>;

/// Where a change is additional: readers of the version, earlier and later ones, need not know of it.
pub(crate) struct Additions {
    /// Whether a part that the lock has may have become this one.
    pub(crate) may_become: fn(name: &str, was: &str, is: &str) -> bool,
    /// Whether a part that the lock does not have may be there.
    pub(crate) may_come: fn(name: &str, is: &str, locked: &Form) -> bool,
}

impl Default for Additions {
    /// An example that is named as one with all members may gain some: they are optional, because the one with the
    /// fewest stays as it is.
    fn default() -> Self {
        Self {
            may_become: |name, was, is| {
                let read = |text| serde_json::from_str(text).unwrap_or(Value::Null);
                name.ends_with(WITH_ALL) && is_within(&read(was), &read(is))
            },
            may_come: |_, _, _| false,
        }
    }
}

/// Ends the name of an example that has every member.
const WITH_ALL: &str = " with all";

/// Whether a value is the other one without some members.
pub(crate) fn is_within(less: &Value, more: &Value) -> bool {
    match (less, more) {
        (Value::Object(less), Value::Object(more)) => {
            less.iter().all(|(name, less)| more.get(name).is_some_and(|more| is_within(less, more)))
        }
        (Value::Array(less), Value::Array(more)) => {
            less.len() == more.len() && less.iter().zip(more).all(|(less, more)| is_within(less, more))
        }
        _ => less == more,
    }
}

/// Where locks are.
pub(crate) fn locks() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/lock")
}

/// Holds a form against the lock of its version.
pub(crate) fn assert_locked(name: &str, version: &str, form: &Form, additions: &Additions) {
    let file = format!("{name}.{version}.txt");
    let path = locks().join(&file);
    let is = text_of(form);
    let was = std::fs::read_to_string(&path).ok();
    if was.as_ref() == Some(&is) {
        return;
    }
    let refused = was.as_deref().map(|was| refused(&form_of(was), form, additions)).unwrap_or_default();
    if std::env::var_os(ACCEPT).is_some() && refused.is_empty() {
        std::fs::write(&path, is).expect("the lock can be written");
        return;
    }
    let found = match (&was, refused.is_empty()) {
        (None, _) => "this version has no lock yet: `just accept-formats` writes it".to_owned(),
        (Some(_), true) => "the change is additional: `just accept-formats` accepts it".to_owned(),
        (Some(_), false) => format!(
            "the change is not additional, so the version must change as well, and the reader of the earlier one must \
             stay:\n{}",
            refused.join("\n")
        ),
    };
    panic!(
        "what is stored differs from tests/fixtures/lock/{file}; see docs/design/stored-files.md; {found}"
    );
}

/// What of a change is not additional.
pub(crate) fn refused(was: &Form, is: &Form, additions: &Additions) -> Vec<String> {
    let mut refused = Vec::new();
    for (name, before) in was {
        match is.get(name) {
            None => refused.push(format!("- {name}: it is no longer there")),
            Some(after) if after == before || (additions.may_become)(name, before, after) => {}
            Some(after) => refused.push(format!("- {name}: was {before}, is {after}")),
        }
    }
    let new =
        is.iter().filter(|(name, text)| !was.contains_key(*name) && !(additions.may_come)(name, text, was));
    refused.extend(new.map(|(name, text)| format!("- {name}: it is new: {text}")));
    refused
}

/// The parts of a lock.
pub(crate) fn form_of(text: &str) -> Form {
    let parts = text.lines().filter_map(|line| line.split_once('\t'));
    parts.map(|(name, part)| (name.to_owned(), part.to_owned())).collect()
}

/// The text of a lock.
pub(crate) fn text_of(form: &Form) -> String {
    let lines: Vec<_> = form.iter().map(|(name, part)| format!("{name}\t{part}\n")).collect();
    lines.concat()
}
