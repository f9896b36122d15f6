//! A pool of a plan.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::{AccountName, PoolId};
use crate::service::NodeError;

/// A pool whose nodes were listed, as it was at plan time. Its nodes share it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PlannedPool {
    /// The Batch account.
    pub account: AccountName,
    /// The pool.
    pub pool: PoolId,
    /// Node agent SKU, which names the operating system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<Arc<str>>,
    /// Size of its VMs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm_size: Option<Arc<str>>,
    /// `steady`, `resizing` or `stopping`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocation_state: Option<Arc<str>>,
    /// Whether it was being deleted.
    #[serde(default)]
    pub deleting: bool,
    /// Whether a resize that removes nodes was under way.
    #[serde(default)]
    pub shrinking: bool,
    /// Its number of nodes, dedicated and Spot together.
    #[serde(default)]
    pub current_nodes: u32,
    /// Its target number of nodes, dedicated and Spot together, if the service reported it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_nodes: Option<u32>,
    /// The errors that stopped the last resize.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resize_errors: Vec<NodeError>,
}

impl PlannedPool {
    /// A pool about which only its place is known.
    #[must_use]
    pub fn bare(account: AccountName, pool: PoolId) -> Self {
        Self {
            account,
            pool,
            os: None,
            vm_size: None,
            allocation_state: None,
            deleting: false,
            shrinking: false,
            current_nodes: 0,
            target_nodes: None,
            resize_errors: vec![],
        }
    }
}
