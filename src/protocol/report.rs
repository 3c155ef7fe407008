//! The report of the starter or the stopper: a small JSON document in the pod's termination message, written by the
//! program and read by the operator.

use std::time::Duration;

use super::is_default;
use serde::{Deserialize, Serialize};

/// The file that Kubernetes reads a container's termination message from.
pub const TERMINATION_LOG: &str = "/dev/termination-log";

/// The most runners that a report names. The rest are counted.
pub const NAMED_AT_MOST: usize = 10;

/// The longest termination message that Kubernetes keeps, in bytes.
pub const MESSAGE_AT_MOST: usize = 4096;

/// The longest sentence of one failure, in bytes.
const SENTENCE_AT_MOST: usize = 320;

/// The report of a starter or a stopper, at most 4096 bytes when serialized.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The number of runners to reach.
    pub total: u32,
    /// The number of runners to which a release order was written.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ordered: u32,
    /// The number of runners that confirmed: released (start) or stopped (stop).
    pub confirmed: u32,
    /// Microseconds between writing the first and the last confirmed release order.
    #[serde(default)]
    pub spread_micros: u64,
    /// The runners that did not confirm, at most [`NAMED_AT_MOST`] of them. Runners that were ready but not released,
    /// because others were not ready, are not among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Failure>,
    /// The script called `exec.test.abort()` in setup(), before any runner was released.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub aborted: bool,
}

impl Report {
    /// Creates a report within its bounds.
    pub fn new(total: usize, confirmed: usize, spread: Duration, mut failures: Vec<Failure>) -> Self {
        failures.truncate(NAMED_AT_MOST);
        for failure in &mut failures {
            shorten(&mut failure.message, SENTENCE_AT_MOST);
        }
        Self {
            total: u32::try_from(total).unwrap_or(u32::MAX),
            ordered: 0,
            confirmed: u32::try_from(confirmed).unwrap_or(u32::MAX),
            spread_micros: u64::try_from(spread.as_micros()).unwrap_or(u64::MAX),
            failures,
            aborted: false,
        }
    }

    /// The report of a start that the script aborted in setup().
    pub fn aborted(total: usize, failure: Failure) -> Self {
        Self {
            aborted: true,
            ..Self::new(total, 0, Duration::ZERO, vec![failure])
        }
    }

    /// Sets the number of orders that the starter wrote.
    pub fn ordering(self, ordered: usize) -> Self {
        Self {
            ordered: u32::try_from(ordered).unwrap_or(u32::MAX),
            ..self
        }
    }

    /// Whether every runner has confirmed.
    pub fn complete(&self) -> bool {
        self.confirmed == self.total
    }

    /// The termination message: at most [`MESSAGE_AT_MOST`] bytes, whatever the failures say.
    pub fn to_message(&self) -> String {
        let mut report = self.clone();
        report.failures.truncate(NAMED_AT_MOST);
        let mut sentence = SENTENCE_AT_MOST;
        loop {
            for failure in &mut report.failures {
                shorten(&mut failure.message, sentence);
            }
            // Numbers and texts can always be serialized, and a report without failures always fits.
            let message = serde_json::to_string(&report).unwrap_or_default();
            if message.len() <= MESSAGE_AT_MOST {
                return message;
            }
            sentence /= 2;
        }
    }

    /// Reads a termination message.
    pub fn from_message(message: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(message)
    }
}

/// Cuts a text to at most this many bytes and marks the cut.
fn shorten(text: &mut String, at_most: usize) {
    const CUT: &str = "...";
    if text.len() > at_most {
        text.truncate(text.floor_char_boundary(at_most.saturating_sub(CUT.len())));
        text.push_str(CUT);
    }
}

/// One runner that could not be started or stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// The runner's number, 1 to N.
    pub runner: u32,
    /// Why, in one sentence.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(failures: u32, message: &str) -> Report {
        let failures = (1..=failures)
            .map(|runner| Failure {
                runner,
                message: message.to_owned(),
            })
            .collect();
        Report {
            total: u32::MAX,
            ordered: u32::MAX,
            confirmed: u32::MAX - 1,
            spread_micros: u64::MAX,
            failures,
            aborted: false,
        }
    }

    #[test]
    fn a_thousand_failures_with_long_messages_fit_the_termination_message() {
        for message in [
            "x".repeat(5000),
            "\u{1}".repeat(5000),
            "\"é😀".repeat(1000),
            String::new(),
        ] {
            let text = report(1000, &message).to_message();
            assert!(text.len() <= MESSAGE_AT_MOST, "{} bytes", text.len());
            let read = Report::from_message(&text).unwrap();
            assert_eq!((read.total, read.failures.len()), (u32::MAX, NAMED_AT_MOST));
        }
    }

    #[test]
    fn what_fits_is_read_back_as_it_was() {
        for report in [
            report(0, ""),
            report(3, "connecting to 10.88.0.7:6565: refused"),
            report(10, "é"),
        ] {
            assert_eq!(Report::from_message(&report.to_message()).unwrap(), report);
        }
    }

    #[test]
    fn a_new_report_keeps_to_its_bounds() {
        let failures = report(1000, &"é".repeat(400)).failures;
        let report = Report::new(1000, 0, Duration::from_millis(3), failures);
        assert_eq!(
            (report.spread_micros, report.failures.len()),
            (3000, NAMED_AT_MOST)
        );
        assert!(
            report
                .failures
                .iter()
                .all(|f| f.message.len() <= 320 && f.message.ends_with("é..."))
        );
        assert_eq!(Report::from_message(&report.to_message()).unwrap(), report);
        assert!(!report.complete());
    }

    #[test]
    fn a_message_from_elsewhere_is_not_a_report() {
        for message in ["", "OOMKilled", "{}", r#"{"total":1}"#] {
            assert!(Report::from_message(message).is_err());
        }
        assert!(
            Report::from_message("{\"total\":4,\"confirmed\":4}\n")
                .unwrap()
                .complete()
        );
    }
}
