//! One request for a token, with the chosen credential.

use std::error::Error;
use std::sync::Arc;

use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{AccessToken, TokenCredential};
use azure_core::error::ErrorKind;
use azure_core::http::{ClientOptions, ExponentialRetryOptions, RetryOptions, Transport};
use azure_identity::{
    ClientAssertionCredentialOptions, ClientSecretCredential, ClientSecretCredentialOptions,
    DeveloperToolsCredential, DeveloperToolsCredentialOptions, Executor, ManagedIdentityCredential,
    ManagedIdentityCredentialOptions, UserAssignedId, WorkloadIdentityCredential,
    WorkloadIdentityCredentialOptions,
};
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::scrub;
use serde::Deserialize;

use super::chooser::{CredentialChoice, CredentialChooser, CredentialSource};
use super::developer_tools::CheckedExecutor;
use super::settings::EntraSettings;
use crate::cloud::Cloud;
use crate::redact;
use crate::sdk_transport::client_options;

/// What to request, and with which credential.
pub(crate) struct TokenRequest {
    transport: Transport,
    scope: String,
    choice: CredentialChoice,
}

impl TokenRequest {
    /// Chooses the credential; sends nothing. If a credential lacks something, the failure names it.
    pub(crate) fn new(
        transport: Transport,
        cloud: Cloud,
        resource: &str,
        settings: &EntraSettings,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Failure> {
        let choice = CredentialChooser { cloud, settings, env }.choose()?;
        Ok(Self { transport, scope: scope_of(resource), choice })
    }

    /// The credential and why it was chosen, for people.
    pub(crate) fn description(&self) -> String {
        format!("{} ({})", self.choice.source.name(), self.choice.why)
    }

    /// Requests a token once, apart from the SDK's own few retries: requesting it twice does no harm.
    pub(crate) async fn send(&self) -> Result<AccessToken, Failure> {
        let credential = self.credential().map_err(|error| token_failure(&error))?;
        credential.get_token(&[&self.scope], None).await.map_err(|error| token_failure(&error))
    }

    fn credential(&self) -> azure_core::Result<Arc<dyn TokenCredential>> {
        Ok(match &self.choice.source {
            CredentialSource::WorkloadIdentity { tenant, client_id, token_file, authority } => {
                let client_options = self.options(Some(authority));
                // It is sent, so it can be echoed. The SDK reads it again, and says what is wrong with it.
                if let Ok(assertion) = std::fs::read_to_string(token_file) {
                    scrub::learn(&assertion);
                }
                WorkloadIdentityCredential::new(Some(WorkloadIdentityCredentialOptions {
                    credential_options: ClientAssertionCredentialOptions { client_options },
                    client_id: Some(client_id.clone()),
                    tenant_id: Some(tenant.clone()),
                    token_file_path: Some(token_file.clone()),
                }))?
            }
            CredentialSource::ManagedIdentity { client_id } => {
                let user_assigned_id = client_id.clone().map(UserAssignedId::ClientId);
                let client_options = self.options(None);
                let options = ManagedIdentityCredentialOptions { user_assigned_id, client_options };
                ManagedIdentityCredential::new(Some(options))?
            }
            CredentialSource::ClientSecret { tenant, client_id, secret, authority } => {
                let options = ClientSecretCredentialOptions { client_options: self.options(Some(authority)) };
                ClientSecretCredential::new(tenant, client_id.clone(), secret.clone(), Some(options))?
            }
            CredentialSource::DeveloperTools => {
                let executor: Option<Arc<dyn Executor>> = Some(CheckedExecutor::new());
                DeveloperToolsCredential::new(Some(DeveloperToolsCredentialOptions { executor }))?
            }
        })
    }

    fn options(&self, authority: Option<&str>) -> ClientOptions {
        let retry = RetryOptions::exponential(ExponentialRetryOptions {
            max_retries: 2,
            max_total_elapsed: azure_core::time::Duration::seconds(10),
            ..Default::default()
        });
        let cloud = authority.map(|host| {
            let mut custom = CustomConfiguration::default();
            host.clone_into(&mut custom.authority_host);
            Arc::new(CloudConfiguration::from(custom))
        });
        ClientOptions { cloud, ..client_options(self.transport.clone(), retry) }
    }
}

/// The scope of a resource. If the resource ends in a slash, the scope has two, and needs them.
fn scope_of(resource: &str) -> String {
    format!("{resource}/.default")
}

/// A refused credential stops the account. An unreachable identity service is a passing failure, and the request that
/// needed the token was not sent.
fn token_failure(error: &azure_core::Error) -> Failure {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    let mut passing = false;
    let mut said = None;
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<azure_core::Error>() {
            passing |= match error.kind() {
                ErrorKind::Connection => true,
                ErrorKind::HttpResponse { status, raw_response, .. } => {
                    said =
                        said.or_else(|| raw_response.as_ref().and_then(|answer| description(answer.body())));
                    matches!(u16::from(*status), 408 | 429 | 500..)
                }
                _ => false,
            };
        }
        passing |= error.is::<reqwest::Error>();
        next = error.source();
    }
    let class = if passing { FailureClass::NotSent } else { FailureClass::Auth };
    let chain = without_boilerplate(&redact::error_chain(error));
    let message = match said {
        // The SDK has these words for every 400 of an identity service, and not what the service says.
        Some(said) if chain.contains("has not been assigned to this resource") => said,
        _ => chain,
    };
    Failure::new(class, format!("no token: {message}"))
}

