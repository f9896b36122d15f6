//! What happens to the daemons and to what they rest on. The faults of the service are not here: they are there all the
//! time ([`super::ground`]).

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;

use super::ground::Ground;
use crate::scale_out::signal;

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weather {
    /// The owner is killed, and starts again.
    OwnerIsKilled,
    /// The other daemon is killed, and starts again.
    StandbyIsKilled,
    /// The owner is told to end, and starts again.
    OwnerIsEnded,
    /// Somebody breaks the lease of the schedule.
    ScheduleLeaseIsBroken,
    /// Somebody breaks the lease of the newest run.
    RunLeaseIsBroken,
    /// Blob storage does not answer for a while, shorter or longer than the leases last.
    StorageIsAway,
    /// New SAS for state and journals take the place of the old ones. Those of the nodes are renewed by the daemon.
    SasIsRotated,
    /// The SAS of state and journals expires, and the new one comes too late.
    SasIsLate,
}

/// Everything, in the order of a short soak.
pub(super) const ALL: [Weather; 8] = [
    Weather::SasIsRotated,
    Weather::OwnerIsKilled,
    Weather::RunLeaseIsBroken,
    Weather::StorageIsAway,
    Weather::ScheduleLeaseIsBroken,
    Weather::StandbyIsKilled,
    Weather::SasIsLate,
    Weather::OwnerIsEnded,
];

impl Weather {
    /// Whether a daemon ends of it.
    pub(super) fn ends_a_daemon(self) -> bool {
        matches!(self, Self::OwnerIsKilled | Self::StandbyIsKilled | Self::OwnerIsEnded)
    }
}

/// What has happened, how often.
#[derive(Default)]
pub(super) struct Record(pub(super) BTreeMap<String, u32>);

impl Record {
    fn note(&mut self, what: Weather) {
        *self.0.entry(format!("{what:?}")).or_default() += 1;
    }

    pub(super) fn count(&self, what: Weather) -> u32 {
        self.0.get(&format!("{what:?}")).copied().unwrap_or(0)
    }
}

pub(super) fn befall(
    ground: &mut Ground,
    what: Weather,
    sas_lifetime: Duration,
    random: &mut Rng,
    record: &mut Record,
) {
    match what {
        Weather::OwnerIsKilled => {
            let owner = ground.owner();
            ground.end(owner, "-KILL");
            ground.start(owner);
        }
        Weather::StandbyIsKilled => {
            let standby = 1 - ground.owner();
            ground.end(standby, "-KILL");
            ground.start(standby);
        }
        Weather::OwnerIsEnded => {
            let owner = ground.owner();
            let status = ground.end(owner, "-TERM");
            assert!(matches!(status.code(), Some(0 | 6)), "{status}: {}", ground.said(owner));
            ground.start(owner);
        }
        Weather::ScheduleLeaseIsBroken => ground.azurite.break_lease("fleetlogs/schedule.db"),
        Weather::RunLeaseIsBroken => {
            let newest = ground.blobs().into_iter().filter(|blob| blob.name.ends_with("/owner"));
            // Ids of runs sort by time.
            if let Some(newest) = newest.max_by(|one, other| one.name.cmp(&other.name)) {
                ground.azurite.break_lease(&newest.name);
            }
        }
        Weather::StorageIsAway => {
            signal(&ground.azurite.server, "-STOP");
            std::thread::sleep(Duration::from_secs(random.u64(3..22)));
            signal(&ground.azurite.server, "-CONT");
        }
        Weather::SasIsRotated => ground.rotate(sas_lifetime),
        Weather::SasIsLate => {
            let over = Duration::from_secs(random.u64(8..14));
            ground.rotate(over);
            std::thread::sleep(over + Duration::from_secs(random.u64(2..9)));
            ground.rotate(sas_lifetime);
        }
    }
    record.note(what);
}
