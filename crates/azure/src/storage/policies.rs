//! Stored access policies of a container: a SAS that refers to a policy becomes invalid when the policy is removed.
//!
//! Storage changes the policies of a container only all at once, and only with the account's key: no SAS and no token
//! allows this call. Therefore the current policies are read first and sent back with the one change.

use std::fmt::Write as _;
use std::time::Duration;

use azure_core::xml;
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::sas::SasUrl;
use fleetlogs_model::timestamp;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderName, IF_UNMODIFIED_SINCE, LAST_MODIFIED};
use serde::Deserialize;
use time::OffsetDateTime;
use tokio::time::Instant;
use url::Url;

use super::account::{
    AccountClient, AccountCredential, CLOCK_TOLERANCE, StorageAccount, check_container_name,
};
use crate::answer::Answer;
use crate::redact::one_line;
use crate::request::{Request, TIME_LIMIT};
use crate::sas::{PolicySas, SigningKey, ordered_permissions, time_text};
use crate::storage_error::{storage_code, storage_refusal};
use crate::storage_key;

/// Whether the container is public, and to which extent. It is set together with the policies.
const PUBLIC_ACCESS: HeaderName = HeaderName::from_static("x-ms-blob-public-access");

/// A container has at most this many stored access policies.
const MOST_POLICIES: usize = 5;

/// How often the change is attempted while others change the policies as well.
const TRIES: u32 = 5;

/// A SAS that refers to a stored access policy of its own.
#[derive(Clone, Debug)]
pub struct PolicyGrant {
    /// The SAS. It contains neither permissions nor expiry: the policy does.
    pub sas: SasUrl,
    /// Id of the policy.
    pub policy: String,
    /// The expiry of the policy.
    pub expires_at: OffsetDateTime,
}

/// What was removed, according to the container's policies afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Ids of the policies that were removed.
    pub removed: Vec<String>,
    /// Ids of the policies that remain, which belong to others.
    pub left: Vec<String>,
}

impl StorageAccount {
    /// Whether the account's key is known; without it, stored access policies cannot be changed.
    #[must_use]
    pub fn has_key(&self) -> bool {
        matches!(self.0.auth, AccountCredential::Key(_))
    }

    /// Adds a stored access policy called `name` (`name-2` and so on if that exists), and creates a SAS that refers
    /// to it. Policies of that name that have expired are removed; all others stay as they are.
    ///
    /// A new policy may take half a minute to become effective; until then, storage refuses the SAS.
    ///
    /// Cancel safety: a dropped call may leave the policy behind, for which nobody has a SAS.
    pub async fn grant_by_policy(
        &self,
        container: &str,
        name: &str,
        permissions: &str,
        lifetime: Duration,
    ) -> Result<PolicyGrant, Failure> {
        let account = &self.0;
        let permissions = ordered_permissions(permissions).ok_or_else(|| {
            Failure::new(
                FailureClass::Config,
                "the permissions of a SAS must be letters of `racwdxyltfmeopi`",
            )
        })?;
        let lifetime = time::Duration::try_from(lifetime).unwrap_or(time::Duration::MAX);
        let (policy, expires_at) = account
            .change_policies(container, |policies| {
                let now = account.now();
                policies.retain(|policy| !(is_named(&policy.id, name) && policy.has_ended(now)));
                if policies.len() >= MOST_POLICIES {
                    return Err(no_room(policies));
                }
                let id = free_id(policies, name);
                let expires_at = now.checked_add(lifetime).unwrap_or(now);
                let access = AccessPolicy {
                    start: None,
                    expiry: Some(time_text(expires_at)),
                    permission: Some(permissions.clone()),
                };
                policies.push(StoredPolicy { id: id.clone(), access: Some(access) });
                Ok((id, expires_at))
            })
            .await?;
        let sas =
            PolicySas { account: &account.name, container, policy: &policy, protocol: account.protocol };
        let mut url = account.url(container);
        url.set_query(Some(&sas.with_account_key(account.key()?)));
        let sas = SasUrl::parse(url.as_str()).map_err(|error| {
            Failure::new(FailureClass::Config, format!("no SAS for the container: {error}"))
        })?;
        Ok(PolicyGrant { sas, policy, expires_at })
    }

