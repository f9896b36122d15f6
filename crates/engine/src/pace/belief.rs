//! What the answers of an account say about it: how many calls per second it takes, and which share of the calls it
//! refuses whatever the rate.
//!
//! A grid holds the probability of each pair of capacity and noise. Every answer multiplies it with how likely that
//! answer is for the pair, given the rate that the call was sent at (Bayes); with time, probability spreads to other
//! pairs, because accounts change. The two can be told apart only if the rate changes: the controller sees to that.
//! The reasons, and what was measured, are in docs/design/pace.md.

/// Distance between two capacities of the grid: a factor of e^0.02.
const STEP: f64 = 0.02;

/// Shares of refusals that do not depend on the rate. More than that is taken for congestion, whatever it is.
const NOISE: [f64; 8] = [0.0, 0.005, 0.01, 0.02, 0.035, 0.055, 0.08, 0.12];

/// How likely each is before any answer: accounts usually refuse nothing without a reason.
const NOISE_BEFORE: [f64; 8] = [0.9706, 0.006, 0.006, 0.006, 0.0045, 0.003, 0.0024, 0.0015];

/// No account is so quiet that it refuses less than this without a reason.
const QUIET: f64 = 0.0004;

/// Probability, before any answer, that nothing limits the rate.
const LIMITLESS: f64 = 0.23;

/// Just below the capacity the calls of others cause refusals: their share at the capacity, and within which distance
/// (as a share of it) that share falls to a third.
const NEAR: (f64, f64) = (0.01, 0.03);

/// How long an account forgives an excess, in seconds of its capacity.
const FORGIVEN: f64 = 0.1;

/// How far the capacity strays within a second: a standard deviation, as a share. It strays a little more upwards.
const STRAYS: f64 = 0.012;
const UPWARDS: f64 = 1.3;

/// Probability that the capacity became a different one, per second, and that the noise did, which is rarer.
const CHANGES: (f64, f64) = (0.01, 0.001);

/// What a good answer counts beside a refusal: many good answers say the same.
const GOOD: f64 = 0.6;

/// Lowest probability of a pair that answers can lead to: what was ruled out may become true.
const LEAST: f64 = 1e-12;

/// Capacity and noise of one account.
pub(super) struct Belief {
    cells: Vec<Cell>,
    /// Mean of the noise.
    noise: f64,
}

/// A capacity.
#[derive(Clone, Copy)]
struct Cell {
    /// In calls per second.
    capacity: f64,
    /// Calls that an account of this capacity would forgive now.
    saved: f64,
    /// How likely it is together with each noise.
    with: [f64; NOISE.len()],
}

impl Cell {
    /// How likely it is, whatever the noise.
    fn weight(&self) -> f64 {
        self.with.iter().sum()
    }

    /// The share of the calls at `rate` that an account of this capacity refuses because of the rate.
    fn refuses(&self, rate: f64) -> f64 {
        let load = rate / self.capacity;
        // While something is saved up, an excess is forgiven.
        let is_spent = (-(self.saved - 1.0).max(0.0) / (0.02 * self.capacity + 0.3)).exp();
        let excess = (1.0 - 1.0 / load).max(0.0) * is_spent;
        let (share, within) = NEAR;
        excess.max(share * ((load.min(1.0) - 1.0) / within).exp())
    }
}

impl Belief {
    /// Before any answer, about an account that takes between `least` and `most` calls per second, or any number.
    /// Nothing is saved up there: the first call was refused.
    pub(super) fn between(least: f64, most: f64) -> Self {
        let (lowest, highest) = (least.ln() - 0.5, most.ln() + 0.8);
        let steps = std::iter::successors(Some(lowest), |at| Some(at + STEP));
        let capacities: Vec<f64> = steps.take_while(|at| *at < highest).map(f64::exp).collect();
        let each = (1.0 - LIMITLESS) / count(capacities.len());
        let cell = |capacity| Cell { capacity, saved: 0.0, with: NOISE_BEFORE.map(|before| before * each) };
        let mut cells: Vec<Cell> = capacities.into_iter().map(cell).collect();
        if let Some(last) = cells.last_mut() {
            last.with = NOISE_BEFORE.map(|before| before * (each + LIMITLESS));
        }
        let mut belief = Self { cells, noise: 0.0 };
        belief.settle();
        belief
    }

