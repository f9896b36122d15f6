//! Microsoft.Support, reduced to what opening a ticket needs: services, files uploaded in chunks, tickets that take
//! time to create, and messages. It answers on the port of Azure Resource Manager.
//!
//! The ledger of tickets (`GET /_sim/tickets`) shows every ticket that was opened, with its complete files.

use std::collections::BTreeMap;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use hyper::{Method, StatusCode};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Value, json};

use crate::arm_error::ArmError;
use crate::http::Query;

const VERSIONS: [&str; 2] = ["2024-04-01", "2025-06-01-preview"];

/// Larger than one chunk of a file in Base64.
pub(crate) const LARGEST_BODY: usize = 8 << 20;
const LARGEST_PIECE: u64 = 2_621_440;
const LARGEST_FILE: u64 = 5 << 20;
const MOST_PIECES: u64 = 2;

/// How many status requests report an operation as in progress before it is done.
const LOOKS: u32 = 2;

/// Name, title, resource type, and the problem classifications, each with name and title.
type ServiceOffered = (&'static str, &'static str, &'static str, &'static [(&'static str, &'static str)]);

const SERVICES: [ServiceOffered; 3] = [
    (
        "11111111-0000-4000-8000-000000000001",
        "Batch Service",
        "MICROSOFT.BATCH/BATCHACCOUNTS",
        &[
            ("22222222-0000-4000-8000-000000000001", "Pools and nodes / Node is unusable"),
            ("22222222-0000-4000-8000-000000000002", "Pools and nodes / Start task failed"),
            ("22222222-0000-4000-8000-000000000003", "Jobs and tasks / Task failed"),
        ],
    ),
    (
        "11111111-0000-4000-8000-000000000002",
        "Batch AI",
        "MICROSOFT.BATCHAI/CLUSTERS",
        &[("22222222-0000-4000-8000-000000000004", "Clusters")],
    ),
    (
        "11111111-0000-4000-8000-000000000003",
        "Storage",
        "MICROSOFT.STORAGE/STORAGEACCOUNTS",
        &[("22222222-0000-4000-8000-000000000005", "Blobs")],
    ),
];

/// All tickets of all subscriptions.
#[derive(Default)]
pub(crate) struct Support(Mutex<TicketRecords>);

#[derive(Default)]
struct TicketRecords {
    calls: u64,
    /// By subscription and name.
    workspaces: BTreeMap<(String, String), BTreeMap<String, WorkspaceFile>>,
    tickets: BTreeMap<(String, String), Ticket>,
    /// Operations that are not done, by number.
    operations: BTreeMap<u64, PendingOperation>,
}

struct WorkspaceFile {
    size: u64,
    piece: u64,
    pieces: u64,
    content: Vec<u8>,
    received: u64,
}

struct Ticket {
    number: String,
    properties: Value,
    messages: BTreeMap<String, Value>,
}

struct PendingOperation {
    looks: u32,
    then: OperationResult,
}

/// What exists once an operation is done.
#[derive(Clone)]
enum OperationResult {
    Ticket((String, String), Value),
    Message((String, String), String, Value),
    Nothing,
}

/// `GET /_sim/tickets`.
#[derive(Serialize)]
pub(crate) struct TicketLedger {
    schema: &'static str,
    /// Calls to Microsoft.Support of any kind.
    calls: u64,
    tickets: Vec<TicketEntry>,
}

#[derive(Serialize)]
struct TicketEntry {
    subscription: String,
    name: String,
    number: String,
    properties: Value,
    /// Content of each file, by name.
    files: BTreeMap<String, String>,
    messages: BTreeMap<String, Value>,
}

/// A request for Microsoft.Support.
pub(crate) struct SupportRequest<'a> {
    pub(crate) method: &'a Method,
    /// The path, decoded.
    pub(crate) segments: &'a [String],
    pub(crate) query: &'a Query,
    pub(crate) body: &'a [u8],
    /// Scheme and host, as the caller wrote them.
    pub(crate) base: &'a str,
}

/// Status, body, and the URL where the state of the operation can be read.
pub(crate) type SupportAnswer = (StatusCode, Value, Option<String>);

type SupportResult = Result<SupportAnswer, ArmError>;

/// Whether a path belongs to Microsoft.Support.
pub(crate) fn is_for_support(segments: &[String]) -> bool {
    segments.iter().any(|segment| segment.eq_ignore_ascii_case("Microsoft.Support"))
}

fn ok_answer(body: Value) -> SupportAnswer {
    (StatusCode::OK, body, None)
}

