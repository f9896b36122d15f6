//! Chooses a credential from the config and the environment.

use std::path::PathBuf;

use azure_core::credentials::Secret;
use fleetlogs_model::failure::{Failure, FailureClass};
use fleetlogs_model::scrub;
use url::Url;

use super::settings::{CredentialKind, EntraSettings};
use crate::cloud::Cloud;

const AUTHORITY_HOST: &str = "AZURE_AUTHORITY_HOST";
const CLIENT_ID: &str = "AZURE_CLIENT_ID";
const CLIENT_SECRET: &str = "AZURE_CLIENT_SECRET";
const TENANT_ID: &str = "AZURE_TENANT_ID";
const TOKEN_FILE: &str = "AZURE_FEDERATED_TOKEN_FILE";

/// A credential, and why it was chosen.
#[derive(Debug)]
pub(super) struct CredentialChoice {
    pub(super) source: CredentialSource,
    pub(super) why: &'static str,
}

/// Where tokens come from.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CredentialSource {
    WorkloadIdentity { tenant: String, client_id: String, token_file: PathBuf, authority: String },
    ManagedIdentity { client_id: Option<String> },
    ClientSecret { tenant: String, client_id: String, secret: Secret, authority: String },
    DeveloperTools,
}

impl CredentialSource {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::WorkloadIdentity { .. } => "workload identity",
            Self::ManagedIdentity { .. } => "managed identity",
            Self::ClientSecret { .. } => "client secret",
            Self::DeveloperTools => "developer tools",
        }
    }
}

/// The values of the config and the environment. Empty values count as absent.
pub(super) struct CredentialChooser<'a, E> {
    pub(super) cloud: Cloud,
    pub(super) settings: &'a EntraSettings,
    pub(super) env: E,
}

