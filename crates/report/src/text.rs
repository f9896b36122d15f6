//! Text for people: names made safe for the place they are shown in, and numbers, sizes and times made readable.
//!
//! Names come from the service or a config and are untrusted: a node id may contain a terminal escape code, a table
//! bar or a spreadsheet formula. Each medium has one function here, and every name passes through it.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

pub(crate) use fleetlogs_model::count::{counted, number};
use fleetlogs_model::timestamp::in_utc;
use time::OffsetDateTime;
use time::macros::format_description;

/// For a terminal or a log: on one line, without anything that moves the cursor or reverses the direction of text.
#[must_use]
pub fn for_terminal(text: &str) -> Cow<'_, str> {
    // Many bytes at once: most names are ASCII.
    let is_plain = text.bytes().fold(true, |all, byte| all & matches!(byte, b' '..=b'~'));
    if is_plain || !text.chars().any(is_unprintable) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for char in text.chars() {
        match char {
            '\n' | '\r' | '\t' => safe.push(' '),
            char if is_unprintable(char) => safe.extend(char.escape_unicode()),
            char => safe.push(char),
        }
    }
    Cow::Owned(safe)
}

/// Lines of text for a terminal: each made safe, and the line feeds kept.
#[must_use]
pub fn lines_for_terminal(text: &str) -> String {
    text.split_inclusive('\n').fold(String::with_capacity(text.len()), |mut safe, line| {
        let end = line.strip_suffix('\n');
        safe.push_str(&for_terminal(end.unwrap_or(line)));
        safe.extend(end.map(|_| '\n'));
        safe
    })
}

/// JSON that may be shown on a terminal: what is not printable is escaped as JSON does it, so that nothing is lost.
#[must_use]
pub fn json_for_terminal(json: String) -> String {
    // Outside of texts there is nothing but ASCII, and in texts every character may be escaped.
    let is_raw = |char: char| char != '\n' && is_unprintable(char);
    if !json.contains(is_raw) {
        return json;
    }
    let mut safe = String::with_capacity(json.len() + 8);
    for char in json.chars() {
        if is_raw(char) {
            for unit in char.encode_utf16(&mut [0; 2]) {
                let _ = write!(safe, "\\u{unit:04x}");
            }
        } else {
            safe.push(char);
        }
    }
    safe
}

/// Controls, line and paragraph separators, the marks that reverse the direction of the text around them, and what
/// nobody sees: characters without width, soft hyphens, fillers, annotations, selectors of variants, and tags.
#[must_use]
pub fn is_unprintable(char: char) -> bool {
    char.is_control()
        || matches!(
            char,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
                | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
                | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// For running Markdown text and table cells alike: nothing in it is interpreted as markup or HTML.
pub(crate) fn for_markdown(text: &str) -> String {
    let text = for_terminal(text);
    let mut safe = String::with_capacity(text.len() + 8);
    let mut before = ' ';
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '\\' | '`' | '*' | '[' | ']' | '|' | '~' | '!' | '#' => {
                safe.push('\\');
                safe.push(char);
            }
            // Inside a word it is not markup, and ids look better unescaped.
            '_' if !(before.is_alphanumeric() && chars.peek().is_some_and(|next| next.is_alphanumeric())) => {
                safe.push_str("\\_");
            }
            char => safe.push(char),
        }
        before = char;
    }
    safe
}

/// For HTML, between tags and in quoted attributes alike.
pub(crate) fn for_html(text: &str) -> String {
    let text = for_terminal(text);
    let mut safe = String::with_capacity(text.len() + 8);
    for char in text.chars() {
        match char {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            char => safe.push(char),
        }
    }
    safe
}

/// For a spreadsheet: a cell that begins like a formula is prefixed with an apostrophe.
///
/// Spreadsheets run a cell that starts with `=`, `+`, `-` or `@` (also behind a tab or carriage return), and
/// names of nodes and pools are untrusted. The apostrophe makes the cell text; programs should read names from the
/// manifest, where they are verbatim.
pub(crate) fn for_spreadsheet(text: &str) -> Cow<'_, str> {
    // The file may also be shown on a terminal.
    let safe = for_terminal(text);
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { Cow::Owned(format!("'{safe}")) } else { safe }
}

/// `812 B`, `1.4 GiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    // Tenths of a unit, in whole numbers; the division is repeated while four digits would stand before the point.
    let mut tenths = u128::from(bytes) * 10 / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// `2026-11-22 09:30:00`, in UTC. The caller writes `UTC` once, after its last time.
