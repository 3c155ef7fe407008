//! The script's setup(), once for all runners: the first runs it, the others are given what it returned.
//!
//! The runners have been started with `--no-setup`. <https://grafana.com/docs/k6/latest/misc/k6-rest-api/>

use super::http::{Answer, Keep, send};
use super::runners::Target;
use crate::protocol::report::Failure;
use crate::protocol::tokens::Token;
use futures::StreamExt;
use futures::stream::iter;
use hyper::body::Bytes;
use hyper::header::AUTHORIZATION;
use hyper::{Method, StatusCode};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

const PATH: &str = "/v1/setup";
/// How long k6 may take to answer beside what setup() takes: its own limit comes first.
const ANSWER: Duration = Duration::from_secs(10);
/// How much longer for each megabyte of data, which k6 reads and writes as JSON.
const ANSWER_PER_MEGABYTE: Duration = Duration::from_secs(1);
/// The most data that is brought to the runners, in bytes. k6 itself has no limit, and each of its virtual users has a
/// copy; a starter of 128 MiB has room for this much.
pub const LARGEST_DATA: usize = 64 * 1024 * 1024;
/// How many runners are given the data at the same time.
const GIVEN_AT_ONCE: usize = 16;

/// What k6 says of an interruption by `exec.test.abort()`, before the script's own message.
/// <https://grafana.com/docs/k6/latest/javascript-api/k6-execution/#test>
const ABORTED: &str = "test aborted";
/// What stands before the place in what k6 says of an exception; of an interruption, the place is in the same line.
const THROWN_AT: &str = "\n\tat ";

/// Why setup() or teardown() has not ended well, when it was run through k6's REST API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// The script called `exec.test.abort()`.
    Aborted(String),
    /// It took longer than `setupTimeout` or `teardownTimeout`.
    TooLong(String),
    /// It threw.
    Threw(String),
    /// k6 did not answer, or not with what it was asked for.
    Unanswered(String),
}

impl Failed {
    /// What k6 says, in one line.
    pub(super) fn detail(&self) -> &str {
        let (Self::Aborted(detail) | Self::TooLong(detail) | Self::Threw(detail) | Self::Unanswered(detail)) =
            self;
        detail
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.detail())
    }
}

/// How setup() ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// All runners have what it returned.
    Given,
    /// For these runners something failed.
    Failed(Vec<Failure>),
    /// The script aborted the test in it.
    Aborted(Failure),
}

/// What setup() returned, as JSON, in the words of the k6 that has it; none if that was undefined.
pub(super) async fn data_at(address: SocketAddr) -> Result<Option<Bytes>, String> {
    let target = Target { runner: 0, address };
    let asked = asked(&target, Method::GET, ANSWER, &[]).await;
    asked.map_err(|failed| failed.to_string())
}

/// Runs it on the first runner, and gives the others what it returned.
pub(super) async fn once(targets: &[Target], limit: Duration, token: Option<&Token>) -> Done {
    let shown = token.map(Token::authorization);
    let shown = shown.as_ref().and_then(|shown| shown.to_str().ok());
    let headers: Vec<_> = shown
        .map(|shown| (AUTHORIZATION.as_str(), shown))
        .into_iter()
        .collect();
    let headers = headers.as_slice();
    let Some((first, others)) = targets.split_first() else {
        return Done::Given;
    };
    let failure = |target: &Target, message| Failure {
        runner: target.runner,
        message,
    };
    let data = match data_of(first, limit, headers).await {
        Ok(Some(data)) => data,
        // What it returned was undefined, as it is where nothing is set.
        Ok(None) => return Done::Given,
        Err(Failed::Aborted(message)) => return Done::Aborted(failure(first, message)),
        Err(failed @ (Failed::TooLong(_) | Failed::Threw(_) | Failed::Unanswered(_))) => {
            return Done::Failed(vec![failure(first, format!("setup() failed: {failed}"))]);
        }
    };
    let given = iter(others).map(async |target| (target, give(target, data.clone(), headers).await));
    let given: Vec<_> = given.buffer_unordered(GIVEN_AT_ONCE).collect().await;
    let failed = given
        .into_iter()
        .filter_map(|(target, given)| Some(failure(target, given.err()?)));
    let mut failed: Vec<_> = failed.collect();
    failed.sort_by_key(|failure| failure.runner);
    if failed.is_empty() {
        Done::Given
    } else {
        Done::Failed(failed)
    }
}

fn megabytes(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}

/// What setup() returned: now, or under an earlier starter.
async fn data_of(first: &Target, limit: Duration, headers: &[(&str, &str)]) -> Result<Option<Bytes>, Failed> {
    let known = asked(first, Method::GET, ANSWER, headers).await?;
    if known.is_some() {
        return Ok(known);
    }
    asked(first, Method::POST, limit + ANSWER, headers).await
}

async fn asked(
    target: &Target,
    method: Method,
    limit: Duration,
    headers: &[(&str, &str)],
) -> Result<Option<Bytes>, Failed> {
    let address = target.address.to_string();
    let limit = limit + per_megabyte(LARGEST_DATA);
    let answer = send(&address, method, PATH, headers, Bytes::new(), Keep::All, limit).await;
    let Answer { status, body, length } = answer.map_err(Failed::Unanswered)?;
    if length > body.len() {
        return Err(Failed::Unanswered(format!(
            "it returned {:.1} MB, and at most {:.1} MB can be brought to all runners: return less, or set spec.setup \
             to perRunner",
            megabytes(length),
            megabytes(LARGEST_DATA)
        )));
    }
    if status != StatusCode::OK {
        return Err(failure_of("setup()", status, &body));
    }
    returned(&body).map_err(|error| Failed::Unanswered(error.to_string()))
}

