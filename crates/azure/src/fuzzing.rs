//! What fuzzing calls here: one function for each kind of answer of the services. Each panics where its reader breaks a
//! promise.
//!
//! How they are run, and what each promises: docs/design/fuzzing.md.

use std::fmt::Debug;

use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::scrub;
use fleetlogs_model::service::{Node, PageLink, Pool, Task};
use fleetlogs_model::timestamp::{FIRST, LAST};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde::de::IgnoredAny;
use time::OffsetDateTime;
use time::macros::datetime;
use url::{Position, Url};

use crate::answer::{Answer, BodyReader as _, LONGEST_WAIT_MS};
use crate::arm::AccountAnswer;
use crate::arm_call::arm_refusal;
use crate::blob::fuzzed::listing;
use crate::classify::{Call, refusal};
use crate::delegation_key::DelegationKey;
use crate::http_date;
use crate::link;
use crate::redact::LONGEST;
use crate::run_store::fuzzed::{foreign_blob, own_blob};
use crate::storage_error::storage_refusal;
use crate::token_claims::TokenClaims;
use crate::wire::{ListItem, PageReader, UploadAnswer};

#[cfg(test)]
#[path = "../../../tests/fuzz/short.rs"]
mod short;

/// A name, and a function that panics where a promise is broken.
pub type FuzzTarget = (&'static str, fn(&[u8]));

/// The names of the targets, which are also those of their corpora.
pub const TARGETS: [FuzzTarget; 6] = [
    ("next_link", next_link),
    ("error_body", error_body),
    ("batch_page", batch_page),
    ("blob_listing", listing),
    ("blob_journal", blob_journal),
    ("answers", answers),
];

/// The moment that a clock shows here.
const NOW: OffsetDateTime = datetime!(2026-11-22 09:30 UTC);

/// A link that is followed stays with the account, and is sent as it is. One that is not is not quoted with its token.
fn next_link(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for endpoint in ["https://contoso.westeurope.batch.azure.com", "http://127.0.0.1:8080/base/"] {
        let endpoint = Url::parse(endpoint).expect("it is a URL");
        match link::follow(&endpoint, &PageLink(text.to_owned())) {
            Ok(target) => {
                let url = &target.url;
                assert_eq!(url.origin(), endpoint.origin());
                assert_eq!(url.host_str(), endpoint.host_str());
                assert!(url.username().is_empty() && url.password().is_none());
                let sent = &url[Position::BeforePath..];
                assert!(text.replace('\'', "%27").ends_with(sent), "`{text}` is sent as `{sent}`");
                let again = link::follow(&endpoint, &PageLink(url.as_str().to_owned()));
                let again = again.expect("what is sent is followed");
                assert_eq!((again.url.as_str(), again.signed_query), (url.as_str(), target.signed_query));
            }
            Err(failure) => {
                assert_eq!(failure.class, FailureClass::Refused);
                is_fit_to_show(&failure.message, 2 * LONGEST);
                let query = text.split_once('?').map(|(_, query)| query).filter(|query| query.len() >= 16);
                let is_quoted =
                    |query: &str| failure.message.contains(query) && text.matches(query).count() == 1;
                assert!(query.is_none_or(|query| !is_quoted(query)), "{}", failure.message);
            }
        }
    }
}

/// One line, not longer than this, without a secret.
fn is_fit_to_show(text: &str, longest: usize) {
    assert!(text.chars().count() <= longest, "{} characters", text.chars().count());
    assert!(!text.contains(char::is_control), "{text:?}");
    // A word may look like a secret by what was hidden after it, of which a cut may have left a part.
    let (text, is_cut) = text.strip_suffix('…').map_or((text, false), |text| (text, true));
    for range in scrub::secrets_in(text.as_bytes()) {
        // What may stand between a mark and its value.
        let (after, hidden) = (&text.as_bytes()[range.end..], scrub::HIDDEN.as_bytes());
        let gap = after.iter().take_while(|byte| **byte <= b' ' || matches!(byte, b'"' | b'\''));
        let after = &after[gap.count()..];
        assert!(after.starts_with(hidden) || (is_cut && hidden.starts_with(after)), "{text:?}");
    }
}

fn is_fit(failure: &Failure) {
    is_fit_to_show(&failure.message, LONGEST + 200);
    failure.code.iter().chain(&failure.request_id).for_each(|text| is_fit_to_show(text, 201));
}

/// The status and the headers of an answer are in its first bytes: a number, and lines `name: value` up to an empty one.
fn answer_of(data: &[u8]) -> Answer {
    let (head, body) = match data.windows(2).position(|pair| pair == b"\n\n") {
        Some(at) => (&data[..at], &data[at + 2..]),
        None => (&[][..], data),
    };
    let mut lines = head.split(|byte| *byte == b'\n');
    let status = lines.next().and_then(|line| std::str::from_utf8(line).ok()?.parse().ok());
    let mut headers = HeaderMap::new();
    for line in lines.take(20) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii())) {
            headers.append(name, value);
        }
    }
    Answer { status: status.unwrap_or(400), headers, body: Ok(body.to_vec()), turn: None }
}

