//! A client of storage for the tests. It writes the text to sign line by line, as the reference does.

use std::collections::HashMap;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use fleetlogs_sim::Simulator;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::{Method, RequestBuilder, Response};
use sha2::Sha256;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{http, token};

/// HMAC-SHA256 of `text`, for a query.
pub(crate) fn signature(key: &str, text: &str) -> String {
    let key = BASE64_STANDARD.decode(key).expect("Base64");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any length is a key");
    mac.update(text.as_bytes());
    let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
    signature.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
}

/// In this many seconds, without fractions.
pub(crate) fn later(seconds: i64) -> String {
    let date = OffsetDateTime::now_utc() + time::Duration::seconds(seconds);
    date.replace_nanosecond(0).expect("a second").format(&Rfc3339).expect("a date")
}

/// Status and error code of storage.
pub(crate) fn code(response: &Response) -> (u16, &str) {
    let code = response.headers().get("x-ms-error-code").map_or("", |code| code.to_str().expect("text"));
    (response.status().as_u16(), code)
}

/// A client that has the key of the storage account, or a token for it.
pub(crate) struct Storage {
    pub(crate) endpoint: String,
    pub(crate) account: String,
    pub(crate) key: String,
    pub(crate) token: String,
}

/// A user delegation key, with its fields by name.
pub(crate) type DelegationKey = HashMap<String, String>;

impl Storage {
    pub(crate) async fn new(simulator: &Simulator) -> Self {
        let storage = &simulator.ready().storage;
        Self {
            endpoint: storage.endpoint.clone(),
            account: storage.account.clone(),
            key: storage.key.clone(),
            token: token(simulator, "https://storage.azure.com/").await,
        }
    }

    /// A request with the token, for a path after the endpoint.
    pub(crate) fn with_token(&self, method: Method, path: &str) -> RequestBuilder {
        let request = http().request(method, format!("{}{path}", self.endpoint));
        request.bearer_auth(&self.token).header("x-ms-version", "2022-11-02")
    }

    /// A request with a SAS, for a path after the endpoint.
    pub(crate) async fn with_sas(&self, method: Method, path: &str, sas: &str) -> Response {
        let joint = if path.contains('?') { '&' } else { '?' };
        let request = http().request(method, format!("{}{path}{joint}{sas}", self.endpoint));
        request.header("x-ms-blob-type", "BlockBlob").body("").send().await.expect("an answer")
    }

    /// A SAS for a container, signed with the account key.
    pub(crate) fn service_sas(&self, container: &str, permissions: &str) -> String {
        let (expiry, account) = (later(3600), &self.account);
        let text = format!(
            "{permissions}\n\n{expiry}\n/blob/{account}/{container}\n\n\n\n2022-11-02\nc\n\n\n\n\n\n\n"
        );
        let signature = signature(&self.key, &text);
        format!("sv=2022-11-02&sr=c&sp={permissions}&se={expiry}&sig={signature}")
    }

    /// A SAS for resource types of the account, such as `co`.
    pub(crate) fn account_sas(&self, kinds: &str, permissions: &str) -> String {
        let (expiry, account) = (later(3600), &self.account);
        let text = format!("{account}\n{permissions}\nb\n{kinds}\n\n{expiry}\n\n\n2022-11-02\n\n");
        let signature = signature(&self.key, &text);
        format!("sv=2022-11-02&ss=b&srt={kinds}&sp={permissions}&se={expiry}&sig={signature}")
    }

    /// Asks for a user delegation key.
    pub(crate) async fn ask_for_key(&self, start: &str, expiry: &str) -> Response {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><KeyInfo><Start>{start}</Start><Expiry>{expiry}</Expiry></KeyInfo>"
        );
        let request = self.with_token(Method::POST, "?restype=service&comp=userdelegationkey");
        request.body(body).send().await.expect("an answer")
    }

    /// A user delegation key that is valid from now on, for this many seconds.
    pub(crate) async fn delegation_key(&self, seconds: i64) -> DelegationKey {
        self.delegation_key_from(0, seconds).await
    }

    /// A user delegation key that is valid between these two times, in seconds from now.
    pub(crate) async fn delegation_key_from(&self, start: i64, end: i64) -> DelegationKey {
        let answer = self.ask_for_key(&later(start), &later(end)).await;
        assert_eq!(code(&answer), (200, ""));
        let xml = answer.text().await.expect("text");
        ["SignedOid", "SignedTid", "SignedStart", "SignedExpiry", "SignedService", "SignedVersion", "Value"]
            .into_iter()
            .map(|name| {
                let (_, rest) =
                    xml.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("{name}: {xml}"));
                (name.to_owned(), rest.split('<').next().unwrap_or_default().to_owned())
            })
            .collect()
    }

    /// A SAS for a container, signed with a user delegation key.
    pub(crate) fn delegated_sas(
        &self,
        key: &DelegationKey,
        version: &str,
        container: &str,
        permissions: &str,
        expiry: &str,
    ) -> String {
        let field = |name: &str| key[name].as_str();
        let (oid, tid) = (field("SignedOid"), field("SignedTid"));
        let (start, end) = (field("SignedStart"), field("SignedExpiry"));
        let (service, key_version) = (field("SignedService"), field("SignedVersion"));
        let account = &self.account;
        let delegated_user = if version >= "2025-07-05" { "\n\n" } else { "" };
        let text = format!(
            "{permissions}\n\n{expiry}\n/blob/{account}/{container}\n{oid}\n{tid}\n{start}\n{end}\n{service}\n\
             {key_version}\n\n\n\n{delegated_user}\n\n{version}\nc\n\n\n\n\n\n\n"
        );
        let signature = signature(field("Value"), &text);
        format!(
            "sv={version}&sr=c&sp={permissions}&se={expiry}&skoid={oid}&sktid={tid}&skt={start}&ske={end}\
             &sks={service}&skv={key_version}&sig={signature}"
        )
    }
}
