//! The image of the machines, and the node agent that belongs to it.

use super::json::Json;
use crate::scenario::{Os, PoolScenario};

/// The members of an `imageReference`; running machines know which version `latest` was.
pub(super) fn image(json: &mut Json, pool: &PoolScenario, runs: bool) {
    let (publisher, offer, sku) = match pool.os {
        Os::Linux => ("canonical", "0001-com-ubuntu-server-jammy", "22_04-lts"),
        Os::Windows => ("microsoftwindowsserver", "windowsserver", "2022-datacenter"),
    };
    let given = pool.image.as_ref();
    let version = given.map_or("latest", |image| &image.version);
    json.text("publisher", given.map_or(publisher, |image| &image.publisher));
    json.text("offer", given.map_or(offer, |image| &image.offer));
    json.text("sku", given.map_or(sku, |image| &image.sku));
    json.text("version", version);
    if runs {
        let latest = match pool.os {
            Os::Linux => "22.04.202509090",
            Os::Windows => "20348.4171.250903",
        };
        json.text("exactVersion", if version == "latest" { latest } else { version });
    }
}

/// `nodeAgentSKUId`.
pub(super) fn agent(os: Os) -> &'static str {
    match os {
        Os::Linux => "batch.node.ubuntu 22.04",
        Os::Windows => "batch.node.windows amd64",
    }
}
