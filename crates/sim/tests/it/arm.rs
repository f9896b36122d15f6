//! Finding accounts through Azure Resource Manager.

use crate::common::{Caller, http, refusal, simulate, token};
use fleetlogs_sim::Simulator;
use reqwest::Response;
use serde_json::Value;

const AUDIENCE: &str = "https://management.azure.com/";
const OTHER: &str = "00000000-0000-0000-0000-00000000000f";

fn fleet() -> String {
    let account = |name: &str, more: &str| {
        format!(
            r#"
            [[account]]
            name = "{name}"
            {more}
            [[account.pool]]
            id = "p"
            "#
        )
    };
    account("contoso1", "pool_allocation_mode = \"UserSubscription\"")
        + &account("contoso2", "")
        + &account("contoso3", "auth = [\"entra\"]")
        + &account("elsewhere", &format!("subscription = \"{OTHER}\""))
}

fn list_of(simulator: &Simulator, subscription: &str) -> String {
    let arm = &simulator.ready().arm;
    format!(
        "{arm}/subscriptions/{subscription}/providers/Microsoft.Batch/batchAccounts?api-version=2024-07-01"
    )
}

fn first(simulator: &Simulator) -> String {
    list_of(simulator, "00000000-0000-0000-0000-000000000001")
}

async fn get(url: &str, token: &str) -> Response {
    http().get(url).bearer_auth(token).send().await.expect("an answer")
}

async fn error(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let body: Value = response.json().await.expect("JSON");
    assert!(body["error"]["message"].is_string(), "{body}");
    (status, body["error"]["code"].as_str().expect("a code").to_owned())
}

#[tokio::test]
async fn the_accounts_of_a_subscription_come_in_pages_of_two() {
    let simulator = simulate(&fleet()).await;
    let token = token(&simulator, AUDIENCE).await;

    let page: Value = get(&first(&simulator), &token).await.json().await.expect("JSON");
    let link = page["nextLink"].as_str().expect("a link");
    let rest: Value = get(link, &token).await.json().await.expect("JSON");

    assert!(link.starts_with(&simulator.ready().arm));
    let names: Vec<&Value> = [&page, &rest]
        .iter()
        .flat_map(|page| page["value"].as_array().expect("a list"))
        .map(|a| &a["name"])
        .collect();
    assert_eq!(names, ["contoso1", "contoso2", "contoso3"]);
    assert_eq!((page["value"].as_array().map(Vec::len), rest.get("nextLink")), (Some(2), None));
}

#[tokio::test]
async fn an_account_says_where_it_is_and_what_it_accepts() {
    let simulator = simulate(&fleet()).await;
    let token = token(&simulator, AUDIENCE).await;

    let page: Value = get(&first(&simulator), &token).await.json().await.expect("JSON");

    let (user, batch) = (&page["value"][0], &page["value"][1]);
    assert!(
        user["id"]
            .as_str()
            .is_some_and(|id| id.ends_with("/providers/Microsoft.Batch/batchAccounts/contoso1"))
    );
    assert!(user["location"].is_string());
    let endpoint = user["properties"]["accountEndpoint"].as_str().expect("an endpoint");
    assert_eq!(format!("http://{endpoint}"), simulator.ready().accounts[0].endpoint);
    let mode = |account: &Value| account["properties"]["poolAllocationMode"].as_str().map(str::to_owned);
    assert_eq!(
        (mode(user).as_deref(), mode(batch).as_deref()),
        (Some("UserSubscription"), Some("BatchService"))
    );
    let takes_key = |account: &Value| {
        account["properties"]["allowedAuthenticationModes"].to_string().contains("SharedKey")
    };
    assert!(!takes_key(user) && takes_key(batch));
    assert_eq!(user["properties"]["publicNetworkAccess"], "Enabled");
    assert_eq!(user["properties"]["provisioningState"], "Succeeded");
}

#[tokio::test]
async fn another_subscription_has_other_accounts_and_most_are_not_there() {
    let simulator = simulate(&fleet()).await;
    let token = token(&simulator, AUDIENCE).await;
    let at = async |subscription: &str| get(&list_of(&simulator, subscription), &token).await;

    let other: Value = at(&OTHER.to_uppercase()).await.json().await.expect("JSON");

    assert_eq!(other["value"][0]["name"], "elsewhere");
    let unknown = error(at("00000000-0000-0000-0000-000000000099").await).await;
    assert_eq!(unknown, (404, "SubscriptionNotFound".to_owned()));
    assert_eq!(error(at("mine").await).await, (400, "InvalidSubscriptionId".to_owned()));
}

