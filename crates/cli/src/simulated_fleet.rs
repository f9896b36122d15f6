//! A fleet that is simulated in this process, as a config would name it.

use fleetlogs_engine::select::{NodeFilter, PoolFilter, Selection};
use fleetlogs_model::ids::AccountName;
use fleetlogs_model::sas::SasUrl;
use fleetlogs_model::secret::Secret;
use fleetlogs_sim::{Scenario, ScenarioError, Simulator};
use url::Url;

use crate::config::{
    AccountSettings, Auth, DEFAULT_API_VERSION, DestinationSettings, GivenSas, WriteSettings,
};
use crate::error::{CliError, Refusal, instead_of};
use crate::file_kind::FileKind;
use crate::input_file::{InputText, LONGEST_TEXT, read_text};

/// Reads a scenario and serves it.
pub(crate) async fn start_simulator(path: &std::path::Path) -> Result<Simulator, CliError> {
    let listen = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    Ok(Simulator::start(read_scenario(path)?, listen).await?)
}

fn unusable_scenario(path: &std::path::Path, error: &ScenarioError) -> CliError {
    let help = "a scenario has [[account]] with [[account.pool]]; docs/reference/scenario.md lists every key";
    let is_scenario = matches!(FileKind::of(path), Some(FileKind::Scenario));
    if !is_scenario && let Some(refusal) = instead_of("a scenario", path, help) {
        return CliError::usage(refusal);
    }
    let what = format!("the scenario `{}` cannot be used: {error}", path.display());
    CliError::usage(Refusal::new(what, "docs/reference/scenario.md lists every key"))
}

pub(crate) fn read_scenario(path: &std::path::Path) -> Result<Scenario, CliError> {
    let InputText { text, .. } =
        read_text(path, LONGEST_TEXT).map_err(|error| CliError::input(path, &error))?;
    Scenario::from_toml(&text).map_err(|error| unusable_scenario(path, &error))
}

/// The accounts and the container of a simulated fleet, as a config would name them.
pub(crate) fn simulated(simulator: &Simulator) -> (Vec<AccountSettings>, Option<DestinationSettings>) {
    let ready = simulator.ready();
    let everything = || {
        let mut set = globset::GlobSetBuilder::new();
        set.add(globset::Glob::new("*").expect("a pattern"));
        set.build().expect("a set of patterns")
    };
    let accounts = ready
        .accounts
        .iter()
        .map(|account| AccountSettings {
            name: AccountName::new(account.name.as_str()),
            endpoint: Url::parse(&account.endpoint).expect("the simulator's own URL"),
            auth: Auth::SharedKey(Secret::new(account.key.clone())),
            api_version: DEFAULT_API_VERSION.into(),
            selection: Selection {
                pools: PoolFilter::by_id(everything(), globset::GlobSet::empty()),
                nodes: NodeFilter::default(),
                jobs: vec![],
                exact: None,
            },
            site: None,
        })
        .collect();
    let given = |url: &str| GivenSas::just_read(SasUrl::parse(url).expect("the simulator's own URL"), None);
    let destination = DestinationSettings {
        write: WriteSettings::Given(given(&ready.container_url)),
        verify: Some(given(&ready.verify_url)),
    };
    (accounts, Some(destination))
}
