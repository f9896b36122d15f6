//! The table `[entra]`: how to authenticate with Microsoft Entra ID.

use std::path::Path;

use fleetlogs_azure::{CredentialKind, EntraSettings};
use url::Url;

use super::reader::Table;
use super::secret;
use super::secret_form::Wanted;

/// Reads the table. By default the credential is searched in the places that other Azure tools use.
pub(super) fn entra(table: Table<'_>, dir: &Path) -> Option<EntraSettings> {
    let credential = table.get("credential").and_then(|value| {
        Some(match value.string()? {
            "auto" => CredentialKind::Auto,
            "workload-identity" => CredentialKind::WorkloadIdentity,
            "managed-identity" => CredentialKind::ManagedIdentity,
            "client-secret" => CredentialKind::ClientSecret,
            "developer-tools" => CredentialKind::DeveloperTools,
            other => {
                let help = "use `auto`, `workload-identity`, `managed-identity`, `client-secret` or `developer-tools`";
                value.wrong(format!("`{other}` is not a credential"), Some(help.into()));
                return None;
            }
        })
    });
    let text = |key| table.optional(key, |value| value.string().map(str::to_owned));
    let (tenant_id, client_id) = (text("tenant_id"), text("client_id"));
    let client_secret =
        table.optional("client_secret", |value| secret::read(value, dir, Wanted::ClientSecret));
    let authority = table.optional("authority", |value| {
        let text = value.string()?;
        let url = Url::parse(text).ok().filter(|url| url.scheme() == "https" && url.query().is_none());
        if url.is_none() {
            let help = "write it as \"https://login.microsoftonline.com\"";
            value.wrong(format!("`{text}` is not the URL of an authority"), Some(help.into()));
        }
        url
    });
    table.finish();
    Some(EntraSettings {
        credential: credential?,
        tenant_id: tenant_id.ok()?,
        client_id: client_id.ok()?,
        client_secret: client_secret.ok()?,
        authority: authority.ok()?,
    })
}
