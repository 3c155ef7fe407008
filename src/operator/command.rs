//! The subcommand `run`: its arguments, and what the operator does with its process (listeners, signals, image).

use super::client::client;
use super::image_volumes::Usage;
use super::manager::{Settings, operate};
use super::server_time::ServerTime;
use super::telemetry::{Endpoints, Health, Heartbeat, Metrics};
use super::timeout::bounded;
use super::{defaults, leadership};
use crate::clock::Clock;
use crate::objects::{self, Defaults};
use futures::FutureExt;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// The name of the Lease of the leading operator.
const LEASE: &str = "k6-operator";

/// /healthz fails when the operator has given no sign of life for this long.
const STALLED: Duration = Duration::from_secs(60);

/// The settings of the operator.
#[derive(Clone, Debug, clap::Args)]
pub struct RunArgs {
    /// Image of runners, for resources that name none.
    #[arg(long, env = "RUNNER_IMAGE", default_value = "grafana/k6:2.2.0")]
    pub runner_image: String,
    /// Image with this program at /k6-operator. Aggregators have it, and starters and stoppers whose resource names
    /// none, and the program is copied from it into runners. Default: the image of this pod.
    #[arg(long, env = "STARTER_IMAGE")]
    pub starter_image: Option<String>,
    /// Address for Prometheus metrics; `[::]` accepts IPv4 and IPv6.
    #[arg(long, default_value = "[::]:8080")]
    pub metrics_bind_address: SocketAddr,
    /// Address for /healthz and /readyz.
    #[arg(long, default_value = "[::]:8081")]
    pub health_probe_bind_address: SocketAddr,
    /// File with settings for all resources: YAML with podTemplate, initializer, runner, starter and aggregation.
    #[arg(long, env = "DEFAULTS_FILE")]
    pub defaults_file: Option<PathBuf>,
    /// How long the Jobs and pods of a Finished run are kept, such as 24h; `forever` keeps them as long as the
    /// resource.
    #[arg(long, env = "KEEP_FINISHED_JOBS", value_name = "DURATION", default_value = "24h", value_parser = keep)]
    pub keep_finished_jobs: Keep,
    /// Whether the program gets into runners by a volume of its image, not by an init container that copies it: `auto` if
    /// all nodes are known to mount images, `always` or `never`.
    #[arg(long, env = "IMAGE_VOLUMES", value_name = "WHEN", default_value = "auto")]
    pub image_volumes: Usage,
    /// Namespace to watch; default: all.
    #[arg(long, env = "WATCH_NAMESPACE")]
    pub watch_namespace: Option<String>,
    /// Namespaces to watch, separated by commas. Overrides --watch-namespace.
    #[arg(long, env = "WATCH_NAMESPACES")]
    pub watch_namespaces: Option<String>,
    /// Act only while holding the Lease k6-operator in the namespace of this pod. Needed with more than one replica.
    #[arg(long, env = "LEADER_ELECT")]
    pub leader_elect: bool,
    /// The namespace of this pod.
    #[arg(long, env = "POD_NAMESPACE", hide = true)]
    pub pod_namespace: Option<String>,
    /// The name of this pod.
    #[arg(long, env = "POD_NAME", hide = true)]
    pub pod_name: Option<String>,
}

/// How many seconds something is kept; None: forever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep(pub Option<SignedDuration>);

fn keep(text: &str) -> Result<Keep, String> {
    if text == "forever" {
        return Ok(Keep(None));
    }
    let duration = objects::whole_seconds(text);
    let duration = duration.ok_or("a duration such as 24h or 90m, or `forever`, is needed")?;
    Ok(Keep(Some(duration)))
}

impl RunArgs {
    /// The namespaces to watch; None stands for all of them.
    fn namespaces(&self) -> Vec<Option<String>> {
        let lists = [&self.watch_namespaces, &self.watch_namespace];
        let names = lists.into_iter().map(|list| {
            let names = list.as_deref().unwrap_or_default().split(',');
            names
                .map(str::trim)
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect::<BTreeSet<_>>()
        });
        let chosen = names
            .into_iter()
            .find(|names| !names.is_empty())
            .unwrap_or_default();
        if chosen.is_empty() {
            vec![None]
        } else {
            chosen.into_iter().map(Some).collect()
        }
    }

    fn lease(&self) -> Result<Option<leadership::Settings>, String> {
        if !self.leader_elect {
            return Ok(None);
        }
        let (Some(namespace), Some(identity)) = (&self.pod_namespace, &self.pod_name) else {
            return Err("--leader-elect needs POD_NAMESPACE and POD_NAME in the environment".to_owned());
        };
        Ok(Some(leadership::Settings {
            namespace: namespace.clone(),
            name: LEASE.to_owned(),
            identity: identity.clone(),
        }))
    }
}

/// Runs the operator until SIGTERM or SIGINT.
pub async fn run(args: RunArgs) -> Result<(), Box<dyn std::error::Error>> {
    let endpoints = Endpoints::bind(args.metrics_bind_address, args.health_probe_bind_address).await?;
    let time = ServerTime::default();
    let client = client(&time).await?;
    let starter_image = match args.starter_image.clone() {
        Some(image) => image,
        None => own_image(&bounded(client.clone()), &args).await?,
    };
    let settings = Settings {
        scopes: args.namespaces(),
        defaults: Defaults {
            runner_image: args.runner_image.clone(),
            starter_image,
            common: defaults::read(args.defaults_file.as_deref())?,
        },
        keep_jobs: args.keep_finished_jobs.0,
        image_volumes: args.image_volumes,
        lease: args.lease()?,
        instance: args.pod_name.clone(),
        clock: time.clock(Clock::system()),
        metrics: Metrics::new("k6"),
        health: Health {
            heartbeat: Heartbeat::with_limit(STALLED),
            ..Health::default()
        },
    };
    let end = async {
        terminated().await;
        tracing::info!("shutting down");
    };
    let end = end.boxed().shared();
    let (metrics, health) = (settings.metrics.clone(), settings.health.clone());
    let serving = tokio::spawn(endpoints.run(metrics, health, end.clone()));
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        namespaces = settings.watched().join(","),
        "started"
    );
    let heartbeat = settings.health.heartbeat.clone();
    // In the same task as the operator: if that hangs, the heartbeat stops.
    let beating = async {
        loop {
            heartbeat.beat();
            tokio::time::sleep(STALLED / 10).await;
        }
    };
    tokio::select! {
        () = operate(client, settings, end) => {}
        _ = beating => {}
    }
    serving.await?;
    tracing::info!("ended");
    Ok(())
}

async fn own_image(client: &Client, args: &RunArgs) -> Result<String, Box<dyn std::error::Error>> {
    let (Some(namespace), Some(name)) = (&args.pod_namespace, &args.pod_name) else {
        return Err("outside a cluster, --starter-image must name the image of this program".into());
    };
    let pod = Api::<Pod>::namespaced(client.clone(), namespace)
        .get(name)
        .await?;
    let containers = pod.spec.map(|spec| spec.containers).unwrap_or_default();
    let manager = containers
        .iter()
        .find(|c| c.name == "manager")
        .or_else(|| containers.first());
    manager
        .and_then(|c| c.image.clone())
        .ok_or_else(|| format!("pod {namespace}/{name} has no image").into())
}

async fn terminated() {
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "signals can't be awaited");
            std::future::pending::<()>().await;
        }
    }
}
