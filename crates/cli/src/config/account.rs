//! The tables `[[account]]`.

use std::path::Path;

use fleetlogs_azure::{Cloud, SharedKey};
use fleetlogs_engine::select::Selection;
use fleetlogs_model::ids::AccountName;
use fleetlogs_model::sas::is_https_or_loopback;
use fleetlogs_model::secret::Secret;
use url::Url;

use super::defaults::DEFAULT_API_VERSION;
use super::queue_name::site;
use super::reader::{Table, Value};
use super::secret;
use super::secret_form::Wanted;
use super::selection::selection;

/// One Batch account.
#[derive(Clone, Debug)]
pub(crate) struct AccountSettings {
    pub(crate) name: AccountName,
    pub(crate) endpoint: Url,
    pub(crate) auth: Auth,
    pub(crate) api_version: String,
    pub(crate) selection: Selection,
    /// The network from which workers reach it. Accounts without a site are reached by every worker without one.
    pub(crate) site: Option<String>,
}

/// How to authenticate with a Batch account.
#[derive(Clone, Debug)]
pub(crate) enum Auth {
    /// A token of Microsoft Entra ID.
    Entra {
        cloud: Cloud,
        /// The audience of the token, if it is not the usual one of the cloud.
        audience: Option<String>,
    },
    /// The account's key.
    SharedKey(Secret),
}

/// The settings that all accounts found in a subscription share. They authenticate with tokens, because each account
/// has its own key.
#[derive(Clone, Debug)]
pub(crate) struct FoundAccountSettings {
    pub(crate) audience: Option<String>,
    pub(crate) api_version: String,
    pub(crate) selection: Selection,
    pub(crate) site: Option<String>,
}

/// All accounts, and the settings of accounts found in subscriptions. None if there was a mistake.
pub(super) fn accounts(
    root: &Table<'_>,
    dir: &Path,
) -> (Option<Vec<AccountSettings>>, Option<FoundAccountSettings>) {
    let shared = root.table("defaults");
    let mut seen: Vec<(String, usize)> = Vec::new();
    let mut accounts = Vec::new();
    let mut all_good = true;
    for table in root.tables("account") {
        match account(table.with_defaults(&shared), dir, &mut seen) {
            Some(account) => accounts.push(account),
            None => all_good = false,
        }
    }
    shared.allow(&SHARED);
    let of_found = if root.has("discover") { shared_by_found(&shared) } else { None };
    shared.finish();
    (all_good.then_some(accounts), of_found)
}

fn shared_by_found(shared: &Table<'_>) -> Option<FoundAccountSettings> {
    if let Some(auth) = shared.get("auth").filter(|auth| auth.as_str() != Some("entra")) {
        let help = "write auth = \"entra\", or add an [[account]] for each account with a key";
        auth.wrong("accounts found in a subscription authenticate with tokens", Some(help.into()));
        return None;
    }
    let audience = shared.optional("audience", audience);
    let version = shared.get("api_version");
    let api_version = version.map_or(Some(DEFAULT_API_VERSION.to_owned()), |value| api_version(&value));
    let site = shared.optional("site", site);
    let selection = selection(shared);
    Some(FoundAccountSettings {
        audience: audience.ok()?,
        api_version: api_version?,
        selection: selection?,
        site: site.ok()?,
    })
}

/// Keys of an account that `[defaults]` may set for all.
const SHARED: [&str; 13] = [
    "auth",
    "cloud",
    "audience",
    "api_version",
    "site",
    "pools",
    "exclude_pools",
    "pool_metadata",
    "allocation_states",
    "vm_sizes",
    "os",
    "nodes",
    "jobs",
];

fn account(table: Table<'_>, dir: &Path, seen: &mut Vec<(String, usize)>) -> Option<AccountSettings> {
    let endpoint = table
        .require("endpoint", "\"https://contoso.westeurope.batch.azure.com\"")
        .and_then(|value| endpoint(&value));
    // Azure makes the endpoint of the name; of another host, nothing is known.
    let derived = endpoint.as_ref().filter(|_| !table.has("name")).and_then(name_in_endpoint);
    let name = match derived {
        Some(name) => once(&name, table.line(), seen, |message, help| table.wrong(message, help)),
        None if endpoint.is_none() && !table.has("name") => None,
        None => table.require("name", "\"contoso\"").and_then(|value| {
            let name = value.string()?;
            let fits = !name.is_empty()
                && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-');
            if !fits {
                value
                    .wrong(format!("`{name}` is not the name of a Batch account"), Some(help_for_name(name)));
                return None;
            }
            once(name, value.line(), seen, |message, help| value.wrong(message, Some(help.into())))
        }),
    };
    table.allow(&["name"]);
    let cloud = match table.get("cloud") {
        Some(value) => cloud(&value),
        // A token of another cloud would be rejected.
        None => Some(endpoint.as_ref().and_then(Cloud::of_endpoint).unwrap_or_default()),
    };
    let audience = table.optional("audience", audience);
    let auth = table
        .require("auth", "\"entra\"")
        .and_then(|value| auth(&value, dir, name.as_ref(), cloud?, audience.ok()?));
    let api_version =
        table.get("api_version").map_or(Some(DEFAULT_API_VERSION.to_owned()), |value| api_version(&value));
    let site = table.optional("site", site);
    let selection = selection(&table);
    table.finish();
    Some(AccountSettings {
        name: name?,
        endpoint: endpoint?,
        auth: auth?,
        api_version: api_version?,
        selection: selection?,
        site: site.ok()?,
    })
}

