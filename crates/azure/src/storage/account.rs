//! The account: its endpoint, its authentication, and SAS for its containers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::sas::{SasUrl, is_https_or_loopback};
use fleetlogs_model::secret::Secret;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Method, RequestBuilder};
use time::{OffsetDateTime, PrimitiveDateTime};
use tokio::time::{Instant, timeout_at};
use url::Url;

use crate::answer::Answer;
use crate::delegation_key::{DelegationKey, DelegationKeyCache, START_BEFORE_NOW};
use crate::request::{Request, TIME_LIMIT, exchange};
use crate::sas::{ContainerSas, Protocol, SigningKey, ordered_permissions, time_text};
use crate::service_clock::ServiceClock;
use crate::storage_error::{storage_code, storage_refusal};
use crate::token::TokenSource;

/// If the clock was wrong by more than this, the delegation key may not be valid yet.
pub(super) const CLOCK_TOLERANCE: time::Duration = time::Duration::minutes(1);

/// A storage account for whose containers fleetlogs may create SAS. Cheap to clone.
#[derive(Clone)]
pub struct StorageAccount(pub(super) Arc<AccountClient>);

pub(super) struct AccountClient {
    pub(super) http: reqwest::Client,
    /// Without a slash at its end.
    pub(super) endpoint: Url,
    pub(super) name: String,
    pub(super) protocol: Protocol,
    pub(super) auth: AccountCredential,
    clock: ServiceClock,
}

/// The credential for the account.
pub(super) enum AccountCredential {
    Key(SigningKey),
    Entra { tokens: TokenSource, kept: DelegationKeyCache },
}

/// What signs a SAS.
enum Signer<'a> {
    Account(&'a SigningKey),
    Delegation(Arc<DelegationKey>),
}

/// How to authenticate to a storage account.
#[derive(Clone, Debug)]
pub enum StorageAuth {
    /// With one of its keys, in Base64.
    Key(Secret),
    /// With a token for [`Cloud::storage_resource`](crate::Cloud::storage_resource). Its identity needs the right to
    /// generate user delegation keys.
    Entra(TokenSource),
}

/// What a SAS allows.
#[derive(Clone, Copy, Debug)]
pub struct ContainerGrant<'a> {
    /// The container's name.
    pub container: &'a str,
    /// Letters of `sp`, in any order.
    pub permissions: &'a str,
    /// How long it is valid from now.
    pub lifetime: Duration,
    /// Whether it has a start, five minutes ago. Batch advises against one.
    pub with_start: bool,
}

/// Why a storage account cannot be used. Neither the endpoint nor the key is quoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidStorageAccount {
    /// Credentials are sent over https, or to this machine.
    #[error("the storage endpoint must start with https:// (http:// is for loopback addresses only)")]
    Scheme,
    /// The endpoint contains more, or less, than an account.
    #[error(
        "the storage endpoint must be `https://ACCOUNT.blob...` or, for an emulator, `http://127.0.0.1:PORT/ACCOUNT`, \
         and nothing else"
    )]
    Endpoint,
    /// Not Base64, or empty.
    #[error("the storage account key is not Base64")]
    Key,
}

impl StorageAccount {
    /// An account; sends nothing.
    ///
    /// `endpoint` is `https://ACCOUNT.blob.core.windows.net`, or an emulator's `http://127.0.0.1:10000/ACCOUNT`.
    pub fn new(
        http: reqwest::Client,
        endpoint: Url,
        auth: StorageAuth,
    ) -> Result<Self, InvalidStorageAccount> {
        if !is_https_or_loopback(&endpoint) {
            return Err(InvalidStorageAccount::Scheme);
        }
        let protocol = Protocol::of(&endpoint);
        let (endpoint, name) = account_of(endpoint).ok_or(InvalidStorageAccount::Endpoint)?;
        let auth = match auth {
            StorageAuth::Key(key) => AccountCredential::Key(
                SigningKey::from_base64(key.expose()).ok_or(InvalidStorageAccount::Key)?,
            ),
            StorageAuth::Entra(tokens) => {
                AccountCredential::Entra { tokens, kept: DelegationKeyCache::default() }
            }
        };
        let clock = ServiceClock::default();
        Ok(Self(Arc::new(AccountClient { http, endpoint, name, protocol, auth, clock })))
    }

    /// The account's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// A container's URL, without a SAS.
    #[must_use]
    pub fn container_url(&self, container: &str) -> String {
        self.0.url(container).into()
    }

    /// Creates a SAS that is valid for `lifetime` from now, or as long as the delegation key (7 days at most); see
    /// its `expires_at`.
    ///
    /// Cancel safety: may be dropped at any time.
    pub async fn grant(&self, grant: ContainerGrant<'_>) -> Result<SasUrl, Failure> {
        let account = &self.0;
        check_container_name(grant.container)?;
        let permissions = ordered_permissions(grant.permissions).ok_or_else(|| {
            Failure::new(
                FailureClass::Config,
                "the permissions of a SAS must be letters of `racwdxyltfmeopi`",
            )
        })?;
        let lifetime = time::Duration::try_from(grant.lifetime).unwrap_or(time::Duration::MAX);
        let signer = match &account.auth {
            AccountCredential::Key(key) => Signer::Account(key),
            AccountCredential::Entra { tokens, kept } => {
                let fetch = account.fetch_delegation_key(tokens);
                Signer::Delegation(kept.get(|| account.now(), lifetime, fetch).await?)
            }
        };

        let now = account.now();
        let mut starts_at = now - START_BEFORE_NOW;
        let mut expires_at = now.checked_add(lifetime).unwrap_or_else(|| PrimitiveDateTime::MAX.assume_utc());
        if let Signer::Delegation(key) = &signer {
            starts_at = starts_at.max(key.starts_at);
            expires_at = expires_at.min(key.expires_at);
        }
        let starts_at = grant.with_start.then(|| time_text(starts_at));
        let expires_at = time_text(expires_at);
        let sas = ContainerSas {
            account: &account.name,
            container: grant.container,
            permissions: &permissions,
            starts_at: starts_at.as_deref(),
            expires_at: &expires_at,
            protocol: account.protocol,
        };
        let query = match &signer {
            Signer::Account(key) => sas.with_account_key(key),
            Signer::Delegation(key) => sas.with_delegation(&key.delegation),
        };
        let mut url = account.url(grant.container);
        url.set_query(Some(&query));
        SasUrl::parse(url.as_str())
            .map_err(|error| Failure::new(FailureClass::Config, format!("no SAS for the container: {error}")))
    }
}

