//! The container URL that nodes write to: the permissions and the expiry of its SAS can be read, its signature cannot
//! be printed.
//!
//! Parameters as in the documentation of service, user delegation and account SAS: `sp` permissions, `st`/`se`
//! start and expiry, `sr`/`srt` resource, `si` stored access policy, `skoid`… user delegation key, `ske` its
//! expiry, `sip` IP restriction.

use std::fmt;
use std::net::IpAddr;

use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime, PrimitiveDateTime};
use url::{Host, Url};
use zeroize::Zeroizing;

/// A container URL with its authorization in the query.
#[derive(Clone)]
pub struct SasUrl {
    /// Signature included; its memory is cleared when dropped.
    text: Zeroizing<String>,
    without_query: Box<str>,
    /// The kind of the SAS.
    pub kind: SasKind,
    /// The letters of `sp`; none if a stored access policy has them.
    pub permissions: Option<String>,
    /// `st`.
    pub starts_at: Option<OffsetDateTime>,
    /// The earlier of `se` and `ske`; none if a stored access policy has the expiry.
    pub expires_at: Option<OffsetDateTime>,
    /// Whether its use is limited to certain addresses (`sip`).
    pub ip_restricted: bool,
    /// Whether it refers to a stored access policy (`si`).
    pub stored_policy: bool,
    /// Whether it is signed with a user delegation key.
    pub delegated: bool,
}

/// The scope of a SAS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SasKind {
    /// One container (`sr=c`), signed with the account's key or a user delegation key.
    Container,
    /// Something smaller than a container (`sr=b`, `d`, `bs`, `bv`): of no use here.
    NotContainer,
    /// A whole storage account (`ss`, `srt`).
    Account,
}

/// Why a text is not a container URL with a SAS.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SasUrlError {
    /// Not a URL.
    #[error("it is not a URL")]
    NotAUrl,
    /// Plain http to a host that is not this machine, or another scheme.
    #[error("it must start with https:// (http:// is for loopback addresses only)")]
    Scheme,
    /// The path does not name exactly a container.
    #[error("its path must name a container and nothing else")]
    NotAContainer,
    /// There is no signature in its query.
    #[error("it has no SAS: the query has no `sig`")]
    NoSignature,
    /// A time in its query cannot be read.
    #[error("its `{0}` is not a time")]
    BadTime(&'static str),
}

impl SasUrl {
    /// Parses a container URL. Errors never quote the text.
    pub fn parse(text: &str) -> Result<Self, SasUrlError> {
        let url = Url::parse(text.trim()).map_err(|_| SasUrlError::NotAUrl)?;
        if !is_https_or_loopback(&url) {
            return Err(SasUrlError::Scheme);
        }
        // Emulators are reached by address and have the storage account first in the path.
        let depth = if url.domain().is_some_and(|name| name != "localhost") { 1 } else { 2 };
        let segments = url.path().trim_matches('/').split('/').filter(|part| !part.is_empty()).count();
        let param =
            |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        if segments == 0 || (segments < depth && url.domain().is_none()) {
            return Err(SasUrlError::NotAContainer);
        }
        if param("sig").is_none_or(|signature| signature.is_empty()) {
            return Err(SasUrlError::NoSignature);
        }
        let time = |name: &'static str| match param(name) {
            Some(text) => parse_time(&text).ok_or(SasUrlError::BadTime(name)).map(Some),
            None => Ok(None),
        };
        let (se, ske) = (time("se")?, time("ske")?);
        let kind = match param("sr").as_deref() {
            Some("c") if segments == depth => SasKind::Container,
            None if param("srt").is_some() && segments == depth => SasKind::Account,
            _ => SasKind::NotContainer,
        };
        Ok(Self {
            kind,
            permissions: param("sp"),
            starts_at: time("st")?,
            expires_at: se.map_or(ske, |se| Some(ske.map_or(se, |ske| se.min(ske)))),
            ip_restricted: param("sip").is_some(),
            stored_policy: param("si").is_some(),
            delegated: param("skoid").is_some(),
            without_query: without_query(&url).into(),
            text: Zeroizing::new(url.into()),
        })
    }

    /// The full URL, signature included: for the request, never for a message.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// The URL without its query: safe to show.
    #[must_use]
    pub fn without_query(&self) -> String {
        self.without_query.to_string()
    }

    /// Whether its signature is as long as storage makes them: 32 bytes in Base64. The signature of a truncated URL
    /// is shorter.
    #[must_use]
    pub fn has_whole_signature(&self) -> bool {
        let signature = self.text.rsplit(['?', '&']).find_map(|pair| pair.strip_prefix("sig="));
        let Some(signature) = signature else { return false };
        let plain = signature.replace("%3D", "=").replace("%3d", "=");
        let escapes = plain.matches('%').count();
        plain.len() - escapes * 2 == 44 && plain.ends_with('=')
    }

    /// Whether `sp` grants a permission; none if a stored access policy decides.
    #[must_use]
    pub fn grants(&self, permission: char) -> Option<bool> {
        match &self.permissions {
            Some(letters) => Some(letters.contains(permission)),
            None if self.stored_policy => None,
            None => Some(false),
        }
    }
}

