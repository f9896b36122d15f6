//! Values that are read leniently: one odd member must not cost the answer that it stands in.

use std::fmt;

use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A number, also where it is spelled otherwise than expected; none where it is none.
pub(super) fn lenient_count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    Ok(match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::Number(number) => number.as_u64().and_then(|number| number.try_into().ok()),
        serde_json::Value::String(text) => text.trim().parse().ok(),
        _ => None,
    })
}

/// A member that is worth less than what it stands in: one that is not as expected is none.
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

/// A time in an answer. What is not a time is no time: it is worth less than the node it stands in.
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
                // Close to the end of time there may be none in UTC.
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
