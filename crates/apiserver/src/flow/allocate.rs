//! How the seats of the server are shared among priority levels that lend to each other (KEP-1040, "borrowing").

/// One level's part of the problem: `lower <= upper`, `lower <= target`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub lower: f64,
    pub upper: f64,
    pub target: f64,
}

/// Targets below are taken as this, so that nothing is divided by zero (upstream `MinTarget`).
const MIN_TARGET: f64 = 0.001;
const EPSILON: f64 = 1e-7;

/// Allocations that sum to `sum`, each the same fraction of its target as far as its bounds let it; and that fraction. `None` when
/// the bounds leave no way.
pub(super) fn allocate(sum: f64, parts: &[Part]) -> Option<(Vec<f64>, f64)> {
    let target = |part: &Part| part.target.max(MIN_TARGET);
    let (low, high) = parts.iter().fold((0.0, 0.0), |(low, high), part| (low + part.lower, high + part.upper));
    if low - sum > EPSILON || sum - high > EPSILON || parts.iter().any(|part| part.lower > part.upper) {
        return None;
    }
    let at = |fraction: f64| -> Vec<f64> {
        parts.iter().map(|part| (fraction * target(part)).clamp(part.lower, part.upper)).collect()
    };
    // The sum grows with the fraction, in straight lines between the fractions at which a part meets a bound.
    let mut bends: Vec<f64> =
        parts.iter().flat_map(|part| [part.lower / target(part), part.upper / target(part)]).collect();
    bends.sort_by(f64::total_cmp);
    let total = |fraction: f64| at(fraction).iter().sum::<f64>();
    let mut before = *bends.first()?;
    for bend in bends {
        let (from, to) = (total(before), total(bend));
        if to >= sum {
            let fraction =
                if to - from > EPSILON { before + (bend - before) * (sum - from) / (to - from) } else { bend };
            return Some((at(fraction.max(before)), fraction));
        }
        before = bend;
    }
    Some((at(before), before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_go_by_target_within_bounds() {
        let part = |lower: f64, upper: f64, target: f64| Part { lower, upper, target };
        type Case<'a> = (f64, &'a [Part], Option<&'a [f64]>);
        let cases: [Case<'_>; 7] = [
            (10.0, &[part(0.0, 10.0, 5.0), part(0.0, 10.0, 5.0)], Some(&[5.0, 5.0])),
            (12.0, &[part(0.0, 20.0, 4.0), part(0.0, 20.0, 2.0)], Some(&[8.0, 4.0])),
            (12.0, &[part(0.0, 6.0, 4.0), part(0.0, 20.0, 2.0)], Some(&[6.0, 6.0])),
            (12.0, &[part(9.0, 20.0, 9.0), part(0.0, 20.0, 9.0)], Some(&[9.0, 3.0])),
            (8.0, &[part(4.0, 4.0, 4.0), part(0.0, 20.0, 0.0)], Some(&[4.0, 4.0])),
            (5.0, &[part(4.0, 9.0, 4.0), part(4.0, 9.0, 4.0)], None),
            (20.0, &[part(4.0, 9.0, 4.0), part(4.0, 9.0, 4.0)], None),
        ];
        for (sum, parts, expected) in cases {
            let found = allocate(sum, parts).map(|(found, _)| found);
            let close = match (&found, expected) {
                (Some(found), Some(expected)) => found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6),
                (None, None) => true,
                _ => false,
            };
            assert!(close, "{sum} {parts:?}: {found:?} instead of {expected:?}");
        }
    }
}
