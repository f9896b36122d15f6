//! Reads TOML and collects every mistake, each with its line, its key and help.
//!
//! serde stops at the first mistake, but an operator in an incident needs to see all of them at once. Each table is
//! read together with its table of defaults, so every default stands in one place only: `config/fleetlogs.toml`.

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::time::Duration;

use fleetlogs_azure::safe;
use time::OffsetDateTime;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::times::{self, DURATION_HELP, Misread};

#[cfg(test)]
mod known_keys;
#[cfg(test)]
pub(super) use known_keys::record_known_keys;

/// A mistake in the config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// Counted from 1.
    pub(crate) line: usize,
    /// Dotted path of the key; empty for the file as a whole.
    pub(crate) key: String,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

/// Says that a mistake was found; [`Mistakes`] has it.
#[derive(Debug)]
pub(crate) struct ListedMistake;

/// All mistakes of a file.
pub(crate) struct Mistakes<'text> {
    text: &'text str,
    found: RefCell<Vec<Mistake>>,
}

impl<'text> Mistakes<'text> {
    pub(crate) fn of(text: &'text str) -> Self {
        Self { text, found: RefCell::default() }
    }

    pub(crate) fn add(&self, offset: usize, key: &str, message: impl Into<String>, help: Option<String>) {
        // A message may quote a value, and a value or a key may be a misplaced secret.
        let (message, help) = (safe(&message.into()), help.map(|help| safe(&help)));
        let mistake = Mistake { line: self.line(offset), key: safe(key), message, help };
        self.found.borrow_mut().push(mistake);
    }

    pub(crate) fn line(&self, offset: usize) -> usize {
        let end = offset.min(self.text.len());
        self.text.get(..end).unwrap_or(self.text).matches('\n').count() + 1
    }

    /// All mistakes, by line.
    pub(crate) fn into_sorted(self) -> Vec<Mistake> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|mistake| mistake.line);
        found
    }
}

/// A table of the file, with its defaults.
pub(crate) struct Table<'doc> {
    path: String,
    /// Where the table begins in the file; 0 for the file itself and for tables that only the defaults have.
    pub(crate) offset: usize,
    entries: Option<&'doc DeTable<'doc>>,
    defaults: Option<&'doc DeTable<'doc>>,
    known: RefCell<Vec<&'static str>>,
    mistakes: &'doc Mistakes<'doc>,
}

impl<'doc> Table<'doc> {
    pub(crate) fn root(
        entries: &'doc DeTable<'doc>,
        defaults: &'doc DeTable<'doc>,
        mistakes: &'doc Mistakes<'doc>,
    ) -> Self {
        let (entries, defaults) = (Some(entries), Some(defaults));
        Self { path: String::new(), offset: 0, entries, defaults, known: RefCell::default(), mistakes }
    }

    /// The same table with other defaults.
    pub(crate) fn with_defaults(mut self, shared: &Table<'doc>) -> Self {
        self.defaults = shared.entries;
        self
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn knows(&self, key: &'static str) {
        let mut known = self.known.borrow_mut();
        if !known.contains(&key) {
            known.push(key);
        }
    }

    /// The line on which the table begins.
    pub(crate) fn line(&self) -> usize {
        self.mistakes.line(self.offset)
    }

    /// Whether the file itself has the key.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.entries.is_some_and(|entries| entries.contains_key(key))
    }

