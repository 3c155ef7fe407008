//! k6's REST API, over one connection that stays open.
//!
//! A [`Client`] drives its connection itself, and only while it is called: no task runs in the background. So
//! [`Client::send`] can write an order to the network before it returns, and the orders for many runners leave back to
//! back.

use crate::k6::execution::{BEGUN, PAUSED_BEFORE_RUN};
use crate::protocol::tokens::Token;
use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant as Moment;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// The longest answer that is read, in bytes. A status has about 150.
const LONGEST_ANSWER: usize = 64 * 1024;
/// The longest part of an unexpected answer that is quoted, in characters.
const LONGEST_QUOTE: usize = 200;

/// The status of k6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Status {
    /// k6's execution status: below 4 initializing, 4 waiting for its release, 7 running, 9 ended.
    pub status: u32,
    /// Whether the test is paused: not released yet, or paused again.
    pub paused: bool,
    /// Whether the test runs.
    #[serde(default)]
    pub running: bool,
    /// Whether it was stopped through this API.
    #[serde(default)]
    pub stopped: bool,
    /// Whether a threshold was crossed.
    #[serde(default)]
    pub tainted: bool,
}

impl Status {
    /// Whether k6 is initialized and waits for its release, which takes effect at once.
    pub fn ready(&self) -> bool {
        self.paused && !self.stopped && self.status == PAUSED_BEFORE_RUN
    }

    /// Whether k6 has been released before.
    pub fn released(&self) -> bool {
        !self.paused || BEGUN.contains(&self.status)
    }
}

/// A request to a runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Return the status and change nothing.
    Status,
    /// Begin the test.
    Resume,
    /// End the test.
    Stop,
}

impl Order {
    fn tried(self) -> &'static str {
        match self {
            Order::Status => "asking for the status of",
            Order::Resume => "ordering the release of",
            Order::Stop => "ordering the stop of",
        }
    }

    fn request(self) -> (Method, &'static str) {
        match self {
            Order::Status => (Method::GET, ""),
            Order::Resume => (
                Method::PATCH,
                r#"{"data":{"type":"status","id":"default","attributes":{"paused":false}}}"#,
            ),
            Order::Stop => (
                Method::PATCH,
                r#"{"data":{"type":"status","id":"default","attributes":{"stopped":true}}}"#,
            ),
        }
    }
}

/// Why a call got no status. The connection can't be used any more.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection could not be opened.
    #[error("connecting to {address}: {source}")]
    Connect {
        /// The address of the runner.
        address: SocketAddr,
        /// The error of the system.
        source: io::Error,
    },
    /// The deadline passed.
    #[error("{tried} {address}: no answer in time")]
    Late {
        /// The address of the runner.
        address: SocketAddr,
        /// The call that was tried.
        tried: &'static str,
    },
    /// The connection broke, or the answer is not HTTP.
    #[error("{tried} {address}: {reason}")]
    Broken {
        /// The address of the runner.
        address: SocketAddr,
        /// The call that was tried.
        tried: &'static str,
        /// The causes, outermost first.
        reason: String,
    },
    /// k6 answered with another status code than 200.
    #[error("{tried} {address}: answered {code} `{answer}`")]
    Refused {
        /// The address of the runner.
        address: SocketAddr,
        /// The call that was tried.
        tried: &'static str,
        /// The HTTP status code.
        code: StatusCode,
        /// The beginning of the answer.
        answer: String,
    },
    /// The body of the answer is not a status.
    #[error("{tried} {address}: the answer `{answer}` is no k6 status: {source}")]
    Answer {
        /// The address of the runner.
        address: SocketAddr,
        /// The call that was tried.
        tried: &'static str,
        /// The beginning of the answer.
        answer: String,
        /// The error of the parser.
        source: serde_json::Error,
    },
}

impl Error {
    /// Whether nothing listens at the address.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Error::Connect { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused)
    }
}

type Driver = Connection<Io, Full<Bytes>>;
type Answer = Pin<Box<dyn Future<Output = Result<(StatusCode, Bytes), String>> + Send>>;

/// A connection to one k6.
pub struct Client {
    address: SocketAddr,
    host: HeaderValue,
    authorization: Option<HeaderValue>,
    sender: SendRequest<Full<Bytes>>,
    /// The connection's driver; None when the connection has ended.
    connection: Option<Pin<Box<Driver>>>,
    /// The order that was sent and its pending answer.
    awaited: Option<(Order, Answer)>,
    wrote: Wrote,
}

