//! Pools: the list, a single one, and the node counts.

use std::collections::BTreeMap;

use super::envelope::Good;
use super::errors::BatchError;
use super::filter::{Filter, Filtered};
use super::json::{Json, Selected};
use super::paging::{LinkFault, Position};
use super::request::Call;
use super::select::Select;
use crate::clock::rfc1123;
use crate::fleet::Pool;
use crate::scenario::{AllocationState, NodeState, Os};

impl Call<'_> {
    /// `GET /pools`.
    pub(super) fn list_pools(&self, fault: LinkFault) -> Result<Good, BatchError> {
        let (size, position) = (self.page_size()?, self.position()?);
        let filter = self.filter(Filtered::Pools)?;
        let select = Select::parse(self.query.get("$select"));
        let matches = |pool: &Pool| {
            pool.is_there(self.now) && filter.holds(&pool.scenario.id, pool_state(pool, self.now))
        };
        let base = self.base();
        let mut json = Json::document(&base, "pools", 1024);
        let (mut given, mut next) = (0, None);
        json.list("value", |json| {
            for (place, pool) in (0_u32..).zip(&self.account.pools).skip(position.place as usize) {
                if !matches(pool) {
                    continue;
                }
                if given == size {
                    next = Some(Position { place, after_empty: false });
                    break;
                }
                given += 1;
                json.item(|json| self.pool_members(&mut Selected { json, select: &select }, &base, pool));
            }
        });
        self.push_link(&mut json, position, next, fault);
        Ok(Good::body(json.finish()))
    }

    /// Adds `odata.nextLink` where there is something to link to.
    pub(super) fn push_link(
        &self,
        json: &mut Json,
        here: Position,
        next: Option<Position>,
        fault: LinkFault,
    ) {
        let target = match fault {
            LinkFault::None => next,
            LinkFault::Loop => Some(here),
            LinkFault::Elsewhere => Some(next.unwrap_or(here)),
        };
        if let Some(target) = target {
            json.text("odata.nextLink", &self.link(target, fault));
        }
    }

    pub(super) fn filter(&self, list: Filtered) -> Result<Filter, BatchError> {
        let text = self.query.get("$filter");
        Filter::parse(text, list).ok_or_else(|| {
            BatchError::query_value(
                "$filter",
                text.unwrap_or(""),
                "The filter can't be understood for this list",
            )
        })
    }

    /// `GET /pools/{pool}`.
    pub(super) fn get_pool(&self, id: &str) -> Result<Good, BatchError> {
        let (_, pool) = self.find_pool(id)?;
        let select = Select::parse(self.query.get("$select"));
        let base = self.base();
        let mut json = Json::document(&base, "pools/@Element", 2048);
        self.pool_members(&mut Selected { json: &mut json, select: &select }, &base, pool);
        let etag = Some((etag(pool), rfc1123(self.pool_changed(pool))));
        Ok(Good { body: json.finish(), etag })
    }

    pub(super) fn find_pool(&self, id: &str) -> Result<(u16, &Pool), BatchError> {
        self.account
            .pool(id)
            .filter(|(_, pool)| pool.is_there(self.now))
            .ok_or_else(BatchError::pool_not_found)
    }

    fn pool_changed(&self, pool: &Pool) -> time::OffsetDateTime {
        let micros = pool.roll.text("changed").between(1_000_000, 40 * 86_400_000_000);
        let age = time::Duration::microseconds(i64::try_from(micros).unwrap_or(0));
        self.world.clock.started_at() - time::Duration::days(10) - age
    }

    fn pool_members(&self, out: &mut Selected<'_>, base: &str, pool: &Pool) {
        let scenario = &pool.scenario;
        let changed = self.pool_changed(pool);
        let (spot, dedicated) = (scenario.spot, scenario.nodes - scenario.spot);
        out.member("id", |json, name| json.text(name, &scenario.id));
        out.member("url", |json, name| json.text(name, &format!("{base}/pools/{}", scenario.id)));
        out.member("eTag", |json, name| json.text(name, &etag(pool)));
        out.member("lastModified", |json, name| json.time(name, changed));
        out.member("creationTime", |json, name| json.time(name, changed));
        out.member("state", |json, name| json.text(name, pool_state(pool, self.now)));
        out.member("stateTransitionTime", |json, name| json.time(name, changed));
        let allocation = match scenario.allocation_state {
            AllocationState::Steady => "steady",
            AllocationState::Resizing => "resizing",
            AllocationState::Stopping => "stopping",
        };
        out.member("allocationState", |json, name| json.text(name, allocation));
        out.member("allocationStateTransitionTime", |json, name| json.time(name, changed));
        out.member("vmSize", |json, name| json.text(name, &scenario.vm_size));
        out.member("resizeTimeout", |json, name| json.text(name, "PT15M"));
        out.member("currentDedicatedNodes", |json, name| json.number(name, dedicated));
        out.member("targetDedicatedNodes", |json, name| json.number(name, dedicated));
        out.member("currentLowPriorityNodes", |json, name| json.number(name, spot));
        out.member("targetLowPriorityNodes", |json, name| json.number(name, spot));
        out.member("enableAutoScale", |json, name| json.flag(name, false));
        out.member("enableInterNodeCommunication", |json, name| json.flag(name, false));
        out.member("taskSlotsPerNode", |json, name| json.number(name, 1_u32));
        out.member("taskSchedulingPolicy", |json, name| {
            json.object(name, |json| {
                json.text("nodeFillType", "spread");
                // Newer than most clients.
                json.text("jobDefaultOrder", "none");
            });
        });
        out.member("virtualMachineConfiguration", |json, name| {
            json.object(name, |json| machine(json, scenario.os));
        });
        out.member("upgradePolicy", |json, name| json.object(name, |json| json.text("mode", "manual")));
        if !scenario.identities.is_empty() {
            out.member("identity", |json, name| {
                json.object(name, |json| {
                    json.text("type", "UserAssigned");
                    json.list("userAssignedIdentities", |json| {
                        for id in &scenario.identities {
                            json.item(|json| json.text("resourceId", id));
                        }
                    });
                });
            });
        }
        out.member("simulatedOnly", |json, name| {
            // No documentation has this member: readers must step over what they do not know.
            json.object(name, |json| json.flag("tolerated", true));
        });
    }

    /// `GET /nodecounts`.
    pub(super) fn node_counts(&self, fault: LinkFault) -> Result<Good, BatchError> {
        let (size, position) = (self.page_size()?, self.position()?);
        let filter = self.filter(Filtered::Counts)?;
        let mut json = Json::document(&self.base(), "poolnodecounts", 1024);
        let (mut given, mut next) = (0, None);
        json.list("value", |json| {
            for (place, pool) in (0_u32..).zip(&self.account.pools).skip(position.place as usize) {
                if !pool.is_there(self.now) || !filter.holds(&pool.scenario.id, "") {
                    continue;
                }
                if given == size {
                    next = Some(Position { place, after_empty: false });
                    break;
                }
                given += 1;
                json.item(|json| self.counts(json, pool));
            }
        });
        self.push_link(&mut json, position, next, fault);
        Ok(Good::body(json.finish()))
    }

    fn counts(&self, json: &mut Json, pool: &Pool) {
        let mut by_kind: [BTreeMap<&str, u32>; 2] = Default::default();
        for place in 0..pool.places() {
            if let Some(node) = pool.node(place, self.now) {
                let kind = usize::from(!pool.names.is_dedicated(place));
                *by_kind[kind].entry(counter(node.state)).or_default() += 1;
            }
        }
        json.text("poolId", &pool.scenario.id);
        for (name, counts) in ["dedicated", "lowPriority"].into_iter().zip(&by_kind) {
            json.object(name, |json| {
                for counter in COUNTERS {
                    json.number(counter, counts.get(counter).copied().unwrap_or(0));
                }
                json.number("total", counts.values().sum::<u32>());
            });
        }
    }
}

