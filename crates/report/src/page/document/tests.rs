//! The page as a browser gets it; what a browser makes of it is tested in `tests/e2e/report_page.rs`.

use std::convert::Infallible;
use std::fs;

use fleetlogs_model::event::{Event, Recorded};
use fleetlogs_model::failure::FailureClass;
use fleetlogs_model::outcome::RunOutcome;
use serde_json::Value;

use super::*;
use crate::advice::Commands;
use crate::files::PAGE_FILE;
use crate::reports::write_reports;
use crate::testing::{
    accepted, ended, failure, folded, incomplete, interrupted, plan_of, planned, recorded, requested,
    small_plan, small_run, verified,
};

const COMMANDS: Commands<'static> =
    Commands { run: Some("runs/20261122T093000Z-4f2a"), config: Some("fleetlogs.toml"), shared_out_at: None };

fn page_of(plan: &Plan, facts: &RunFacts, events: &[Recorded]) -> String {
    let (ledger, histories) = folded(plan, events);
    let dir = tempfile::tempdir().unwrap();
    let histories = histories.into_iter().map(Ok::<_, Infallible>);
    write_reports(dir.path(), plan, facts, &ledger, COMMANDS, histories).unwrap();
    fs::read_to_string(dir.path().join(PAGE_FILE)).unwrap()
}

fn small_page() -> String {
    page_of(&small_plan(), &interrupted("SIGINT"), &small_run())
}

/// What stands between two marks.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    text.split_once(from).unwrap().1.split_once(to).unwrap().0
}

fn data(page: &str, id: &str) -> Value {
    serde_json::from_str(between(page, &format!("id=\"{id}\">"), "</script>")).unwrap()
}