#[tokio::test]
async fn only_a_token_for_the_manager_opens_it() {
    let simulator = simulate(&fleet()).await;
    let url = first(&simulator);
    let bare = http().get(&url).send().await.expect("an answer");
    let for_batch = token(&simulator, "https://batch.core.windows.net/").await;

    assert!(bare.headers().contains_key("www-authenticate"));
    assert_eq!(error(bare).await, (401, "AuthenticationFailed".to_owned()));
    assert_eq!(error(get(&url, "made up").await).await, (401, "InvalidAuthenticationToken".to_owned()));
    assert_eq!(
        error(get(&url, &for_batch).await).await,
        (401, "InvalidAuthenticationTokenAudience".to_owned())
    );
}

#[tokio::test]
async fn a_token_ends_for_the_manager_too() {
    let simulator = simulate(&format!("[identity]\ntoken_lifetime = \"1s\"\n{}", fleet())).await;
    let token = token(&simulator, AUDIENCE).await;

    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;

    let refused = error(get(&first(&simulator), &token).await).await;
    assert_eq!(refused, (401, "ExpiredAuthenticationToken".to_owned()));
}

#[tokio::test]
async fn a_token_for_the_manager_opens_no_account() {
    let simulator = simulate(&fleet()).await;
    let token = token(&simulator, AUDIENCE).await;

    let url = format!("{}/pools?api-version=2024-07-01.20.0", simulator.ready().accounts[0].endpoint);

    assert_eq!(refusal(get(&url, &token).await).await, (401, "AuthenticationFailed".to_owned()));
}

#[tokio::test]
async fn an_account_in_the_subscription_of_its_user_refuses_its_key() {
    let simulator = simulate(&fleet()).await;
    let token = token(&simulator, "https://batch.core.windows.net/").await;

    let refused = refusal(Caller::new(&simulator).get("/pools").await).await;
    let url = format!("{}/pools?api-version=2024-07-01.20.0", simulator.ready().accounts[0].endpoint);

    assert_eq!(refused, (403, "AuthenticationFailed".to_owned()));
    assert_eq!(get(&url, &token).await.status().as_u16(), 200);
}

#[tokio::test]
async fn a_version_is_needed_and_must_be_known() {
    let simulator = simulate(&fleet()).await;
    let token = token(&simulator, AUDIENCE).await;
    let url = first(&simulator);

    let missing = get(url.split_once('?').expect("a query").0, &token).await;
    let unknown = get(&url.replace("2024-07-01", "2024-07-01.20.0"), &token).await;
    let skipped = get(&format!("{url}&$skipToken=nowhere"), &token).await;

    assert_eq!(error(missing).await, (400, "MissingApiVersionParameter".to_owned()));
    assert_eq!(error(unknown).await, (400, "NoRegisteredProviderFound".to_owned()));
    assert_eq!(error(skipped).await, (400, "InvalidSkipToken".to_owned()));
}

#[tokio::test]
async fn subscriptions_and_their_storage_accounts_are_listed_in_pages_of_two() {
    let simulator = simulate(&format!("[storage]\nothers = [\"archive\", \"backup\"]\n{}", fleet())).await;
    let token = token(&simulator, AUDIENCE).await;
    let arm = &simulator.ready().arm;
    let all = |url: String, name: &'static str| {
        let token = token.clone();
        async move {
            let (mut names, mut next) = (Vec::new(), Some(url));
            while let Some(url) = next {
                let page: Value = get(&url, &token).await.json().await.expect("JSON");
                let items = page["value"].as_array().expect("a list");
                assert!(items.len() <= 2, "{page}");
                names.extend(items.iter().map(|item| item[name].as_str().expect("a name").to_owned()));
                next = page["nextLink"].as_str().map(str::to_owned);
            }
            names
        }
    };

    let first = "00000000-0000-0000-0000-000000000001";
    let subscriptions = all(format!("{arm}/subscriptions?api-version=2022-12-01"), "subscriptionId").await;
    assert_eq!(subscriptions, [first, OTHER]);
    let storage = |subscription: &str| {
        format!(
            "{arm}/subscriptions/{subscription}/providers/Microsoft.Storage/storageAccounts?api-version=2023-05-01"
        )
    };
    assert_eq!(all(storage(first), "name").await, ["simlogs", "archive", "backup"]);
    assert!(all(storage(OTHER), "name").await.is_empty());
    let page: Value = get(&storage(first), &token).await.json().await.expect("JSON");
    let blob = page["value"][0]["properties"]["primaryEndpoints"]["blob"].as_str().expect("an endpoint");
    assert_eq!(blob.trim_end_matches('/'), simulator.ready().storage.endpoint);
    let unknown = storage("00000000-0000-0000-0000-0000000000ff");
    assert_eq!(error(get(&unknown, &token).await).await, (404, "SubscriptionNotFound".to_owned()));
    let old = format!("{arm}/subscriptions?api-version=2014-04-01");
    assert_eq!(error(get(&old, &token).await).await, (400, "NoRegisteredProviderFound".to_owned()));
}
