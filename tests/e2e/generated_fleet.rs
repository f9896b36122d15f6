//! Fleets that follow from a seed, and with them what a plan has to make of every node: nobody asks the program.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Which pools of a generated fleet are wanted.
pub(crate) const SELECTION: &str = r#"
[defaults]
pools = ["render-*", "batch-*"]
exclude_pools = ["*-old"]
"#;
const WANTED: &[&str] = &["render-#", "batch-#"];
const NOT_WANTED: &[&str] = &["web-#", "Render-#", "old-render-#", "batch-#-old"];

/// The states that some nodes of a pool are in; the others are idle.
const STATES: &str = "running offline waitingforstarttask starttaskfailed unusable creating starting rebooting \
    reimaging upgradingos unknown leavingpool preempted deallocating deallocated hibernating";

/// What has to become of a node: the priority it is planned with, or the reason it is left out for.
fn verdict(state: &str, squeezed: bool, spot: bool) -> &'static str {
    match state {
        "creating" => "no-agent-yet",
        "preempted" => "preempted",
        "deallocating" | "deallocated" => "deallocated",
        "leavingpool" => "leaving",
        "starting" | "rebooting" | "reimaging" | "upgradingos" | "unknown" => "out-of-reach",
        _ if squeezed => "pool-shrinking",
        _ if spot => "spot",
        "unusable" | "starttaskfailed" => "has-errors",
        _ => "ordinary",
    }
}

/// Dice of its own (`SplitMix64`): those of a crate may fall otherwise in its next version.
struct Dice(u64);

impl Dice {
    fn up_to(&mut self, most: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((mixed ^ (mixed >> 31)) % (u64::from(most) + 1)).unwrap()
    }

    fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.up_to(u32::try_from(of.len()).unwrap() - 1) as usize]
    }
}

/// A pool of a generated fleet.
pub(crate) struct Pool {
    pub(crate) id: String,
    pub(crate) wanted: bool,
    pub(crate) nodes: u32,
    spot: u32,
    states: Vec<(&'static str, u32)>,
    /// The line that says that it is to lose nodes.
    pub(crate) squeeze: String,
}

/// An account of it.
pub(crate) struct Account {
    pub(crate) name: String,
    /// Largest page of its lists.
    pub(crate) page: u32,
    pub(crate) pools: Vec<Pool>,
}

/// All of it.
pub(crate) struct Fleet {
    seed: u64,
    pub(crate) accounts: Vec<Account>,
}

impl Pool {
    fn roll(dice: &mut Dice, id: String, wanted: bool, nodes: u32) -> Self {
        // Where both kinds are in a pool, all are idle: which node is in which state is up to the simulator.
        let spot = dice.one_of(&[nodes, nodes / 3, 0, 0, 0]);
        let mut rest = if spot == 0 || spot == nodes { nodes } else { 0 };
        let mut some = |state| {
            let count = dice.up_to(1) * dice.up_to((nodes / 16).max(1)).min(rest);
            rest -= count;
            (state, count)
        };
        let states = STATES.split(' ').map(&mut some).filter(|(_, count)| *count > 0).collect();
        let squeeze = match dice.up_to(9) {
            0 if nodes > 0 => format!("shrinking = {}", nodes.div_ceil(4)),
            1 => r#"state = "deleting""#.into(),
            _ => String::new(),
        };
        Self { id, wanted, nodes, spot, states, squeeze }
    }

    pub(crate) fn verdict(&self, state: &str, spot: bool) -> &'static str {
        verdict(state, !self.squeeze.is_empty(), spot)
    }

    /// Its nodes by what has to become of them; of a pool that is not wanted, one entry for all.
    pub(crate) fn verdicts(&self) -> BTreeMap<&'static str, u32> {
        if !self.wanted {
            return BTreeMap::from([("pool-not-selected", 1)]);
        }
        let others: u32 = self.states.iter().map(|(_, count)| count).sum();
        let idle_spot = ("idle", true, self.spot.saturating_sub(others));
        let idle = ("idle", false, self.nodes - others.max(self.spot));
        let mut verdicts = BTreeMap::new();
        let states = self.states.iter().map(|(state, count)| (*state, self.spot > 0, *count));
        for (state, spot, count) in states.chain([idle_spot, idle]).filter(|(.., count)| *count > 0) {
            *verdicts.entry(self.verdict(state, spot)).or_default() += count;
        }
        verdicts
    }
}

impl Fleet {
    /// So many nodes in pools that are wanted, and some more in others.
    pub(crate) fn generate(
        seed: u64,
        accounts: u32,
        nodes: u32,
        (small, large, page): (u32, u32, u32),
    ) -> Self {
        let dice = &mut Dice(seed);
        let mut left = nodes;
        let account = |number| {
            let average = left / (accounts - number);
            let mut rest = if number + 1 == accounts { left } else { dice.up_to(average * 2) };
            left -= rest;
            let page = dice.one_of(&[page, page, page, page / 4]);
            let mut pools = Vec::new();
            while rest > 0 {
                let wanted = dice.up_to(6) > 0;
                // Some pools are empty, and the lists of some end with a full page.
                let size = match dice.up_to(9) {
                    0 => 0,
                    1 => page * (1 + dice.up_to(2)),
                    2 | 3 => dice.up_to(large),
                    _ => dice.up_to(small),
                };
                let size = size.min(rest);
                rest -= if wanted { size } else { 0 };
                let id = dice.one_of(if wanted { WANTED } else { NOT_WANTED });
                pools.push(Pool::roll(dice, id.replace('#', &format!("{:02}", pools.len())), wanted, size));
            }
            Account { name: format!("fleet{number:02}"), page, pools }
        };
        Self { seed, accounts: (0..accounts).map(account).collect() }
    }

    /// As the simulator reads it, with faults of some accounts.
    pub(crate) fn scenario(&self, faults: &[(&str, &str)]) -> String {
        let mut text = format!("seed = {}\n", self.seed);
        for Account { name, page, pools } in &self.accounts {
            writeln!(
                text,
                r#"
                [[account]]
                name = "{name}"
                page_size = {page}
                "#
            )
            .unwrap();
            for Pool { id, nodes, spot, states, squeeze, .. } in pools {
                writeln!(
                    text,
                    r#"
                    [[account.pool]]
                    id = "{id}"
                    nodes = {nodes}
                    spot = {spot}
                    unknown_state = 0
                    {squeeze}
                    [account.pool.states]
                    "#
                )
                .unwrap();
                for (state, count) in states {
                    writeln!(text, "{state} = {}", f64::from(*count) / f64::from(*nodes)).unwrap();
                }
            }
            for (_, fault) in faults.iter().filter(|(struck, _)| struck == name) {
                writeln!(
                    text,
                    r#"
                    [[account.fault]]
                    on = "any"
                    {fault}
                    "#
                )
                .unwrap();
            }
        }
        text
    }
}
