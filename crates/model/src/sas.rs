//! The container URL that nodes write to: the permissions and the expiry of its SAS can be read, its signature cannot
//! be printed.
//!
//! Parameters as in the documentation of service, user delegation and account SAS: `sp` permissions, `st`/`se`
//! start and expiry, `sr`/`srt` resource, `si` stored access policy, `skoid`… user delegation key, `ske` its
//! expiry, `sip` IP restriction.

mod error;
mod host;
mod query;

use std::fmt;
use std::net::IpAddr;

use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime, PrimitiveDateTime};
use url::{Host, Url};
use zeroize::Zeroizing;

pub use self::error::SasUrlError;
pub use self::host::check_blob_host;
pub use self::query::SasMend;
use self::query::SasQuery;
use crate::scrub;
use crate::timestamp::clamped;

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
    /// The letters of `ss`: the services that an account SAS is for.
    pub services: Option<String>,
    /// The letters of `srt`: the levels that an account SAS is for.
    pub resource_types: Option<String>,
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
    /// What was mended in its text.
    pub mends: Box<[SasMend]>,
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

/// The letters of permissions in the order in which storage wants them, as its own clients write them.
pub const PERMISSION_ORDER: &str = "racwdxyltfmeopi";

impl SasUrl {
    /// Parses a container URL. Errors never quote a secret.
    ///
    /// What is wrong in its text but has one meaning is mended ([`SasUrl::mends`]); [`SasUrl::expose`] is the mended
    /// text, which storage understands.
    pub fn parse(text: &str) -> Result<Self, SasUrlError> {
        let text = text.trim().trim_start_matches('\u{feff}').trim();
        if text.contains(char::is_whitespace) && text.contains("://") {
            return Err(SasUrlError::WhiteSpace);
        }
        // Also where it is refused: the message may quote it.
        scrub::learn(text);
        let (place, query) = text.split_once('?').unwrap_or((text, ""));
        // `\?` is how a shell is given a question mark.
        let mut url = Url::parse(place.trim_end_matches('\\')).map_err(|_| SasUrlError::NotAUrl)?;
        if !is_https_or_loopback(&url) {
            return Err(SasUrlError::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() || text.contains('#') {
            return Err(SasUrlError::UserOrFragment);
        }
        // The question mark was lost, and what follows the container is in the path, or even in the host.
        if url.as_str().contains(['&', '=']) {
            return Err(SasUrlError::NotAContainer);
        }
        check_blob_host(&url)?;
        // Emulators are reached by address and have the storage account first in the path.
        let depth = if url.domain().is_some_and(|name| name != "localhost") { 1 } else { 2 };
        let segments = url.path().trim_matches('/').split('/').filter(|part| !part.is_empty()).count();
        if segments == 0 || (segments < depth && url.domain().is_none()) {
            return Err(SasUrlError::NotAContainer);
        }
        // Names of containers have no capitals, and storage does not overlook them.
        if url.path().bytes().any(|byte| byte.is_ascii_uppercase()) && segments == depth {
            return Err(SasUrlError::Capitals);
        }
        let query = SasQuery::read(query)?;
        let value = |name: &str| query.value(name).map(|value| value.as_str().to_owned());
        let time = |name: &'static str| match value(name) {
            Some(text) => parse_time(&text).ok_or(SasUrlError::BadTime(name)).map(Some),
            None => Ok(None),
        };
        let (se, ske) = (time("se")?, time("ske")?);
        let stored_policy = value("si").is_some();
        if se.is_none() && !stored_policy {
            return Err(SasUrlError::NoExpiry);
        }
        let kind = match value("sr").as_deref() {
            Some("c") if segments == depth => SasKind::Container,
            None if (value("srt").is_some() || value("ss").is_some()) && segments == depth => {
                SasKind::Account
            }
            _ => SasKind::NotContainer,
        };
        let permissions = value("sp");
        check_permissions(permissions.as_deref().unwrap_or_default(), kind)?;
        if value("spr").is_some_and(|protocols| !protocols.split(',').any(|protocol| protocol == "https")) {
            return Err(SasUrlError::Protocol);
        }
        let without_query = without_query(&url).into();
        url.set_query(Some(&query.text()));
        scrub::learn(url.as_str());
        Ok(Self {
            kind,
            permissions,
            services: value("ss"),
            resource_types: value("srt"),
            starts_at: time("st")?,
            expires_at: se.map_or(ske, |se| Some(ske.map_or(se, |ske| se.min(ske)))),
            ip_restricted: value("sip").is_some(),
            stored_policy,
            delegated: value("skoid").is_some(),
            mends: query.mends.iter().cloned().collect(),
            without_query,
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

    /// Whether it is for blobs: an account SAS says so in `ss`.
    #[must_use]
    pub fn is_for_blobs(&self) -> bool {
        self.kind != SasKind::Account || self.services.as_ref().is_some_and(|letters| letters.contains('b'))
    }

    /// Whether it is for a level of resources: an account SAS says so in `srt`.
    #[must_use]
    pub fn is_for_level(&self, level: char) -> bool {
        let levels = self.resource_types.as_ref();
        self.kind != SasKind::Account || levels.is_some_and(|letters| letters.contains(level))
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

/// Permissions are letters, each once. Only an account SAS may have them in any order.
fn check_permissions(letters: &str, kind: SasKind) -> Result<(), SasUrlError> {
    let rank = |letter| PERMISSION_ORDER.chars().chain(['u']).position(|known| known == letter);
    let ranks: Vec<_> = letters.chars().map(rank).collect();
    let mut sorted: Vec<_> = ranks.iter().flatten().copied().collect();
    sorted.sort_unstable();
    sorted.dedup();
    if sorted.len() != ranks.len() {
        return Err(SasUrlError::BadPermissions);
    }
    if kind != SasKind::Account && !ranks.iter().flatten().is_sorted() {
        let ordered = PERMISSION_ORDER.chars().filter(|letter| letters.contains(*letter)).collect();
        return Err(SasUrlError::PermissionOrder(ordered));
    }
    Ok(())
}

/// Parses the times of a SAS: a date, or a time to the minute, second or fraction of it, in UTC.
fn parse_time(text: &str) -> Option<OffsetDateTime> {
    if let Ok(time) = OffsetDateTime::parse(text, &Rfc3339) {
        return Some(clamped(time));
    }
    if let Ok(time) =
        PrimitiveDateTime::parse(text, format_description!("[year]-[month]-[day]T[hour]:[minute]Z"))
    {
        return Some(clamped(time.assume_utc()));
    }
    let date = Date::parse(text, format_description!("[year]-[month]-[day]")).ok()?;
    Some(clamped(date.midnight().assume_utc()))
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const SERVICE: &str = "https://logs.blob.core.windows.net/batch?sp=cw&se=2026-11-22T12:00:00Z&sv=2022-11-02&sr=c&sig=TOPSECRET";

    #[test]
    fn an_expiry_that_means_never_can_be_counted_with() {
        for end in ["9999-12-31T23:59:59-23:59", "9999-12-31T23:59:59Z", "9999-12-31T23:59Z", "9999-12-31"] {
            let sas = SasUrl::parse(&SERVICE.replace("2026-11-22T12:00:00Z", end)).unwrap();
            assert_eq!(sas.expires_at, Some(crate::timestamp::LAST), "{end}");
        }
    }

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
        let host = "https://logs.blob.core.windows.net";
        let good = "sv=2022-11-02&sr=c&sp=cw&se=2036-01-01T00:00:00Z";
        let signature = "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789abcdefg";
        let other = |host: &str, service, blob_host: Option<&str>| SasUrlError::OtherService {
            host: host.into(),
            service,
            blob_host: blob_host.map(Into::into),
        };
        let name = |name: &str| name.to_owned();
        let table = [
            ("logs".to_owned(), SasUrlError::NotAUrl),
            (format!("http://logs.blob.core.windows.net/c?{good}&sig=x"), SasUrlError::Scheme),
            (format!("{host}/?{good}&sig=x"), SasUrlError::NotAContainer),
            (format!("{host}/c&{good}&sig=x"), SasUrlError::NotAContainer),
            (format!("{host}/c&sig=x?{good}&sig=x"), SasUrlError::NotAContainer),
            (
                format!("https://logs-secondary.blob.core.windows.net&sig=x/c?{good}"),
                SasUrlError::NotAContainer,
            ),
            (format!("{host}/Logs?{good}&sig=x"), SasUrlError::Capitals),
            (format!("{host}/c"), SasUrlError::NoSas),
            (format!("{host}/c?"), SasUrlError::NoSas),
            (format!("{host}/c?sp=w"), SasUrlError::CutOff),
            (format!("{host}/c?{good}"), SasUrlError::NoSignature),
            (format!("{host}/c?{good}&sig="), SasUrlError::NoSignature),
            (format!("{host}/c?sig=x&se=soon"), SasUrlError::BadTime("se")),
            (format!("{host}/c?{good}\n&sig=x"), SasUrlError::WhiteSpace),
            (format!("{host}/c?{good}&sig=Ab c="), SasUrlError::WhiteSpace),
            (format!("https://me:pw@logs.blob.core.windows.net/c?{good}&sig=x"), SasUrlError::UserOrFragment),
            (format!("{host}/c?{good}&sig=x#top"), SasUrlError::UserOrFragment),
            (format!("{host}/c?sv=2022-11-02&sr=c&sp=w&sig=x"), SasUrlError::NoExpiry),
            (
                format!("{host}/c?se=2036-02-18T14A33A01Z&sr=c&sp=w&sig=x"),
                SasUrlError::PercentsGone(name("se")),
            ),
            (format!("{host}/c?{good}&sig={signature}D"), SasUrlError::PercentsGone(name("sig"))),
            (format!("{host}/c?{good}&sig=abc%3"), SasUrlError::BrokenEscape(name("sig"))),
            (format!("{host}/c?{good}&sig=abc%ZZ"), SasUrlError::BrokenEscape(name("sig"))),
            (format!("{host}/c?{good}&la%er=1&sig=abc"), SasUrlError::BrokenEscape(name("…"))),
            (format!("{host}/c?{good}&sig=x&prefix=a"), SasUrlError::UnknownParameter(name("prefix"))),
            (format!("{host}/c?{good}&sig=x&comp=metadata"), SasUrlError::UnknownParameter(name("comp"))),
            // What could be a part of a secret is not quoted.
            (format!("{host}/c?{good}&sig=x&a%2Fb=1"), SasUrlError::UnknownParameter(name("…"))),
            (format!("{host}/c?{good}&sig=x&sp=rl"), SasUrlError::Repeated(name("sp"))),
            (format!("{host}/c?{good}&sig=x&SIG=y"), SasUrlError::Repeated(name("sig"))),
            (format!("{host}/c?se=2036-01-01&sr=c&sp=read,list&sig=x"), SasUrlError::BadPermissions),
            (format!("{host}/c?se=2036-01-01&sr=c&sp=ww&sig=x"), SasUrlError::BadPermissions),
            (format!("{host}/c?se=2036-01-01&sr=c&sp=W&sig=x"), SasUrlError::BadPermissions),
            (format!("{host}/c?se=2036-01-01&sr=c&sp=wr&sig=x"), SasUrlError::PermissionOrder(name("rw"))),
            (format!("{host}/c?{good}&spr=http&sig=x"), SasUrlError::Protocol),
            (
                format!("https://logs.file.core.windows.net/c?{good}&sig=x"),
                other("logs.file.core.windows.net", "Azure Files", Some("logs.blob.core.windows.net")),
            ),
            (
                format!("https://logs.dfs.core.chinacloudapi.cn/c?{good}&sig=x"),
                other(
                    "logs.dfs.core.chinacloudapi.cn",
                    "Data Lake Storage",
                    Some("logs.blob.core.chinacloudapi.cn"),
                ),
            ),
            (
                format!("https://logs.z6.web.core.windows.net/c?{good}&sig=x"),
                other("logs.z6.web.core.windows.net", "static websites", Some("logs.blob.core.windows.net")),
            ),
            (
                format!("https://logs.z01.queue.storage.azure.net/c?{good}&sig=x"),
                other(
                    "logs.z01.queue.storage.azure.net",
                    "Queue Storage",
                    Some("logs.z01.blob.storage.azure.net"),
                ),
            ),
            (
                "https://contoso.vault.azure.net/secrets/sas".to_owned(),
                other("contoso.vault.azure.net", "a key vault", None),
            ),
            (
                format!("https://logs-secondary.blob.core.windows.net/c?{good}&sig=x"),
                SasUrlError::Secondary(name("logs-secondary.blob.core.windows.net")),
            ),
        ];
        for (text, error) in table {
            assert_eq!(SasUrl::parse(&text).unwrap_err(), error, "{text}");
        }
        // A host of one's own may have any label.
        for host in ["file.example", "logs.file.example", "queue.contoso.net"] {
            SasUrl::parse(&format!("https://{host}/c?{good}&sig=x")).unwrap();
        }
    }

    #[test]
    fn what_has_one_meaning_is_mended_and_sent_so() {
        use SasMend::{
            Capitals, DoubledPercent, Empty, EncodedTwice, Html, Json, OfAList, Plus, QuestionMark, Repeated,
            ShellEscape,
        };
        let name = |name: &str| name.to_owned();
        let sent = "sv=2022-11-02&se=2036-01-01T00%3A00%3A00Z&sr=c&sp=cw&sig=Ab%2Bc%2F0%3D";
        let table = [
            (sent.to_owned(), vec![]),
            (sent.replace("%2B", "+"), vec![Plus(name("sig"))]),
            (
                sent.replace("%2B", "%252B").replace("%2F", "%252F").replace("%3D", "%253D"),
                vec![EncodedTwice(name("sig"))],
            ),
            (
                sent.replace("%2B", "+").replace("%2F", "%252F").replace("%3D", "%253D"),
                vec![Plus(name("sig")), EncodedTwice(name("sig"))],
            ),
            (format!("?{sent}"), vec![QuestionMark]),
            (sent.replace('&', "&amp;"), vec![Html]),
            (sent.replace('&', r"\u0026"), vec![Json]),
            (sent.replace('&', r"\&"), vec![ShellEscape]),
            (sent.replace('&', "^&"), vec![ShellEscape]),
            (sent.replace('%', "%%"), vec![DoubledPercent]),
            (sent.replace("sig=", "SIG="), vec![Capitals(name("sig"))]),
            (format!("{sent}&sp=cw"), vec![Repeated(name("sp"))]),
            (format!("{sent}&"), vec![Empty]),
            (
                format!("restype=container&comp=list&{sent}"),
                vec![OfAList(name("comp=list")), OfAList(name("restype=container"))],
            ),
            (format!("{sent}&ResType=Container"), vec![OfAList(name("restype=container"))]),
            (format!("\u{feff}{sent}\r\n"), vec![]),
        ];
        for (query, mends) in table {
            let query = query.trim_start_matches('\u{feff}');
            let sas =
                SasUrl::parse(&format!("\u{feff} https://logs.blob.core.windows.net/c?{query}")).unwrap();
            assert_eq!(sas.expose(), format!("https://logs.blob.core.windows.net/c?{sent}"), "{query}");
            assert_eq!(*sas.mends, mends, "{query}");
        }
        // As it is: nothing of this needs mending.
        for good in [
            "sig=Ab%2bc/0=",
            "se=2036-01-01T00:00:00%2B01:00&sig=x",
            "sv=2099-01-01&sxyz=1&sig=x",
            "sv=2099-01-01&sXyz%7F=1&sig=x",
            "rscd=attachment;+filename=a%2520b&sig=x",
        ] {
            let query = format!("sr=c&sp=w&se=2036-01-01&{good}").replace("se=2036-01-01&se=", "se=");
            let url = format!("https://logs.blob.core.windows.net/c?{query}");
            let sas = SasUrl::parse(&url).unwrap();
            assert_eq!((sas.expose(), &*sas.mends), (url.as_str(), &[][..]));
        }
    }

    #[test]
    fn an_account_sas_reaches_what_its_services_and_levels_say() {
        let sas = |query: &str| {
            let url = format!("https://logs.blob.core.windows.net/c?{query}&sp=wl&se=2036-01-01&sig=x");
            SasUrl::parse(&url).unwrap()
        };
        for (query, blobs, objects, containers) in [
            ("sr=c", true, true, true),
            ("ss=bf&srt=sco", true, true, true),
            ("ss=b&srt=s", true, false, false),
            ("ss=b&srt=o", true, true, false),
            ("ss=qt&srt=sco", false, true, true),
            ("ss=b", true, false, false),
            ("srt=co", false, true, true),
        ] {
            let sas = sas(query);
            let found = (sas.is_for_blobs(), sas.is_for_level('o'), sas.is_for_level('c'));
            assert_eq!(found, (blobs, objects, containers), "{query}");
        }
    }

    #[test]
    fn a_sas_for_a_blob_is_told_from_one_for_the_container() {
        let kind = |text: &str| SasUrl::parse(&format!("{text}&se=2036-01-01")).unwrap().kind;
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
