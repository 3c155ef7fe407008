//! The script's setup(), once for all runners: the first runs it, the others are given what it returned.
//!
//! The runners have been started with `--no-setup`. <https://grafana.com/docs/k6/latest/misc/k6-rest-api/>

use super::http::ask;
use super::report::Failure;
use super::{AT_ONCE, Target};
use futures::StreamExt;
use futures::stream::iter;
use hyper::body::Bytes;
use hyper::{Method, StatusCode};
use serde_json::Value;
use std::time::Duration;

const PATH: &str = "/v1/setup";
/// How long k6 may take to answer beside what setup() takes: its own limit comes first.
const ANSWER: Duration = Duration::from_secs(10);

/// Runs it, and says for which runners it failed.
pub async fn once(targets: &[Target], limit: Duration) -> Vec<Failure> {
    let Some((first, others)) = targets.split_first() else {
        return Vec::new();
    };
    let failure = |target: &Target, message| Failure {
        runner: target.runner,
        message,
    };
    let data = match data_of(first, limit).await {
        Ok(Some(data)) => data,
        // What it returned was undefined, as it is where nothing is set.
        Ok(None) => return Vec::new(),
        Err(message) => return vec![failure(first, message)],
    };
    let body = data.to_string();
    let given = iter(others).map(async |target| (target, give(target, &body).await));
    let given: Vec<_> = given.buffer_unordered(AT_ONCE).collect().await;
    let failed = given
        .into_iter()
        .filter_map(|(target, given)| Some(failure(target, given.err()?)));
    let mut failed: Vec<_> = failed.collect();
    failed.sort_by_key(|failure| failure.runner);
    failed
}

/// What setup() returned: now, or under an earlier starter.
async fn data_of(first: &Target, limit: Duration) -> Result<Option<Value>, String> {
    let known = request(first, Method::GET, "", ANSWER).await?;
    if known.is_some() {
        return Ok(known);
    }
    request(first, Method::POST, "", limit + ANSWER).await
}

async fn give(target: &Target, data: &str) -> Result<(), String> {
    request(target, Method::PUT, data, ANSWER).await.map(drop)
}

async fn request(
    target: &Target,
    method: Method,
    body: &str,
    limit: Duration,
) -> Result<Option<Value>, String> {
    let address = target.address.to_string();
    let (status, answer) = ask(&address, method, PATH, &[], body.as_bytes().to_vec(), limit).await?;
    if status == StatusCode::OK {
        let answer: Value = serde_json::from_slice(&answer).map_err(|error| error.to_string())?;
        return Ok(answer.pointer("/data/attributes/data").cloned());
    }
    Err(format!("setup() failed: {}", refusal(status, &answer)))
}

/// What k6 says of what it refuses or what failed, in one line.
pub(super) fn refusal(status: StatusCode, answer: &Bytes) -> String {
    let said = serde_json::from_slice::<Value>(answer).ok();
    let detail = said
        .as_ref()
        .and_then(|said| said.pointer("/errors/0/detail")?.as_str())
        .map(|detail| detail.split_whitespace().collect::<Vec<_>>().join(" "));
    detail.unwrap_or_else(|| format!("{status} {}", String::from_utf8_lossy(answer).trim()))
}
