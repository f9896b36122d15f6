//! The options that narrow a run, as its record keeps them: a partition may be planned later, on another machine.

use std::io;

use fleetlogs_model::service::NodeState;
use globset::Glob;
use serde::{Deserialize, Serialize};

use crate::args::Pick;

/// [`Pick`] in the record of a run.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct StoredPick {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    accounts: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pools: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    nodes: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    states: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    jobs: Vec<String>,
}

impl StoredPick {
    pub(super) fn of(pick: &Pick) -> Self {
        let Pick { accounts, pools, nodes, states, jobs } = pick;
        let written = |globs: &[Glob]| globs.iter().map(|glob| glob.glob().to_owned()).collect();
        Self {
            accounts: written(accounts),
            pools: written(pools),
            nodes: written(nodes),
            states: states.iter().map(|state| state.as_str().to_owned()).collect(),
            jobs: jobs.clone(),
        }
    }

    pub(super) fn to_json(&self) -> io::Result<serde_json::Value> {
        Ok(serde_json::to_value(self)?)
    }

    /// The options in the record of a run; none if it has none.
    pub(super) fn read(pick: Option<serde_json::Value>) -> io::Result<Pick> {
        let pick: Option<Self> = pick.map(serde_json::from_value).transpose()?;
        pick.unwrap_or_default().to_pick().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    fn to_pick(&self) -> Result<Pick, globset::Error> {
        let read = |globs: &[String]| globs.iter().map(|glob| Glob::new(glob)).collect::<Result<_, _>>();
        Ok(Pick {
            accounts: read(&self.accounts)?,
            pools: read(&self.pools)?,
            nodes: read(&self.nodes)?,
            states: self.states.iter().cloned().map(NodeState::from).collect(),
            jobs: self.jobs.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_survive_the_record() {
        let glob = |text: &str| Glob::new(text).unwrap();
        let pick = Pick {
            accounts: vec![glob("con*")],
            pools: vec![glob("gpu-*"), glob("[ab]?")],
            nodes: vec![glob("tvmps_*")],
            states: vec![NodeState::Unusable, NodeState::from("newstate".to_owned())],
            jobs: vec!["render".into()],
        };
        for pick in [pick, Pick::default()] {
            let json = StoredPick::of(&pick).to_json().unwrap();
            assert_eq!(StoredPick::read(Some(json)).unwrap(), pick);
        }
        assert_eq!(StoredPick::of(&Pick::default()).to_json().unwrap(), serde_json::json!({}));
        assert_eq!(StoredPick::read(None).unwrap(), Pick::default());
        for unreadable in [serde_json::json!({ "nodes": "a" }), serde_json::json!({ "pools": ["[a"] })] {
            assert!(StoredPick::read(Some(unreadable)).is_err());
        }
    }
}
