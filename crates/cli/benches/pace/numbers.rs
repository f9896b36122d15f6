//! Sums over times.

#[expect(clippy::cast_precision_loss, reason = "a small number")]
pub(crate) fn number(count: usize) -> f64 {
    count as f64
}

pub(crate) fn within(times: &[f64], from: f64, until: f64) -> f64 {
    number(times.iter().filter(|at| (from..until).contains(*at)).count())
}

pub(crate) fn earliest(times: &[f64]) -> f64 {
    times.iter().copied().fold(f64::INFINITY, f64::min)
}
