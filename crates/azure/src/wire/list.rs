//! One page of a list.

use std::fmt;
use std::marker::PhantomData;

use fleetlogs_model::service::{Page, PageLink};
use serde::de::{Error, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// The most items that the service puts on a page; more than these are not kept.
const MOST_ITEMS: usize = 1000;

/// One page of a list.
#[derive(Deserialize)]
pub(crate) struct ListAnswer<T> {
    /// Required: other JSON must not be taken for an empty list, because nodes would be missing from the plan without
    /// notice.
    value: PageItems<T>,
    #[serde(rename = "odata.nextLink")]
    next_link: Option<String>,
}

/// A page that the service would not send. Nothing of it is taken: the list would have gaps.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OddPage {
    #[error("a page of the list has more than {MOST_ITEMS} items, which is the most that the service sends")]
    TooManyItems,
    #[error("a page of the list has the id `{0}…`, which is longer than any id of the service")]
    LongId(String),
}

impl<T> ListAnswer<T> {
    /// The items of a list without pages.
    pub(crate) fn into_items(self) -> Result<impl Iterator<Item = T>, OddPage> {
        if self.value.has_more {
            return Err(OddPage::TooManyItems);
        }
        Ok(self.value.items.into_iter())
    }

    pub(crate) fn into_page<U: From<T>>(self) -> Result<Page<U>, OddPage>
    where
        T: HasId,
    {
        if self.value.has_more {
            return Err(OddPage::TooManyItems);
        }
        if let Some(long) = self.value.items.iter().map(HasId::id).find(|id| is_too_long(id)) {
            return Err(OddPage::LongId(super::values::clean_head(long, 64)));
        }
        Ok(Page {
            items: self.value.items.into_iter().map(U::from).collect(),
            next: self.next_link.filter(|link| !link.is_empty()).map(PageLink),
        })
    }
}

/// An item with the id that the service gave it.
pub(crate) trait HasId {
    fn id(&self) -> &str;
}

/// Ids of pools, jobs and tasks have 64 characters at most, those of nodes some 80.
fn is_too_long(id: &str) -> bool {
    id.chars().nth(256).is_some()
}

/// The items of a page, up to the most that a page can have.
struct PageItems<T> {
    items: Vec<T>,
    has_more: bool,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for PageItems<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
            type Value = PageItems<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<PageItems<T>, A::Error> {
                let mut items = Vec::new();
                while items.len() < MOST_ITEMS {
                    let Some(item) = list.next_element()? else {
                        return Ok(PageItems { items, has_more: false });
                    };
                    items.push(item);
                }
                let mut has_more = false;
                while list.next_element::<IgnoredAny>().map_err(A::Error::custom)?.is_some() {
                    has_more = true;
                }
                Ok(PageItems { items, has_more })
            }
        }

        deserializer.deserialize_seq(List(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use fleetlogs_model::service::Pool;

    use super::super::pool::PoolAnswer;
    use super::*;

    fn page(json: &str) -> Result<Page<Pool>, OddPage> {
        serde_json::from_str::<ListAnswer<PoolAnswer<'_>>>(json).unwrap().into_page()
    }

    #[test]
    fn an_empty_page_may_have_a_next_one() {
        let page = page("{\r\n  \"value\": [],\r\n  \"odata.nextLink\": \"https://e/pools?x\"\r\n}").unwrap();
        assert!(page.items.is_empty());
        assert_eq!(page.next, Some(PageLink("https://e/pools?x".into())));
    }

    #[test]
    fn a_page_has_a_thousand_items_at_most_and_no_id_beyond_all_measure() {
        let pools = |count: usize| {
            let items: Vec<_> = (0..count).map(|pool| format!("{{\"id\":\"p-{pool}\"}}")).collect();
            page(&format!("{{\"value\":[{}]}}", items.join(",")))
        };
        assert_eq!(pools(1000).unwrap().items.len(), 1000);
        assert_eq!(pools(1001).unwrap_err(), OddPage::TooManyItems);
        let named = |length: usize| page(&format!("{{\"value\":[{{\"id\":\"{}\"}}]}}", "p".repeat(length)));
        assert_eq!(named(256).unwrap().items.len(), 1);
        assert_eq!(named(10 << 20).unwrap_err(), OddPage::LongId("p".repeat(64)));
    }
}
