//! From the config's text to [`Settings`], table by table.

use std::path::{Path, PathBuf};

use fleetlogs_azure::{Cloud, SharedKey};
use fleetlogs_engine::plan::Selection;
use fleetlogs_engine::settings::{Allowed, Budget, Deadlines, Limits, RetryPolicy, VerifySettings};
use fleetlogs_model::ids::AccountName;
use fleetlogs_model::sas::{SasUrl, is_https_or_loopback};
use fleetlogs_model::service::NodeState;
use globset::{Glob, GlobSet, GlobSetBuilder};
use sha2::{Digest, Sha256};
use toml::de::DeTable;
use url::Url;

use super::reader::{Mistakes, Table, Value, nearest};
use super::{
    AccountSettings, Auth, ConfigError, DEFAULT_API_VERSION, DEFAULTS, Destination, Settings, Simulator,
    WindowSpec, secret,
};

/// Reads a config file and everything it refers to.
pub(crate) fn load(path: &Path) -> Result<Settings, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable(path.into(), error))?;
    // The directory of a bare file name is the empty path, which no program can be started in.
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mistakes = Mistakes::of(&text);
    let settings = read(&text, dir, &mistakes);
    match (settings, mistakes.into_sorted()) {
        (Some(settings), mistakes) if mistakes.is_empty() => Ok(settings),
        (_, mistakes) => Err(ConfigError::Mistakes(path.into(), mistakes)),
    }
}

fn read(text: &str, dir: &Path, mistakes: &Mistakes<'_>) -> Option<Settings> {
    let defaults = DeTable::parse(DEFAULTS).expect("the built-in config is TOML");
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let offset = error.span().map_or(0, |span| span.start);
        mistakes.add(offset, "", format!("not TOML: {}", error.message()), None);
    }
    if !errors.is_empty() {
        // What was left out because it could not be read would be told as missing.
        return None;
    }
    let root = Table::root(document.get_ref(), defaults.get_ref(), mistakes);
    let settings = read_root(&root, text, dir);
    root.finish();
    settings
}

/// Reads every table before it gives up on any, so that all mistakes are found.
fn read_root(root: &Table<'_>, text: &str, dir: &Path) -> Option<Settings> {
    let window = window(root.table("window"));
    let limits = limits(root.table("limits"));
    let retry = retry(root.table("retry"));
    let deadlines = deadlines(root.table("deadlines"));
    let budget = budget(root.table("budget"));
    let simulator = root.has("simulator").then(|| simulator(root.table("simulator"), dir));
    let (destination, upload_allowance) = destination(root.table("destination"), dir, simulator.is_some());
    let (verification, verify) = verify(root.table("verify"), upload_allowance.unwrap_or_default());
    let output_dir = output(root.table("output"));
    let accounts = accounts(root, dir);
    if simulator.is_some() && root.has("account") {
        root.wrong("[simulator] and [[account]] do not go together", "remove one of them");
    }
    if simulator.is_none() && !root.has("account") {
        root.wrong("there is no Batch account", "add an [[account]] with `name`, `endpoint` and `auth`");
    }
    root.get("simulator");
    Some(Settings {
        digest: hex(&Sha256::digest(text)),
        window: window?,
        destination: destination?,
        upload_allowance: upload_allowance?,
        limits: limits?,
        retry: retry?,
        deadlines: deadlines?,
        budget: budget?,
        verification: verification?,
        verify: verify?,
        output_dir: output_dir?,
        accounts: accounts?,
        simulator: match simulator {
            Some(simulator) => Some(simulator?),
            None => None,
        },
    })
}

