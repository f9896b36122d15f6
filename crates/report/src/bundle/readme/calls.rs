//! The calls that support should look up.

use std::fmt::{self, Write};

use super::{Readme, known};
use crate::bundle::survey::{CallRow, Survey};
use crate::text::{counted, for_markdown, number};

/// Kinds of failed calls that are shown.
const MOST_KINDS: usize = 10;

impl Readme<'_> {
    pub(super) fn calls(&self, out: &mut String) -> fmt::Result {
        let Survey { calls, failed, failed_otherwise, .. } = self.survey;
        if calls.all == 0 && failed.is_empty() {
            return Ok(());
        }
        writeln!(out, "## Calls to look up\n")?;
        if calls.all > 0 {
            writeln!(
                out,
                "The last call of each node that was not collected. A call with status 200 was accepted by the service, but \
                 its files did not all arrive.\n"
            )?;
            writeln!(
                out,
                "| sent at | account | pool | node | outcome | status | code | request-id | client-request-id |"
            )?;
            writeln!(out, "| --- | --- | --- | --- | --- | --- | --- | --- | --- |")?;
            for call in calls.rows() {
                call_row(out, call)?;
            }
            let hidden = calls.all.saturating_sub(calls.rows().count() as u64);
            if hidden > 0 {
                writeln!(
                    out,
                    "\nand {} more, in `nodes.csv`; every call of every node is in `manifest.json`.",
                    number(hidden)
                )?;
            }
            writeln!(out)?;
        }
        if failed.is_empty() {
            return Ok(());
        }
        writeln!(out, "All failed calls by their answer, including those that succeeded when retried:\n")?;
        writeln!(out, "| calls | status | code | for example: sent at | node | request-id |")?;
        writeln!(out, "| ---: | --- | --- | --- | --- | --- |")?;
        let mut kinds: Vec<_> = failed.values().collect();
        kinds.sort_by(|(a, _), (b, _)| b.cmp(a));
        for (calls, example) in kinds.iter().take(MOST_KINDS) {
            let node = format!("{}/{}/{}", example.account, example.pool, example.node);
            let CallRow { sent_at, status, code, request_id, .. } = example;
            writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} |",
                number(*calls),
                status.map_or_else(|| "no answer".into(), |status| status.to_string()),
                known(code.as_deref()),
                for_markdown(sent_at),
                for_markdown(&node),
                known(request_id.as_deref()),
            )?;
        }
        let hidden = failed_otherwise + kinds.iter().skip(MOST_KINDS).map(|(calls, _)| calls).sum::<u64>();
        if hidden > 0 {
            writeln!(out, "\nand {} of other kinds, in `manifest.json`", counted(hidden, "call"))?;
        }
        writeln!(out)
    }
}

fn call_row(out: &mut String, call: &CallRow) -> fmt::Result {
    writeln!(
        out,
        "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        for_markdown(&call.sent_at),
        for_markdown(&call.account),
        for_markdown(&call.pool),
        for_markdown(&call.node),
        call.outcome,
        call.status.map_or_else(|| "no answer".into(), |status| status.to_string()),
        known(call.code.as_deref()),
        known(call.request_id.as_deref()),
        for_markdown(&call.client_request_id),
    )
}
