//! `$select`: which members of a pool or node to return.

/// The selected members, or all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Select(Option<Vec<String>>);

impl Select {
    /// Unknown names are not an error: the service only leaves out the members that were not named.
    pub(crate) fn parse(text: Option<&str>) -> Self {
        let names = |text: &str| text.split(',').map(|name| name.trim().to_owned()).collect();
        Self(text.filter(|text| !text.trim().is_empty() && text.trim() != "*").map(names))
    }

    pub(crate) fn wants(&self, name: &str) -> bool {
        // `errors/code` selects a part of `errors`; the service sends the whole member, and so does the simulator.
        self.0.as_ref().is_none_or(|names| names.iter().any(|n| n.split('/').next() == Some(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named_is_wanted_and_without_names_everything() {
        let select = Select::parse(Some("id, state"));

        assert!(select.wants("id") && select.wants("state") && !select.wants("url"));
        assert!(Select::parse(None).wants("url"));
    }
}
