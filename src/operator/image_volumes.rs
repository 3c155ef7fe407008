//! Whether the nodes of the cluster can mount an image as a volume, from which a container runs the operator's program.

use crate::machine::ProgramSource;
use clap::ValueEnum;
use hyper::header::{ACCEPT, HeaderValue};
use hyper::http::Request;
use hyper::http::uri::InvalidUri;
use kube::Client;
use kube::api::ListParams;
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// When image volumes are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Usage {
    /// If all nodes are known to mount images.
    #[default]
    Auto,
    /// Without a look at the nodes.
    Always,
    /// An init container copies the program.
    Never,
}

impl Usage {
    /// The same for an operator of these namespaces; None stands for all. One of some namespaces has no right to list nodes,
    /// and is not to ask.
    pub(super) fn within(self, scopes: &[Option<String>]) -> Self {
        match self {
            Self::Auto if scopes.iter().any(Option::is_some) => Self::Never,
            Self::Auto | Self::Always | Self::Never => self,
        }
    }
}

/// The first Kubernetes that mounts images unless it is told not to:
/// <https://kubernetes.io/docs/tasks/configure-pod-container/image-volumes/>
const KUBELET: (u32, u32) = (1, 35);

/// The first containerd that mounts images: <https://github.com/containerd/containerd/pull/10579>. CRI-O can as well, but
/// as of 1.37 it mounts them with `noexec`, so that a program there can't be run:
/// <https://github.com/cri-o/cri-o/blob/f954a17e505f8931e91004403b5f5eac71ab6085/internal/lib/container_server.go>
const CONTAINERD: (u32, u32) = (2, 1);

/// How long what was found of the nodes is used. Nodes of another kind are rarely added.
const FRESH: Duration = Duration::from_secs(600);

/// How long a run waits for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The nodes of one answer, and the most answers. A cluster with more nodes is not looked at whole.
const PAGE: u32 = 500;
const PAGES: usize = 20;

/// Where the operator's program comes from, as far as the nodes allow.
pub(super) struct ImageVolumes {
    client: Client,
    usage: Usage,
    found: Mutex<Option<(Instant, ProgramSource)>>,
}

impl ImageVolumes {
    pub(super) fn new(client: Client, usage: Usage) -> Self {
        Self {
            client,
            usage,
            found: Mutex::default(),
        }
    }

    /// Where the program of a new run comes from. The nodes are listed once in ten minutes at most, and not at all while
    /// there are no new runs.
    pub(super) async fn source(&self) -> ProgramSource {
        match self.usage {
            Usage::Always => return ProgramSource::Mounted,
            Usage::Never => return ProgramSource::Copied,
            Usage::Auto => {}
        }
        let mut found = self.found.lock().await;
        let fresh = found.filter(|(at, _)| at.elapsed() < FRESH);
        if let Some((_, source)) = fresh {
            return source;
        }
        let source = match timeout(PATIENCE, self.look()).await {
            Ok(Ok(source)) => source,
            // It may have no right to.
            Ok(Err(error)) => {
                tracing::debug!(%error, "nodes can't be listed: the program is copied into runners");
                ProgramSource::Copied
            }
            Err(_elapsed) => {
                tracing::debug!("no answer about the nodes: the program is copied into runners");
                ProgramSource::Copied
            }
        };
        tracing::debug!(?source, "looked at the nodes");
        *found = Some((Instant::now(), source));
        source
    }

    /// Lists nodes until one can't mount images. A table has some hundred bytes of each, an object up to 30 KB.
    async fn look(&self) -> Result<ProgramSource, kube::Error> {
        let mut page = ListParams::default().limit(PAGE);
        for _ in 0..PAGES {
            let table: Table = self.client.request(listing(&page)?).await?;
            if !table.mounts() {
                return Ok(ProgramSource::Copied);
            }
            let Some(next) = table.metadata.next.filter(|next| !next.is_empty()) else {
                return Ok(ProgramSource::Mounted);
            };
            page = page.continue_token(&next);
        }
        Ok(ProgramSource::Copied)
    }
}

