//! How a threshold stands while samples are missing: it holds or is crossed only if no missing sample can change
//! that. Pure, and the only place that decides it.
//!
//! | the number | with more samples it | told as crossed, whatever is missing |
//! |---|---|---|
//! | `count` of a counter of k6's own, `max`, `p(100)` | only grows | `<` `<=` `==` whose limit it has passed |
//! | `rate` of a counter of k6's own | only grows, if the time of the test is known | the same |
//! | `min`, `p(0)` | only falls | `>` `>=` `==` whose limit it has passed |
//! | `count` and `rate` of a script's counter | moves either way: `add(-1)` is allowed | nothing |
//! | `rate` of a rate, `avg`, `med`, `p(N)`, `value` | moves either way | nothing |
//!
//! Nothing is told as held while anything is missing: a verdict on less than all is none.

use super::empty_metrics::is_builtin;
use super::sink::{Aggregate, Sink};
use crate::k6::threshold::{Expression, Operator};

/// Why the numbers of a runner may be incomplete.
#[derive(Clone, Debug, PartialEq)]
pub enum Gap {
    /// The runner has never sent an export.
    NeverSent,
    /// The runner stopped exporting, or was lost, before it reported its end.
    Silent,
    /// The runner ended before it reported k6's own numbers.
    Untold,
    /// The last export was refused, for example because it is too large.
    Refused(String),
    /// k6 itself has counted more than has arrived.
    Behind(Vec<Discrepancy>),
    /// k6's exporter has joined series, so that their samples have lost their tags.
    Overflow,
    /// There are more series than this aggregator keeps apart.
    BeyondLimit(String),
}

/// A number of k6 that differs from what arrived.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Discrepancy {
    /// The metric and statistic, as in `http_reqs count`.
    pub number: String,
    /// The number that arrived.
    pub came: f64,
    /// The number of k6.
    pub own: f64,
}

/// What is missing of the samples that a threshold asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Missing {
    /// No sample is missing.
    Nothing,
    /// Samples are missing. The duration of the test is known.
    Samples,
    /// Samples are missing, and so is the duration of the test.
    SamplesAndTime,
}

impl Gap {
    /// What this gap takes from a threshold, which may select samples by tags.
    pub fn takes(&self, by_tags: bool) -> Missing {
        match self {
            Self::NeverSent | Self::Silent | Self::Untold => Missing::SamplesAndTime,
            Self::Refused(_) | Self::Behind(_) => Missing::Samples,
            // The total of the metric includes these samples.
            Self::Overflow | Self::BeyondLimit(_) if by_tags => Missing::Samples,
            Self::Overflow | Self::BeyondLimit(_) => Missing::Nothing,
        }
    }
}

impl Gap {
    /// Describes the gap, during the test or at its end.
    pub fn describe(&self, runner: u32, at_end: bool) -> Vec<String> {
        match self {
            Self::NeverSent if at_end => vec![format!("runner {runner} sent nothing")],
            Self::NeverSent => vec![format!("runner {runner} has sent nothing yet")],
            Self::Silent if at_end => vec![format!("runner {runner} never said that it had ended")],
            Self::Silent => vec![format!("runner {runner} has fallen silent")],
            Self::Untold => vec![format!(
                "runner {runner} ended before it had told what it measured: its last export may be missing"
            )],
            Self::Refused(error) => vec![format!("an export of runner {runner} was refused: {error}")],
            Self::Behind(discrepancies) => {
                let discrepancies = discrepancies.iter().map(|Discrepancy { number, came, own }| {
                    format!("the {number} of runner {runner} has come to {came}, and k6 has {own}")
                });
                discrepancies.collect()
            }
            // Described once for all runners.
            Self::Overflow => Vec::new(),
            Self::BeyondLimit(error) => vec![format!(
                "submetrics, checks and requests lack samples of runner {runner}: {error}"
            )],
        }
    }
}

/// What can be said about a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The threshold holds, over all samples.
    Holds,
    /// The threshold is crossed, whatever is missing.
    Crossed,
    /// Missing data could change the verdict.
    Unknown,
}

/// Where a number can move when more samples arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    Up,
    Down,
    Anywhere,
}

fn course(aggregate: Aggregate, metric: &str, sink: &Sink, missing: Missing) -> Course {
    if sink.is_empty() {
        // The value for a metric without samples says nothing about the missing samples.
        return Course::Anywhere;
    }
    match (aggregate, sink) {
        // A script can add any number to its own counters, in k6 0.57 to 2.2:
        // <https://github.com/grafana/k6/blob/v2.2.0/internal/js/modules/k6/metrics/metrics.go>
        (Aggregate::Count | Aggregate::Rate, Sink::Counter(_)) if !is_builtin(metric) => Course::Anywhere,
        (Aggregate::Count | Aggregate::Max, _) => Course::Up,
        (Aggregate::Min, _) => Course::Down,
        (Aggregate::Percentile(p), _) if p <= 0.0 => Course::Down,
        (Aggregate::Percentile(p), _) if p >= 100.0 => Course::Up,
        (Aggregate::Rate, Sink::Counter(_)) => match missing {
            Missing::Nothing | Missing::Samples => Course::Up,
            // A longer test has a lower rate.
            Missing::SamplesAndTime => Course::Anywhere,
        },
        (Aggregate::Rate, Sink::Gauge { .. } | Sink::Rate { .. } | Sink::Trend(_))
        | (Aggregate::Avg | Aggregate::Med | Aggregate::Value | Aggregate::Percentile(_), _) => {
            Course::Anywhere
        }
    }
}

/// Whether a threshold stays crossed wherever its number can move from here.
fn stays_crossed(expression: &Expression, value: f64, course: Course) -> bool {
    let limit = expression.limit;
    match (course, expression.operator) {
        (Course::Up, Operator::Less) => value >= limit,
        (Course::Up, Operator::AtMost | Operator::Equal) => value > limit,
        (Course::Down, Operator::Greater) => value <= limit,
        (Course::Down, Operator::AtLeast | Operator::Equal) => value < limit,
        (Course::Up, Operator::Greater | Operator::AtLeast | Operator::Unequal)
        | (Course::Down, Operator::Less | Operator::AtMost | Operator::Unequal)
        | (Course::Anywhere, _) => false,
    }
}

/// The state of a threshold, given its metric's name and state, its number, and what is missing.
pub fn standing(
    expression: &Expression,
    (metric, sink): (&str, &Sink),
    value: f64,
    missing: Missing,
) -> Standing {
    match missing {
        Missing::Nothing if expression.holds(value) => Standing::Holds,
        Missing::Nothing => Standing::Crossed,
        Missing::Samples | Missing::SamplesAndTime => {
            let course = course(expression.aggregate, metric, sink, missing);
            if stays_crossed(expression, value, course) {
                Standing::Crossed
            } else {
                Standing::Unknown
            }
        }
    }
}
