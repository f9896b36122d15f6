//! Dice that always give the same result.
//!
//! A run must be reproducible from its seed although its calls interleave differently each time. Therefore nothing
//! here draws from a shared stream: every roll is a hash of the seed and of its subject (the account, the node, the
//! number of the call). This is not cryptography; where forgery matters, HMAC is used instead.

/// A hash under construction. Copies are cheap, so a common prefix can be stored and continued many times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Roll(u64);

impl Roll {
    pub(crate) fn new(seed: u64) -> Self {
        Self(mix(seed ^ 0x9e37_79b9_7f4a_7c15))
    }

    /// Adds a text. The length goes in too, so that `ab` + `c` is not `a` + `bc`.
    pub(crate) fn text(self, text: &str) -> Self {
        let mut state = self.0 ^ (text.len() as u64).wrapping_mul(0xff51_afd7_ed55_8ccd);
        for chunk in text.as_bytes().chunks(8) {
            let mut word = [0_u8; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            state = mix(state ^ u64::from_le_bytes(word));
        }
        Self(mix(state))
    }

    pub(crate) fn number(self, number: u64) -> Self {
        Self(mix(self.0.rotate_left(17) ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    pub(crate) fn bits(self) -> u64 {
        mix(self.0 ^ 0xc4ce_b9fe_1a85_ec53)
    }

    /// Between 0 (included) and 1 (not included).
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit into the mantissa exactly")]
    pub(crate) fn unit(self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True in `share` of all cases.
    pub(crate) fn happens(self, share: f64) -> bool {
        self.unit() < share
    }

    /// Uniform between `min` and `max`, both included.
    pub(crate) fn between(self, min: u64, max: u64) -> u64 {
        let width = u128::from(max.saturating_sub(min)) + 1;
        let offset = (u128::from(self.bits()) * width) >> 64;
        min + u64::try_from(offset).unwrap_or(0)
    }
}

/// The finalizer of `SplitMix64`.
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_subject_rolls_the_same_whatever_happened_before() {
        let first = Roll::new(7).text("contoso").text("node-1").number(3).unit();
        let _elsewhere = Roll::new(7).text("fabrikam").unit();

        assert!((Roll::new(7).text("contoso").text("node-1").number(3).unit() - first).abs() < f64::EPSILON);
        assert!((Roll::new(8).text("contoso").text("node-1").number(3).unit() - first).abs() > f64::EPSILON);
    }

    #[test]
    fn a_share_is_kept_over_many_subjects() {
        let hits = (0..100_000).filter(|&n| Roll::new(1).number(n).happens(0.03)).count();

        assert!((2_800..3_200).contains(&hits), "{hits} of 100000");
    }

    #[test]
    fn between_reaches_both_ends_and_nothing_else() {
        let seen: std::collections::BTreeSet<u64> =
            (0..1000).map(|n| Roll::new(2).number(n).between(2, 4)).collect();

        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [2, 3, 4]);
    }
}
