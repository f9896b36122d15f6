//! The scenes: what the account bears, whom it refuses, who else is there, and what is expected of a run.

use std::fmt::Write as _;

/// What a run has to deal with.
#[derive(Clone, Copy)]
pub(crate) struct Scene {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// Of each run.
    pub(crate) nodes: u32,
    /// Of each run, in calls per second.
    pub(crate) ceiling: f64,
    /// Added to every call.
    pub(crate) latency_ms: u32,
    /// Calls per second that the account bears; none: any number.
    pub(crate) capacity: Option<f64>,
    /// When, in seconds from the start of the server, and what it bears from then on.
    pub(crate) change: Option<(f64, f64)>,
    /// What a call beyond the capacity is told, in seconds.
    pub(crate) retry_after: Option<u32>,
    pub(crate) noise: Option<Noise>,
    /// Requests per second of somebody else.
    pub(crate) bystander: f64,
    /// How many begin at the same time.
    pub(crate) runs: usize,
    /// How long a run may look for its pace, in seconds from its first call, before its use of the account counts.
    /// None: the use of the account counts from the first call to the last accepted one.
    pub(crate) warm_up: Option<f64>,
    /// Whether a loop that backs off call by call is measured as well.
    pub(crate) has_peer: bool,
    pub(crate) is_drawn: bool,
    pub(crate) goals: &'static [Goal],
}

/// Upload calls that are refused at random, whatever the rate.
#[derive(Clone, Copy)]
pub(crate) struct Noise {
    /// As the scenario of the simulator calls it.
    pub(crate) kind: &'static str,
    pub(crate) share: f64,
    /// Seconds.
    pub(crate) retry_after: Option<u32>,
}

/// What a figure should be.
#[derive(Clone, Copy)]
pub(crate) struct Goal {
    pub(crate) figure: &'static str,
    pub(crate) bound: Bound,
}

#[derive(Clone, Copy)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    pub(crate) fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }

    pub(crate) fn text(self) -> String {
        match self {
            Self::AtLeast(least) => format!(">= {least}"),
            Self::AtMost(most) => format!("<= {most}"),
        }
    }
}

const fn at_least(figure: &'static str, least: f64) -> Goal {
    Goal { figure, bound: Bound::AtLeast(least) }
}

const fn at_most(figure: &'static str, most: f64) -> Goal {
    Goal { figure, bound: Bound::AtMost(most) }
}

/// Nothing is in the way of the ceiling.
const CALM: Scene = Scene {
    name: "calm",
    title: "Nothing but the ceiling",
    nodes: 2_000,
    ceiling: 200.0,
    latency_ms: 50,
    capacity: None,
    change: None,
    retry_after: None,
    noise: None,
    bystander: 0.0,
    runs: 1,
    warm_up: None,
    has_peer: false,
    is_drawn: false,
    goals: &[at_most("span_over_ideal", 1.01), NO_FASTER],
};

/// A late timer may be caught up with a fiftieth of a second of calls, and some calls arrive later than others.
const NO_FASTER: Goal = at_most("highest_rate_over_ceiling", 1.03);

const NOISE: Scene = Scene { nodes: 4_000, has_peer: true, ..CALM };

const fn busy(share: f64) -> Noise {
    Noise { kind: "server-busy", share, retry_after: None }
}

/// A capacity that nobody knows, far below the ceiling, and somebody else who uses it as well.
const HIDDEN: Scene = Scene {
    nodes: 8_000,
    ceiling: 1_000.0,
    capacity: Some(200.0),
    bystander: 40.0,
    warm_up: Some(10.0),
    ..CALM
};

pub(crate) const SCENES: [Scene; 12] = [
    CALM,
    Scene {
        name: "noise-1",
        title: "1 % of the calls are refused at random",
        noise: Some(busy(0.01)),
        goals: &[at_least("used", 0.9), NO_FASTER],
        ..NOISE
    },
    Scene {
        name: "noise-5",
        title: "5 % of the calls are refused at random",
        noise: Some(busy(0.05)),
        is_drawn: true,
        goals: &[at_least("used", 0.8), NO_FASTER],
        ..NOISE
    },
    Scene {
        name: "noise-10",
        title: "10 % of the calls are refused at random",
        noise: Some(busy(0.1)),
        goals: &[at_least("used", 0.6), NO_FASTER],
        ..NOISE
    },
    Scene {
        name: "noise-retry-after",
        title: "5 % of the calls are refused at random, and ask for a pause of 1 s",
        latency_ms: 20,
        noise: Some(Noise { kind: "throttle", share: 0.05, retry_after: Some(1) }),
        goals: &[
            at_least("used", 0.5),
            at_most("calls_in_pause", 0.0),
            at_most("early_repeats", 0.0),
            at_most("calls_in_announced_pause", 0.0),
            NO_FASTER,
        ],
        ..CALM_4000
    },
    Scene {
        name: "halving",
        title: "The capacity halves",
        change: Some((32.0, 100.0)),
        is_drawn: true,
        goals: &[
            at_least("used", 0.93),
            at_most("throttled", 0.005),
            at_most("bystander_mean_slowdown", 0.04),
        ],
        ..HIDDEN
    },
    Scene {
        name: "halving-retry-after",
        title: "The capacity halves; throttled answers ask for a pause of 3 s",
        change: Some((32.0, 100.0)),
        retry_after: Some(3),
        is_drawn: true,
        goals: &[
            at_least("used", 0.85),
            at_most("throttled", 0.005),
            at_most("bystander_mean_slowdown", 0.08),
            at_most("calls_in_pause", 0.0),
        ],
        ..HIDDEN
    },
    Scene {
        name: "retry-after",
        title: "Throttled answers ask for a pause of 3 s",
        nodes: 5_000,
        retry_after: Some(3),
        goals: &[
            at_least("used", 0.85),
            at_most("throttled", 0.005),
            at_most("bystander_mean_slowdown", 0.08),
            at_most("calls_in_pause", 0.0),
        ],
        ..HIDDEN
    },
    Scene {
        name: "doubling",
        title: "The capacity doubles",
        nodes: 7_000,
        capacity: Some(100.0),
        change: Some((27.0, 200.0)),
        is_drawn: true,
        goals: &[at_most("found_after_seconds", 10.0)],
        ..HIDDEN
    },
    Scene {
        name: "trickle",
        title: "The account bears 5 calls per second",
        nodes: 500,
        capacity: Some(5.0),
        goals: &[at_least("used", 0.85), at_most("throttled", 0.05)],
        ..CALM
    },
    Scene {
        name: "two-runs",
        title: "Two runs share an account",
        ceiling: 1_000.0,
        capacity: Some(200.0),
        runs: 2,
        is_drawn: true,
        goals: &[at_least("fairness", 0.95), at_least("used", 0.9)],
        ..CALM_4000
    },
    Scene {
        name: "noise-and-capacity",
        title: "A capacity, and 5 % of the calls are refused at random",
        capacity: Some(100.0),
        noise: Some(busy(0.05)),
        is_drawn: true,
        goals: &[at_least("used", 0.8), at_most("throttled_beyond_noise", 0.02)],
        ..CALM_4000
    },
];