impl<E: Fn(&str) -> Option<String>> CredentialChooser<'_, E> {
    /// The credential that the config names, or else the first one that is set up.
    ///
    /// A plain virtual machine sets no variable for its managed identity. There, the variable of Microsoft's other
    /// SDKs asks for it: `AZURE_TOKEN_CREDENTIALS=ManagedIdentityCredential`.
    pub(super) fn choose(&self) -> Result<CredentialChoice, Failure> {
        const CHOSEN: &str = "chosen in the config";
        for secret in
            [CLIENT_SECRET, "IDENTITY_HEADER", "MSI_SECRET"].into_iter().filter_map(|name| self.var(name))
        {
            scrub::learn(&secret);
        }
        let (source, why) = match self.settings.credential {
            CredentialKind::WorkloadIdentity => (self.workload_identity()?, CHOSEN),
            CredentialKind::ManagedIdentity => (self.managed_identity(), CHOSEN),
            CredentialKind::ClientSecret => (self.client_secret()?, CHOSEN),
            CredentialKind::DeveloperTools => {
                (CredentialSource::DeveloperTools, "chosen in the config: az, then azd")
            }
            CredentialKind::Auto => {
                if self.var(TOKEN_FILE).is_some() {
                    (self.workload_identity()?, "AZURE_FEDERATED_TOKEN_FILE is set")
                } else if self.var("IDENTITY_ENDPOINT").is_some() {
                    (self.managed_identity(), "IDENTITY_ENDPOINT is set")
                } else if self.managed_identity_by_name() {
                    (self.managed_identity(), "AZURE_TOKEN_CREDENTIALS asks for it")
                } else if self.secret_is_meant() {
                    (self.client_secret()?, self.secret_origin())
                } else {
                    (CredentialSource::DeveloperTools, "nothing else is set up: az, then azd")
                }
            }
        };
        Ok(CredentialChoice { source, why })
    }

    fn workload_identity(&self) -> Result<CredentialSource, Failure> {
        match (self.tenant(), self.client_id(), self.var(TOKEN_FILE)) {
            (Some(tenant), Some(client_id), Some(file)) => {
                let (token_file, authority) = (file.into(), self.authority()?);
                Ok(CredentialSource::WorkloadIdentity { tenant, client_id, token_file, authority })
            }
            (tenant, client_id, file) => Err(missing_values(
                "a workload identity",
                &[
                    (tenant.is_none(), "a tenant id", TENANT_ID),
                    (client_id.is_none(), "a client id", CLIENT_ID),
                    (file.is_none(), "a token file", TOKEN_FILE),
                ],
            )),
        }
    }

    fn managed_identity(&self) -> CredentialSource {
        CredentialSource::ManagedIdentity { client_id: self.client_id() }
    }

    fn client_secret(&self) -> Result<CredentialSource, Failure> {
        match (self.tenant(), self.client_id(), self.secret()) {
            (Some(tenant), Some(client_id), Some(secret)) => {
                Ok(CredentialSource::ClientSecret { tenant, client_id, secret, authority: self.authority()? })
            }
            (tenant, client_id, secret) => Err(missing_values(
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

    /// Whether everything that a client secret needs is known, or the config has a secret: then what is missing is
    /// worth reporting.
    fn secret_is_meant(&self) -> bool {
        let complete = || self.tenant().is_some() && self.client_id().is_some() && self.secret().is_some();
        self.settings.client_secret.is_some() || complete()
    }

    fn secret_origin(&self) -> &'static str {
        let EntraSettings { tenant_id, client_id, client_secret, .. } = self.settings;
        if tenant_id.is_none() && client_id.is_none() && client_secret.is_none() {
            "AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET are set"
        } else {
            "tenant, client and secret are in the config and the environment"
        }
    }

    fn tenant(&self) -> Option<String> {
        non_empty(self.settings.tenant_id.as_deref()).or_else(|| self.var(TENANT_ID))
    }

    fn client_id(&self) -> Option<String> {
        non_empty(self.settings.client_id.as_deref()).or_else(|| self.var(CLIENT_ID))
    }

    fn secret(&self) -> Option<Secret> {
        let configured = self.settings.client_secret.as_ref().map(fleetlogs_model::secret::Secret::expose);
        non_empty(configured).or_else(|| self.var(CLIENT_SECRET)).map(Secret::new)
    }

    /// The SDK accepts an authority over https only.
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

fn non_empty(text: Option<&str>) -> Option<String> {
    text.filter(|text| !text.is_empty()).map(str::to_owned)
}

/// The failure of a credential that lacks something: for each thing, whether it is missing, its name, and its
/// variable.
fn missing_values(credential: &str, things: &[(bool, &str, &str)]) -> Failure {
    let missing: Vec<_> = things
        .iter()
        .filter(|(missing, ..)| *missing)
        .map(|(_, thing, variable)| format!("{thing} ({variable})"))
        .collect();
    Failure::new(FailureClass::Auth, format!("no token: {credential} needs {}", missing.join(" and ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Vars = &'static [(&'static str, &'static str)];

    const SECRET: [(&str, &str); 3] =
        [("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_ID", "c"), ("AZURE_CLIENT_SECRET", "hunter2")];

    fn env(vars: Vars) -> impl Fn(&str) -> Option<String> {
        |name| vars.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    }

    fn choice(settings: &EntraSettings, vars: Vars) -> Result<CredentialChoice, Failure> {
        CredentialChooser { cloud: Cloud::China, settings, env: env(vars) }.choose()
    }

    fn chosen(vars: Vars) -> CredentialSource {
        choice(&EntraSettings::default(), vars).unwrap().source
    }

    fn of_kind(credential: CredentialKind) -> EntraSettings {
        EntraSettings { credential, ..Default::default() }
    }

    #[test]
    fn the_first_credential_that_is_set_up_is_chosen() {
        assert_eq!(chosen(&[]), CredentialSource::DeveloperTools);
        assert_eq!(chosen(&[SECRET[0], SECRET[1]]), CredentialSource::DeveloperTools);
        assert_eq!(
            chosen(&[SECRET[0], SECRET[1], ("AZURE_CLIENT_SECRET", "")]),
            CredentialSource::DeveloperTools
        );
        assert!(matches!(chosen(&SECRET), CredentialSource::ClientSecret { .. }));
        assert!(!format!("{:?}", chosen(&SECRET)).contains("hunter2"));
        assert_eq!(
            chosen(&[SECRET[0], SECRET[1], SECRET[2], ("IDENTITY_ENDPOINT", "http://127.0.0.1:1/token")]),
            CredentialSource::ManagedIdentity { client_id: Some("c".into()) }
        );
        assert_eq!(
            chosen(&[("AZURE_TOKEN_CREDENTIALS", "managedidentitycredential")]),
            CredentialSource::ManagedIdentity { client_id: None }
        );
        assert_eq!(
            chosen(&[SECRET[0], SECRET[1], ("AZURE_FEDERATED_TOKEN_FILE", "/f"), ("IDENTITY_ENDPOINT", "x")]),
            CredentialSource::WorkloadIdentity {
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
            CredentialSource::ClientSecret {
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
        assert_eq!(source(CredentialKind::DeveloperTools, &SECRET), CredentialSource::DeveloperTools);
        assert_eq!(
            source(CredentialKind::ManagedIdentity, &SECRET),
            CredentialSource::ManagedIdentity { client_id: Some("c".into()) }
        );
        assert!(matches!(
            source(CredentialKind::ClientSecret, &SECRET),
            CredentialSource::ClientSecret { .. }
        ));
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
        // Credentials that need no authority accept any.
        assert!(choice(&of_kind(CredentialKind::ManagedIdentity), &[(AUTHORITY_HOST, "x")]).is_ok());
    }
}
