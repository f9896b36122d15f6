//! Which credential is used, from the config and the environment, and one request to it.
//!
//! The SDK has no chain of credentials, so the choice is made here; the first that is set up is the only one tried.
//! For each request the credential is made anew: the SDK's own cache would hand a refused token out again.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{AccessToken, Secret, TokenCredential};
use azure_core::error::ErrorKind;
use azure_core::http::{ClientOptions, ExponentialRetryOptions, RetryOptions, Transport};
use azure_identity::{
    ClientAssertionCredentialOptions, ClientSecretCredential, ClientSecretCredentialOptions,
    DeveloperToolsCredential, ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId,
    WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};
use fleetlogs_model::failure::{Failure, FailureClass};
use url::Url;

use crate::cloud::Cloud;
use crate::redact;
use crate::sdk_transport::client_options;

const AUTHORITY_HOST: &str = "AZURE_AUTHORITY_HOST";
const CLIENT_ID: &str = "AZURE_CLIENT_ID";
const CLIENT_SECRET: &str = "AZURE_CLIENT_SECRET";
const TENANT_ID: &str = "AZURE_TENANT_ID";
const TOKEN_FILE: &str = "AZURE_FEDERATED_TOKEN_FILE";

/// How to get tokens of Entra; the default finds a credential by itself.
#[derive(Clone, Default)]
pub struct EntraSettings {
    /// Which credential to use.
    pub credential: CredentialKind,
    /// The directory of the application; else `AZURE_TENANT_ID`. Managed identities and developer tools know
    /// their own.
    pub tenant_id: Option<String>,
    /// The application, or the user-assigned managed identity; else `AZURE_CLIENT_ID`.
    pub client_id: Option<String>,
    /// The application's secret; else `AZURE_CLIENT_SECRET`.
    pub client_secret: Option<fleetlogs_model::secret::Secret>,
    /// Where client secrets and workload identities are turned into tokens, over https; else
    /// `AZURE_AUTHORITY_HOST`, else [`Cloud::authority_host`].
    pub authority: Option<Url>,
}

impl fmt::Debug for EntraSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntraSettings")
            .field("credential", &self.credential)
            .field("tenant_id", &self.tenant_id)
            .field("client_id", &self.client_id)
            .field("client_secret", &self.client_secret)
            // A URL may hold a password.
            .field("authority", &self.authority.as_ref().map(|url| url.origin().ascii_serialization()))
            .finish()
    }
}

/// A way to get tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CredentialKind {
    /// The first of the others, in their order here, that is set up; developer tools if none is.
    #[default]
    Auto,
    /// A token of Kubernetes, in the file that `AZURE_FEDERATED_TOKEN_FILE` names, traded for one of Entra.
    WorkloadIdentity,
    /// The identity of the machine, or of the container app.
    ManagedIdentity,
    /// An application and its secret.
    ClientSecret,
    /// Whoever is signed in to `az`, or else to `azd`.
    DeveloperTools,
}

/// What to ask for, and of whom.
pub(crate) struct TokenRequest {
    transport: Transport,
    scope: String,
    choice: Choice,
}

/// A credential, and why it is the one.
#[derive(Debug)]
struct Choice {
    source: Source,
    why: &'static str,
}

/// Where tokens come from.
#[derive(Debug, PartialEq, Eq)]
enum Source {
    WorkloadIdentity { tenant: String, client_id: String, token_file: PathBuf, authority: String },
    ManagedIdentity { client_id: Option<String> },
    ClientSecret { tenant: String, client_id: String, secret: Secret, authority: String },
    DeveloperTools,
}