impl Support {
    pub(crate) fn answer(&self, request: &SupportRequest<'_>) -> SupportResult {
        let mut state = self.0.lock();
        state.calls += 1;
        match request.query.get("api-version") {
            Some(version) if VERSIONS.contains(&version) => {}
            Some(version) => {
                let message = format!("No registered resource provider found for API version '{version}'.");
                return Err(ArmError::new(StatusCode::BAD_REQUEST, "NoRegisteredProviderFound", message));
            }
            None => {
                let message = "The api-version query parameter (?api-version=) is required for all requests.";
                return Err(ArmError::new(StatusCode::BAD_REQUEST, "MissingApiVersionParameter", message));
            }
        }
        let segments: Vec<&str> = request.segments.iter().map(String::as_str).collect();
        match (request.method, segments.as_slice()) {
            (&Method::GET, ["providers", _, "services"]) => Ok(ok_answer(services())),
            (&Method::GET, ["providers", _, "services", service, "problemClassifications"]) => {
                problems(service)
            }
            (&Method::GET, ["subscriptions", _, "providers", _, "operationsStatus", number]) => {
                state.operation(number)
            }
            (method, ["subscriptions", subscription, "providers", _, rest @ ..]) => {
                state.own(method, subscription, rest, request)
            }
            _ => Err(ArmError::not_found("resource")),
        }
    }

    pub(crate) fn snapshot(&self) -> TicketLedger {
        let state = self.0.lock();
        let tickets = state.tickets.iter().map(|((subscription, name), ticket)| {
            let workspace = ticket.properties["fileWorkspaceName"].as_str().unwrap_or_default();
            let files = state.workspaces.get(&(subscription.clone(), workspace.to_owned()));
            let text = |file: &WorkspaceFile| String::from_utf8_lossy(&file.content).into_owned();
            TicketEntry {
                subscription: subscription.clone(),
                name: name.clone(),
                number: ticket.number.clone(),
                properties: ticket.properties.clone(),
                files: files.into_iter().flatten().map(|(name, file)| (name.clone(), text(file))).collect(),
                messages: ticket.messages.clone(),
            }
        });
        TicketLedger { schema: "fleetlogs.sim-tickets/v1", calls: state.calls, tickets: tickets.collect() }
    }
}

fn services() -> Value {
    let service = |(name, title, resource, _): &ServiceOffered| {
        json!({
            "id": format!("/providers/Microsoft.Support/services/{name}"),
            "name": name,
            "type": "Microsoft.Support/services",
            "properties": { "displayName": title, "resourceTypes": [resource] },
        })
    };
    json!({ "value": SERVICES.iter().map(service).collect::<Vec<_>>() })
}

fn problems(service: &str) -> SupportResult {
    let known =
        SERVICES.iter().find(|(name, ..)| *name == service).ok_or_else(|| ArmError::not_found("service"))?;
    let problem = |(name, title): &(&str, &str)| {
        json!({
            "id": format!("/providers/Microsoft.Support/services/{service}/problemClassifications/{name}"),
            "name": name,
            "type": "Microsoft.Support/problemClassifications",
            "properties": { "displayName": title },
        })
    };
    Ok(ok_answer(json!({ "value": known.3.iter().map(problem).collect::<Vec<_>>() })))
}

