//! One request, one answer, one connection: what the programs beside the start need of HTTP.

use super::k6_client::causes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The longest answer that is read: what setup() returned comes in one.
const LONGEST_ANSWER: usize = super::setup::LARGEST_DATA + 64 * 1024;
/// As much is read of an answer of which the beginning is enough.
const BEGINNING: usize = 64 * 1024;

/// How much of an answer is kept. The rest is read and dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// As much as is read of any answer.
    All,
    /// The first 64 KiB.
    Beginning,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// What is kept of its body.
    pub body: Bytes,
    /// How many bytes the body had.
    pub length: usize,
}

/// Asks `host:port` for something, and says how it answered. What is sent is JSON, unless a header says otherwise.
pub async fn ask(
    address: &str,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
    limit: Duration,
) -> Result<(StatusCode, Bytes), String> {
    let what = format!("{method} http://{address}{path}");
    let body = Bytes::from(body);
    let Answer { status, body, length } =
        send(address, method, path, headers, body, Keep::All, limit).await?;
    if length > body.len() {
        let (length, most) = (length as f64 / 1e6, LONGEST_ANSWER as f64 / 1e6);
        return Err(format!(
            "{what}: the answer has {length:.1} MB, and at most {most:.1} MB are read"
        ));
    }
    Ok((status, body))
}

/// The same with a body that can be shared, and of the answer no more than is asked for.
pub async fn send(
    address: &str,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Bytes,
    keep: Keep,
    limit: Duration,
) -> Result<Answer, String> {
    let what = format!("{method} http://{address}{path}");
    let asked = timeout(limit, exchange(address, method, path, headers, body, keep)).await;
    let answer = asked.unwrap_or_else(|_| Err(format!("no answer in {} s", limit.as_secs_f64())));
    answer.map_err(|error| format!("{what}: {error}"))
}

async fn exchange(
    address: &str,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Bytes,
    keep: Keep,
) -> Result<Answer, String> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| error.to_string())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| causes(&error))?;
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, address)
        .header(CONNECTION, "close");
    if !headers.iter().any(|(name, _)| *name == CONTENT_TYPE) {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
    let answer = async {
        let came = sender
            .send_request(request)
            .await
            .map_err(|error| causes(&error))?;
        let status = came.status();
        let (body, length) = read(came.into_body(), keep).await?;
        Ok(Answer { status, body, length })
    };
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        ended = &mut connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(causes(&error)),
        },
    }
}

/// What is kept of a body, and its length. It is read into one piece of memory that grows with what comes: a large
/// answer is never there twice.
async fn read(mut body: Incoming, keep: Keep) -> Result<(Bytes, usize), String> {
    let most = match keep {
        Keep::All => LONGEST_ANSWER,
        Keep::Beginning => BEGINNING,
    };
    let mut kept = Vec::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| causes(&error))?;
        if let Some(data) = frame.data_ref() {
            length += data.len();
            let room = data.len().min(most - kept.len());
            kept.extend_from_slice(data.get(..room).unwrap_or_default());
        }
    }
    Ok((Bytes::from(kept), length))
}
