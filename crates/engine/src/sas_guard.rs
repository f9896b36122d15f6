//! Refuses work that the container SAS would not outlive, and reports before a run what is wrong with a SAS.
//!
//! The node uses the SAS after the call was answered, so the SAS must be valid at the end of the upload allowance, not
//! only at the call.

use std::time::Duration;

use fleetlogs_model::sas::{SasKind, SasUrl};
use fleetlogs_model::timestamp::text;
use time::OffsetDateTime;

/// What makes a container SAS unfit for a run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SasProblem {
    /// It is for a blob or a directory.
    #[error("the SAS is for a blob or directory, not for a container")]
    NotContainer,
    /// An account SAS for other services.
    #[error("the account SAS is not for blobs (`ss` has no `b`)")]
    NotForBlobs,
    /// An account SAS for other levels.
    #[error("the account SAS lacks the resource type `{0}` in `srt` ({1})")]
    ResourceType(char, &'static str),
    /// It lacks a permission.
    #[error("the SAS lacks the permission `{0}` ({1})")]
    Permission(char, &'static str),
    /// It has expired.
    #[error("the SAS expired at {}", text(*.0))]
    Expired(OffsetDateTime),
    /// It expires before the last upload may end.
    #[error("the SAS expires at {}, and the run needs it until {}", text(*.ends), text(*.needed))]
    EndsTooSoon {
        /// The earlier of `se` and `ske`.
        ends: OffsetDateTime,
        /// Estimated end of the calls plus the upload allowance.
        needed: OffsetDateTime,
    },
    /// It is not valid yet.
    #[error("the SAS starts only at {}", text(*.0))]
    NotYet(OffsetDateTime),
}

impl SasProblem {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> &'static str {
        match self {
            Self::NotContainer => "create a SAS for the container itself (`sr=c`)",
            Self::NotForBlobs | Self::ResourceType(..) => {
                "create a SAS for the container (`sr=c`); an account SAS needs `ss=b` and `srt=co`"
            }
            Self::Permission('w', _) => "create a container SAS with the permission `w` (write)",
            Self::Permission(..) => {
                "create a container SAS with the permissions `r` and `l` for `verify_url`"
            }
            Self::Expired(_) => "create a new SAS",
            Self::EndsTooSoon { .. } => {
                "create a SAS that is valid longer, or lower `destination.upload_allowance`, or raise `limits.rate`"
            }
            Self::NotYet(_) => "create a SAS without a start time (`st`), or check this machine's clock",
        }
    }
}

/// Everything that is wrong with the SAS that nodes write with, for a run that needs it until `needed`.
#[must_use]
pub fn write_problems(sas: &SasUrl, now: OffsetDateTime, needed: OffsetDateTime) -> Vec<SasProblem> {
    let mut problems = common_problems(sas, now, needed);
    if !sas.is_for_level('o') {
        problems.push(SasProblem::ResourceType('o', "nodes write blobs with it"));
    }
    if sas.grants('w') == Some(false) {
        problems.push(SasProblem::Permission('w', "nodes write their logs with it"));
    }
    problems
}

/// Everything that is wrong with the SAS that the container is listed with, for a run that needs it until `needed`.
#[must_use]
pub fn list_problems(sas: &SasUrl, now: OffsetDateTime, needed: OffsetDateTime) -> Vec<SasProblem> {
    let mut problems = common_problems(sas, now, needed);
    if !sas.is_for_level('c') {
        problems.push(SasProblem::ResourceType('c', "verification lists the container with it"));
    }
    if sas.grants('l') == Some(false) {
        problems.push(SasProblem::Permission('l', "verification lists the container with it"));
    }
    problems
}

fn common_problems(sas: &SasUrl, now: OffsetDateTime, needed: OffsetDateTime) -> Vec<SasProblem> {
    let mut problems = Vec::new();
    if sas.kind == SasKind::NotContainer {
        problems.push(SasProblem::NotContainer);
    }
    if !sas.is_for_blobs() {
        problems.push(SasProblem::NotForBlobs);
    }
    match sas.expires_at {
        Some(ends) if ends <= now => problems.push(SasProblem::Expired(ends)),
        Some(ends) if ends < needed => problems.push(SasProblem::EndsTooSoon { ends, needed }),
        _ => {}
    }
    if let Some(starts) = sas.starts_at.filter(|starts| *starts > now) {
        problems.push(SasProblem::NotYet(starts));
    }
    problems
}

/// Whether an upload may still be started: the SAS outlives the upload allowance.
#[must_use]
pub fn outlives_upload(sas: &SasUrl, now: OffsetDateTime, upload_allowance: Duration) -> bool {
    sas.expires_at.is_none_or(|ends| now + upload_allowance <= ends)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-11-22 10:00:00 UTC);

    fn sas(query: &str) -> SasUrl {
        SasUrl::parse(&format!("https://logs.blob.core.windows.net/c?{query}&sig=fake")).unwrap()
    }

    #[test]
    fn each_unfit_sas_is_named() {
        let problems = |query: &str| write_problems(&sas(query), NOW, NOW + Duration::from_secs(3600));
        let good = "sr=c&sp=w&se=2026-11-22T11:00:00Z";
        assert_eq!(problems(good), []);
        let account = "sp=w&se=2026-11-22T12:00:00Z";
        assert_eq!(problems(&format!("ss=bf&srt=so&{account}")), []);
        assert_eq!(problems(&format!("ss=qf&srt=sco&{account}")), [SasProblem::NotForBlobs]);
        assert!(matches!(problems(&format!("ss=b&srt=s&{account}"))[..], [SasProblem::ResourceType('o', _)]));
        let lists = |query: &str| list_problems(&sas(query), NOW, NOW);
        assert!(matches!(
            lists("ss=b&srt=so&sp=rl&se=2026-11-22T12:00:00Z")[..],
            [SasProblem::ResourceType('c', _)]
        ));
        assert_eq!(problems("sr=b&sp=w&se=2026-11-22T12:00:00Z"), [SasProblem::NotContainer]);
        assert!(matches!(
            problems("sr=c&sp=rl&se=2026-11-22T12:00:00Z")[..],
            [SasProblem::Permission('w', _)]
        ));
        assert!(matches!(problems("sr=c&sp=w&se=2026-11-22T10:00:00Z")[..], [SasProblem::Expired(_)]));
        assert!(matches!(
            problems("sr=c&sp=w&se=2026-11-22T10:59:59Z")[..],
            [SasProblem::EndsTooSoon { .. }]
        ));
        assert!(matches!(problems(&format!("{good}&st=2026-11-22T10:01:00Z"))[..], [SasProblem::NotYet(_)]));
        assert!(matches!(
            problems(&format!("{good}&ske=2026-11-22T10:30:00Z"))[..],
            [SasProblem::EndsTooSoon { .. }]
        ));
    }

    #[test]
    fn no_upload_is_started_that_could_outlive_its_sas() {
        let sas = sas("sr=c&sp=w&se=2026-11-22T10:10:00Z");
        assert!(outlives_upload(&sas, NOW, Duration::from_secs(600)));
        assert!(!outlives_upload(&sas, NOW, Duration::from_secs(601)));
    }
}
