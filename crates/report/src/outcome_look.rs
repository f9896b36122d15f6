//! How each outcome looks: its colour on the terminal and on the page, and there its shape and rank. A new outcome gets
//! its looks here, and the compiler asks for each of them.

use std::fmt::Write as _;

use fleetlogs_model::outcome::{Outcome, RunOutcome};

use crate::look::Style;

/// The palette. Terminal and page have the same hue for an outcome; the page has shades of it, so that outcomes of one
/// hue can be told apart on the map, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hue {
    Green,
    Amber,
    Red,
    Blue,
    Violet,
    Grey,
}

impl Hue {
    fn style(self) -> Style {
        match self {
            Self::Green => Style::Good,
            Self::Amber => Style::Warning,
            Self::Red => Style::Bad,
            Self::Blue => Style::Blue,
            Self::Violet => Style::Violet,
            Self::Grey => Style::Dim,
        }
    }
}

/// The colour of an outcome: its hue, and its shade on the page, which is readable on light and dark alike.
fn colour_of(outcome: Outcome) -> (Hue, &'static str) {
    match outcome {
        Outcome::Verified => (Hue::Green, "#3a9d73"),
        Outcome::Empty => (Hue::Green, "#6b9080"),
        Outcome::Adopted => (Hue::Amber, "#b08900"),
        Outcome::Incomplete => (Hue::Amber, "#cc7a00"),
        Outcome::Failed => (Hue::Red, "#d9483b"),
        Outcome::Accepted => (Hue::Blue, "#3d85c6"),
        Outcome::InDoubt => (Hue::Violet, "#9868c9"),
        Outcome::Gone => (Hue::Grey, "#7d8790"),
        Outcome::NotSent => (Hue::Grey, "#8a8168"),
    }
}

/// Its colour on a terminal.
pub(crate) fn style_of(outcome: Outcome) -> Style {
    colour_of(outcome).0.style()
}

/// Whether an account with such nodes is shown before others while the run makes progress.
pub(crate) fn is_alarming(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Incomplete | Outcome::Failed => true,
        Outcome::Verified
        | Outcome::Adopted
        | Outcome::Accepted
        | Outcome::Empty
        | Outcome::InDoubt
        | Outcome::Gone
        | Outcome::NotSent => false,
    }
}

/// Whether a line of progress counts such nodes beside those that were accepted and verified. Nodes in doubt and
/// nodes not called yet have no outcome before the end of the run.
pub(crate) fn is_shown_in_progress(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Adopted | Outcome::Empty | Outcome::Incomplete | Outcome::Failed | Outcome::Gone => true,
        Outcome::Verified | Outcome::Accepted | Outcome::InDoubt | Outcome::NotSent => false,
    }
}

/// Its rank where nodes are listed with the worst first; the lowest is the worst.
pub(crate) fn urgency_of(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Failed => 0,
        Outcome::Incomplete => 1,
        Outcome::InDoubt => 2,
        Outcome::Adopted => 3,
        Outcome::Gone => 4,
        Outcome::NotSent => 5,
        Outcome::Accepted => 6,
        Outcome::Empty => 7,
        Outcome::Verified => 8,
    }
}

/// A shape in a square of 10, as an SVG path.
fn shape_of(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Verified => "M1 1h8v8h-8z",
        Outcome::Adopted => "M1 1h8v8h-8zM5.7 2.2l-3.5 3.5v2.1h2.1l3.5 -3.5v-2.1z",
        Outcome::Accepted => "M5 .5a4.5 4.5 0 0 1 0 9a4.5 4.5 0 0 1 0 -9z",
        Outcome::Incomplete => "M5 .6l4.7 8.6h-9.4z",
        Outcome::Empty => "M1 1h8v8h-8zM2.7 2.7v4.6h4.6v-4.6z",
        Outcome::InDoubt => "M5 .2l4.8 4.8l-4.8 4.8l-4.8 -4.8z",
        Outcome::Failed => {
            "M2.6 .6l2.4 2.4l2.4 -2.4l2 2l-2.4 2.4l2.4 2.4l-2 2l-2.4 -2.4l-2.4 2.4l-2 -2l2.4 -2.4l-2.4 -2.4z"
        }
        Outcome::Gone => "M.8 3.6h8.4v2.8h-8.4z",
        Outcome::NotSent => {
            "M5 .5a4.5 4.5 0 0 1 0 9a4.5 4.5 0 0 1 0 -9zM5 2.4a2.6 2.6 0 0 0 0 5.2a2.6 2.6 0 0 0 0 -5.2z"
        }
    }
}

/// How the run ended, as a word that can stand alone.
pub(crate) fn word_of_run(outcome: RunOutcome) -> &'static str {
    match outcome {
        RunOutcome::Complete => "Complete",
        RunOutcome::Partial => "Partial",
        RunOutcome::NothingCollected => "Nothing collected",
        RunOutcome::Interrupted => "Interrupted",
        RunOutcome::BudgetSpent => "Budget spent",
    }
}