    /// Removes all policies that [`grant_by_policy`](Self::grant_by_policy) created with this name, and reads the
    /// container's policies again to check that they are gone.
    ///
    /// Cancel safety: may be dropped at any time, and called again.
    pub async fn revoke_policies(&self, container: &str, name: &str) -> Result<Revocation, Failure> {
        let account = &self.0;
        let removed = account
            .change_policies(container, |policies| {
                let (ours, others): (Vec<_>, Vec<_>) =
                    policies.drain(..).partition(|policy| is_named(&policy.id, name));
                *policies = others;
                Ok(ids(&ours))
            })
            .await?;
        let (acl, _) = account.read_acl(container).await?;
        if acl.policies.iter().any(|policy| is_named(&policy.id, name)) {
            let message = "the container still has the policy, although storage reported it as removed";
            return Err(Failure::new(FailureClass::Refused, message));
        }
        Ok(Revocation { removed, left: ids(&acl.policies) })
    }
}

impl AccountClient {
    fn key(&self) -> Result<&SigningKey, Failure> {
        match &self.auth {
            AccountCredential::Key(key) => Ok(key),
            AccountCredential::Entra { .. } => Err(Failure::new(
                FailureClass::Config,
                "stored access policies can be changed with the account's key only",
            )),
        }
    }

