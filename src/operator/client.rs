//! The client of the API server.

use super::server_time::ServerTime;
use crate::clock::Clock;
use hyper::header::{HeaderValue, USER_AGENT};
use kube::{Client, Config};

/// The user agent, for the API server's audit log. Its part before the version is also the manager of the fields that
/// the operator writes: <https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management>.
const AGENT: &str = concat!("k6-operator/", env!("CARGO_PKG_VERSION"));

/// A client of the cluster that this process is in, or that its kubeconfig names. It reads the time from each answer.
pub async fn client(time: &ServerTime) -> Result<Client, Box<dyn std::error::Error>> {
    Ok(time.client(named(Config::infer().await?), Clock::system())?)
}

/// Adds the user agent.
fn named(mut config: Config) -> Config {
    config.headers.push((USER_AGENT, HeaderValue::from_static(AGENT)));
    config
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::named;
    use axum::Router;
    use axum::extract::State;
    use axum::http::HeaderMap;
    use std::sync::{Arc, Mutex};

    #[tokio::test]
    async fn every_request_says_who_asks() {
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let note = async |State(seen): State<Arc<Mutex<Vec<String>>>>, headers: HeaderMap| {
            let agents = headers.get_all("user-agent").iter();
            seen.lock()
                .unwrap()
                .extend(agents.map(|agent| agent.to_str().unwrap().to_owned()));
            r#"{"major": "1", "minor": "35"}"#
        };
        let server = Router::new().fallback(note).with_state(Arc::clone(&seen));
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let serving = tokio::spawn(async move { axum::serve(socket, server).await });
        let config = kube::Config::new(format!("http://{address}").parse().unwrap());
        let client = kube::Client::try_from(named(config)).unwrap();
        // The answer does not matter.
        let _answer = client.apiserver_version().await;
        serving.abort();
        let agent = format!("k6-operator/{}", env!("CARGO_PKG_VERSION"));
        assert_eq!(*seen.lock().unwrap(), [agent]);
    }
}