/// The name of an account, if no account before it has it.
fn once(
    name: &str,
    line: usize,
    seen: &mut Vec<(String, usize)>,
    wrong: impl FnOnce(String, &'static str),
) -> Option<AccountName> {
    if let Some((_, first)) = seen.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
        let message = format!("two accounts are named `{name}`; the first is on line {first}");
        wrong(message, "list each account once");
        return None;
    }
    seen.push((name.to_owned(), line));
    Some(AccountName::new(name))
}

/// The name of the account at an endpoint of Azure: `contoso` of `contoso.westeurope.batch.azure.com`.
pub(crate) fn name_in_endpoint(endpoint: &Url) -> Option<String> {
    Cloud::of_endpoint(endpoint)?;
    let name = endpoint.host_str()?.split('.').next()?;
    (!name.is_empty()).then(|| name.to_owned())
}

/// The endpoint that `init` writes where it knows none.
pub(crate) const ENDPOINT_TO_FILL_IN: &str = "https://ACCOUNT.REGION.batch.azure.com";

/// An account is often named by the host of its endpoint, or by the part before `batch.azure.com`.
fn help_for_name(name: &str) -> String {
    let host = name.split_once("://").map_or(name, |(_, rest)| rest);
    let first = host.split(['.', '/']).next().unwrap_or_default();
    let rest = host.get(first.len()..).unwrap_or_default().trim_end_matches('/');
    let fits = !first.is_empty() && first.chars().all(|letter| letter.is_ascii_alphanumeric());
    if fits && rest.starts_with('.') {
        format!("write \"{first}\", without `{rest}`: the region belongs into `endpoint` only")
    } else {
        "it has letters and digits only".into()
    }
}

/// The endpoint that a text without `https://`, or with a path behind the host, most likely means.
pub(crate) fn corrected_endpoint(text: &str) -> Option<Url> {
    let (scheme, rest) = text.trim().split_once("://").unwrap_or(("https", text.trim()));
    let host = rest.split(['/', '?', '#']).next()?.rsplit('@').next()?;
    let is_here = Url::parse(&format!("http://{host}")).is_ok_and(|url| is_https_or_loopback(&url));
    let scheme = if is_here && scheme == "http" { "http" } else { "https" };
    let url = Url::parse(&format!("{scheme}://{host}")).ok()?;
    // A host of one word is no host of Azure, and one of storage is not that of a Batch account.
    let is_likely = host.contains('.') && !host.contains(".blob.") || is_here;
    is_likely.then_some(url)
}

fn endpoint(value: &Value<'_>) -> Option<Url> {
    let text = value.string()?;
    let help = || {
        Some(match corrected_endpoint(text) {
            Some(url) => format!("write endpoint = \"{}\"", url.as_str().trim_end_matches('/')),
            None => "write it as https://ACCOUNT.REGION.batch.azure.com, without a path".to_owned(),
        })
    };
    if text.eq_ignore_ascii_case(ENDPOINT_TO_FILL_IN) {
        let help = "write the endpoint of your account: `az batch account show --name NAME --resource-group GROUP \
                    --query accountEndpoint`, or the portal's Overview";
        value.wrong("this is still to be filled in", Some(help.into()));
        return None;
    }
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
        value.wrong("must be a host without a path, query or user", help());
        return None;
    }
    Some(url)
}

/// Reads the name of a cloud.
pub(super) fn cloud(value: &Value<'_>) -> Option<Cloud> {
    let name = value.string()?;
    let known = Cloud::ALL.into_iter().find(|cloud| cloud.as_str() == name);
    if known.is_none() {
        let [names @ .., last] = Cloud::ALL.map(|cloud| format!("`{}`", cloud.as_str()));
        value.wrong(format!("`{name}` is not a cloud"), Some(format!("use {} or {last}", names.join(", "))));
    }
    known
}

/// Reads the audience of tokens. The service compares it including the slash at its end.
fn audience(value: &Value<'_>) -> Option<String> {
    let text = value.string()?;
    if Url::parse(text).is_err() || !text.ends_with('/') {
        let help = "write it with a slash at the end, such as \"https://batch.core.windows.net/\"";
        value.wrong(format!("`{text}` is not an audience"), Some(help.into()));
        return None;
    }
    Some(text.to_owned())
}

fn auth(
    value: &Value<'_>,
    dir: &Path,
    account: Option<&AccountName>,
    cloud: Cloud,
    audience: Option<String>,
) -> Option<Auth> {
    let help = || Some("write \"entra\" or { shared_key = { env = \"NAME\" } }".to_owned());
    if let Some(text) = value.as_str() {
        if text == "entra" {
            return Some(Auth::Entra { cloud, audience });
        }
        value.wrong(format!("`{text}` is not a way to authenticate"), help());
        return None;
    }
    if !value.is_table() {
        value.wrong("expected \"entra\" or a table", help());
        return None;
    }
    let table = value.table()?;
    let key = table.require("shared_key", "{ env = \"NAME\" }").and_then(|source| {
        let key = secret::read(&source, dir, Wanted::BatchKey)?;
        // A name that is wrong has been reported.
        if let Err(error) = SharedKey::new(account.map_or("any", AccountName::as_str), &key) {
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
