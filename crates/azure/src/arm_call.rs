//! One call to Azure Resource Manager, with a token, and the meaning of its refusals.

use std::collections::HashSet;
use std::time::Duration;

use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::service::PageLink;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use url::Url;

use crate::answer::Answer;
use crate::link;
use crate::redact::{LONGEST, one_line};
use crate::request::{Request, exchange};
use crate::token::TokenSource;

/// For one call in total.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// For all pages of a list.
const LIST_TAKES: Duration = Duration::from_secs(600);

/// Sends a call, with a JSON body if given, and returns the answer, whatever its status. If the token is refused, it
/// is renewed once.
pub(crate) async fn call_arm(
    http: &reqwest::Client,
    tokens: &TokenSource,
    method: Method,
    url: &Url,
    body: Option<String>,
) -> Result<Answer, Failure> {
    let deadline = Instant::now() + TIME_LIMIT;
    let headers = [(CONTENT_TYPE, "application/json")];
    let headers = if body.is_some() { &headers[..] } else { &[] };
    let request = Request { method, url: url.clone(), headers, body: body.unwrap_or_default() };
    let mut may_renew = true;
    loop {
        let token = tokens.get().await?;
        let builder = request.builder(http).header(AUTHORIZATION, token.header.clone());
        let answer = exchange(builder, url, deadline).await?;
        if answer.status != 401 || !may_renew {
            return Ok(answer);
        }
        tokens.invalidate(&token);
        may_renew = false;
    }
}

/// The pages of a list so far: each is read once, and all of them within a time limit.
pub(crate) struct ArmPages {
    links: HashSet<String>,
    most: usize,
    deadline: Instant,
}

impl ArmPages {
    /// At most this many pages.
    pub(crate) fn new(most: usize) -> Self {
        Self { links: HashSet::new(), most, deadline: Instant::now() + LIST_TAKES }
    }

    /// The next page, if its link may be followed.
    pub(crate) fn follow(&mut self, management: &Url, link: String) -> Result<Url, Failure> {
        let refused = |why: &str| Err(Failure::new(FailureClass::Refused, why));
        if Instant::now() > self.deadline {
            return refused("the list could not be read to its end within ten minutes");
        }
        let url = link::follow(management, &PageLink(link.clone()))?.url;
        if !self.links.insert(link) {
            return refused("the list loops: a page links to one that was already read");
        }
        if self.links.len() >= self.most {
            return refused("the list has no end");
        }
        Ok(url)
    }
}

/// A list with more pages than this has no end.
const MOST_PAGES: usize = 1000;

/// Reads a list to its end. `otherwise` is what is wrong with an answer that is no list.
pub(crate) async fn read_list<T: DeserializeOwned>(
    http: &reqwest::Client,
    management: &Url,
    tokens: &TokenSource,
    first: Url,
    otherwise: &'static str,
) -> Result<Vec<T>, Failure> {
    let (mut url, mut items) = (first, Vec::new());
    let mut pages = ArmPages::new(MOST_PAGES);
    loop {
        let answer = call_arm(http, tokens, Method::GET, &url, None).await?;
        if answer.status != 200 {
            return Err(arm_refusal(&answer));
        }
        let body = answer.whole_body(FailureClass::Transient)?;
        let page: ListPage<T> =
            serde_json::from_slice(body).map_err(|_| answer.failure(FailureClass::Refused, otherwise))?;
        items.extend(page.value);
        match page.next_link.filter(|link| !link.is_empty()) {
            Some(next) => url = pages.follow(management, next)?,
            None => return Ok(items),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListPage<T> {
    value: Vec<T>,
    next_link: Option<String>,
}

/// Errors have the form `{"error":{"code","message"}}`.
pub(crate) fn arm_refusal(answer: &Answer) -> Failure {
    let class = match answer.status {
        429 => FailureClass::Throttled,
        401 | 403 => FailureClass::Auth,
        404 => FailureClass::Gone,
        408 | 500.. => FailureClass::Transient,
        _ => FailureClass::Config,
    };
    let said = answer.body.as_ref().ok().and_then(|body| serde_json::from_slice::<ArmRefusal>(body).ok());
    let mut failure = match &said {
        Some(ArmRefusal { error }) => answer.failure(class, one_line(&error.message, LONGEST)),
        None => answer.failure(class, "Azure Resource Manager gives no reason"),
    };
    failure.code = said.map(|said| one_line(&said.error.code, 200).into());
    failure
}

#[derive(Deserialize)]
struct ArmRefusal {
    error: ArmErrorText,
}

#[derive(Deserialize)]
struct ArmErrorText {
    code: String,
    #[serde(default)]
    message: String,
}