impl TicketRecords {
    fn own(
        &mut self,
        method: &Method,
        subscription: &str,
        rest: &[&str],
        request: &SupportRequest<'_>,
    ) -> SupportResult {
        if uuid::Uuid::try_parse(subscription).is_err() {
            let message =
                format!("The provided subscription identifier '{subscription}' is malformed or invalid.");
            return Err(ArmError::new(StatusCode::BAD_REQUEST, "InvalidSubscriptionId", message));
        }
        let key = |name: &str| (subscription.to_owned(), name.to_owned());
        match (method, rest) {
            (&Method::POST, ["checkNameAvailability"]) => {
                let body = parse_body(request.body)?;
                let name = required_text(&body, "name")?;
                if required_text(&body, "type")? != "Microsoft.Support/supportTickets" {
                    return Err(ArmError::bad_request("The type is not one that can be checked."));
                }
                let taken = self.tickets.contains_key(&key(name));
                Ok(ok_answer(json!({ "nameAvailable": !taken, "reason": taken.then_some("AlreadyExists") })))
            }
            (&Method::PUT, ["fileWorkspaces", name]) => {
                if self.workspaces.contains_key(&key(name)) {
                    return Err(ArmError::conflict("The workspace already exists."));
                }
                self.workspaces.insert(key(name), BTreeMap::new());
                Ok((StatusCode::CREATED, json!({ "name": name }), None))
            }
            (&Method::PUT, ["fileWorkspaces", workspace, "files", name]) => {
                let files = self
                    .workspaces
                    .get_mut(&key(workspace))
                    .ok_or_else(|| ArmError::not_found("workspace"))?;
                files.insert((*name).to_owned(), declare_file(&parse_body(request.body)?)?);
                Ok((StatusCode::CREATED, json!({ "name": name }), None))
            }
            (&Method::POST, ["fileWorkspaces", workspace, "files", name, "upload"]) => {
                let files = self
                    .workspaces
                    .get_mut(&key(workspace))
                    .ok_or_else(|| ArmError::not_found("workspace"))?;
                let file = files.get_mut(*name).ok_or_else(|| ArmError::not_found("file"))?;
                file.take(&parse_body(request.body)?)?;
                Ok((StatusCode::NO_CONTENT, Value::Null, None))
            }
            (&Method::GET, ["supportTickets", name]) => match self.tickets.get(&key(name)) {
                Some(ticket) => Ok(ok_answer(ticket.shown(name))),
                None => Err(ArmError::not_found("support ticket")),
            },
            (&Method::PUT, ["supportTickets", name]) => {
                let properties = self.checked_ticket(subscription, &parse_body(request.body)?)?;
                if self.tickets.contains_key(&key(name)) || self.is_on_its_way(&key(name)) {
                    return Err(ArmError::conflict("The support ticket already exists."));
                }
                Ok(self.begin(subscription, request, OperationResult::Ticket(key(name), properties)))
            }
            (&Method::GET, ["supportTickets", ticket, "communications", name]) => {
                let ticket =
                    self.tickets.get(&key(ticket)).ok_or_else(|| ArmError::not_found("support ticket"))?;
                let message =
                    ticket.messages.get(*name).ok_or_else(|| ArmError::not_found("communication"))?;
                Ok(ok_answer(json!({ "name": name, "properties": message })))
            }
            (&Method::PUT, ["supportTickets", ticket, "communications", name]) => {
                let there =
                    self.tickets.get(&key(ticket)).ok_or_else(|| ArmError::not_found("support ticket"))?;
                if there.messages.contains_key(*name) {
                    return Err(ArmError::conflict("The communication already exists."));
                }
                let body = parse_body(request.body)?;
                for member in ["subject", "body"] {
                    required_text(&body["properties"], member)?;
                }
                let then =
                    OperationResult::Message(key(ticket), (*name).to_owned(), body["properties"].clone());
                Ok(self.begin(subscription, request, then))
            }
            _ => Err(ArmError::not_found("resource")),
        }
    }

    /// Checks that every required member is present and has a possible value.
    fn checked_ticket(&self, subscription: &str, body: &Value) -> Result<Value, ArmError> {
        let properties = &body["properties"];
        for member in ["title", "description", "severity", "serviceId", "problemClassificationId"] {
            required_text(properties, member)?;
        }
        let one_of = |value: &Value, member: &str, known: &[&str]| match required_text(value, member)? {
            found if known.contains(&found) => Ok(()),
            found => Err(ArmError::bad_request(format!("'{found}' is not a possible value of '{member}'."))),
        };
        one_of(properties, "severity", &["minimal", "moderate", "critical", "highestcriticalimpact"])?;
        one_of(properties, "advancedDiagnosticConsent", &["Yes", "No"])?;
        let contact = &properties["contactDetails"];
        for member in [
            "firstName",
            "lastName",
            "primaryEmailAddress",
            "preferredTimeZone",
            "country",
            "preferredSupportLanguage",
        ] {
            required_text(contact, member)?;
        }
        one_of(contact, "preferredContactMethod", &["email", "phone"])?;
        if contact["preferredContactMethod"] == "phone" {
            required_text(contact, "phoneNumber")?;
        }
        if !required_text(contact, "primaryEmailAddress")?.contains('@')
            || required_text(contact, "country")?.len() != 3
        {
            return Err(ArmError::bad_request("The contact details are not valid."));
        }
        let problem = required_text(properties, "problemClassificationId")?;
        let is_known = SERVICES.iter().any(|(name, _, _, problems)| {
            let service = format!("/providers/Microsoft.Support/services/{name}");
            properties["serviceId"] == *service
                && problems
                    .iter()
                    .any(|(name, _)| problem == format!("{service}/problemClassifications/{name}"))
        });
        if !is_known {
            return Err(ArmError::bad_request("The problem classification does not belong to the service."));
        }
        let resource =
            required_text(&properties["technicalTicketDetails"], "resourceId")?.to_ascii_lowercase();
        if !resource.starts_with(&format!("/subscriptions/{}/", subscription.to_ascii_lowercase())) {
            return Err(ArmError::bad_request("The resource does not belong to the subscription."));
        }
        if let Some(workspace) = properties["fileWorkspaceName"].as_str() {
            let key = (subscription.to_owned(), workspace.to_owned());
            let files = self.workspaces.get(&key).ok_or_else(|| ArmError::not_found("workspace"))?;
            if files.values().any(|file| file.received < file.pieces) {
                return Err(ArmError::bad_request("A file of the workspace is not complete."));
            }
        }
        Ok(properties.clone())
    }

