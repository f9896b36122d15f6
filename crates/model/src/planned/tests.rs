use time::macros::datetime;

use super::*;

fn pool(account: &str, id: &str) -> Arc<PlannedPool> {
    Arc::new(PlannedPool::bare(AccountName::new(account), PoolId::new(id)))
}

fn node(place: &Arc<PlannedPool>, id: &str, priority: Priority) -> PlannedNode {
    PlannedNode { priority, ..PlannedNode::bare(place.clone(), NodeId::new(id)) }
}

fn details(nodes: &PlannedNodes) -> Vec<PlannedNode> {
    nodes.details().map(Result::unwrap).collect()
}

#[test]
fn accounts_are_sorted_and_appended_with_all_that_is_known() {
    let now = datetime!(2026-11-22 09:30:00 UTC);
    let window = Some(Box::new(Window { start: now, end: now }));
    let (first, second, broken) = (pool("one", "p1"), pool("one", "p2"), pool("one", "broken"));
    let mut plan = PlannedNodes::default();
    let (mut one, mut two) = (FoundNodes::beside(&plan), FoundNodes::beside(&plan));
    let other = pool("two", "p1");
    for found in [
        node(&second, "b", Priority::Ordinary),
        node(&broken, "x", Priority::Leaving),
        PlannedNode { window: window.clone(), ..node(&second, "a", Priority::Ordinary) },
        node(&first, "z", Priority::Ordinary),
        node(&second, "c", Priority::Spot),
    ] {
        one.push(&found).unwrap();
    }
    one.sort(|pool| ["p1", "p2"].iter().position(|id| *id == pool.pool.as_str()));
    assert_eq!(one.iter().map(|node| node.id()).collect::<Vec<_>>(), ["c", "z", "a", "b"]);

    two.push(&node(&other, "a", Priority::Leaving)).unwrap();
    two.sort(|_| Some(0));

    plan.append(&one).unwrap();
    plan.append(&two).unwrap();
    let expected = [
        node(&second, "c", Priority::Spot),
        node(&first, "z", Priority::Ordinary),
        PlannedNode { window, ..node(&second, "a", Priority::Ordinary) },
        node(&second, "b", Priority::Ordinary),
        node(&other, "a", Priority::Leaving),
    ];
    assert_eq!(details(&plan), expected);
    assert_eq!(plan.len(), expected.len());
    for (slot, node) in plan.iter().zip(&expected) {
        assert_eq!((slot.at(), slot.priority), (node.at(), node.priority));
        assert_eq!((slot.window, slot.marks), (node.window.as_deref().copied(), Marks::of(&node.evidence)));
    }
}

/// So much text that it goes to the spool in blocks, of which the last stays in memory.
#[test]
fn many_nodes_are_the_same_from_a_file_whatever_order_they_came_in() {
    let pools: Vec<_> = (0..4).map(|number| pool("one", &format!("p{number}"))).collect();
    let shuffled = (0..30_000).map(|number| number * 7919 % 30_000);
    let mut nodes: Vec<_> =
        shuffled.map(|number| node(&pools[number % 4], &format!("n{number}"), Priority::Ordinary)).collect();
    let mut plan = PlannedNodes::default();
    let mut found = FoundNodes::beside(&plan);
    for node in &nodes {
        found.push(node).unwrap();
    }
    found.sort(|pool| pool.pool.as_str()[1..].parse().ok());
    plan.append(&found).unwrap();
    nodes.sort_by(|x, y| (x.pool(), &x.node).cmp(&(y.pool(), &y.node)));
    assert!(details(&plan) == nodes);
    // Readers do not disturb the writer.
    let mut reading = plan.details();
    assert_eq!(reading.next().unwrap().unwrap(), nodes[0]);
    drop(reading);
    plan.push(&nodes[0]).unwrap();
    assert_eq!(details(&plan).last(), Some(&nodes[0]));
    let json = format!(r#"{{"nodes":{}}}"#, serde_json::to_string(&plan).unwrap());
    let mut json = JsonStream::open(json.as_bytes()).unwrap();
    json.next_name().unwrap();
    let read = PlannedNodes::read(&mut json, Box::new(io::Cursor::new(vec![]))).unwrap();
    assert_eq!(details(&read).len(), nodes.len() + 1);
}

/// The pools of an account are listed side by side, and so are accounts: their nodes are in the spool in the order of
/// arrival.
#[test]
fn accounts_that_are_found_side_by_side_are_planned_one_after_the_other() {
    let accounts: Vec<_> = (0..3).map(|number| pool(&format!("a{number}"), "p")).collect();
    let mut plan = PlannedNodes::default();
    let mut found: Vec<_> = accounts.iter().map(|_| FoundNodes::beside(&plan)).collect();
    let mut expected = vec![vec![]; 3];
    for number in 0..9000 {
        // In stretches of ten, as they come off a page.
        let account = number / 10 % 3;
        let node = node(&accounts[account], &format!("n{number:05}"), Priority::Ordinary);
        found[account].push(&node).unwrap();
        expected[account].push(node);
    }
    for mut found in found {
        found.sort(|_| Some(0));
        plan.append(&found).unwrap();
    }
    assert!(details(&plan) == expected.concat());
    assert_eq!(plan.details.stretches(), 900);
    // What is pushed later is read after what is there, also beside a reader.
    let last = node(&accounts[0], "last", Priority::Ordinary);
    plan.push(&last).unwrap();
    assert_eq!(details(&plan).last(), Some(&last));
}

#[test]
fn nodes_whose_details_are_elsewhere_are_not_taken() {
    let mut found = FoundNodes::beside(&PlannedNodes::default());
    found.push(&node(&pool("one", "p"), "n", Priority::Ordinary)).unwrap();
    found.sort(|_| Some(0));
    assert!(PlannedNodes::default().append(&found).is_err());
}

/// A million nodes make this visible.
#[test]
fn a_node_takes_two_dozen_bytes_and_its_id() {
    assert_eq!(size_of::<Slot>(), 24);
}
