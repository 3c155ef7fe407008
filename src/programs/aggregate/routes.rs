//! The routes of the aggregator: heartbeats of runners, and pages for people and Prometheus.

use super::admission::{Bodies, LARGEST_HANDLED, over_grpc, whole};
use super::kept::Kept;
use super::otlp::{Grpc, export};
use super::server::{Aggregator, SenderError};
use crate::aggregate::handle_summary::{Handled, Task};
use crate::aggregate::prometheus;
use crate::aggregate::report::Report;
use crate::exposition;
use crate::limits::{LARGEST_EXPORT, LARGEST_HEARTBEAT};
use crate::protocol::heartbeat::{Answer, Directive, Heartbeat, Phase};
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderValue, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsServiceServer, SERVICE_NAME,
};
use serde_json::json;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::interval;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::IntervalStream;

/// The path of the summary that `--new-machine-readable-summary` makes.
const MACHINE_READABLE: &str = "/machine-readable.json";

/// How many steps of the timeline a line of the stream has. The last step may still grow, and one line may get lost.
const TICK_STEPS: usize = 3;

impl Aggregator {
    /// The routes, over HTTP/1.1 and, for gRPC, HTTP/2.
    pub fn routes(self: Arc<Self>) -> Router {
        let grpc =
            MetricsServiceServer::new(Grpc(Arc::clone(&self))).max_decoding_message_size(LARGEST_EXPORT);
        let words = Bodies::up_to(LARGEST_HEARTBEAT);
        let answers = Bodies::up_to(LARGEST_HANDLED);
        let grpc = Router::new()
            .route_service(&format!("/{SERVICE_NAME}/{{*method}}"), grpc)
            .route_layer(from_fn_with_state(Arc::clone(&self), over_grpc));
        let of_runners = Router::new()
            .merge(grpc)
            .route("/v1/metrics", post(export))
            .route(
                "/runners/{runner}/{process}",
                post(heartbeat).layer(from_fn_with_state(words.clone(), whole)),
            )
            .route(
                "/runners/{runner}/{process}/task",
                post(task).layer(from_fn_with_state(words, whole)),
            )
            .route(
                "/runners/{runner}/{process}/handled",
                post(handled)
                    .layer(DefaultBodyLimit::max(LARGEST_HANDLED))
                    .layer(from_fn_with_state(answers, whole)),
            )
            // The outermost layer: of a request that it refuses, nothing else is read.
            .route_layer(from_fn_with_state(Arc::clone(&self), only_runners));
        Router::new()
            .route("/", get(page))
            .route("/healthz", get(async || "ok"))
            .route("/metrics", get(metrics))
            .route("/report.json", get(report))
            .route("/stream", get(stream))
            .route(
                "/summary.json",
                get(async |State(it): State<Arc<Self>>| Json(it.summary().0)),
            )
            .route(
                MACHINE_READABLE,
                get(async |State(it): State<Arc<Self>>| Json(it.machine_readable())),
            )
            .route(
                "/summary.txt",
                get(async |State(it): State<Arc<Self>>| it.summary().1),
            )
            .merge(of_runners)
            .layer(from_fn(known_host))
            .with_state(self)
    }
}

/// Admits requests that carry the token of this run, before anything else of them is read. Others get no reason.
async fn only_runners(State(aggregator): State<Arc<Aggregator>>, request: Request, next: Next) -> Response {
    if aggregator.token.admits(request.headers()) {
        return next.run(request).await;
    }
    // Once, so that strangers can't fill the log.
    if !aggregator.has_warned.swap(true, Ordering::Relaxed) {
        tracing::warn!("a request without the token of this run was refused, and more may be");
    }
    (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer")]).into_response()
}

/// The content policy of the report's page. No other page may frame it.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src \
                              'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Refuses requests whose Host may be a name that an attacker controls. By DNS rebinding, a web page could otherwise read
/// a report that `kubectl port-forward` makes reachable.
/// <https://en.wikipedia.org/wiki/DNS_rebinding>
async fn known_host(request: Request, next: Next) -> Response {
    let header = request
        .headers()
        .get(HOST)
        .map(|host| host.to_str().unwrap_or("?"));
    let host = header.or_else(|| request.uri().authority().map(Authority::as_str));
    if host.is_none_or(is_known_host) {
        let is_read = request.method() == Method::GET;
        let mut answer = next.run(request).await;
        if is_read {
            let headers = answer.headers_mut();
            headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_POLICY));
            headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        }
        return answer;
    }
    let why = "ask for it by its address, as localhost, or by the name of the Service that ends with .svc";
    (StatusCode::FORBIDDEN, why).into_response()
}

