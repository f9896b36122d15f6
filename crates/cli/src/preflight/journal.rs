//! The container of the journal.

use std::path::Path;
use std::time::Duration;

use fleetlogs_model::timestamp;
use time::OffsetDateTime;

use super::finding::Findings;
use crate::config::{JournalSettings, OwnContainer, Settings};
use crate::error::CliError;
use crate::journal_container::JournalContainer;

/// Whether the container can be opened. Lists it once, and writes only if workers are to share it: then it tries out a
/// blob of its own.
pub(crate) async fn journal(
    settings: &Settings,
    config: &Path,
    findings: &mut Findings,
) -> Result<(), CliError> {
    let Some(journal) = &settings.journal else { return Ok(()) };
    let Some(container) =
        findings.take(JournalContainer::new(journal.clone(), settings.entra.clone(), config))?
    else {
        return Ok(());
    };
    if findings.take(container.prove().await)?.is_none() {
        return Ok(());
    }
    findings.good("journal", format!("journals go to `{}`, which can be listed", container.url()));
    if settings.scale_out.is_none() {
        return Ok(());
    }
    if let Some(left_behind) = findings.take(container.try_out().await)? {
        let tried = "a blob was created, leased and appended to there";
        let rest = left_behind.map_or_else(
            || ", and deleted again".to_owned(),
            |blob| format!("; `{blob}` stays, because the SAS does not permit deleting it"),
        );
        findings.good("journal", format!("{tried}{rest}"));
    }
    Ok(())
}

/// Whether the SAS of the journal outlives a run whose calls take `calls_take`. One that is read again need only be valid
/// now.
pub(crate) async fn journal_sas(
    settings: &Settings,
    now: OffsetDateTime,
    calls_take: Duration,
    findings: &mut Findings,
) {
    let Some(JournalSettings { container: OwnContainer::Given(given), .. }) = &settings.journal else {
        return;
    };
    let Some(ends) = given.current().await.expires_at else { return };
    let takes = if given.source.is_some() { Duration::ZERO } else { calls_take + settings.verify.deadline };
    let needed = now + takes;
    if ends >= needed {
        return;
    }
    let (ends, needed) = (timestamp::text(ends), timestamp::text(needed));
    let said = if takes.is_zero() {
        format!("its SAS expired at {ends}")
    } else {
        format!("its SAS expires at {ends}, and the run may take until {needed}")
    };
    let fix = "create a SAS that lasts longer, or supply it by `file` or `command`: it is then read again during the run";
    findings.refuse("journal.container_url", said, fix);
}
