//! The part of the config about tokens of Entra.

use std::fmt;

use url::Url;

/// How to get tokens of Entra; the default finds a credential by itself.
#[derive(Clone, Default)]
pub struct EntraSettings {
    /// Which credential to use.
    pub credential: CredentialKind,
    /// The directory of the application; else `AZURE_TENANT_ID`. Managed identities and developer tools do not need
    /// it.
    pub tenant_id: Option<String>,
    /// The application, or the user-assigned managed identity; else `AZURE_CLIENT_ID`.
    pub client_id: Option<String>,
    /// The application's secret; else `AZURE_CLIENT_SECRET`.
    pub client_secret: Option<fleetlogs_model::secret::Secret>,
    /// Where client secrets and workload identities are exchanged for tokens, over https; else
    /// `AZURE_AUTHORITY_HOST`, else [`Cloud::authority_host`](crate::Cloud::authority_host).
    pub authority: Option<Url>,
}

impl fmt::Debug for EntraSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntraSettings")
            .field("credential", &self.credential)
            .field("tenant_id", &self.tenant_id)
            .field("client_id", &self.client_id)
            .field("client_secret", &self.client_secret)
            // A URL may contain a password.
            .field("authority", &self.authority.as_ref().map(|url| url.origin().ascii_serialization()))
            .finish()
    }
}

/// A way to get tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CredentialKind {
    /// The first of the others, in this order, that is set up; developer tools if none is.
    #[default]
    Auto,
    /// A Kubernetes token, in the file named by `AZURE_FEDERATED_TOKEN_FILE`, exchanged for one of Entra.
    WorkloadIdentity,
    /// The identity of the machine, or of the container app.
    ManagedIdentity,
    /// An application and its secret.
    ClientSecret,
    /// The user who is signed in to `az`, or else to `azd`.
    DeveloperTools,
}
