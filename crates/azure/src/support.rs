//! Support tickets over Azure Resource Manager (`Microsoft.Support`, api-version 2024-04-01).
//!
//! Every call here can be repeated: tickets, messages, workspaces and files have names that the caller chooses, and a
//! piece of a file has a number. Therefore passing failures are retried, and a lost answer does no harm.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::retry::persistently;
use fleetlogs_model::service::PageLink;
use reqwest::Method;
use reqwest::header::{HeaderName, LOCATION};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::{Instant, sleep};
use url::Url;

use crate::answer::Answer;
use crate::arm_call::{ArmPages, arm_refusal, call_arm};
use crate::link;
use crate::redact::{one_line, verbatim_if_harmless};
use crate::token::TokenSource;

const API_VERSION: &str = "2024-04-01";

const OPERATION: HeaderName = HeaderName::from_static("azure-asyncoperation");

/// Largest size of an attached file, in bytes: two pieces.
pub const LONGEST_FILE: usize = 2 * LONGEST_PIECE;
/// Largest size of a piece of a file, in bytes (2.5 MB).
const LONGEST_PIECE: usize = 2_500_000;

/// How often a call is sent while its failure may be passing.
const ATTEMPTS: u32 = 4;
/// Shortest and longest pause between two attempts, whatever the service asks for.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How long creating a ticket or a message may take.
const OPERATION_TAKES: Duration = Duration::from_secs(5 * 60);

/// A list with more pages than this is not a list of services.
const MOST_PAGES: usize = 50;

/// Support tickets of a subscription. Sends nothing by itself.
#[derive(Clone, Debug)]
pub struct SupportClient {
    http: reqwest::Client,
    management: Url,
    subscription: String,
    tokens: TokenSource,
}

/// The severity of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// C
    Minimal,
    /// B
    Moderate,
    /// A
    Critical,
    /// A, for some plans only.
    HighestCriticalImpact,
}

impl Severity {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Minimal, Self::Moderate, Self::Critical, Self::HighestCriticalImpact];

    /// Its name in requests and in the config.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Minimal => "minimal",
            Self::Moderate => "moderate",
            Self::Critical => "critical",
            Self::HighestCriticalImpact => "highestcriticalimpact",
        }
    }
}

/// The body that opens a ticket: exactly what is sent.
#[derive(Clone, Debug, Serialize)]
pub struct NewTicket {
    /// Everything about the ticket.
    pub properties: TicketProperties,
}

/// The content of a ticket.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TicketProperties {
    /// ARM id of the service.
    pub service_id: String,
    /// ARM id of the problem classification.
    pub problem_classification_id: String,
    /// One line.
    pub title: String,
    /// Everything else.
    pub description: String,
    /// The severity.
    pub severity: Severity,
    /// `Yes` or `No`: whether Microsoft may look at memory dumps and the like.
    pub advanced_diagnostic_consent: &'static str,
    /// The contact person.
    pub contact_details: Contact,
    /// The resource that the ticket is about.
    pub technical_ticket_details: TechnicalDetails,
    /// The workspace of the attached files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_workspace_name: Option<String>,
    /// The support plan, if there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub support_plan_id: Option<String>,
}

/// The resource that a ticket is about.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TechnicalDetails {
    /// ARM id of the resource.
    pub resource_id: String,
}

/// The contact person for support.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Contact {
    /// First name.
    pub first_name: String,
    /// Last name.
    pub last_name: String,
    /// `email` or `phone`.
    pub preferred_contact_method: String,
    /// E-mail address.
    pub primary_email_address: String,
    /// Phone number; required if the preferred method is `phone`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone_number: Option<String>,
    /// A time zone, as Windows names it.
    pub preferred_time_zone: String,
    /// ISO 3166-1 alpha-3.
    pub country: String,
    /// Such as `en-us`.
    pub preferred_support_language: String,
}

/// A service or a problem classification that a ticket can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SupportOption {
    /// ARM id.
    pub id: String,
    /// The name that users see.
    pub name: String,
    /// The resource types that a service is for.
    pub resource_types: Vec<String>,
}

/// A ticket that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenTicket {
    /// Support's number of the ticket; none if it has none yet.
    pub support_ticket_id: Option<String>,
    /// `open` or `closed`, as the service reports it.
    pub status: Option<String>,
    /// The workspace of its files.
    pub file_workspace: Option<String>,
}

impl SupportClient {
    /// `management` is the endpoint of Azure Resource Manager; sends nothing.
    #[must_use]
    pub fn new(http: reqwest::Client, management: Url, subscription: &str, tokens: TokenSource) -> Self {
        Self { http, management, subscription: subscription.to_owned(), tokens }
    }

    /// All services that tickets can be about.
    pub async fn services(&self) -> Result<Vec<SupportOption>, Failure> {
        self.offered(&["services"]).await
    }

