//! Receives the exports of k6's OpenTelemetry output, over HTTP and gRPC.

use super::admission::{ARRIVAL, kibibytes, length_of};
use super::kept::Kept;
use super::server::{Aggregator, SenderError};
use crate::aggregate::moment::Moment;
use crate::aggregate::store::{Export, ExportError, Sender};
use crate::limits::LARGEST_EXPORT;
use crate::protocol::{PROCESS_HEADER, RUNNER_HEADER};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use flate2::read::MultiGzDecoder;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::MetricsService;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use prost::Message;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_stream::StreamExt;

/// How long the answer waits for each mebibyte of an export. k6 begins the next export when it has the answer, and
/// exporting many megabytes each second would leave no CPU for the load.
const PAUSE: Duration = Duration::from_millis(200);
/// The longest pause. k6 gives up after 10 s.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

impl Aggregator {
    /// Takes an export as it was received. A refused export counts against its sender until another is taken.
    pub fn take(&self, sender: &Sender, body: &[u8]) -> Result<(), ExportError> {
        let export = Export::decode(body).map_err(|error| self.refuse(sender, error.into()))?;
        let taken = self.take_export(sender, &export, self.now());
        if is_taken(&taken) {
            self.kept.keep(sender, Kept::Export, body);
        }
        taken
    }

    /// Waits for room to read an export. Returns None when the aggregator ends.
    pub(super) async fn room(&self, kibibytes: u32) -> Option<OwnedSemaphorePermit> {
        let room = Arc::clone(&self.in_flight);
        room.acquire_many_owned(kibibytes).await.ok()
    }

    /// Records that an export of this sender was refused.
    pub(super) fn refuse(&self, sender: &Sender, error: ExportError) -> ExportError {
        self.session().refuse(sender, error.clone());
        error
    }

    pub(super) fn take_export(
        &self,
        sender: &Sender,
        export: &Export<'_>,
        now: Moment,
    ) -> Result<(), ExportError> {
        let mut session = self.session();
        self.reopen(&mut session, sender);
        session.export(sender, export, now)
    }
}

/// Whether the data of an export was taken, be it without some tags.
pub(super) fn is_taken(taken: &Result<(), ExportError>) -> bool {
    taken.as_ref().err().is_none_or(ExportError::is_taken)
}

/// The answer to an export. Where its data was taken without some tags, nothing is rejected and the reason is a warning:
/// <https://opentelemetry.io/docs/specs/otlp/#partial-success>.
fn answer(taken: Result<(), ExportError>) -> Result<ExportMetricsServiceResponse, ExportError> {
    match taken {
        Ok(()) => Ok(ExportMetricsServiceResponse::default()),
        Err(why) if why.is_taken() => {
            tracing::warn!(%why, "an export was taken without some tags");
            Ok(ExportMetricsServiceResponse {
                partial_success: Some(ExportMetricsPartialSuccess {
                    rejected_data_points: 0,
                    error_message: why.to_string(),
                }),
            })
        }
        Err(why) => Err(why),
    }
}

/// The process that sends a request, by its headers.
pub(super) fn sender(aggregator: &Aggregator, headers: &HeaderMap) -> Result<Sender, SenderError> {
    aggregator.named(header(headers, RUNNER_HEADER)?, header(headers, PROCESS_HEADER)?)
}

fn header<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, SenderError> {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.ok_or(SenderError::Header(name))
}

/// OTLP over gRPC: <https://opentelemetry.io/docs/specs/otlp/#otlpgrpc>.
pub(super) struct Grpc(pub(super) Arc<Aggregator>);

