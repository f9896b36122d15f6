//! Azure Resource Manager, reduced to what finding accounts needs: the list of subscriptions, and of the Batch and
//! storage accounts of each. Support tickets are in `support.rs`.
//!
//! It listens on a port of its own, accepts only tokens issued for itself, and answers errors in its own form.

use std::sync::Arc;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::arm_error::ArmError;
use crate::http::{Answer, Query, ReplyBody, Service, decode, read_body};
use crate::identity::Audience;
use crate::ready::{ReadyAccount, ReadyStorage};
use crate::scenario::{AccountScenario, AuthMode, PoolAllocationMode};
use crate::support::{self, SupportAnswer, SupportRequest, is_for_support};
use crate::world::World;

/// Small, so that a client that does not follow links fails soon.
const PAGE: usize = 2;

/// Versions of `Microsoft.Batch`.
const BATCH_VERSIONS: [&str; 8] = [
    "2021-06-01",
    "2022-01-01",
    "2022-06-01",
    "2022-10-01",
    "2023-05-01",
    "2023-11-01",
    "2024-02-01",
    "2024-07-01",
];

/// Versions of `Microsoft.Storage`.
const STORAGE_VERSIONS: [&str; 5] = ["2021-09-01", "2022-09-01", "2023-01-01", "2023-05-01", "2024-01-01"];

/// Versions of the list of subscriptions.
const SUBSCRIPTION_VERSIONS: [&str; 5] =
    ["2020-01-01", "2021-01-01", "2021-10-01", "2022-09-01", "2022-12-01"];

/// What is listed.
enum List {
    Subscriptions,
    BatchAccounts(String),
    StorageAccounts(String),
}

/// Answers the management port.
pub(crate) struct ArmService {
    pub(crate) world: Arc<World>,
}

impl Service for ArmService {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        if let Some(answer) = crate::control::answer(&self.world, &request) {
            return Ok(answer);
        }
        let segments: Vec<String> =
            request.uri().path().trim_matches('/').split('/').map(|part| decode(part).into_owned()).collect();
        let answered = if is_for_support(&segments) {
            self.support(request, &segments).await
        } else {
            self.list(&request).map(|body| (StatusCode::OK, body, None))
        };
        let (status, body, operation) =
            answered.unwrap_or_else(|error| (error.status, error.to_json(), None));
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let mut response = Response::new(ReplyBody::sized(text));
        *response.status_mut() = status;
        add_headers(&mut response);
        for name in ["azure-asyncoperation", "location"] {
            if let Some(link) = operation.as_deref().and_then(|link| HeaderValue::from_str(link).ok()) {
                response.headers_mut().insert(name, link);
            }
        }
        Ok(response)
    }
}

impl ArmService {
    async fn support(
        &self,
        request: Request<Incoming>,
        segments: &[String],
    ) -> Result<SupportAnswer, ArmError> {
        self.authenticate(&request)?;
        let (parts, body) = request.into_parts();
        let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let base = host.map_or_else(|| self.world.ready().arm.clone(), |host| format!("http://{host}"));
        let query = Query::parse(parts.uri.query().unwrap_or(""));
        let body = read_body(body, support::LARGEST_BODY).await.ok_or_else(|| {
            let message = "The request content size exceeds the maximum size.".to_owned();
            ArmError::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestContentTooLarge", message)
        })?;
        let (method, query, body, base) = (&parts.method, &query, &*body, &*base);
        self.world.support.answer(&SupportRequest { method, segments, query, body, base })
    }

