//! The thresholds of a script. Their grammar is that of k6, and tests/aggregate compares it with k6 itself:
//! <https://grafana.com/docs/k6/latest/using-k6/thresholds/>.

use jiff::SignedDuration;
use serde_json::Value;
use std::fmt;
use thiserror::Error;

/// A threshold that can't be evaluated. The test is not started.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ThresholdError {
    /// It is not of the form METHOD OPERATOR NUMBER.
    #[error("the threshold {expression:?} on {metric} is malformed: {why}")]
    Malformed {
        /// The metric that the threshold is on.
        metric: String,
        /// The threshold as the script has it.
        expression: String,
        /// What is wrong.
        why: String,
    },
    /// A key under `thresholds` does not name a metric.
    #[error("the thresholds on {metric:?} name no metric: {why}")]
    Metric {
        /// The key as the script has it.
        metric: String,
        /// What is wrong.
        why: &'static str,
    },
    /// A threshold is neither a text nor an object with one.
    #[error("a threshold on {metric} is neither a text nor an object with `threshold`: {given}")]
    Shape {
        /// The metric that the threshold is on.
        metric: String,
        /// The JSON that stands in its place.
        given: String,
    },
}

/// How a number is compared with the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    Greater,
    /// `>=`
    AtLeast,
    /// `==` and `===`
    Equal,
    /// `!=`
    Unequal,
}

/// The value of a metric that a threshold compares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Aggregate {
    /// The number of values, or the sum of a counter.
    Count,
    /// The share of values other than zero, or a counter per second.
    Rate,
    /// The last value of a gauge.
    Value,
    /// The mean.
    Avg,
    /// The minimum.
    Min,
    /// The maximum.
    Max,
    /// The median.
    Med,
    /// A percentile, from 0 to 100.
    Percentile(f64),
}

/// A threshold without its metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expression {
    /// The value to compare.
    pub aggregate: Aggregate,
    /// The comparison.
    pub operator: Operator,
    /// The number to compare with.
    pub limit: f64,
}

impl Expression {
    /// Parses an expression such as `p(95)<200`. The error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let malformed = || "it is not of the form `METHOD OPERATOR NUMBER`, as in `p(95)<500`".to_owned();
        let at = text.find(['<', '>', '=', '!']).ok_or_else(malformed)?;
        let (method, rest) = text.split_at_checked(at).ok_or_else(malformed)?;
        // Longer signs first: `<=` begins with `<`.
        let operators = [
            ("===", Operator::Equal),
            ("==", Operator::Equal),
            ("!=", Operator::Unequal),
            ("<=", Operator::AtMost),
            (">=", Operator::AtLeast),
            ("<", Operator::Less),
            (">", Operator::Greater),
        ];
        let (limit, operator) = operators
            .into_iter()
            .find_map(|(sign, operator)| Some((rest.strip_prefix(sign)?, operator)))
            .ok_or_else(|| format!("{rest:?} does not begin with an operator of < <= > >= == === !="))?;
        let limit = limit.trim();
        Ok(Self {
            aggregate: aggregate(method.trim())?,
            operator,
            limit: float(limit).ok_or_else(|| format!("{limit:?} is not a number"))?,
        })
    }

    /// True if a value meets the threshold.
    pub fn holds(&self, value: f64) -> bool {
        match self.operator {
            Operator::Less => value < self.limit,
            Operator::AtMost => value <= self.limit,
            Operator::Greater => value > self.limit,
            Operator::AtLeast => value >= self.limit,
            #[allow(clippy::float_cmp)]
            Operator::Equal => value == self.limit,
            #[allow(clippy::float_cmp)]
            Operator::Unequal => value != self.limit,
        }
    }
}

