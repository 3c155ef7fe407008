//! What came of a test, as the operator is told: small, whatever the test was. Pure.

use super::report::MESSAGE_AT_MOST;
use serde::{Deserialize, Serialize};

/// As many thresholds and sentences are told.
pub(crate) const MOST: usize = 10;
/// A sentence or a name is no longer, in characters.
pub(crate) const LONGEST: usize = 200;

/// What came of a test.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// How many thresholds there are.
    pub thresholds: u32,
    /// How many of them were crossed.
    pub crossed: u32,
    /// Those, as far as they are told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<Crossed>,
    /// Of how many nobody can say whether they hold, as samples are missing.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unknown: u32,
    /// How many runners have sent nothing.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub silent: u32,
    /// The numbers of the whole.
    pub totals: Totals,
    /// How long it took, in ms.
    pub duration_ms: f64,
    /// What is not in the numbers, in words, as far as it is told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub incomplete: Vec<String>,
}

/// The numbers of the whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Totals {
    /// Requests.
    pub requests: f64,
    /// By second.
    pub request_rate: f64,
    /// The share of requests that failed.
    pub failed_rate: Option<f64>,
    /// The 95th percentile of how long requests took, in ms.
    pub p95: Option<f64>,
    /// Iterations.
    pub iterations: f64,
    /// By second.
    pub iteration_rate: f64,
    /// Virtual users now, or at the end.
    pub vus: f64,
    /// Virtual users at most.
    pub vus_max: f64,
    /// Bytes.
    pub data_received: f64,
    /// Bytes.
    pub data_sent: f64,
    /// Checks that passed.
    pub checks_passed: u64,
    /// Checks.
    pub checks_total: u64,
}

/// What the line begins with in which an aggregator tells what came of the test.
const MARK: &str = "k6-operator-outcome:";
/// What it says when a runner that counted as lost goes on.
const WITHDRAWN: &str = "withdrawn";

/// The lines in which an aggregator takes back what it has told.
pub fn withdrawn() -> String {
    format!("{MARK}{WITHDRAWN}")
}

/// What an aggregator says in its log of how the test has ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// Nothing yet, or it was taken back.
    Nothing,
    /// Only how the test stood: so does an aggregator of operator 0.1, which waits to be asked for more.
    SoFar(Outcome),
    /// What came of it.
    Final(Outcome),
}

impl Told {
    /// What the last lines of a log say.
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
    /// The metric as the script names it.
    pub metric: String,
    /// The threshold as the script has it.
    pub threshold: String,
    /// What was measured.
    pub value: f64,
    /// Whether the error of that leaves it open.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub uncertain: bool,
    /// Whether it ended the test.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub aborted: bool,
}

impl Outcome {
    /// The termination message: at most [`MESSAGE_AT_MOST`] bytes, whatever the script calls things.
    pub fn to_message(&self) -> String {
        // Numbers and texts always serialize.
        serde_json::to_string(&self.shortened(MESSAGE_AT_MOST)).unwrap_or_default()
    }

    /// The line in which an aggregator tells it at the end.
    pub fn line(&self) -> String {
        format!("{MARK}{}", self.to_message())
    }

    /// The same in at most so many bytes of JSON, with shorter texts.
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

    /// Whether the thresholds are known to hold, or not to, over all runners: one that sent nothing could cross them,
    /// and so could samples that are missing.
    pub fn is_judged(&self) -> bool {
        self.thresholds == 0 || self.crossed > 0 || (self.silent == 0 && self.unknown == 0)
    }

    /// What of the thresholds a person is told, in a sentence.
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

fn is_zero(count: &u32) -> bool {
    *count == 0
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

/// Four digits that mean something.
fn rounded(value: f64) -> String {
    // Without the sign of a negative zero.
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
