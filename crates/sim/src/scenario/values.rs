//! The values in a scenario: durations, sizes, and ranges of both.
//!
//! Each type parses itself from TOML with its own message; the TOML parser adds line and column.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer};

/// A value that a scenario may write as a text (`"20ms"`) or as a whole number (`4`).
pub(crate) trait ScenarioValue: Copy + PartialOrd {
    /// What was expected, for error messages.
    const WHAT: &'static str;
    fn from_text(text: &str) -> Option<Self>;
    fn from_number(number: u64) -> Option<Self>;
}

/// `"20ms"`, `"1m 30s"`.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Eq, Ord)]
pub(crate) struct Span(pub(crate) Duration);

impl ScenarioValue for Span {
    const WHAT: &'static str = "a duration such as \"20ms\" or \"5s\"";

    fn from_text(text: &str) -> Option<Self> {
        humantime::parse_duration(text).ok().map(Self)
    }

    /// A bare number has no unit, and guessing one would make scenarios ambiguous. Only 0 needs no unit.
    fn from_number(number: u64) -> Option<Self> {
        (number == 0).then_some(Self(Duration::ZERO))
    }
}

/// A number of bytes: `"4KiB"`, `"1MiB"`, `512`.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Eq, Ord)]
pub(crate) struct Size(pub(crate) u64);

impl ScenarioValue for Size {
    const WHAT: &'static str = "a size such as \"4KiB\" or a number of bytes";

    fn from_text(text: &str) -> Option<Self> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let unit: u64 = match text[digits..].trim() {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "kB" | "KB" => 1_000,
            "MB" => 1_000_000,
            _ => return None,
        };
        text[..digits].parse::<u64>().ok()?.checked_mul(unit).map(Self)
    }

    fn from_number(number: u64) -> Option<Self> {
        Some(Self(number))
    }
}

/// A plain count.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Eq, Ord)]
pub(crate) struct Count(pub(crate) u32);

impl ScenarioValue for Count {
    const WHAT: &'static str = "a whole number";

    fn from_text(_: &str) -> Option<Self> {
        None
    }

    fn from_number(number: u64) -> Option<Self> {
        u32::try_from(number).ok().map(Self)
    }
}

/// A value, or `{ min = …, max = … }`, from which a value is drawn uniformly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Between<T> {
    pub(crate) min: T,
    pub(crate) max: T,
}

impl Between<Count> {
    pub(crate) fn contains(self, number: u32) -> bool {
        (self.min.0..=self.max.0).contains(&number)
    }
}

impl<T: Copy> Between<T> {
    pub(crate) const fn always(value: T) -> Self {
        Self { min: value, max: value }
    }
}

/// A single value in either form; used for `Span`, `Size` and `Count`.
struct ValueVisitor<T>(PhantomData<T>);

impl<T: ScenarioValue> Visitor<'_> for ValueVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::WHAT)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        T::from_text(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        u64::try_from(number)
            .ok()
            .and_then(T::from_number)
            .ok_or_else(|| E::invalid_value(de::Unexpected::Signed(number), &self))
    }
}

macro_rules! deserialize_value {
    ($($kind:ty),*) => {$(
        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(ValueVisitor(PhantomData))
            }
        }
    )*};
}
deserialize_value!(Span, Size, Count);

struct BetweenVisitor<T>(PhantomData<T>);

impl<'de, T: ScenarioValue + Deserialize<'de>> Visitor<'de> for BetweenVisitor<T> {
    type Value = Between<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, or {{ min = …, max = … }}", T::WHAT)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Between<T>, E> {
        ValueVisitor(PhantomData).visit_str(text).map(Between::always)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Between<T>, E> {
        ValueVisitor(PhantomData).visit_i64(number).map(Between::always)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Between<T>, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Bounds<T> {
            min: T,
            max: T,
        }
        let Bounds { min, max } = Bounds::<T>::deserialize(MapAccessDeserializer::new(map))?;
        if min > max {
            return Err(de::Error::custom("`min` is larger than `max`"));
        }
        Ok(Between { min, max })
    }
}

impl<'de, T: ScenarioValue + Deserialize<'de>> Deserialize<'de> for Between<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BetweenVisitor(PhantomData))
    }
}

/// A signed duration, for a clock that is wrong: `"-20m"`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Skew(pub(crate) time::Duration);

impl FromStr for Skew {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (sign, amount) = match text.strip_prefix('-') {
            Some(amount) => (-1, amount),
            None => (1, text.strip_prefix('+').unwrap_or(text)),
        };
        let span = humantime::parse_duration(amount.trim()).ok();
        let span = span.and_then(|span| time::Duration::try_from(span).ok());
        span.map(|span| Self(span * sign)).ok_or("a duration with a sign such as \"-20m\"")
    }
}

impl<'de> Deserialize<'de> for Skew {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|what| de::Error::invalid_value(de::Unexpected::Str(&text), &what))
    }
}

/// What a throttled answer says about waiting: `"1s"`, or `"date"` for the HTTP date form (one second ahead).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum RetryAfter {
    Seconds(Duration),
    Date,
}

impl<'de> Deserialize<'de> for RetryAfter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "date" {
            return Ok(Self::Date);
        }
        humantime::parse_duration(&text).map(Self::Seconds).map_err(|_| {
            de::Error::invalid_value(de::Unexpected::Str(&text), &"a duration such as \"1s\", or \"date\"")
        })
    }
}

/// A marketplace image: `"publisher:offer:sku:version"`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Image {
    pub(crate) publisher: String,
    pub(crate) offer: String,
    pub(crate) sku: String,
    /// `latest`, or a version.
    pub(crate) version: String,
}

impl TryFrom<String> for Image {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let parts: Vec<&str> = text.split(':').collect();
        match parts.as_slice() {
            [publisher, offer, sku, version] if parts.iter().all(|part| !part.is_empty()) => Ok(Self {
                publisher: (*publisher).to_owned(),
                offer: (*offer).to_owned(),
                sku: (*sku).to_owned(),
                version: (*version).to_owned(),
            }),
            _ => Err("an image must have the form \"publisher:offer:sku:version\""),
        }
    }
}
