//! The one form in which a duration is shown to a person.

use std::time::Duration;

/// `45s`, `12m 05s`, `3h 20m`, `2d 01h`: the two largest units, rounded down. Anything below a second is `0s`.
#[must_use]
pub fn text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {:02}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d {:02}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_two_units_at_most() {
        let seconds = [0, 59, 60, 3_599, 3_600, 86_399, 86_400, 38 * 86_400 + 3_600];
        let shown = seconds.map(|seconds| text(Duration::from_secs(seconds)));
        let expected = ["0s", "59s", "1m 00s", "59m 59s", "1h 00m", "23h 59m", "1d 00h", "38d 01h"];
        assert_eq!(shown, expected);
        assert_eq!(text(Duration::from_millis(250)), "0s");
    }
}