fn aggregate(method: &str) -> Result<Aggregate, String> {
    let named = match method {
        "count" => Some(Aggregate::Count),
        "rate" => Some(Aggregate::Rate),
        "value" => Some(Aggregate::Value),
        "avg" => Some(Aggregate::Avg),
        "min" => Some(Aggregate::Min),
        "max" => Some(Aggregate::Max),
        "med" => Some(Aggregate::Med),
        _ => None,
    };
    if let Some(aggregate) = named {
        return Ok(aggregate);
    }
    let number = method.strip_prefix("p(").and_then(|rest| rest.strip_suffix(')'));
    let number = number.ok_or_else(|| {
        format!("{method:?} is no method of avg, min, max, med, p(N), count, rate and value")
    })?;
    match float(number) {
        Some(p) if (0.0..=100.0).contains(&p) => Ok(Aggregate::Percentile(p)),
        Some(_) => Err(format!("there is no percentile {number}: it is from 0 to 100")),
        None => Err(format!("{number:?} is not the number of a percentile")),
    }
}

/// Parses a number as Go does, the language of k6: <https://pkg.go.dev/strconv#ParseFloat>.
fn float(text: &str) -> Option<f64> {
    let (sign, magnitude) = match text.strip_prefix(['+', '-']) {
        Some(rest) => (if text.starts_with('-') { -1.0 } else { 1.0 }, rest),
        None => (1.0, text),
    };
    let lower = magnitude.to_ascii_lowercase();
    let digits = without_separators(&lower)?;
    if let Some(hexadecimal) = digits.strip_prefix("0x") {
        return hexadecimal_float(hexadecimal).map(|value| sign * value);
    }
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let value: f64 = digits.parse().ok()?;
    let is_infinity = matches!(digits.as_str(), "inf" | "infinity");
    (value.is_finite() || value.is_nan() || is_infinity).then_some(sign * value)
}

/// Removes separators: `1_000` is 1000. None if one does not stand between digits.
fn without_separators(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let is_digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_hexdigit);
    let misplaced = |(at, _): (usize, _)| !is_digit(at.checked_sub(1)) || !is_digit(at.checked_add(1));
    if text.match_indices('_').any(misplaced) {
        return None;
    }
    Some(text.replace('_', ""))
}

fn hexadecimal_float(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once('p')?;
    let exponent: i32 = exponent.parse().ok()?;
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && part.is_empty() {
        return None;
    }
    let mut value = 0.0;
    for digit in whole.chars().chain(part.chars()) {
        value = value * 16.0 + f64::from(digit.to_digit(16)?);
    }
    let places = i32::try_from(part.len()).ok()?;
    let value = value * f64::from(exponent.checked_sub(places.checked_mul(4)?)?).exp2();
    value.is_finite().then_some(value)
}

/// The tag with the number of a runner.
pub const RUNNER_TAG: &str = "instance_id";
/// The tags that the operator gives to the samples of a runner: its number, and the name of the test.
pub const OWN_TAGS: [&str; 2] = [RUNNER_TAG, "testrun_name"];

/// Selects the samples of a metric that have all of these tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// The name of the metric.
    pub metric: String,
    /// The tags, in the order given.
    pub tags: Vec<(String, String)>,
}

impl Selector {
    /// The number of the only runner whose samples are selected; None if it selects by other tags.
    pub fn runner(&self) -> Option<u32> {
        let (_, number) = self.tags.iter().find(|(key, _)| key == RUNNER_TAG)?;
        // No runner has the number 0: a value that is not a number selects nothing.
        Some(number.parse().unwrap_or_default())
    }

    /// True if it selects by tags that k6 sets, and not only by runner.
    pub fn is_by_tags(&self) -> bool {
        self.tags.iter().any(|(key, _)| key != RUNNER_TAG)
    }

