//! What the name of a virtual directory says: `{account}-{16 hex}/{pool id in lower case}/{node id}/{request id}`, in
//! recordings of the service; its documentation shows a directory without the first part and with `-` for the `_` of a
//! node id.

use fleetlogs_model::planned::NodeAt;

/// The spelling of a node id in the documentation.
pub(crate) fn with_hyphens(id: &str) -> String {
    id.replace('_', "-")
}

/// Whether a directory names this node, in either spelling, and its pool. Files in a directory that does not are not
/// known to be this node's.
pub(crate) fn names(directory: &str, node: NodeAt<'_>) -> bool {
    let mut from_the_end = directory.rsplit('/');
    let (Some(request), Some(id)) = (from_the_end.next(), from_the_end.next()) else { return false };
    let own = node.id();
    let is_node = id.eq_ignore_ascii_case(&own) || id.eq_ignore_ascii_case(&with_hyphens(&own));
    let is_pool = from_the_end.next().is_none_or(|pool| pool.eq_ignore_ascii_case(node.pool().as_str()));
    !request.is_empty() && is_node && is_pool
}

#[cfg(test)]
mod tests {
    use fleetlogs_model::ids::NodeIndex;

    use super::*;
    use crate::testing::plan_of;

    #[test]
    fn a_directory_is_that_of_the_node_that_its_last_parts_name() {
        let plan = plan_of(1);
        let node = plan.node(NodeIndex(0));
        assert_eq!((node.pool().as_str(), &*node.id()), ("Pool", "n0"));
        for (directory, is_its_own) in [
            ("contoso-0123456789ABCDEF/pool/n0/8a52", true),
            ("pool/n0/8a52", true),
            ("n0/8a52", true),
            ("contoso-0123456789ABCDEF/pool/n1/8a52", false),
            ("contoso-0123456789ABCDEF/other/n0/8a52", false),
            ("contoso-0123456789ABCDEF/pool/n0", false),
            ("contoso-0123456789ABCDEF/pool/n0/", false),
            ("contoso-0123456789ABCDEF/pool", false),
            ("contoso-0123456789ABCDEF", false),
            ("", false),
        ] {
            assert_eq!(names(directory, node), is_its_own, "{directory}");
        }
    }
}
