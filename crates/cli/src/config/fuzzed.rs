//! What fuzzing calls about configs.

use std::path::Path;

use time::macros::datetime;
use toml::de::{DeTable, DeValue};

use super::Needs;
use super::load::read;
use super::reader::Mistakes;
use crate::input_file::decode;

/// A config that is accepted has a window, and one that is refused says where and why: on lines that are there, without
/// control characters, and without the signature that it has in it. Nothing outside is read for it.
pub(crate) fn config(data: &[u8]) {
    let Ok(text) = decode(data) else { return };
    if refers_to_the_outside(DeTable::parse_recoverable(&text).0.get_ref()) {
        return;
    }
    let mistakes = Mistakes::of(&text);
    let settings = read(&text, String::new(), Path::new("."), Needs::default(), &mistakes);
    let mistakes = mistakes.into_sorted();
    assert!(settings.is_some() || !mistakes.is_empty(), "refused without a mistake");
    let signature = signature_in(&text);
    let lines = text.split('\n').count();
    for mistake in &mistakes {
        assert!((1..=lines + 1).contains(&mistake.line), "{mistake:?}");
        for shown in [&mistake.key, &mistake.message].into_iter().chain(&mistake.help) {
            assert!(!shown.contains(char::is_control), "{shown:?}");
            assert!(signature.is_none_or(|signature| !shown.contains(signature)), "{shown:?}");
        }
    }
    if let Some(settings) = settings.filter(|_| mistakes.is_empty()) {
        let now = datetime!(2026-11-22 09:30 UTC);
        let window = settings.window.freeze(now);
        assert!(window.end <= now, "{window:?}");
    }
}

/// Whether a value has a source of a secret that would be run or read.
fn refers_to_the_outside(table: &DeTable<'_>) -> bool {
    table.iter().any(|(name, value)| {
        matches!(&**name.get_ref(), "command" | "file" | "scenario") || is_outside(value.get_ref())
    })
}

fn is_outside(value: &DeValue<'_>) -> bool {
    match value {
        DeValue::Table(table) => refers_to_the_outside(table),
        DeValue::Array(items) => items.iter().any(|item| is_outside(item.get_ref())),
        _ => false,
    }
}

/// The value of a `sig` in a URL that stands in the text once.
fn signature_in(text: &str) -> Option<&str> {
    let begin = text.find("&sig=")? + 5;
    let value = &text[begin..];
    let end = value.find(|char: char| !char.is_ascii_alphanumeric()).unwrap_or(value.len());
    let value = &value[..end];
    (value.len() >= 16 && text.matches(value).count() == 1).then_some(value)
}