/// Bytes as lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn window(table: Table<'_>) -> Option<WindowSpec> {
    // The default is a form of its own, and must not mix with what is written.
    let form = |keys: &[&str]| keys.iter().any(|key| table.has(key));
    let (last, range, around) =
        (form(&["last"]), form(&["start", "end"]), form(&["around", "before", "after"]));
    for key in ["since"] {
        if table.has(key) {
            table.wrong("`since` is not supported yet", "use `last`, `start`/`end` or `around`");
            table.get("since");
        }
    }
    let spec = match (last, range, around) {
        (_, false, false) => table.get("last").and_then(|value| value.duration()).map(WindowSpec::Last),
        (false, true, false) => {
            let start = table.require("start", "2026-11-22T08:00:00Z").and_then(|value| value.moment());
            let end = table.get("end").map(|value| value.moment().ok_or(()));
            match (start, end) {
                (Some(start), Some(Ok(end))) if end <= start => {
                    table.wrong("`end` is not after `start`", "swap them");
                    None
                }
                (Some(start), Some(Ok(end))) => Some(WindowSpec::From(start, Some(end))),
                (Some(start), None) => Some(WindowSpec::From(start, None)),
                _ => None,
            }
        }
        (false, false, true) => {
            let side = |key| match table.get(key) {
                Some(value) => value.duration(),
                None => Some(std::time::Duration::from_secs(30 * 60)),
            };
            let moment = table.require("around", "2026-11-22T09:00:00Z").and_then(|value| value.moment());
            match (moment, side("before"), side("after")) {
                (Some(moment), Some(before), Some(after)) => {
                    Some(WindowSpec::From(moment - before, Some(moment + after)))
                }
                _ => None,
            }
        }
        _ => {
            table.wrong(
                "the window has more than one form",
                "keep `last`, or `start`/`end`, or `around` with `before`/`after`",
            );
            None
        }
    };
    for key in ["last", "start", "end", "around", "before", "after"] {
        table.get(key);
    }
    table.finish();
    spec
}

fn limits(table: Table<'_>) -> Option<Limits> {
    let rate = table.get("rate").and_then(|value| match value.as_str() {
        Some("unlimited") => Some(None),
        Some(text) => {
            value.wrong(
                format!("`{text}` is not a rate"),
                Some("write calls per second, or \"unlimited\"".into()),
            );
            None
        }
        None => value.number(&(0.01..=1_000_000.0)).map(Some),
    });
    let concurrency = table.get("concurrency").and_then(|value| value.whole(&(1..=4096)));
    let in_flight = table.get("max_uploads_in_flight").map(|value| value.whole(&(1..=1_000_000)).ok_or(()));
    table.finish();
    Some(Limits {
        rate: rate?,
        concurrency: concurrency? as usize,
        max_uploads_in_flight: in_flight.transpose().ok()?.map(|limit| limit as usize),
    })
}

fn retry(table: Table<'_>) -> Option<RetryPolicy> {
    let attempts = table.get("attempts").and_then(|value| value.whole(&(1..=100)));
    let base_delay = table.get("base_delay").and_then(|value| value.duration());
    let max_delay = table.get("max_delay").and_then(|value| value.duration());
    if let (Some(base), Some(max)) = (base_delay, max_delay)
        && base > max
    {
        table.wrong("`base_delay` is above `max_delay`", "swap them");
    }
    table.finish();
    Some(RetryPolicy { attempts: attempts?, base_delay: base_delay?, max_delay: max_delay? })
}

fn deadlines(table: Table<'_>) -> Option<Deadlines> {
    let [call, node, run] =
        ["call", "node", "run"].map(|key| table.get(key).and_then(|value| value.duration()));
    table.finish();
    Some(Deadlines { call: call?, node: node?, run: run? })
}

fn budget(table: Table<'_>) -> Option<Budget> {
    let [run, account] = ["run", "account"].map(|key| table.get(key).map(|value| allowed(&value).ok_or(())));
    table.finish();
    Some(Budget { run: run.transpose().ok()?, account: account.transpose().ok()? })
}

fn allowed(value: &Value<'_>) -> Option<Allowed> {
    let Some(text) = value.as_str() else { return value.whole(&(0..=u32::MAX)).map(Allowed::Nodes) };
    let percent =
        text.strip_suffix('%').and_then(|number| number.trim().parse().ok()).filter(|number| *number <= 100);
    if percent.is_none() {
        let help = "write a number of nodes, or a share of the plan such as \"5%\"";
        value.wrong(format!("`{text}` is not a budget"), Some(help.into()));
    }
    percent.map(Allowed::Percent)
}

fn verify(table: Table<'_>, upload_allowance: std::time::Duration) -> (Option<bool>, Option<VerifySettings>) {
    let enabled = table.get("enabled").and_then(|value| value.boolean());
    let [deadline, settle] =
        ["deadline", "settle"].map(|key| table.get(key).and_then(|value| value.duration()));
    table.finish();
    let settings =
        deadline.zip(settle).map(|(deadline, settle)| VerifySettings { deadline, settle, upload_allowance });
    (enabled, settings)
}

