//! Nodes: the list and a single one.

use time::OffsetDateTime;

use super::command;
use super::envelope::SuccessReply;
use super::errors::BatchError;
use super::filter::{FilterValue, FilteredList};
use super::image::image;
use super::json::{Json, Selected};
use super::paging::Position;
use super::request::Call;
use super::select::Select;
use super::start_task::StartTaskInfo;
use crate::fleet::{NodeDates, NodeMoment, Pool, node_address};
use crate::scenario::{AllocationState, Fault, NodeError, NodeState, Os, PoolAllocationMode};

/// Rough size of a node in a list, so that the buffer is large enough from the start.
const NODE_BYTES: usize = 3072;

impl Call<'_> {
    /// `GET /pools/{pool}/nodes`.
    pub(super) fn list_nodes(&self, id: &str, fault: Option<&Fault>) -> Result<SuccessReply, BatchError> {
        let (_, pool) = self.find_pool(id)?;
        let (size, position) = (self.page_size()?, self.position()?);
        let filter = self.filter(FilteredList::Nodes)?;
        let select = Select::parse(self.query.get("$select"));
        let base = self.base();
        let left = pool.places().saturating_sub(position.place).min(size) as usize;
        let mut json = Json::document(&base, "nodes", left * NODE_BYTES + 512);
        if Self::is_empty_page(pool, position) {
            json.list("value", |_| {});
            self.push_link(&mut json, position, Some(Position { after_empty: true, ..position }), fault);
            return Ok(SuccessReply::body(json.finish()));
        }
        let (mut given, mut next) = (0, None);
        json.list("value", |json| {
            for place in position.place..pool.places() {
                let Some(node) = pool.node(place, self.now) else { continue };
                if !filter.holds(|name| self.node_value(pool, place, node, name)) {
                    continue;
                }
                if given == size {
                    next = Some(Position { place, after_empty: false });
                    break;
                }
                given += 1;
                json.item(|json| {
                    self.node_members(
                        &mut Selected { json, select: &select },
                        &base,
                        (pool, place, node),
                        fault,
                    );
                });
            }
            Self::push_flood(json, fault);
        });
        self.push_link(&mut json, position, next, fault);
        Ok(SuccessReply::body(json.finish()))
    }

    /// Now and then, a pool that is resizing answers with an empty page and a link, which is legal.
    fn is_empty_page(pool: &Pool, position: Position) -> bool {
        pool.scenario.allocation_state() == AllocationState::Resizing
            && !position.after_empty
            && pool.roll.text("empty page").number(u64::from(position.place)).happens(0.4)
    }

    /// `GET /pools/{pool}/nodes/{node}`.
    pub(super) fn get_node(
        &self,
        pool: &str,
        node: &str,
        fault: Option<&Fault>,
    ) -> Result<SuccessReply, BatchError> {
        let (_, pool) = self.find_pool(pool)?;
        let (place, moment) = self.find_node(pool, node)?;
        let select = Select::parse(self.query.get("$select"));
        let base = self.base();
        let mut json = Json::document(&base, "nodes/@Element", NODE_BYTES);
        let out = &mut Selected { json: &mut json, select: &select };
        self.node_members(out, &base, (pool, place, moment), fault);
        Ok(SuccessReply::body(json.finish()))
    }

    pub(super) fn find_node(&self, pool: &Pool, id: &str) -> Result<(u32, NodeMoment), BatchError> {
        let place = pool.names.place(id);
        let found = place.and_then(|place| Some((place, pool.node(place, self.now)?)));
        found.ok_or_else(BatchError::node_not_found)
    }

    /// The value of a node's property for a filter.
    fn node_value(
        &self,
        pool: &Pool,
        place: u32,
        node: NodeMoment,
        name: &str,
    ) -> Option<FilterValue<'static>> {
        if name == "state" {
            return Some(FilterValue::text(node.state.wire()));
        }
        let dates = pool.dates(place, node, &self.world.clock);
        match name {
            "stateTransitionTime" => Some(FilterValue::Time(dates.changed)),
            "allocationTime" => Some(FilterValue::Time(dates.allocated)),
            "lastBootTime" => last_boot(pool, place, node, dates).map(FilterValue::Time),
            _ => {
                let name = name.strip_prefix("startTaskInfo/")?;
                StartTaskInfo::of(pool, place, node, dates)?.value(name)
            }
        }
    }

    /// The machine in the subscription of its user; none if it is in that of the service.
    fn scale_set_id(&self, pool: &Pool, place: u32) -> Option<String> {
        let account = &self.account.scenario;
        (account.pool_allocation_mode == PoolAllocationMode::UserSubscription).then(|| {
            let (subscription, pool) = (&account.subscription, &pool.scenario.id);
            format!(
                "/subscriptions/{subscription}/resourceGroups/azurebatch-{pool}/providers/Microsoft.Compute/\
                 virtualMachineScaleSets/{pool}-azurebatch-VMSS-D/virtualMachines/{place}"
            )
        })
    }

    fn node_members(
        &self,
        out: &mut Selected<'_>,
        base: &str,
        (pool, place, node): (&Pool, u32, NodeMoment),
        fault: Option<&Fault>,
    ) {
        let echo = self.echo_of_answer(fault);
        let time = |json: &mut Json, name: &str, date| match &pool.scenario.node_times {
            Some(text) => json.text(name, text),
            None => json.time(name, date),
        };
        let roll = pool.node_roll(place);
        let dates = pool.dates(place, node, &self.world.clock);
        let up = !node.has_never_booted();
        out.member("id", |json, name| json.plain(name, |text| pool.names.push(text, place)));
        out.member("url", |json, name| {
            json.plain(name, |text| {
                text.push_str(base);
                text.push_str("/pools/");
                text.push_str(&pool.scenario.id);
                text.push_str("/nodes/");
                pool.names.push(text, place);
            });
        });
        out.member("state", |json, name| json.text(name, node.state.wire()));
        let scheduling = if pool.is_disabled(place, node) { "disabled" } else { "enabled" };
        out.member("schedulingState", |json, name| json.text(name, scheduling));
        out.member("stateTransitionTime", |json, name| time(json, name, dates.changed));
        if let Some(booted) = last_boot(pool, place, node, dates) {
            out.member("lastBootTime", |json, name| time(json, name, booted));
        }
        out.member("allocationTime", |json, name| time(json, name, dates.allocated));
        out.member("ipAddress", |json, name| {
            json.text(name, &node_address(place).to_string());
        });
        out.member("affinityId", |json, name| {
            json.plain(name, |text| {
                text.push_str("TVM:");
                pool.names.push(text, place);
            });
        });
        out.member("vmSize", |json, name| json.text(name, &pool.scenario.vm_size));
        self.node_tasks(out, base, pool, place, node);
        if let Some(info) = StartTaskInfo::of(pool, place, node, dates) {
            out.member("startTask", |json, name| command::start_task(json, name, pool.scenario.os));
            out.member("startTaskInfo", |json, name| info.write(json, name, echo.as_deref()));
        }
        let disk_is_full = node.state == NodeState::Unusable && pool.tells_errors(place);
        let told = &pool.scenario.node_error;
        if disk_is_full || told.is_some() || echo.is_some() {
            out.member("errors", |json, name| {
                json.list(name, |json| {
                    if disk_is_full {
                        disk_full(json);
                    }
                    if let Some(NodeError { code, message }) = told {
                        node_error(json, code, message);
                    }
                    if let Some(echo) = &echo {
                        node_error(json, "BlobDownloadFailed", echo);
                    }
                });
            });
        }
        out.member("isDedicated", |json, name| json.flag(name, pool.names.is_dedicated(place)));
        out.member("endpointConfiguration", |json, name| {
            json.object(name, |json| json.list("inboundEndpoints", |_| {}));
        });
        if up {
            out.member("nodeAgentInfo", |json, name| {
                json.object(name, |json| {
                    let version = if pool.scenario.os == Os::Windows { "1.12.15" } else { "1.13.2" };
                    json.text("version", echo.as_deref().unwrap_or(version));
                    time(json, "lastUpdateTime", dates.booted);
                });
            });
        }
        out.member("virtualMachineInfo", |json, name| {
            json.object(name, |json| {
                json.object("imageReference", |json| image(json, &pool.scenario, true));
                if let Some(id) = self.scale_set_id(pool, place) {
                    json.text("scaleSetVmResourceId", &id);
                }
            });
        });
        if roll.text("unknown member").happens(0.25) {
            out.member("simulatedOnly", |json, name| {
                json.object(name, |json| json.number("rack", place % 40));
            });
        }
    }
}

/// Known only once the machine has come up; an unusable machine may never have.
fn last_boot(pool: &Pool, place: u32, node: NodeMoment, dates: NodeDates) -> Option<OffsetDateTime> {
    let never = node.has_never_booted()
        || (node.state == NodeState::Unusable && pool.node_roll(place).text("never booted").happens(0.3));
    (!never).then_some(dates.booted)
}

fn node_error(json: &mut Json, code: &str, message: &str) {
    json.item(|json| {
        json.text("code", code);
        json.text("message", message);
    });
}

/// Node errors say `name` where API errors say `key`.
fn disk_full(json: &mut Json) {
    json.item(|json| {
        json.text("code", "DiskFull");
        json.text("message", "There is not enough disk space on the node");
        json.list("errorDetails", |json| {
            json.item(|json| {
                json.text("name", "Disk");
                json.text("value", "/mnt <less than 1% left>");
            });
        });
    });
}