/// The request for a page of the nodes, as a table without their objects.
fn listing(page: &ListParams) -> Result<Request<Vec<u8>>, kube::Error> {
    let list = kube::core::Request::new("/api/v1/nodes").list(page);
    let mut request = list.map_err(kube::Error::BuildRequest)?;
    let accept = HeaderValue::from_static("application/json;as=Table;v=v1;g=meta.k8s.io");
    request.headers_mut().insert(ACCEPT, accept);
    let uri = format!("{}&includeObject=None", request.uri());
    *request.uri_mut() = uri
        .parse()
        .map_err(|error: InvalidUri| kube::Error::HttpError(error.into()))?;
    Ok(request)
}

/// Nodes as `kubectl get nodes -o wide` shows them:
/// <https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables>
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Table {
    metadata: Page,
    column_definitions: Vec<Column>,
    #[serde(default)]
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Page {
    #[serde(rename = "continue")]
    next: Option<String>,
}

#[derive(Deserialize)]
struct Column {
    name: String,
}

#[derive(Deserialize)]
struct Row {
    cells: Vec<Value>,
}

impl Table {
    /// True if all of these nodes, and at least one, can mount images.
    fn mounts(&self) -> bool {
        let cell = |row: &Row, name: &str| {
            let at = self
                .column_definitions
                .iter()
                .position(|column| column.name == name)?;
            row.cells.get(at)?.as_str().map(str::to_owned)
        };
        let of_node = |row: &Row| {
            let (kubelet, runtime) = (cell(row, "Version"), cell(row, "Container-Runtime"));
            mounts(&kubelet.unwrap_or_default(), &runtime.unwrap_or_default())
        };
        !self.rows.is_empty() && self.rows.iter().all(of_node)
    }
}

/// True if a node with this kubelet (`v1.35.4`) and this runtime (`containerd://2.2.1`) can mount an image, and run what is
/// in it.
fn mounts(kubelet: &str, runtime: &str) -> bool {
    let containerd = runtime.strip_prefix("containerd://");
    version(kubelet).is_some_and(|version| version >= KUBELET)
        && containerd
            .and_then(version)
            .is_some_and(|version| version >= CONTAINERD)
}

/// The first two numbers of a version, whatever a vendor has appended.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim_start_matches('v').splitn(3, '.');
    let major = numbers.next()?.parse().ok()?;
    let minor: String = numbers.next()?.chars().take_while(char::is_ascii_digit).collect();
    Some((major, minor.parse().ok()?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{FRESH, ImageVolumes, Usage, mounts};
    use crate::machine::ProgramSource;
    use axum::Router;
    use axum::extract::State;
    use axum::http::{StatusCode, Uri};
    use std::sync::{Arc, Mutex};

    #[test]
    fn image_is_mounted_by_the_versions_that_can_run_what_is_in_it() {
        for (kubelet, runtime, expected) in [
            ("v1.35.4", "containerd://2.1.0", true),
            ("v1.36.0+k3s1", "containerd://2.2.1-k3s1", true),
            ("v1.35.1-gke.1396000", "containerd://2.10.0", true),
            ("v2.0.0", "containerd://3.0", true),
            ("v1.35.0-eks-6d3986b", "containerd://v2.1.5+unknown", true),
            ("v1.34.9", "containerd://2.2.0", false),
            ("v1.35.4", "containerd://2.0.5", false),
            ("v1.35.4", "containerd://1.7.28", false),
            ("v1.35.4", "cri-o://1.37.0", false),
            ("v1.35.4", "docker://29.1.0", false),
            ("v1.35.4", "Unknown", false),
            ("kwok-v0.8.0", "kwok-v0.8.0", false),
            ("", "", false),
            ("v1", "containerd://2", false),
            ("v1.35.4", "containerd://2.x", false),
        ] {
            assert_eq!(mounts(kubelet, runtime), expected, "{kubelet} {runtime}");
        }
    }

    /// A server of nodes with these runtimes, one a page, that notes what it is asked.
    async fn cluster(runtimes: &'static [&'static str]) -> (kube::Client, Arc<Mutex<Vec<String>>>) {
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let answer = move |State(asked): State<Arc<Mutex<Vec<String>>>>, uri: Uri| async move {
            asked.lock().unwrap().push(uri.to_string());
            let query = uri.query().unwrap_or_default();
            let mut fields = query.split('&');
            let from = fields
                .find_map(|field| field.strip_prefix("continue="))
                .unwrap_or("0");
            let at: usize = from.trim_end_matches("%2F").parse().unwrap();
            let Some(runtime) = runtimes.get(at) else {
                let status = serde_json::json!({"status": "Failure", "message": "no", "reason": "Forbidden", "code": 403});
                return (StatusCode::FORBIDDEN, status.to_string());
            };
            let next = (at + 1 < runtimes.len()).then(|| format!("{}/", at + 1));
            let table = serde_json::json!({
                "kind": "Table", "apiVersion": "meta.k8s.io/v1",
                "metadata": {"resourceVersion": "1", "continue": next.unwrap_or_default()},
                "columnDefinitions": [{"name": "Name"}, {"name": "Version"}, {"name": "Container-Runtime"}],
                "rows": [{"cells": ["a", "v1.35.4", runtime], "object": null}],
            });
            (StatusCode::OK, table.to_string())
        };
        let server = Router::new().fallback(answer).with_state(Arc::clone(&asked));
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(socket, server).await });
        let config = kube::Config::new(format!("http://{address}").parse().unwrap());
        (kube::Client::try_from(config).unwrap(), asked)
    }

    #[tokio::test]
    async fn program_is_mounted_where_every_node_can() {
        for (runtimes, requests, expected) in [
            (
                &["containerd://2.2.0", "containerd://2.1.1"][..],
                2,
                ProgramSource::Mounted,
            ),
            (
                &["containerd://2.2.0", "containerd://1.7.9", "containerd://2.2.0"][..],
                2,
                ProgramSource::Copied,
            ),
            // Forbidden.
            (&[][..], 1, ProgramSource::Copied),
        ] {
            let (client, asked) = cluster(runtimes).await;
            let volumes = ImageVolumes::new(client, Usage::Auto);
            assert_eq!(volumes.source().await, expected, "{runtimes:?}");
            // What was found is kept.
            assert_eq!(volumes.source().await, expected, "{runtimes:?}");
            assert_eq!(asked.lock().unwrap().len(), requests, "{runtimes:?}");
        }
    }

    #[tokio::test]
    async fn setting_decides_without_a_look_at_the_nodes() {
        for (usage, expected) in [
            (Usage::Always, ProgramSource::Mounted),
            (Usage::Never, ProgramSource::Copied),
        ] {
            let (client, asked) = cluster(&["containerd://1.7.9"]).await;
            assert_eq!(ImageVolumes::new(client, usage).source().await, expected);
            assert!(asked.lock().unwrap().is_empty());
        }
    }

    #[test]
    fn operator_of_some_namespaces_asks_for_no_nodes() {
        let some = [Some("team-a".to_owned())];
        assert_eq!(Usage::Auto.within(&some), Usage::Never);
        assert_eq!(Usage::Always.within(&some), Usage::Always);
        assert_eq!(Usage::Auto.within(&[None]), Usage::Auto);
    }

    #[tokio::test]
    async fn silent_api_server_does_not_hold_a_run_up() {
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = kube::Config::new(
            format!("http://{}", socket.local_addr().unwrap())
                .parse()
                .unwrap(),
        );
        let volumes = ImageVolumes::new(kube::Client::try_from(config).unwrap(), Usage::Auto);
        tokio::time::pause();
        let began = tokio::time::Instant::now();
        assert_eq!(volumes.source().await, ProgramSource::Copied);
        assert!(began.elapsed() < FRESH / 100);
    }
}
