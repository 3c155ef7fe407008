//! Runs the script's setup() once for all runners: on the first runner, whose data the others get.
//!
//! The runners were started with `--no-setup`. <https://grafana.com/docs/k6/latest/misc/k6-rest-api/>

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
use std::net::SocketAddr;
use std::time::Duration;
use thiserror::Error;

const PATH: &str = "/v1/setup";
/// How long k6 may take to answer, in addition to setup() itself, which k6 limits.
const ANSWER: Duration = Duration::from_secs(10);
/// The additional time for each megabyte of data, which k6 parses and writes as JSON.
const ANSWER_PER_MEGABYTE: Duration = Duration::from_secs(1);
/// The most data that is sent to the runners, in bytes. k6 has no limit, and each of its virtual users has a copy. A
/// starter with 128 MiB of memory has room for this much.
pub const LARGEST_DATA: usize = 64 * 1024 * 1024;
/// How many runners are sent the data at the same time.
const GIVEN_AT_ONCE: usize = 16;

/// The beginning of k6's error after `exec.test.abort()`, before the script's own message.
/// <https://grafana.com/docs/k6/latest/javascript-api/k6-execution/#test>
const ABORTED: &str = "test aborted";
/// What k6's error for an exception has before the position. After an abort, the position is on the same line.
const THROWN_AT: &str = "\n\tat ";

/// Why setup() or teardown() failed when it was run through k6's REST API, with k6's message in one line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub(super) enum Failed {
    /// The script called `exec.test.abort()`.
    Aborted(String),
    /// It took longer than `setupTimeout` or `teardownTimeout`.
    TooLong(String),
    /// It threw an exception.
    Threw(String),
    /// k6 did not answer, or its answer is not the expected one.
    Unanswered(String),
}

/// How setup() ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// All runners have the data of setup().
    Given,
    /// It failed for these runners.
    Failed(Vec<Failure>),
    /// The script aborted the test in setup().
    Aborted(Failure),
}

/// Fetches what setup() returned from a k6, as that k6 writes the JSON. None if it returned undefined.
pub(super) async fn data_at(address: SocketAddr) -> Result<Option<Bytes>, Failed> {
    asked(&Target { runner: 0, address }, Method::GET, ANSWER, &[]).await
}

/// Runs setup() on the first runner and sends its data to the others.
pub(super) async fn once(targets: &[Target], limit: Duration, token: Option<&Token>) -> Done {
    let bearer = token.map(Token::bearer);
    let headers: Vec<_> = bearer
        .iter()
        .map(|bearer| (AUTHORIZATION.as_str(), bearer.as_str()))
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
        // setup() returned undefined, which is also the value of a runner that was sent nothing.
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

/// The data of setup(), which runs unless it has run under an earlier starter.
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
    let Answer { status, body, length } = answer.map_err(|error| Failed::Unanswered(error.to_string()))?;
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
    // k6 answers with the data that it was sent, which is not needed.
    let given = send(&address, Method::PUT, PATH, headers, data, Keep::Beginning, limit).await;
    let Answer {
        status,
        body,
        length: _,
    } = given.map_err(|error| told(error.to_string()))?;
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
    /// Absent if it is undefined, and null if it is null.
    #[serde(borrow, default, deserialize_with = "as_written")]
    data: Option<&'a RawValue>,
}

fn as_written<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// The data in k6's answer, as it is written there. It can be large and is not copied.
fn returned(answer: &Bytes) -> serde_json::Result<Option<Bytes>> {
    let document: Document<'_> = serde_json::from_slice(answer)?;
    let data = document.data.attributes.data;
    Ok(data.map(|data| answer.slice_ref(data.get().as_bytes())))
}

/// Why setup() or teardown() failed, by an answer of k6 other than 200.
pub(super) fn failure_of(function: &str, status: StatusCode, answer: &Bytes) -> Failed {
    let text = refusal(status, answer);
    let detail = detail(answer);
    let said = detail.as_deref().unwrap_or_default();
    if let Some(rest) = said.strip_prefix(ABORTED).filter(|_| !said.contains(THROWN_AT)) {
        // The script's message is between a colon and the position.
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

/// k6's error message, in one line.
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

    /// The answers of k6 1.1.0, 1.8.1 and 2.2.0.
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
