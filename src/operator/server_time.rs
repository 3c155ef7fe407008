//! The time of the API server, which all replicas of the operator share. The clock of a node may be minutes off: a
//! deadline that one replica records would then be overdue at once for the next, or much too late.

use crate::clock::Clock;
use hyper::header::DATE;
use hyper::{HeaderMap, Response};
use jiff::fmt::rfc2822::DateTimeParser;
use jiff::{SignedDuration, Timestamp};
use kube::client::ClientBuilder;
use kube::{Client, Config};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use tower::util::MapFutureLayer;

/// How far the clock may be from the API server's before it is corrected. The header `Date` has whole seconds, and an
/// answer takes up to [`QUICK`].
const TOLERANCE: SignedDuration = SignedDuration::from_secs(3);

/// The longest time for an answer whose `Date` is used: it may be as old as that.
const QUICK: Duration = Duration::from_secs(1);

/// The difference between the clock of this process and that of the API server. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct ServerTime {
    /// Milliseconds to add to the clock of this process.
    correction: Arc<AtomicI64>,
}

impl ServerTime {
    /// Returns this clock, corrected.
    pub fn clock(&self, own: Clock) -> Clock {
        let this = self.clone();
        Clock::from_fn(move || this.corrected(own.now()))
    }

    fn corrected(&self, own: Timestamp) -> Timestamp {
        let correction = SignedDuration::from_millis(self.correction.load(Ordering::Relaxed));
        own.checked_add(correction).unwrap_or(own)
    }

    /// Returns a client that reads the time from each answer.
    pub fn client(&self, config: Config, own: Clock) -> Result<Client, kube::Error> {
        let this = self.clone();
        let layer = MapFutureLayer::new(move |answer| {
            let (this, own) = (this.clone(), own.clone());
            async move {
                let asked = Instant::now();
                let answer: Result<Response<_>, _> = answer.await;
                if let Ok(answer) = &answer
                    && asked.elapsed() <= QUICK
                {
                    this.update(answer.headers(), own.now());
                }
                answer
            }
        });
        Ok(ClientBuilder::try_from(config)?.with_layer(&layer).build())
    }

    /// Reads the time from the headers of an answer that has just arrived.
    fn update(&self, headers: &HeaderMap, own: Timestamp) {
        let date = headers
            .get(DATE)
            .and_then(|date| DateTimeParser::new().parse_timestamp(date.as_bytes()).ok());
        let Some(date) = date else {
            return;
        };
        // The middle of the second that `Date` names.
        let ahead = self.corrected(own).duration_since(date) - SignedDuration::from_millis(500);
        if ahead.abs() <= TOLERANCE {
            return;
        }
        let millis = i64::try_from(ahead.as_millis()).unwrap_or_default();
        let before = self.correction.fetch_sub(millis, Ordering::Relaxed);
        tracing::warn!(
            seconds = (before - millis) / 1000,
            "the clock of this node is not that of the API server: this is added to it"
        );
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{Clock, ServerTime};
    use axum::Router;
    use jiff::Timestamp;
    use kube::Config;

    /// The time of a clock at `own`, after an answer of a server whose time is `server`.
    async fn after_an_answer(server: &'static str, own: &str) -> Timestamp {
        let answer = move || async move { ([("date", server)], r#"{"major": "1", "minor": "35"}"#) };
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = Config::new(
            format!("http://{}", socket.local_addr().unwrap())
                .parse()
                .unwrap(),
        );
        let serving = tokio::spawn(async move { axum::serve(socket, Router::new().fallback(answer)).await });
        let own: Timestamp = own.parse().unwrap();
        let own = Clock::from_fn(move || own);
        let time = ServerTime::default();
        let client = time.client(config, own.clone()).unwrap();
        // Only the time of the answer matters.
        let _answer = client.apiserver_version().await;
        serving.abort();
        time.clock(own).now()
    }

    #[tokio::test]
    async fn clock_that_is_minutes_wrong_is_that_of_the_api_server() {
        let server = "Fri, 27 Nov 2026 12:00:00 GMT";
        let right: Timestamp = "2026-11-27T12:00:00.5Z".parse().unwrap();
        for own in [
            "2026-11-27T12:05:00Z",
            "2026-11-27T11:00:00Z",
            "1970-01-01T00:00:00Z",
        ] {
            assert_eq!(after_an_answer(server, own).await, right, "{own}");
        }
    }

    #[tokio::test]
    async fn clock_that_is_right_within_seconds_stays_as_it_is() {
        for own in ["2026-11-27T12:00:03Z", "2026-11-27T11:59:58Z"] {
            let after = after_an_answer("Fri, 27 Nov 2026 12:00:00 GMT", own).await;
            assert_eq!(after, own.parse().unwrap());
        }
        for no_date in ["", "yesterday"] {
            let own = "2026-11-27T12:05:00Z";
            let after = after_an_answer(no_date, own).await;
            assert_eq!(after, own.parse().unwrap());
        }
    }
}
