//! The verdict of a threshold on measured numbers. Pure.

use super::sink::{Estimate, Sink};
use crate::k6::threshold::{Aggregate, Expression, Operator, Threshold};

impl Expression {
    /// Whether the verdict could differ for another number within the bounds of an estimate.
    pub fn is_uncertain(&self, estimate: &Estimate) -> bool {
        let inside =
            estimate.low <= self.limit && self.limit <= estimate.high && estimate.low < estimate.high;
        let differs = self.holds(estimate.low) != self.holds(estimate.high);
        differs || (inside && matches!(self.operator, Operator::Equal | Operator::Unequal))
    }
}

/// The verdict of a threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// Whether the threshold holds. None while there is nothing to compare.
    pub passed: Option<bool>,
    /// The number that was compared.
    pub value: Option<Estimate>,
    /// Whether the number's error makes the verdict uncertain.
    pub uncertain: bool,
    /// Whether the metric does not have the number.
    pub unsupported: bool,
}

impl Threshold {
    /// Judges a metric, after this many seconds or at the end of the test. A metric without samples is not judged while
    /// the test runs. At the end its number is 0, and an empty rate passes.
    pub fn judge(&self, sink: Option<&Sink>, seconds: f64, at_end: bool) -> Verdict {
        let nothing = Verdict {
            passed: None,
            value: None,
            uncertain: false,
            unsupported: false,
        };
        let Some(sink) = sink.filter(|sink| !sink.is_empty()) else {
            if !at_end {
                return nothing;
            }
            let rate = match sink {
                Some(Sink::Rate { .. }) => true,
                Some(Sink::Counter(_) | Sink::Gauge { .. } | Sink::Trend(_)) | None => false,
            };
            return Verdict {
                passed: Some(rate || self.expression.holds(0.0)),
                value: Some(Estimate::exact(0.0)),
                ..nothing
            };
        };
        match sink
            .ask(self.expression.aggregate, seconds)
            .filter(|_| self.fits(sink))
        {
            Some(value) => Verdict {
                passed: Some(self.expression.holds(value.value)),
                value: Some(value),
                uncertain: self.expression.is_uncertain(&value),
                unsupported: false,
            },
            None => Verdict {
                unsupported: true,
                ..nothing
            },
        }
    }

    /// Judges a rate with `unknown` more values that may be zero or not. The verdict is None if it depends on them.
    pub fn judge_within(&self, nonzero: u64, total: u64, unknown: u64) -> Verdict {
        let share = |part: u64, of: u64| part as f64 / of.max(1) as f64;
        let all = total.saturating_add(unknown);
        let value = Estimate {
            value: share(nonzero, total),
            low: share(nonzero, all),
            high: share(nonzero.saturating_add(unknown), all),
        };
        let uncertain = self.expression.is_uncertain(&value);
        Verdict {
            passed: (!uncertain).then(|| self.expression.holds(value.low)),
            value: Some(value),
            uncertain,
            unsupported: false,
        }
    }

    /// Whether the metric has the number. k6 has no threshold on the count of a trend.
    fn fits(&self, sink: &Sink) -> bool {
        !matches!(
            (sink, self.expression.aggregate),
            (Sink::Trend(_), Aggregate::Count)
        )
    }
}
