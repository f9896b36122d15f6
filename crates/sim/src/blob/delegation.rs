//! User delegation keys: issuing them, and finding the key that a SAS names.
//!
//! A key is derived from its members and the account key, so only the issued members have to be stored.

use std::collections::HashSet;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use parking_lot::Mutex;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::errors::BlobError;
use super::xml::without_declaration;
use crate::clock::{iso_seconds, parse_iso};
use crate::roll::Roll;
use crate::scenario::StorageScenario;
use crate::signing_key::SigningKey;

/// No key is valid for longer than this.
const LONGEST_LIFE: Duration = Duration::days(7);

/// The keys of one account. Only one identity asks for them: the one that all tokens belong to.
pub(crate) struct DelegationKeys {
    owner: Uuid,
    pub(super) tenant: Uuid,
    derive: SigningKey,
    refuse: bool,
    /// Keys expire at the latest this long after they are issued, whatever the client asked for.
    lifetime: Option<Duration>,
    /// Owner, tenant, start, expiry, service and version, one line each.
    known: Mutex<HashSet<String>>,
}

impl DelegationKeys {
    pub(crate) fn new(storage: &StorageScenario, seed: Roll, derive: SigningKey) -> Self {
        let guid = |what| {
            let roll = seed.text(what);
            let (high, low) = (roll.number(0).bits(), roll.number(1).bits());
            uuid::Builder::from_random_bytes(Uuid::from_u64_pair(high, low).into_bytes()).into_uuid()
        };
        Self {
            owner: guid("owner"),
            tenant: guid("tenant"),
            derive,
            refuse: storage.refuse_delegation_key,
            lifetime: storage.delegation_key_lifetime.and_then(|span| Duration::try_from(span.0).ok()),
            known: Mutex::default(),
        }
    }

    /// Issues a key for a `KeyInfo` document; `version` is that of the request. Answers in XML.
    pub(super) fn issue(&self, body: &[u8], version: &str, now: OffsetDateTime) -> Result<String, BlobError> {
        let (start, expiry) = read_key_info(body)?;
        let start = start.unwrap_or(now);
        let good = start < expiry
            && expiry > now
            && expiry - start <= LONGEST_LIFE
            && expiry - now <= LONGEST_LIFE
            && now - start <= LONGEST_LIFE;
        if !good {
            return Err(BlobError::bad_xml_value());
        }
        if self.refuse {
            return Err(BlobError::permission_mismatch());
        }
        let expiry = self.lifetime.map_or(expiry, |lifetime| expiry.min(start.max(now) + lifetime));
        let (owner, tenant) = (self.owner.to_string(), self.tenant.to_string());
        let (start, expiry) = (iso_seconds(start), iso_seconds(expiry));
        let id = [&owner, &tenant, start.as_str(), &expiry, "b", version].join("\n");
        let value = self.derive.sign(&id);
        self.known.lock().insert(id);
        Ok(format!(
            "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><UserDelegationKey><SignedOid>{owner}</SignedOid>\
             <SignedTid>{tenant}</SignedTid><SignedStart>{start}</SignedStart><SignedExpiry>{expiry}</SignedExpiry>\
             <SignedService>b</SignedService><SignedVersion>{version}</SignedVersion><Value>{value}</Value>\
             </UserDelegationKey>"
        ))
    }

    /// The key with this owner, tenant, start, expiry, service and version, if it was issued.
    pub(super) fn find(&self, of: [&str; 6]) -> Option<SigningKey> {
        let id = of.join("\n");
        if !self.known.lock().contains(&id) {
            return None;
        }
        SigningKey::new(&BASE64_STANDARD.decode(self.derive.sign(&id)).ok()?)
    }
}