impl AccountClient {
    /// The service's clock; this machine's, where it is not known.
    pub(super) fn now(&self) -> OffsetDateTime {
        self.clock.now().unwrap_or_else(OffsetDateTime::now_utc)
    }

    /// How far the service's clock is ahead of this machine's; zero where it is not known.
    pub(super) fn clock_offset(&self) -> time::Duration {
        self.clock.offset().unwrap_or_default()
    }

    pub(super) fn url(&self, container: &str) -> Url {
        let mut url = self.endpoint.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push(container);
        }
        url
    }

    /// Requests a user delegation key, and once more if the answer shows that this machine's clock was wrong.
    async fn fetch_delegation_key(&self, tokens: &TokenSource) -> Result<DelegationKey, Failure> {
        let deadline = Instant::now() + TIME_LIMIT;
        let assumed = self.clock_offset();
        let answer = self.request_delegation_key(tokens, deadline).await;
        if (self.clock_offset() - assumed).abs() <= CLOCK_TOLERANCE {
            return answer;
        }
        self.request_delegation_key(tokens, deadline).await
    }

    async fn request_delegation_key(
        &self,
        tokens: &TokenSource,
        deadline: Instant,
    ) -> Result<DelegationKey, Failure> {
        let mut url = self.endpoint.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("");
        }
        url.set_query(Some("restype=service&comp=userdelegationkey"));
        let request = Request {
            method: Method::POST,
            url,
            headers: &[(CONTENT_TYPE, "application/xml")],
            body: DelegationKey::request_body(self.now()),
        };
        let answer = self.send_with_token(tokens, &request, deadline).await?;
        if answer.status != 200 {
            return Err(storage_refusal(&answer));
        }
        let body = answer.whole_body(FailureClass::Transient)?;
        DelegationKey::read(body, self.now()).ok_or_else(|| {
            answer.failure(FailureClass::Transient, "the answer is not a usable user delegation key")
        })
    }

    /// Sends a request with a token. If the token is refused, it is renewed once, because a refused call was not
    /// carried out.
    pub(super) async fn send_with_token(
        &self,
        tokens: &TokenSource,
        request: &Request<'_>,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        let mut may_renew = true;
        loop {
            let token = timeout_at(deadline, tokens.get()).await.unwrap_or_else(|_| {
                Err(Failure::new(FailureClass::NotSent, "no token arrived within the time limit of the call"))
            })?;
            let builder = request.builder(&self.http).header(AUTHORIZATION, token.header.clone());
            let answer = self.answer(builder, request, deadline).await?;
            if !may_renew || !token_refused(&answer) {
                return Ok(answer);
            }
            tokens.invalidate(&token);
            may_renew = false;
        }
    }

    pub(super) async fn send(&self, request: &Request<'_>, deadline: Instant) -> Result<Answer, Failure> {
        self.answer(request.builder(&self.http), request, deadline).await
    }

    pub(super) async fn answer(
        &self,
        builder: RequestBuilder,
        request: &Request<'_>,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        let answer = exchange(builder, &request.url, deadline).await?;
        if let Some(date) = answer.date() {
            self.clock.hear(date);
        }
        Ok(answer)
    }
}

/// Whether a newer token may help: storage did not accept this one, or it has expired.
fn token_refused(answer: &Answer) -> bool {
    answer.status == 401 || (answer.status == 403 && storage_code(answer) == Some("AuthenticationFailed"))
}

/// The endpoint without a slash at its end, and the account that it names: in its host, or first in its path if the
/// host is an address.
pub(crate) fn account_of(mut endpoint: Url) -> Option<(Url, String)> {
    let bare = endpoint.query().is_none()
        && endpoint.fragment().is_none()
        && endpoint.username().is_empty()
        && endpoint.password().is_none();
    endpoint.path_segments_mut().ok()?.pop_if_empty();
    let path: Vec<_> = endpoint.path().split('/').filter(|segment| !segment.is_empty()).collect();
    // As in `SasUrl`.
    let name = match (endpoint.domain().filter(|host| *host != "localhost"), path.as_slice()) {
        (Some(host), []) => host.split_once('.')?.0,
        (None, [account]) => account,
        _ => return None,
    };
    let named =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let name = name.to_owned();
    (bare && named).then_some((endpoint, name))
}

/// Lower-case letters, digits, hyphens, and `$` for the few containers that storage itself creates. Any other
/// character could change what is signed.
pub(super) fn check_container_name(name: &str) -> Result<(), Failure> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-$".contains(&byte);
    if (1..=63).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(Failure::new(
        FailureClass::Config,
        "the name of a container must be up to 63 lower-case letters, digits and hyphens",
    ))
}

impl fmt::Debug for StorageAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = match self.0.auth {
            AccountCredential::Key(_) => "key",
            AccountCredential::Entra { .. } => "token",
        };
        write!(f, "StorageAccount({}, by {by}, <redacted>)", self.0.endpoint)
    }
}

#[cfg(test)]
pub(super) mod tests;
