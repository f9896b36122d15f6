//! Clocks that are wrong, and clocks that jump.

use serde::Deserialize;

use super::values::{Skew, Span};

/// `[[clock_shift]]`: a clock jumps once, and stays there.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClockShift {
    /// When, counted from the start of the simulator…
    pub(crate) at: Option<Span>,
    /// …or with the arrival of this upload call, counted from 1.
    pub(crate) after_uploads: Option<u32>,
    pub(crate) by: Skew,
}