/// A sign in a square of 20, as an SVG path.
fn sign_of_run(outcome: RunOutcome) -> &'static str {
    match outcome {
        RunOutcome::Complete => {
            "M10 1a9 9 0 1 0 0 18a9 9 0 1 0 0 -18zM8.7 14.4l-4 -4l1.5 -1.5l2.5 2.5l5.2 -5.2l1.5 1.5z"
        }
        RunOutcome::Partial => "M10 1a9 9 0 1 0 0 18a9 9 0 1 0 0 -18zM10 3v14a7 7 0 0 1 0 -14z",
        RunOutcome::NothingCollected => {
            "M10 1a9 9 0 1 0 0 18a9 9 0 1 0 0 -18zM6.8 5.3l3.2 3.2l3.2 -3.2l1.5 1.5l-3.2 3.2l3.2 3.2l-1.5 1.5l-3.2 \
             -3.2l-3.2 3.2l-1.5 -1.5l3.2 -3.2l-3.2 -3.2z"
        }
        RunOutcome::Interrupted => "M10 1a9 9 0 1 0 0 18a9 9 0 1 0 0 -18zM6.5 6v8h2.4v-8zM11.1 6v8h2.4v-8z",
        RunOutcome::BudgetSpent => "M10 1l9.6 17.5h-19.2zM9 7v6h2v-6zM9 14.4v2h2v-2z",
    }
}

/// The colour of how the run ended; one of the page's own.
fn tone_of_run(outcome: RunOutcome) -> &'static str {
    match outcome {
        RunOutcome::Complete => "good",
        RunOutcome::Partial | RunOutcome::Interrupted => "mild",
        RunOutcome::NothingCollected | RunOutcome::BudgetSpent => "bad",
    }
}

/// The shapes and signs that the page refers to by name.
pub(crate) fn svg_symbols() -> String {
    let mut svg = String::new();
    for outcome in Outcome::ALL {
        let path = shape_of(outcome);
        let _ = writeln!(
            svg,
            "<symbol id=\"{outcome}\" viewBox=\"0 0 10 10\"><path class=\"fill-{outcome}\" d=\"{path}\"/></symbol>"
        );
    }
    for outcome in RunOutcome::ALL {
        let path = sign_of_run(outcome);
        let _ =
            writeln!(svg, "<symbol id=\"run-{outcome}\" viewBox=\"0 0 20 20\"><path d=\"{path}\"/></symbol>");
    }
    svg
}

/// The colours of outcomes, for the page's style sheet: as variables, and as fills.
pub(crate) fn css_rules() -> String {
    let mut css = String::from(":root {");
    for outcome in Outcome::ALL {
        let _ = write!(css, " --{outcome}: {};", colour_of(outcome).1);
    }
    css.push_str(" }\n");
    for outcome in Outcome::ALL {
        let _ = writeln!(css, ".fill-{outcome} {{ fill: var(--{outcome}); }}");
    }
    for outcome in RunOutcome::ALL {
        let _ = writeln!(css, ".{outcome} {{ color: var(--{}); }}", tone_of_run(outcome));
    }
    css
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hue in degrees and saturation in percent of a colour such as `#cc7a00`.
    fn hue_and_saturation(colour: &str) -> (i32, i32) {
        let part = |at: usize| i32::from_str_radix(&colour[at..at + 2], 16).unwrap();
        let (red, green, blue) = (part(1), part(3), part(5));
        let (most, least) = (red.max(green).max(blue), red.min(green).min(blue));
        let range = (most - least).max(1);
        let hue = if most == red {
            60 * (green - blue) / range
        } else if most == green {
            120 + 60 * (blue - red) / range
        } else {
            240 + 60 * (red - green) / range
        };
        (hue.rem_euclid(360), 100 * (most - least) / most.max(1))
    }

    #[test]
    fn an_outcome_has_the_same_hue_on_the_terminal_and_on_the_page() {
        for outcome in Outcome::ALL {
            let (hue, shade) = colour_of(outcome);
            let (degrees, saturation) = hue_and_saturation(shade);
            let fits = match hue {
                Hue::Green => (100..170).contains(&degrees),
                Hue::Amber => (30..55).contains(&degrees),
                Hue::Red => !(15..345).contains(&degrees),
                Hue::Blue => (200..230).contains(&degrees),
                Hue::Violet => (255..300).contains(&degrees),
                Hue::Grey => true,
            };
            assert!(fits, "{outcome} is {hue:?}, and {shade} has {degrees} degrees");
            assert_eq!(hue == Hue::Grey, saturation < 25, "{outcome}: {shade} is saturated by {saturation}%");
        }
    }

    #[test]
    fn no_two_outcomes_have_the_same_shade_or_shape() {
        for (at, one) in Outcome::ALL.into_iter().enumerate() {
            for other in Outcome::ALL.into_iter().skip(at + 1) {
                assert_ne!(colour_of(one).1, colour_of(other).1, "{one}, {other}");
                assert_ne!(shape_of(one), shape_of(other), "{one}, {other}");
            }
        }
    }
}
