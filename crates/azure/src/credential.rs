//! Which credential the environment offers, and one request to it.
//!
//! The SDK has no chain of credentials, so the choice is made here; the first that is set up is the only one tried.
//! For each request the credential is made anew: the SDK's own cache would hand a refused token out again.

use std::error::Error;
use std::sync::Arc;

use azure_core::credentials::{AccessToken, Secret, TokenCredential};
use azure_core::error::ErrorKind;
use azure_core::http::{ClientOptions, ExponentialRetryOptions, RetryOptions};
use azure_identity::{
    ClientAssertionCredentialOptions, ClientSecretCredential, ClientSecretCredentialOptions,
    DeveloperToolsCredential, ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId,
    WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};
use fleetlogs_model::failure::{Failure, FailureClass};

use crate::cloud::Cloud;
use crate::redact;
use crate::sdk_transport::client_options;

type Env = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What to ask for, and of whom.
pub(crate) struct TokenRequest {
    http: reqwest::Client,
    cloud: Cloud,
    scope: String,
    env: Env,
}

/// Where tokens come from.
#[derive(Debug, PartialEq, Eq)]
enum Source {
    WorkloadIdentity,
    ManagedIdentity { client_id: Option<String> },
    ClientSecret { tenant: String, client_id: String, secret: Secret },
    DeveloperTools,
}

impl TokenRequest {
    pub(crate) fn new(
        http: reqwest::Client,
        cloud: Cloud,
        resource: &str,
        env: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self { http, cloud, scope: scope_of(resource), env: Box::new(env) }
    }

    /// Asks for a token once, but for the SDK's own few retries: asking twice does no harm here.
    pub(crate) async fn send(&self) -> Result<AccessToken, Failure> {
        let credential = self.credential().map_err(|error| failure(&error))?;
        credential.get_token(&[&self.scope], None).await.map_err(|error| failure(&error))
    }

    fn credential(&self) -> azure_core::Result<Arc<dyn TokenCredential>> {
        let client_options = self.client_options();
        Ok(match choose(&self.env) {
            Source::WorkloadIdentity => {
                let credential_options = ClientAssertionCredentialOptions { client_options };
                let options = WorkloadIdentityCredentialOptions { credential_options, ..Default::default() };
                WorkloadIdentityCredential::new(Some(options))?
            }
            Source::ManagedIdentity { client_id } => {
                let user_assigned_id = client_id.map(UserAssignedId::ClientId);
                let options = ManagedIdentityCredentialOptions { user_assigned_id, client_options };
                ManagedIdentityCredential::new(Some(options))?
            }
            Source::ClientSecret { tenant, client_id, secret } => {
                let options = ClientSecretCredentialOptions { client_options };
                ClientSecretCredential::new(&tenant, client_id, secret, Some(options))?
            }
            Source::DeveloperTools => DeveloperToolsCredential::new(None)?,
        })
    }

    fn client_options(&self) -> ClientOptions {
        let retry = RetryOptions::exponential(ExponentialRetryOptions {
            max_retries: 2,
            max_total_elapsed: azure_core::time::Duration::seconds(10),
            ..Default::default()
        });
        // The environment's authority, if it names one, is the SDK's to read; it does so where no cloud is given.
        let cloud = match (self.env)("AZURE_AUTHORITY_HOST") {
            Some(_) => None,
            None => Some(Arc::new(self.cloud.configuration())),
        };
        ClientOptions { cloud, ..client_options(self.http.clone(), retry) }
    }
}

/// The scope of a resource. Where the resource ends in a slash, the scope has two, and needs them.
fn scope_of(resource: &str) -> String {
    format!("{resource}/.default")
}

/// The first source that is set up.
///
/// A plain virtual machine sets no variable that tells of its managed identity; there, the variable that Microsoft's
/// other SDKs know, `AZURE_TOKEN_CREDENTIALS=ManagedIdentityCredential`, asks for it.
fn choose(env: &Env) -> Source {
    let set = |name: &str| env(name).filter(|value| !value.is_empty());
    let managed_by_name = || {
        set("AZURE_TOKEN_CREDENTIALS")
            .is_some_and(|name| name.eq_ignore_ascii_case("ManagedIdentityCredential"))
    };
    if set("AZURE_FEDERATED_TOKEN_FILE").is_some() {
        return Source::WorkloadIdentity;
    }
    if set("IDENTITY_ENDPOINT").is_some() || managed_by_name() {
        return Source::ManagedIdentity { client_id: set("AZURE_CLIENT_ID") };
    }
    match (set("AZURE_TENANT_ID"), set("AZURE_CLIENT_ID"), set("AZURE_CLIENT_SECRET")) {
        (Some(tenant), Some(client_id), Some(secret)) => {
            Source::ClientSecret { tenant, client_id, secret: Secret::new(secret) }
        }
        _ => Source::DeveloperTools,
    }
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
    use super::*;
    use crate::http::http_client;
    use crate::test_server::{Reply, TestServer};

    fn chosen(vars: &'static [(&'static str, &'static str)]) -> Source {
        let env: Env = Box::new(|name| {
            vars.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        });
        choose(&env)
    }

    #[test]
    fn the_first_credential_that_is_set_up_is_chosen() {
        const SECRET: [(&str, &str); 3] =
            [("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_ID", "c"), ("AZURE_CLIENT_SECRET", "hunter2")];
        assert_eq!(chosen(&[]), Source::DeveloperTools);
        assert_eq!(chosen(&[SECRET[0], SECRET[1]]), Source::DeveloperTools);
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
            chosen(&[("AZURE_FEDERATED_TOKEN_FILE", "/f"), ("IDENTITY_ENDPOINT", "x")]),
            Source::WorkloadIdentity
        );
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
        let options = client_options(http, RetryOptions::none());
        let error = azure_core::http::Pipeline::new(None, None, options, vec![], vec![], None)
            .send(
                &azure_core::http::Context::default(),
                &mut azure_core::http::Request::new(
                    server.url().parse().unwrap(),
                    azure_core::http::Method::Get,
                ),
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
