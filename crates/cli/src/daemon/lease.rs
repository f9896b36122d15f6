//! The shared state of a schedule: the blob that `[schedule.lease]` names, for several machines.

use std::sync::Arc;

use fleetlogs_azure::{BlobStateHome, Client};
use fleetlogs_model::failure::Failure;
use fleetlogs_model::home::StateHome;

use crate::config::LeaseSettings;
use crate::error::CliError;
use crate::own_container::{Contents, sas_source};
use crate::tokens::Tokens;

/// The state, and what it takes.
const STATE: Contents =
    Contents { table: "schedule.lease", permissions: &[('r', "read"), ('c', "create"), ('w', "write")] };

/// What a command does with the shared state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// It reads it.
    Look,
    /// It reads and changes it, under the lease.
    Own,
}

/// The home of the state. Sends nothing yet.
pub(crate) fn home(
    settings: &LeaseSettings,
    access: Access,
    http: &Client,
    tokens: &Tokens,
) -> Result<Arc<dyn StateHome>, CliError> {
    let needed: &[char] = match access {
        Access::Look => &['r'],
        Access::Own => &['r', 'w'],
    };
    let source = sas_source(&settings.container, STATE, needed, http, tokens)?;
    let (blob, lease) = (settings.blob.clone(), settings.duration);
    Ok(Arc::new(BlobStateHome::new(http.clone(), source, blob, lease)))
}

/// Why the shared state cannot be used, and what to do.
pub(crate) fn refused(settings: &LeaseSettings, failure: &Failure) -> CliError {
    let what = format!("the shared state `{}` cannot be used", settings.blob);
    STATE.refused(what, &settings.container, failure)
}
