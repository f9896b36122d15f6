//! Lists of pools and nodes over HTTP.

use std::collections::BTreeSet;

use crate::common::{Caller, one_pool, refusal, simulate};
use serde_json::Value;

fn ids(members: &[Value]) -> Vec<&str> {
    members.iter().map(|member| member["id"].as_str().expect("an id")).collect()
}

#[tokio::test]
async fn a_walk_meets_every_node_exactly_once() {
    let simulator = simulate(&one_pool("nodes = 2503\nspot = 10", "page_size = 700")).await;
    let caller = Caller::new(&simulator);

    let (nodes, pages) = caller.walk("/pools/p/nodes?maxresults=1000").await;

    let distinct: BTreeSet<_> = ids(&nodes).into_iter().collect();
    assert_eq!((nodes.len(), distinct.len(), pages), (2503, 2503, 4));
    assert_eq!(ids(&nodes).iter().filter(|id| id.ends_with("_p")).count(), 10);
}

#[tokio::test]
async fn a_pool_that_resizes_gives_empty_pages_and_still_every_node() {
    let simulator = simulate(&one_pool("nodes = 200\nallocation_state = \"resizing\"", "")).await;
    let caller = Caller::new(&simulator);

    let (nodes, pages) = caller.walk("/pools/p/nodes?maxresults=10").await;

    assert_eq!(ids(&nodes).into_iter().collect::<BTreeSet<_>>().len(), 200);
    assert!(pages > 20, "{pages} pages, none of them empty");
}

#[tokio::test]
async fn a_link_repeats_the_query_and_has_its_token_bare() {
    let simulator = simulate(&one_pool("nodes = 3", "")).await;
    let caller = Caller::new(&simulator);

    let page = caller.get_json("/pools/p/nodes?maxresults=1&$select=id").await;

    let link = page["odata.nextLink"].as_str().expect("a link");
    let expected = format!(
        "{}/pools/p/nodes?maxresults=1&$select=id&api-version=2024-07-01.20.0&$skiptoken=WATV2:",
        caller.endpoint
    );
    assert!(link.starts_with(&expected), "{link}");
    let token = link.split_once("$skiptoken=").expect("a token").1;
    assert!(["/", "^", ":", "$"].iter().all(|c| token.contains(c)) && !token.contains(['+', '%']), "{token}");
}

