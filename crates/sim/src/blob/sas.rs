//! Service SAS: making and checking them.
//!
//! A user delegation SAS is refused: the simulator has no delegation keys to check one with.

use std::fmt::{self, Write as _};

use time::OffsetDateTime;

use super::errors::BlobError;
use crate::batch::SigningKey;
use crate::clock::parse_iso;
use crate::http::Query;

/// The fields of a service SAS, decoded.
#[derive(Clone)]
pub(crate) struct Sas {
    query: Query,
}

impl fmt::Debug for Sas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sas(sp={}, se={}, <redacted>)", self.field("sp"), self.field("se"))
    }
}

/// Version that the simulator signs its own SAS with.
const OUR_VERSION: &str = "2022-11-02";

impl Sas {
    /// None if the query holds no SAS at all.
    pub(crate) fn find(query: &Query) -> Option<Self> {
        (query.get("sig").is_some() || query.get("sv").is_some()).then(|| Self { query: query.clone() })
    }

    fn field(&self, name: &str) -> &str {
        self.query.get(name).unwrap_or("")
    }

    pub(crate) fn allows(&self, letter: char) -> bool {
        self.field("sp").contains(letter)
    }

    /// Checks signature, times and scope for a resource of `account`; `blob` is none for the container itself.
    ///
    /// `sip` is signed but not enforced: everybody on loopback has the same address.
    pub(crate) fn check(
        &self,
        key: &SigningKey,
        account: &str,
        container: &str,
        blob: Option<&str>,
        now: OffsetDateTime,
    ) -> Result<(), BlobError> {
        if self.query.get("skoid").is_some() {
            return Err(BlobError::authentication("User delegation SAS is not supported here."));
        }
        if !self.field("si").is_empty() {
            return Err(BlobError::authentication("The stored access policy does not exist."));
        }
        let resource = match (self.field("sr"), blob) {
            ("c", _) => format!("/blob/{account}/{container}"),
            ("b", Some(blob)) => format!("/blob/{account}/{container}/{blob}"),
            _ => return Err(BlobError::authentication("sr does not match the resource.")),
        };
        let text = self
            .string_to_sign(&resource)
            .ok_or_else(|| BlobError::authentication("sv is missing or not a known version."))?;
        if !key.verify(&text, self.field("sig")) {
            return Err(BlobError::authentication("Signature did not match."));
        }
        let expiry = parse_sas_time(self.field("se"))
            .ok_or_else(|| BlobError::authentication("se is missing or is not a time."))?;
        if now >= expiry {
            return Err(BlobError::authentication(
                "Signature not valid in the specified time frame: expired.",
            ));
        }
        match self.field("st") {
            "" => {}
            start => match parse_sas_time(start) {
                Some(start) if start <= now => {}
                Some(_) => {
                    return Err(BlobError::authentication(
                        "Signature not valid in the specified time frame: too early.",
                    ));
                }
                None => return Err(BlobError::authentication("st is not a time.")),
            },
        }
        if self.field("spr") == "https" {
            return Err(BlobError::protocol_mismatch());
        }
        Ok(())
    }

    /// The text that `sig` signs; its layout depends on `sv`.
    fn string_to_sign(&self, resource: &str) -> Option<String> {
        let version = self.field("sv");
        if version.len() != 10 || version < "2015-04-05" {
            return None;
        }
        let mut text = String::with_capacity(256);
        let fields = ["sp", "st", "se", "=resource", "si", "sip", "spr", "sv"].into_iter();
        // sr and the snapshot joined in 2018-11-09, the encryption scope in 2020-12-06.
        let middle: &[&str] = match version {
            v if v >= "2020-12-06" => &["sr", "snapshot", "ses"],
            v if v >= "2018-11-09" => &["sr", "snapshot"],
            _ => &[],
        };
        for name in fields.chain(middle.iter().copied()).chain(["rscc", "rscd", "rsce", "rscl", "rsct"]) {
            if !text.is_empty() || name != "sp" {
                text.push('\n');
            }
            text.push_str(if name == "=resource" { resource } else { self.field(name) });
        }
        Some(text)
    }
}

