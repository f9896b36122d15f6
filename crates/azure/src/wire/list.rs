//! One page of a list.

use fleetlogs_model::service::{Page, PageLink};
use serde::Deserialize;

/// One page of a list.
#[derive(Deserialize)]
pub(crate) struct ListAnswer<T> {
    /// Required: other JSON must not be taken for an empty list, because nodes would be missing from the plan without
    /// notice.
    value: Vec<T>,
    #[serde(rename = "odata.nextLink")]
    next_link: Option<String>,
}

impl<T> ListAnswer<T> {
    /// The items of a list without pages.
    pub(crate) fn into_items(self) -> impl Iterator<Item = T> {
        self.value.into_iter()
    }

    pub(crate) fn into_page<U: From<T>>(self) -> Page<U> {
        Page {
            items: self.value.into_iter().map(U::from).collect(),
            next: self.next_link.filter(|link| !link.is_empty()).map(PageLink),
        }
    }
}

#[cfg(test)]
mod tests {
    use fleetlogs_model::service::Pool;

    use super::super::pool::PoolAnswer;
    use super::*;

    #[test]
    fn an_empty_page_may_have_a_next_one() {
        let answer: ListAnswer<PoolAnswer<'_>> =
            serde_json::from_str("{\r\n  \"value\": [],\r\n  \"odata.nextLink\": \"https://e/pools?x\"\r\n}")
                .unwrap();
        let page: Page<Pool> = answer.into_page();
        assert!(page.items.is_empty());
        assert_eq!(page.next, Some(PageLink("https://e/pools?x".into())));
    }
}
