//! The daemon: works on the schedule, and listens, until it is told to end.

use std::path::Path;
use std::time::Duration;

use fleetlogs_engine::stop::{Stop, StopReason};
use tokio::sync::watch;
use tokio::time::sleep;

use super::active_schedule::{ActiveSchedule, busy};
use super::listener::{Health, Listener};
use super::lock::{Holder, Lock, Locked};
use crate::config::Settings;
use crate::error::CliError;
use crate::run::Watchers;

/// Serves a schedule until the process is told to end. Returns whether a run was interrupted, which the next process
/// resumes.
pub(crate) async fn serve(config: &Path, settings: Settings, watchers: Watchers) -> Result<bool, CliError> {
    let schedule = ActiveSchedule::new(config, settings, watchers)?;
    let _lock = take_lock(&schedule.state).await?;
    let (state, states) = watch::channel(None);
    let health = Health::default();
    let listener = match &schedule.settings.schedule.listener {
        Some(settings) => {
            let names = schedule.settings.snapshots.iter().map(|snapshot| snapshot.name().clone());
            let (metrics, health) = (schedule.metrics.clone(), health.clone());
            let listener = Listener::bind(settings, names, states, metrics, health).await?;
            if schedule.home.is_some() {
                // It answers while another machine owns the schedule, too.
                tracing::info!("listening on http://{}", listener.address());
            }
            Some(listener)
        }
        None => None,
    };
    let address = listener.as_ref().map(Listener::address);
    let listening = async {
        match listener {
            Some(listener) => listener.serve(schedule.stop.reached(Stop::Drain)).await,
            None => schedule.stop.reached(Stop::Drain).await,
        }
    };
    let working = async {
        let result = schedule.work(&state, &health, address).await;
        // Whatever it was that ended it ends the listener as well.
        schedule.stop.stop(Stop::Drain, StopReason::Signal);
        result
    };
    let (interrupted, ()) = tokio::join!(working, listening);
    interrupted
}

/// `--list` holds the lock for a moment.
async fn take_lock(state: &Path) -> Result<Lock, CliError> {
    let mut tries = 0;
    loop {
        match Lock::take(state, Holder::Daemon)? {
            Locked::Ours(lock) => return Ok(lock),
            Locked::Theirs(_, process) if tries == 10 => return Err(busy(process)),
            Locked::Theirs(..) => tries += 1,
        }
        sleep(Duration::from_millis(100)).await;
    }
}