    /// Learns from answers to calls that were sent at `rate`.
    pub(super) fn learn(&mut self, rate: f64, good: f64, refused: f64) {
        for cell in &mut self.cells {
            let excess = cell.refuses(rate);
            for (weight, noise) in cell.with.iter_mut().zip(NOISE) {
                let noise = noise.max(QUIET);
                let share = (noise + (1.0 - noise) * excess).clamp(1e-5, 0.995);
                *weight *= ((1.0 - share).ln() * good * GOOD + share.ln() * refused).exp();
            }
        }
        self.settle();
    }

    /// What an account that forgives an excess would have saved up `seconds` later, when it served so many calls.
    pub(super) fn served(&mut self, seconds: f64, calls: f64) {
        for cell in &mut self.cells {
            let most = (cell.capacity * FORGIVEN).max(1.0);
            cell.saved = (cell.saved + cell.capacity * seconds - calls).clamp(0.0, most);
        }
    }

    /// A call was refused, because of noise with this probability; if it was not, nothing is saved up.
    pub(super) fn spent(&mut self, because_of_noise: f64) {
        for cell in &mut self.cells {
            cell.saved *= because_of_noise;
        }
    }

    /// Lets `seconds` pass: accounts change.
    pub(super) fn age(&mut self, seconds: f64, strays: f64) {
        let mut left = (STRAYS / STEP).powi(2) * seconds * strays;
        while left > 1e-9 {
            let share = left.min(0.5);
            left -= share;
            self.spread(share / 2.0, share / 2.0 * UPWARDS);
        }
        let (capacity, noise) = CHANGES;
        let (capacity_changes, noise_changes) =
            ((capacity * seconds * strays).min(0.5), (noise * seconds).min(0.5));
        let mut by_noise = [0.0; NOISE.len()];
        for cell in &self.cells {
            by_noise.iter_mut().zip(cell.with).for_each(|(sum, weight)| *sum += weight);
        }
        let each = capacity_changes / count(self.cells.len());
        for cell in &mut self.cells {
            for (weight, sum) in cell.with.iter_mut().zip(by_noise) {
                *weight = *weight * (1.0 - capacity_changes) + sum * each;
            }
            let sum = cell.weight();
            for (weight, before) in cell.with.iter_mut().zip(NOISE_BEFORE) {
                *weight = *weight * (1.0 - noise_changes) + sum * before * noise_changes;
            }
        }
        self.settle();
    }

    /// Moves shares of each weight to the capacities below and above.
    fn spread(&mut self, down: f64, up: f64) {
        let last = self.cells.len() - 1;
        let mut from_below = [0.0; NOISE.len()];
        for at in 0..=last {
            let above = if at < last { self.cells[at + 1].with } else { [0.0; NOISE.len()] };
            let (leaves_down, leaves_up) =
                (if at > 0 { down } else { 0.0 }, if at < last { up } else { 0.0 });
            for ((weight, below), above) in self.cells[at].with.iter_mut().zip(&mut from_below).zip(above) {
                let leaves_upwards = *weight * leaves_up;
                *weight = *weight * (1.0 - leaves_down - leaves_up) + *below + above * down;
                *below = leaves_upwards;
            }
        }
    }

    /// The probability that a refusal of a call that was sent at `rate` has nothing to do with the rate.
    pub(super) fn is_noise(&self, rate: f64) -> f64 {
        let (mut because_of_noise, mut in_all) = (0.0, 0.0);
        for cell in &self.cells {
            let excess = cell.refuses(rate);
            for (weight, noise) in cell.with.iter().zip(NOISE) {
                let (told, noise) = (noise, noise.max(QUIET));
                in_all += weight * (noise + (1.0 - noise) * excess);
                because_of_noise += weight * told;
            }
        }
        because_of_noise / in_all
    }