async fn give(target: &Target, data: Bytes, headers: &[(&str, &str)]) -> Result<(), String> {
    let address = target.address.to_string();
    let limit = ANSWER + per_megabyte(data.len());
    let size = megabytes(data.len());
    let told = |why: String| format!("what setup() returned ({size:.1} MB) could not be given to it: {why}");
    // k6 answers with the data that it was given: there is no need to keep that.
    let given = send(&address, Method::PUT, PATH, headers, data, Keep::Beginning, limit).await;
    let Answer {
        status,
        body,
        length: _,
    } = given.map_err(told)?;
    if status == StatusCode::OK {
        Ok(())
    } else {
        Err(told(refusal(status, &body)))
    }
}

fn per_megabyte(bytes: usize) -> Duration {
    ANSWER_PER_MEGABYTE.mul_f64(megabytes(bytes))
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    data: Data<'a>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    attributes: Attributes<'a>,
}

#[derive(Deserialize)]
struct Attributes<'a> {
    /// Absent where it is undefined, and null where it is null.
    #[serde(borrow, default, deserialize_with = "as_written")]
    data: Option<&'a RawValue>,
}

fn as_written<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// The data in an answer of k6, as it is written there: it can be large, and is not copied.
fn returned(answer: &Bytes) -> serde_json::Result<Option<Bytes>> {
    let document: Document<'_> = serde_json::from_slice(answer)?;
    let data = document.data.attributes.data;
    Ok(data.map(|data| answer.slice_ref(data.get().as_bytes())))
}

/// What an answer of k6's other than 200 says of setup() or teardown().
pub(super) fn failure_of(function: &str, status: StatusCode, answer: &Bytes) -> Failed {
    let text = refusal(status, answer);
    let detail = detail(answer);
    let said = detail.as_deref().unwrap_or_default();
    if let Some(rest) = said.strip_prefix(ABORTED).filter(|_| !said.contains(THROWN_AT)) {
        // The script's words are between a colon and the place.
        let words = rest.strip_prefix(": ").unwrap_or_default();
        let words = words.rsplit_once(" at ").map_or(words, |(words, _)| words).trim();
        return Failed::Aborted(if words.is_empty() {
            format!("the script aborted the test in {function}")
        } else {
            format!("the script aborted the test in {function}: {words}")
        });
    }
    if said.contains("execution timed out") {
        return Failed::TooLong(text);
    }
    Failed::Threw(text)
}

fn detail(answer: &Bytes) -> Option<String> {
    let said: Value = serde_json::from_slice(answer).ok()?;
    Some(said.pointer("/errors/0/detail")?.as_str()?.to_owned())
}

/// What k6 says of what it refuses or what failed, in one line.
fn refusal(status: StatusCode, answer: &Bytes) -> String {
    let detail = detail(answer).map(|detail| detail.split_whitespace().collect::<Vec<_>>().join(" "));
    detail.unwrap_or_else(|| format!("{status} {}", String::from_utf8_lossy(answer).trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(detail: &str) -> Failed {
        let answer = serde_json::json!({"errors": [{"status": "500", "title": "Error executing setup", "detail": detail}]});
        let answer = Bytes::from(answer.to_string());
        failure_of("setup()", StatusCode::INTERNAL_SERVER_ERROR, &answer)
    }

    /// As k6 1.1.0, 1.8.1 and 2.2.0 answer.
    #[test]
    fn abort_is_told_from_an_exception_that_says_the_same() {
        let aborted = |words: &str| Failed::Aborted(words.to_owned());
        assert_eq!(
            failure("test aborted: no target at setup (file:///test/test.js:3:64(11))"),
            aborted("the script aborted the test in setup(): no target")
        );
        assert_eq!(
            failure("test aborted at setup (file:///test/test.js:3:118(21))"),
            aborted("the script aborted the test in setup()")
        );
        for thrown in [
            "test aborted\n\tat setup (file:///test/test.js:3:205(37))\n",
            "Error: test aborted: x\n\tat setup (file:///test/test.js:3:151(29))\n",
        ] {
            assert!(matches!(failure(thrown), Failed::Threw(_)), "{thrown}");
        }
        let late = failure("setup() execution timed out after 1 seconds");
        assert!(matches!(late, Failed::TooLong(_)), "{late:?}");
    }

    #[test]
    fn data_is_passed_on_as_k6_wrote_it() {
        let of = |attributes: &str| {
            let answer =
                format!(r#"{{"data":{{"type":"setupData","id":"default","attributes":{attributes}}}}}"#);
            returned(&Bytes::from(answer)).unwrap()
        };
        let written = r#"{"a":-0,"b":"\u003c","c":12345678901234567890123}"#;
        assert_eq!(of(&format!(r#"{{"data":{written}}}"#)).unwrap(), written);
        assert_eq!(of(r#"{"data":null}"#).unwrap(), "null");
        assert_eq!(of("{}"), None);
        assert!(returned(&Bytes::from("no k6")).is_err());
    }
}