    /// The value of a key, or its default, or none.
    pub(crate) fn get(&self, key: &'static str) -> Option<Value<'doc>> {
        self.knows(key);
        let written = self.entries.and_then(|entries| entries.get(key));
        let value = written.or_else(|| self.defaults.and_then(|defaults| defaults.get(key)))?;
        let offset = written.map_or(self.offset, |value| value.span().start);
        Some(Value { path: self.path_of(key), read: value.get_ref(), offset, mistakes: self.mistakes })
    }

    /// The value of a key that must be there.
    pub(crate) fn require(&self, key: &'static str, example: &str) -> Option<Value<'doc>> {
        let value = self.get(key);
        if value.is_none() {
            self.mistakes.add(
                self.offset,
                &self.path_of(key),
                "this key is missing",
                Some(format!("add `{key} = {example}`")),
            );
        }
        value
    }

    /// A table within this table, with its defaults. Empty if neither exists.
    pub(crate) fn table(&self, key: &'static str) -> Table<'doc> {
        self.knows(key);
        let mut offset = self.offset;
        let mut entries = None;
        if let Some(written) = self.entries.and_then(|entries| entries.get(key)) {
            offset = written.span().start;
            entries = written.get_ref().as_table();
            if entries.is_none() {
                self.wrong_type(key, offset, written.get_ref());
            }
        }
        let defaults =
            self.defaults.and_then(|defaults| defaults.get(key)).and_then(|value| value.get_ref().as_table());
        let known = RefCell::default();
        Table { path: self.path_of(key), offset, entries, defaults, known, mistakes: self.mistakes }
    }

    /// Reads a key that may be left out.
    pub(crate) fn optional<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&Value<'doc>) -> Option<T>,
    ) -> Result<Option<T>, ListedMistake> {
        self.get(key).map(|value| read(&value).ok_or(ListedMistake)).transpose()
    }

    /// Reads a table that the file may leave out. Its defaults apply only if the table is there.
    pub(crate) fn optional_table<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(Table<'doc>) -> Option<T>,
    ) -> Result<Option<T>, ListedMistake> {
        self.allow(&[key]);
        self.has(key).then(|| read(self.table(key)).ok_or(ListedMistake)).transpose()
    }

    /// Allows keys that have no meaning here, or whose mistakes are reported elsewhere.
    pub(crate) fn allow(&self, keys: &[&'static str]) {
        for key in keys {
            self.knows(key);
        }
    }

    /// An array of tables.
    pub(crate) fn tables(&self, key: &'static str) -> Vec<Table<'doc>> {
        let Some(value) = self.get(key) else { return vec![] };
        let items = value
            .items("an array of tables", &format!("start each with a line [[{key}]]"))
            .unwrap_or_default();
        items.into_iter().filter_map(|item| item.table()).collect()
    }

    fn wrong_type(&self, key: &str, offset: usize, value: &DeValue<'_>) {
        let path = self.path_of(key);
        let help = format!("write it as a table: a line [{path}], and its keys below");
        self.mistakes.add(offset, &path, format!("expected a table, found {}", type_of(value)), Some(help));
    }

    /// Reports a mistake about the table as a whole, such as two keys that cannot be combined.
    pub(crate) fn wrong(&self, message: impl Into<String>, help: impl Into<String>) {
        self.mistakes.add(self.offset, &self.path, message, Some(help.into()));
    }

    /// Reports every key that was neither read nor allowed.
    pub(crate) fn finish(self) {
        let known = self.known.borrow();
        #[cfg(test)]
        known_keys::keys(&self.path, &known);
        for (key, _) in self.entries.into_iter().flatten() {
            let name: &str = key.get_ref();
            if known.contains(&name) {
                continue;
            }
            let help = match nearest(name, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known keys: {}", known.join(", ")),
            };
            self.mistakes.add(key.span().start, &self.path_of(name), "unknown key", Some(help));
        }
    }
}

/// The known name that is most similar to a mistyped one, if any is similar enough.
pub(crate) fn nearest<'name>(typed: &str, known: impl IntoIterator<Item = &'name str>) -> Option<&'name str> {
    let distance = |name: &str| strsim::damerau_levenshtein(&typed.to_lowercase(), &name.to_lowercase());
    let (near, distance) =
        known.into_iter().map(|name| (name, distance(name))).min_by_key(|(_, distance)| *distance)?;
    (distance <= (typed.len() / 3).max(2)).then_some(near)
}

/// Help for a number that is something else.
const NUMBER_HELP: &str = "write digits without quotes and without a unit";

fn type_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// A value with its position. Reading it as another type reports a mistake and returns none.
pub(crate) struct Value<'doc> {
    pub(crate) path: String,
    read: &'doc DeValue<'doc>,
    offset: usize,
    mistakes: &'doc Mistakes<'doc>,
}

impl<'doc> Value<'doc> {
    /// Reports a mistake about this value.
    pub(crate) fn wrong(&self, message: impl Into<String>, help: Option<String>) {
        self.mistakes.add(self.offset, &self.path, message, help);
    }

    pub(crate) fn line(&self) -> usize {
        self.mistakes.line(self.offset)
    }

    fn expect<T>(&self, read: Option<T>, wanted: &str, help: &str) -> Option<T> {
        if read.is_none() {
            self.wrong(format!("expected {wanted}, found {}", type_of(self.read)), Some(help.into()));
        }
        read
    }

    pub(crate) fn is_table(&self) -> bool {
        self.read.is_table()
    }

    pub(crate) fn as_str(&self) -> Option<&'doc str> {
        self.read.as_str()
    }

