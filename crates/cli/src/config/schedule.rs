//! The table `[schedule]`: the daemon that runs snapshots.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fleetlogs_model::secret::Secret;

use super::needs::Needs;
use super::own_container::{OwnContainer, lease_duration, own_container};
use super::reader::{ListedMistake, Table};
use super::secret;
use super::secret_form::Wanted;

/// The settings of the schedule.
#[derive(Clone, Debug)]
pub(crate) struct ScheduleSettings {
    /// The database file; none means `schedule.db` in `output.dir`.
    pub(crate) state: Option<PathBuf>,
    /// The percentage of each account's `rate` and `concurrency` reserved for runs that states and alerts start.
    pub(crate) capture_share: u32,
    /// The most list calls per second and account for watching node states.
    pub(crate) poll_rate: f64,
    /// Set only for commands that need it.
    pub(crate) lease: Option<LeaseSettings>,
    pub(crate) listener: Option<ListenerSettings>,
}

/// The shared state of a schedule on several machines.
#[derive(Clone, Debug)]
pub(crate) struct LeaseSettings {
    pub(crate) container: OwnContainer,
    /// The name of the blob.
    pub(crate) blob: String,
    /// The length of the lease: how long a machine that died stays the owner.
    pub(crate) duration: Duration,
}

/// The HTTP listener of the daemon.
#[derive(Clone, Debug)]
pub(crate) struct ListenerSettings {
    pub(crate) address: SocketAddr,
    /// The secret that senders of alerts must know. None if alerts are not accepted, and for commands that do not need
    /// it.
    pub(crate) secret: Option<Secret>,
}

pub(super) fn schedule(table: Table<'_>, dir: &Path, needs: Needs) -> Option<ScheduleSettings> {
    let state = table.optional("state", |value| value.string().map(PathBuf::from));
    let capture_share = table.get("capture_share").and_then(|value| value.whole(&(1..=99)));
    let poll_rate = table.get("poll_rate").and_then(|value| value.number(&(0.01..=100.0)));
    let lease = table.optional_table("lease", |table| lease(table, dir, needs.lease).ok());
    let listener = table.optional_table("listener", |table| listener(table, dir, needs.listener));
    table.finish();
    Some(ScheduleSettings {
        state: state.ok()?,
        capture_share: capture_share?,
        poll_rate: poll_rate?,
        lease: lease.ok()?.flatten(),
        listener: listener.ok()?,
    })
}

/// None if the command does not need it.
fn lease(table: Table<'_>, dir: &Path, needed: bool) -> Result<Option<LeaseSettings>, ListedMistake> {
    let blob = table.get("blob").map_or(Some("fleetlogs/schedule.db".to_owned()), |value| {
        let text = value.string()?;
        if text.is_empty() || text.len() > 1024 || text.starts_with('/') || text.ends_with('/') {
            value.wrong(
                "this is not the name of a blob",
                Some("write it as \"fleetlogs/schedule.db\"".into()),
            );
            return None;
        }
        Some(text.to_owned())
    });
    let duration = lease_duration(&table, "duration");
    let container = own_container(&table, dir, needed, "the shared state");
    table.finish();
    let (container, blob, duration) =
        (container?, blob.ok_or(ListedMistake)?, duration.ok_or(ListedMistake)?);
    Ok(container.map(|container| LeaseSettings { container, blob, duration }))
}

fn listener(table: Table<'_>, dir: &Path, needed: bool) -> Option<ListenerSettings> {
    let address = table.get("address").map_or(Some(SocketAddr::from(([127, 0, 0, 1], 9464))), |value| {
        let address = value.string()?.parse().ok();
        if address.is_none() {
            let help = "write an IP address and a port, such as \"127.0.0.1:9464\" or \"[::1]:9464\"";
            value.wrong("this is not an address to listen on", Some(help.into()));
        }
        address
    });
    let secret =
        table.get("secret").map_or(Ok(None), |value| secret::read_if(needed, &value, dir, Wanted::OwnSecret));
    if let Ok(Some(secret)) = &secret
        && secret.expose().len() < 16
    {
        table.wrong("the `secret` is shorter than 16 characters", "create one with `openssl rand -hex 32`");
        return None;
    }
    table.finish();
    Some(ListenerSettings { address: address?, secret: secret.ok()? })
}
