//! HTTP requests with one connection each, and their forwarding.

use super::k6_client::causes;
use axum::body::Body;
use axum::http;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as HttpBody, Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue,
};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::io;
use std::time::Duration;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The longest answer that is read, in bytes. The data of setup() comes in one answer.
const LONGEST_ANSWER: usize = super::setup::LARGEST_DATA + 64 * 1024;
/// How much of an answer is kept if only its beginning is needed, in bytes.
const BEGINNING: usize = 64 * 1024;
/// How long it may take to connect for a request that is forwarded.
const CONNECT: Duration = Duration::from_secs(4);
/// The headers that are forwarded, of a request and of its answer. They tell how to read the body.
const OF_BODY: [HeaderName; 3] = [CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LENGTH];

/// Why a request got no answer.
#[derive(Debug, Error)]
pub enum HttpError {
    /// There was no connection in this time.
    #[error("no connection in {} s", .0.as_secs())]
    NoConnection(Duration),
    /// There was no answer in this time.
    #[error("no answer in {} s", .0.as_secs_f64())]
    NoAnswer(Duration),
    /// The connection could not be opened.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The connection broke, or the answer is not HTTP.
    #[error("{}", causes(.0))]
    Broken(#[from] hyper::Error),
    /// The address, path or headers can't be sent.
    #[error(transparent)]
    Request(#[from] http::Error),
    /// The answer has more bytes than are read.
    #[error("the answer has {:.1} MB, and at most {:.1} MB are read", *.0 as f64 / 1e6, LONGEST_ANSWER as f64 / 1e6)]
    TooLong(usize),
}

/// Which request got no answer, and why.
#[derive(Debug, Error)]
#[error("{method} {url}: {error}")]
pub struct RequestError {
    /// The method of the request.
    pub method: Method,
    /// The URL of the request.
    pub url: String,
    /// Why it got no answer.
    #[source]
    pub error: HttpError,
}

/// How much of an answer is kept. The rest is read and dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Everything, up to the limit for all answers.
    All,
    /// The first 64 KiB.
    Beginning,
}

/// The answer to a request.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: StatusCode,
    /// The part of the body that is kept.
    pub body: Bytes,
    /// The length of the whole body, in bytes.
    pub length: usize,
}

/// Sends a request to `host:port` and returns the whole answer. The body is JSON unless a header says otherwise.
pub async fn ask(
    address: &str,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
    limit: Duration,
) -> Result<(StatusCode, Bytes), RequestError> {
    let sent = send(
        address,
        method.clone(),
        path,
        headers,
        Bytes::from(body),
        Keep::All,
        limit,
    );
    let Answer { status, body, length } = sent.await?;
    if length > body.len() {
        let url = format!("http://{address}{path}");
        let error = HttpError::TooLong(length);
        return Err(RequestError { method, url, error });
    }
    Ok((status, body))
}

/// Sends a request with a shared body and keeps only the wanted part of the answer.
pub async fn send(
    address: &str,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Bytes,
    keep: Keep,
    limit: Duration,
) -> Result<Answer, RequestError> {
    let exchange = async {
        let mut request = Request::builder()
            .method(method.clone())
            .uri(path)
            .header(CONNECTION, "close");
        if !headers.iter().any(|(name, _)| *name == CONTENT_TYPE) {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = open(address, request.body(Full::new(body))?, limit).await?;
        let status = answer.status();
        let (body, length) = read(answer.into_body(), keep).await?;
        Ok(Answer { status, body, length })
    };
    let answer = timeout(limit, exchange).await;
    answer
        .unwrap_or_else(|_| Err(HttpError::NoAnswer(limit)))
        .map_err(|error| {
            let url = format!("http://{address}{path}");
            RequestError { method, url, error }
        })
}

/// Selects the headers that describe a body.
pub(super) fn of_body(headers: &HeaderMap) -> HeaderMap {
    let known = OF_BODY.into_iter();
    let known = known.filter_map(|name| Some((name.clone(), headers.get(&name)?.clone())));
    known.collect()
}

/// Forwards a request to `host:port` and streams its answer. Bodies are never held as a whole. Dropping the answer closes
/// the connection.
pub(super) async fn forward(
    address: &str,
    method: Method,
    path: &str,
    headers: HeaderMap,
    body: Body,
) -> Result<Response<Body>, HttpError> {
    let mut request = Request::builder().method(method).uri(path).body(body)?;
    *request.headers_mut() = headers;
    let (head, body) = open(address, request, CONNECT).await?.into_parts();
    let mut answer = Response::new(Body::new(body));
    *answer.status_mut() = head.status;
    *answer.headers_mut() = of_body(&head.headers);
    Ok(answer)
}

/// Sends a request over a connection of its own.
async fn open<B>(
    address: &str,
    mut request: Request<B>,
    limit: Duration,
) -> Result<Response<Incoming>, HttpError>
where
    B: HttpBody<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let connected = timeout(limit, TcpStream::connect(address)).await;
    let stream = connected.map_err(|_| HttpError::NoConnection(limit))??;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // The answer reports an error of the connection.
    tokio::spawn(async { drop(connection.await) });
    let host = HeaderValue::from_str(address).map_err(http::Error::from)?;
    request.headers_mut().insert(HOST, host);
    Ok(sender.send_request(request).await?)
}

/// Reads a body into one buffer that grows, so that a large answer is never held twice. Returns the kept part and the
/// length of the whole.
async fn read(mut body: Incoming, keep: Keep) -> Result<(Bytes, usize), hyper::Error> {
    let most = match keep {
        Keep::All => LONGEST_ANSWER,
        Keep::Beginning => BEGINNING,
    };
    let mut kept = Vec::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame?.data_ref() {
            length += data.len();
            let room = data.len().min(most - kept.len());
            kept.extend_from_slice(data.get(..room).unwrap_or_default());
        }
    }
    Ok((Bytes::from(kept), length))
}
