//! The page as a browser gets it; what a browser makes of it is tested in `tests/e2e/report_page.rs`.

use std::convert::Infallible;
use std::fs;

use fleetlogs_model::event::Recorded;
use fleetlogs_model::outcome::RunOutcome;
use serde_json::Value;

use super::*;
use crate::files::PAGE_FILE;
use crate::reports::write_reports;
use crate::testing::{
    accepted, ended, folded, incomplete, interrupted, plan_of, planned, recorded, requested, small_plan,
    small_run, verified,
};

const RESUME: Option<&str> = Some("fleetlogs resume runs/20261122T093000Z-4f2a");

fn page_of(plan: &Plan, facts: &RunFacts, events: &[Recorded]) -> String {
    let (ledger, histories) = folded(plan, events);
    let dir = tempfile::tempdir().unwrap();
    let histories = histories.into_iter().map(Ok::<_, Infallible>);
    write_reports(dir.path(), plan, facts, &ledger, RESUME, histories).unwrap();
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
    insta::assert_snapshot!(between(&page, "<header class=\"top\">", "<section class=\"needs-script\" aria-labelledby=\"map-title\">"), @r##"
    <p class="eyebrow">fleetlogs report</p>
    <p class="badge interrupted"><svg class="sign" aria-hidden="true"><use href="#run-interrupted"/></svg>Interrupted</p>
    <h1>2 of 6 nodes collected, 4 not.</h1>
    <p class="early">The run ended early: SIGINT.</p>
    <svg class="whole" aria-hidden="true" focusable="false"><rect class="fill-verified" x="0.00%" width="33.33%" height="100%"/><rect class="fill-incomplete" x="33.33%" width="33.33%" height="100%"/><rect class="fill-gone" x="66.67%" width="16.67%" height="100%"/><rect class="fill-not-sent" x="83.33%" width="16.67%" height="100%"/></svg>
    </header>
    <main>
    <section aria-labelledby="facts-title">
    <h2 id="facts-title">This run</h2>
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
    <div class="scroll" role="region" aria-label="Accounts" tabindex="0"><table class="accounts"><thead><tr><th scope="col">Account</th><th scope="col">Result</th><th scope="col" class="n">Nodes</th><th scope="col" class="n">Collected</th><th scope="col" class="n">Not collected</th><th scope="col" class="n">Calls</th><th scope="col" class="n">Throttled</th><th scope="col">Reason</th></tr></thead>
    <tbody>
    <tr><th scope="row">contoso</th><td><span class="result"><svg class="sign partial" aria-hidden="true"><use href="#run-partial"/></svg>Partial</span></td><td class="n">4</td><td class="n">2</td><td class="n">2</td><td class="n">5</td><td class="n">1</td><td></td></tr>
    <tr><th scope="row">fabrikam</th><td><span class="result"><svg class="sign interrupted" aria-hidden="true"><use href="#run-interrupted"/></svg>Interrupted</span></td><td class="n">2</td><td class="n">0</td><td class="n">2</td><td class="n">1</td><td class="n">0</td><td>SIGINT</td></tr>
    <tr><th scope="row">tailspin</th><td><span class="result"><svg class="sign nothing-collected" aria-hidden="true"><use href="#run-nothing-collected"/></svg>Nothing collected</span></td><td class="n">0</td><td class="n">0</td><td class="n">0</td><td class="n">0</td><td class="n">0</td><td>403 AuthenticationFailed: the role is missing</td></tr>
    </tbody></table></div>
    </section>
    <section aria-labelledby="counts-title">
    <h2 id="counts-title">Outcomes</h2>
    <table class="counts"><thead><tr><th scope="col">Outcome</th><th scope="col" class="n">Nodes</th><th scope="col" class="n">Share</th><th scope="col" class="bar"><span class="unseen">Share as a bar</span></th><th scope="col" class="means">Meaning</th></tr></thead>
    <tbody>
    <tr data-outcome="verified"><th scope="row"><span class="outcome"><svg class="shape" aria-hidden="true"><use href="#verified"/></svg>verified</span></th><td class="n">2</td><td class="n">33.3%</td><td class="bar"><svg aria-hidden="true" focusable="false"><rect class="rail" width="100%" height="100%"/><rect class="fill-verified" width="33.33%" height="100%"/></svg></td><td class="means">the promised files are in the container, and their sizes stayed the same over two listings</td></tr>
    <tr data-outcome="incomplete"><th scope="row"><span class="outcome"><svg class="shape" aria-hidden="true"><use href="#incomplete"/></svg>incomplete</span></th><td class="n">2</td><td class="n">33.3%</td><td class="bar"><svg aria-hidden="true" focusable="false"><rect class="rail" width="100%" height="100%"/><rect class="fill-incomplete" width="33.33%" height="100%"/></svg></td><td class="means">the service accepted the call, but some files were missing or still changing at the deadline</td></tr>
    <tr data-outcome="gone"><th scope="row"><span class="outcome"><svg class="shape" aria-hidden="true"><use href="#gone"/></svg>gone</span></th><td class="n">1</td><td class="n">16.7%</td><td class="bar"><svg aria-hidden="true" focusable="false"><rect class="rail" width="100%" height="100%"/><rect class="fill-gone" width="16.67%" height="100%"/></svg></td><td class="means">the node, its VM or its pool no longer exists</td></tr>
    <tr data-outcome="not-sent"><th scope="row"><span class="outcome"><svg class="shape" aria-hidden="true"><use href="#not-sent"/></svg>not-sent</span></th><td class="n">1</td><td class="n">16.7%</td><td class="bar"><svg aria-hidden="true" focusable="false"><rect class="rail" width="100%" height="100%"/><rect class="fill-not-sent" width="16.67%" height="100%"/></svg></td><td class="means">the run ended before the node could be called</td></tr>
    <tr class="sum"><th scope="row">planned</th><td class="n">6</td><td class="n"></td><td class="bar"></td><td class="means">every planned node has exactly one outcome</td></tr>
    </tbody></table>
    </section>
    <section aria-labelledby="next-title">
    <h2 id="next-title">What to do next</h2>
    <ul class="steps">
    <li>Resume this run: <code class="command">fleetlogs resume runs/20261122T093000Z-4f2a</code></li>
    <li><span class="outcome"><svg class="shape" aria-hidden="true"><use href="#incomplete"/></svg>incomplete</span> Check the storage account&#39;s firewall and private endpoint for these pools, and the SAS; then retry: <code>fleetlogs resume RUN --retry incomplete</code>.</li>
    <li><span class="outcome"><svg class="shape" aria-hidden="true"><use href="#gone"/></svg>gone</span> Nothing can be done, because the node or its pool was deleted and its logs with it.</li>
    <li><span class="outcome"><svg class="shape" aria-hidden="true"><use href="#not-sent"/></svg>not-sent</span> Once the reason no longer applies, resume the run: <code>fleetlogs resume RUN</code>.</li>
    <li><b>tailspin</b> could not be listed, so its nodes are not in the plan: fix the reason, then start a new run.</li>
    </ul>
    <p class="note">Also in the container: 1 node with more than one directory. 1 node appeared after the plan was made (not called): <code>appeared</code> in <code>manifest.json</code>.</p>
    </section>
    <section aria-labelledby="causes-title">
    <h2 id="causes-title">Not collected, by cause</h2>
    <ol class="causes">
    <li data-cause="0"><p class="count"><b>2</b> <span class="outcome"><svg class="shape" aria-hidden="true"><use href="#incomplete"/></svg>incomplete</span></p><div><p class="why">storage blocked: calls are accepted, but no file ever arrives</p>
    <p class="where">Account <b>contoso</b>, pool <b>blocked</b></p>
    <p class="where"><code>tvm-1</code>, <code>tvm-2</code></p>
    </div></li>
    <li data-cause="1"><p class="count"><b>1</b> <span class="outcome"><svg class="shape" aria-hidden="true"><use href="#gone"/></svg>gone</span></p><div><p class="why">404 NodeNotFound: no such node</p>
    <p class="where">Account <b>fabrikam</b>, pool <b>web</b></p>
    <p class="where"><code>tvm-7</code></p>
    </div></li>
    <li data-cause="2"><p class="count"><b>1</b> <span class="outcome"><svg class="shape" aria-hidden="true"><use href="#not-sent"/></svg>not-sent</span></p><div><p class="why">SIGINT</p>
    <p class="where">Account <b>fabrikam</b>, pool <b>web</b></p>
    <p class="where"><code>tvm-8</code></p>
    </div></li>
    </ol>
    </section>
    <noscript><p class="note">The map, the timeline and the table of nodes need JavaScript, which is turned off. Every node is also in <code>nodes.csv</code> and <code>manifest.json</code> in the same directory.</p></noscript>
    "##);
    insta::assert_snapshot!(between(&page, "<h2 id=\"left-title\">", "<details"), @r#"
    Skipped: not in the plan</h2>
    <table class="reasons"><thead><tr><th scope="col">Reason</th><th scope="col" class="n">Nodes</th><th scope="col" class="n">Whole pools</th></tr></thead>
    <tbody>
    <tr><th scope="row">pool-not-selected</th><td class="n">0</td><td class="n">1</td></tr>
    <tr><th scope="row">preempted</th><td class="n">1</td><td class="n">0</td></tr>
    </tbody></table>
    <p>1 node appeared after the plan was made (not called): <code>appeared</code> in <code>manifest.json</code>.</p>
    "#);
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
    "pools":[[0,"render",[2,0,0,0,0,0,0,0,0]],[0,"blocked",[0,0,0,2,0,0,0,0,0]],[1,"web",[0,0,0,0,0,0,0,1,1]]],
    "timeline":{"step":2000,"calls":[3,1,2,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0],"throttled":[1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0],"verified":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,1,0,0,0,0,0,0,0,0,0,1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]},
    "causes":[[3,[1],null],[7,[2],8],[8,[2],9]],
    "left_out":[["contoso","render","tvm-3","preempted",null,"preempted"],["contoso","test",null,"pool-not-selected",null,null]],
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
    write_reports(dir.path(), &plan, &facts, &ledger, None, histories).unwrap();
    let page = fs::read_to_string(dir.path().join(PAGE_FILE)).unwrap();
    assert!(page.contains("<p>Nothing: every planned node was collected.</p>"));
    assert!(page.contains("<p>Every planned node was collected.</p>"));
    assert!(page.contains("<h1>1 of 1 node collected.</h1>"));
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