impl TokenRequest {
    /// Chooses the credential; nothing is sent yet. A credential that lacks something is a failure that names it.
    pub(crate) fn new(
        transport: Transport,
        cloud: Cloud,
        resource: &str,
        settings: &EntraSettings,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Failure> {
        let choice = Known { cloud, settings, env }.choose()?;
        Ok(Self { transport, scope: scope_of(resource), choice })
    }

    /// The credential and why it is the one, for people.
    pub(crate) fn description(&self) -> String {
        format!("{} ({})", self.choice.source.name(), self.choice.why)
    }

    /// Asks for a token once, but for the SDK's own few retries: asking twice does no harm here.
    pub(crate) async fn send(&self) -> Result<AccessToken, Failure> {
        let credential = self.credential().map_err(|error| failure(&error))?;
        credential.get_token(&[&self.scope], None).await.map_err(|error| failure(&error))
    }

    fn credential(&self) -> azure_core::Result<Arc<dyn TokenCredential>> {
        Ok(match &self.choice.source {
            Source::WorkloadIdentity { tenant, client_id, token_file, authority } => {
                let client_options = self.options(Some(authority));
                WorkloadIdentityCredential::new(Some(WorkloadIdentityCredentialOptions {
                    credential_options: ClientAssertionCredentialOptions { client_options },
                    client_id: Some(client_id.clone()),
                    tenant_id: Some(tenant.clone()),
                    token_file_path: Some(token_file.clone()),
                }))?
            }
            Source::ManagedIdentity { client_id } => {
                let user_assigned_id = client_id.clone().map(UserAssignedId::ClientId);
                let client_options = self.options(None);
                let options = ManagedIdentityCredentialOptions { user_assigned_id, client_options };
                ManagedIdentityCredential::new(Some(options))?
            }
            Source::ClientSecret { tenant, client_id, secret, authority } => {
                let options = ClientSecretCredentialOptions { client_options: self.options(Some(authority)) };
                ClientSecretCredential::new(tenant, client_id.clone(), secret.clone(), Some(options))?
            }
            Source::DeveloperTools => DeveloperToolsCredential::new(None)?,
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

impl Source {
    fn name(&self) -> &'static str {
        match self {
            Self::WorkloadIdentity { .. } => "workload identity",
            Self::ManagedIdentity { .. } => "managed identity",
            Self::ClientSecret { .. } => "client secret",
            Self::DeveloperTools => "developer tools",
        }
    }
}

/// The scope of a resource. Where the resource ends in a slash, the scope has two, and needs them.
fn scope_of(resource: &str) -> String {
    format!("{resource}/.default")
}

/// What config and environment say. Empty values count as absent.
struct Known<'a, E> {
    cloud: Cloud,
    settings: &'a EntraSettings,
    env: E,
}

impl<E: Fn(&str) -> Option<String>> Known<'_, E> {
    /// The credential that the config asks for, or else the first that is set up.
    ///
    /// A plain virtual machine sets no variable that tells of its managed identity; there, the variable that
    /// Microsoft's other SDKs know, `AZURE_TOKEN_CREDENTIALS=ManagedIdentityCredential`, asks for it.
    fn choose(&self) -> Result<Choice, Failure> {
        const CHOSEN: &str = "chosen in the config";
        let (source, why) = match self.settings.credential {
            CredentialKind::WorkloadIdentity => (self.workload_identity()?, CHOSEN),
            CredentialKind::ManagedIdentity => (self.managed_identity(), CHOSEN),
            CredentialKind::ClientSecret => (self.client_secret()?, CHOSEN),
            CredentialKind::DeveloperTools => (Source::DeveloperTools, "chosen in the config: az, then azd"),
            CredentialKind::Auto => {
                if self.var(TOKEN_FILE).is_some() {
                    (self.workload_identity()?, "AZURE_FEDERATED_TOKEN_FILE is set")
                } else if self.var("IDENTITY_ENDPOINT").is_some() {
                    (self.managed_identity(), "IDENTITY_ENDPOINT is set")
                } else if self.managed_identity_by_name() {
                    (self.managed_identity(), "AZURE_TOKEN_CREDENTIALS asks for it")
                } else if self.secret_is_meant() {
                    (self.client_secret()?, self.whence_the_secret())
                } else {
                    (Source::DeveloperTools, "nothing else is set up: az, then azd")
                }
            }
        };
        Ok(Choice { source, why })
    }

    fn workload_identity(&self) -> Result<Source, Failure> {
        match (self.tenant(), self.client_id(), self.var(TOKEN_FILE)) {
            (Some(tenant), Some(client_id), Some(file)) => {
                let (token_file, authority) = (file.into(), self.authority()?);
                Ok(Source::WorkloadIdentity { tenant, client_id, token_file, authority })
            }
            (tenant, client_id, file) => Err(lacking(
                "a workload identity",
                &[
                    (tenant.is_none(), "a tenant id", TENANT_ID),
                    (client_id.is_none(), "a client id", CLIENT_ID),
                    (file.is_none(), "a token file", TOKEN_FILE),
                ],
            )),
        }
    }

    fn managed_identity(&self) -> Source {
        Source::ManagedIdentity { client_id: self.client_id() }
    }

    fn client_secret(&self) -> Result<Source, Failure> {
        match (self.tenant(), self.client_id(), self.secret()) {
            (Some(tenant), Some(client_id), Some(secret)) => {
                Ok(Source::ClientSecret { tenant, client_id, secret, authority: self.authority()? })
            }
            (tenant, client_id, secret) => Err(lacking(
                "a client secret",
                &[
                    (tenant.is_none(), "a tenant id", TENANT_ID),
                    (client_id.is_none(), "a client id", CLIENT_ID),
                    (secret.is_none(), "the secret", CLIENT_SECRET),
                ],
            )),
        }
    }

    fn managed_identity_by_name(&self) -> bool {
        self.var("AZURE_TOKEN_CREDENTIALS")
            .is_some_and(|name| name.eq_ignore_ascii_case("ManagedIdentityCredential"))
    }

    /// Whether all that a client secret needs is known, or the config holds one: then what it lacks is worth telling.
    fn secret_is_meant(&self) -> bool {
        let complete = || self.tenant().is_some() && self.client_id().is_some() && self.secret().is_some();
        self.settings.client_secret.is_some() || complete()
    }

    fn whence_the_secret(&self) -> &'static str {
        let EntraSettings { tenant_id, client_id, client_secret, .. } = self.settings;
        if tenant_id.is_none() && client_id.is_none() && client_secret.is_none() {
            "AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET are set"
        } else {
            "tenant, client and secret are in the config and the environment"
        }
    }

    fn tenant(&self) -> Option<String> {
        present(self.settings.tenant_id.as_deref()).or_else(|| self.var(TENANT_ID))
    }

    fn client_id(&self) -> Option<String> {
        present(self.settings.client_id.as_deref()).or_else(|| self.var(CLIENT_ID))
    }

    fn secret(&self) -> Option<Secret> {
        let configured = self.settings.client_secret.as_ref().map(fleetlogs_model::secret::Secret::expose);
        present(configured).or_else(|| self.var(CLIENT_SECRET)).map(Secret::new)
    }

    /// The SDK takes an authority over https only.
    fn authority(&self) -> Result<String, Failure> {
        let (url, whose) = match (&self.settings.authority, self.var(AUTHORITY_HOST)) {
            (Some(url), _) => (Some(url.clone()), "the authority in the config"),
            (None, Some(text)) => (Url::parse(&text).ok(), AUTHORITY_HOST),
            (None, None) => return Ok(self.cloud.authority_host().to_owned()),
        };
        let plain =
            |url: &Url| url.scheme() == "https" && url.username().is_empty() && url.password().is_none();
        url.filter(plain).map(String::from).ok_or_else(|| {
            let message = format!("no token: {whose} is not a URL that starts with https://HOST");
            Failure::new(FailureClass::Auth, message)
        })
    }

    fn var(&self, name: &str) -> Option<String> {
        (self.env)(name).filter(|value| !value.is_empty())
    }
}

fn present(text: Option<&str>) -> Option<String> {
    text.filter(|text| !text.is_empty()).map(str::to_owned)
}

/// A credential lacks something: for each thing whether it does, what it is, and the variable that may hold it.
fn lacking(credential: &str, things: &[(bool, &str, &str)]) -> Failure {
    let missing: Vec<_> = things
        .iter()
        .filter(|(missing, ..)| *missing)
        .map(|(_, thing, variable)| format!("{thing} ({variable})"))
        .collect();
    Failure::new(FailureClass::Auth, format!("no token: {credential} needs {}", missing.join(" and ")))
}

/// A refused credential stops the account; an identity service out of reach is a passing fault, and the request that
/// needed the token never left.
fn failure(error: &azure_core::Error) -> Failure {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    let mut passing = false;
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<azure_core::Error>() {
            passing |= match error.kind() {
                ErrorKind::Connection => true,
                ErrorKind::HttpResponse { status, .. } => matches!(u16::from(*status), 408 | 429 | 500..),
                _ => false,
            };
        }
        passing |= error.is::<reqwest::Error>();
        next = error.source();
    }
    let class = if passing { FailureClass::NotSent } else { FailureClass::Auth };
    Failure::new(class, format!("no token: {}", redact::error_chain(error)))
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use azure_core::http::headers::Headers;
    use azure_core::http::request::Body;
    use azure_core::http::{AsyncRawResponse, HttpClient, Request, StatusCode};
    use parking_lot::Mutex;

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

