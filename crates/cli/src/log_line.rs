//! How a line of the log is written: foreign text in it cannot do anything to a terminal, for every sink and at every
//! level.
//!
//! Names of pools, nodes and directories, and the texts of errors, come from services. In a line of text, what is not
//! printable is spelled out as the reports do it; in a line of JSON, it is escaped as JSON does it, so that nothing is
//! lost. No value is longer than [`LONGEST`].

use std::fmt::{self, Write as _};

use fleetlogs_model::scrub;
use fleetlogs_report::{Look, Severity, for_terminal, json_for_terminal, message_lines};
use serde::ser::{SerializeMap, Serializer as _};
use serde_json::ser::CompactFormatter;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer, debug_fn};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::registry::LookupSpan;

/// Longest value in a line, in characters. The texts of services are cut to this length where they are read.
const LONGEST: usize = 1000;

/// A line for people: what it is about, what happened, why; then, on a line of its own, what to do about it.
pub(crate) struct PersonLine {
    /// Whether it begins with the time of day.
    pub(crate) timed: bool,
}

/// Fields that say what a line is about, joined with slashes.
const ABOUT: [&str; 3] = ["account", "pool", "node"];
/// Fields that do so with their name.
const ABOUT_NAMED: [&str; 4] = ["snapshot", "subscription", "container", "run"];
/// Fields that say why.
const WHY: [&str; 2] = ["failure", "error"];

#[derive(Default)]
struct PersonFields {
    message: String,
    about: Vec<(usize, String)>,
    named: String,
    why: String,
    help: Option<String>,
    others: Vec<String>,
}

impl Visit for PersonFields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = for_terminal(&bounded(value)).into_owned();
        let name = field.name();
        if name == "message" {
            self.message = text;
        } else if name == "help" {
            self.help = Some(text);
        } else if let Some(place) = ABOUT.iter().position(|about| *about == name) {
            self.about.push((place, text));
        } else if ABOUT_NAMED.contains(&name) {
            let _ = write!(self.named, "{name} {text}: ");
        } else if WHY.contains(&name) {
            let _ = write!(self.why, ": {text}");
        } else {
            self.others.push(format!("{name}={text}"));
        }
    }
}

impl PersonFields {
    fn text(&mut self) -> String {
        self.about.sort();
        let about: Vec<&str> = self.about.iter().map(|(_, text)| text.as_str()).collect();
        let about = if about.is_empty() { String::new() } else { about.join("/") + ": " };
        let others =
            if self.others.is_empty() { String::new() } else { format!(" ({})", self.others.join(", ")) };
        format!("{about}{}{}{}{others}", self.named, self.message, self.why)
    }
}

impl<S, N> FormatEvent<S, N> for PersonLine
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = PersonFields::default();
        event.record(&mut fields);
        let severity = match *event.metadata().level() {
            Level::ERROR => Severity::Error,
            Level::WARN => Severity::Warning,
            Level::INFO => Severity::Note,
            Level::DEBUG | Level::TRACE => Severity::Detail,
        };
        let time = self.timed.then(|| {
            let now = time::OffsetDateTime::now_utc();
            format!("{:02}:{:02}:{:02}", now.hour(), now.minute(), now.second())
        });
        let text = fields.text();
        // Before it is wrapped: no part of a secret would be known as one after it.
        let text = scrub::hide(&text);
        let help = fields.help.as_deref().map(scrub::hide);
        for line in message_lines(&Look::of_stderr(), time.as_deref(), severity, &text, help.as_deref()) {
            writeln!(writer, "{line}")?;
        }
        Ok(())
    }
}

/// The fields of a line of a daemon's text, as `tracing-subscriber` writes them, with safe values.
pub(crate) fn text_fields() -> impl for<'writer> FormatFields<'writer> + Send + Sync + 'static {
    debug_fn(|writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug| {
        let text = bounded(value);
        let text = for_terminal(&text);
        match field.name() {
            "message" => writer.write_str(&text),
            name if writer.has_ansi_escapes() => {
                write!(writer, "\u{1b}[3m{name}\u{1b}[0m\u{1b}[2m=\u{1b}[0m{text}")
            }
            name => write!(writer, "{name}={text}"),
        }
    })
    .delimited(" ")
}

/// A value as text, cut where it is too long. No more of it than that is ever built.
fn bounded(value: &dyn fmt::Debug) -> String {
    struct Bounded {
        text: String,
        left: usize,
        is_cut: bool,
    }

    impl fmt::Write for Bounded {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            for char in text.chars() {
                if self.left == 0 {
                    self.is_cut = true;
                    // Ends the formatting of the value.
                    return Err(fmt::Error);
                }
                self.left -= 1;
                self.text.push(char);
            }
            Ok(())
        }
    }

    let mut shown = Bounded { text: String::new(), left: LONGEST, is_cut: false };
    let _ = write!(shown, "{value:?}");
    if shown.is_cut {
        shown.text.push('…');
    }
    shown.text
}

/// A line of JSON: time, level, the members of the event, and where it comes from.
pub(crate) struct JsonLine;

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let line = json(&time, event).map_err(|_| fmt::Error)?;
        writer.write_str(&json_for_terminal(line))?;
        writer.write_char('\n')
    }
}

