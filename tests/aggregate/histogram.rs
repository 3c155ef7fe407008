//! What is said of merged histograms holds for any values, split over runners in any way.

use k6_operator::aggregate::histogram::{Buckets, Histogram, adds_up};
use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, proptest};
use std::collections::BTreeMap;

/// A histogram as an exporter makes one, at this scale.
fn histogram(values: &[f64], scale: i32) -> Histogram {
    let mut made = Histogram {
        scale,
        count: values.len() as u64,
        sum: values.iter().sum(),
        ..Histogram::default()
    };
    let (mut above, mut below) = (BTreeMap::new(), BTreeMap::new());
    for value in values {
        made.min = made.min.min(*value);
        made.max = made.max.max(*value);
        // In (base^i, base^(i+1)].
        let index = || (value.abs().log2() * f64::from(scale).exp2()).ceil() as i32 - 1;
        if *value == 0.0 {
            made.zeros += 1;
        } else if *value > 0.0 {
            *above.entry(index()).or_default() += 1;
        } else {
            *below.entry(index()).or_default() += 1;
        }
    }
    made.positive = dense(&above);
    made.negative = dense(&below);
    made
}

fn dense(counts: &BTreeMap<i32, u64>) -> Buckets {
    let (Some((first, _)), Some((last, _))) = (counts.first_key_value(), counts.last_key_value()) else {
        return Buckets::default();
    };
    Buckets {
        offset: *first,
        counts: (*first..=*last)
            .map(|i| counts.get(&i).copied().unwrap_or_default())
            .collect(),
    }
}

fn is_consistent(histogram: &Histogram) -> bool {
    let buckets = [&histogram.positive, &histogram.negative].map(|buckets| buckets.counts.as_slice());
    adds_up(buckets, histogram.zeros, histogram.count)
}

fn quantile(sorted: &[f64], q: f64) -> f64 {
    let position = q * (sorted.len() - 1) as f64;
    let (below, part) = (position.floor() as usize, position.fract());
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + part * (sorted[above] - sorted[below])
}

/// Numbers as tests have them: durations, zeros, differences, now and then one that is far off.
fn value() -> impl Strategy<Value = f64> {
    prop::strategy::Union::new_weighted(vec![
        (6, (0.01..5_000.0_f64).boxed()),
        (1, proptest::strategy::Just(0.0).boxed()),
        (2, (-500.0..-0.1_f64).boxed()),
        (1, (1e-9..1e9_f64).boxed()),
    ])
}

/// Each runner's values, and the scale that its exporter has come to.
fn runners() -> impl Strategy<Value = Vec<(Vec<f64>, i32)>> {
    // As an exporter with 160 buckets: the scale is what the range allows, and at most this.
    let runner = (prop::collection::vec(value(), 0..80), -2..7_i32);
    prop::collection::vec(runner, 1..6)
}

proptest! {
    #[test]
    fn counts_and_extremes_are_those_of_all_values_and_quantiles_within_their_bounds(runners in runners(), q in 0.0..=1.0_f64) {
        let mut merged = Histogram::default();
        let mut all = Vec::new();
        for (values, scale) in &runners {
            merged.add(&histogram(values, *scale));
            all.extend(values);
        }
        all.sort_by(f64::total_cmp);
        prop_assert!(is_consistent(&merged));
        prop_assert_eq!(merged.count, all.len() as u64);
        if all.is_empty() {
            prop_assert_eq!(merged.quantile(q), None);
            return Ok(());
        }
        prop_assert_eq!((merged.min, merged.max), (all[0], all[all.len() - 1]));
        let base = (-f64::from(merged.scale)).exp2().exp2();
        for q in [q, 0.0, 0.5, 0.95, 1.0] {
            let (found, truth) = (merged.quantile(q).unwrap(), quantile(&all, q));
            let slack = 1e-9 * (1.0 + truth.abs());
            prop_assert!(found.low - slack <= truth && truth <= found.high + slack, "{truth} is not in {found:?}");
            prop_assert!(found.low <= found.value && found.value <= found.high, "{found:?}");
            let one = q * (all.len() - 1) as f64 % 1.0 == 0.0;
            if one && found.low > 0.0 {
                prop_assert!(found.high <= found.low * base * (1.0 + 1e-9), "{found:?} is wider than a bucket");
            }
        }
    }

    #[test]
    fn the_order_in_which_runners_are_merged_does_not_matter(runners in runners()) {
        let merged = |order: &mut dyn Iterator<Item = &(Vec<f64>, i32)>| {
            let mut merged = Histogram::default();
            for (values, scale) in order {
                merged.add(&histogram(values, *scale));
            }
            merged
        };
        let (there, back) = (merged(&mut runners.iter()), merged(&mut runners.iter().rev()));
        prop_assert_eq!(there.scale, back.scale);
        prop_assert_eq!(there.positive.counts.iter().sum::<u64>(), back.positive.counts.iter().sum::<u64>());
        for q in [0.1, 0.5, 0.9, 0.99] {
            prop_assert_eq!(there.quantile(q), back.quantile(q));
        }
    }

    #[test]
    fn what_came_since_an_earlier_state_is_what_was_added(
        before in prop::collection::vec(value(), 0..80),
        after in prop::collection::vec(value(), 1..80),
        scales in (-2..7_i32, any::<bool>()),
    ) {
        let (scale, coarser) = scales;
        let earlier = histogram(&before, scale);
        let all: Vec<f64> = before.iter().chain(&after).copied().collect();
        let since = histogram(&all, scale - i32::from(coarser)).since(&earlier);
        prop_assert_eq!(since.count, after.len() as u64);
        prop_assert!(is_consistent(&since));
        let mut sorted = after;
        sorted.sort_by(f64::total_cmp);
        let found = since.quantile(0.5).unwrap();
        let truth = quantile(&sorted, 0.5);
        let slack = 1e-9 * (1.0 + truth.abs());
        // The first and the last are known by their buckets only.
        if sorted.len() > 3 {
            prop_assert!(found.low - slack <= truth && truth <= found.high + slack, "{truth} is not in {found:?}");
        }
    }
}

#[test]
fn values_far_apart_are_merged_at_a_scale_that_can_have_both() {
    let mut merged = histogram(&[1e-9], 20);
    merged.add(&histogram(&[1e9], 20));
    merged.add(&histogram(&[1.0], 20));
    assert!(
        merged.positive.counts.len() <= 2048,
        "{}",
        merged.positive.counts.len()
    );
    assert!((0..20).contains(&merged.scale), "{}", merged.scale);
    let median = merged.quantile(0.5).unwrap();
    assert!(
        median.low <= 1.0 && 1.0 <= median.high && median.high / median.low < 1.05,
        "{median:?}"
    );
}