    fn choice(settings: &EntraSettings, vars: Vars) -> Result<Choice, Failure> {
        Known { cloud: Cloud::China, settings, env: env(vars) }.choose()
    }

    fn chosen(vars: Vars) -> Source {
        choice(&EntraSettings::default(), vars).unwrap().source
    }

    fn of_kind(credential: CredentialKind) -> EntraSettings {
        EntraSettings { credential, ..Default::default() }
    }

    fn request(http: reqwest::Client, settings: &EntraSettings, vars: Vars) -> TokenRequest {
        TokenRequest::new(transport(http), Cloud::Public, "https://r", settings, env(vars)).unwrap()
    }

    #[test]
    fn the_first_credential_that_is_set_up_is_chosen() {
        assert_eq!(chosen(&[]), Source::DeveloperTools);
        assert_eq!(chosen(&[SECRET[0], SECRET[1]]), Source::DeveloperTools);
        assert_eq!(chosen(&[SECRET[0], SECRET[1], ("AZURE_CLIENT_SECRET", "")]), Source::DeveloperTools);
        assert!(matches!(chosen(&SECRET), Source::ClientSecret { .. }));
        assert!(!format!("{:?}", chosen(&SECRET)).contains("hunter2"));
        assert_eq!(
            chosen(&[SECRET[0], SECRET[1], SECRET[2], ("IDENTITY_ENDPOINT", "http://127.0.0.1:1/token")]),
            Source::ManagedIdentity { client_id: Some("c".into()) }
        );
        assert_eq!(
            chosen(&[("AZURE_TOKEN_CREDENTIALS", "managedidentitycredential")]),
            Source::ManagedIdentity { client_id: None }
        );
        assert_eq!(
            chosen(&[SECRET[0], SECRET[1], ("AZURE_FEDERATED_TOKEN_FILE", "/f"), ("IDENTITY_ENDPOINT", "x")]),
            Source::WorkloadIdentity {
                tenant: "t".into(),
                client_id: "c".into(),
                token_file: "/f".into(),
                authority: "https://login.chinacloudapi.cn".into(),
            }
        );
    }

