//! What k6 itself says of its metrics, held against what has arrived. Pure.

use super::histogram::Histogram;
use super::judge::Discrepancy;
use super::sink::{Aggregate, Sink};
use crate::protocol::heartbeat::K6Metrics;
use std::collections::BTreeMap;

/// What stands still when all is counted: the time goes on for a k6 that was stopped.
pub fn counted(own: &K6Metrics) -> impl Iterator<Item = (&String, &String, &f64)> {
    let numbers = own
        .iter()
        .flat_map(|(name, numbers)| numbers.iter().map(move |(label, number)| (name, label, number)));
    numbers.filter(|(name, label, _)| {
        *label != "rate" || !own.get(*name).is_some_and(|n| n.contains_key("count"))
    })
}

/// How long k6's part of the test was, in s: it gives counters by second of it.
pub fn duration(own: &K6Metrics) -> Option<f64> {
    let counter = |numbers: &BTreeMap<String, f64>| {
        let (count, rate) = (numbers.get("count")?, numbers.get("rate")?);
        (*rate > 0.0).then(|| count / rate)
    };
    own.values().find_map(counter)
}

/// The shares that k6 has of its rates, by metric. A counter has a rate too, beside its count.
pub fn rates(own: &K6Metrics) -> BTreeMap<String, f64> {
    let share = |numbers: &BTreeMap<String, f64>| {
        let rate = numbers.get("rate").copied();
        rate.filter(|_| !numbers.contains_key("count"))
    };
    let rates = own
        .iter()
        .filter_map(|(name, numbers)| Some((name.clone(), share(numbers)?)));
    rates.collect()
}

/// In what the exports of a runner, merged by metric, differ from what k6 itself has measured.
pub fn discrepancies(came: &BTreeMap<String, Sink>, own: &K6Metrics) -> Vec<Discrepancy> {
    let asked = [
        ("count", Aggregate::Count),
        ("rate", Aggregate::Rate),
        ("avg", Aggregate::Avg),
        ("min", Aggregate::Min),
        ("max", Aggregate::Max),
    ];
    let mut differing = Vec::new();
    for (name, numbers) in own {
        let sink = came.get(name);
        // The rate of a counter is of k6's own time; a gauge has no history in an export.
        let comparable = |aggregate: Aggregate| match sink {
            Some(Sink::Counter(_)) => aggregate == Aggregate::Count,
            Some(Sink::Gauge { .. }) => false,
            Some(Sink::Rate { .. } | Sink::Trend(_)) => true,
            None => aggregate == Aggregate::Count,
        };
        for (label, aggregate) in asked.into_iter().filter(|(_, aggregate)| comparable(*aggregate)) {
            let Some(own) = numbers.get(label).copied() else {
                continue;
            };
            let came = sink
                .and_then(|sink| sink.ask(aggregate, 0.0))
                .map_or(0.0, |found| found.value);
            // A mean near zero is the sum of what is far from it, and so is its error.
            let terms = [numbers.get("min"), numbers.get("max")].into_iter().flatten();
            let terms = terms.filter(|_| aggregate == Aggregate::Avg);
            let largest = terms.fold(own.abs(), |largest, term| largest.max(term.abs()));
            if (came - own).abs() > largest * 1e-9 {
                differing.push(Discrepancy {
                    number: format!("{name} {label}"),
                    came,
                    own,
                });
            }
        }
    }
    differing
}

/// Adds to what all runners have come to what one of them has measured beyond what came of it, as far as k6's numbers
/// tell: the count of a counter, the extremes of a trend. Returns false if they do not tell the number that is asked
/// for.
pub fn complete(
    whole: &mut Option<Sink>,
    came: Option<&Sink>,
    own: Option<&BTreeMap<String, f64>>,
    aggregate: Aggregate,
) -> bool {
    let Some(own) = own else {
        // k6 lists each metric that has samples.
        return came.is_none_or(Sink::is_empty);
    };
    match (aggregate, whole) {
        (Aggregate::Count | Aggregate::Rate, whole @ (None | Some(Sink::Counter(_)))) => {
            // Only a counter has one.
            let Some(count) = own.get("count") else {
                return false;
            };
            let already = match came {
                Some(Sink::Counter(sum)) => *sum,
                Some(Sink::Gauge { .. } | Sink::Rate { .. } | Sink::Trend(_)) | None => 0.0,
            };
            if already > count * (1.0 + 1e-9) {
                return false;
            }
            match whole {
                Some(Sink::Counter(sum)) => *sum += (count - already).max(0.0),
                Some(Sink::Gauge { .. } | Sink::Rate { .. } | Sink::Trend(_)) | None => {
                    *whole = Some(Sink::Counter(*count));
                }
            }
            true
        }
        (Aggregate::Min | Aggregate::Max, whole @ (None | Some(Sink::Trend(_)))) => {
            let (Some(min), Some(max)) = (own.get("min"), own.get("max")) else {
                return false;
            };
            // k6 lists a trend that has a threshold even without samples, and in zeros.
            if *min == 0.0 && *max == 0.0 && came.is_none_or(Sink::is_empty) {
                return false;
            }
            let Some(Sink::Trend(histogram)) = whole else {
                // Of which only the extremes are known, and asked for.
                let histogram = Histogram {
                    count: 1,
                    min: *min,
                    max: *max,
                    ..Histogram::default()
                };
                *whole = Some(Sink::Trend(Box::new(histogram)));
                return true;
            };
            histogram.min = histogram.min.min(*min);
            histogram.max = histogram.max.max(*max);
            true
        }
        (
            Aggregate::Count
            | Aggregate::Rate
            | Aggregate::Value
            | Aggregate::Avg
            | Aggregate::Min
            | Aggregate::Max
            | Aggregate::Med
            | Aggregate::Percentile(_),
            _,
        ) => false,
    }
}