/// Whether a host is an IP address, localhost or the name of a Service, which nobody outside the cluster controls.
fn is_known_host(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => name,
        Some(_) | None => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    bare.parse::<IpAddr>().is_ok()
        || !name.contains('.')
        || [".svc", ".svc.cluster.local", ".localhost"]
            .iter()
            .any(|end| name.ends_with(end))
}

async fn page(State(aggregator): State<Arc<Aggregator>>) -> Html<String> {
    Html(aggregator.report().page())
}

async fn metrics(State(aggregator): State<Arc<Aggregator>>, headers: HeaderMap) -> Response {
    let text = prometheus::text(&aggregator.snapshot());
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    match text.map(|text| exposition::answer(text, accept)) {
        Ok((kind, text)) => ([(CONTENT_TYPE, kind)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn report(State(aggregator): State<Arc<Aggregator>>) -> Json<Report> {
    Json(aggregator.report())
}

/// Streams the report as a line of JSON each second: the whole report first, then what is new.
async fn stream(State(aggregator): State<Arc<Aggregator>>) -> Response {
    let seconds = IntervalStream::new(interval(Duration::from_secs(1)));
    let mut known = None;
    let mut over = false;
    let lines = seconds.map(move |_| {
        if over {
            return None;
        }
        let report = aggregator.report();
        over = !report.is_live();
        let steps = report.steps();
        // There are fewer steps after neighbours were joined.
        let whole = over || known.is_none_or(|known| steps < known);
        known = Some(steps);
        let line = if whole {
            json!(report)
        } else {
            report.tick(TICK_STEPS)
        };
        Some(Ok::<_, Infallible>(format!("{line}\n")))
    });
    let lines = lines.take_while(Option::is_some).filter_map(|line| line);
    let kind = [
        (CONTENT_TYPE, "application/x-ndjson"),
        (CACHE_CONTROL, "no-store"),
    ];
    (kind, Body::from_stream(lines)).into_response()
}

/// Takes a heartbeat of a runner and answers with what the runner does next.
async fn heartbeat(
    State(aggregator): State<Arc<Aggregator>>,
    Path((runner, process)): Path<(String, String)>,
    Json(heartbeat): Json<Heartbeat>,
) -> Result<Json<Answer>, SenderError> {
    let sender = aggregator.named(&runner, &process)?;
    if heartbeat.phase >= Phase::Ended {
        let written = serde_json::to_vec(&heartbeat).unwrap_or_default();
        aggregator.kept.keep(&sender, Kept::Heartbeat, &written);
    }
    let now = aggregator.now();
    let mut session = aggregator.session();
    aggregator.reopen(&mut session, &sender);
    let lingers = heartbeat.phase == Phase::Ended;
    let mut order = session.hear(&sender, heartbeat, now);
    if lingers && matches!(order, Directive::End { .. }) {
        order = aggregator.turn(&session, &sender, now);
    }
    let ends = lingers && matches!(order, Directive::End { .. } | Directive::Summarize {});
    let sent = session.store.senders().get(&sender).filter(|_| ends);
    let series = sent.map_or(0, |sent| sent.kept());
    let series = u32::try_from(series).unwrap_or(u32::MAX);
    let rates = session.wants_rates(&sender);
    Ok(Json(Answer { order, series, rates }))
}

/// Gives the merged data to the runner that was asked to call handleSummary().
async fn task(
    State(aggregator): State<Arc<Aggregator>>,
    Path((runner, process)): Path<(String, String)>,
) -> Result<Json<Task>, Response> {
    let sender = aggregator
        .named(&runner, &process)
        .map_err(IntoResponse::into_response)?;
    let task = aggregator.hand_out(&sender);
    task.map(Json).ok_or_else(|| {
        let why = "another runner calls handleSummary()";
        (StatusCode::CONFLICT, why).into_response()
    })
}

/// Takes the result of handleSummary(). The run's result is published then, and the runner may end.
async fn handled(
    State(aggregator): State<Arc<Aggregator>>,
    Path((runner, process)): Path<(String, String)>,
    Json(handled): Json<Handled>,
) -> Result<Json<Answer>, SenderError> {
    let sender = aggregator.named(&runner, &process)?;
    if aggregator.closing().handled(&sender, handled) {
        aggregator.keep_claim();
    }
    aggregator.close();
    let now = aggregator.now();
    let session = aggregator.session();
    let order = aggregator.turn(&session, &sender, now);
    Ok(Json(Answer {
        order,
        series: 0,
        rates: false,
    }))
}