    pub(crate) fn string(&self) -> Option<&'doc str> {
        self.expect(self.read.as_str(), "a string", "write it in quotes")
    }

    pub(crate) fn boolean(&self) -> Option<bool> {
        self.expect(self.read.as_bool(), "true or false", "write true or false, without quotes")
    }

    /// Reads the value as a table without defaults.
    pub(crate) fn table(&self) -> Option<Table<'doc>> {
        let entries = Some(self.expect(self.read.as_table(), "a table", "write it as { key = value }")?);
        let known = RefCell::default();
        let (path, offset) = (self.path.clone(), self.offset);
        Some(Table { path, offset, entries, defaults: None, known, mistakes: self.mistakes })
    }

    /// Reads the items of an array.
    pub(crate) fn items(&self, wanted: &str, help: &str) -> Option<Vec<Value<'doc>>> {
        let array = self.expect(self.read.as_array(), wanted, help)?;
        let item = |(number, item): (usize, &'doc Spanned<DeValue<'doc>>)| Value {
            path: format!("{}[{number}]", self.path),
            read: item.get_ref(),
            offset: item.span().start,
            mistakes: self.mistakes,
        };
        Some(array.iter().enumerate().map(item).collect())
    }

    pub(crate) fn strings(&self) -> Option<Vec<&'doc str>> {
        let items = self.items("an array of strings", "write it as [\"one\", \"two\"]")?;
        Some(items.iter().filter_map(Value::string).collect())
    }

    /// The texts of an array, as far as there are any. What is wrong with the others is reported where they are read.
    pub(crate) fn texts_written(&self) -> Option<Vec<String>> {
        let texts = self.read.as_array()?.iter().filter_map(|item| item.get_ref().as_str());
        Some(texts.map(str::to_owned).collect())
    }

    /// Reads the keys and texts of a table.
    pub(crate) fn texts(&self) -> Option<Vec<(String, Value<'doc>)>> {
        let entries =
            self.expect(self.read.as_table(), "a table of texts", "write it as { name = \"text\" }")?;
        let value = |(key, value): (&Spanned<std::borrow::Cow<'doc, str>>, &'doc Spanned<DeValue<'doc>>)| {
            let name = key.get_ref().to_string();
            let path = format!("{}.{name}", self.path);
            let value =
                Value { path, read: value.get_ref(), offset: value.span().start, mistakes: self.mistakes };
            (name, value)
        };
        Some(entries.iter().map(value).collect())
    }

    /// Reads a number in a range.
    pub(crate) fn number(&self, range: &RangeInclusive<f64>) -> Option<f64> {
        let text = match self.read {
            DeValue::Integer(number) => Some(number.as_str()),
            DeValue::Float(number) => Some(number.as_str()),
            _ => None,
        };
        let number =
            self.expect(text, "a number", NUMBER_HELP)?.parse().ok().filter(|number| range.contains(number));
        if number.is_none() {
            self.wrong(
                format!("must be from {} to {}", range.start(), range.end()),
                Some("leave the key out for its default".into()),
            );
        }
        number
    }

    /// Reads a whole number in a range.
    pub(crate) fn whole(&self, range: &RangeInclusive<u32>) -> Option<u32> {
        let text = self.expect(self.read.as_integer(), "a whole number", NUMBER_HELP)?.as_str();
        let number = text.parse().ok().filter(|number| range.contains(number));
        if number.is_none() {
            self.wrong(
                format!("must be from {} to {}", range.start(), range.end()),
                Some("leave the key out for its default".into()),
            );
        }
        number
    }

    /// Reads a duration such as `"90s"` or `"1h 30m"`, above zero.
    pub(crate) fn duration(&self) -> Option<Duration> {
        let Some(text) = self.read.as_str() else {
            let message = format!("expected a duration in quotes, found {}", type_of(self.read));
            self.wrong(message, Some(DURATION_HELP.into()));
            return None;
        };
        self.read_or_wrong(times::duration(text))
    }

    /// Reads a point in time: a TOML date with time and offset, or the same in quotes.
    pub(crate) fn moment(&self) -> Option<OffsetDateTime> {
        let text = match self.read {
            DeValue::Datetime(date) => date.to_string(),
            DeValue::String(text) => text.to_string(),
            other => {
                let help = "write a time with its offset from UTC, such as 2026-11-22T09:00:00Z";
                self.wrong(format!("expected a time, found {}", type_of(other)), Some(help.into()));
                return None;
            }
        };
        self.read_or_wrong(times::moment(&text))
    }

    /// The value, if its text could be read. Otherwise reports why not.
    fn read_or_wrong<T>(&self, read: Result<T, Misread>) -> Option<T> {
        read.map_err(|Misread { message, help }| self.wrong(message, Some(help))).ok()
    }
}
