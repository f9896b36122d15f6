//! The history of a series for people: a few lines, the worst holes, and the verdict last.

use time::Duration;

use super::series::{Place, Series};
use crate::look::{Look, Style};
use crate::text::{counted, cut, duration, for_terminal, moment, number, shortened};

/// Holes, ended nodes and unread runs that are shown unless all are asked for.
const MOST: usize = 20;
/// Columns of the labels on the left.
const LABEL: usize = 12;
/// Characters of a name.
const NAME_WIDTH: usize = 40;
/// Characters of the service's words.
const REASON_WIDTH: usize = 160;

impl Series<'_> {
    /// The lines on the terminal, each ended by a newline. `all` shows every hole and every node that ended.
    #[must_use]
    pub fn to_terminal(&self, look: &Look, all: bool) -> String {
        let most = if all { usize::MAX } else { MOST };
        let mut lines = vec![look.paint(Style::Bold, &for_terminal(self.snapshot.as_str()))];
        let mut line = |label: &str, text: &str| {
            let label = format!("  {label:<width$}", width = LABEL - 2);
            lines.extend(look.wrapped(0, LABEL, &format!("{label}{text}")));
        };
        if let (Some(first), Some(last)) = (self.runs.first, self.runs.last) {
            line("runs", &format!("{}, {first} to {last}", number(self.runs.read as u64)));
        }
        for unread in self.unread.iter().take(most) {
            line("not read", &format!("{}: {}", for_terminal(&unread.run_id), for_terminal(&unread.why)));
        }
        and_more(&mut line, self.unread.len(), most, "run");
        if let (Some(from), Some(to)) = (self.from, self.to) {
            line("time", &format!("{} to {} UTC", moment(from), moment(to)));
        }
        let totals = &self.totals;
        let ended = match totals.nodes_ended {
            0 => String::new(),
            ended => format!(", {} of them ended or not chosen any more", number(ended)),
        };
        line("nodes", &format!("{}{ended}", number(totals.nodes)));
        let empty = match minutes(totals.empty_seconds) {
            0 => String::new(),
            empty => format!(", and {} answered with nothing to send", number(empty)),
        };
        let (verified, owed) = (minutes(totals.verified_seconds), minutes(totals.owed_seconds));
        line("minutes", &format!("{} of {} verified{empty}", number(verified), number(owed)));
        self.holes(&mut line, most);
        self.ended(&mut line, most);
        lines.extend(self.verdict(look));
        lines.join("\n") + "\n"
    }

    /// The longest first.
    fn holes(&self, line: &mut impl FnMut(&str, &str), most: usize) {
        let mut holes: Vec<_> = self.holes.iter().collect();
        holes.sort_by_key(|hole| std::cmp::Reverse(hole.stretch.length()));
        for hole in holes.into_iter().take(most) {
            let (from, to) = (moment(hole.stretch.from), moment(hole.stretch.to));
            let (place, length) = (place(&hole.place), spoken(hole.stretch.length()));
            let why = for_terminal(&hole.why);
            line("hole", &format!("{place}: {length}, {from} to {to} UTC: {}", cut(&why, REASON_WIDTH)));
        }
        and_more(line, self.holes.len(), most, "hole");
    }

    fn ended(&self, line: &mut impl FnMut(&str, &str), most: usize) {
        let mut ended: Vec<_> = self.ended.iter().collect();
        ended.sort_by_key(|ended| std::cmp::Reverse(ended.unknown.length()));
        for ended in ended.into_iter().take(most) {
            let (place, why) = (place(&ended.place), ended.why);
            let (length, from) = (spoken(ended.unknown.length()), moment(ended.unknown.from));
            line("ended", &format!("{place}: {why}; its last {length}, from {from} UTC, are unknown"));
        }
        and_more(line, self.ended.len(), most, "node");
    }

    fn verdict(&self, look: &Look) -> Vec<String> {
        let (verdict, style, text) = if !self.has_runs() {
            ("NO RUN", Style::BadVerdict, "  no run of it was found.".to_owned())
        } else if self.has_holes() {
            let nodes = counted(self.totals.nodes_with_holes, "node");
            let minutes = number(minutes(self.totals.open_seconds));
            let holes = counted(self.holes.len() as u64, "hole");
            ("HOLES", Style::WarningVerdict, format!("  {nodes} with {holes}, {minutes} minutes in all."))
        } else {
            ("WHOLE", Style::GoodVerdict, "  no minute is missing.".to_owned())
        };
        let mut lines = look.wrapped(0, 2, &format!("{verdict}{text}"));
        if let Some(first) = lines.first_mut()
            && let Some(rest) = first.strip_prefix(verdict)
        {
            *first = format!("{}{rest}", look.paint(style, verdict));
        }
        lines
    }
}

fn and_more(line: &mut impl FnMut(&str, &str), all: usize, most: usize, noun: &str) {
    if let Some(more @ 1..) = all.checked_sub(most) {
        line("", &format!("and {} more: see `--nodes`", counted(more as u64, noun)));
    }
}

fn place(place: &Place<'_>) -> String {
    let name = |name: &str| shortened(&for_terminal(name), NAME_WIDTH).into_owned();
    format!("{}, pool {}, {}", name(place.account.as_str()), name(place.pool.as_str()), name(place.node))
}

fn spoken(length: Duration) -> String {
    duration(length.try_into().unwrap_or_default())
}

fn minutes(seconds: i64) -> u64 {
    u64::try_from(seconds / 60).unwrap_or_default()
}
