//! Get and Set Container ACL: the stored access policies of a container, which a service SAS may refer to.
//!
//! Storage allows these two calls with Shared Key only, changes all policies at once, and takes some time until a new
//! policy is effective.

use std::fmt::Write as _;

use hyper::header::{self, HeaderMap};
use time::{Duration, OffsetDateTime};

use super::errors::BlobError;
use super::sas_text::{PERMISSION_LETTERS, parse_sas_time};
use super::xml::{elements, escape, only_element, without_declaration};
use crate::clock::parse_rfc1123;

/// Larger than five policies can be.
pub(super) const LARGEST: usize = 64 << 10;
const MOST_POLICIES: usize = 5;
const LONGEST_ID: usize = 64;

/// A stored access policy. Its texts are stored as they were sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredPolicy {
    pub(super) id: String,
    pub(super) start: String,
    pub(super) expiry: String,
    pub(super) permission: String,
    /// When the policy becomes effective.
    pub(super) known_from: OffsetDateTime,
}

/// All policies of a container.
#[derive(Clone, Debug)]
pub(crate) struct Acl {
    pub(super) policies: Vec<StoredPolicy>,
    /// Of the whole container; changes with the policies.
    pub(super) modified: OffsetDateTime,
}

impl Acl {
    /// Replaces the policies. A policy that does not change stays effective.
    pub(super) fn replace(
        &mut self,
        body: &[u8],
        headers: &HeaderMap,
        delay: Duration,
        now: OffsetDateTime,
    ) -> Result<(), BlobError> {
        if headers.contains_key("x-ms-blob-public-access") {
            return Err(BlobError::anonymous());
        }
        if let Some(date) = headers.get(header::IF_UNMODIFIED_SINCE) {
            let date = date.to_str().ok().and_then(parse_rfc1123).ok_or(BlobError::bad_header())?;
            if self.modified.unix_timestamp() > date.unix_timestamp() {
                return Err(BlobError::condition_not_met());
            }
        }
        let mut policies = read_policies(body)?;
        for policy in &mut policies {
            policy.known_from = now + delay;
            let same = |old: &&StoredPolicy| {
                StoredPolicy { known_from: policy.known_from, ..(*old).clone() } == *policy
            };
            if let Some(old) = self.policies.iter().find(same) {
                policy.known_from = old.known_from;
            }
        }
        self.policies = policies;
        self.modified = now;
        Ok(())
    }

    /// The policy with this id, once it is effective.
    pub(super) fn policy(&self, id: &str, now: OffsetDateTime) -> Option<&StoredPolicy> {
        self.policies.iter().find(|policy| policy.id == id && policy.known_from <= now)
    }

    pub(super) fn to_xml(&self) -> String {
        let mut text = String::from("\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><SignedIdentifiers>");
        for policy in &self.policies {
            text.push_str("<SignedIdentifier><Id>");
            escape(&mut text, &policy.id);
            text.push_str("</Id><AccessPolicy>");
            for (name, value) in
                [("Start", &policy.start), ("Expiry", &policy.expiry), ("Permission", &policy.permission)]
            {
                if !value.is_empty() {
                    let written = write!(text, "<{name}>{value}</{name}>");
                    debug_assert!(written.is_ok(), "writing to a String does not fail");
                }
            }
            text.push_str("</AccessPolicy></SignedIdentifier>");
        }
        text.push_str("</SignedIdentifiers>");
        text
    }
}

/// Parses `<SignedIdentifiers>`. The policies are not effective yet.
fn read_policies(body: &[u8]) -> Result<Vec<StoredPolicy>, BlobError> {
    let text = std::str::from_utf8(body).map_err(|_| BlobError::bad_xml())?;
    let text = without_declaration(text)?;
    let mut policies: Vec<StoredPolicy> = vec![];
    if text.is_empty() {
        // Without a document, no policy is left.
        return Ok(policies);
    }
    for (name, inside) in elements(only_element(text, "SignedIdentifiers")?)? {
        if name != "SignedIdentifier" {
            return Err(BlobError::bad_xml());
        }
        let policy = read_policy(inside)?;
        if policies.iter().any(|other| other.id == policy.id) {
            return Err(BlobError::bad_xml_value());
        }
        policies.push(policy);
    }
    if policies.len() > MOST_POLICIES {
        return Err(BlobError::bad_xml());
    }
    Ok(policies)
}

