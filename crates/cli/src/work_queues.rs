//! The queues from which workers take partitions, as a config names them: one for each site.

use std::collections::BTreeSet;

use fleetlogs_azure::{
    AzureWorkQueue, Client, FailedTrial, QueueAccess, QueueContents, StorageAuth, http_client,
};
use fleetlogs_model::failure::{Failure, FailureClass};

use crate::config::{HOW_TO_CREATE_QUEUE_SAS, QueueService, ScaleOutSettings, Settings, queue_of_site};
use crate::error::{CliError, Refusal, help_for_signing};
use crate::tokens::Tokens;

/// Calls of a command to all queues at a time.
const CALLS_AT_ONCE: usize = 8;

/// The queues of a config.
pub(crate) struct WorkQueues {
    settings: ScaleOutSettings,
    sites: BTreeSet<Option<String>>,
    http: Client,
    access: QueueAccess,
}

impl WorkQueues {
    /// The queues of a config. Sends nothing yet.
    pub(crate) fn new(settings: &Settings) -> Result<Self, CliError> {
        let Some(scale_out) = settings.scale_out.clone() else {
            let help = "name a queue in [scale_out]: docs/reference/config.md";
            return Err(CliError::usage(Refusal::new("the config names no queue for workers", help)));
        };
        let http = http_client(CALLS_AT_ONCE)?;
        let access = match &scale_out.queue.service {
            QueueService::Given(url) => {
                QueueAccess::Sas(url.expose().parse().expect("the config reads it as a URL"))
            }
            QueueService::Account { endpoint, cloud, key } => {
                let auth = if let Some(key) = key {
                    StorageAuth::Key(key.clone())
                } else {
                    let tokens = Tokens::new(http.clone(), settings.entra.clone());
                    StorageAuth::Entra(tokens.of(*cloud, cloud.storage_resource())?)
                };
                QueueAccess::Account(endpoint.clone(), auth)
            }
        };
        let queues = Self { settings: scale_out, sites: settings.sites(), http, access };
        // What is wrong with the account or its key shows for any queue.
        queues.open(None)?;
        Ok(queues)
    }

    /// The sites of the config; none is that of accounts without one.
    pub(crate) fn sites(&self) -> impl Iterator<Item = Option<&str>> {
        self.sites.iter().map(Option::as_deref)
    }

    /// The name of a site's queue.
    pub(crate) fn name_of(&self, site: Option<&str>) -> String {
        queue_of_site(&self.settings.queue.name, site)
    }

    /// The queue of a site, which is created if it is missing, as is its poison queue.
    pub(crate) async fn of_site(&self, site: Option<&str>) -> Result<AzureWorkQueue, CliError> {
        let queue = self.open(site)?;
        let name = self.name_of(site);
        queue.create().await.map_err(|failure| {
            self.refused(&format!("the queue `{name}` cannot be created or opened"), &failure)
        })?;
        Ok(queue)
    }

    /// Whether workers of a site could work with its queue, and what it holds.
    pub(crate) async fn try_out(&self, site: Option<&str>) -> Result<QueueContents, CliError> {
        let queue = self.of_site(site).await?;
        queue.try_out().await.map_err(|FailedTrial { step, failure }| {
            self.refused(&format!("fleetlogs cannot {step} in the queue `{}`", self.name_of(site)), &failure)
        })
    }

    /// A worker can no longer use the queue of its site.
    pub(crate) fn unusable(&self, site: Option<&str>, failure: &Failure) -> CliError {
        self.refused(&format!("the queue `{}` cannot be read", self.name_of(site)), failure).without_run()
    }

    fn open(&self, site: Option<&str>) -> Result<AzureWorkQueue, CliError> {
        let queue = AzureWorkQueue::new(self.http.clone(), self.access.clone(), &self.name_of(site));
        queue.map_err(|error| {
            let help = "see [scale_out] in docs/reference/config.md";
            CliError::refused([Refusal::new(error.to_string(), help).about("scale_out")])
        })
    }

    /// A queue cannot be used; what to do depends on what opens it.
    fn refused(&self, what: &str, failure: &Failure) -> CliError {
        let help = help_for_queue(&self.settings.queue.service, failure);
        CliError::refused([Refusal::new(format!("{what}: {failure}"), help).about("scale_out")])
    }
}

fn help_for_queue(service: &QueueService, failure: &Failure) -> String {
    let help = match service {
        _ if failure.class.is_passing() || failure.class == FailureClass::NotSent => {
            "check the storage account's name, DNS, proxy and the storage firewall".to_owned()
        }
        QueueService::Given(_) => format!("{HOW_TO_CREATE_QUEUE_SAS}, and one that has not expired"),
        QueueService::Account { key: Some(_), .. } => {
            "check `scale_out.account_key`, and whether the storage account allows Shared Key".to_owned()
        }
        QueueService::Account { .. } => {
            "give the identity the role Storage Queue Data Contributor on the storage account".to_owned()
        }
    };
    match help_for_signing(failure, "") {
        "" => help,
        known => known.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use fleetlogs_azure::Cloud;
    use fleetlogs_model::secret::Secret;

    use super::*;

    #[test]
    fn a_refusal_names_the_role_the_key_or_the_letters_that_may_be_missing() {
        let account = |key| QueueService::Account {
            endpoint: "https://logs.queue.core.windows.net".parse().unwrap(),
            cloud: Cloud::default(),
            key,
        };
        let given =
            QueueService::Given(Secret::new("https://logs.queue.core.windows.net/?sig=TOPSECRET".into()));
        let denied = Failure {
            status: Some(403),
            code: Some("AuthorizationPermissionMismatch".into()),
            ..Failure::new(
                FailureClass::Auth,
                "not authorized to perform this operation using this permission",
            )
        };
        for (service, help) in [
            (account(None), "the role Storage Queue Data Contributor on the storage account"),
            (account(Some(Secret::new("key".into()))), "check `scale_out.account_key`"),
            (given.clone(), "ss=q, srt=co, sp=racup"),
        ] {
            let text = help_for_queue(&service, &denied);
            assert!(text.contains(help) && !text.contains("TOPSECRET"), "{text}");
        }
        for class in [FailureClass::NotSent, FailureClass::Transient] {
            let text = help_for_queue(&given, &Failure::new(class, "no answer"));
            assert!(text.contains("DNS") && text.contains("firewall"), "{text}");
        }
    }
}
