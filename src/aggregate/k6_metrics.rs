//! Compares k6's own metrics with what has arrived. Pure.

use super::histogram::Histogram;
use super::judge::Discrepancy;
use super::sink::{Aggregate, Sink};
use crate::protocol::heartbeat::K6Metrics;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The numbers that stop changing once k6 has counted everything. Those that depend on time go on in a k6 that was
/// stopped.
pub fn counted(own: &K6Metrics) -> impl Iterator<Item = (&String, &String, &f64)> {
    let numbers = own
        .iter()
        .flat_map(|(name, numbers)| numbers.iter().map(move |(label, number)| (name, label, number)));
    numbers.filter(|(name, label, _)| {
        *label != "rate" || !own.get(*name).is_some_and(|n| n.contains_key("count"))
    })
}

/// The duration of k6's part of the test, in s, computed from its counters and their rates.
pub fn duration(own: &K6Metrics) -> Option<f64> {
    let counter = |numbers: &BTreeMap<String, f64>| {
        let (count, rate) = (numbers.get("count")?, numbers.get("rate")?);
        (*rate > 0.0).then(|| count / rate)
    };
    own.values().find_map(counter)
}

/// k6's shares of its rates, by metric. A counter is told from a rate by its count.
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

/// The differences between the exports of a runner, merged by metric, and what k6 itself measured.
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
        // The rate of a counter depends on k6's own time, and an export has no history of a gauge.
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
            // A mean near zero can be the sum of large values, with an error of their size.
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

/// Adds to the total of all runners what one runner measured and did not send, as far as k6's numbers tell: the count
/// of a counter, the extremes of a trend. Returns false if they do not tell the number that is asked for.
pub fn complete(
    whole: &mut Option<Sink>,
    came: Option<&Sink>,
    own: Option<&BTreeMap<String, f64>>,
    aggregate: Aggregate,
) -> bool {
    let Some(own) = own else {
        // k6 lists every metric that has samples.
        return came.is_none_or(Sink::is_empty);
    };
    match (aggregate, whole) {
        (Aggregate::Count | Aggregate::Rate, whole @ (None | Some(Sink::Counter(_)))) => {
            // Only a counter has a count.
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
            // k6 lists a trend that has a threshold even if it has no samples, with zeros.
            if *min == 0.0 && *max == 0.0 && came.is_none_or(Sink::is_empty) {
                return false;
            }
            let Some(Sink::Trend(histogram)) = whole else {
                // Only the extremes are known, and only they are asked for.
                let histogram = Histogram {
                    count: 1,
                    min: *min,
                    max: *max,
                    ..Histogram::default()
                };
                *whole = Some(Sink::Trend(Arc::new(histogram)));
                return true;
            };
            let histogram = Arc::make_mut(histogram);
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
