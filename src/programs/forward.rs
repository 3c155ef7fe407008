//! Passes a request on to another server, and its answer back. Bodies flow through: none is held as a whole.

use super::k6_client::causes;
use axum::body::Body;
use hyper::client::conn::http1;
use hyper::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue,
};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a connection may take to open.
const CONNECT: Duration = Duration::from_secs(4);

/// What is passed on of the headers of a request and of its answer: that which says how to read the body.
const OF_BODY: [HeaderName; 3] = [CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LENGTH];

/// The headers of a body.
pub(super) fn of_body(headers: &HeaderMap) -> HeaderMap {
    let known = OF_BODY.into_iter();
    let known = known.filter_map(|name| Some((name.clone(), headers.get(&name)?.clone())));
    known.collect()
}

/// Asks `host:port`, over a connection of its own, and gives the answer as it comes. When the answer is dropped, so is
/// the connection.
pub(super) async fn forward(
    address: &str,
    method: Method,
    path: &str,
    headers: HeaderMap,
    body: Body,
) -> Result<Response<Body>, String> {
    let connected = timeout(CONNECT, TcpStream::connect(address)).await;
    let stream = match connected {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err(format!("no connection in {} s", CONNECT.as_secs())),
    };
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| causes(&error))?;
    // It ends with the answer, which tells how.
    tokio::spawn(async { drop(connection.await) });
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().map_err(|_| "the path is not one".to_owned())?;
    *request.headers_mut() = headers;
    let host = HeaderValue::from_str(address).map_err(|error| error.to_string())?;
    request.headers_mut().insert(HOST, host);
    let (head, body) = sender
        .send_request(request)
        .await
        .map_err(|error| causes(&error))?
        .into_parts();
    let mut answer = Response::new(Body::new(body));
    *answer.status_mut() = head.status;
    *answer.headers_mut() = of_body(&head.headers);
    Ok(answer)
}
