//! The history of a series on the terminal: a few lines, the longest gaps, and the verdict last.

use fleetlogs_model::duration;
use time::Duration;

use super::series::{NodePlace, Series, Verdict};
use crate::look::{Look, Style};
use crate::text::{counted, for_terminal, moment, number};
use crate::width::{cut, shortened};

/// Gaps, ended nodes and unread runs that are shown unless all are requested.
const MOST: usize = 20;
/// Columns of the labels on the left.
const LABEL: usize = 12;
/// Characters of a name.
const NAME_WIDTH: usize = 40;
/// Longest reason, in characters.
const REASON_WIDTH: usize = 160;

impl Series<'_> {
    /// The lines on the terminal, each ended by a newline. `all` shows every gap and every node that ended.
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
        if let (Some(from), Some(to), None) = (self.from, self.to, self.elsewhere) {
            line("time", &format!("{} to {} UTC", moment(from), moment(to)));
        }
        if let Some(after) = self.no_run_after {
            line("no run", &format!("after {} UTC: {}", moment(after), for_terminal(&self.no_run_why)));
        }
        let totals = &self.totals;
        let ended = match totals.nodes_ended {
            0 => String::new(),
            ended => format!(", {} of them gone or no longer selected", number(ended)),
        };
        line("nodes", &format!("{}{ended}", number(totals.nodes)));
        let empty = match minutes(totals.empty_seconds) {
            0 => String::new(),
            empty => format!(", and {} answered with nothing to send", number(empty)),
        };
        // If only a second is missing, the minute is not fully verified.
        let begun = if totals.open_seconds > 0 { 59 } else { 0 };
        let (verified, owed) = (minutes(totals.verified_seconds), minutes(totals.owed_seconds + begun));
        line("minutes", &format!("{} of {} verified{empty}", number(verified), number(owed)));
        self.holes(&mut line, most);
        self.ended(&mut line, most);
        lines.extend(self.last_line(look));
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
            line("gap", &format!("{place}: {length}, {from} to {to} UTC: {}", cut(&why, REASON_WIDTH)));
        }
        and_more(line, self.holes.len(), most, "gap");
    }

    fn ended(&self, line: &mut impl FnMut(&str, &str), most: usize) {
        let mut ended: Vec<_> = self.ended.iter().collect();
        ended.sort_by_key(|ended| std::cmp::Reverse(ended.unknown.length()));
        for ended in ended.into_iter().take(most) {
            let (place, why) = (place(&ended.place), ended.why);
            let (length, from) = (spoken(ended.unknown.length()), moment(ended.unknown.from));
            line("ended", &format!("{place}: {why}; nothing is known of its last {length}, from {from} UTC"));
        }
        and_more(line, self.ended.len(), most, "node");
    }

    fn last_line(&self, look: &Look) -> Vec<String> {
        let (verdict, style, text) = match self.verdict() {
            Verdict::Nothing if self.runs.read > 0 => ("NO PROOF", Style::BadVerdict, self.elsewhere()),
            Verdict::Nothing => ("NO RUN", Style::BadVerdict, self.without_run()),
            Verdict::Gaps => ("GAPS", Style::WarningVerdict, self.missing()),
            Verdict::Whole => ("NO GAPS", Style::GoodVerdict, "no minute is missing.".to_owned()),
        };
        let mut lines = look.wrapped(0, 2, &format!("{verdict}  {text}"));
        if let Some(first) = lines.first_mut()
            && let Some(rest) = first.strip_prefix(verdict)
        {
            *first = format!("{}{rest}", look.paint(style, verdict));
        }
        lines
    }

    fn elsewhere(&self) -> String {
        let series = self.elsewhere.map(|series| (moment(series.from), moment(series.to)));
        let (from, to) = series.unwrap_or_default();
        format!("the series has nothing in that time range: its runs cover {from} to {to} UTC.")
    }

    fn without_run(&self) -> String {
        match self.kept_until {
            Some(until) => format!(
                "none of its runs can be read. What removed runs covered is recorded up to {} UTC, but not what they missed.",
                moment(until)
            ),
            None if self.unread.is_empty() => "no run of this snapshot was found.".into(),
            None => "none of its runs can be read.".into(),
        }
    }

    fn missing(&self) -> String {
        let open = match self.totals.open_seconds {
            short @ 0..600 => spoken(Duration::seconds(short)),
            long => format!("{} minutes", number(minutes(long))),
        };
        match (self.holes.len() as u64, self.no_run_after) {
            (0, Some(after)) => format!("no run that can be read is later than {} UTC.", moment(after)),
            (holes, _) => {
                let nodes = counted(self.totals.nodes_with_holes, "node");
                format!("{nodes} with {}, {open} in total.", counted(holes, "gap"))
            }
        }
    }
}

fn and_more(line: &mut impl FnMut(&str, &str), all: usize, most: usize, noun: &str) {
    if let Some(more @ 1..) = all.checked_sub(most) {
        line("", &format!("and {}: use `--nodes`", counted(more as u64, &format!("more {noun}"))));
    }
}

fn place(place: &NodePlace<'_>) -> String {
    let name = |name: &str| shortened(&for_terminal(name), NAME_WIDTH).into_owned();
    format!("{}, pool {}, {}", name(place.account.as_str()), name(place.pool.as_str()), name(place.node))
}

fn spoken(length: Duration) -> String {
    duration::text(length.try_into().unwrap_or_default())
}

fn minutes(seconds: i64) -> u64 {
    u64::try_from(seconds / 60).unwrap_or_default()
}