/// Start and expiry from `<KeyInfo><Start>…</Start><Expiry>…</Expiry></KeyInfo>`. The start may be left out.
fn read_key_info(body: &[u8]) -> Result<(Option<OffsetDateTime>, OffsetDateTime), BlobError> {
    let text = std::str::from_utf8(body).map_err(|_| BlobError::bad_xml())?;
    let text = without_declaration(text)?;
    let inside = text.strip_prefix("<KeyInfo>").and_then(|text| text.strip_suffix("</KeyInfo>"));
    let mut rest = inside.ok_or(BlobError::bad_xml())?.trim();
    let (mut start, mut expiry) = (None, None);
    while !rest.is_empty() {
        let (name, after) =
            rest.strip_prefix('<').and_then(|rest| rest.split_once('>')).ok_or(BlobError::bad_xml())?;
        let (value, after) = after.split_once(&format!("</{name}>")).ok_or(BlobError::bad_xml())?;
        let slot = match name {
            "Start" => &mut start,
            "Expiry" => &mut expiry,
            _ => return Err(BlobError::bad_xml()),
        };
        let value = parse_iso(value.trim()).ok_or(BlobError::bad_xml_value())?;
        if slot.replace(value).is_some() {
            return Err(BlobError::bad_xml());
        }
        rest = after.trim_start();
    }
    Ok((start, expiry.ok_or(BlobError::bad_xml())?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const NOON: OffsetDateTime = datetime!(2025-01-10 12:00:00 UTC);

    fn keys(storage: &StorageScenario) -> DelegationKeys {
        let key = SigningKey::new(b"fake").expect("any length is a key");
        DelegationKeys::new(storage, Roll::new(1), key)
    }

    fn ask(start: &str, expiry: &str) -> Result<String, &'static str> {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<KeyInfo><Start>{start}</Start>\n<Expiry>{expiry}</Expiry></KeyInfo>"
        );
        keys(&StorageScenario::default())
            .issue(body.as_bytes(), "2022-11-02", NOON)
            .map_err(|error| error.code)
    }

    #[test]
    fn a_key_lives_seven_days_at_most() {
        let bad = Err("InvalidXmlNodeValue");
        assert!(ask("2025-01-10T12:00:00Z", "2025-01-17T12:00:00Z").is_ok());
        for (start, expiry) in [
            ("2025-01-10T12:00:00Z", "2025-01-17T12:00:01Z"),
            ("2025-01-09T12:00:00Z", "2025-01-16T12:00:01Z"),
            ("2025-01-12T12:00:00Z", "2025-01-18T12:00:00Z"),
            ("2025-01-09T12:00:00Z", "2025-01-10T12:00:00Z"),
            ("2025-01-11T12:00:00Z", "2025-01-11T12:00:00Z"),
            ("2025-01-11T12:00:00Z", "2025-01-11T11:00:00Z"),
            ("2025-01-10T12:00:00Z", "tomorrow"),
        ] {
            assert_eq!(ask(start, expiry), bad, "{start} {expiry}");
        }
    }

    #[test]
    fn what_is_no_key_info_is_no_document() {
        for body in [
            "",
            "<KeyInfo></KeyInfo>",
            "<KeyInfo><Start>2025-01-10T12:00:00Z</Start></KeyInfo>",
            "<KeyInfo><X>",
            "{}",
        ] {
            assert_eq!(
                read_key_info(body.as_bytes()).map_err(|error| error.code),
                Err("InvalidXmlDocument"),
                "{body}"
            );
        }
        let only_expiry = b"<KeyInfo><Expiry>2025-01-11T00:00:00Z</Expiry></KeyInfo>";
        assert!(read_key_info(only_expiry).is_ok_and(|(start, _)| start.is_none()));
    }

    #[test]
    fn only_a_key_that_was_handed_out_is_found() {
        let keys = keys(&StorageScenario::default());
        let body =
            b"<KeyInfo><Start>2025-01-10T12:00:00Z</Start><Expiry>2025-01-11T12:00:00Z</Expiry></KeyInfo>";
        keys.issue(body, "2022-11-02", NOON).expect("a key");
        let (owner, tenant) = (keys.owner.to_string(), keys.tenant.to_string());
        let known = |expiry: &str, version: &str| {
            keys.find([&owner, &tenant, "2025-01-10T12:00:00Z", expiry, "b", version]).is_some()
        };

        assert!(known("2025-01-11T12:00:00Z", "2022-11-02"));
        assert!(!known("2025-01-12T12:00:00Z", "2022-11-02"));
        assert!(!known("2025-01-11T12:00:00Z", "2025-07-05"));
    }
}
