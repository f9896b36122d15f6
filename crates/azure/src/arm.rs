//! The Batch accounts of a subscription, listed by Azure Resource Manager (recorded: `GET
//! /subscriptions/{id}/providers/Microsoft.Batch/batchAccounts?api-version=2024-07-01`).
//!
//! The endpoint of an account is taken from the answer, never built from its name and region.

use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::sas::is_https_or_loopback;
use serde::Deserialize;
use url::{Position, Url};

use crate::arm_call::read_list;
use crate::redact::{one_line, verbatim_if_harmless};
use crate::token::TokenSource;

const API_VERSION: &str = "2024-07-01";

/// A Batch account of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundAccount {
    /// Its name.
    pub name: String,
    /// Its region.
    pub location: String,
    /// Its endpoint.
    pub endpoint: Url,
    /// Whether it accepts its keys; accounts whose pools are in the user's own subscription do not.
    pub takes_shared_key: bool,
    /// Whether it can be reached from outside its network.
    pub is_public: bool,
}

/// The accounts of a subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedAccounts {
    /// Those that can be called.
    pub found: Vec<FoundAccount>,
    /// The names of those without an endpoint that can be called: an account whose creation failed has none.
    pub without_endpoint: Vec<String>,
}

/// Lists the Batch accounts of a subscription. `management` is the endpoint of Azure Resource Manager.
pub async fn list_accounts(
    http: &reqwest::Client,
    management: &Url,
    subscription: &str,
    tokens: &TokenSource,
) -> Result<ListedAccounts, Failure> {
    let mut url = management.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend([
            "subscriptions",
            subscription,
            "providers",
            "Microsoft.Batch",
            "batchAccounts",
        ]);
    }
    url.set_query(Some(&format!("api-version={API_VERSION}")));
    let mut listed = ListedAccounts::default();
    let accounts: Vec<AccountAnswer> =
        read_list(http, management, tokens, url, "the answer is not a list of accounts").await?;
    for account in accounts {
        if is_too_long(&account.name) {
            return Err(Failure::new(FailureClass::Refused, "an account has a name that is too long"));
        }
        let name = account.name.clone();
        match account.into_found(management) {
            Some(account) => listed.found.push(account),
            None => listed.without_endpoint.push(name),
        }
    }
    Ok(listed)
}

/// Names have 24 characters at most.
pub(crate) fn is_too_long(name: &str) -> bool {
    name.chars().nth(256).is_some()
}

#[derive(Deserialize)]
pub(crate) struct AccountAnswer {
    name: String,
    #[serde(default)]
    location: String,
    #[serde(default)]
    properties: AccountProperties,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AccountProperties {
    account_endpoint: Option<String>,
    allowed_authentication_modes: Option<Vec<String>>,
    public_network_access: Option<String>,
}

impl AccountAnswer {
    /// None without an endpoint that can be called.
    pub(crate) fn into_found(self, management: &Url) -> Option<FoundAccount> {
        let AccountProperties { account_endpoint, allowed_authentication_modes, public_network_access } =
            self.properties;
        // A host without a scheme. A simulated account is on this machine, like the list that names it.
        let scheme = if management.scheme() == "http" { "http" } else { "https" };
        let endpoint = Url::parse(&format!("{scheme}://{}", account_endpoint?)).ok()?;
        let bare = |url: &Url| {
            is_https_or_loopback(url)
                && matches!(&url[Position::BeforePath..], "" | "/")
                && url.username().is_empty()
                && url.password().is_none()
        };
        if !bare(&endpoint) {
            return None;
        }
        let is = |text: &Option<String>, word: &str| {
            text.as_ref().is_none_or(|text| text.eq_ignore_ascii_case(word))
        };
        Some(FoundAccount {
            name: verbatim_if_harmless(self.name),
            location: one_line(&self.location, 100),
            endpoint,
            takes_shared_key: allowed_authentication_modes
                .is_none_or(|modes| modes.iter().any(|mode| mode.eq_ignore_ascii_case("SharedKey"))),
            is_public: is(&public_network_access, "Enabled"),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use azure_core::credentials::AccessToken;
    use time::OffsetDateTime;

    use super::*;
    use crate::http::http_client;
    use crate::test_server::{Reply, TestServer};

    fn tokens() -> TokenSource {
        TokenSource::new(|| {
            let token = AccessToken::new(
                "fake-token".to_owned(),
                OffsetDateTime::now_utc() + Duration::from_secs(3600),
            );
            Box::pin(std::future::ready(Ok(token)))
        })
    }

    /// Lists accounts from a server with these answers, counted from 1; `{server}` stands for the server's URL.
    async fn list(
        pages: impl Fn(usize) -> (&'static str, &'static str) + Send + Sync + 'static,
    ) -> (Result<ListedAccounts, Failure>, usize) {
        let own = std::sync::Arc::new(std::sync::OnceLock::<String>::new());
        let url = own.clone();
        let server = TestServer::start(move |number| {
            let (status, body) = pages(number);
            let own = url.get().map_or("", |url| url.trim_end_matches('/'));
            Reply::json(status, &body.replace("{server}", own))
        })
        .await;
        own.set(server.url()).unwrap();
        let url = Url::parse(&server.url()).unwrap();
        let found = list_accounts(&http_client(1).unwrap(), &url, "sub", &tokens()).await;
        (found, server.requests().len())
    }

    #[tokio::test]
    async fn all_pages_are_read_and_endpoints_are_the_answers_own() {
        let (found, requests) = list(|page| {
            let first = r#"{"value":[{"name":"a","location":"westeurope","properties":{"accountEndpoint":"127.0.0.1:1",
                "allowedAuthenticationModes":["AAD"],"publicNetworkAccess":"Disabled"}}],"nextLink":"{server}/next?x=1"}"#;
            let second = r#"{"value":[{"name":"b","properties":{"accountEndpoint":"127.0.0.1:2"}}]}"#;
            ("200 OK", if page == 1 { first } else { second })
        })
        .await;
        let found = found.unwrap().found;
        assert_eq!(requests, 2);
        assert_eq!((found[0].takes_shared_key, found[0].is_public), (false, false));
        assert_eq!((found[1].takes_shared_key, found[1].is_public), (true, true));
        assert_eq!(found[1].endpoint.as_str(), "http://127.0.0.1:2/");
    }

