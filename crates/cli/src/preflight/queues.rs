//! The queues of workers.

use super::finding::Findings;
use crate::config::Settings;
use crate::error::CliError;
use crate::text::counted;
use crate::work_queues::WorkQueues;

/// Whether workers could work with the queue of each site. Queues that are missing are created, as `fan-out` would.
pub(crate) async fn queues(settings: &Settings, findings: &mut Findings) -> Result<(), CliError> {
    if settings.scale_out.is_none() {
        return Ok(());
    }
    let Some(queues) = findings.take(WorkQueues::new(settings))? else { return Ok(()) };
    for site in queues.sites() {
        let Some(contents) = findings.take(queues.try_out(site).await)? else { continue };
        let name = queues.name_of(site);
        let of = site.map_or_else(|| "accounts without a site".to_owned(), |site| format!("site `{site}`"));
        findings.good(
            "scale_out",
            format!("the queue `{name}` of {of} can be used; it has {}", counted(contents.left, "message")),
        );
        if contents.poisoned > 0 {
            findings.warn(
                "scale_out",
                format!("the poison queue of `{name}` has {}", counted(contents.poisoned, "message")),
                "`fleetlogs report RUN` has the reason beside each account; delete the messages in the portal when \
                 they are dealt with",
            );
        }
    }
    Ok(())
}
