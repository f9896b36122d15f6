//! Names of the queues of workers: that of the config, one for each site, and the poison queue beside each.

use std::collections::BTreeSet;

use fleetlogs_azure::POISON;

use super::reader::{Table, Value};

/// The longest name of a queue of Azure Storage.
const LONGEST_NAME: usize = 63;

/// Lower-case letters, digits and single hyphens, by the naming rules of Queue Storage.
fn fits_in_queue_name(name: &str) -> bool {
    let is_inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.split('-').all(|part| !part.is_empty() && part.bytes().all(is_inside))
}

/// Reads the name of the queue, which must leave room for that of its poison queue.
pub(super) fn queue_name(value: &Value<'_>, name: &str) -> Option<String> {
    let longest = LONGEST_NAME - POISON.len();
    if fits_in_queue_name(name) && (3..=longest).contains(&name.len()) {
        return Some(name.to_owned());
    }
    let help = format!("use 3 to {longest} lower-case letters, digits and single hyphens");
    value.wrong(format!("`{name}` is not the name of a queue, or too long for `{name}{POISON}`"), Some(help));
    None
}

/// Reads the site of an account, which becomes a part of the name of a queue.
pub(super) fn site(value: &Value<'_>) -> Option<String> {
    let site = value.string()?;
    if !fits_in_queue_name(site) || site.len() > 40 {
        let help = "use up to 40 lower-case letters, digits and single hyphens, such as \"west\"";
        value.wrong(format!("`{site}` is not a site"), Some(help.into()));
        return None;
    }
    if format!("-{site}").ends_with(POISON) {
        let wrong = format!("a site must not end in `{}`: its queue would be a poison queue", &POISON[1..]);
        value.wrong(wrong, Some("choose another name".into()));
        return None;
    }
    Some(site.to_owned())
}

/// The name of the queue of a site.
pub(crate) fn queue_of_site(queue: &str, site: Option<&str>) -> String {
    site.map_or_else(|| queue.to_owned(), |site| format!("{queue}-{site}"))
}

/// Refuses sites whose queues would have names that are too long.
pub(super) fn check_sites(table: &Table<'_>, queue: &str, sites: &BTreeSet<Option<String>>) {
    for site in sites.iter().flatten() {
        let name = queue_of_site(queue, Some(site));
        if name.len() + POISON.len() > LONGEST_NAME {
            table.wrong(
                format!("`{name}{POISON}` is too long for the name of a queue"),
                format!(
                    "{LONGEST_NAME} characters are allowed: shorten the name of the queue or of the site"
                ),
            );
        }
    }
}
