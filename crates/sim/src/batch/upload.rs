//! `POST …/uploadbatchservicelogs`: what is refused, what is accepted, and what an accepted call starts.

use std::sync::atomic::Ordering::Relaxed;

use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use uuid::Uuid;

use super::envelope::{SuccessReply, UPLOAD_RESULT};
use super::errors::BatchError;
use super::json::Json;
use super::request::Call;
use crate::clock::{parse_body_time, unix_millis};
use crate::delivery::{Place, Upload, UploadTarget, WriteAccess};
use crate::fleet::{NodeMoment, Pool};
use crate::ledger::{DirectoryRecord, NodeKey};
use crate::scenario::{DirectoryForm, Fault, FaultKind, FloodPart, NodeState};

/// Larger than any request that this service accepts.
pub(super) const LARGEST_BODY: usize = 1 << 20;

/// The parsed body of a request.
struct UploadBody {
    container_url: String,
    start: OffsetDateTime,
    end: Option<OffsetDateTime>,
    /// Resource id of the identity that the node has to use.
    identity: Option<String>,
}

impl Call<'_> {
    /// Carries out the call. `body` is none if it was too large or broke off.
    pub(super) fn upload(
        &self,
        pool: &str,
        node: &str,
        body: Option<&Bytes>,
        fault: Option<&Fault>,
    ) -> Result<SuccessReply, BatchError> {
        self.check_headers()?;
        let Some(body) = body else {
            let message = "The size of the request body exceeds the maximum permissible limit.";
            return Err(BatchError::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestBodyTooLarge", message));
        };
        let asked = UploadBody::read(body)?;
        let storage = &self.world.store.keys.account;
        let here = self.world.storage_address;
        let found = self.world.targets.find(&asked.container_url, asked.identity.is_some(), here, storage);
        let target = found.ok_or_else(|| {
            BatchError::property_value(
                "containerUrl",
                &asked.container_url,
                "The value is not a container URL",
            )
        })?;
        let (pool_place, pool) = self.find_pool(pool)?;
        asked.check_access(&target, pool)?;
        let (place, moment) = self.find_node(pool, node)?;
        let arrives = Self::agent_answers(pool, place, moment)? && !pool.scenario.storage_blocked;

        let key = NodeKey { pool: pool_place, place };
        let future = asked.start > self.date();
        let accepted_at = unix_millis(OffsetDateTime::now_utc());
        let (directory, roll, files) = self.account.ledger.node(key, |record| {
            let directory = record.directories.len();
            let roll = pool.node_roll(place).text("upload").number(directory as u64);
            let range = pool.scenario.files;
            let files = roll.text("files").between(u64::from(range.min.0), u64::from(range.max.0));
            // Even if the window contains no message yet, the service promised one file (seen in a recording).
            let files = if future { 1 } else { u32::try_from(files).unwrap_or(u32::MAX) };
            record.directories.push(DirectoryRecord {
                request_id: self.request_id,
                client_request_id: self.client_request_id().map(str::to_owned),
                files_promised: files,
                files_written: 0,
                bytes: 0,
                accepted_at,
                received_at: self.received_at,
                access: target.access.kind(),
                sas_expires_at: target.access.expires_at(),
            });
            (directory, roll, files)
        });
        self.account.ledger.accepted.fetch_add(1, Relaxed);
        let name = self.account.directory_name(pool, place, self.request_id);

        let mut json = Json::document(&self.base(), UPLOAD_RESULT, 512);
        json.text("virtualDirectoryName", &self.told_directory(&name, (pool_place, place), fault));
        json.number("numberOfFilesUploaded", fault.and_then(|fault| fault.files).unwrap_or(files.into()));
        if arrives {
            let account = self.account.index;
            let window = (asked.start, asked.end);
            let upload = Upload { account, node: key, directory, name, files, window, roll, target };
            let faults = &self.account.scenario.arrival_faults;
            self.world.deliveries.plan(faults, &pool.scenario, upload, self.now);
        }
        Ok(SuccessReply::body(json.finish()))
    }

    /// The directory in the answer, which a fault may bend.
    fn told_directory(&self, name: &str, (pool, place): (u16, u32), fault: Option<&Fault>) -> String {
        let Some(fault) = fault else { return name.to_owned() };
        let segments = |name: &str, count| name.split('/').take(count).collect::<Vec<_>>().join("/");
        match (fault.kind, fault.directory) {
            (FaultKind::Flood, _) if fault.part == FloodPart::Directory => {
                let size = fault.size.map_or(0, |size| usize::try_from(size.0).unwrap_or(usize::MAX));
                format!("{name}/{}", "x".repeat(size.saturating_sub(name.len() + 1)))
            }
            (FaultKind::Echo, _) => format!("{name}/{}", self.what_was_sent(fault)),
            (FaultKind::Directory, Some(form)) => match form {
                DirectoryForm::Account => segments(name, 1),
                DirectoryForm::Pool => segments(name, 2),
                DirectoryForm::Node => segments(name, 3),
                DirectoryForm::First | DirectoryForm::FirstNode => {
                    let first = self.account.first_directory(pool).unwrap_or_else(|| name.to_owned());
                    if form == DirectoryForm::First { first } else { segments(&first, 3) }
                }
                DirectoryForm::NextNode => {
                    let pool = &self.account.pools[usize::from(pool)];
                    let next = (place + 1) % pool.places().max(1);
                    self.account.directory_name(pool, next, Uuid::new_v4())
                }
            },
            _ => name.to_owned(),
        }
    }

    fn check_headers(&self) -> Result<(), BatchError> {
        if !self.headers.contains_key(header::CONTENT_LENGTH)
            && !self.headers.contains_key(header::TRANSFER_ENCODING)
        {
            let message = "The content length header is required.";
            return Err(BatchError::new(StatusCode::LENGTH_REQUIRED, "MissingContentLengthHeader", message));
        }
        let given = self.header("content-type").unwrap_or("");
        let mut parts = given.split(';').map(|part| part.trim().to_ascii_lowercase());
        let is_json = parts.next().is_some_and(|media| media == "application/json");
        let has_metadata = parts.any(|parameter| {
            parameter.strip_prefix("odata=").is_some_and(|level| {
                matches!(
                    level.trim_matches('"'),
                    "minimalmetadata" | "nometadata" | "fullmetadata" | "verbose"
                )
            })
        });
        if is_json && has_metadata { Ok(()) } else { Err(BatchError::header_value("Content-Type", given)) }
    }

    /// Whether the agent of the node carries out what the service accepts; the error if the service does not accept
    /// it.
    fn agent_answers(pool: &Pool, place: u32, moment: NodeMoment) -> Result<bool, BatchError> {
        let refuse = |code: &str, message: &str| Err(BatchError::conflict(code, message));
        match moment.state {
            NodeState::Idle
            | NodeState::Running
            | NodeState::Offline
            | NodeState::StartTaskFailed
            | NodeState::WaitingForStartTask
            | NodeState::LeavingPool
            | NodeState::Hibernating => Ok(true),
            NodeState::Unusable if pool.tells_errors(place) => Ok(true),
            NodeState::Unusable => {
                // Batch cannot reach the machine. It refuses some of the calls for that reason, and accepts the
                // others.
                if pool.node_roll(place).text("says unusable").happens(1.0 / 3.0) {
                    return refuse(
                        "NodeStateUnusable",
                        "The specified operation can't be done on an unusable node.",
                    );
                }
                Ok(false)
            }
            NodeState::Unknown => Ok(false),
            NodeState::Creating => refuse("NodeBeingCreated", "The specified node is being created."),
            NodeState::Starting => refuse("NodeBeingStarted", "The specified node is being started."),
            NodeState::Rebooting => refuse("NodeBeingRebooted", "The specified node is being rebooted."),
            NodeState::Reimaging => refuse("NodeBeingReimaged", "The specified node is being reimaged."),
            NodeState::Preempted
            | NodeState::Deallocating
            | NodeState::Deallocated
            | NodeState::UpgradingOs => {
                let message = "The operation is invalid for the current state of the resource.";
                refuse("OperationInvalidForCurrentState", message)
            }
            NodeState::Gone => Err(BatchError::node_not_found()),
        }
    }
}

