//! The frozen plan for people: what `fleetlogs plan` prints.
//!
//! Per account its pools with their nodes by priority, then what was left out, then what the run will take. Aligned
//! and no wider than asked; long ids are shortened in the middle, unless the width is unbounded (a pipe, say).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use fleetlogs_model::duration;
use fleetlogs_model::ids::{AccountName, PoolId};
use fleetlogs_model::plan::{LeftOutReason, Plan, PlannedAccount};
use fleetlogs_model::planned::{PlannedNode, Priority};
use fleetlogs_model::service::NodeState;

use crate::advice::remedies_of_unlisted;
use crate::look::Look;
use crate::text::{between, counted, for_terminal, moment, number};
use crate::uncounted::Uncounted;
use crate::width::{cut, shortened};

/// How to show the plan, and facts that are not in it.
#[derive(Clone, Copy, Debug)]
pub struct PlanView<'a> {
    /// Characters in a line, at most; none for no limit.
    pub width: Option<usize>,
    /// List every node.
    pub nodes: bool,
    /// How long the run will take.
    pub estimate: Option<Duration>,
    /// A sentence that says when the SAS of the container expires and whether that is late enough.
    pub sas: Option<&'a str>,
}

/// In the order of the run.
const PRIORITIES: [(Priority, &str); 6] = [
    (Priority::Leaving, "leaving"),
    (Priority::PoolShrinking, "shrinking"),
    (Priority::Spot, "spot"),
    (Priority::HasErrors, "errors"),
    (Priority::Ordinary, "ordinary"),
    (Priority::OutOfReach, "unreachable"),
];

/// Spaces between columns, and before the first.
const GAP: usize = 2;
/// Narrower than this, a shortened name says nothing.
const NARROWEST_NAME: usize = 12;

/// The plan as text, each line ended by a newline.
///
/// # Errors
/// The details of the nodes are wanted, but cannot be read.
pub fn plan_table(plan: &Plan, view: &PlanView<'_>) -> io::Result<String> {
    let nodes = if view.nodes { plan.nodes.details().collect::<io::Result<Vec<_>>>()? } else { Vec::new() };
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_plan(&mut text, plan, &nodes, view);
    Ok(text)
}

type Pools<'a> = BTreeMap<&'a PoolId, [u64; PRIORITIES.len()]>;

fn write_plan(out: &mut String, plan: &Plan, nodes: &[PlannedNode], view: &PlanView<'_>) -> std::fmt::Result {
    let width = view.width.unwrap_or(usize::MAX);
    let (start, end) = (plan.window.start, plan.window.end);
    let window =
        format!("{} to {} UTC ({})", moment(start), moment(end), duration::text(between(start, end)));
    line(out, width, &format!("plan         {}, frozen {} UTC", plan.run_id, moment(plan.created_at)))?;
    line(out, width, &format!("window       {window}"))?;
    line(out, width, &format!("destination  {}", for_terminal(&plan.destination)))?;

    let mut pools: BTreeMap<&AccountName, Pools<'_>> = BTreeMap::new();
    for node in plan.nodes.iter() {
        let counts = pools.entry(node.account()).or_default().entry(node.pool()).or_default();
        counts[node.priority as usize] += 1;
    }
    let none = Pools::new();
    for account in &plan.accounts {
        writeln!(out)?;
        write_account(out, account, pools.get(&account.name).unwrap_or(&none), width)?;
        write_resize_errors(out, plan, account, width)?;
    }
    write_left_out(out, plan, width)?;
    if view.nodes {
        write_nodes(out, nodes, width)?;
    }

    writeln!(out)?;
    let calls = counted(plan.nodes.len() as u64, "upload call");
    let listed: u64 = plan.accounts.iter().map(|account| u64::from(account.list_calls)).sum();
    let estimate =
        view.estimate.map(|estimate| format!(", about {}", duration::text(estimate))).unwrap_or_default();
    let listed = counted(listed, "list call");
    line(out, width, &format!("needs        {calls}{estimate}; {listed} made for this plan"))?;
    if let Some(sas) = view.sas {
        line(out, width, &format!("sas          {}", for_terminal(sas)))?;
    }
    if !plan.is_whole() {
        let uncounted = Uncounted { nodes_skipped: 0, ..Uncounted::of(plan) }.to_string();
        let what = uncounted.trim_start_matches("; ");
        line(out, width, &format!("partial      a run of this plan would be: {what}"))?;
        for remedy in remedies_of_unlisted(plan) {
            let look = Look { width: view.width, ..Look::default() };
            look.wrapped(13, 13, &for_terminal(&remedy))
                .iter()
                .try_for_each(|line| writeln!(out, "{line}"))?;
        }
    }
    Ok(())
}

