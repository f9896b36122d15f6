//! Progress on a terminal: bars that are redrawn in place, and lines above them that stay.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

use super::notices::Notice;
use crate::look::Look;

/// Redraws per second that the terminal gets at most.
const REDRAWS: u8 = 20;

/// The part of the terminal that is redrawn.
pub(crate) struct Bars {
    area: ProgressBar,
    term: Box<dyn Fn() -> Box<dyn TermLike> + Send>,
    look: Box<dyn Fn() -> Look + Send>,
}

impl Bars {
    /// `look` is called before each drawing, because the terminal may be resized.
    pub(crate) fn new(
        term: Box<dyn Fn() -> Box<dyn TermLike> + Send>,
        look: Box<dyn Fn() -> Look + Send>,
    ) -> Self {
        Self { area: area(term()), term, look }
    }

    /// Keeps what is drawn and draws again below it. For use after Ctrl-C: the terminal wrote `^C` into the bars, so
    /// they can no longer be redrawn in place.
    pub(crate) fn begin_anew(&mut self) {
        self.leave();
        self.area = area((self.term)());
    }

    /// Keeps what is drawn; further output begins on a new line.
    pub(crate) fn leave(&self) {
        self.area.set_draw_target(ProgressDrawTarget::hidden());
        let term = (self.term)();
        // Errors do not matter: if the terminal is gone, nobody sees it.
        let _ = term.write_line("").and_then(|()| term.flush());
    }

    pub(crate) fn look(&self) -> Look {
        (self.look)()
    }

    pub(crate) fn draw(&self, lines: &[String]) {
        self.area.set_message(lines.join("\n"));
    }

    /// Prints lines above the bars, which stay.
    pub(crate) fn say(&self, notices: &[Notice]) {
        let look = self.look();
        for (style, text) in notices {
            let lines = look.wrapped(0, 2, text);
            let painted: Vec<String> = lines.into_iter().map(|line| look.paint(*style, &line)).collect();
            self.area.println(painted.join("\n"));
        }
    }

    /// For output while the bars are shown.
    pub(crate) fn handle(&self) -> ProgressBar {
        self.area.clone()
    }

    pub(crate) fn clear(self) {
        self.area.finish_and_clear();
    }
}

fn area(term: Box<dyn TermLike>) -> ProgressBar {
    let target = ProgressDrawTarget::term_like_with_hz(term, REDRAWS);
    let area = ProgressBar::with_draw_target(None, target);
    // A mistake in the template would cost the bars, not the run.
    area.set_style(ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar()));
    area
}
