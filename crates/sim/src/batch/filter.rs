//! `$filter`: the simple forms, joined by `and`. Everything else is refused, as the service refuses what it does not
//! know.

/// Which list is filtered; they allow different properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filtered {
    Pools,
    Nodes,
    Counts,
}

/// All of these must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Filter(Vec<Test>);

#[derive(Clone, Debug, PartialEq)]
enum Test {
    IdStartsWith(String),
    Id(bool, String),
    State(bool, String),
}

impl Filter {
    /// None stands for a filter that the service would refuse.
    pub(crate) fn parse(text: Option<&str>, list: Filtered) -> Option<Self> {
        let Some(text) = text else { return Some(Self::default()) };
        split_at_and(text)?
            .into_iter()
            .map(|part| Test::parse(part.trim(), list))
            .collect::<Option<_>>()
            .map(Self)
    }

    /// Values are compared without regard to case, as Batch does.
    pub(crate) fn holds(&self, id: &str, state: &str) -> bool {
        self.0.iter().all(|test| match test {
            Test::IdStartsWith(start) => {
                id.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start))
            }
            Test::Id(equal, wanted) => id.eq_ignore_ascii_case(wanted) == *equal,
            Test::State(equal, wanted) => state.eq_ignore_ascii_case(wanted) == *equal,
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Test {
    fn parse(text: &str, list: Filtered) -> Option<Self> {
        if let Some(arguments) = text.strip_prefix("startswith(").and_then(|rest| rest.strip_suffix(')')) {
            let (property, value) = arguments.split_once(',')?;
            let good = property.trim() == "id" && list == Filtered::Pools;
            return good.then(|| quoted(value.trim()).map(Self::IdStartsWith))?;
        }
        let mut words = text.splitn(3, ' ');
        let (property, operator, value) = (words.next()?, words.next()?, quoted(words.next()?.trim())?);
        let equal = match operator {
            "eq" => true,
            "ne" => false,
            _ => return None,
        };
        match (property, list) {
            ("id", Filtered::Pools) => Some(Self::Id(equal, value)),
            ("poolId", Filtered::Counts) if equal => Some(Self::Id(true, value)),
            ("state", Filtered::Pools | Filtered::Nodes) => Some(Self::State(equal, value)),
            _ => None,
        }
    }
}

/// Splits at ` and ` outside of quotes.
fn split_at_and(text: &str) -> Option<Vec<&str>> {
    const AND: &str = " and ";
    let (mut parts, mut start, mut in_quotes) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        if c == '\'' {
            in_quotes = !in_quotes;
        } else if !in_quotes && at >= start && text[at..].starts_with(AND) {
            parts.push(&text[start..at]);
            start = at + AND.len();
        }
    }
    parts.push(&text[start..]);
    (!in_quotes).then_some(parts)
}

/// `'it''s'` is `it's`.
fn quoted(text: &str) -> Option<String> {
    let inner = text.strip_prefix('\'')?.strip_suffix('\'')?;
    let single = inner.replace("''", "");
    (!single.contains('\'')).then(|| inner.replace("''", "'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_simple_forms_hold_for_what_they_say() {
        let pools = |text| Filter::parse(Some(text), Filtered::Pools).expect("valid");

        assert!(pools("startswith(id, 'Render')").holds("render-1", "active"));
        assert!(!pools("startswith(id,'Render')").holds("re", "active"));
        assert!(pools("state ne 'deleting' and id eq 'a'").holds("A", "active"));
        assert!(!pools("state ne 'deleting' and id eq 'a'").holds("A", "deleting"));
        assert!(pools("id eq 'a and b'").holds("a and b", "active"));
    }

    #[test]
    fn what_the_service_would_refuse_is_refused() {
        for text in ["id eq a", "state gt 'idle'", "State eq 'idle'", "state eq 'idle' or id eq 'a'", "", "x"]
        {
            assert_eq!(Filter::parse(Some(text), Filtered::Pools), None, "{text}");
        }
        for text in ["id eq 'a'", "schedulingState eq 'enabled'"] {
            assert_eq!(Filter::parse(Some(text), Filtered::Nodes), None, "{text}");
        }
    }
}
