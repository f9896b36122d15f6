//! The order of a listing: storage lists blobs sorted by name, so a name that comes again was listed twice, and one that
//! should have come before shows that the pages do not belong together.

use std::cmp::Ordering;

/// Goes through the names of one listing, over all its pages.
#[derive(Debug)]
pub struct ListingOrder {
    last: Option<String>,
    by_bytes: bool,
    by_utf16: bool,
    by_part: bool,
}

/// A name that should have come before.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the listing's pages do not belong together: a name comes after one that sorts behind it")]
pub struct OutOfOrder;

impl Default for ListingOrder {
    fn default() -> Self {
        Self { last: None, by_bytes: true, by_utf16: true, by_part: true }
    }
}

impl ListingOrder {
    /// Whether the next name is a new one; false if it is the last one again.
    ///
    /// The service does not document how it compares names. By bytes, by UTF-16 units, and part by part (as accounts with
    /// a hierarchical namespace do) are all accepted, as long as the whole listing keeps to one of them.
    ///
    /// # Errors
    /// The name breaks every order.
    pub fn is_new(&mut self, name: &str) -> Result<bool, OutOfOrder> {
        let Some(last) = &mut self.last else {
            self.last = Some(name.to_owned());
            return Ok(true);
        };
        if last == name {
            return Ok(false);
        }
        let follows = |order: Ordering| order == Ordering::Greater;
        self.by_bytes &= follows(name.cmp(last));
        self.by_utf16 &= follows(name.encode_utf16().cmp(last.encode_utf16()));
        self.by_part &= follows(name.split('/').cmp(last.split('/')));
        if !(self.by_bytes || self.by_utf16 || self.by_part) {
            return Err(OutOfOrder);
        }
        name.clone_into(last);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_counts_once_and_must_follow_the_one_before() {
        let cases: [(&[&str], Result<usize, OutOfOrder>); 7] = [
            (&["d/a", "d/b", "d/c"], Ok(3)),
            (&["d/a", "d/a", "d/b", "d/b", "d/b"], Ok(2)),
            (&["d/a", "d/b", "d/a"], Err(OutOfOrder)),
            // `-` sorts before `/`, unless the parts are compared.
            (&["a-b/x", "a/x"], Ok(2)),
            (&["a/x", "a-b/x"], Ok(2)),
            (&["a/x", "a-b/x", "a/y"], Err(OutOfOrder)),
            // Behind U+FFxx by bytes, before it in UTF-16.
            (&["\u{1F4A5}", "\u{FF5E}"], Ok(2)),
        ];
        for (names, expected) in cases {
            let mut order = ListingOrder::default();
            let new = names.iter().try_fold(0, |new, name| Ok(new + usize::from(order.is_new(name)?)));
            assert_eq!(new, expected, "{names:?}");
        }
    }
}
