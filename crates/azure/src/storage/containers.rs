//! Containers that a run creates for itself, and deleting them.
//!
//! A container is marked with the run that created it, and only a container with that mark is ever deleted.

use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::ids::RunId;
use reqwest::Method;
use reqwest::header::{HeaderName, IF_UNMODIFIED_SINCE, LAST_MODIFIED};
use tokio::time::Instant;
use url::Url;

use super::account::{AccountClient, AccountCredential, StorageAccount, check_container_name};
use crate::answer::Answer;
use crate::request::{Request, TIME_LIMIT};
use crate::sas::{CreationSas, time_text};
use crate::storage_error::{storage_code, storage_refusal};

/// The run that created a container, in the container's metadata. Such names must be C# identifiers: no hyphen.
const MADE_BY: HeaderName = HeaderName::from_static("x-ms-meta-fleetlogsrun");

/// Long enough for one request, whatever the clocks show.
pub(super) const CREATION_SAS_LIFE: time::Duration = time::Duration::minutes(10);

/// The result of deleting a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// It is being deleted, with its content.
    Removed,
    /// It did not exist.
    Absent,
    /// It still exists: this run did not create it, or somebody changed its mark.
    NotOurs,
}

impl StorageAccount {
    /// Creates a container for a run and marks it with the run; true if it did not exist.
    ///
    /// Cancel safety: may be dropped at any time; the container may exist then.
    pub async fn create_container(&self, name: &str, run: &RunId) -> Result<bool, Failure> {
        let account = &self.0;
        let deadline = Instant::now() + TIME_LIMIT;
        let mut url = account.container_itself(name)?;
        let headers = [(MADE_BY, run.as_str())];
        let request = |url| Request { method: Method::PUT, url, headers: &headers, body: String::new() };
        let answer = match &account.auth {
            AccountCredential::Key(key) => {
                let expires_at = time_text(account.now() + CREATION_SAS_LIFE);
                let sas = CreationSas {
                    account: &account.name,
                    expires_at: &expires_at,
                    protocol: account.protocol,
                };
                url.set_query(Some(&format!("restype=container&{}", sas.with_account_key(key))));
                account.send(&request(url), deadline).await?
            }
            AccountCredential::Entra { tokens, .. } => {
                account.send_with_token(tokens, &request(url), deadline).await?
            }
        };
        match (answer.status, storage_code(&answer)) {
            (201, _) => Ok(true),
            (409, Some("ContainerAlreadyExists")) => Ok(false),
            _ => Err(storage_refusal(&answer)),
        }
    }

    /// Deletes a container with its content, if this run created it and nobody has changed it (its metadata or
    /// access) since that was read.
    ///
    /// Cancel safety: may be dropped at any time; the container may be gone then.
    pub async fn delete_container(&self, name: &str, run: &RunId) -> Result<Removal, Failure> {
        let account = &self.0;
        let answer = account.about_container(Method::GET, name, &[]).await?;
        match answer.status {
            200 => {}
            _ if is_gone(&answer) => return Ok(Removal::Absent),
            _ => return Err(storage_refusal(&answer)),
        }
        if answer.header(&MADE_BY) != Some(run.as_str()) {
            return Ok(Removal::NotOurs);
        }
        let Some(modified) = answer.header(&LAST_MODIFIED) else {
            return Err(
                answer.failure(FailureClass::Refused, "storage does not say when the container was changed")
            );
        };
        let answer =
            account.about_container(Method::DELETE, name, &[(IF_UNMODIFIED_SINCE, modified)]).await?;
        match (answer.status, storage_code(&answer)) {
            (202, _) => Ok(Removal::Removed),
            (412, Some("ConditionNotMet")) => Ok(Removal::NotOurs),
            _ if is_gone(&answer) => Ok(Removal::Absent),
            _ => Err(storage_refusal(&answer)),
        }
    }
}

impl AccountClient {
    /// Sends a request about a container as such, which no SAS for the container allows.
    async fn about_container(
        &self,
        method: Method,
        name: &str,
        headers: &[(HeaderName, &str)],
    ) -> Result<Answer, Failure> {
        let url = self.container_itself(name)?;
        let request = Request { method, url, headers, body: String::new() };
        match &self.auth {
            AccountCredential::Key(_) => self.send_with_key(&request).await,
            AccountCredential::Entra { tokens, .. } => {
                self.send_with_token(tokens, &request, Instant::now() + TIME_LIMIT).await
            }
        }
    }

    fn container_itself(&self, name: &str) -> Result<Url, Failure> {
        check_container_name(name)?;
        let mut url = self.url(name);
        url.set_query(Some("restype=container"));
        Ok(url)
    }
}

/// Whether the container does not exist, or is being deleted.
fn is_gone(answer: &Answer) -> bool {
    matches!(storage_code(answer), Some("ContainerNotFound" | "ContainerBeingDeleted"))
}