    /// The share of refusals that have nothing to do with the rate.
    pub(super) fn noise(&self) -> f64 {
        self.noise
    }

    /// The capacity that the account's is below with this probability, in calls per second.
    pub(super) fn capacity_at(&self, probability: f64) -> f64 {
        let mut sum = 0.0;
        for cell in &self.cells {
            let weight = cell.weight();
            if sum + weight >= probability {
                return cell.capacity * (((probability - sum) / weight - 0.5) * STEP).exp();
            }
            sum += weight;
        }
        self.cells.last().map_or(f64::INFINITY, |last| last.capacity)
    }

    /// Makes the probabilities one in all.
    fn settle(&mut self) {
        let total: f64 = self.cells.iter().map(Cell::weight).sum();
        let least = LEAST / count(self.cells.len());
        self.noise = 0.0;
        for cell in &mut self.cells {
            for (weight, noise) in cell.with.iter_mut().zip(NOISE) {
                *weight = (*weight / total).max(least);
                self.noise += *weight * noise;
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "some hundred cells")]
fn count(cells: usize) -> f64 {
    cells as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers in the order of their calls: one of `every` is refused, none for 0.
    fn answers(belief: &mut Belief, rate: f64, calls: u32, every: u32) {
        for call in 1..=calls {
            let refused = every > 0 && call % every == 0;
            belief.age(1.0 / rate, 1.0);
            belief.served(1.0 / rate, if refused { 0.0 } else { 1.0 });
            if refused {
                let noise = belief.is_noise(rate);
                belief.learn(rate, 0.0, 1.0);
                belief.spent(noise);
            } else {
                belief.learn(rate, 1.0, 0.0);
            }
        }
    }

    #[test]
    fn a_share_that_a_lower_rate_does_not_change_is_noise() {
        let mut belief = Belief::between(0.5, 200.0);
        for rate in [200.0, 120.0, 200.0, 120.0] {
            answers(&mut belief, rate, 60, 20);
        }
        assert!(belief.is_noise(200.0) > 0.9 && belief.is_noise(120.0) > 0.9, "{}", belief.is_noise(200.0));
        assert!((0.03..0.12).contains(&belief.noise()), "{}", belief.noise());
        assert!(belief.capacity_at(0.2) > 150.0, "{}", belief.capacity_at(0.2));
    }

    #[test]
    fn a_share_that_a_lower_rate_ends_is_a_capacity() {
        let mut belief = Belief::between(0.5, 1000.0);
        for _ in 0..2 {
            // A third of 240 is refused: 160 are served.
            answers(&mut belief, 240.0, 60, 3);
            answers(&mut belief, 140.0, 60, 0);
        }
        assert!(belief.is_noise(240.0) < 0.1, "{}", belief.is_noise(240.0));
        let (low, high) = (belief.capacity_at(0.1), belief.capacity_at(0.9));
        assert!(low > 130.0 && high < 200.0 && low < high, "{low} to {high}");
    }

    #[test]
    fn what_is_believed_stays_a_probability_and_fades() {
        let mut belief = Belief::between(0.5, 100.0);
        answers(&mut belief, 50.0, 300, 2);
        let sure = belief.capacity_at(0.9) / belief.capacity_at(0.1);
        let total = |belief: &Belief| belief.cells.iter().map(Cell::weight).sum::<f64>();
        assert!((total(&belief) - 1.0).abs() < 1e-6, "{}", total(&belief));
        belief.age(120.0, 1.0);
        assert!((total(&belief) - 1.0).abs() < 1e-6, "{}", total(&belief));
        assert!(belief.capacity_at(0.9) / belief.capacity_at(0.1) > sure * 2.0);
    }
}