#[tonic::async_trait]
impl MetricsService for Grpc {
    async fn export(
        &self,
        request: tonic::Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, tonic::Status> {
        let (metadata, _, export) = request.into_parts();
        let taken = sender(&self.0, &metadata.into_headers()).map_err(|error| error.to_string());
        let taken = taken.and_then(|sender| {
            // An export by gRPC is read as one by HTTP is.
            answer(self.0.take(&sender, &export.encode_to_vec())).map_err(|error| error.to_string())
        });
        match taken {
            Ok(answer) => Ok(tonic::Response::new(answer)),
            Err(why) => {
                tracing::warn!(%why, "an export was refused");
                Err(tonic::Status::invalid_argument(why))
            }
        }
    }
}

/// OTLP over HTTP: <https://opentelemetry.io/docs/specs/otlp/#otlphttp>.
pub(super) async fn export(
    State(aggregator): State<Arc<Aggregator>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let sender = match sender(&aggregator, &headers) {
        Ok(sender) => sender,
        Err(why) => {
            tracing::warn!(%why, "an export was refused");
            return (StatusCode::BAD_REQUEST, why.to_string()).into_response();
        }
    };
    let (bytes, taken) = match read(&aggregator, &headers, body).await {
        Ok((body, _room)) => {
            let (aggregator, sender) = (Arc::clone(&aggregator), sender.clone());
            let bytes = body.len();
            let taken = tokio::task::spawn_blocking(move || aggregator.take(&sender, &body)).await;
            // The task is aborted only when the aggregator ends.
            (
                bytes,
                answer(taken.unwrap_or(Ok(()))).map_err(|error| (StatusCode::BAD_REQUEST, error)),
            )
        }
        // The sender tries again, or sends a later export that has all of this one.
        Err(Unread::Lost) => return StatusCode::REQUEST_TIMEOUT.into_response(),
        Err(Unread::Refused(status, error)) => (0, Err((status, aggregator.refuse(&sender, error)))),
    };
    match taken {
        Ok(answer) => {
            pause(&aggregator, &sender, bytes).await;
            ([(CONTENT_TYPE, "application/x-protobuf")], answer.encode_to_vec()).into_response()
        }
        Err((status, why)) => {
            tracing::warn!(%why, runner = sender.runner, "an export was refused");
            (status, why.to_string()).into_response()
        }
    }
}

/// Waits after a large export, unless the sender's part of the test has ended: its last exports are not delayed.
async fn pause(aggregator: &Aggregator, sender: &Sender, bytes: usize) {
    let mebibytes = u32::try_from(bytes / (1024 * 1024)).unwrap_or(u32::MAX);
    let until = Instant::now() + PAUSE.saturating_mul(mebibytes).min(LONGEST_PAUSE);
    while Instant::now() < until && !aggregator.session().has_ended(sender) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Why an export was not read.
enum Unread {
    /// The body did not arrive as a whole, or not in time.
    Lost,
    /// The body can't be read, and the answer has this status.
    Refused(StatusCode, ExportError),
}

/// Reads the body of an export once there is room for it. The permit is its room.
async fn read(
    aggregator: &Aggregator,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Bytes, OwnedSemaphorePermit), Unread> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let is_gzip = match text(CONTENT_ENCODING) {
        None => !headers.contains_key(CONTENT_ENCODING),
        Some(encoding) => encoding == "identity" || encoding == "gzip",
    };
    if text(CONTENT_TYPE) != Some("application/x-protobuf") || !is_gzip {
        let why = "application/x-protobuf is read, plain or as gzip, and nothing else".to_owned();
        return Err(Unread::Refused(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ExportError::Unreadable(why),
        ));
    }
    let too_large = || {
        let error = ExportError::TooLarge(LARGEST_EXPORT);
        Unread::Refused(StatusCode::PAYLOAD_TOO_LARGE, error)
    };
    let length = length_of(headers);
    let most = length.unwrap_or(LARGEST_EXPORT);
    if most > LARGEST_EXPORT {
        return Err(too_large());
    }
    let reading = async {
        let room = aggregator.room(kibibytes(most)).await.ok_or(Unread::Lost)?;
        let mut whole = Vec::with_capacity(length.unwrap_or_default());
        let mut body = body.into_data_stream();
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|_| Unread::Lost)?;
            if whole.len() + piece.len() > most {
                return Err(too_large());
            }
            whole.extend_from_slice(&piece);
        }
        Ok((whole, room))
    };
    let read = tokio::time::timeout(ARRIVAL, reading).await;
    let (mut whole, room) = read.map_err(|_| Unread::Lost)??;
    if text(CONTENT_ENCODING) == Some("gzip") {
        whole = expanded(&whole)?;
    }
    Ok((Bytes::from(whole), room))
}

/// Decompresses a body of gzip, up to the size that an export may have.
fn expanded(body: &[u8]) -> Result<Vec<u8>, Unread> {
    let mut whole = Vec::new();
    let read = MultiGzDecoder::new(body)
        .take(LARGEST_EXPORT as u64 + 1)
        .read_to_end(&mut whole)
        .map_err(|error| {
            let error = ExportError::Unreadable(format!("it is not gzip: {error}"));
            Unread::Refused(StatusCode::BAD_REQUEST, error)
        })?;
    if read > LARGEST_EXPORT {
        let error = ExportError::TooLarge(LARGEST_EXPORT);
        return Err(Unread::Refused(StatusCode::PAYLOAD_TOO_LARGE, error));
    }
    Ok(whole)
}
