//! Query strings: names are compared without case, values are decoded once.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The parameters of one request, in their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    pairs: Vec<QueryPair>,
}

#[derive(Clone, Debug)]
struct QueryPair {
    /// In lower case.
    name: String,
    /// In its original case.
    spelled: String,
    value: String,
}

impl Query {
    /// A bare `+` is a space, as in both services: a SAS pasted with a `+` in its signature does not work.
    pub(crate) fn parse(query: &str) -> Self {
        let pairs = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                let spaced = |text: &str| decode(&text.replace('+', " ")).into_owned();
                let spelled = spaced(name);
                QueryPair { name: spelled.to_ascii_lowercase(), spelled, value: spaced(value) }
            })
            .collect();
        Self { pairs }
    }

    /// The value of `name`; `name` must be in lower case.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|pair| pair.name == name).map(|pair| pair.value.as_str())
    }

    /// All pairs with names in lower case, sorted, as signatures need them.
    pub(crate) fn sorted(&self) -> Vec<(&str, &str)> {
        Self::sort(self.pairs.iter().map(|pair| (pair.name.as_str(), pair.value.as_str())))
    }

    /// The same, with names in their original case.
    pub(crate) fn sorted_as_spelled(&self) -> Vec<(&str, &str)> {
        Self::sort(self.pairs.iter().map(|pair| (pair.spelled.as_str(), pair.value.as_str())))
    }

    fn sort<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<(&'a str, &'a str)> {
        let mut pairs: Vec<_> = pairs.collect();
        pairs.sort_by_key(|(name, _)| *name);
        pairs
    }
}

/// Percent-decodes a text; bytes that are not UTF-8 become replacement characters, which match nothing.
pub(crate) fn decode(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_their_case_and_values_keep_it() {
        let query = Query::parse("maxResults=5&$Filter=state%20eq%20'Idle'&sig=a%2Bb+c&flag");

        assert_eq!(query.get("maxresults"), Some("5"));
        assert_eq!(query.get("$filter"), Some("state eq 'Idle'"));
        assert_eq!(query.get("sig"), Some("a+b c"));
        assert_eq!(query.get("flag"), Some(""));
        assert_eq!(query.get("timeout"), None);
    }
}