    #[test]
    fn the_config_goes_before_the_environment() {
        let settings = EntraSettings {
            tenant_id: Some("mine".into()),
            client_secret: Some(fleetlogs_model::secret::Secret::new("swordfish".into())),
            authority: Some(Url::parse("https://login.example").unwrap()),
            ..Default::default()
        };
        let choice = choice(&settings, &SECRET).unwrap();
        assert_eq!(
            choice.source,
            Source::ClientSecret {
                tenant: "mine".into(),
                client_id: "c".into(),
                secret: Secret::new("swordfish"),
                authority: "https://login.example/".into(),
            }
        );
        assert_eq!(choice.why, "tenant, client and secret are in the config and the environment");
    }

    #[test]
    fn a_credential_that_is_asked_for_is_used_whatever_else_is_set_up() {
        let source = |kind, vars| choice(&of_kind(kind), vars).unwrap().source;
        assert_eq!(source(CredentialKind::DeveloperTools, &SECRET), Source::DeveloperTools);
        assert_eq!(
            source(CredentialKind::ManagedIdentity, &SECRET),
            Source::ManagedIdentity { client_id: Some("c".into()) }
        );
        assert!(matches!(source(CredentialKind::ClientSecret, &SECRET), Source::ClientSecret { .. }));
    }