impl fmt::Debug for SasUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SasUrl({}?<redacted>, expires {:?})", self.without_query(), self.expires_at)
    }
}

fn without_query(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    let _ = url.set_username("");
    let _ = url.set_password(None);
    let text: String = url.into();
    // The same container, with or without a slash after its name.
    text.trim_end_matches('/').to_owned()
}

/// Whether a URL may carry credentials: `https`, or plain `http` to this machine.
#[must_use]
pub fn is_https_or_loopback(url: &Url) -> bool {
    match url.scheme() {
        "https" => url.host().is_some(),
        "http" => match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
            Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
            None => false,
        },
        _ => false,
    }
}

/// Parses the times of a SAS: a date, or a time to the minute, second or fraction of it, in UTC.
fn parse_time(text: &str) -> Option<OffsetDateTime> {
    if let Ok(time) = OffsetDateTime::parse(text, &Rfc3339) {
        return Some(time);
    }
    if let Ok(time) =
        PrimitiveDateTime::parse(text, format_description!("[year]-[month]-[day]T[hour]:[minute]Z"))
    {
        return Some(time.assume_utc());
    }
    let date = Date::parse(text, format_description!("[year]-[month]-[day]")).ok()?;
    Some(date.midnight().assume_utc())
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const SERVICE: &str = "https://logs.blob.core.windows.net/batch?sp=cw&se=2026-11-22T12:00:00Z&sv=2022-11-02&sr=c&sig=TOPSECRET";

    #[test]
    fn a_service_sas_is_read_and_not_shown() {
        let sas = SasUrl::parse(SERVICE).unwrap();
        assert_eq!(sas.kind, SasKind::Container);
        assert_eq!(sas.grants('w'), Some(true));
        assert_eq!(sas.grants('l'), Some(false));
        assert_eq!(sas.expires_at, Some(datetime!(2026-11-22 12:00:00 UTC)));
        assert_eq!(sas.without_query(), "https://logs.blob.core.windows.net/batch");
        assert!(!format!("{sas:?}").contains("TOPSECRET"));
        assert!(sas.expose().contains("TOPSECRET"));
    }

    #[test]
    fn a_signature_that_was_cut_off_is_noticed() {
        let whole = |signature: &str| {
            let url = format!("https://logs.blob.core.windows.net/batch/?sr=c&sig={signature}&se=2036-01-01");
            SasUrl::parse(&url).unwrap().has_whole_signature()
        };
        assert!(whole("yUAz%2FOitDSqn6NwhAOS3OxkFH3X0a%2FFhHQjFLezRmIY%3D"));
        assert!(!whole("yUAz%2FOitDSqn6NwhAOS3OxkFH3X0a%2FFhHQjFLe"));
        assert!(!whole("yUAz"));
    }

    #[test]
    fn the_delegation_key_may_end_before_the_sas() {
        let sas = SasUrl::parse(&format!("{SERVICE}&skoid=x&ske=2026-11-22T11:00:00Z")).unwrap();
        assert_eq!(sas.expires_at, Some(datetime!(2026-11-22 11:00:00 UTC)));
    }

    #[test]
    fn times_may_be_dates_or_end_with_the_minute() {
        assert_eq!(parse_time("2026-11-22"), Some(datetime!(2026-11-22 00:00:00 UTC)));
        assert_eq!(parse_time("2026-11-22T10:05Z"), Some(datetime!(2026-11-22 10:05:00 UTC)));
        assert_eq!(parse_time("tomorrow"), None);
    }

    #[test]
    fn what_is_not_a_container_with_a_sas_is_refused() {
        let refused = |text: &str| SasUrl::parse(text).unwrap_err();
        assert_eq!(refused("logs"), SasUrlError::NotAUrl);
        assert_eq!(refused("http://logs.blob.core.windows.net/c?sig=x"), SasUrlError::Scheme);
        assert_eq!(refused("https://logs.blob.core.windows.net/?sig=x"), SasUrlError::NotAContainer);
        assert_eq!(refused("https://logs.blob.core.windows.net/c"), SasUrlError::NoSignature);
        assert_eq!(refused("https://logs.blob.core.windows.net/c?sig=x&se=soon"), SasUrlError::BadTime("se"));
    }

    #[test]
    fn a_sas_for_a_blob_is_told_from_one_for_the_container() {
        let kind = |text: &str| SasUrl::parse(text).unwrap().kind;
        assert_eq!(kind("https://logs.blob.core.windows.net/c/b.log?sr=b&sig=x"), SasKind::NotContainer);
        assert_eq!(kind("https://logs.blob.core.windows.net/c/b.log?sr=c&sig=x"), SasKind::NotContainer);
        assert_eq!(kind("https://logs.blob.core.windows.net/c?ss=b&srt=co&sig=x"), SasKind::Account);
        assert_eq!(kind("http://127.0.0.1:10000/devstoreaccount1/c?sr=c&sig=x"), SasKind::Container);
    }

    #[test]
    fn a_stored_policy_leaves_permissions_and_expiry_unknown() {
        let sas = SasUrl::parse("https://logs.blob.core.windows.net/c?si=policy&sr=c&sig=x").unwrap();
        assert_eq!(sas.grants('w'), None);
        assert_eq!(sas.expires_at, None);
    }
}
