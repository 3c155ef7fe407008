//! Accepts connections to the aggregator. Their number is limited, and a connection that sends nothing is closed.

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// The most open connections, over all runners. Each runner has one for its exports and one for its heartbeats.
const MOST_CONNECTIONS: usize = 8_192;
/// The most open connections of one address. All runners have one address if they use the network of their node.
const MOST_OF_ONE: usize = 1_024;
/// How long a connection may take to send the headers of a request, or to send nothing. k6 exports each second.
const HEADERS: Duration = Duration::from_secs(30);
/// The largest headers of a request, in bytes. k6 sends some 500.
const MOST_HEADERS: usize = 16 * 1024;
/// The most concurrent requests of an HTTP/2 connection.
const STREAMS: u32 = 8;
/// The first bytes of an HTTP/2 connection: <https://www.rfc-editor.org/rfc/rfc9113#section-3.4>.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The pause before looking again whether the rest of the preface has arrived.
const PREFACE_RETRY: Duration = Duration::from_millis(20);
/// The pause after a connection could not be accepted.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// The number of open connections, by address.
#[derive(Clone, Debug, Default)]
struct Open(Arc<Mutex<BTreeMap<IpAddr, usize>>>);

impl Open {
    /// Counts one more connection, unless the address has as many as it may have.
    fn one_of(&self, address: IpAddr) -> Option<One> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_default();
        if *count >= MOST_OF_ONE {
            return None;
        }
        *count += 1;
        Some(One {
            open: self.clone(),
            address,
        })
    }
}

/// An open connection. It counts until it is dropped.
#[derive(Debug)]
struct One {
    open: Open,
    address: IpAddr,
}

impl Drop for One {
    fn drop(&mut self) {
        let mut open = self.open.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

/// Waits until a connection has sent enough to tell HTTP/1.1 from HTTP/2. hyper itself would wait for that forever.
async fn begun(stream: &TcpStream) -> io::Result<()> {
    let mut first = [0; PREFACE.len()];
    loop {
        let count = stream.peek(&mut first).await?;
        let brought = first.get(..count).unwrap_or_default();
        match count {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ if count < PREFACE.len() && PREFACE.starts_with(brought) => sleep(PREFACE_RETRY).await,
            _ => return Ok(()),
        }
    }
}

/// Serves the routes over HTTP/1.1 and HTTP/2, for as long as it is polled.
pub async fn serve(socket: TcpListener, routes: Router) -> io::Result<()> {
    let mut server = Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(MOST_HEADERS);
    server
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HEADERS)
        .keep_alive_timeout(HEADERS)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(MOST_HEADERS).unwrap_or(u32::MAX));
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let open = Open::default();
    // Dropping the set ends the connections.
    let mut connections = JoinSet::new();
    loop {
        let room = Arc::clone(&room).acquire_owned().await;
        let room = room.map_err(io::Error::other)?;
        let (stream, peer) = match socket.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        let Some(one) = open.one_of(peer.ip()) else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(routes.clone());
        let server = server.clone();
        connections.spawn(async move {
            if let Ok(Ok(())) = timeout(HEADERS, begun(&stream)).await {
                let connection = server.serve_connection(TokioIo::new(stream), service);
                // The other end learns of an error by the end of the connection.
                let _ = connection.await;
            }
            drop((one, room));
        });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{HEADERS, MOST_OF_ONE, Open, PREFACE, serve};
    use axum::Router;
    use axum::routing::get;
    use std::net::{IpAddr, Ipv4Addr};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::{Instant, timeout};

    /// With paused time, time advances only while all tasks wait.
    #[tokio::test(start_paused = true)]
    async fn connection_that_brings_no_whole_head_of_a_request_is_closed() {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let routes = Router::new().route("/", get(|| async { "here" }));
        let server = tokio::spawn(serve(socket, routes));
        let whole: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        for brought in [
            b"",
            &whole[..1],
            &whole[..16],
            whole,
            &PREFACE[..1],
            &PREFACE[..20],
        ] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(brought).await.unwrap();
            let began = Instant::now();
            let mut all = Vec::new();
            let read = timeout(3 * HEADERS, stream.read_to_end(&mut all)).await;
            let text = String::from_utf8_lossy(brought);
            assert!(read.is_ok(), "it stays open: {text:?}");
            assert!(began.elapsed() >= HEADERS / 2, "{text:?}");
            assert_eq!(all.starts_with(b"HTTP/1.1 200 "), brought == whole, "{text:?}");
        }
        server.abort();
    }

    #[test]
    fn one_address_takes_no_connection_from_another() {
        let open = Open::default();
        let [one, other] = [1, 2].map(|last| IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)));
        let mut held: Vec<_> = (0..MOST_OF_ONE).filter_map(|_| open.one_of(one)).collect();
        assert_eq!(held.len(), MOST_OF_ONE);
        assert!(open.one_of(one).is_none() && open.one_of(other).is_some());
        held.pop();
        assert!(open.one_of(one).is_some());
        held.clear();
        assert!(open.0.lock().is_ok_and(|open| open.is_empty()));
    }
}