fn output(table: Table<'_>) -> Option<PathBuf> {
    // Relative to where the program runs, as other tools' output is; not to the config.
    let dir = table.get("dir").and_then(|value| {
        let dir = value.string()?;
        if dir.is_empty() {
            value.wrong("the directory has no name", Some("write \".\" for the current one".into()));
            return None;
        }
        Some(PathBuf::from(dir))
    });
    table.finish();
    dir
}

fn simulator(table: Table<'_>, dir: &Path) -> Option<Simulator> {
    let scenario = table.require("scenario", "\"demo-fleet.toml\"").and_then(|value| {
        let path = dir.join(value.string()?);
        if !path.is_file() {
            value.wrong(format!("there is no file `{}`", path.display()), None);
            return None;
        }
        Some(path)
    });
    table.finish();
    Some(Simulator { scenario: scenario? })
}

type DestinationRead = (Option<Option<Destination>>, Option<std::time::Duration>);

fn destination(table: Table<'_>, dir: &Path, simulated: bool) -> DestinationRead {
    let allowance = table.get("upload_allowance").and_then(|value| value.duration());
    let example = "{ env = \"FLEETLOGS_CONTAINER_URL\" }";
    let container = match table.get("container_url") {
        None if simulated && !table.has("verify_url") => {
            table.get("verify_url");
            table.finish();
            return (Some(None), allowance);
        }
        None => table.require("container_url", example),
        found => found,
    };
    let container = container.and_then(|value| sas_url(&value, dir));
    let verify = table.get("verify_url").map(|value| sas_url(&value, dir).ok_or(()));
    table.finish();
    let destination = match (container, verify.transpose()) {
        (Some(container), Ok(verify)) => Some(Some(Destination { container, verify })),
        _ => None,
    };
    (destination, allowance)
}

fn sas_url(value: &Value<'_>, dir: &Path) -> Option<SasUrl> {
    let text = secret::read(value, dir)?;
    match SasUrl::parse(text.expose()) {
        Ok(sas) => Some(sas),
        Err(error) => {
            let help = "a container URL looks like https://ACCOUNT.blob.core.windows.net/CONTAINER?sp=w&se=...&sig=...";
            value.wrong(format!("this is no container URL with a SAS: {error}"), Some(help.into()));
            None
        }
    }
}

fn accounts(root: &Table<'_>, dir: &Path) -> Option<Vec<AccountSettings>> {
    let tables = root.tables("account");
    let mut seen: Vec<(String, usize)> = Vec::new();
    let mut accounts = Vec::new();
    let mut all_good = true;
    for table in tables {
        match account(table, dir, &mut seen) {
            Some(account) => accounts.push(account),
            None => all_good = false,
        }
    }
    all_good.then_some(accounts)
}

fn account(table: Table<'_>, dir: &Path, seen: &mut Vec<(String, usize)>) -> Option<AccountSettings> {
    let name = table.require("name", "\"contoso\"").and_then(|value| {
        let name = value.string()?;
        let fits =
            !name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-');
        if !fits {
            value.wrong(
                format!("`{name}` is not the name of a Batch account"),
                Some("it has letters and digits only".into()),
            );
            return None;
        }
        if let Some((_, line)) = seen.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
            value.wrong(
                format!("two accounts are named `{name}`; the first is in line {line}"),
                Some("name each account once".into()),
            );
            return None;
        }
        seen.push((name.to_owned(), value.line()));
        Some(AccountName::new(name))
    });
    let endpoint = table
        .require("endpoint", "\"https://contoso.westeurope.batch.azure.com\"")
        .and_then(|value| endpoint(&value));
    let cloud = table.get("cloud").map_or(Some(Cloud::Public), |value| cloud(&value));
    let auth = table.require("auth", "\"entra\"").and_then(|value| auth(&value, dir, name.as_ref(), cloud?));
    let api_version =
        table.get("api_version").map_or(Some(DEFAULT_API_VERSION.to_owned()), |value| api_version(&value));
    let pools = table.get("pools").map_or_else(|| globs(&["*"], |_| {}), |value| glob_list(&value));
    let exclude_pools =
        table.get("exclude_pools").map_or_else(|| globs(&[], |_| {}), |value| glob_list(&value));
    let states = table.get("nodes").map_or(Ok(None), |value| node_states(&value));
    table.finish();
    Some(AccountSettings {
        name: name?,
        endpoint: endpoint?,
        auth: auth?,
        api_version: api_version?,
        selection: Selection { pools: pools?, exclude_pools: exclude_pools?, states: states.ok()? },
    })
}

