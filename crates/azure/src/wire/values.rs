//! Values that are read leniently: one odd member must not make the rest of the answer unusable.

use std::fmt;

use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A number in any spelling; none if it is not a number. One that is too large counts as the largest: a huge promise is
/// not the same as none.
pub(super) fn lenient_count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    Ok(match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::Number(number) => number.as_u64(),
        serde_json::Value::String(text) => text.trim().parse::<u64>().ok(),
        _ => None,
    }
    .map(|number| u32::try_from(number).unwrap_or(u32::MAX)))
}

/// A member that matters less than its container: an unexpected value counts as none.
pub(super) fn lenient_value<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Ok(serde_json::from_value(serde_json::Value::deserialize(deserializer)?).ok())
}

/// The same for a list, item by item.
pub(super) fn lenient_items<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let list: Option<Vec<serde_json::Value>> = lenient_value(deserializer)?;
    Ok(list.into_iter().flatten().filter_map(|item| serde_json::from_value(item).ok()).collect())
}

/// A time in an answer. A text that is not a time counts as none: it matters less than its node.
#[derive(Default)]
pub(super) struct WireTime(pub(super) Option<OffsetDateTime>);

impl<'de> Deserialize<'de> for WireTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyScalar;

        impl Visitor<'_> for AnyScalar {
            type Value = WireTime;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time")
            }

            fn visit_str<E>(self, text: &str) -> Result<WireTime, E> {
                // Times close to the year 9999 may not exist in UTC.
                let moment = OffsetDateTime::parse(text, &Rfc3339).ok();
                Ok(WireTime(moment.and_then(|moment| moment.checked_to_offset(time::UtcOffset::UTC))))
            }

            fn visit_unit<E>(self) -> Result<WireTime, E> {
                Ok(WireTime(None))
            }

            fn visit_u64<E>(self, _: u64) -> Result<WireTime, E> {
                Ok(WireTime(None))
            }
        }

        deserializer.deserialize_any(AnyScalar)
    }
}
