//! Where the state of a schedule is: on this machine's disk, or in the leased blob that several machines share.

use std::path::PathBuf;
use std::sync::Arc;

use fleetlogs_azure::http_client;
use fleetlogs_engine::schedule::state::{StateError, Store};
use fleetlogs_model::home::StateHome;

use super::lease::{self, Access};
use crate::config::Settings;
use crate::error::CliError;
use crate::tokens::Tokens;

/// Where the state of the schedule is.
pub(crate) fn state_path(settings: &Settings) -> PathBuf {
    settings.schedule.state.clone().unwrap_or_else(|| settings.output_dir.join("schedule.db"))
}

/// Where the state lives that several machines share; none where it lives on this machine alone.
pub(crate) fn home_to_own(settings: &Settings) -> Result<Option<Arc<dyn StateHome>>, CliError> {
    home_for(settings, Access::Own)
}

fn home_for(settings: &Settings, access: Access) -> Result<Option<Arc<dyn StateHome>>, CliError> {
    let Some(lease) = &settings.schedule.lease else { return Ok(None) };
    let http = http_client(2)?;
    let tokens = Tokens::new(http.clone(), settings.entra.clone());
    lease::home(lease, access, &http, &tokens).map(Some)
}

/// The state as it is, to be looked at; none where no schedule has been at work yet.
pub(crate) async fn state_of(settings: &Settings) -> Result<Option<Store>, CliError> {
    let Some(home) = home_for(settings, Access::Look)? else {
        return Ok(Store::look_in(&state_path(settings))?);
    };
    match home.read().await {
        Ok(Some(fetched)) => Ok(Some(Store::look_at(&fetched)?)),
        Ok(None) => Ok(None),
        Err(error) => Err(StateError::Home(error).into()),
    }
}
