//! Medians, quantiles, intervals and lines.

use serde::Serialize;

use crate::random::Random;

/// Resamplings for an interval.
const RESAMPLES: usize = 1000;

/// What is said about one row of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) count: usize,
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    /// 95% interval of the median, by resampling.
    pub(crate) interval: (f64, f64),
}

impl Summary {
    /// None for no numbers.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Some(Self {
            count: values.len(),
            min: *values.first()?,
            median: quantile(&values, 0.5),
            p90: quantile(&values, 0.9),
            p99: quantile(&values, 0.99),
            interval: interval(&values),
        })
    }
}

/// A quantile of sorted numbers, between neighbours in proportion; 0 of none.
pub(crate) fn quantile(sorted: &[f64], at: f64) -> f64 {
    let position = at * sorted.len().saturating_sub(1) as f64;
    let (below, above) = (position.floor(), position.ceil());
    let value = |index: f64| sorted.get(index as usize).copied().unwrap_or_default();
    value(below) + (value(above) - value(below)) * (position - below)
}

fn interval(sorted: &[f64]) -> (f64, f64) {
    let mut random = Random::new(sorted.len() as u64);
    let mut medians: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let pick = |_| sorted.get(random.below(sorted.len())).copied().unwrap_or_default();
            let mut sample: Vec<f64> = (0..sorted.len()).map(pick).collect();
            sample.sort_by(f64::total_cmp);
            quantile(&sample, 0.5)
        })
        .collect();
    medians.sort_by(f64::total_cmp);
    (quantile(&medians, 0.025), quantile(&medians, 0.975))
}

/// A straight line through points, by least squares.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Line {
    /// Where it begins: the fixed cost.
    pub(crate) fixed: f64,
    /// What each further one adds.
    pub(crate) slope: f64,
}

impl Line {
    /// None for fewer than two different places.
    pub(crate) fn through(points: &[(f64, f64)]) -> Option<Self> {
        let count = points.len() as f64;
        let mean = |value: fn(&(f64, f64)) -> f64| points.iter().map(value).sum::<f64>() / count;
        let (x, y) = (mean(|point| point.0), mean(|point| point.1));
        let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
        if points.len() < 2 || spread == 0.0 {
            return None;
        }
        let slope = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum::<f64>() / spread;
        Some(Self { fixed: y - slope * x, slope })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_tells_median_and_extremes() {
        let summary = Summary::of((1..=101).map(f64::from)).unwrap();
        assert_eq!((summary.min, summary.median, summary.p90), (1.0, 51.0, 91.0));
        assert!(summary.interval.0 < 51.0 && summary.interval.1 > 51.0);
        assert_eq!(Summary::of([]), None);
        assert!((Summary::of([7.0]).unwrap().p99 - 7.0).abs() < 1e-9);
    }

    #[test]
    fn a_line_has_its_fixed_cost_and_its_slope() {
        let line = Line::through(&[(1.0, 12.0), (5.0, 20.0), (10.0, 30.0)]).unwrap();
        assert!((line.fixed - 10.0).abs() < 1e-9 && (line.slope - 2.0).abs() < 1e-9);
        assert_eq!(Line::through(&[(1.0, 2.0), (1.0, 3.0)]), None);
    }
}