fn endpoint(value: &Value<'_>) -> Option<Url> {
    let text = value.string()?;
    let help = || Some("write it as https://ACCOUNT.REGION.batch.azure.com, without a path".to_owned());
    let Ok(url) = Url::parse(text) else {
        value.wrong(format!("`{text}` is not a URL"), help());
        return None;
    };
    if !is_https_or_loopback(&url) {
        value.wrong("must start with https:// (http:// is for loopback addresses only)", help());
        return None;
    }
    let bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
    if !bare || !url.username().is_empty() || url.password().is_some() {
        value.wrong("must be a host and nothing else", help());
        return None;
    }
    Some(url)
}

fn cloud(value: &Value<'_>) -> Option<Cloud> {
    match value.string()? {
        "public" => Some(Cloud::Public),
        "us-government" => Some(Cloud::UsGovernment),
        "china" => Some(Cloud::China),
        other => {
            value.wrong(
                format!("no cloud `{other}`"),
                Some("known are `public`, `us-government` and `china`".into()),
            );
            None
        }
    }
}

fn auth(value: &Value<'_>, dir: &Path, account: Option<&AccountName>, cloud: Cloud) -> Option<Auth> {
    let help = || Some("write \"entra\" or { shared_key = { env = \"NAME\" } }".to_owned());
    if let Some(text) = value.as_str() {
        if text == "entra" {
            return Some(Auth::Entra(cloud));
        }
        value.wrong(format!("no way to authenticate is called `{text}`"), help());
        return None;
    }
    if !value.is_table() {
        value.wrong("expected \"entra\" or a table", help());
        return None;
    }
    let table = value.table()?;
    let key = table.require("shared_key", "{ env = \"NAME\" }").and_then(|source| {
        let key = secret::read(&source, dir)?;
        if let Err(error) = SharedKey::new(account.map_or("", AccountName::as_str), &key) {
            source.wrong(error.to_string(), Some("copy the account's key as the portal shows it".into()));
            return None;
        }
        Some(key)
    });
    table.finish();
    key.map(Auth::SharedKey)
}

fn api_version(value: &Value<'_>) -> Option<String> {
    let text = value.string()?;
    let fits = text.len() >= 10
        && text.starts_with("20")
        && text.chars().all(|letter| letter.is_ascii_digit() || letter == '-' || letter == '.');
    if !fits {
        value.wrong(
            format!("`{text}` is not an api-version"),
            Some(format!("the default is `{DEFAULT_API_VERSION}`")),
        );
        return None;
    }
    Some(text.to_owned())
}

fn glob_list(value: &Value<'_>) -> Option<GlobSet> {
    let patterns = value.strings()?;
    globs(&patterns, |error| value.wrong(format!("not a pattern: {error}"), None))
}

fn globs(patterns: &[&str], mut wrong: impl FnMut(&globset::Error)) -> Option<GlobSet> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        match Glob::new(pattern) {
            Ok(glob) => {
                set.add(glob);
            }
            Err(error) => {
                wrong(&error);
                return None;
            }
        }
    }
    set.build().ok()
}

/// The states to take; none for all. An error where a mistake was found.
fn node_states(value: &Value<'_>) -> Result<Option<Vec<NodeState>>, ()> {
    let table = value.table().ok_or(())?;
    let states = table.get("states").map(|value| {
        let items = value.items("an array of node states")?;
        let state = |item: &Value<'_>| {
            let text = item.string()?;
            let state = NodeState::from(text.to_owned());
            if matches!(state, NodeState::Other(_)) {
                let near = nearest(text, NodeState::known()).map(|near| format!("did you mean `{near}`?"));
                let known = || NodeState::known().collect::<Vec<_>>().join(", ");
                item.wrong(
                    format!("no node state `{text}`"),
                    near.or_else(|| Some(format!("known are {}", known()))),
                );
                return None;
            }
            Some(state)
        };
        items.iter().map(state).collect::<Option<Vec<_>>>()
    });
    table.finish();
    states.map(|states| states.ok_or(())).transpose()
}
