//! Limits on the bodies of requests: their size, the time they may take to arrive, and how many are read at a time. The
//! headers of a request are checked before.

use super::server::Aggregator;
use crate::aggregate::store::ExportError;
use crate::limits::LARGEST_EXPORT;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, Limited};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// How long the body of a request may take to arrive, and to wait for room.
pub(super) const ARRIVAL: Duration = Duration::from_secs(30);
/// The largest result of handleSummary() that is accepted, in bytes. The runner limits what it sends.
pub(super) const LARGEST_HANDLED: usize = 16 * 1024 * 1024;
/// The most bytes of heartbeats that are read at the same time, over all runners. The same for results of
/// handleSummary(). Others wait.
const IN_FLIGHT: usize = 2 * LARGEST_HANDLED;

/// Room for bodies of at most `largest` bytes.
#[derive(Clone, Debug)]
pub(super) struct Bodies {
    room: Arc<Semaphore>,
    largest: usize,
}

impl Bodies {
    /// Room of its own, for bodies of at most `largest` bytes.
    pub(super) fn up_to(largest: usize) -> Self {
        Self {
            room: Arc::new(Semaphore::new(IN_FLIGHT / 1024 + 2)),
            largest,
        }
    }
}

/// The length of a body, if its headers tell it.
pub(super) fn length_of(headers: &HeaderMap) -> Option<usize> {
    let length = headers.get(CONTENT_LENGTH)?.to_str().ok()?;
    length.parse().ok()
}

/// The number of permits for a body. A permit is for a kibibyte.
pub(super) fn kibibytes(bytes: usize) -> u32 {
    u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX)
}

/// Reads the whole body of a request into memory before the request is handled. A body that is too large is refused.
pub(super) async fn whole(State(bodies): State<Bodies>, request: Request, next: Next) -> Response {
    let Bodies { room, largest } = bodies;
    let most = length_of(request.headers()).unwrap_or(largest);
    if most > largest {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    }
    let (head, body) = request.into_parts();
    let reading = async {
        let room = room.acquire_many_owned(kibibytes(most)).await;
        let body = Limited::new(body, most).collect().await;
        (room, body.map(|body| body.to_bytes()))
    };
    match timeout(ARRIVAL, reading).await {
        Ok((Ok(_room), Ok(body))) => next.run(Request::from_parts(head, Body::from(body))).await,
        Ok((_, Err(_))) => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        Ok((Err(_), _)) | Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
    }
}

/// gRPC's codes: <https://grpc.io/docs/guides/status-codes/>.
const INVALID_ARGUMENT: &str = "3";
const OUT_OF_RANGE: &str = "11";
const OK: &str = "0";

/// Admits exports over gRPC, which tonic reads. Each takes the room of the largest export. One that can't be read
/// counts against its sender.
pub(super) async fn over_grpc(
    State(aggregator): State<Arc<Aggregator>>,
    request: Request,
    next: Next,
) -> Response {
    let sender = super::otlp::sender(&aggregator, request.headers()).ok();
    let taking = async {
        let _room = aggregator.room(kibibytes(LARGEST_EXPORT)).await;
        next.run(request).await
    };
    let Ok(response) = timeout(ARRIVAL, taking).await else {
        return StatusCode::REQUEST_TIMEOUT.into_response();
    };
    let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let error = match text("grpc-status") {
        // An error in the data has been recorded by the handler.
        None | Some(OK | INVALID_ARGUMENT) => None,
        Some(OUT_OF_RANGE) => Some(ExportError::TooLarge(LARGEST_EXPORT)),
        Some(code) => {
            let why = text("grpc-message").unwrap_or_default();
            Some(ExportError::Unreadable(format!("gRPC's status {code}: {why}")))
        }
    };
    if let (Some(sender), Some(error)) = (sender, error) {
        tracing::warn!(why = %error, runner = sender.runner, "an export was refused");
        aggregator.refuse(&sender, error);
    }
    response
}
