//! Writing XML, and reading the little of it that clients send.

use super::errors::BlobError;

/// Escapes text for XML.
pub(super) fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
}

/// A document without the declaration in front of it.
pub(super) fn without_declaration(text: &str) -> Result<&str, BlobError> {
    let text = text.trim_start_matches('\u{feff}').trim();
    match text.strip_prefix("<?xml") {
        Some(declared) => Ok(declared.split_once("?>").ok_or(BlobError::bad_xml())?.1.trim()),
        None => Ok(text),
    }
}

/// The content of the single element `name`.
pub(super) fn only_element<'a>(text: &'a str, name: &str) -> Result<&'a str, BlobError> {
    match elements(text)?.as_slice() {
        [(found, inside)] if *found == name => Ok(inside),
        _ => Err(BlobError::bad_xml()),
    }
}

/// Consecutive elements, each with name and content. No element contains another one of the same name.
pub(super) fn elements(text: &str) -> Result<Vec<(&str, &str)>, BlobError> {
    let mut found = vec![];
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (tag, after) =
            rest.strip_prefix('<').and_then(|rest| rest.split_once('>')).ok_or(BlobError::bad_xml())?;
        if let Some(name) = tag.strip_suffix('/') {
            found.push((name.trim(), ""));
            rest = after.trim_start();
            continue;
        }
        let (inside, after) = after.split_once(&format!("</{tag}>")).ok_or(BlobError::bad_xml())?;
        found.push((tag, inside));
        rest = after.trim_start();
    }
    Ok(found)
}