/// What an identity service says is wrong.
fn description(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Refused {
        error_description: Option<String>,
        message: Option<String>,
        error: Option<serde_json::Value>,
    }
    let refused: Refused = serde_json::from_slice(body).ok()?;
    let of_error = || match refused.error? {
        serde_json::Value::String(text) => Some(text),
        error => error["message"].as_str().map(str::to_owned),
    };
    let said = refused.error_description.or(refused.message).or_else(of_error)?;
    Some(redact::one_line(&said, redact::LONGEST)).filter(|said| !said.is_empty())
}

/// The text of an error without the words that stand in every one: what tells it apart comes first.
fn without_boilerplate(chain: &str) -> String {
    let text = chain.replace("Multiple errors were encountered while attempting to authenticate: ", "");
    let mut words = Vec::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("To troubleshoot, visit ") {
        words.push(before.trim());
        rest = after.split_once(' ').map_or("", |(_, after)| after);
    }
    words.push(rest.trim());
    words.retain(|part| !part.is_empty());
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use azure_core::http::headers::Headers;
    use azure_core::http::request::Body;
    use azure_core::http::{AsyncRawResponse, HttpClient, Request, StatusCode};
    use parking_lot::Mutex;
    use url::Url;

    use super::super::settings::CredentialKind;
    use super::*;
    use crate::http::http_client;
    use crate::test_server::{Reply, TestServer};

    use crate::sdk_transport::transport;

    type Vars = &'static [(&'static str, &'static str)];

    const SECRET: [(&str, &str); 3] =
        [("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_ID", "c"), ("AZURE_CLIENT_SECRET", "hunter2")];

    fn env(vars: Vars) -> impl Fn(&str) -> Option<String> {
        |name| vars.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    }

    fn of_kind(credential: CredentialKind) -> EntraSettings {
        EntraSettings { credential, ..Default::default() }
    }

    fn request(http: reqwest::Client, settings: &EntraSettings, vars: Vars) -> TokenRequest {
        TokenRequest::new(transport(http), Cloud::Public, "https://r", settings, env(vars)).unwrap()
    }

    #[test]
    fn every_choice_says_why() {
        let says = |kind, vars| request(http_client(1).unwrap(), &of_kind(kind), vars).description();
        for (kind, vars, expected) in [
            (
                CredentialKind::Auto,
                &SECRET[..],
                "client secret (AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET are set)",
            ),
            (
                CredentialKind::Auto,
                &[("IDENTITY_ENDPOINT", "x")],
                "managed identity (IDENTITY_ENDPOINT is set)",
            ),
            (CredentialKind::Auto, &[], "developer tools (nothing else is set up: az, then azd)"),
            (CredentialKind::ManagedIdentity, &[], "managed identity (chosen in the config)"),
            (CredentialKind::DeveloperTools, &[], "developer tools (chosen in the config: az, then azd)"),
        ] {
            assert_eq!(says(kind, vars), expected);
        }
    }

    /// A client that sends every request to a proxy, which accepts hosts that do not exist.
    fn through(proxy: &TestServer) -> reqwest::Client {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let proxy = reqwest::Proxy::all(proxy.url()).unwrap();
        reqwest::Client::builder().proxy(proxy).build().unwrap()
    }

    #[tokio::test]
    async fn tokens_for_a_secret_are_asked_of_the_authority() {
        let proxy =
            TestServer::start(|_| Reply::raw("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")).await;
        let vars = &[SECRET[0], SECRET[1], SECRET[2], ("AZURE_AUTHORITY_HOST", "https://env.example")];
        let settings = EntraSettings {
            authority: Some(Url::parse("https://config.example:8443").unwrap()),
            ..Default::default()
        };
        for (settings, line) in [
            (EntraSettings::default(), "CONNECT env.example:443 HTTP/1.1"),
            (settings, "CONNECT config.example:8443 HTTP/1.1"),
        ] {
            let failure = request(through(&proxy), &settings, vars).send().await.unwrap_err();
            assert_eq!(failure.class, FailureClass::NotSent);
            assert!(!failure.to_string().contains("hunter2"), "{failure}");
            assert_eq!(proxy.requests().last().unwrap().line(), line);
        }
    }

    /// Stands in for the network: stores URL and body of each request, and answers with a token.
    #[derive(Debug, Default)]
    struct Recorder(Mutex<Vec<(String, String)>>);

    impl HttpClient for Recorder {
        fn execute_request<'a, 'b, 'c>(
            &'a self,
            request: &'b Request,
        ) -> Pin<Box<dyn Future<Output = azure_core::Result<AsyncRawResponse>> + Send + 'c>>
        where
            'a: 'c,
            'b: 'c,
            Self: 'c,
        {
            let Body::Bytes(body) = request.body() else { panic!("a body in one piece") };
            let body = String::from_utf8(body.to_vec()).unwrap();
            self.0.lock().push((request.url().to_string(), body));
            let answer =
                r#"{"token_type":"Bearer","expires_in":3600,"ext_expires_in":3600,"access_token":"TOKEN"}"#;
            Box::pin(async move { Ok(AsyncRawResponse::from_bytes(StatusCode::Ok, Headers::new(), answer)) })
        }
    }

    async fn recorded(settings: &EntraSettings, vars: Vars) -> (String, String) {
        let recorder = Arc::new(Recorder::default());
        let transport = Transport::new(recorder.clone());
        let request =
            TokenRequest::new(transport, Cloud::UsGovernment, "https://r/", settings, env(vars)).unwrap();
        assert_eq!(request.send().await.unwrap().token.secret(), "TOKEN");
        recorder.0.lock().pop().unwrap()
    }

    #[tokio::test]
    async fn a_client_secret_is_sent_with_its_client_to_its_tenant() {
        let (url, body) = recorded(&EntraSettings::default(), &SECRET).await;
        assert_eq!(url, "https://login.microsoftonline.us/t/oauth2/v2.0/token");
        assert_eq!(
            body,
            "client_id=c&client_secret=hunter2&grant_type=client_credentials&scope=https%3A%2F%2Fr%2F%2F.default"
        );
    }

    #[tokio::test]
    async fn a_workload_identity_trades_the_token_in_its_file() {
        let vars = &[
            ("AZURE_FEDERATED_TOKEN_FILE", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")),
            ("AZURE_CLIENT_ID", "c"),
        ];
        let settings = EntraSettings {
            tenant_id: Some("mine".into()),
            authority: Some(Url::parse("https://login.example:8443").unwrap()),
            ..of_kind(CredentialKind::WorkloadIdentity)
        };
        let (url, body) = recorded(&settings, vars).await;
        assert_eq!(url, "https://login.example:8443/mine/oauth2/v2.0/token");
        assert!(body.contains("client_assertion=%5Bpackage%5D") && body.contains("client_id=c&"), "{body}");
    }

    #[tokio::test]
    async fn a_user_assigned_identity_is_asked_for_by_its_client_id() {
        let proxy = TestServer::start(|_| {
            Reply::json("200 OK", r#"{"access_token":"TOKEN","expires_in":"3600","expires_on":"4102444800","resource":"r","token_type":"Bearer"}"#)
        })
        .await;
        let settings =
            EntraSettings { client_id: Some("id-7".into()), ..of_kind(CredentialKind::ManagedIdentity) };

        let token = request(through(&proxy), &settings, &[]).send().await.unwrap();

        assert_eq!(token.token.secret(), "TOKEN");
        let line = proxy.requests()[0].line().to_owned();
        assert!(line.starts_with("GET http://169.254.169.254/metadata/identity/oauth2/token?"), "{line}");
        assert!(line.contains("client_id=id-7"), "{line}");
    }

    #[test]
    fn the_scope_for_batch_has_two_slashes() {
        assert_eq!(scope_of(Cloud::Public.batch_resource()), "https://batch.core.windows.net//.default");
    }

    #[tokio::test]
    async fn an_identity_service_is_quoted_and_not_what_the_sdk_makes_of_it() {
        let proxy = TestServer::start(|_| {
            let body = r#"{"statusCode":400,"message":"Multiple user assigned identities exist, please specify the clientId / resourceId of the identity in the token request"}"#;
            Reply::json("400 Bad Request", body)
        })
        .await;
        let settings = of_kind(CredentialKind::ManagedIdentity);
        let failure = request(through(&proxy), &settings, &[]).send().await.unwrap_err();
        assert_eq!(failure.class, FailureClass::Auth);
        assert!(
            failure.message.starts_with("no token: Multiple user assigned identities exist, please specify"),
            "{failure}"
        );
    }

    #[test]
    fn boilerplate_is_taken_off() {
        let chain = "Multiple errors were encountered while attempting to authenticate: AzureCliCredential \
                     authentication failed. az not found on PATH To troubleshoot, visit https://aka.ms/a#azure-cli - az \
                     not found on PATH AzureDeveloperCliCredential authentication failed. azd not found on PATH To \
                     troubleshoot, visit https://aka.ms/a#azd";
        assert_eq!(
            without_boilerplate(chain),
            "AzureCliCredential authentication failed. az not found on PATH - az not found on PATH \
             AzureDeveloperCliCredential authentication failed. azd not found on PATH"
        );
        assert_eq!(without_boilerplate("cannot connect"), "cannot connect");
    }

    #[tokio::test]
    async fn the_text_of_an_identity_service_that_refuses_is_shown_without_its_tokens() {
        let server = TestServer::start(|_| {
            Reply::json(
                "400 Bad Request",
                r#"{"error":"bad eyJhbGciOiJSUzI1NiJ9.TOPSECRET.x","error_description":"no"}"#,
            )
        })
        .await;
        let http = http_client(1).unwrap();
        let options = client_options(transport(http), RetryOptions::none());
        let error = azure_core::http::Pipeline::new(None, None, options, vec![], vec![], None)
            .send(
                &azure_core::http::Context::default(),
                &mut Request::new(server.url().parse().unwrap(), azure_core::http::Method::Get),
                None,
            )
            .await;
        let error = match error {
            Ok(answer) => panic!("{answer:?}"),
            Err(error) => {
                azure_core::Error::with_error(ErrorKind::Credential, error, "authentication failed")
            }
        };
        let failure = token_failure(&error);
        assert_eq!(failure.class, FailureClass::Auth);
        assert!(!failure.to_string().contains("TOPSECRET"), "{failure}");
    }
}