fn json(time: &str, event: &Event<'_>) -> Result<String, serde_json::Error> {
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, CompactFormatter);
    let mut map = serializer.serialize_map(None)?;
    map.serialize_entry("timestamp", time)?;
    map.serialize_entry("level", event.metadata().level().as_str())?;
    let mut members = JsonMembers { map, end: Ok(()) };
    event.record(&mut members);
    let JsonMembers { mut map, end } = members;
    end?;
    map.serialize_entry("target", event.metadata().target())?;
    map.end()?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

struct JsonMembers<M: SerializeMap> {
    map: M,
    end: Result<(), M::Error>,
}

impl<M: SerializeMap> JsonMembers<M> {
    fn member(&mut self, field: &Field, value: &(impl serde::Serialize + ?Sized)) {
        if self.end.is_ok() {
            self.end = self.map.serialize_entry(field.name(), value);
        }
    }
}

impl<M: SerializeMap> Visit for JsonMembers<M> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.member(field, &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.member(field, &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.member(field, &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.member(field, &value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.member(field, &bounded(&format_args!("{value}")));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.member(field, &bounded(value));
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use fleetlogs_report::is_unprintable;
    use parking_lot::Mutex;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Sink {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().clone()).unwrap()
        }
    }

    const HOSTILE: &str =
        "a\u{1b}]52;c;ZXZpbA==\u{7}\u{9b}2J\u{202e}\u{61c}\u{e0041}\u{200b}\nERROR forged\r\t\u{7f}é";

    /// What is written of an event with hostile values in every kind of field.
    fn written(
        layer: impl Fn(Sink) -> Box<dyn tracing_subscriber::Layer<tracing_subscriber::Registry> + Send + Sync>,
    ) -> String {
        let sink = Sink::default();
        let subscriber = tracing_subscriber::registry().with(layer(sink.clone()));
        tracing::subscriber::with_default(subscriber, || {
            let long = "x".repeat(10 << 20);
            tracing::warn!(shown = %HOSTILE, quoted = HOSTILE, debug = ?HOSTILE, count = 3, is = true, "about {HOSTILE}");
            tracing::warn!(long = %long, "long");
        });
        sink.text()
    }

    fn is_safe(text: &str) -> bool {
        text.lines().count() == 2 && !text.chars().any(|char| char != '\n' && is_unprintable(char))
    }

    #[test]
    fn a_warning_says_who_and_what_first_and_its_help_last() {
        let sink = Sink::default();
        let layer = tracing_subscriber::fmt::layer().event_format(PersonLine { timed: false });
        let subscriber = tracing_subscriber::registry().with(layer.with_writer({
            let sink = sink.clone();
            move || sink.clone()
        }));
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(pool = "render", account = %"contoso", failure = %"403", attempt = 2, "not listed");
            tracing::warn!(
                help = "set `auth`",
                "account `x`: its key is refused: https://h/c?sig=abcdef%2B0123456789"
            );
            tracing::warn!(help = None::<&str>, snapshot = "nightly", "cannot be watched");
        });
        insta::assert_snapshot!(sink.text(), @"
        warning: contoso/render: not listed: 403 (attempt=2)
        warning: account `x`: its key is refused: https://h/c?sig=<redacted>
          help: set `auth`
        warning: snapshot nightly: cannot be watched
        ");
    }

    #[test]
    fn nothing_of_a_foreign_text_reaches_the_terminal_raw() {
        use tracing_subscriber::Layer as _;
        let text = written(|sink| {
            let layer = tracing_subscriber::fmt::layer().with_ansi(false).fmt_fields(text_fields());
            layer.with_writer(move || sink.clone()).boxed()
        });
        assert!(is_safe(&text), "{text}");
        assert!(text.contains(
            "shown=a\\u{1b}]52;c;ZXZpbA==\\u{7}\\u{9b}2J\\u{202e}\\u{61c}\\u{e0041}\\u{200b} ERROR"
        ));
        assert!(text.contains(" count=3 is=true") && text.len() < 4000, "{text}");
        assert!(text.trim_end().ends_with("x…"), "{text}");

        let person = written(|sink| {
            let layer = tracing_subscriber::fmt::layer().event_format(PersonLine { timed: false });
            layer.with_writer(move || sink.clone()).boxed()
        });
        assert!(is_safe(&person), "{person}");
        assert!(person.starts_with("warning: about a\\u{1b}]52;") && person.contains("count=3"), "{person}");

        let json = written(|sink| {
            let layer = tracing_subscriber::fmt::layer().event_format(JsonLine);
            layer.with_writer(move || sink.clone()).boxed()
        });
        assert!(is_safe(&json) && json.len() < 4000, "{json}");
        let line: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
        assert_eq!((&line["shown"], &line["quoted"]), (&HOSTILE.into(), &HOSTILE.into()), "nothing is lost");
        assert_eq!((&line["count"], &line["is"], &line["level"]), (&3.into(), &true.into(), &"WARN".into()));
        assert_eq!(line["message"], format!("about {HOSTILE}"));
        assert!(line["target"].as_str().unwrap().contains("log_line") && line["timestamp"].is_string());
    }
}
