//! Takes the exports of the k6 in this container, on the loopback interface, and brings them to the aggregator with the
//! run's token. k6 itself does not have that: its script could read it.

use super::forward::{forward, of_body};
use crate::protocol::tokens::Token;
use crate::protocol::{PROCESS_HEADER, RUNNER_HEADER};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Router, serve};
use hyper::header::{AUTHORIZATION, InvalidHeaderValue};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::timeout;

/// Where exports are taken.
const PATH: &str = "/v1/metrics";
/// How long the aggregator may take to answer: k6 gives up before.
const ANSWER: Duration = Duration::from_secs(30);

/// Where exports go, and what says whose they are.
#[derive(Debug)]
struct Destination {
    aggregator: String,
    headers: HeaderMap,
}

/// What takes the exports, not served yet.
#[derive(Debug)]
pub(super) struct Exports {
    socket: TcpListener,
    destination: Destination,
}

/// By which the aggregator knows a process of a runner.
pub(super) fn headers_of(
    runner: u32,
    process: &str,
    token: Option<&Token>,
) -> Result<HeaderMap, InvalidHeaderValue> {
    let mut headers = HeaderMap::new();
    headers.insert(RUNNER_HEADER, HeaderValue::from(runner));
    headers.insert(PROCESS_HEADER, HeaderValue::from_str(process)?);
    if let Some(token) = token {
        headers.insert(AUTHORIZATION, token.authorization());
    }
    Ok(headers)
}

impl Exports {
    /// Listens at a free port.
    pub(super) async fn bind(aggregator: &str, headers: HeaderMap) -> std::io::Result<Self> {
        let destination = Destination {
            aggregator: aggregator.to_owned(),
            headers,
        };
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        Ok(Self { socket, destination })
    }

    /// Where k6 exports to.
    pub(super) fn address(&self) -> std::io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Passes exports on, for as long as it is polled.
    pub(super) async fn serve(self) -> std::io::Result<()> {
        let routes = Router::new().route(PATH, post(pass_on));
        serve(self.socket, routes.with_state(Arc::new(self.destination))).await
    }
}

async fn pass_on(State(to): State<Arc<Destination>>, headers: HeaderMap, body: Body) -> Response {
    let mut all = of_body(&headers);
    all.extend(to.headers.clone());
    let answered = timeout(ANSWER, forward(&to.aggregator, Method::POST, PATH, all, body)).await;
    match answered.unwrap_or_else(|_| Err(format!("no answer in {} s", ANSWER.as_secs()))) {
        Ok(answer) => answer,
        // k6 would wait before it tries again after a 502 or 503. The next export has all that this one has.
        Err(error) => {
            let why = format!("the aggregator at {} can't be reached: {error}", to.aggregator);
            (StatusCode::INTERNAL_SERVER_ERROR, why).into_response()
        }
    }
}