impl UploadBody {
    fn read(body: &[u8]) -> Result<Self, BatchError> {
        let invalid = |reason: &str| {
            let message = "The request body is invalid: it could not be parsed.";
            BatchError::bad_request("InvalidRequestBody", message).with("Reason", reason)
        };
        let value: Value = serde_json::from_slice(body).map_err(|error| invalid(&error.to_string()))?;
        let Value::Object(members) = value else { return Err(invalid("not an object")) };
        for name in members.keys() {
            if !matches!(name.as_str(), "containerUrl" | "startTime" | "endTime" | "identityReference") {
                let message = "One of the properties specified in the request body is not supported.";
                return Err(
                    BatchError::bad_request("UnsupportedProperty", message).with("PropertyName", name)
                );
            }
        }
        let container_url = text_property(&members, "containerUrl")?
            .ok_or_else(|| missing_property("containerUrl"))?
            .to_owned();
        let start = time_property(&members, "startTime")?.ok_or_else(|| missing_property("startTime"))?;
        let end = time_property(&members, "endTime")?;
        if end.is_some_and(|end| end < start) {
            let sent = text_property(&members, "endTime")?.unwrap_or("");
            return Err(BatchError::property_value("endTime", sent, "The end is before the start"));
        }
        let identity = match members.get("identityReference") {
            None | Some(Value::Null) => None,
            Some(Value::Object(identity)) => {
                let id = text_property(identity, "resourceId")?;
                Some(id.ok_or_else(|| missing_property("identityReference/resourceId"))?.to_owned())
            }
            Some(other) => {
                return Err(BatchError::property_value(
                    "identityReference",
                    &other.to_string(),
                    "not an object",
                ));
            }
        };
        Ok(Self { container_url, start, end, identity })
    }