    fn list(&self, request: &Request<Incoming>) -> Result<Value, ArmError> {
        self.authenticate(request)?;
        let list = list_of(request.uri().path())?;
        if request.method() != Method::GET {
            let message = "The requested resource does not support this http method.".to_owned();
            return Err(ArmError::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message));
        }
        let query = Query::parse(request.uri().query().unwrap_or(""));
        list.check_version(query.get("api-version"))?;
        let ready = self.world.ready();
        let items = self.items(&list)?;
        let from = match query.get("$skiptoken") {
            None => 0,
            Some(token) => read_token(token).filter(|from| *from < items.len()).ok_or_else(|| {
                let message = "The skip token is not one of this list.".to_owned();
                ArmError::new(StatusCode::BAD_REQUEST, "InvalidSkipToken", message)
            })?,
        };
        let until = (from + PAGE).min(items.len());
        let mut page = json!({ "value": items[from..until] });
        if until < items.len() {
            let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
            let base = host.map_or_else(|| ready.arm.clone(), |host| format!("http://{host}"));
            let version = query.get("api-version").unwrap_or("");
            let path = request.uri().path();
            let token = write_token(until);
            page["nextLink"] = format!("{base}{path}?api-version={version}&$skipToken={token}").into();
        }
        Ok(page)
    }

    /// Everything in a list, of all its pages.
    fn items(&self, list: &List) -> Result<Vec<Value>, ArmError> {
        let ready = self.world.ready();
        let mut known: Vec<&str> = Vec::new();
        for account in &self.world.accounts {
            let id = account.scenario.subscription.as_str();
            if !known.iter().any(|other| other.eq_ignore_ascii_case(id)) {
                known.push(id);
            }
        }
        let subscription = match list {
            List::Subscriptions => {
                let numbered = known.iter().enumerate();
                return Ok(numbered.map(|(number, id)| subscription_answer(id, number + 1)).collect());
            }
            List::BatchAccounts(subscription) | List::StorageAccounts(subscription) => subscription,
        };
        let is_this = |id: &str| id.eq_ignore_ascii_case(subscription);
        if !known.iter().any(|id| is_this(id)) {
            let message = format!("The subscription '{subscription}' could not be found.");
            return Err(ArmError::new(StatusCode::NOT_FOUND, "SubscriptionNotFound", message));
        }
        if matches!(list, List::StorageAccounts(_)) {
            // The storage accounts are in the subscription of the first Batch account.
            let is_here = known.first().is_some_and(|first| is_this(first));
            let names = self.world.storage_accounts.iter().filter(|_| is_here);
            return Ok(names.map(|name| storage_account_of(name, subscription, &ready.storage)).collect());
        }
        let accounts = self.world.accounts.iter().zip(&ready.accounts);
        let in_it = accounts.filter(|(account, _)| is_this(&account.scenario.subscription));
        Ok(in_it.map(|(account, ready)| account_of(&account.scenario, ready)).collect())
    }

    fn authenticate(&self, request: &Request<Incoming>) -> Result<(), ArmError> {
        let refuse = |code, message: &str| Err(ArmError::new(StatusCode::UNAUTHORIZED, code, message));
        let header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some(header) = header else {
            let message = "Authentication failed. The 'Authorization' header is missing.";
            return refuse("AuthenticationFailed", message);
        };
        let Some(token) = header.strip_prefix("Bearer ").map(str::trim) else {
            let message =
                "Authentication failed. The 'Authorization' header is provided in an invalid format.";
            return refuse("AuthenticationFailed", message);
        };
        let tokens = &self.world.tokens;
        if !tokens.is_ours(token) {
            return refuse("InvalidAuthenticationToken", "The access token is invalid.");
        }
        if !tokens.is_for(token, Audience::Management) {
            let message = "The access token has been obtained for wrong audience or resource. It should exactly match \
                           with one of the allowed audiences 'https://management.core.windows.net/', \
                           'https://management.azure.com/'.";
            return refuse("InvalidAuthenticationTokenAudience", message);
        }
        match tokens.check(token, Audience::Management, OffsetDateTime::now_utc()) {
            Ok(()) => Ok(()),
            Err(_) => refuse("ExpiredAuthenticationToken", "The access token expiry is in the past."),
        }
    }
}

fn list_of(path: &str) -> Result<List, ArmError> {
    let segments: Vec<_> = path.trim_matches('/').split('/').map(decode).collect();
    let is = |at: usize, text: &str| segments.get(at).is_some_and(|s| s.eq_ignore_ascii_case(text));
    if segments.len() == 1 && is(0, "subscriptions") {
        return Ok(List::Subscriptions);
    }
    let in_provider = segments.len() == 5 && is(0, "subscriptions") && is(2, "providers");
    let list = match segments.get(1) {
        Some(id) if in_provider && is(3, "Microsoft.Batch") && is(4, "batchAccounts") => {
            List::BatchAccounts(id.clone().into_owned())
        }
        Some(id) if in_provider && is(3, "Microsoft.Storage") && is(4, "storageAccounts") => {
            List::StorageAccounts(id.clone().into_owned())
        }
        _ => {
            let message = "The resource could not be found.".to_owned();
            return Err(ArmError::new(StatusCode::NOT_FOUND, "ResourceNotFound", message));
        }
    };
    if let List::BatchAccounts(id) | List::StorageAccounts(id) = &list
        && Uuid::try_parse(id).is_err()
    {
        let message = format!("The provided subscription identifier '{id}' is malformed or invalid.");
        return Err(ArmError::new(StatusCode::BAD_REQUEST, "InvalidSubscriptionId", message));
    }
    Ok(list)
}

