//! `fleetlogs sim`: serves a simulated fleet, and writes configs for `fleetlogs run`.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Parser;
use fleetlogs_engine::stop::{Stop, StopHandle};
use fleetlogs_model::files::dir_of;
use fleetlogs_model::whole_file::write_whole;
use fleetlogs_sim::{Ready, ReadyAccount, Simulator};

use crate::error::CliError;
use crate::exit::Exit;
use crate::output::say;
use crate::signals;
use crate::simulated_fleet::read_scenario;

#[derive(Debug, Parser)]
pub(crate) struct SimArgs {
    /// The scenario file
    pub(crate) scenario: PathBuf,
    /// Listen on this address; each further account and the blob service get ports of their own
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,
    /// Write endpoints, keys and the path of a config to this file once the simulator serves
    #[arg(long, value_name = "FILE")]
    pub(crate) ready: Option<PathBuf>,
}

pub(crate) async fn sim(args: &SimArgs) -> Result<Exit, CliError> {
    let scenario = read_scenario(&args.scenario)?;
    let stop = StopHandle::default();
    signals::listen(&stop)?;
    let simulator = Simulator::start(scenario, args.listen).await?;
    for account in &simulator.ready().accounts {
        say(&format!("account {} at {}\n", account.name, account.endpoint));
    }
    say(&format!("container {}\n", simulator.ready().container));
    say(&format!("ledger {}\n", simulator.ready().ledger));
    if let Some(path) = &args.ready {
        let config =
            write_ready(path, simulator.ready().clone()).map_err(|error| CliError::file(path, &error))?;
        // The identity that accounts without a key need is one that the simulator plays.
        let identity = match simulator.ready() {
            ready if needs_identity(ready) => {
                let given = &ready.environment;
                format!(
                    "IDENTITY_ENDPOINT={} IDENTITY_HEADER={} ",
                    given.identity_endpoint, given.identity_header
                )
            }
            _ => String::new(),
        };
        say(&format!("collect its logs with: {identity}fleetlogs run {config}\n"));
    }
    stop.reached(Stop::Drain).await;
    simulator.shutdown().await;
    Ok(Exit::Complete)
}

/// Short times for drills: simulated nodes upload within seconds.
const QUICK: &str = "\n[deadlines]\ncall = \"5s\"\n\n[verify]\ndeadline = \"1m\"\nsettle = \"10s\"\n";

fn takes_key(account: &ReadyAccount) -> bool {
    account.auth.contains(&"shared-key")
}

fn needs_identity(ready: &Ready) -> bool {
    !ready.accounts.iter().all(takes_key)
}

/// Writes two configs and their secrets, and last the document that says that the simulator serves.
fn write_ready(path: &Path, mut ready: Ready) -> std::io::Result<String> {
    let dir = dir_of(path).canonicalize()?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut given = String::from("# A config for the simulator that wrote it.\n\n[destination]\n");
    for (key, url) in [("container_url", &ready.container_url), ("verify_url", &ready.verify_url)] {
        let file = format!("{name}.{key}");
        write_whole(&dir, &file, url.as_bytes())?;
        let _ = writeln!(given, "{key} = {{ file = \"{file}\" }}");
    }
    if needs_identity(&ready) {
        given.push_str(MANAGED);
    }
    let mut accounts = String::from(QUICK);
    for account in &ready.accounts {
        let file = format!("{name}.{}.key", account.name);
        write_whole(&dir, &file, account.key.as_bytes())?;
        let auth = if takes_key(account) {
            format!("{{ shared_key = {{ file = \"{file}\" }} }}")
        } else {
            "\"entra\"".to_owned()
        };
        let _ = write!(
            accounts,
            "\n[[account]]\nname = \"{}\"\nendpoint = \"{}\"\nauth = {auth}\n",
            account.name, account.endpoint
        );
    }
    let write = |name: String, text: String| -> std::io::Result<String> {
        write_whole(&dir, &name, text.as_bytes())?;
        Ok(dir.join(name).display().to_string())
    };
    let config = write(format!("{name}.fleetlogs.toml"), given + &accounts)?;
    ready.full_config = Some(write(format!("{name}.full.toml"), full_config(&ready) + &accounts)?);
    ready.config = Some(config.clone());
    write_whole(&dir, &name, &serde_json::to_vec_pretty(&ready)?)?;
    Ok(config)
}

const MANAGED: &str = "\n[entra]\ncredential = \"managed-identity\"\n";

/// The first tables of a config that creates its SAS and opens tickets, both with the simulator's identity.
fn full_config(ready: &Ready) -> String {
    let Ready { storage, container, arm, environment, .. } = ready;
    let container = container.rsplit('/').next().unwrap_or_default();
    let mut config = format!(
        "# A config for the simulator that wrote it, also for `share` and `ticket`. It needs these variables:\n\
         # IDENTITY_ENDPOINT={} IDENTITY_HEADER={}\n\n\
         [destination]\nmint = \"user-delegation\"\naccount = \"{}\"\ncontainer = \"{container}\"\n{MANAGED}",
        environment.identity_endpoint, environment.identity_header, storage.endpoint
    );
    if let Some(account) = ready.accounts.first() {
        let _ = write!(
            config,
            "\n[ticket]\nresource_id = \"/subscriptions/{}/resourceGroups/simulated/providers/Microsoft.Batch/batchAccounts/{}\"\n\
             problem_classification = \"Node is unusable\"\n\
             contact = {{ first_name = \"Ada\", last_name = \"Operator\", email = \"ada@contoso.example\", country = \"DEU\" }}\n\
             management = \"{arm}\"\n",
            account.subscription, account.name
        );
    }
    config
}
