//! The time window on the command line, instead of `[window]` of the config.

use std::time::Duration;

use clap::Parser;
use fleetlogs_engine::clock::Clock;
use time::OffsetDateTime;

use crate::config::{Misread, Settings, WindowSpec, times};
use crate::error::{CliError, Refusal};

#[derive(Clone, Debug, Default, PartialEq, Eq, Parser)]
#[command(next_help_heading = "Window")]
pub(crate) struct WindowArgs {
    /// Collect the logs of this long, up to now, such as 30m; replaces `[window]` of the config
    #[arg(long, value_name = "TIME", conflicts_with_all = ["start", "end", "around"])]
    pub(crate) last: Option<String>,
    /// Collect the logs from this time on, such as 2026-11-22T08:00:00Z
    #[arg(long, value_name = "TIME", conflicts_with = "around")]
    pub(crate) start: Option<String>,
    /// Collect the logs up to this time [default: now]
    #[arg(long, value_name = "TIME", requires = "start", conflicts_with = "around")]
    pub(crate) end: Option<String>,
    /// Collect the logs around this time: `before` and `after` of the config, or 30m each
    #[arg(long, value_name = "TIME")]
    pub(crate) around: Option<String>,
}

impl WindowArgs {
    /// Replaces the window of the config by the one that is named here, if one is. The config's digest stays as it is:
    /// the plan has the window, and `resume` needs no option.
    pub(crate) fn apply(&self, settings: &mut Settings) -> Result<(), CliError> {
        match self.spec(settings.around_sides, Clock::System.now()) {
            Ok(None) => {}
            Ok(Some(spec)) => settings.window = spec,
            Err(wrong) => return Err(CliError::usage_all(wrong)),
        }
        Ok(())
    }

    fn spec(
        &self,
        (before, after): (Duration, Duration),
        now: OffsetDateTime,
    ) -> Result<Option<WindowSpec>, Vec<Refusal>> {
        if let Some(last) = &self.last {
            let last = times::duration(last).map_err(|why| vec![refusal("--last", why)])?;
            return Ok(Some(WindowSpec::Last(last)));
        }
        if let Some(around) = &self.around {
            let window = times::moment(around)
                .and_then(|moment| WindowSpec::around(moment, before, after, now))
                .map_err(|why| vec![refusal("--around", why)])?;
            return Ok(Some(window));
        }
        let Some(start) = &self.start else { return Ok(None) };
        let start = times::moment(start).map_err(|why| refusal("--start", why));
        let end = self.end.as_deref().map(times::moment).transpose().map_err(|why| refusal("--end", why));
        match (start, end) {
            (Ok(start), Ok(end)) => {
                WindowSpec::between(start, end, now).map(Some).map_err(|why| vec![refusal("--start", why)])
            }
            // Both, if both are wrong.
            (start, end) => Err([start.err(), end.err()].into_iter().flatten().collect()),
        }
    }
}

/// What is wrong, in the words of the config, of an option.
fn refusal(option: &str, Misread { message, help }: Misread) -> Refusal {
    let options = |text: String| {
        ["start", "end", "around"]
            .iter()
            .fold(text, |text, key| text.replace(&format!("`{key}`"), &format!("`--{key}`")))
    };
    let message = options(message);
    if message.starts_with("`--") {
        return Refusal::new(message, help);
    }
    Refusal::new(message, help).about(format!("`{option}`"))
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-11-30 09:20 UTC);

    #[test]
    fn a_window_is_read_from_options_or_refused_in_their_words() {
        let hour = Duration::from_secs(3600);
        let read = |options: [Option<&str>; 4]| {
            let [last, start, end, around] = options.map(|text| text.map(String::from));
            WindowArgs { last, start, end, around }.spec((hour, hour * 2), NOW)
        };
        let ok = |options| read(options).unwrap();
        assert_eq!(ok([None; 4]), None);
        assert_eq!(ok([Some("30m"), None, None, None]), Some(WindowSpec::Last(hour / 2)));
        let (eight, nine) = (datetime!(2026-11-30 08:00 UTC), datetime!(2026-11-30 09:00 UTC));
        assert_eq!(ok([None, Some("2026-11-30T08:00:00Z"), None, None]), Some(WindowSpec::From(eight, None)));
        let both = [None, Some("2026-11-30T09:00:00+01:00"), Some("2026-11-30T09:00:00Z"), None];
        assert_eq!(ok(both), Some(WindowSpec::From(eight, Some(nine))));
        let around = [None, None, None, Some("2026-11-30T09:00:00Z")];
        assert_eq!(ok(around), Some(WindowSpec::From(eight, Some(nine + hour * 2))));

        let told = |options| read(options).unwrap_err().iter().map(Refusal::describe).collect::<String>();
        insta::assert_snapshot!(told([Some("2h30"), None, None, None]), @r#"
        error: `--last`: `2h30` is not a duration: time unit needed, for example 30sec or 30ms
          help: write a number with its unit, such as "90s", "10m" or "2h"
        "#);
        insta::assert_snapshot!(told([Some("0s"), None, None, None]), @r#"
        error: `--last`: must be above 0
          help: write a number with its unit, such as "90s", "10m" or "2h"
        "#);
        insta::assert_snapshot!(told([None, Some("8:00"), Some("tomorrow"), None]), @r"
        error: `--start`: `8:00` is not a time with an offset
          help: write a time with its offset from UTC, such as 2026-11-22T09:00:00Z
        error: `--end`: `tomorrow` is not a time with an offset
          help: write a time with its offset from UTC, such as 2026-11-22T09:00:00Z
        ");
        let swapped = [None, Some("2026-11-30T09:00:00Z"), Some("2026-11-30T08:00:00Z"), None];
        insta::assert_snapshot!(told(swapped), @r"
        error: `--end` is not after `--start`
          help: swap them
        ");
        insta::assert_snapshot!(told([None, Some("2027-11-29T10:00:00Z"), None, None]), @r"
        error: `--start` is in the future: it is 2026-11-30T09:20:00Z now, by this machine's clock
          help: did you mean 2026? `2026-11-29T10:00:00Z` has passed
        ");
        insta::assert_snapshot!(told([None, None, None, Some("2027-11-29T10:00:00Z")]), @r"
        error: `--around` is in the future: it is 2026-11-30T09:20:00Z now, by this machine's clock
          help: did you mean 2026? `2026-11-29T10:00:00Z` has passed
        ");
    }
}