impl List {
    fn check_version(&self, version: Option<&str>) -> Result<(), ArmError> {
        let Some(version) = version else {
            let message =
                "The api-version query parameter (?api-version=) is required for all requests.".to_owned();
            return Err(ArmError::new(StatusCode::BAD_REQUEST, "MissingApiVersionParameter", message));
        };
        let (kind, versions): (&str, &[&str]) = match self {
            Self::Subscriptions => ("subscriptions", &SUBSCRIPTION_VERSIONS),
            Self::BatchAccounts(_) => ("batchAccounts", &BATCH_VERSIONS),
            Self::StorageAccounts(_) => ("storageAccounts", &STORAGE_VERSIONS),
        };
        if versions.contains(&version) {
            return Ok(());
        }
        let message = format!(
            "No registered resource provider found for API version '{version}' for type '{kind}'. The supported \
             api-versions are '{}'.",
            versions.join(", ")
        );
        Err(ArmError::new(StatusCode::BAD_REQUEST, "NoRegisteredProviderFound", message))
    }
}

fn subscription_answer(id: &str, number: usize) -> Value {
    json!({
        "id": format!("/subscriptions/{id}"),
        "subscriptionId": id,
        "tenantId": "00000000-0000-0000-0000-0000000000aa",
        "displayName": format!("Simulated {number}"),
        "state": "Enabled",
        "authorizationSource": "RoleBased",
    })
}

fn storage_account_of(name: &str, subscription: &str, ready: &ReadyStorage) -> Value {
    // With the account as the path, as Azurite has it.
    let blob = ready.endpoint.rsplit_once('/').map_or("", |(server, _)| server);
    json!({
        "id": format!(
            "/subscriptions/{subscription}/resourceGroups/simulated/providers/Microsoft.Storage/storageAccounts/{name}"
        ),
        "name": name,
        "type": "Microsoft.Storage/storageAccounts",
        "location": "westeurope",
        "kind": "StorageV2",
        "sku": { "name": "Standard_LRS", "tier": "Standard" },
        "properties": {
            "provisioningState": "Succeeded",
            "publicNetworkAccess": "Enabled",
            "primaryEndpoints": { "blob": format!("{blob}/{name}/") },
        },
    })
}

fn account_of(account: &AccountScenario, ready: &ReadyAccount) -> Value {
    let (mode, modes): (&str, &[(AuthMode, &str)]) = match account.pool_allocation_mode {
        PoolAllocationMode::BatchService => {
            ("BatchService", &[(AuthMode::SharedKey, "SharedKey"), (AuthMode::Entra, "AAD")])
        }
        PoolAllocationMode::UserSubscription => ("UserSubscription", &[(AuthMode::Entra, "AAD")]),
    };
    let mut allowed: Vec<&str> =
        modes.iter().filter(|(mode, _)| account.accepts(*mode)).map(|(_, name)| *name).collect();
    allowed.push("TaskAuthenticationToken");
    let (name, subscription) = (&account.name, &account.subscription);
    json!({
        "id": format!(
            "/subscriptions/{subscription}/resourceGroups/simulated/providers/Microsoft.Batch/batchAccounts/{name}"
        ),
        "name": name,
        "type": "Microsoft.Batch/batchAccounts",
        "location": "westeurope",
        "identity": { "type": "None" },
        "properties": {
            // Host and port, without a scheme: the caller has to add it.
            "accountEndpoint": ready.endpoint.strip_prefix("http://").unwrap_or(&ready.endpoint),
            "provisioningState": "Succeeded",
            "poolAllocationMode": mode,
            "publicNetworkAccess": "Enabled",
            "poolQuota": 100,
            "allowedAuthenticationModes": allowed,
        },
    })
}

/// Opaque to clients: nobody should increment a number found in a link.
fn write_token(from: usize) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(format!("from {from}"))
}

fn read_token(token: &str) -> Option<usize> {
    let text = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    text.strip_prefix("from ")?.parse().ok()
}

fn add_headers(response: &mut Response<ReplyBody>) {
    let unauthorized = response.status() == StatusCode::UNAUTHORIZED;
    let headers = response.headers_mut();
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, json);
    for name in ["x-ms-request-id", "x-ms-correlation-request-id"] {
        if let Ok(id) = HeaderValue::from_str(&Uuid::new_v4().to_string()) {
            headers.insert(name, id);
        }
    }
    if unauthorized {
        let how = "Bearer authorization_uri=\"https://login.windows.net/\", error=\"invalid_token\"";
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(how));
    } else {
        let left = HeaderValue::from_static("11998");
        headers.insert("x-ms-ratelimit-remaining-subscription-reads", left);
    }
}