fn write_account(
    out: &mut String,
    account: &PlannedAccount,
    pools: &Pools<'_>,
    width: usize,
) -> std::fmt::Result {
    let (name, endpoint) = (for_terminal(account.name.as_str()), for_terminal(&account.endpoint));
    if let Some(reason) = &account.unlisted {
        line(out, width, &format!("{name}  could not be listed: {}", for_terminal(reason)))?;
        return line(out, width, &format!("{:GAP$}{endpoint}", ""));
    }
    let nodes = counted(u64::from(account.nodes), "node");
    let listed = counted(u64::from(account.pools), "pool");
    line(out, width, &format!("{name}  {nodes} planned, {listed} listed"))?;
    line(out, width, &format!("{:GAP$}{endpoint}", ""))?;
    if pools.is_empty() {
        return Ok(());
    }

    let mut totals = [0; PRIORITIES.len()];
    for counts in pools.values() {
        totals.iter_mut().zip(counts).for_each(|(total, count)| *total += count);
    }
    // Only the priorities that occur get a column.
    let mut columns: Vec<(String, Vec<String>)> =
        vec![("nodes".into(), pools.values().map(|counts| number(counts.iter().sum())).collect())];
    for (at, (_, title)) in PRIORITIES.iter().enumerate().filter(|(at, _)| totals[*at] > 0) {
        let cells =
            pools.values().map(|counts| if counts[at] == 0 { "·".into() } else { number(counts[at]) });
        columns.push(((*title).into(), cells.collect()));
    }
    let widths: Vec<usize> = columns
        .iter()
        .map(|(title, cells)| {
            cells.iter().map(|cell| cell.chars().count()).max().unwrap_or(0).max(title.len())
        })
        .collect();
    let taken = GAP + widths.iter().map(|width| width + GAP).sum::<usize>();
    let longest = pools.keys().map(|pool| for_terminal(pool.as_str()).chars().count()).max().unwrap_or(0);
    let name_width = longest.max("pool".len()).min(width.saturating_sub(taken).max(NARROWEST_NAME));

    let row = |out: &mut String, name: &str, cells: Vec<&str>| {
        write!(out, "{:GAP$}{:name_width$}", "", shortened(name, name_width))?;
        for (cell, width) in cells.iter().zip(&widths) {
            write!(out, "{:GAP$}{cell:>width$}", "")?;
        }
        writeln!(out)
    };
    row(out, "pool", columns.iter().map(|(title, _)| title.as_str()).collect())?;
    for (at, pool) in pools.keys().enumerate() {
        let cells = columns.iter().map(|(_, cells)| cells[at].as_str()).collect();
        row(out, &for_terminal(pool.as_str()), cells)?;
    }
    Ok(())
}

/// What kept pools from growing; it is often part of the incident.
fn write_resize_errors(
    out: &mut String,
    plan: &Plan,
    account: &PlannedAccount,
    width: usize,
) -> std::fmt::Result {
    for pool in plan.pools.iter().filter(|pool| pool.account == account.name) {
        for error in &pool.resize_errors {
            let (pool, code) = (for_terminal(pool.pool.as_str()), for_terminal(&error.code));
            let text = format!("{:GAP$}resize error of {pool}  {code}: {}", "", for_terminal(&error.message));
            line(out, width, &text)?;
        }
    }
    Ok(())
}

fn write_left_out(out: &mut String, plan: &Plan, width: usize) -> std::fmt::Result {
    let mut counts: BTreeMap<(&AccountName, LeftOutReason, bool), u64> = BTreeMap::new();
    for entry in &plan.left_out {
        *counts.entry((&entry.account, entry.reason, entry.node.is_none())).or_default() += 1;
    }
    if counts.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nskipped")?;
    for ((account, reason, whole_pool), count) in counts {
        let what = counted(count, if whole_pool { "pool" } else { "node" });
        let account = for_terminal(account.as_str());
        line(out, width, &format!("{:GAP$}{account}  {what}: {}", "", reason.in_words()))?;
    }
    Ok(())
}

/// A line per node in the order of the run, under a line for each group of the same pool. The id comes last: it is
/// the longest, and nothing has to be aligned after it.
fn write_nodes(out: &mut String, nodes: &[PlannedNode], width: usize) -> std::fmt::Result {
    writeln!(out, "\nnodes, in the order of the run")?;
    let state =
        |node: &PlannedNode| node.evidence.facts.state.as_ref().map_or("", NodeState::as_str).to_owned();
    let longest_state = nodes.iter().map(|node| for_terminal(&state(node)).len()).max().unwrap_or(0);
    let mut pool = None;
    for node in nodes {
        if pool != Some((node.account(), node.pool())) {
            pool = Some((node.account(), node.pool()));
            let (account, pool) = (for_terminal(node.account().as_str()), for_terminal(node.pool().as_str()));
            line(out, width, &format!("{:GAP$}{account}, pool {pool}", ""))?;
        }
        let title = PRIORITIES[node.priority as usize].1;
        let state = state(node);
        let head = format!("{:4}{title:<11}  {:<longest_state$}  ", "", for_terminal(&state));
        let room = width.saturating_sub(head.chars().count()).max(NARROWEST_NAME);
        writeln!(out, "{head}{}", shortened(&for_terminal(node.node.as_str()), room))?;
    }
    Ok(())
}