fn read_policy(text: &str) -> Result<StoredPolicy, BlobError> {
    let mut policy = StoredPolicy {
        id: String::new(),
        start: String::new(),
        expiry: String::new(),
        permission: String::new(),
        known_from: OffsetDateTime::UNIX_EPOCH,
    };
    for (name, inside) in elements(text)? {
        match name {
            "Id" => policy.id = unescaped(inside),
            "AccessPolicy" => {
                for (name, value) in elements(inside)? {
                    let slot = match name {
                        "Start" => &mut policy.start,
                        "Expiry" => &mut policy.expiry,
                        "Permission" => &mut policy.permission,
                        _ => return Err(BlobError::bad_xml()),
                    };
                    value.trim().clone_into(slot);
                }
            }
            _ => return Err(BlobError::bad_xml()),
        }
    }
    let is_time = |text: &str| text.is_empty() || parse_sas_time(text).is_some();
    let mut known = PERMISSION_LETTERS.chars();
    let ordered = policy.permission.chars().all(|letter| known.any(|other| other == letter));
    let named = (1..=LONGEST_ID).contains(&policy.id.chars().count());
    if named && ordered && is_time(&policy.start) && is_time(&policy.expiry) {
        return Ok(policy);
    }
    Err(BlobError::bad_xml_value())
}

fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    const THEN: OffsetDateTime = time::macros::datetime!(2025-01-01 12:00:00 UTC);

    fn policy(id: &str, inside: &str) -> String {
        format!("<SignedIdentifier><Id>{id}</Id><AccessPolicy>{inside}</AccessPolicy></SignedIdentifier>")
    }

    fn set(policies: &str) -> Result<Acl, &'static str> {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<SignedIdentifiers>{policies}</SignedIdentifiers>"
        );
        let mut acl = Acl { policies: vec![], modified: THEN };
        acl.replace(body.as_bytes(), &HeaderMap::new(), Duration::ZERO, THEN).map_err(|error| error.code)?;
        Ok(acl)
    }

    #[test]
    fn what_is_set_is_what_one_gets() {
        let two = policy(
            "a&amp;b",
            "<Start>2025-01-01</Start><Expiry>2025-01-02T00:00:00Z</Expiry><Permission>rl</Permission>",
        ) + &policy("c", "");
        let acl = set(&two).expect("good policies");
        assert!(acl.to_xml().contains(&two), "{}", acl.to_xml());
        assert_eq!(acl.policy("a&b", THEN).map(|policy| policy.permission.as_str()), Some("rl"));
        assert!(set("").expect("none").policies.is_empty());
        let mut acl = set(&two).expect("good policies");
        acl.replace(b"", &HeaderMap::new(), Duration::ZERO, THEN).expect("an empty body");
        assert!(acl.policies.is_empty());
    }

    #[test]
    fn odd_policies_are_refused() {
        let six: String = (0..6).map(|number| policy(&number.to_string(), "")).collect();
        assert_eq!(set(&six).unwrap_err(), "InvalidXmlDocument");
        for odd in [
            policy("", ""),
            policy(&"x".repeat(65), ""),
            policy("a", "") + &policy("a", ""),
            policy("a", "<Permission>lr</Permission>"),
            policy("a", "<Expiry>tomorrow</Expiry>"),
        ] {
            assert_eq!(set(&odd).unwrap_err(), "InvalidXmlNodeValue", "{odd}");
        }
        for odd in ["<Other/>", "<SignedIdentifier>", "text", &policy("a", "<Until>2025-01-01</Until>")] {
            assert_eq!(set(odd).unwrap_err(), "InvalidXmlDocument", "{odd}");
        }
    }

    #[test]
    fn a_new_policy_takes_its_time_and_an_old_one_goes_on() {
        let mut acl = set(&policy("old", "")).expect("a policy");
        let both =
            format!("<SignedIdentifiers>{}{}</SignedIdentifiers>", policy("old", ""), policy("new", ""));
        let delay = Duration::seconds(30);
        acl.replace(both.as_bytes(), &HeaderMap::new(), delay, THEN).expect("policies");
        assert!(acl.policy("old", THEN).is_some());
        assert!(acl.policy("new", THEN).is_none());
        assert!(acl.policy("new", THEN + delay).is_some());
    }
}