impl Client {
    /// Opens the connection.
    pub async fn connect(address: SocketAddr, deadline: Instant) -> Result<Self, Error> {
        let failed = |source| Error::Connect { address, source };
        let stream = timeout_at(deadline, TcpStream::connect(address))
            .await
            .map_err(|_| Error::Late {
                address,
                tried: "connecting to",
            })?
            .map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let host = HeaderValue::from_str(&address.to_string()).map_err(|e| failed(io::Error::other(e)))?;
        let wrote = Wrote::default();
        let io = Io {
            stream: TokioIo::new(stream),
            wrote: Arc::clone(&wrote),
        };
        let (sender, connection) = http1::handshake(io)
            .await
            .map_err(|e| failed(io::Error::other(e)))?;
        Ok(Self {
            address,
            host,
            authorization: None,
            sender,
            connection: Some(Box::pin(connection)),
            awaited: None,
            wrote,
        })
    }

    /// Presents this token with each request.
    pub fn with(self, token: Option<&Token>) -> Self {
        Self {
            authorization: token.map(Token::authorization),
            ..self
        }
    }

    /// Asks for the status.
    pub async fn status(&mut self, deadline: Instant) -> Result<Status, Error> {
        self.call(Order::Status, deadline).await
    }

    /// Begins the test. `paused` in the answer tells whether k6 obeyed.
    pub async fn resume(&mut self, deadline: Instant) -> Result<Status, Error> {
        self.call(Order::Resume, deadline).await
    }

    /// Ends the test. `stopped` in the answer tells whether k6 obeyed.
    pub async fn stop(&mut self, deadline: Instant) -> Result<Status, Error> {
        self.call(Order::Stop, deadline).await
    }

    /// Gives an order and waits for the resulting status.
    pub async fn call(&mut self, order: Order, deadline: Instant) -> Result<Status, Error> {
        self.send(order);
        self.answer(deadline).await
    }

    /// Sends an order. It is on the network when this returns, unless the buffers of the connection are full.
    /// [`Client::answer`] returns the outcome.
    pub fn send(&mut self, order: Order) {
        let (method, body) = order.request();
        let mut request = Request::new(Full::new(Bytes::from_static(body.as_bytes())));
        *request.method_mut() = method;
        *request.uri_mut() = Uri::from_static("/v1/status");
        request.headers_mut().insert(HOST, self.host.clone());
        request
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        set(&self.wrote, None);
        let reply = self.sender.send_request(request);
        let answer = Box::pin(async move {
            let (head, body) = reply.await.map_err(|e| causes(&e))?.into_parts();
            let body = Limited::new(body, LONGEST_ANSWER)
                .collect()
                .await
                .map_err(|e| e.to_string())?;
            Ok((head.status, body.to_bytes()))
        });
        self.awaited = Some((order, answer));
        self.drive(&mut Context::from_waker(Waker::noop()));
    }

    /// Waits for the answer to the last order.
    pub async fn answer(&mut self, deadline: Instant) -> Result<Status, Error> {
        let address = self.address;
        let Some((order, mut answer)) = self.awaited.take() else {
            return Err(Error::Broken {
                address,
                tried: "awaiting an answer of",
                reason: "nothing was asked".to_owned(),
            });
        };
        let tried = order.tried();
        let outcome = std::future::poll_fn(|cx| {
            self.drive(cx);
            answer.as_mut().poll(cx)
        });
        let (code, body) = timeout_at(deadline, outcome)
            .await
            .map_err(|_| Error::Late { address, tried })?
            .map_err(|reason| Error::Broken {
                address,
                tried,
                reason,
            })?;
        // Only an idle connection takes the next order at once. A closed one reports an error then.
        let idle = std::future::poll_fn(|cx| {
            self.drive(cx);
            self.sender.poll_ready(cx)
        });
        let _ = timeout_at(deadline, idle).await;
        if code != StatusCode::OK {
            return Err(Error::Refused {
                address,
                tried,
                code,
                answer: quote(&body),
            });
        }
        match serde_json::from_slice::<Document>(&body) {
            Ok(document) => Ok(document.data.attributes),
            Err(source) => Err(Error::Answer {
                address,
                tried,
                answer: quote(&body),
                source,
            }),
        }
    }

    /// When the last bytes of the last order were written to the network.
    pub fn wrote(&self) -> Option<Moment> {
        *self.wrote.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the connection write and read as much as it can.
    fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && connection.as_mut().poll(cx).is_ready()
        {
            // The answer reports how the connection ended.
            self.connection = None;
        }
    }
}

#[derive(Deserialize)]
struct Document {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    attributes: Status,
}

fn quote(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(LONGEST_QUOTE)])
        .trim()
        .to_owned()
}

pub(super) fn causes(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

type Wrote = Arc<Mutex<Option<Moment>>>;

fn set(wrote: &Wrote, moment: Option<Moment>) {
    *wrote.lock().unwrap_or_else(PoisonError::into_inner) = moment;
}

/// A stream that remembers when it was last written to.
struct Io {
    stream: TokioIo<TcpStream>,
    wrote: Wrote,
}

impl Io {
    fn written(&self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(_)) = outcome {
            set(&self.wrote, Some(Moment::now()));
        }
        outcome
    }
}

impl Read for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl Write for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(outcome)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.written(outcome)
    }
}