    fn is_on_its_way(&self, key: &(String, String)) -> bool {
        self.operations
            .values()
            .any(|operation| matches!(&operation.then, OperationResult::Ticket(name, _) if name == key))
    }

    fn begin(
        &mut self,
        subscription: &str,
        request: &SupportRequest<'_>,
        then: OperationResult,
    ) -> SupportAnswer {
        let number = self.operations.len() as u64;
        self.operations.insert(number, PendingOperation { looks: LOOKS, then });
        let version = request.query.get("api-version").unwrap_or_default();
        let link = format!(
            "{}/subscriptions/{subscription}/providers/Microsoft.Support/operationsStatus/{number}?api-version={version}",
            request.base
        );
        (StatusCode::ACCEPTED, Value::Null, Some(link))
    }

    fn operation(&mut self, number: &str) -> SupportResult {
        let found = number.parse().ok().and_then(|number: u64| self.operations.get_mut(&number));
        let operation = found.ok_or_else(|| ArmError::not_found("operation"))?;
        if operation.looks > 0 {
            operation.looks -= 1;
            return Ok(ok_answer(json!({ "status": "InProgress" })));
        }
        match std::mem::replace(&mut operation.then, OperationResult::Nothing) {
            OperationResult::Ticket(key, properties) => {
                let number = format!("{:015}", 120_000_000_000_000 + self.tickets.len());
                self.tickets.insert(key, Ticket { number, properties, messages: BTreeMap::new() });
            }
            OperationResult::Message(ticket, name, properties) => {
                if let Some(ticket) = self.tickets.get_mut(&ticket) {
                    ticket.messages.insert(name, properties);
                }
            }
            OperationResult::Nothing => {}
        }
        Ok(ok_answer(json!({ "status": "Succeeded" })))
    }
}

impl Ticket {
    fn shown(&self, name: &str) -> Value {
        let mut properties = self.properties.clone();
        properties["supportTicketId"] = self.number.clone().into();
        properties["status"] = "open".into();
        json!({ "name": name, "type": "Microsoft.Support/supportTickets", "properties": properties })
    }
}

/// Reads the announcement of a file: its size is the total of its chunks, and all chunks but the last have the full
/// size.
fn declare_file(body: &Value) -> Result<WorkspaceFile, ArmError> {
    let number = |member: &str| {
        let value = body["properties"][member].as_u64().filter(|value| *value > 0);
        value.ok_or_else(|| {
            ArmError::bad_request(format!("'{member}' is missing or is not a number above 0."))
        })
    };
    let (size, piece, pieces) = (number("fileSize")?, number("chunkSize")?, number("numberOfChunks")?);
    if size > LARGEST_FILE || piece > LARGEST_PIECE || pieces > MOST_PIECES || size.div_ceil(piece) != pieces
    {
        return Err(ArmError::bad_request(
            "The sizes of file and chunks are too large or contradict each other.",
        ));
    }
    Ok(WorkspaceFile { size, piece, pieces, content: vec![], received: 0 })
}

impl WorkspaceFile {
    /// Chunks arrive in order; the last one may be repeated.
    fn take(&mut self, body: &Value) -> Result<(), ArmError> {
        let index = body["chunkIndex"]
            .as_u64()
            .ok_or_else(|| ArmError::bad_request("'chunkIndex' is missing or is not a number."))?;
        let content = BASE64_STANDARD
            .decode(required_text(body, "content")?)
            .map_err(|_| ArmError::bad_request("'content' is not Base64."))?;
        if self.received > 0 && index == self.received - 1 && self.content.ends_with(&content) {
            return Ok(());
        }
        if index != self.received || index >= self.pieces {
            return Err(ArmError::bad_request("The chunk is not the next one."));
        }
        let expected = if index + 1 == self.pieces { self.size - index * self.piece } else { self.piece };
        if content.len() as u64 != expected {
            return Err(ArmError::bad_request("The chunk does not have the announced size."));
        }
        self.content.extend(content);
        self.received += 1;
        Ok(())
    }
}

fn parse_body(body: &[u8]) -> Result<Value, ArmError> {
    let message = "The request content was invalid and could not be deserialized.";
    serde_json::from_slice(body)
        .map_err(|_| ArmError::new(StatusCode::BAD_REQUEST, "InvalidRequestContent", message))
}

fn required_text<'a>(value: &'a Value, member: &str) -> Result<&'a str, ArmError> {
    let found = value[member].as_str().filter(|text| !text.trim().is_empty());
    found.ok_or_else(|| ArmError::bad_request(format!("'{member}' is missing or empty.")))
}

#[cfg(test)]
mod tests;
