//! Texts of times and durations, as the config and the options have them.

use std::time::Duration;

use fleetlogs_model::timestamp;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Why a text or a window cannot be meant, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Misread {
    pub(crate) message: String,
    pub(crate) help: String,
}

impl Misread {
    pub(crate) fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into() }
    }
}

/// This limit keeps sums of times far from overflow.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

pub(super) const DURATION_HELP: &str = "write a number with its unit, such as \"90s\", \"10m\" or \"2h\"";

/// Reads a duration such as `90s` or `1h 30m`, above zero.
pub(crate) fn duration(text: &str) -> Result<Duration, Misread> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration > LONGEST => {
            Err(Misread::new("must be a year at most", "write fewer days, such as \"7d\""))
        }
        Ok(duration) if duration > Duration::ZERO => Ok(duration),
        Ok(_) => Err(Misread::new("must be above 0", DURATION_HELP)),
        Err(error) => Err(Misread::new(format!("`{text}` is not a duration: {error}"), DURATION_HELP)),
    }
}

/// Reads a time with its offset from UTC, such as `2026-11-22T09:00:00Z`.
pub(crate) fn moment(text: &str) -> Result<OffsetDateTime, Misread> {
    let help = "write a time with its offset from UTC, such as 2026-11-22T09:00:00Z";
    let Ok(moment) = OffsetDateTime::parse(text, &Rfc3339) else {
        return Err(Misread::new(format!("`{text}` is not a time with an offset"), help));
    };
    timestamp::from_outside(moment)
        .ok_or_else(|| Misread::new(format!("`{text}` is not between the years 1 and 8999"), help))
}

/// A time as one would write it in a config: to the second.
pub(super) fn written(moment: OffsetDateTime) -> String {
    let whole = moment.replace_nanosecond(0).unwrap_or(moment);
    whole.format(&Rfc3339).unwrap_or_else(|_| timestamp::text(moment))
}