    #[tokio::test]
    async fn pages_that_lead_to_each_other_in_turn_end() {
        let (found, requests) = list(|page| {
            let a = r#"{"value":[],"nextLink":"{server}/next?x=a"}"#;
            let b = r#"{"value":[],"nextLink":"{server}/next?x=b"}"#;
            ("200 OK", if page % 2 == 1 { a } else { b })
        })
        .await;
        let failure = found.unwrap_err();
        assert_eq!((failure.class, requests), (FailureClass::Refused, 3));
        assert!(failure.message.contains("a page links to one that was already read"), "{failure}");
    }

    #[tokio::test]
    async fn an_account_without_an_endpoint_is_named_and_the_others_are_found() {
        for properties in [
            r#","properties":{"provisioningState":"Failed"}"#,
            r#","properties":{"accountEndpoint":null}"#,
            r#","properties":{"accountEndpoint":""}"#,
            r#","properties":{"accountEndpoint":"evil.example/path"}"#,
            r#","properties":{"accountEndpoint":"user@127.0.0.1:1"}"#,
            "",
        ] {
            let body = format!(
                r#"{{"value":[{{"name":"halfmade","location":"x"{properties}}},
                    {{"name":"good","properties":{{"accountEndpoint":"127.0.0.1:2"}}}}]}}"#
            );
            let body: &'static str = body.leak();
            let listed = list(move |_| ("200 OK", body)).await.0.unwrap();
            assert_eq!(listed.without_endpoint, ["halfmade"], "{body}");
            let names: Vec<_> = listed.found.iter().map(|account| account.name.as_str()).collect();
            assert_eq!(names, ["good"], "{body}");
        }
    }

    #[tokio::test]
    async fn what_is_no_list_and_a_link_elsewhere_are_refused() {
        for body in [r#"{"value":[],"nextLink":"http://127.0.0.1:9/next"}"#, "[]"] {
            let (found, requests) = list(move |_| ("200 OK", body)).await;
            assert_eq!(found.unwrap_err().class, FailureClass::Refused, "{body}");
            assert_eq!(requests, 1);
        }
    }

    #[tokio::test]
    async fn a_refusal_says_why() {
        let body = r#"{"error":{"code":"AuthorizationFailed","message":"no read permission"}}"#;
        let (found, _) = list(move |_| ("403 Forbidden", body)).await;
        let failure = found.unwrap_err();
        assert_eq!(failure.class, FailureClass::Auth);
        assert_eq!(failure.to_string(), "403 AuthorizationFailed: no read permission");
    }
}
