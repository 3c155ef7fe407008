//! The listeners for Prometheus and for the kubelet: metrics on one address, health checks on another.

use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use futures::FutureExt as _;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};
use tracing::{info, warn};

use super::Metrics;
use crate::{exposition, listen};

/// How long open connections may delay the end.
const DRAIN_BUDGET: Duration = Duration::from_secs(2);

/// How long a connection may be open: it brings one request and takes its answer.
const CONNECTION_BUDGET: Duration = Duration::from_secs(10);

/// The number of connections that a listener may have open.
const MOST_CONNECTIONS: usize = 64;

/// The maximum size of a request, in bytes: the least that hyper allows.
const MOST_HEADERS: usize = 8 * 1024;

/// The pause after a connection that could not be accepted.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Whether the operator is ready: the caches of one namespace are filled. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Sets whether the operator is ready.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }

    /// True if the operator is ready.
    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The sign of life of a loop that must not stall. Clones share it.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    created: Instant,
    limit: Option<Duration>,
    /// Milliseconds from `created` to the last beat.
    last: Arc<AtomicU64>,
}

impl Heartbeat {
    /// A heartbeat that is alive while at most `limit` passes between beats.
    pub fn with_limit(limit: Duration) -> Self {
        Self {
            created: Instant::now(),
            limit: Some(limit),
            last: Arc::default(),
        }
    }

    /// A heartbeat that is always alive, for a loop that may rightly be quiet for any time.
    pub fn unlimited() -> Self {
        Self {
            created: Instant::now(),
            limit: None,
            last: Arc::default(),
        }
    }

    /// Gives a sign of life.
    pub fn beat(&self) {
        self.last.store(self.now(), Ordering::Release);
    }

    /// True if the last sign of life is recent enough.
    pub fn is_alive(&self) -> bool {
        let silent = self.now().saturating_sub(self.last.load(Ordering::Acquire));
        self.limit
            .is_none_or(|limit| Duration::from_millis(silent) <= limit)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.created.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self::unlimited()
    }
}

/// What the health checks report.
#[derive(Debug, Clone, Default)]
pub struct Health {
    /// Whether the operator is ready, for `/readyz`.
    pub readiness: Readiness,
    /// Whether the operator is alive, for `/healthz`.
    pub heartbeat: Heartbeat,
}

/// Why the endpoints are not served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address} for {purpose}: {source}")]
    Bind {
        /// What the listener is for.
        purpose: &'static str,
        /// The address of the listener.
        address: SocketAddr,
        /// The error of the operating system.
        source: std::io::Error,
    },
}

/// Both listeners, bound and not served yet.
#[derive(Debug)]
pub struct Endpoints {
    metrics: Listener,
    health: Listener,
}

#[derive(Debug)]
struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    async fn bind(purpose: &'static str, address: SocketAddr) -> Result<Self, ServeError> {
        let failed = |source| ServeError::Bind {
            purpose,
            address,
            source,
        };
        let socket = listen::bind(address).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Self { socket, address })
    }
}

impl Endpoints {
    /// Binds both listeners. An address in use fails the start of the process, and not a task in it.
    pub async fn bind(metrics: SocketAddr, health: SocketAddr) -> Result<Self, ServeError> {
        Ok(Self {
            metrics: Listener::bind("metrics", metrics).await?,
            health: Listener::bind("health checks", health).await?,
        })
    }

    /// The address of `/metrics`.
    pub fn metrics_address(&self) -> SocketAddr {
        self.metrics.address
    }

    /// The address of `/healthz` and `/readyz`.
    pub fn health_address(&self) -> SocketAddr {
        self.health.address
    }

    /// Serves both until `shutdown`, and a moment longer for requests under way.
    pub async fn run<F>(self, metrics: Metrics, health: Health, shutdown: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        info!(metrics = %self.metrics.address, health = %self.health.address, "serving metrics and health checks");
        let metrics = Router::new()
            .route("/metrics", get(metrics_text))
            .with_state(metrics);
        let health = Router::new()
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .with_state(health);

        let shutdown = shutdown.shared();
        let ((), ()) = tokio::join!(
            answer(self.metrics.socket, metrics, shutdown.clone()),
            answer(self.health.socket, health, shutdown),
        );
    }
}

/// Answers one request of each connection, until `shutdown` and a moment longer.
async fn answer(listener: TcpListener, routes: Router, shutdown: impl Future<Output = ()>) {
    let mut connections = JoinSet::new();
    let mut open = VecDeque::new();
    tokio::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            // Most likely no file descriptor is left. Open connections are closed in time.
            Err(error) => {
                warn!(%error, "a connection to metrics or health checks could not be accepted");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        open.retain(|task: &AbortHandle| !task.is_finished());
        // The oldest connection is closed, so that whoever holds connections open keeps out neither the kubelet nor
        // Prometheus.
        if open.len() >= MOST_CONNECTIONS
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        let connection = http1::Builder::new()
            .keep_alive(false)
            .max_buf_size(MOST_HEADERS)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes.clone()));
        // The other side knows what went wrong with a connection.
        let bounded = async { drop(tokio::time::timeout(CONNECTION_BUDGET, connection).await) };
        open.push_back(connections.spawn(bounded));
    }
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_BUDGET, drained).await.is_err() {
        warn!("ended with connections to metrics or health checks still open");
    }
}

/// Binds and serves both: [`Endpoints::bind`] and [`Endpoints::run`].
pub async fn serve<F>(
    metrics_address: SocketAddr,
    health_address: SocketAddr,
    metrics: Metrics,
    health: Health,
    shutdown: F,
) -> Result<(), ServeError>
where
    F: Future<Output = ()> + Send + 'static,
{
    let endpoints = Endpoints::bind(metrics_address, health_address).await?;
    endpoints.run(metrics, health, shutdown).await;
    Ok(())
}

async fn metrics_text(State(metrics): State<Metrics>, headers: HeaderMap) -> impl IntoResponse {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok());
    let (kind, text) = exposition::answer(metrics.encode(), accept);
    ([(header::CONTENT_TYPE, kind)], text)
}

async fn healthz(State(health): State<Health>) -> impl IntoResponse {
    verdict(health.heartbeat.is_alive(), "stalled\n")
}

async fn readyz(State(health): State<Health>) -> impl IntoResponse {
    verdict(health.readiness.is_ready(), "not ready\n")
}

fn verdict(good: bool, otherwise: &'static str) -> (StatusCode, &'static str) {
    if good {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, otherwise)
    }
}