    /// The problem classifications of a service, given by its ARM id.
    pub async fn problem_classifications(&self, service_id: &str) -> Result<Vec<SupportOption>, Failure> {
        let service = service_id.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        self.offered(&["services", service, "problemClassifications"]).await
    }

    async fn offered(&self, path: &[&str]) -> Result<Vec<SupportOption>, Failure> {
        let mut url = self.url(&["providers", "Microsoft.Support"], path);
        let mut found = Vec::new();
        let mut pages = ArmPages::new(MOST_PAGES);
        loop {
            let answer = self.send(Method::GET, &url, None, &[200]).await?;
            let page: CatalogPage = read_answer(&answer)?;
            found.extend(page.value.into_iter().map(|item| SupportOption {
                id: verbatim_if_harmless(item.id),
                name: one_line(&item.properties.display_name, 200),
                resource_types: item.properties.resource_types,
            }));
            match page.next_link.filter(|link| !link.is_empty()) {
                Some(next) => url = pages.follow(&self.management, next)?,
                None => return Ok(found),
            }
        }
    }

    /// The ticket with this name or number, if it exists.
    pub async fn ticket(&self, name: &str) -> Result<Option<OpenTicket>, Failure> {
        let url = self.own(&["supportTickets", name]);
        let answer = self.send(Method::GET, &url, None, &[200, 404]).await?;
        if answer.status == 404 { Ok(None) } else { read_ticket(&answer).map(Some) }
    }

    /// Why a ticket cannot have this name; none if it can.
    pub async fn name_is_taken(&self, name: &str) -> Result<Option<String>, Failure> {
        let url = self.own(&["checkNameAvailability"]);
        let body = json!({ "name": name, "type": "Microsoft.Support/supportTickets" });
        let answer = self.send(Method::POST, &url, Some(body.to_string()), &[200]).await?;
        let said: NameAvailability = read_answer(&answer)?;
        let why = || one_line(&said.message.or(said.reason).unwrap_or_default(), 300);
        Ok((!said.name_available).then(why))
    }

    /// Creates a workspace for files.
    pub async fn create_workspace(&self, name: &str) -> Result<(), Failure> {
        let url = self.own(&["fileWorkspaces", name]);
        self.send(Method::PUT, &url, None, &[200, 201]).await.map(|_| ())
    }

    /// Uploads a file to a workspace, of at most [`LONGEST_FILE`] bytes.
    pub async fn attach(&self, workspace: &str, file: &str, content: &[u8]) -> Result<(), Failure> {
        let pieces: Vec<&[u8]> = content.chunks(LONGEST_PIECE).collect();
        let url = self.own(&["fileWorkspaces", workspace, "files", file]);
        let declared = json!({ "properties": {
            "chunkSize": content.len().min(LONGEST_PIECE),
            "fileSize": content.len(),
            "numberOfChunks": pieces.len(),
        } });
        self.send(Method::PUT, &url, Some(declared.to_string()), &[200, 201]).await?;
        let url = self.own(&["fileWorkspaces", workspace, "files", file, "upload"]);
        for (number, piece) in pieces.iter().enumerate() {
            let body = json!({ "chunkIndex": number, "content": BASE64_STANDARD.encode(piece) });
            self.send(Method::POST, &url, Some(body.to_string()), &[200, 201, 204]).await?;
        }
        Ok(())
    }

    /// Opens a ticket and waits until it exists.
    ///
    /// Cancel safety: a dropped call may leave the ticket behind, under its name.
    pub async fn open(&self, name: &str, ticket: &NewTicket) -> Result<OpenTicket, Failure> {
        let url = self.own(&["supportTickets", name]);
        let put = self.put_and_wait(&url, to_json(ticket)?).await;
        // The conflict may be with an earlier attempt of ours whose answer was lost.
        if let Err(failure) = put
            && failure.status != Some(409)
        {
            return Err(failure);
        }
        self.ticket(name).await?.ok_or_else(|| {
            let message = "the service reports the ticket as created, but does not show it";
            Failure::new(FailureClass::Refused, message)
        })
    }

    /// Adds a message to a ticket and waits until it exists. False if the message already exists.
    pub async fn add_message(
        &self,
        ticket: &str,
        name: &str,
        (subject, body): (&str, &str),
        sender: &str,
    ) -> Result<bool, Failure> {
        let url = self.own(&["supportTickets", ticket, "communications", name]);
        if self.send(Method::GET, &url, None, &[200, 404]).await?.status == 200 {
            return Ok(false);
        }
        let message = json!({ "properties": { "subject": subject, "body": body, "sender": sender } });
        self.put_and_wait(&url, message.to_string()).await.map(|()| true)
    }