pub(crate) fn moment(at: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
    in_utc(at).format(format).unwrap_or_else(|_| at.to_string())
}

/// `09:30:00`, in UTC.
pub(crate) fn time_of_day(at: OffsetDateTime) -> String {
    let format = format_description!("[hour]:[minute]:[second]");
    in_utc(at).format(format).unwrap_or_else(|_| at.to_string())
}

/// The time between two moments; zero if the clock went backwards.
pub(crate) fn between(start: OffsetDateTime, end: OffsetDateTime) -> Duration {
    (end - start).try_into().unwrap_or_default()
}

/// `a, b and 3 more`, of which at most `most` are named.
pub(crate) fn listed<'a>(names: impl IntoIterator<Item = Cow<'a, str>>, most: usize, all: u64) -> String {
    let mut text = String::new();
    let mut shown = 0;
    for name in names.into_iter().take(most) {
        if shown > 0 {
            text.push_str(", ");
        }
        text.push_str(&name);
        shown += 1;
    }
    if all > shown {
        let _ = write!(text, " and {} more", number(all - shown));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escape_code_does_not_reach_the_terminal() {
        assert_eq!(for_terminal("tvm-1"), "tvm-1");
        assert_eq!(for_terminal("a\u{1b}[2Jb\nc"), "a\\u{1b}[2Jb c");
        assert_eq!(for_terminal("evil\u{202e}txt"), "evil\\u{202e}txt");
        assert_eq!(for_terminal("a\u{61c}\u{e0041}\u{2060}"), "a\\u{61c}\\u{e0041}\\u{2060}");
        assert_eq!(for_terminal("Größe 東京 ελ"), "Größe 東京 ελ");
    }

    #[test]
    fn lines_and_json_are_shown_without_doing_anything() {
        assert_eq!(lines_for_terminal("a\u{1b}[2J\n\nb\r\n"), "a\\u{1b}[2J\n\nb \n");
        let json = serde_json::to_string_pretty(&["é\u{9b}2J\u{202e}\u{e0041}"]).unwrap();
        let shown = json_for_terminal(json.clone());
        assert_eq!(shown, "[\n  \"é\\u009b2J\\u202e\\udb40\\udc41\"\n]");
        let read = |text: &str| serde_json::from_str::<Vec<String>>(text).unwrap();
        assert_eq!(read(&shown), read(&json));
    }

    #[test]
    fn markdown_shows_markup_instead_of_obeying_it() {
        assert_eq!(for_markdown("<script>a|b`c`"), "&lt;script&gt;a\\|b\\`c\\`");
        assert_eq!(for_markdown("tvm-1_2-p _x_\nnext"), "tvm-1_2-p \\_x\\_ next");
        assert_eq!(for_markdown("[click](http://x)"), "\\[click\\](http://x)");
    }

    #[test]
    fn html_shows_markup_instead_of_obeying_it() {
        assert_eq!(
            for_html("</script><b a='1' c=\"2\">&"),
            "&lt;/script&gt;&lt;b a=&#39;1&#39; c=&quot;2&quot;&gt;&amp;"
        );
        assert_eq!(for_html("evil\u{202e}txt"), "evil\\u{202e}txt");
    }

    #[test]
    fn a_formula_becomes_text() {
        for formula in ["=cmd()", "+1", "-1", "@sum"] {
            assert_eq!(for_spreadsheet(formula), format!("'{formula}"));
        }
        assert_eq!([for_spreadsheet("\t=1"), for_spreadsheet("\r=1")], ["' =1", "' =1"]);
        assert_eq!(for_spreadsheet("tvm\u{1b}[31m"), "tvm\\u{1b}[31m");
        assert_eq!(for_spreadsheet("tvm-1"), "tvm-1");
    }

    #[test]
    fn numbers_are_read_at_a_glance() {
        assert_eq!([number(7), number(1_000), number(1_234_567)], ["7", "1,000", "1,234,567"]);
        assert_eq!([counted(1, "node"), counted(2_000, "node")], ["1 node", "2,000 nodes"]);
        assert_eq!([size(812), size(1_024), size(1_503_238_553)], ["812 B", "1.0 KiB", "1.3 GiB"]);
        assert_eq!(size(u64::MAX), "16383.9 PiB");
    }
}