    /// Reads `metric` or `metric{tag:value,tag:value}`.
    pub fn parse(text: &str) -> Result<Self, ThresholdError> {
        let wrong = |why| {
            Err(ThresholdError::Metric {
                metric: text.to_owned(),
                why,
            })
        };
        let (metric, tags) = match (text.find('{'), text.rfind('}')) {
            (None, None) => (text, None),
            (Some(open), Some(close)) if open < close && close + 1 == text.len() => {
                (&text[..open], Some(&text[open + 1..close]))
            }
            (Some(_), Some(_)) => return wrong("it does not end with the closing brace of its tags"),
            (Some(_), None) | (None, Some(_)) => return wrong("a brace has no other half"),
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if metric.is_empty() || !metric.chars().all(is_name) {
            return wrong("a metric has letters, digits and underscores");
        }
        let clean = |text: &str| text.trim().trim_matches(['"', '\'']).to_owned();
        let mut selected: Vec<(String, String)> = Vec::new();
        for tag in tags.map(|tags| tags.split(',')).into_iter().flatten() {
            match tag.split_once(':') {
                Some((key, value)) if !key.is_empty() && !value.is_empty() => {
                    // k6 uses the last value of a tag that is named twice.
                    selected.retain(|(known, _)| *known != clean(key));
                    selected.push((clean(key), clean(value)));
                }
                Some(_) | None => return wrong("a tag is written `name:value`"),
            }
        }
        Ok(Self {
            metric: metric.to_owned(),
            tags: selected,
        })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.metric)?;
        if !self.tags.is_empty() {
            let tags = self.tags.iter().map(|(key, value)| format!("{key}:{value}"));
            write!(f, "{{{}}}", tags.collect::<Vec<_>>().join(","))?;
        }
        Ok(())
    }
}

/// One threshold of a script.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    /// The metric as the script names it.
    pub name: String,
    /// The samples that `name` selects.
    pub selector: Selector,
    /// The expression as the script has it, such as `p(95)<200`.
    pub source: String,
    /// The parsed expression.
    pub expression: Expression,
    /// True if the test ends when the threshold is crossed.
    pub abort_on_fail: bool,
    /// The time after the start before which the threshold does not end the test.
    pub delay_abort_eval: SignedDuration,
}

/// The thresholds in a script's options, as `k6 inspect` prints them.
pub fn thresholds(options: &Value) -> Result<Vec<Threshold>, ThresholdError> {
    let mut found = Vec::new();
    let metrics = options.get("thresholds").and_then(Value::as_object);
    for (name, given) in metrics.into_iter().flatten() {
        let selector = Selector::parse(name)?;
        let shape = |given: &Value| ThresholdError::Shape {
            metric: name.clone(),
            given: given.to_string(),
        };
        for given in given.as_array().ok_or_else(|| shape(given))? {
            let source = given
                .as_str()
                .or_else(|| given.get("threshold").and_then(Value::as_str))
                .ok_or_else(|| shape(given))?;
            let expression = Expression::parse(source).map_err(|why| ThresholdError::Malformed {
                metric: name.clone(),
                expression: source.to_owned(),
                why,
            })?;
            let delay = match given.get("delayAbortEval") {
                None | Some(Value::Null) => SignedDuration::ZERO,
                Some(delay) => delay_of(delay).ok_or_else(|| shape(given))?,
            };
            found.push(Threshold {
                name: name.clone(),
                selector: selector.clone(),
                source: source.to_owned(),
                expression,
                abort_on_fail: given
                    .get("abortOnFail")
                    .and_then(Value::as_bool)
                    .unwrap_or_default(),
                delay_abort_eval: delay,
            });
        }
    }
    Ok(found)
}

/// A name under `thresholds` without an expression: k6 shows it in the summary, and judges nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submetric {
    /// The metric with its tags, as the script names it.
    pub name: String,
    /// The samples that `name` selects.
    pub selector: Selector,
}

/// The names without an expression in a script's options, as `k6 inspect` prints them.
pub fn submetrics(options: &Value) -> Vec<Submetric> {
    let metrics = options.get("thresholds").and_then(Value::as_object);
    let empty = metrics
        .into_iter()
        .flatten()
        .filter(|(_, given)| given.as_array().is_some_and(Vec::is_empty));
    let read = |name: &String| {
        let selector = Selector::parse(name).ok()?;
        Some(Submetric {
            name: name.clone(),
            selector,
        })
    };
    empty.filter_map(|(name, _)| read(name)).collect()
}

/// A duration as k6 writes it: a Go duration, or milliseconds.
fn delay_of(given: &Value) -> Option<SignedDuration> {
    match given {
        Value::String(text) => text.parse().ok(),
        Value::Number(ms) => ms.as_f64().map(|ms| SignedDuration::from_secs_f64(ms / 1e3)),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}
