//! What many measurements of one thing come to.

use serde::{Deserialize, Serialize};

/// What many measurements of one thing come to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Summary {
    /// The least value that half of them do not exceed.
    pub(crate) p50: f64,
    /// The least value that 95 of 100 do not exceed.
    pub(crate) p95: f64,
    /// Each of them, in the order in which they were made.
    pub(crate) samples: Vec<f64>,
}

impl Summary {
    /// Sums up; `None` where there is nothing. Values are rounded to three places.
    pub(crate) fn of(samples: impl IntoIterator<Item = f64>) -> Option<Self> {
        let samples: Vec<f64> = samples.into_iter().map(|s| (s * 1e3).round() / 1e3).collect();
        let mut sorted = samples.clone();
        sorted.sort_by(f64::total_cmp);
        let (p50, p95) = (percentile(&sorted, 50)?, percentile(&sorted, 95)?);
        Some(Self { p50, p95, samples })
    }
}

/// The nearest rank: a value that was measured, never one in between.
fn percentile(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(samples: &[f64], expect: Option<(f64, f64)>) {
        let got = Summary::of(samples.iter().copied()).map(|s| (s.p50, s.p95));
        assert_eq!(got, expect, "{samples:?}");
    }

    #[test]
    fn percentiles_are_of_what_was_measured() {
        check(&[], None);
        check(&[3.0], Some((3.0, 3.0)));
        check(&[2.0, 1.0], Some((1.0, 2.0)));
        check(&[5.0, 1.0, 3.0], Some((3.0, 5.0)));
        check(&[1.2345], Some((1.235, 1.235)));
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        check(&hundred, Some((50.0, 95.0)));
        let twenty: Vec<f64> = (1..=20).map(f64::from).collect();
        check(&twenty, Some((10.0, 19.0)));
    }

    #[test]
    fn samples_keep_their_order() {
        assert_eq!(Summary::of([2.0, 1.0]).unwrap().samples, [2.0, 1.0]);
    }
}
