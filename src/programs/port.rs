//! The public port of a runner. k6's own API listens on the loopback interface only, since it obeys anybody and returns
//! what setup() returned. This port returns the status to anybody, for probes, and requires the run's token for
//! everything else.

use super::http::{forward, of_body};
use super::runners::ANSWER;
use crate::protocol::tokens::TokenHash;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::header::{HeaderMap, WWW_AUTHENTICATE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

const STATUS: &str = "/v1/status";
const SETUP: &str = "/v1/setup";

/// The most open connections that have not presented the token.
const MOST_STRANGERS: usize = 64;
/// How long a connection without the token stays open.
const STRANGER: Duration = Duration::from_secs(10);
/// The largest head of a request, in bytes.
const MOST_HEADERS: usize = 8 * 1024;
/// The pause after a connection could not be accepted.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// The token hash to admit by, and the address of k6.
#[derive(Debug)]
struct Door {
    hash: TokenHash,
    k6: String,
}

/// A connection that is open.
struct Guest {
    /// Whether it has presented the token.
    proven: Arc<AtomicBool>,
    task: AbortHandle,
}

/// Serves the port, for as long as it is polled: k6's status for anybody, and k6's API for those with the token.
pub(super) async fn serve(socket: TcpListener, k6: SocketAddr, hash: TokenHash) -> Infallible {
    let door = Arc::new(Door {
        hash,
        k6: k6.to_string(),
    });
    let mut connections = JoinSet::new();
    let mut strangers: VecDeque<Guest> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            Some(_) = connections.join_next() => continue,
            accepted = socket.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            sleep(ACCEPT_RETRY).await;
            continue;
        };
        strangers.retain(|guest| !guest.task.is_finished() && !guest.proven.load(Ordering::Relaxed));
        // The oldest connection without the token is closed, so that held connections keep out neither the kubelet nor
        // the starter.
        if strangers.len() >= MOST_STRANGERS
            && let Some(oldest) = strangers.pop_front()
        {
            oldest.task.abort();
        }
        let proven = Arc::new(AtomicBool::new(false));
        let connection = answer(stream, Arc::clone(&door), Arc::clone(&proven));
        let task = connections.spawn(connection);
        strangers.push_back(Guest { proven, task });
    }
}

/// Serves a connection. It stays open only after it has presented the token.
async fn answer(stream: TcpStream, door: Arc<Door>, proven: Arc<AtomicBool>) {
    // A release order must not be delayed to fill a packet.
    let _undelayed = stream.set_nodelay(true);
    let shown = Arc::clone(&proven);
    let service = service_fn(move |request| {
        let (door, shown) = (Arc::clone(&door), Arc::clone(&shown));
        async move { Ok::<_, Infallible>(door.open(request, &shown).await) }
    });
    let connection = http1::Builder::new()
        .max_buf_size(MOST_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // The other end learns of an error by the end of the connection.
    tokio::select! {
        _ended = &mut connection => {}
        () = sleep(STRANGER) => {
            if proven.load(Ordering::Relaxed) {
                let _ended = connection.await;
            }
        }
    }
}

impl Door {
    async fn open(&self, request: Request<Incoming>, proven: &AtomicBool) -> Response<Body> {
        let (head, body) = request.into_parts();
        let is_status = head.uri.path() == STATUS;
        let is_setup = head.uri.path() == SETUP;
        if !self.hash.admits(&head.headers) {
            if is_status && head.method == Method::GET {
                let asked = self.ask(Method::GET, STATUS, HeaderMap::new(), Body::empty());
                let late = || plain(StatusCode::SERVICE_UNAVAILABLE, "k6 does not answer");
                return timeout(ANSWER, asked).await.unwrap_or_else(|_| late());
            }
            let mut refused = plain(StatusCode::UNAUTHORIZED, "");
            let scheme = hyper::header::HeaderValue::from_static("Bearer");
            refused.headers_mut().insert(WWW_AUTHENTICATE, scheme);
            return refused;
        }
        proven.store(true, Ordering::Relaxed);
        let path = match head.method {
            Method::GET | Method::PATCH if is_status => STATUS,
            Method::GET | Method::POST | Method::PUT if is_setup => SETUP,
            _ => return plain(StatusCode::NOT_FOUND, ""),
        };
        self.ask(head.method, path, of_body(&head.headers), Body::new(body))
            .await
    }

    async fn ask(&self, method: Method, path: &str, headers: HeaderMap, body: Body) -> Response<Body> {
        // The caller decides how long to wait: setup() can take hours.
        match forward(&self.k6, method, path, headers, body).await {
            Ok(answer) => answer,
            Err(error) => plain(
                StatusCode::SERVICE_UNAVAILABLE,
                &format!("k6 can't be asked: {error}"),
            ),
        }
    }
}

fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let mut answer = Response::new(Body::from(text.to_owned()));
    *answer.status_mut() = status;
    answer
}