/// What is said about a refused call is one line without secrets, whoever answered what; and an upload call counts as not
/// carried out only if the service itself says so.
fn error_body(data: &[u8]) {
    let answer = answer_of(data);
    let (read, upload) = (refusal(Call::Read, &answer), refusal(Call::Upload, &answer));
    for failure in [&read, &upload, &storage_refusal(&answer), &arm_refusal(&answer)] {
        is_fit(failure);
        assert!(failure.retry_after_ms.is_none_or(|wait| wait <= LONGEST_WAIT_MS));
    }
    let is_lost = answer.status == 408 || answer.status >= 500 || (200..300).contains(&answer.status);
    if is_lost && upload.code.is_none() {
        assert_eq!((upload.class, read.class == FailureClass::InDoubt), (FailureClass::InDoubt, false));
    }
    assert!(answer.date().is_none_or(|date| (FIRST..=LAST).contains(&date)));
    answer.redirect_target().iter().for_each(|target| is_fit_to_show(target, 201));
    if let Some(date) = std::str::from_utf8(data).ok().and_then(http_date::parse) {
        assert!((FIRST..=LAST).contains(&date));
        assert_eq!(http_date::parse(&http_date::format(date)), Some(date));
    }
}

/// A page in pieces is the page as a whole, and is JSON with as many items.
fn batch_page(data: &[u8]) {
    let of_node = |node: &Node| vec![node.state_since, node.allocation_time, node.last_boot_time];
    for page in [
        read_in_pieces::<Pool>(data, |_| vec![]),
        read_in_pieces::<Task>(data, |task| vec![task.started, task.ended]),
        read_in_pieces::<Node>(data, of_node),
    ] {
        let Some((items, times)) = page else { continue };
        assert!(times.into_iter().flatten().all(|time| (FIRST..=LAST).contains(&time)));
        let page: PageOfAny = serde_json::from_slice(data).expect("a page is JSON");
        assert_eq!(page.value.len(), items);
    }
}

/// A page, whatever its items are.
#[derive(Deserialize)]
struct PageOfAny {
    value: Vec<IgnoredAny>,
}

type Times = Vec<Option<OffsetDateTime>>;

/// How many items a page has, and their times; none if it is no page.
fn read_in_pieces<U>(data: &[u8], times: impl Fn(&U) -> Times) -> Option<(usize, Times)>
where
    U: ListItem + Send + PartialEq + Debug,
{
    let read = |piece: usize| {
        let mut reader = PageReader::<U>::default();
        for piece in data.chunks(piece.max(1)) {
            if reader.read_on(piece).is_break() {
                break;
            }
        }
        reader.finish().map(|page| (page.items, page.next))
    };
    let whole = read(data.len());
    for piece in [1, 9, 64] {
        assert_eq!(read(piece), whole, "in pieces of {piece}");
    }
    let (items, next) = whole.ok()?;
    assert!(next.is_none_or(|PageLink(link)| !link.is_empty()));
    Some((items.len(), items.iter().flat_map(times).collect()))
}

fn blob_journal(data: &[u8]) {
    foreign_blob(data);
    own_blob(data);
}

/// The small answers: of an upload call, with a key, with a token, and of Resource Manager. An endpoint that is taken from
/// an answer can be called, and is nothing but a host.
fn answers(data: &[u8]) {
    if let Ok(UploadAnswer { virtual_directory_name, .. }) = serde_json::from_slice(data) {
        assert!(virtual_directory_name.len() <= data.len() * 3);
    }
    if let Some(key) = DelegationKey::read(data, NOW) {
        assert!(key.expires_at > NOW && key.expires_at <= LAST && key.starts_at >= FIRST);
    }
    if let Ok(token) = std::str::from_utf8(data) {
        let claims = TokenClaims::read(token, NOW);
        for claim in [claims.audience, claims.tenant, claims.object_id].into_iter().flatten() {
            is_fit_to_show(&claim, 201);
        }
    }
    for management in ["https://management.azure.com", "http://127.0.0.1:8080"] {
        let management = Url::parse(management).expect("it is a URL");
        let Ok(account) = serde_json::from_slice::<AccountAnswer>(data) else { continue };
        let Some(found) = account.into_found(&management) else { continue };
        assert_eq!(found.endpoint.scheme(), management.scheme());
        assert!(matches!(&found.endpoint[Position::BeforePath..], "" | "/"), "{}", found.endpoint);
        assert!(found.endpoint.username().is_empty() && found.endpoint.host().is_some());
        assert_eq!(scrub::hide_in_name(&found.name), found.name);
    }
}