const CALM_4000: Scene = Scene { nodes: 4_000, ..CALM };

impl Scene {
    /// For `fleetlogs sim`. The dice of the noise fall by the seed, the node and the number of its call.
    pub(crate) fn scenario(&self, seed: usize) -> String {
        let mut text =
            format!("seed = {seed}\n[[account]]\nname = \"contoso\"\nlatency = \"{}ms\"\n", self.latency_ms);
        if let Some(capacity) = self.capacity {
            let _ = writeln!(text, "capacity = {capacity}");
        }
        if let Some(seconds) = self.retry_after {
            let _ = writeln!(text, "retry_after = \"{seconds}s\"");
        }
        if let Some((at, capacity)) = self.change {
            let at = (at * 1000.0).round();
            let _ = writeln!(text, "[[account.capacity_change]]\nat = \"{at}ms\"\ncapacity = {capacity}");
        }
        if let Some(Noise { kind, share, retry_after }) = self.noise {
            let _ =
                writeln!(text, "[[account.fault]]\non = \"upload\"\nkind = \"{kind}\"\nshare = {share:?}");
            if let Some(seconds) = retry_after {
                let _ = writeln!(text, "retry_after = \"{seconds}s\"");
            }
        }
        // A thousand nodes are one page of a list: lists are not what is looked at here.
        for pool in 0..self.pools() {
            let nodes = self.nodes_of(pool);
            let _ = writeln!(
                text,
                "[[account.pool]]\nid = \"pool-{pool}\"\nnodes = {nodes}\nunknown_state = 0\nstorage_blocked = true"
            );
        }
        text
    }

    pub(crate) fn pools(&self) -> u32 {
        self.nodes.div_ceil(1_000)
    }

    fn nodes_of(&self, pool: u32) -> u32 {
        (self.nodes - pool * 1_000).min(1_000)
    }

    fn capacity_at(&self, at: f64) -> Option<f64> {
        self.change.filter(|(from, _)| at >= *from).map(|(_, capacity)| capacity).or(self.capacity)
    }

    /// Calls per second that could be accepted at a time. Without a capacity that is the ceiling, whatever the noise.
    /// With one it is what the bystander leaves, less the noise: a call that is refused at random has used the account
    /// as well.
    pub(crate) fn left_at(&self, at: f64) -> f64 {
        let noise = self.noise.map_or(0.0, |noise| noise.share);
        self.capacity_at(at).map_or(self.ceiling, |capacity| (capacity - self.bystander) * (1.0 - noise))
    }

    /// Calls that could be accepted between two times.
    pub(crate) fn left(&self, from: f64, until: f64) -> f64 {
        let change = self.change.map_or(until, |(at, _)| at.clamp(from, until));
        self.left_at(from) * (change - from) + self.left_at(until) * (until - change)
    }

    /// In words.
    pub(crate) fn terms(&self) -> String {
        let Self { nodes, ceiling, latency_ms, .. } = self;
        let mut text = format!("{nodes} nodes, ceiling {ceiling}/s, latency {latency_ms} ms");
        if self.runs > 1 {
            let _ = write!(text, ", {} runs at once", self.runs);
        }
        if let Some(capacity) = self.capacity {
            let _ = write!(text, ", capacity {capacity}/s");
        }
        if let Some((at, capacity)) = self.change {
            let _ = write!(text, " and {capacity}/s from second {at} on");
        }
        if let Some(seconds) = self.retry_after {
            let _ = write!(text, " with Retry-After {seconds} s");
        }
        if let Some(Noise { kind, share, retry_after }) = self.noise {
            let _ = write!(text, ", {} % {kind}", share * 100.0);
            if let Some(seconds) = retry_after {
                let _ = write!(text, " with Retry-After {seconds} s");
            }
        }
        if self.bystander > 0.0 {
            let _ = write!(text, ", bystander {}/s", self.bystander);
        }
        text
    }
}
