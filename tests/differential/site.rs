//! The server under load.

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::get;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// `/MS/STATUS` answers after so many ms with this status.
pub struct Site {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Site {
    pub async fn open() -> Self {
        let answer = async |Path((ms, status)): Path<(u64, u16)>| {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            (StatusCode::from_u16(status).unwrap(), "hello")
        };
        let routes = Router::new().route("/{ms}/{status}", get(answer));
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let task = tokio::spawn(async move { axum::serve(socket, routes).await.unwrap() });
        Self { address, task }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.task.abort();
    }
}