/// The query of a container SAS with these permissions, encoded.
pub(crate) fn container_sas(
    key: &SigningKey,
    account: &str,
    container: &str,
    permissions: &str,
    expires: OffsetDateTime,
) -> String {
    let (date, (hour, minute, second)) = (expires.date(), expires.to_hms());
    let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
    let expiry = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z");
    let unsigned = format!("sv={OUR_VERSION}&se={expiry}&sr=c&sp={permissions}&spr=https,http");
    let sas = Sas { query: Query::parse(&unsigned) };
    let text = sas.string_to_sign(&format!("/blob/{account}/{container}")).unwrap_or_default();
    let mut encoded = unsigned.replace(':', "%3A").replace(',', "%2C");
    encoded.push_str("&sig=");
    for byte in key.sign(&text).bytes() {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            let written = write!(encoded, "%{byte:02X}");
            debug_assert!(written.is_ok(), "writing to a String does not fail");
        }
    }
    encoded
}

/// Times of a SAS: a date, or a date with a time to minutes, seconds or fractions.
fn parse_sas_time(text: &str) -> Option<OffsetDateTime> {
    match text.len() {
        10 => parse_iso(&format!("{text}T00:00:00Z")),
        17 => parse_iso(&format!("{}:00Z", text.strip_suffix('Z')?)),
        _ => parse_iso(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const NEW_YEAR: OffsetDateTime = datetime!(2025-01-01 12:00:00 UTC);

    fn key() -> SigningKey {
        SigningKey::new(b"0123456789abcdef0123456789abcdef").expect("any length is a key")
    }

    fn check(query: &str, container: &str, blob: Option<&str>, now: OffsetDateTime) -> Result<(), String> {
        let sas = Sas::find(&Query::parse(query)).expect("a SAS");
        sas.check(&key(), "logsacct", container, blob, now).map_err(|error| error.detail.unwrap_or_default())
    }

    #[test]
    fn the_worked_example_has_the_signature_of_the_reference() {
        let query = "sp=cw&se=2025-01-02T00:00:00Z&spr=https&sv=2022-11-02&sr=c";
        let sas = Sas { query: Query::parse(query) };

        let text = sas.string_to_sign("/blob/logsacct/batch-logs").expect("a known version");

        assert_eq!(
            text,
            "cw\n\n2025-01-02T00:00:00Z\n/blob/logsacct/batch-logs\n\n\nhttps\n2022-11-02\nc\n\n\n\n\n\n\n"
        );
        assert_eq!(key().sign(&text), "yUAz/OitDSqn6NwhAOS3OxkFH3X0a/FhHQjFLezRmIY=");
    }

    #[test]
    fn our_own_sas_opens_its_container_until_it_expires() {
        let query = container_sas(&key(), "logsacct", "batch-logs", "rl", datetime!(2025-01-02 00:00:00 UTC));

        assert_eq!(check(&query, "batch-logs", None, NEW_YEAR), Ok(()));
        assert_eq!(check(&query, "batch-logs", Some("a/b.log"), NEW_YEAR), Ok(()));
        assert!(check(&query, "batch-logs", None, datetime!(2025-01-02 00:00:00 UTC)).is_err());
        assert!(check(&query, "other", None, NEW_YEAR).is_err());
    }

    #[test]
    fn a_sas_that_was_tampered_with_opens_nothing() {
        let query = container_sas(&key(), "logsacct", "batch-logs", "rl", datetime!(2025-01-02 00:00:00 UTC));

        assert!(check(&query.replace("sp=rl", "sp=rwl"), "batch-logs", None, NEW_YEAR).is_err());
        assert!(check(&query.replace("2025-01-02", "2026-01-02"), "batch-logs", None, NEW_YEAR).is_err());
        assert!(check(&query.replace("sr=c", "sr=b"), "batch-logs", Some("x"), NEW_YEAR).is_err());
        assert!(check(&format!("{query}&skoid=x"), "batch-logs", None, NEW_YEAR).is_err());
    }

    #[test]
    fn older_versions_have_shorter_texts() {
        let lines = |version: &str| {
            let sas = Sas { query: Query::parse(&format!("sv={version}&sp=w")) };
            sas.string_to_sign("/blob/a/c").map(|text| text.split('\n').count())
        };

        assert_eq!(lines("2016-05-31"), Some(13));
        assert_eq!(lines("2018-11-09"), Some(15));
        assert_eq!(lines("2020-12-06"), Some(16));
        assert_eq!(lines("2012-02-12"), None);
    }

    #[test]
    fn expiry_may_be_a_date_or_a_time_to_the_minute() {
        assert_eq!(parse_sas_time("2025-01-02"), Some(datetime!(2025-01-02 00:00:00 UTC)));
        assert_eq!(parse_sas_time("2025-01-02T03:04Z"), Some(datetime!(2025-01-02 03:04:00 UTC)));
        assert_eq!(parse_sas_time("tomorrow"), None);
    }
}
