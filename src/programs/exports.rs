//! Receives the exports of the k6 in this container on the loopback interface and forwards them to the aggregator with
//! the run's token. k6 itself does not get the token, since its script could read it.

use super::http::{HttpError, forward, of_body};
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

/// The path of exports.
const PATH: &str = "/v1/metrics";
/// How long the aggregator may take to answer. k6 gives up earlier.
const ANSWER: Duration = Duration::from_secs(30);

/// The aggregator, and the headers that identify this runner.
#[derive(Debug)]
struct Destination {
    aggregator: String,
    headers: HeaderMap,
}

/// The server for exports, before it is served.
#[derive(Debug)]
pub(super) struct Exports {
    socket: TcpListener,
    destination: Destination,
}

/// The headers by which the aggregator identifies a process of a runner.
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
    /// Listens on a free port.
    pub(super) async fn bind(aggregator: &str, headers: HeaderMap) -> std::io::Result<Self> {
        let destination = Destination {
            aggregator: aggregator.to_owned(),
            headers,
        };
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        Ok(Self { socket, destination })
    }

    /// The address to which k6 exports.
    pub(super) fn address(&self) -> std::io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Forwards exports, for as long as it is polled.
    pub(super) async fn serve(self) -> std::io::Result<()> {
        let routes = Router::new().route(PATH, post(pass_on));
        serve(self.socket, routes.with_state(Arc::new(self.destination))).await
    }
}

async fn pass_on(State(to): State<Arc<Destination>>, headers: HeaderMap, body: Body) -> Response {
    let mut all = of_body(&headers);
    all.extend(to.headers.clone());
    let answered = timeout(ANSWER, forward(&to.aggregator, Method::POST, PATH, all, body)).await;
    match answered.unwrap_or(Err(HttpError::NoAnswer(ANSWER))) {
        Ok(answer) => answer,
        // After a 502 or 503, k6 would wait before it tries again. The next export has everything that this one has.
        Err(error) => {
            let why = format!("the aggregator at {} can't be reached: {error}", to.aggregator);
            (StatusCode::INTERNAL_SERVER_ERROR, why).into_response()
        }
    }
}