fn line(out: &mut String, width: usize, text: &str) -> std::fmt::Result {
    writeln!(out, "{}", cut(text, width))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{left_out, plan_of, planned, small_plan};

    const VIEW: PlanView<'_> = PlanView {
        width: Some(80),
        nodes: false,
        estimate: Some(Duration::from_secs(95)),
        sas: Some("ends 2026-11-22 12:00:00 UTC, 2h 30m from now; the run needs 12m"),
    };

    /// As long as the service's own: a hash, a time and a letter.
    fn long_id(number: u32) -> String {
        format!("tvmps_{}_{number:04}_d", "0123456789abcdef".repeat(4).split_at(59).0)
    }

    #[test]
    fn priorities_follow_their_position() {
        for (at, (priority, _)) in PRIORITIES.iter().enumerate() {
            assert_eq!(*priority as usize, at);
        }
    }

    #[test]
    fn a_plan_shows_who_and_who_not_and_what_it_takes() {
        insta::assert_snapshot!(plan_table(&small_plan(), &VIEW).unwrap(), @"
        plan         20261122T093000Z-4f2a, frozen 2026-11-22 09:30:00 UTC
        window       2026-11-22 07:30:00 to 2026-11-22 09:30:00 UTC (2h 00m)
        destination  https://logs.blob.core.windows.net/batch

        contoso  4 nodes planned, 2 pools listed
          https://contoso.westeurope.batch.azure.com
          pool     nodes  errors  ordinary
          blocked      2       ·         2
          render       2       1         1
          resize error of render  AccountCoreQuotaReached: the quota of the account is …

        fabrikam  2 nodes planned, 2 pools listed
          https://fabrikam.westeurope.batch.azure.com
          pool  nodes  ordinary
          web       2         2

        tailspin  could not be listed: 403 AuthenticationFailed: the role is missing
          https://tailspin.westeurope.batch.azure.com

        skipped
          contoso  1 pool: pool-not-selected
          contoso  1 node: preempted

        needs        6 upload calls, about 1m 35s; 7 list calls made for this plan
        sas          ends 2026-11-22 12:00:00 UTC, 2h 30m from now; the run needs 12m
        partial      a run of this plan would be: 1 account not listed
                     tailspin: check the role, the key and this machine's clock (the
                     credential is rejected)
        ");
    }

    #[test]
    fn long_ids_do_not_wreck_the_table() {
        let mut plan = plan_of(vec![
            PlannedNode {
                priority: Priority::Leaving,
                ..planned("contoso", &"render-".repeat(14), &long_id(1))
            },
            PlannedNode {
                priority: Priority::Spot,
                ..planned("contoso", &"render-".repeat(14), &long_id(2))
            },
            planned("contoso", "a\u{1b}[2J\nb", &long_id(3)),
        ]);
        plan.left_out = vec![left_out("contoso", "x", Some("y"), LeftOutReason::NoAgentYet)];
        let table = plan_table(&plan, &PlanView { nodes: true, ..VIEW }).unwrap();

        assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
        assert!(!table.contains('\u{1b}'));
        insta::assert_snapshot!(table, @r"
        plan         20261122T093000Z-4f2a, frozen 2026-11-22 09:30:00 UTC
        window       2026-11-22 07:30:00 to 2026-11-22 09:30:00 UTC (2h 00m)
        destination  https://logs.blob.core.windows.net/batch

        contoso  3 nodes planned, 2 pools listed
          https://contoso.westeurope.batch.azure.com
          pool                                            nodes  leaving  spot  ordinary
          a\u{1b}[2J b                                        1        ·     ·         1
          render-render-render-re…-render-render-render-      2        1     1         ·

        skipped
          contoso  1 node: still starting (no-agent-yet)

        nodes, in the order of the run
          contoso, pool render-render-render-render-render-render-render-render-render-…
            leaving      idle  tvmps_0123456789abcdef012345…6789abcdef0123456789a_0001_d
            spot         idle  tvmps_0123456789abcdef012345…6789abcdef0123456789a_0002_d
          contoso, pool a\u{1b}[2J b
            ordinary     idle  tvmps_0123456789abcdef012345…6789abcdef0123456789a_0003_d

        needs        3 upload calls, about 1m 35s; 3 list calls made for this plan
        sas          ends 2026-11-22 12:00:00 UTC, 2h 30m from now; the run needs 12m
        ");
        let whole = plan_table(&plan, &PlanView { nodes: true, width: None, ..VIEW }).unwrap();
        assert!(whole.contains(&long_id(3)), "{whole}");
    }
}