    /// Reads the policies, changes them and writes them back, and repeats that if somebody else changed them
    /// meanwhile. A change that changes nothing is not written.
    async fn change_policies<T>(
        &self,
        container: &str,
        mut change: impl FnMut(&mut Vec<StoredPolicy>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut tries = TRIES;
        loop {
            let (mut acl, modified) = self.read_acl(container).await?;
            let before = acl.policies.clone();
            let result = change(&mut acl.policies)?;
            if acl.policies == before {
                return Ok(result);
            }
            let answer = self.write_acl(container, &acl, modified.as_deref()).await?;
            tries -= 1;
            match answer.status {
                200 => return Ok(result),
                412 if tries > 0 => {}
                _ => return Err(storage_refusal(&answer)),
            }
        }
    }

    /// The policies, whether the container is public, and when that was last changed.
    async fn read_acl(&self, container: &str) -> Result<(ContainerAcl, Option<String>), Failure> {
        let url = self.acl_url(container)?;
        let request = Request { method: Method::GET, url, headers: &[], body: String::new() };
        let answer = self.send_with_key(&request).await?;
        if answer.status != 200 {
            return Err(storage_refusal(&answer));
        }
        let body = answer.whole_body(FailureClass::Transient)?;
        let mut acl: ContainerAcl = xml::from_xml(body).map_err(|_| {
            answer.failure(FailureClass::Refused, "the answer is not a list of stored access policies")
        })?;
        acl.public_access = answer.header(&PUBLIC_ACCESS).map(str::to_owned);
        Ok((acl, answer.header(&LAST_MODIFIED).map(str::to_owned)))
    }

    /// `modified` prevents overwriting a change by somebody else, to the second.
    async fn write_acl(
        &self,
        container: &str,
        acl: &ContainerAcl,
        modified: Option<&str>,
    ) -> Result<Answer, Failure> {
        let mut headers = vec![(CONTENT_TYPE, "application/xml")];
        headers.extend(acl.public_access.as_deref().map(|level| (PUBLIC_ACCESS, level)));
        headers.extend(modified.map(|date| (IF_UNMODIFIED_SINCE, date)));
        let url = self.acl_url(container)?;
        let request = Request { method: Method::PUT, url, headers: &headers, body: acl.to_xml() };
        self.send_with_key(&request).await
    }

    fn acl_url(&self, container: &str) -> Result<Url, Failure> {
        check_container_name(container)?;
        let mut url = self.url(container);
        url.set_query(Some("restype=container&comp=acl"));
        Ok(url)
    }

    /// Signs a request with the account's key and sends it; once more if the answer shows that this machine's clock
    /// was wrong.
    pub(super) async fn send_with_key(&self, request: &Request<'_>) -> Result<Answer, Failure> {
        let deadline = Instant::now() + TIME_LIMIT;
        let key = self.key()?;
        let mut may_repeat = true;
        loop {
            let assumed = self.clock_offset();
            let builder = storage_key::sign_request(request, &self.http, key, &self.name, self.now());
            let answer = self.answer(builder, request, deadline).await?;
            let off = (self.clock_offset() - assumed).abs() > CLOCK_TOLERANCE;
            let refused = answer.status == 403 && storage_code(&answer) == Some("AuthenticationFailed");
            if !(may_repeat && off && refused) {
                return Ok(answer);
            }
            may_repeat = false;
        }
    }
}

/// `SignedIdentifiers`, as storage writes them; the texts are sent back unchanged.
#[derive(Debug, Default, Deserialize)]
struct ContainerAcl {
    #[serde(rename = "SignedIdentifier", default)]
    policies: Vec<StoredPolicy>,
    /// From a header.
    #[serde(skip)]
    public_access: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct StoredPolicy {
    #[serde(rename = "Id")]
    id: String,
    #[serde(rename = "AccessPolicy")]
    access: Option<AccessPolicy>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AccessPolicy {
    start: Option<String>,
    expiry: Option<String>,
    permission: Option<String>,
}

impl StoredPolicy {
    fn has_ended(&self, now: OffsetDateTime) -> bool {
        let expiry = self.access.as_ref().and_then(|access| access.expiry.as_deref());
        expiry.and_then(timestamp::parse).is_some_and(|end| end <= now)
    }
}

impl ContainerAcl {
    fn to_xml(&self) -> String {
        let mut text = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?><SignedIdentifiers>");
        for StoredPolicy { id, access } in &self.policies {
            let _ = write!(text, "<SignedIdentifier><Id>{}</Id><AccessPolicy>", escaped(id));
            let parts = access.as_ref().map_or([None; 3], |access| {
                [&access.start, &access.expiry, &access.permission].map(Option::as_deref)
            });
            for (name, value) in ["Start", "Expiry", "Permission"].into_iter().zip(parts) {
                if let Some(value) = value.filter(|value| !value.is_empty()) {
                    let _ = write!(text, "<{name}>{}</{name}>", escaped(value));
                }
            }
            text.push_str("</AccessPolicy></SignedIdentifier>");
        }
        text.push_str("</SignedIdentifiers>");
        text
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Whether an id is `name`, or `name-` and a number.
fn is_named(id: &str, name: &str) -> bool {
    let numbered = |rest: &str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
    id == name || id.strip_prefix(name).and_then(|rest| rest.strip_prefix('-')).is_some_and(numbered)
}

fn free_id(policies: &[StoredPolicy], name: &str) -> String {
    let numbered = (2_u32..).map(|number| format!("{name}-{number}"));
    let mut ids = std::iter::once(name.to_owned()).chain(numbered);
    ids.find(|id| policies.iter().all(|policy| policy.id != *id)).unwrap_or_default()
}

fn ids(policies: &[StoredPolicy]) -> Vec<String> {
    policies.iter().map(|policy| one_line(&policy.id, 64)).collect()
}

fn no_room(policies: &[StoredPolicy]) -> Failure {
    let message = format!(
        "the container has {} stored access policies, and storage allows no more: {}",
        policies.len(),
        ids(policies).join(", ")
    );
    Failure::new(FailureClass::Refused, message)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::super::account::tests::{DAY, KEY, key_account};
    use super::*;
    use crate::test_server::{Reply, SeenRequest, TestServer};

    const RUN: &str = "fleetlogs-20261122T093000Z-4f2a";
    const OTHERS: &str = "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><SignedIdentifiers><SignedIdentifier><Id>a&amp;b</Id>\
        <AccessPolicy><Start>2025-01-01T00:00:00.0000000Z</Start><Permission>rwd</Permission></AccessPolicy>\
        </SignedIdentifier><SignedIdentifier><Id>bare</Id><AccessPolicy /></SignedIdentifier></SignedIdentifiers>";

    /// A public container with these policies; what is written is stored.
    async fn container(policies: &str) -> TestServer {
        let held = Arc::new(Mutex::new(policies.to_owned()));
        TestServer::start_seeing(move |_, seen: &SeenRequest| {
            let headers = "last-modified: Wed, 01 Jan 2025 12:00:00 GMT\r\nx-ms-blob-public-access: blob\r\n";
            if seen.line().starts_with("PUT") {
                held.lock().clone_from(&seen.body);
                return Reply::with_headers("200 OK", headers, "");
            }
            Reply::with_headers("200 OK", headers, &held.lock())
        })
        .await
    }

    fn policy(id: &str, expiry: &str) -> String {
        format!(
            "<SignedIdentifier><Id>{id}</Id><AccessPolicy><Expiry>{expiry}</Expiry></AccessPolicy></SignedIdentifier>"
        )
    }

    fn acl(policies: &[String]) -> String {
        format!("<SignedIdentifiers>{}</SignedIdentifiers>", policies.concat())
    }

    #[tokio::test]
    async fn a_policy_is_added_and_the_others_and_public_access_stay() {
        let server = container(OTHERS).await;
        let grant = key_account(&server).grant_by_policy("logs", RUN, "lr", DAY).await.unwrap();

        assert_eq!(grant.policy, RUN);
        assert!(grant.sas.stored_policy && grant.sas.permissions.is_none() && grant.sas.expires_at.is_none());
        let write = &server.requests()[1];
        assert_eq!(write.line(), "PUT /acct/logs?restype=container&comp=acl HTTP/1.1");
        assert_eq!(write.header("x-ms-blob-public-access"), Some("blob"));
        assert_eq!(write.header("if-unmodified-since"), Some("Wed, 01 Jan 2025 12:00:00 GMT"));
        assert!(write.header("authorization").unwrap().starts_with("SharedKey acct:"));
        let expiry = time_text(grant.expires_at);
        assert_eq!(
            write.body,
            format!(
                "<?xml version=\"1.0\" encoding=\"utf-8\"?><SignedIdentifiers><SignedIdentifier><Id>a&amp;b</Id>\
                 <AccessPolicy><Start>2025-01-01T00:00:00.0000000Z</Start><Permission>rwd</Permission></AccessPolicy>\
                 </SignedIdentifier><SignedIdentifier><Id>bare</Id><AccessPolicy></AccessPolicy></SignedIdentifier>\
                 <SignedIdentifier><Id>{RUN}</Id><AccessPolicy><Expiry>{expiry}</Expiry><Permission>rl</Permission>\
                 </AccessPolicy></SignedIdentifier></SignedIdentifiers>"
            )
        );
    }

    #[tokio::test]
    async fn a_second_share_has_its_own_policy_and_an_ended_one_makes_room() {
        let running = [policy(RUN, "2036-01-01T00:00:00Z")];
        let server = container(&acl(&running)).await;
        let grant = key_account(&server).grant_by_policy("logs", RUN, "rl", DAY).await.unwrap();
        assert_eq!(grant.policy, format!("{RUN}-2"));

        let ended = policy(RUN, "2025-01-01T00:00:00.0000000Z");
        let full: Vec<_> =
            ["b", "c", "d", "e"].iter().map(|id| policy(id, "2025-01-01T00:00:00Z")).chain([ended]).collect();
        let server = container(&acl(&full)).await;
        let grant = key_account(&server).grant_by_policy("logs", RUN, "rl", DAY).await.unwrap();
        assert_eq!(grant.policy, RUN);
        let failure = key_account(&server).grant_by_policy("logs", RUN, "rl", DAY).await.unwrap_err();
        assert!(failure.message.contains("b, c, d, e"), "{failure}");
    }

    #[tokio::test]
    async fn all_policies_of_a_run_are_removed_and_no_others() {
        let ids = [RUN, "other", &format!("{RUN}-2"), &format!("{RUN}-x"), &format!("{RUN}2")]
            .map(|id| policy(id, "2036-01-01T00:00:00Z"));
        let server = container(&acl(&ids)).await;
        let account = key_account(&server);
        let revoked = account.revoke_policies("logs", RUN).await.unwrap();
        assert_eq!(revoked.removed, [RUN.to_owned(), format!("{RUN}-2")]);
        assert_eq!(revoked.left, ["other".to_owned(), format!("{RUN}-x"), format!("{RUN}2")]);
        assert_eq!(server.requests().len(), 3, "read, written, and read back");
        assert_eq!(account.revoke_policies("logs", RUN).await.unwrap().removed, Vec::<String>::new());
        assert_eq!(server.requests().len(), 5, "there was nothing to write");
    }

    #[tokio::test]
    async fn a_policy_that_does_not_go_away_is_a_failure() {
        let held = acl(&[policy(RUN, "2036-01-01T00:00:00Z")]);
        let server = TestServer::start(move |_| Reply::with_headers("200 OK", "", &held)).await;
        let failure = key_account(&server).revoke_policies("logs", RUN).await.unwrap_err();
        assert!(failure.message.contains("still"), "{failure}");
    }

    #[tokio::test]
    async fn a_change_of_somebody_else_is_not_lost_and_a_refusal_says_why() {
        let answers = ["200 OK", "412 Precondition Failed", "200 OK", "200 OK"];
        let server = TestServer::start(move |number| {
            Reply::with_headers(answers.get(number - 1).copied().unwrap_or("403 Forbidden"), "", OTHERS)
        })
        .await;
        let account = key_account(&server);
        account.grant_by_policy("logs", RUN, "rl", DAY).await.unwrap();
        assert_eq!(server.requests().len(), 4);
        let failure = account.revoke_policies("logs", RUN).await.unwrap_err();
        assert_eq!(failure.class, FailureClass::Auth);
        assert!(!format!("{failure:?}").contains(KEY));
    }
}