#[tokio::test]
async fn a_token_is_good_for_its_own_list_only_and_whatever_the_api_version() {
    let simulator = simulate(&one_pool(
        r#"
        nodes = 3
        [[account.pool]]
        id = "q"
        nodes = 3
        "#,
        "",
    ))
    .await;
    let caller = Caller::new(&simulator);
    let page = caller.get_json("/pools/p/nodes?maxresults=1").await;
    let link = page["odata.nextLink"].as_str().expect("a link");

    let elsewhere = caller.follow(&link.replace("/pools/p/", "/pools/q/")).await;
    let forged = caller.follow(&link.replace("00000001", "00000002")).await;
    let other_version = caller.follow(&link.replace("2024-07-01.20.0", "2025-06-01")).await;

    assert_eq!(elsewhere["code"], "InvalidQueryParameterValue");
    assert_eq!(forged["code"], "InvalidQueryParameterValue");
    assert_eq!(other_version["value"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn filter_and_select_are_honoured() {
    let simulator = simulate(&one_pool("nodes = 20\nstates = { running = 0.25 }", "")).await;
    let caller = Caller::new(&simulator);

    let (running, _) = caller.walk("/pools/p/nodes?$filter=state%20eq%20'running'&$select=id,state").await;
    let refused = refusal(caller.get("/pools/p/nodes?$filter=id%20eq%20'x'").await).await;

    assert_eq!(running.len(), 5);
    assert!(
        running
            .iter()
            .all(|node| node["state"] == "running" && node.as_object().map(serde_json::Map::len) == Some(2))
    );
    assert_eq!(refused, (400, "InvalidQueryParameterValue".to_owned()));
}

#[tokio::test]
async fn page_sizes_out_of_bounds_are_refused() {
    let simulator = simulate(&one_pool("", "")).await;
    let caller = Caller::new(&simulator);

    let code = async |size: &str| refusal(caller.get(&format!("/pools?maxResults={size}")).await).await;

    assert_eq!(code("0").await, (400, "InvalidQueryParameterValue".to_owned()));
    assert_eq!(code("-5").await, (400, "InvalidQueryParameterValue".to_owned()));
    assert_eq!(code("1001").await, (400, "OutOfRangeQueryParameterValue".to_owned()));
}

#[tokio::test]
async fn an_api_version_is_needed_and_must_be_known() {
    let simulator = simulate(&one_pool("", "")).await;
    let caller = Caller::new(&simulator);

    let send = async |path: &str| {
        refusal(caller.request(reqwest::Method::GET, path, None).send().await.expect("an answer")).await
    };

    assert_eq!(send("/pools").await, (400, "MissingRequiredQueryParameter".to_owned()));
    assert_eq!(send("/pools?api-version=2024-07-01").await, (400, "UnsupportedRequestVersion".to_owned()));
}

#[tokio::test]
async fn nodes_that_have_not_come_up_lack_what_only_an_agent_knows() {
    let simulator = simulate(&one_pool("nodes = 20\nstates = { creating = 0.5 }", "")).await;

    let (nodes, _) = Caller::new(&simulator).walk("/pools/p/nodes").await;

    for node in nodes {
        let creating = node["state"] == "creating";
        assert_eq!(node.get("lastBootTime").is_none(), creating, "{node}");
        assert_eq!(node.get("nodeAgentInfo").is_none(), creating, "{node}");
    }
}

#[tokio::test]
async fn a_node_that_starts_again_keeps_what_it_knew() {
    let life = "nodes = 8\n[[account.pool.life]]\nat = \"0s\"\nbecomes = \"starting\"";
    let simulator = simulate(&one_pool(life, "")).await;
    let before = simulate(&one_pool("nodes = 8", "")).await;

    let (nodes, _) = Caller::new(&simulator).walk("/pools/p/nodes").await;
    let (known, _) = Caller::new(&before).walk("/pools/p/nodes").await;

    for (node, known) in nodes.iter().zip(&known) {
        assert_eq!((&node["state"], &node["id"]), (&Value::from("starting"), &known["id"]));
        assert!(node["lastBootTime"].is_string() && node["nodeAgentInfo"].is_object(), "{node}");
        assert!(node["allocationTime"].as_str() < node["stateTransitionTime"].as_str(), "{node}");
    }
}

#[tokio::test]
async fn both_spellings_of_the_content_type_occur_and_bodies_have_cr_lf() {
    let simulator = simulate(&one_pool("", "")).await;
    let caller = Caller::new(&simulator);

    let mut spellings = BTreeSet::new();
    for _ in 0..40 {
        let response = caller.get("/pools").await;
        assert!(
            response.headers().contains_key("request-id")
                && !response.headers().contains_key("client-request-id")
        );
        assert_eq!(response.headers()["transfer-encoding"], "chunked");
        spellings.insert(response.headers()["content-type"].to_str().expect("text").to_owned());
        assert!(response.text().await.expect("text").starts_with("{\r\n  \"odata.metadata\":\""));
    }

    assert_eq!(spellings.len(), 2);
}

#[tokio::test]
async fn every_body_has_breaks_after_and_before_brackets_only() {
    let job = "[[account.job]]\nid = \"j\"\npool = \"p\"\ntasks = 3\ninstances = 2\nfailed = 1";
    let pool = format!("nodes = 3\nstates = {{ unusable = 1.0 }}\nmetadata = {{ a = \"b\" }}\n{job}");
    let simulator = simulate(&one_pool(&pool, "")).await;
    let caller = Caller::new(&simulator);
    let node = caller.node_ids().await.remove(0);
    for path in [
        "/pools",
        "/pools/p",
        "/pools/q",
        "/pools/p/nodes",
        &format!("/pools/p/nodes/{node}"),
        "/nodecounts",
        "/jobs",
        "/jobs/j/tasks",
        "/jobs/j/tasks/task-0000/subtasksinfo",
        "/pools?maxresults=0",
    ] {
        let text = caller.get(path).await.text().await.expect("text");
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(text, written(&value, &text), "{path}");
    }
}

/// A value in the form of the service. Objects have the order of their members in `text`.
fn written(value: &Value, text: &str) -> String {
    fn write(value: &Value, depth: usize, members: &mut std::vec::IntoIter<String>) -> String {
        let line = |depth: usize| format!("\r\n{}", "  ".repeat(depth));
        let wrap = |parts: Vec<String>, open, close| {
            format!("{open}{}{}{}{close}", line(depth + 1), parts.join(","), line(depth))
        };
        match value {
            Value::Object(object) if !object.is_empty() => {
                let parts = (0..object.len()).map(|_| {
                    let name = members.next().expect("a member");
                    format!("\"{name}\":{}", write(&object[&name], depth + 1, members))
                });
                wrap(parts.collect(), "{", "}")
            }
            Value::Array(items) if !items.is_empty() => {
                wrap(items.iter().map(|item| write(item, depth + 1, members)).collect(), "[", "]")
            }
            other => other.to_string(),
        }
    }
    // Names of members in their order: the texts in quotes that a colon follows.
    let mut names = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find('"') {
        rest = &rest[start + 1..];
        let mut escaped = false;
        let end = rest.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let end = end.expect("a quote");
        if rest[end + 1..].starts_with(':') {
            names.push(rest[..end].to_owned());
        }
        rest = &rest[end + 1..];
    }
    write(value, 0, &mut names.into_iter())
}

#[tokio::test]
async fn every_list_is_sorted_by_id() {
    let more = "nodes = 300\n[[account.pool]]\nid = \"c\"\n[[account.pool]]\nid = \"B\"\n[[account.job]]\nid = \"z\"\npool = \"c\"\n\
                tasks = 30\n[[account.job]]\nid = \"a\"\npool = \"p\"";
    let simulator = simulate(&one_pool(more, "")).await;
    let caller = Caller::new(&simulator);

    assert_eq!(ids(&caller.walk("/pools?maxresults=1").await.0), ["B", "c", "p"]);
    assert_eq!(ids(&caller.walk("/jobs").await.0), ["a", "z"]);
    assert!(ids(&caller.walk("/pools/p/nodes?maxresults=70").await.0).is_sorted());
    assert!(ids(&caller.walk("/jobs/z/tasks").await.0).is_sorted());
    let counts = caller.get_json("/nodecounts").await;
    assert_eq!(counts["value"][1]["poolId"], "c");
}

#[tokio::test]
async fn unknown_parameters_of_a_query_are_ignored() {
    let simulator = simulate(&one_pool("nodes = 2", "")).await;

    // The name is `%24select`, which is not the name of the option. A token needs no signature.
    let url = format!(
        "{}/pools/p/nodes?also=this&%2524select=id&api-version=2024-07-01.20.0",
        simulator.ready().accounts[0].endpoint
    );
    let token = crate::common::token(&simulator, "https://batch.core.windows.net/").await;
    let answer = crate::common::http().get(url).bearer_auth(token).send().await.expect("an answer");
    let page: Value = answer.json().await.expect("JSON");

    assert!(page["value"].as_array().is_some_and(|nodes| nodes.len() == 2 && nodes[0]["vmSize"].is_string()));
}

#[tokio::test]
async fn a_pool_that_vanishes_is_not_found() {
    let simulator = simulate(&one_pool("nodes = 2\nvanishes_at = \"5s\"", "")).await;
    let caller = Caller::new(&simulator);
    let nodes = caller.node_ids().await;

    tokio::time::sleep(std::time::Duration::from_millis(5100)).await;

    let upload = caller.upload(&simulator, &nodes[0]).await.expect("an answer");
    assert_eq!(refusal(upload).await, (404, "PoolNotFound".to_owned()));
    assert_eq!(caller.walk("/pools").await.0.len(), 0);
}
