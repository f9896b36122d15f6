//! The service's link to the next page: followed byte for byte, or not at all.
//!
//! A link comes from outside, and a credential is about to be sent to it, so it must stay on the account's own
//! endpoint. Its token is opaque, so it must be sent unchanged. The URL type keeps `^`, `|`, `$`, `:`, `/`, `+` and
//! escapes in a query as they are; the few characters that it would change are never valid in a URL, and a link with
//! one of them is refused. There is one exception: an apostrophe is sent as `%27`, which every server decodes to the
//! same.

use std::borrow::Cow;

use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::service::PageLink;
use url::{Position, Url};

use crate::redact::{LONGEST, one_line};
use crate::shared_key::canonical_query;
use crate::target::Target;

/// In bytes. A link has some hundreds, and no server takes a request line as long as this.
const LONGEST_LINK: usize = 64 << 10;

/// The target of a link, if it may be followed from `endpoint`.
///
/// A refusal concerns this list only: the run continues with other accounts.
pub(crate) fn follow(endpoint: &Url, link: &PageLink) -> Result<Target<'static>, Failure> {
    let refused = |why: &str| {
        let shown = one_line(link.0.split('?').next().unwrap_or_default(), LONGEST);
        Failure::new(
            FailureClass::Refused,
            format!("the link to the next page, `{shown}`, {why}; it was not followed"),
        )
    };
    if link.0.len() > LONGEST_LINK {
        return Err(refused("is longer than any link of the service"));
    }
    let url = Url::parse(&link.0).map_err(|_| refused("is not an absolute URL"))?;
    if url.origin() != endpoint.origin() {
        return Err(refused(&format!("leads away from `{}`", endpoint.origin().ascii_serialization())));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refused("contains a user name"));
    }
    let sent = &url[Position::BeforePath..Position::AfterQuery];
    if after_host(&link.0).replace('\'', "%27") != sent {
        return Err(refused("contains characters that a URL cannot contain"));
    }
    let signed_query = Cow::Owned(canonical_query(url.query().unwrap_or_default()));
    Ok(Target { url, signed_query })
}

/// Path, query and fragment, as the link spells them.
fn after_host(link: &str) -> &str {
    let host = link.find("://").map_or(0, |at| at + 3);
    link[host..].find(['/', '?', '#']).map_or("", |at| &link[host + at..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(link: &str) -> Result<Target<'static>, Failure> {
        let endpoint = Url::parse("https://contoso.westeurope.batch.azure.com").unwrap();
        super::follow(&endpoint, &PageLink(link.to_owned()))
    }

    #[test]
    fn another_scheme_host_or_port_is_refused_at_once() {
        for link in [
            "http://contoso.westeurope.batch.azure.com/pools?$skiptoken=1",
            "https://contoso.westeurope.batch.azure.com:8443/pools?$skiptoken=1",
            "https://contoso.westeurope.batch.azure.com.evil.example/pools?$skiptoken=1",
            "https://contoso.westeurope.batch.azure.com@evil.example/pools?$skiptoken=1",
            "//evil.example/pools?$skiptoken=1",
            "/pools?$skiptoken=1",
            "https://user@contoso.westeurope.batch.azure.com/pools?$skiptoken=1",
        ] {
            let failure = follow(link).unwrap_err();
            assert_eq!(failure.class, FailureClass::Refused, "{link}");
            assert!(failure.message.ends_with("it was not followed"), "{failure}");
            assert!(!failure.message.contains("skiptoken"), "{failure}");
        }
    }

    #[test]
    fn the_same_endpoint_in_another_spelling_is_followed() {
        let target = follow("HTTPS://Contoso.WestEurope.batch.azure.com:443/pools?$skiptoken=a^b").unwrap();
        assert_eq!(target.url.query(), Some("$skiptoken=a^b"));
        assert_eq!(&*target.signed_query, b"\n$skiptoken:a^b");
    }

    #[test]
    fn a_link_that_could_not_be_sent_as_it_is_is_refused() {
        let base = "https://contoso.westeurope.batch.azure.com";
        for rest in [
            "/pools?$skiptoken=a b",
            "/pools?$skiptoken=a\"",
            "/a/../pools?x=1",
            "/pools?x=1#y",
            "/pools?x=é",
            &format!("/pools?x={}", "y".repeat(LONGEST_LINK)),
        ] {
            assert!(follow(&format!("{base}{rest}")).is_err(), "{rest}");
        }
        assert!(follow(&format!("{base}/pools?$filter=a%20eq%20'b'")).is_ok());
    }
}
