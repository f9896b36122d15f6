//! The picture of a run, redrawn in place on a terminal, with lines above it that stay.

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
    /// `look` is asked before each drawing, as a terminal may be resized.
    pub(crate) fn new(
        term: Box<dyn Fn() -> Box<dyn TermLike> + Send>,
        look: Box<dyn Fn() -> Look + Send>,
    ) -> Self {
        Self { area: area(term()), term, look }
    }

    /// Leaves what is drawn where it is, and draws anew below it. For after Ctrl-C: the terminal wrote `^C` into the
    /// picture, and it cannot be redrawn in place any more.
    pub(crate) fn begin_anew(&mut self) {
        self.leave();
        self.area = area((self.term)());
    }

    /// Leaves what is drawn where it is; what comes next begins a line.
    pub(crate) fn leave(&self) {
        self.area.set_draw_target(ProgressDrawTarget::hidden());
        let term = (self.term)();
        // A terminal that is gone shows nothing anyway.
        let _ = term.write_line("").and_then(|()| term.flush());
    }

    pub(crate) fn look(&self) -> Look {
        (self.look)()
    }

    pub(crate) fn draw(&self, lines: &[String]) {
        self.area.set_message(lines.join("\n"));
    }

    /// Lines above the bars, which stay.
    pub(crate) fn say(&self, notices: &[Notice]) {
        let look = self.look();
        for (style, text) in notices {
            let lines = look.wrapped(0, 2, text);
            let painted: Vec<String> = lines.into_iter().map(|line| look.paint(*style, &line)).collect();
            self.area.println(painted.join("\n"));
        }
    }

    /// To write around the bars.
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
    // The template is ours; a mistake in it costs the picture, not the run.
    area.set_style(ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar()));
    area
}