#[test]
fn what_can_be_read_without_a_script() {
    let page = small_page();
    insta::assert_snapshot!(between(&page, "<header class=\"top\">", "<noscript>"), @r##"
    <p class="eyebrow"><span>fleetlogs report</span> <a href="#run">20261122T093000Z-4f2a</a> <span>logs of <time>2026-11-22 07:30:00</time> to <time>2026-11-22 09:30:00</time> UTC</span></p>
    <div class="verdict"><p class="badge interrupted"><svg class="sign" aria-hidden="true"><use href="#run-interrupted"/></svg>Interrupted</p>
    <h1>2 of 6 nodes collected, 4 not; 1 account not listed; 1 node skipped.</h1></div>
    <p class="early">The run ended early: SIGINT.</p>
    <svg class="whole" aria-hidden="true" focusable="false"><rect class="fill-verified" x="0.00%" width="33.33%" height="100%"/><rect class="fill-incomplete" x="33.33%" width="33.33%" height="100%"/><rect class="fill-gone" x="66.67%" width="16.67%" height="100%"/><rect class="fill-not-sent" x="83.33%" width="16.67%" height="100%"/></svg>
    </header>
    <main>
    <div class="answer">
    <section class="card" aria-labelledby="causes-title">
    <h2 id="causes-title">What is missing, and what to do</h2>
    <div class="first-step"><p class="step">Resume the run:</p>
    <p class="command-line"><code class="command">fleetlogs resume runs/20261122T093000Z-4f2a</code></p>
    </div>
    <ol class="causes">
    <li class="unlisted"><p class="count"><b>?</b> <span>not listed</span></p><div><p class="why">Account <b>tailspin</b> could not be listed: its nodes are not in the plan</p>
    <p class="where">403 AuthenticationFailed: the role is missing</p>
    <p class="step">Check the role, the key and this machine&#39;s clock (the credential is rejected); then run for <b>tailspin</b>:</p>
    <p class="command-line"><code class="command">fleetlogs run fleetlogs.toml --account tailspin</code></p>
    </div></li>
    <li data-cause="0"><p class="count"><b>2</b> <span class="outcome"><svg class="shape" aria-hidden="true"><use href="#incomplete"/></svg>incomplete</span></p><div><p class="why">storage blocked: calls are accepted, but no file ever arrives</p>
    <p class="where">Account <b>contoso</b>, pool <b>blocked</b></p>
    <p class="where examples"><code title="tvm-1">tvm-1</code>, <code title="tvm-2">tvm-2</code></p>
    <p class="step">Let the nodes of pool <b>blocked</b> reach the storage account (firewall, private endpoint, DNS); then retry:</p>
    <p class="command-line"><code class="command">fleetlogs resume runs/20261122T093000Z-4f2a --retry incomplete</code></p>
    </div></li>
    <li data-cause="1"><p class="count"><b>1</b> <span class="outcome"><svg class="shape" aria-hidden="true"><use href="#gone"/></svg>gone</span></p><div><p class="why">404 NodeNotFound: no such node</p>
    <p class="where">Account <b>fabrikam</b>, pool <b>web</b></p>
    <p class="where examples"><code title="tvm-7">tvm-7</code></p>
    <p class="step">Nothing can be done: the node, its VM or its pool no longer exists, and its logs went with it.</p>
    </div></li>
    <li data-cause="2"><p class="count"><b>1</b> <span class="outcome"><svg class="shape" aria-hidden="true"><use href="#not-sent"/></svg>not-sent</span></p><div><p class="why">SIGINT</p>
    <p class="where">Account <b>fabrikam</b>, pool <b>web</b></p>
    <p class="where examples"><code title="tvm-8">tvm-8</code></p>
    </div></li>
    </ol>
    </section>
    <div class="aside">
    <section class="card" aria-labelledby="counts-title">
    <h2 id="counts-title">Outcomes</h2>
    <table class="counts"><thead class="unseen"><tr><th scope="col">Outcome</th><th scope="col">Nodes</th><th scope="col">Share</th><th scope="col">Share as a bar</th></tr></thead>
    <tbody>
    <tr data-outcome="verified"><th scope="row" title="the promised files are in the container, and their sizes stayed the same over two listings"><span class="outcome"><svg class="shape" aria-hidden="true"><use href="#verified"/></svg>verified</span></th><td class="n">2</td><td class="n share">33.3%</td><td class="bar"><svg aria-hidden="true" focusable="false"><rect class="rail" width="100%" height="100%"/><rect class="fill-verified" width="33.33%" height="100%"/></svg></td></tr>
    <tr data-outcome="incomplete"><th scope="row" title="the service accepted the call, but some files were missing or still changing at the deadline"><span class="outcome"><svg class="shape" aria-hidden="true"><use href="#incomplete"/></svg>incomplete</span></th><td class="n">2</td><td class="n share">33.3%</td><td class="bar"><svg aria-hidden="true" focusable="false"><rect class="rail" width="100%" height="100%"/><rect class="fill-incomplete" width="33.33%" height="100%"/></svg></td></tr>
    <tr data-outcome="gone"><th scope="row" title="the node, its VM or its pool no longer exists"><span class="outcome"><svg class="shape" aria-hidden="true"><use href="#gone"/></svg>gone</span></th><td class="n">1</td><td class="n share">16.7%</td><td class="bar"><svg aria-hidden="true" focusable="false"><rect class="rail" width="100%" height="100%"/><rect class="fill-gone" width="16.67%" height="100%"/></svg></td></tr>
    <tr data-outcome="not-sent"><th scope="row" title="the run ended before the node could be called"><span class="outcome"><svg class="shape" aria-hidden="true"><use href="#not-sent"/></svg>not-sent</span></th><td class="n">1</td><td class="n share">16.7%</td><td class="bar"><svg aria-hidden="true" focusable="false"><rect class="rail" width="100%" height="100%"/><rect class="fill-not-sent" width="16.67%" height="100%"/></svg></td></tr>
    <tr class="sum"><th scope="row">planned</th><td class="n">6</td><td class="n share"></td><td class="bar"></td></tr>
    <tr class="beyond"><th scope="row">not listed</th><td class="n">?</td><td colspan="2">1 account</td></tr>
    <tr class="beyond"><th scope="row">skipped</th><td class="n">1</td><td colspan="2">and 1 whole pool. <a href="#skipped">Why</a></td></tr>
    </tbody></table>
    <p class="note">Also in the container: 1 node with more than one directory. 1 node appeared after the plan was made and not called; <code>manifest.json</code> lists them (<code>appeared</code>).</p>
    <details class="as-table"><summary>What these words mean</summary><dl class="terms">
    <div><dt><span class="outcome"><svg class="shape" aria-hidden="true"><use href="#verified"/></svg>verified</span></dt><dd>the promised files are in the container, and their sizes stayed the same over two listings</dd></div>
    <div><dt><span class="outcome"><svg class="shape" aria-hidden="true"><use href="#incomplete"/></svg>incomplete</span></dt><dd>the service accepted the call, but some files were missing or still changing at the deadline</dd></div>
    <div><dt><span class="outcome"><svg class="shape" aria-hidden="true"><use href="#gone"/></svg>gone</span></dt><dd>the node, its VM or its pool no longer exists</dd></div>
    <div><dt><span class="outcome"><svg class="shape" aria-hidden="true"><use href="#not-sent"/></svg>not-sent</span></dt><dd>the run ended before the node could be called</dd></div>
    </dl></details>
    </section>
    <section class="card" aria-labelledby="trouble-title">
    <h2 id="trouble-title">The service reports trouble on <span data-trouble="any">1 node</span></h2>
    <ul class="kinds">
    <li><b>1</b> <span data-trouble="0">start task failed</span></li>
    </ul>
    <p class="note">As reported when the run was planned; its logs were collected.</p>
    </section>
    </div>
    </div>
    "##);
    insta::assert_snapshot!(between(&page, "<h2 id=\"skipped\" tabindex=\"-1\">", "<details"), @r#"
    Skipped: not in the plan</h2>
    <table class="reasons"><thead><tr><th scope="col">Reason</th><th scope="col" class="n">Nodes</th><th scope="col" class="n">Whole pools</th></tr></thead>
    <tbody>
    <tr><th scope="row">pool-not-selected</th><td class="n">0</td><td class="n">1</td></tr>
    <tr><th scope="row">preempted</th><td class="n">1</td><td class="n">0</td></tr>
    </tbody></table>
    <p>1 node appeared after the plan was made and not called; <code>manifest.json</code> lists them (<code>appeared</code>).</p>
    "#);
    insta::assert_snapshot!(between(&page, "<h2 id=\"run\" tabindex=\"-1\">", "</section>"), @r##"
    This run</h2>
    <dl class="facts">
    <div><dt>Run</dt><dd><code>20261122T093000Z-4f2a</code></dd></div>
    <div><dt>Time window of the logs</dt><dd><time>2026-11-22 07:30:00</time> to<br><time>2026-11-22 09:30:00</time> UTC</dd></div>
    <div><dt>Started</dt><dd><time>2026-11-22 09:30:00</time> UTC</dd></div>
    <div><dt>Ended</dt><dd><time>2026-11-22 09:32:10</time> UTC<br><small>after 2m 10s</small></dd></div>
    <div><dt>Batch accounts</dt><dd>contoso, fabrikam, tailspin</dd></div>
    <div><dt>Destination</dt><dd><code>https://logs.blob.core.windows.net/batch</code></dd></div>
    <div><dt>Files collected</dt><dd>7 files, 117.7 MiB<br><small>verified with 9 list calls</small></dd></div>
    <div><dt>Made by</dt><dd>fleetlogs 0.1.0<br><small>config <code class="digest">9f86d081884c7d65</code></small></dd></div>
    </dl>
    <table class="accounts stacked"><thead><tr><th scope="col">Account</th><th scope="col">Result</th><th scope="col" class="n">Nodes</th><th scope="col" class="n">Collected</th><th scope="col" class="n">Not collected</th><th scope="col" class="n">Calls</th><th scope="col" class="n">Throttled</th><th scope="col">Reason</th></tr></thead>
    <tbody>
    <tr><th scope="row">contoso</th><td data-label="Result"><span class="result"><svg class="sign partial" aria-hidden="true"><use href="#run-partial"/></svg>Partial</span></td><td class="n" data-label="Nodes">4</td><td class="n" data-label="Collected">2</td><td class="n" data-label="Not collected">2</td><td class="n" data-label="Calls">5</td><td class="n" data-label="Throttled">1</td><td class="empty"></td></tr>
    <tr><th scope="row">fabrikam</th><td data-label="Result"><span class="result"><svg class="sign interrupted" aria-hidden="true"><use href="#run-interrupted"/></svg>Interrupted</span></td><td class="n" data-label="Nodes">2</td><td class="n" data-label="Collected">0</td><td class="n" data-label="Not collected">2</td><td class="n" data-label="Calls">1</td><td class="n" data-label="Throttled">0</td><td data-label="Reason">SIGINT</td></tr>
    <tr><th scope="row">tailspin</th><td data-label="Result"><span class="result"><svg class="sign nothing-collected" aria-hidden="true"><use href="#run-nothing-collected"/></svg>Nothing collected</span></td><td class="n" data-label="Nodes">?</td><td class="n" data-label="Collected">0</td><td class="n" data-label="Not collected">?</td><td class="n" data-label="Calls">0</td><td class="n" data-label="Throttled">0</td><td data-label="Reason">403 AuthenticationFailed: the role is missing</td></tr>
    </tbody></table>
    "##);
}

#[test]
fn the_data_of_a_small_run() {
    let page = small_page();
    insta::assert_snapshot!(between(&page, "id=\"node-data\">", "</script>"), @r#"
    [
    [0,"tvm-1",0,null,null,"batch-2f/render/tvm-1",4,4,123456789,40000,[[1,1000,"00000000-0000-0000-0000-000000000001","service-1",429,0,1],[2,4000,"00000000-0000-0000-0000-000000000002","service-2",200,null,null]],0,[-1800000,-86400000,-3600000],{"tasks":[[2,"frame-7",-1800000,-1740000,137]],"seen_again":{}}],
    [0,"tvm-2",0,4,null,"batch-2f/render/tvm-2-b",null,3,1000,60000,[[1,1000,"00000000-0000-0000-0000-000000000001",null,null,null,3]],1,[null,-86400000,null],{"duplicates":["batch-2f/render/tvm-2-a"]}],
    [1,"tvm-1",3,5,5,"batch-2f/blocked/tvm-1",4,0,0,null,[[1,1000,"00000000-0000-0000-0000-000000000001","service-1",200,null,null]],1,[null,-86400000,null],null],
    [1,"tvm-2",3,5,5,"batch-2f/blocked/tvm-2",4,0,0,null,[[1,2000,"00000000-0000-0000-0000-000000000001","service-1",200,null,null]],1,[null,-86400000,null],null],
    [2,"tvm-7",7,8,8,null,null,null,null,null,[[1,5000,"00000000-0000-0000-0000-000000000001","service-1",404,6,7]],1,[null,-86400000,null],null],
    [2,"tvm-8",8,9,9,null,null,null,null,null,[],1,[null,-86400000,null],null]]
    "#);
    insta::assert_snapshot!(between(&page, "id=\"page-data\">", "</script>"), @r#"
    {
    "run_id":"20261122T093000Z-4f2a",
    "start":1795339800000,
    "destination":"https://logs.blob.core.windows.net/batch",
    "verification":true,
    "nodes":6,
    "outcomes":["verified","adopted","accepted","incomplete","empty","in-doubt","failed","gone","not-sent"],
    "urgency":[8,3,6,1,7,2,0,4,5],
    "collected":[true,false,false,false,true,false,false,false,false],
    "accounts":["contoso","fabrikam","tailspin"],
    "unlisted":[null,null,["403 AuthenticationFailed: the role is missing",false]],
    "pools":[[0,"render",[2,0,0,0,0,0,0,0,0]],[0,"blocked",[0,0,0,2,0,0,0,0,0]],[1,"web",[0,0,0,0,0,0,0,1,1]]],
    "timeline":{"step":2000,"calls":[3,1,2,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0],"throttled":[1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0],"verified":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,1,0,0,0,0,0,0,0,0,0,1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]},
    "causes":[[3,[1],null],[7,[2],8],[8,[2],9]],
    "steps":[{"about":["incomplete"],"text":"let the nodes of pool blocked reach the storage account (firewall, private endpoint, DNS); then retry","command":"fleetlogs resume runs/20261122T093000Z-4f2a --retry incomplete"},{"about":["gone"],"text":"nothing can be done: the node, its VM or its pool no longer exists, and its logs went with it","command":null},{"about":["not-sent"],"text":"resume the run","command":"fleetlogs resume runs/20261122T093000Z-4f2a"}],
    "next":[{"about":["not-sent"],"text":"resume the run","command":"fleetlogs resume runs/20261122T093000Z-4f2a"}],
    "uncounted":{"accounts_not_listed":1,"pools_not_listed":0,"nodes_skipped":1},
    "left_out":[["contoso","render","tvm-3","preempted",null,"preempted"],["contoso","test",null,"pool-not-selected",null,null]],
    "trouble":["start task failed"],
    "trouble_of_evidence":[0,null],
    "evidence":[{"state":"starttaskfailed","priority":"has-errors","dedicated":true,"scheduling_enabled":true,"os":"batch.node.ubuntu 22.04","agent_version":"1.11.9","errors":[{"code":"DiskFull","message":"no space left"}],"start_task":{"state":"completed","result":"failure","exit_code":1}},
    {"state":"idle","priority":"ordinary","dedicated":true}],
    "texts":["TooManyRequests",
    "slow down",
    "nightly",
    "connection reset",
    "the call's answer was lost; its directory was found in the container",
    "0 of 4 files arrived before the deadline",
    "NodeNotFound",
    "no such node",
    "404 NodeNotFound: no such node",
    "SIGINT"]}
    "#);
}

#[test]
fn the_policy_allows_the_style_and_the_script_of_the_page_and_nothing_else() {
    let page = small_page();
    let policy = between(&page, "Content-Security-Policy\" content=\"", "\"");
    for (directive, text) in [
        ("style-src", between(&page, "<style>", "</style>")),
        ("script-src", between(&page, "\n<script>", "</script>")),
    ] {
        let hash = BASE64_STANDARD.encode(Sha256::digest(text));
        assert!(policy.contains(&format!("{directive} 'sha256-{hash}';")), "{policy}");
    }
    assert!(policy.starts_with("default-src 'none';"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    // A parser makes line feeds of carriage returns, and the hashes would be those of other texts.
    assert!(!page.contains('\r'));
    assert!(!page.contains(" style=") && !page.contains(" onclick="), "the policy refuses these");
}

#[test]
fn every_place_of_the_template_is_filled() {
    let page = small_page();
    assert!(!page.contains("{{"));
    assert!(page.ends_with("</html>\n"));
    assert!(SCRIPT.iter().all(|part| !part.contains("innerHTML =") && !part.contains("</script")));
}

#[test]
fn a_good_run_needs_nothing() {
    let plan = plan_of(vec![planned("contoso", "render", "tvm-1")]);
    let events = [
        recorded(0, 1, requested(1)),
        recorded(0, 2, accepted(1, "d", 4)),
        recorded(0, 60, verified(4, 4_096)),
    ];
    let (ledger, histories) = folded(&plan, &events);
    let dir = tempfile::tempdir().unwrap();
    let facts = ended(RunOutcome::Complete);
    let histories = histories.into_iter().map(Ok::<_, Infallible>);
    write_reports(dir.path(), &plan, &facts, &ledger, Commands::default(), histories).unwrap();
    let page = fs::read_to_string(dir.path().join(PAGE_FILE)).unwrap();
    assert!(page.contains("<p>Nothing: every planned node was collected.</p>"));
    assert!(!page.contains("class=\"beyond\"") && !page.contains("trouble-title"));
    assert!(page.contains("<h1>1 of 1 node collected.</h1>"));
}

#[test]
fn what_is_not_known_is_never_zero() {
    let mut plan = small_plan();
    plan.accounts[0].missing = Some("pool lost: 503".into());
    let page = page_of(&plan, &interrupted("SIGINT"), &small_run());
    let rows = between(&page, "<table class=\"accounts", "</table>");
    let counts = |account: &str| {
        let row = between(rows, &format!("<th scope=\"row\">{account}</th>"), "</tr>");
        ["Nodes", "Collected", "Not collected"]
            .map(|count| between(row, &format!("data-label=\"{count}\">"), "<").to_owned())
    };
    assert_eq!(counts("contoso"), ["4 + ?", "2", "2 + ?"]);
    assert_eq!(counts("fabrikam"), ["2", "0", "2"]);
    assert_eq!(counts("tailspin"), ["?", "0", "?"]);
    let data = data(&page, "page-data");
    assert_eq!(data["unlisted"][0], serde_json::json!(["pool lost: 503", true]));
    assert_eq!(
        data["unlisted"][2],
        serde_json::json!(["403 AuthenticationFailed: the role is missing", false])
    );
    assert_eq!(page.matches("<li class=\"unlisted\">").count(), 2);
}

#[test]
fn with_many_causes_those_with_the_fewest_nodes_are_folded() {
    let plan = plan_of((0..6).map(|at| planned("contoso", &format!("pool-{at}"), "tvm-1")).collect());
    let events: Vec<_> = (0..6)
        .flat_map(|at| {
            let cause = failure(FailureClass::Refused, 409, "NodeBusy", &format!("reason {at}"));
            [recorded(at, 1, requested(1)), recorded(at, 2, Event::UploadFailed { attempt: 1, cause })]
        })
        .collect();
    let page = page_of(&plan, &ended(RunOutcome::NothingCollected), &events);
    let (open, folded) = page.split_once("<details class=\"more-causes\">").unwrap();
    assert_eq!(open.matches("<li data-cause=").count(), 4);
    assert_eq!(folded.matches("<li data-cause=").count(), 2);
    assert!(folded.starts_with("<summary>2 more causes (2 nodes)</summary>"), "{}", &folded[..80]);
}

#[test]
fn a_large_run_has_rows_for_what_was_not_collected_first() {
    let plan = plan_of((0..10).map(|at| planned("contoso", "render", &format!("tvm-{at}"))).collect());
    let events: Vec<_> = (0..10)
        .flat_map(|at| {
            // The last three are missing.
            let end = if at < 7 { verified(4, 40) } else { incomplete(1, 4) };
            [recorded(at, 1, requested(1)), recorded(at, 2, accepted(1, "d", 4)), recorded(at, 60, end)]
        })
        .collect();
    let facts = ended(RunOutcome::Partial);
    let (ledger, histories) = folded(&plan, &events);
    let accounts = plan.accounts_of_nodes();
    let rows = |most| {
        let mut out = vec![];
        let mut data = PageData::begin(&mut out, &facts, &ledger, most).unwrap();
        for (index, (node, (_, history))) in plan.nodes.details().zip(&histories).enumerate() {
            let node = node.unwrap();
            let account = accounts[index];
            data.node(&mut out, &NodeEnd::new(&node, account, history, &facts, None)).unwrap();
        }
        let rows = data.rows();
        out.extend(b"]</script>");
        let text = String::from_utf8(out).unwrap();
        let json: Value = serde_json::from_str(between(&text, "id=\"node-data\">", "</script>")).unwrap();
        let names: Vec<_> =
            json.as_array().unwrap().iter().map(|row| row[1].as_str().unwrap().to_owned()).collect();
        assert_eq!(usize::try_from(rows).unwrap(), names.len());
        names
    };
    assert_eq!(rows(20).len(), 10);
    assert_eq!(rows(5), ["tvm-0", "tvm-1", "tvm-7", "tvm-8", "tvm-9"]);
    assert_eq!(rows(2), ["tvm-7", "tvm-8"]);
}

#[test]
fn the_page_counts_every_node_in_its_pool() {
    let page = data(&small_page(), "page-data");
    let counts = page["pools"].as_array().unwrap().iter().flat_map(|pool| pool[2].as_array().unwrap());
    assert_eq!(counts.map(|count| count.as_u64().unwrap()).sum::<u64>(), 6);
}
