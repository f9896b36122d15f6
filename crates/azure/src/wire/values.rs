//! Values that are read leniently: one odd member must not make the rest of the answer unusable. And bounded: what
//! becomes of a page must not be larger than the page.
//!
//! An odd value is skipped as text, without building anything from it.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use fleetlogs_model::{scrub, timestamp};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use time::OffsetDateTime;

/// Longest text kept of a member that is neither an id nor a message. The longest of the service is the ARM id of an
/// image, of some 250 characters.
const LONGEST_TEXT: usize = 1000;

/// A number in any spelling; none if it is not a number. One that is too large counts as the largest: a huge promise is
/// not the same as none.
pub(super) fn lenient_count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let raw = <&RawValue>::deserialize(deserializer)?.get();
    let quoted = raw.starts_with('"').then(|| serde_json::from_str::<Cow<'_, str>>(raw).ok()).flatten();
    let number = quoted.as_deref().unwrap_or(raw).trim();
    if let Ok(number) = number.parse::<u64>() {
        return Ok(Some(u32::try_from(number).unwrap_or(u32::MAX)));
    }
    let is_too_large = number.parse::<f64>().is_ok_and(|number| number > f64::from(u32::MAX));
    Ok(is_too_large.then_some(u32::MAX))
}

/// A member that matters less than its container: an unexpected value counts as none.
pub(super) fn lenient_value<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let raw = <&RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(raw.get()).ok())
}

/// A text that matters less than its container, cut if it is too long.
pub(super) fn lenient_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text: Option<Cow<'de, str>> = lenient_value(deserializer)?;
    Ok(text.map(|text| clean_head(&text, LONGEST_TEXT)))
}

/// The same for a name that other answers have as well, or the config.
pub(super) fn lenient_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text: Option<Cow<'de, str>> = lenient_value(deserializer)?;
    Ok(text.map(|text| scrub::hide_in_name(head(&text, LONGEST_TEXT)).into_owned()))
}

/// The first characters of a text, without secrets. They are taken out first: half a signature does not look like one.
pub(super) fn clean_head(text: &str, longest: usize) -> String {
    // So that a text of megabytes is not searched for what is left out.
    head(&scrub::hide(head(text, 8 * longest)), longest).to_owned()
}

/// The first characters of a text.
pub(super) fn head(text: &str, longest: usize) -> &str {
    // Most texts are short; this need not count their characters.
    if text.len() <= longest {
        return text;
    }
    text.char_indices().nth(longest).map_or(text, |(end, _)| &text[..end])
}

/// The first `MOST` good items of a list that matters less than its container.
pub(super) fn lenient_items<'de, D: Deserializer<'de>, T: Deserialize<'de>, const MOST: usize>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    struct Items<T, const MOST: usize>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Items<T, MOST> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
            let mut items = Vec::new();
            while let Some(raw) = list.next_element::<&RawValue>()? {
                if items.len() < MOST {
                    items.extend(serde_json::from_str(raw.get()).ok());
                }
            }
            Ok(items)
        }
    }

    let raw = <&RawValue>::deserialize(deserializer)?;
    let items = serde_json::Deserializer::from_str(raw.get()).deserialize_seq(Items::<T, MOST>(PhantomData));
    Ok(items.unwrap_or_default())
}

/// A time in an answer. A value that is not a time, or not in range, counts as none: it matters less than its node.
#[derive(Default)]
pub(super) struct WireTime(pub(super) Option<OffsetDateTime>);

impl<'de> Deserialize<'de> for WireTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text: Option<Cow<'de, str>> = lenient_value(deserializer)?;
        Ok(Self(text.as_deref().and_then(timestamp::parse)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Sample {
        #[serde(default, deserialize_with = "lenient_count")]
        count: Option<u32>,
        #[serde(default, deserialize_with = "lenient_text")]
        text: Option<String>,
        #[serde(default)]
        time: WireTime,
        #[serde(default, deserialize_with = "lenient_items::<_, _, 3>")]
        items: Vec<u8>,
    }

    fn read(json: &str) -> Sample {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_count_is_read_in_any_spelling_and_one_too_large_is_not_taken_for_none() {
        for (spelling, count) in [
            ("4", Some(4)),
            ("\" 4 \"", Some(4)),
            ("4294967295", Some(u32::MAX)),
            ("4294967296", Some(u32::MAX)),
            ("\"4294967296\"", Some(u32::MAX)),
            ("18446744073709551616", Some(u32::MAX)),
            ("1e300", Some(u32::MAX)),
            ("-1", None),
            ("\"four\"", None),
            ("null", None),
            ("{\"a\":[4]}", None),
        ] {
            assert_eq!(read(&format!("{{\"count\":{spelling}}}")).count, count, "{spelling}");
        }
    }

    #[test]
    fn a_long_text_is_cut_and_an_odd_one_is_none() {
        assert_eq!(read(r#"{"text":"a\u00e9"}"#).text.as_deref(), Some("aé"));
        let long = read(&format!("{{\"text\":\"{}\"}}", "é".repeat(5000))).text.unwrap();
        assert_eq!(long.chars().count(), LONGEST_TEXT);
        assert_eq!(read(r#"{"text":{"a":1}}"#).text, None);
    }

    #[test]
    fn a_time_that_cannot_be_counted_with_is_none_and_so_is_any_other_value() {
        for odd in [
            "\"0000-01-01T00:00:00+23:59\"",
            "\"9999-12-31T23:59:59-23:59\"",
            "\"9999-12-31T23:59:59Z\"",
            "\"soon\"",
            "true",
            "-1",
            "1.5",
            "null",
            "{\"a\":1}",
            "[1]",
        ] {
            assert_eq!(read(&format!("{{\"time\":{odd}}}")).time.0, None, "{odd}");
        }
        assert!(read(r#"{"time":"2026-11-22T09:30:00Z"}"#).time.0.is_some());
    }

    #[test]
    fn only_the_first_good_items_are_kept() {
        assert_eq!(read(r#"{"items":[1,"a",2,{"a":1},3,4,5]}"#).items, [1, 2, 3]);
        for odd in ["null", "3", "{\"a\":1}", "\"a\""] {
            assert!(read(&format!("{{\"items\":{odd}}}")).items.is_empty());
        }
    }
}