    #[test]
    fn what_a_credential_lacks_is_named() {
        let lacks = |kind, vars| {
            let failure = choice(&of_kind(kind), vars).unwrap_err();
            assert_eq!(failure.class, FailureClass::Auth);
            failure.to_string()
        };
        assert_eq!(
            lacks(CredentialKind::ClientSecret, &[SECRET[1]]),
            "no token: a client secret needs a tenant id (AZURE_TENANT_ID) and the secret (AZURE_CLIENT_SECRET)"
        );
        assert_eq!(
            lacks(CredentialKind::WorkloadIdentity, &SECRET),
            "no token: a workload identity needs a token file (AZURE_FEDERATED_TOKEN_FILE)"
        );
        assert_eq!(
            lacks(CredentialKind::Auto, &[SECRET[0], ("AZURE_FEDERATED_TOKEN_FILE", "/f")]),
            "no token: a workload identity needs a client id (AZURE_CLIENT_ID)"
        );
    }

    #[test]
    fn a_secret_in_the_config_is_not_passed_over_for_want_of_a_tenant() {
        let client_secret = Some(fleetlogs_model::secret::Secret::new("swordfish".into()));
        let settings = EntraSettings { client_secret, ..Default::default() };
        assert_eq!(
            choice(&settings, &[SECRET[1]]).unwrap_err().to_string(),
            "no token: a client secret needs a tenant id (AZURE_TENANT_ID)"
        );
    }

    #[test]
    fn an_authority_must_be_https_and_is_not_shown() {
        let refused = choice(
            &EntraSettings::default(),
            &[SECRET[0], SECRET[1], SECRET[2], (AUTHORITY_HOST, "https://u:swordfish@h")],
        );
        assert_eq!(
            refused.unwrap_err().to_string(),
            "no token: AZURE_AUTHORITY_HOST is not a URL that starts with https://HOST"
        );
        let settings = EntraSettings {
            authority: Some(Url::parse("http://h").unwrap()),
            ..of_kind(CredentialKind::ClientSecret)
        };
        assert!(choice(&settings, &SECRET).unwrap_err().message.contains("authority in the config"));
        // Those that have no use for an authority do not mind.
        assert!(choice(&of_kind(CredentialKind::ManagedIdentity), &[(AUTHORITY_HOST, "x")]).is_ok());
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

    /// A client whose every request goes to a proxy, which sees hosts that do not exist.
    fn through(proxy: &TestServer) -> reqwest::Client {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let proxy = reqwest::Proxy::all(proxy.url()).unwrap();
        reqwest::Client::builder().proxy(proxy).build().unwrap()
    }

    #[tokio::test]
    async fn tokens_for_a_secret_are_asked_of_the_authority() {
        let proxy =
            TestServer::start(|_| Reply::raw("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")).await;
        let vars = &[SECRET[0], SECRET[1], SECRET[2], (AUTHORITY_HOST, "https://env.example")];
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

    /// Stands in for the network: keeps URL and body of each request, and answers with a token.
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
        let failure = failure(&error);
        assert_eq!(failure.class, FailureClass::Auth);
        assert!(!failure.to_string().contains("TOPSECRET"), "{failure}");
    }
}