    /// A PUT that may continue after its answer.
    async fn put_and_wait(&self, url: &Url, body: String) -> Result<(), Failure> {
        let answer = self.send(Method::PUT, url, Some(body), &[200, 201, 202]).await?;
        if answer.status != 202 {
            return Ok(());
        }
        let deadline = Instant::now() + OPERATION_TAKES;
        let (link, by_status) = match (answer.header(&OPERATION), answer.header(&LOCATION)) {
            (Some(link), _) => (link, true),
            (None, Some(link)) => (link, false),
            (None, None) => {
                return Err(answer
                    .failure(FailureClass::Refused, "the answer does not name the URL of the operation"));
            }
        };
        let poll = link::follow(&self.management, &PageLink(link.to_owned()))?.url;
        let mut pause = pause_after(&answer);
        loop {
            if Instant::now() + pause > deadline {
                let message = format!(
                    "the request was accepted, but is not done after {} minutes; check again later",
                    OPERATION_TAKES.as_secs() / 60
                );
                return Err(Failure::new(FailureClass::Transient, message));
            }
            sleep(pause).await;
            let answer = self.send(Method::GET, &poll, None, &[200, 202]).await?;
            pause = pause_after(&answer);
            if answer.status == 202 {
                continue;
            }
            if !by_status {
                return Ok(());
            }
            let operation: OperationAnswer = read_answer(&answer)?;
            match operation.status.to_ascii_lowercase().as_str() {
                "succeeded" => return Ok(()),
                "failed" | "canceled" => return Err(operation.failure(&answer)),
                _ => {}
            }
        }
    }

    /// Sends a call until it is answered with one of these statuses, or fails for good.
    async fn send(
        &self,
        method: Method,
        url: &Url,
        body: Option<String>,
        good: &[u16],
    ) -> Result<Answer, Failure> {
        let call = || async {
            let answer = call_arm(&self.http, &self.tokens, method.clone(), url, body.clone()).await?;
            if good.contains(&answer.status) { Ok(answer) } else { Err(arm_refusal(&answer)) }
        };
        let pause = |attempt, failure: &Failure| {
            let asked = failure.retry_after().unwrap_or_default();
            (attempt < ATTEMPTS).then(|| {
                tracing::debug!(%failure, attempt, "retrying a call to support");
                asked.clamp(PAUSES.0, PAUSES.1)
            })
        };
        persistently(call, pause, sleep).await
    }

    fn own(&self, path: &[&str]) -> Url {
        self.url(&["subscriptions", &self.subscription, "providers", "Microsoft.Support"], path)
    }

    fn url(&self, base: &[&str], path: &[&str]) -> Url {
        let mut url = self.management.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(base).extend(path);
        }
        url.set_query(Some(&format!("api-version={API_VERSION}")));
        url
    }
}

fn pause_after(answer: &Answer) -> Duration {
    Duration::from_millis(answer.retry_after_ms().unwrap_or_default()).clamp(PAUSES.0, PAUSES.1)
}

fn to_json(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| Failure::new(FailureClass::Config, error.to_string()))
}

fn read_answer<T: DeserializeOwned>(answer: &Answer) -> Result<T, Failure> {
    serde_json::from_slice(answer.whole_body(FailureClass::Transient)?)
        .map_err(|_| answer.failure(FailureClass::Refused, "the answer is not one of Microsoft.Support"))
}

fn read_ticket(answer: &Answer) -> Result<OpenTicket, Failure> {
    let ticket: TicketAnswer = read_answer(answer)?;
    let shown = |text: Option<String>| text.filter(|text| !text.is_empty()).map(|text| one_line(&text, 100));
    let TicketState { support_ticket_id, status, file_workspace_name } = ticket.properties;
    Ok(OpenTicket {
        support_ticket_id: shown(support_ticket_id),
        status: shown(status),
        file_workspace: file_workspace_name.filter(|name| !name.is_empty()).map(verbatim_if_harmless),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CatalogPage {
    value: Vec<CatalogItem>,
    next_link: Option<String>,
}

#[derive(Deserialize)]
struct CatalogItem {
    id: String,
    properties: CatalogProperties,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CatalogProperties {
    display_name: String,
    #[serde(default)]
    resource_types: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NameAvailability {
    name_available: bool,
    reason: Option<String>,
    message: Option<String>,
}

#[derive(Deserialize)]
struct TicketAnswer {
    properties: TicketState,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TicketState {
    support_ticket_id: Option<String>,
    status: Option<String>,
    file_workspace_name: Option<String>,
}

#[derive(Deserialize)]
struct OperationAnswer {
    status: String,
    error: Option<OperationError>,
}

#[derive(Deserialize)]
struct OperationError {
    code: String,
    #[serde(default)]
    message: String,
}

impl OperationAnswer {
    fn failure(self, answer: &Answer) -> Failure {
        let error = self.error.map_or_else(
            || "no reason is given".into(),
            |error| one_line(&format!("{}: {}", error.code, error.message), 500),
        );
        answer.failure(
            FailureClass::Refused,
            format!("the service accepted the request and then failed: {error}"),
        )
    }
}

#[cfg(test)]
mod tests;
