//! The outcome of a test, as the aggregator reports it to the operator. It stays small, whatever the test was. Pure.

use super::is_default;
use super::report::MESSAGE_AT_MOST;
use serde::{Deserialize, Serialize};

/// The most thresholds and sentences of an outcome.
pub(crate) const MOST: usize = 10;
/// The longest sentence or name, in characters.
pub(crate) const LONGEST: usize = 200;

/// The outcome of a test.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// The number of thresholds.
    pub thresholds: u32,
    /// The number of thresholds that were crossed.
    pub crossed: u32,
    /// The crossed thresholds, up to [`MOST`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<Crossed>,
    /// The number of thresholds that may hold or not, since samples are missing.
    #[serde(default, skip_serializing_if = "is_default")]
    pub unknown: u32,
    /// The number of runners that sent nothing.
    #[serde(default, skip_serializing_if = "is_default")]
    pub silent: u32,
    /// The numbers of the whole test.
    pub totals: Totals,
    /// The duration of the test, in ms.
    pub duration_ms: f64,
    /// What the numbers do not include, in words, up to [`MOST`] sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub incomplete: Vec<String>,
}

/// The numbers of the whole test.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Totals {
    /// The number of requests.
    pub requests: f64,
    /// Requests per second.
    pub request_rate: f64,
    /// The share of requests that failed.
    pub failed_rate: Option<f64>,
    /// The 95th percentile of the duration of requests, in ms.
    pub p95: Option<f64>,
    /// The number of iterations.
    pub iterations: f64,
    /// Iterations per second.
    pub iteration_rate: f64,
    /// Virtual users now, or at the end of the test.
    pub vus: f64,
    /// The most virtual users.
    pub vus_max: f64,
    /// Bytes received.
    pub data_received: f64,
    /// Bytes sent.
    pub data_sent: f64,
    /// The number of checks that passed.
    pub checks_passed: u64,
    /// The number of checks.
    pub checks_total: u64,
}

/// The beginning of the line in the aggregator's log that has the outcome.
const MARK: &str = "k6-operator-outcome:";
/// The word in place of an outcome when a runner that counted as lost goes on.
const WITHDRAWN: &str = "withdrawn";

/// The line by which an aggregator withdraws an outcome.
pub fn withdrawn() -> String {
    format!("{MARK}{WITHDRAWN}")
}

/// What an aggregator's log says about the end of the test.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// Nothing yet, or the outcome was withdrawn.
    Nothing,
    /// Only the state so far. An aggregator of operator 0.1 prints this and waits for a request.
    SoFar(Outcome),
    /// The final outcome.
    Final(Outcome),
}

impl Told {
    /// Reads the last lines of a log.
    pub fn of(log: &str) -> Self {
        let last = log.lines().rev().find_map(|line| Some(line.rsplit_once(MARK)?.1));
        if let Some(outcome) = last {
            return serde_json::from_str(outcome).map_or(Self::Nothing, Self::Final);
        }
        let so_far = log.lines().rev().find_map(|line| serde_json::from_str(line).ok());
        so_far.map_or(Self::Nothing, Self::SoFar)
    }
}

/// A threshold that was crossed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Crossed {
    /// The metric, as the script names it.
    pub metric: String,
    /// The threshold, as the script writes it.
    pub threshold: String,
    /// The measured value.
    pub value: f64,
    /// Whether the value's error makes the verdict uncertain.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub uncertain: bool,
    /// Whether the threshold ended the test.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub aborted: bool,
}

impl Outcome {
    /// The termination message: at most [`MESSAGE_AT_MOST`] bytes, whatever the script calls things.
    pub fn to_message(&self) -> String {
        // Numbers and texts can always be serialized.
        serde_json::to_string(&self.shortened(MESSAGE_AT_MOST)).unwrap_or_default()
    }

    /// The line of the aggregator's log that has the outcome.
    pub fn line(&self) -> String {
        format!("{MARK}{}", self.to_message())
    }

    /// The same outcome with shorter texts, in at most this many bytes of JSON.
    pub fn shortened(&self, bytes: usize) -> Self {
        let mut outcome = self.clone();
        let mut longest = LONGEST;
        while longest > 0 && serde_json::to_string(&outcome).unwrap_or_default().len() > bytes {
            longest /= 2;
            outcome.incomplete.truncate(MOST / 2);
            for why in &mut outcome.incomplete {
                *why = short(why, longest);
            }
            for crossed in &mut outcome.failed {
                crossed.metric = short(&crossed.metric, longest);
                crossed.threshold = short(&crossed.threshold, longest);
            }
        }
        outcome
    }

    /// Whether no threshold was crossed.
    pub fn passed(&self) -> bool {
        self.crossed == 0
    }

    /// Whether it is known of all thresholds whether they hold over all runners. Missing samples, or a runner that sent
    /// nothing, could cross one.
    pub fn is_judged(&self) -> bool {
        self.thresholds == 0 || self.crossed > 0 || (self.silent == 0 && self.unknown == 0)
    }

    /// Describes the state of the thresholds in a sentence.
    pub fn told(&self) -> String {
        let failed = self.failed.iter().map(|crossed| {
            let Crossed {
                metric,
                threshold,
                value,
                uncertain,
                aborted,
            } = crossed;
            let ended = if *aborted { ", which ended the test" } else { "" };
            let unsure = if *uncertain {
                ", within the error of the percentile"
            } else {
                ""
            };
            format!("{metric} {threshold} is {}{unsure}{ended}", rounded(*value))
        });
        let failed: Vec<_> = failed.take(3).collect();
        match self.crossed {
            0 if !self.is_judged() => "the thresholds could not be judged over all runners".to_owned(),
            0 if self.thresholds == 1 => "the threshold holds over all runners".to_owned(),
            0 => format!("all {} thresholds hold over all runners", self.thresholds),
            count => {
                let more = count as usize - failed.len();
                let more = if more > 0 {
                    format!(" and {more} more")
                } else {
                    String::new()
                };
                format!(
                    "{count} of {} thresholds crossed: {}{more}",
                    self.thresholds,
                    failed.join("; ")
                )
            }
        }
    }
}

pub(crate) fn short(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    text.chars()
        .take(longest.saturating_sub(1))
        .chain(['…'])
        .collect()
}

/// Rounds to four significant digits.
fn rounded(value: f64) -> String {
    // Removes the sign of a negative zero.
    let value = value + 0.0;
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    if value.abs() >= 1e15 {
        return format!("{value:.3e}");
    }
    let digits = 3 - value.abs().log10().floor() as i32;
    let text = format!("{value:.*}", usize::try_from(digits).unwrap_or(0));
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}