const COUNTERS: [&str; 16] = [
    "creating",
    "idle",
    "offline",
    "preempted",
    "rebooting",
    "reimaging",
    "running",
    "starting",
    "startTaskFailed",
    "leavingPool",
    "unknown",
    "unusable",
    "waitingForStartTask",
    "upgradingOS",
    "deallocated",
    "deallocating",
];

/// The counter a state is counted under; states nobody knows are counted as unknown.
fn counter(state: NodeState) -> &'static str {
    match state {
        NodeState::StartTaskFailed => "startTaskFailed",
        NodeState::WaitingForStartTask => "waitingForStartTask",
        NodeState::LeavingPool => "leavingPool",
        NodeState::UpgradingOs => "upgradingOS",
        NodeState::Hibernating | NodeState::Gone => "unknown",
        state => state.wire(),
    }
}

fn pool_state(pool: &Pool, now: std::time::Duration) -> &'static str {
    if pool.is_deleting(now) { "deleting" } else { "active" }
}

/// Without quotes, as Batch has it.
fn etag(pool: &Pool) -> String {
    format!("0x8DD{:012X}", pool.roll.text("etag").bits() >> 16)
}

fn machine(json: &mut Json, os: Os) {
    let (publisher, offer, sku, agent) = image(os);
    json.object("imageReference", |json| {
        json.text("publisher", publisher);
        json.text("offer", offer);
        json.text("sku", sku);
        json.text("version", "latest");
    });
    json.text("nodeAgentSKUId", agent);
}

/// Publisher, offer and SKU of the image, and the node agent that goes with it.
pub(super) fn image(os: Os) -> (&'static str, &'static str, &'static str, &'static str) {
    match os {
        Os::Linux => ("canonical", "0001-com-ubuntu-server-jammy", "22_04-lts", "batch.node.ubuntu 22.04"),
        Os::Windows => {
            ("microsoftwindowsserver", "windowsserver", "2022-datacenter", "batch.node.windows amd64")
        }
    }
}