    /// A node needs a SAS or an identity of its pool, and not both.
    ///
    /// For other servers, a URL with neither is accepted: a recording shows that the real service did so for
    /// `http://contoso.com`.
    fn check_access(&self, target: &UploadTarget, pool: &Pool) -> Result<(), BatchError> {
        let Some(identity) = &self.identity else {
            let is_here = matches!(target.place, Place::Here { .. });
            if is_here && matches!(target.access, WriteAccess::None) {
                let reason = "The container URL has no SAS, and there is no identityReference";
                return Err(BatchError::property_value("containerUrl", &self.container_url, reason));
            }
            return Ok(());
        };
        let refuse = |reason: &str| Err(BatchError::property_value("identityReference", identity, reason));
        if target.has_query {
            return refuse("The container URL has a query: give either a SAS or an identity");
        }
        if !pool.scenario.identities.iter().any(|attached| attached.eq_ignore_ascii_case(identity)) {
            return refuse("The identity is not attached to the pool");
        }
        Ok(())
    }
}

fn missing_property(name: &str) -> BatchError {
    let message = "A required property was not specified in the request body.";
    BatchError::bad_request("MissingRequiredProperty", message).with("PropertyName", name)
}

fn text_property<'a>(members: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, BatchError> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(BatchError::property_value(name, &other.to_string(), "not a string")),
    }
}

fn time_property(members: &Map<String, Value>, name: &str) -> Result<Option<OffsetDateTime>, BatchError> {
    let Some(text) = text_property(members, name)? else { return Ok(None) };
    let parsed = parse_body_time(text);
    parsed.map(Some).ok_or_else(|| BatchError::property_value(name, text, "not a time in ISO 8601"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(body: &str) -> String {
        UploadBody::read(body.as_bytes()).err().expect("refused").code
    }

    #[test]
    fn bodies_that_the_service_would_refuse_are_refused() {
        for (body, expected) in [
            ("", "InvalidRequestBody"),
            ("[]", "InvalidRequestBody"),
            (r#"{"containerUrl":"http://c"}"#, "MissingRequiredProperty"),
            (r#"{"startTime":"2025-01-01T00:00:00Z"}"#, "MissingRequiredProperty"),
            (r#"{"containerUrl":"http://c","startTime":"yesterday"}"#, "InvalidPropertyValue"),
            (
                r#"{"containerUrl":"http://c","startTime":"2025-01-01T00:00:00Z","end":1}"#,
                "UnsupportedProperty",
            ),
            (
                r#"{"containerUrl":"http://c","startTime":"2025-01-01T00:00:00Z","identityReference":{}}"#,
                "MissingRequiredProperty",
            ),
        ] {
            assert_eq!(code(body), expected, "{body}");
        }
    }

    #[test]
    fn an_identity_may_take_the_place_of_a_sas() {
        let body = r#"{"containerUrl":"http://c/x","startTime":"2025-01-01T00:00:00.123Z","endTime":null,
            "identityReference":{"resourceId":"/subscriptions/s/x"}}"#;

        assert!(
            UploadBody::read(body.as_bytes())
                .is_ok_and(|asked| asked.identity.as_deref() == Some("/subscriptions/s/x"))
        );
    }
}
