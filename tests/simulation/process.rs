//! One process of an operator: a future that can be stopped, let go on, and killed, as a process can.

use super::api::Request;
use super::watch::Body;
use super::world::{Call, Reply, Shared, moment};
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Bytes;
use hyper::http::{self, Response};
use k6_operator::clock::Clock;
use k6_operator::objects::{Common, Defaults};
use k6_operator::operator::image_volumes::Usage;
use k6_operator::operator::telemetry::{Health, Metrics};
use k6_operator::operator::{Settings, leadership, operate};
use kube::Client;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::sync::oneshot;
use tokio::time::Instant;

#[derive(Debug, Default)]
struct State {
    frozen: bool,
    killed: bool,
    waker: Option<Waker>,
}

/// What happens to a process from outside.
#[derive(Debug, Default)]
pub struct Switch(Mutex<State>);

impl Switch {
    fn set(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    pub fn freeze(&self) {
        self.set(|state| state.frozen = true);
    }

    pub fn thaw(&self) {
        self.set(|state| state.frozen = false);
    }

    /// SIGKILL: nothing of it goes on.
    pub fn kill(&self) {
        self.set(|state| state.killed = true);
    }
}

/// The process.
struct Process {
    switch: Arc<Switch>,
    inner: Option<BoxFuture<'static, ()>>,
}

impl Future for Process {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let (frozen, killed) = {
            let mut state = self.switch.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.waker = Some(context.waker().clone());
            (state.frozen, state.killed)
        };
        match &mut self.inner {
            _ if killed => {
                self.inner = None;
                Poll::Ready(())
            }
            _ if frozen => Poll::Pending,
            Some(inner) => inner.as_mut().poll(context),
            None => Poll::Ready(()),
        }
    }
}

/// Starts the next process of an operator.
pub fn start(shared: &Shared, operator: usize, began: Instant, leased: bool) {
    let switch = Arc::new(Switch::default());
    let process = {
        let mut world = shared.lock();
        let Some(state) = world.operators.get_mut(operator).filter(|state| !state.alive) else {
            return;
        };
        state.alive = true;
        state.process += 1;
        state.switch = switch.clone();
        let process = state.process;
        world.note(&format!("operator {operator} begins"));
        process
    };
    let clock = {
        let shared = shared.clone();
        Clock::from_fn(move || {
            let offset = shared
                .lock()
                .operators
                .get(operator)
                .map_or(0, |state| state.clock);
            let elapsed = i64::try_from(began.elapsed().as_millis()).unwrap_or_default();
            moment(elapsed + offset)
        })
    };
    let identity = format!("operator-{operator}-{process}");
    let settings = Settings {
        scopes: vec![None],
        defaults: Defaults {
            runner_image: "k6".to_owned(),
            starter_image: "k6-operator".to_owned(),
            common: Common::default(),
        },
        keep_jobs: shared.lock().scenario.keep_jobs,
        image_volumes: Usage::default(),
        lease: leased.then(|| leadership::Settings {
            namespace: "system".to_owned(),
            name: "k6-operator".to_owned(),
            identity: identity.clone(),
        }),
        instance: Some(identity),
        clock,
        metrics: Metrics::new("k6"),
        health: Health::default(),
    };
    let client = client(shared.clone(), operator, process);
    let inner = Box::pin(operate(client, settings, std::future::pending()));
    tokio::spawn(Process {
        switch,
        inner: Some(inner),
    });
}

/// A client of the world's API server.
pub fn client(shared: Shared, operator: usize, process: u32) -> Client {
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        ask(shared.clone(), operator, process, request)
    });
    Client::new(service, "default")
}

async fn ask(
    shared: Shared,
    operator: usize,
    process: u32,
    request: http::Request<kube::client::Body>,
) -> Result<Response<Either<Full<Bytes>, Body>>, std::io::Error> {
    let broken = || std::io::Error::new(std::io::ErrorKind::ConnectionReset, "the connection broke");
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| broken())?.to_bytes();
    let content_type = parts.headers.get(http::header::CONTENT_TYPE);
    let request = Request::parse(
        parts.method.as_str(),
        parts.uri.path(),
        parts.uri.query().unwrap_or_default(),
        content_type
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default(),
        &body,
    );
    let (reply, answer) = oneshot::channel();
    shared.send(Call {
        operator,
        process,
        request,
        reply,
        late: false,
    });
    let (code, body) = match answer.await.map_err(|_| broken())? {
        Reply::Broken => return Err(broken()),
        Reply::Answer(code, body) => (code, Either::Left(Full::from(body.to_string()))),
        Reply::Text(code, text) => (code, Either::Left(Full::from(text))),
        Reply::Stream(watch) => (200, Either::Right(Body::new(shared, watch))),
    };
    let response = Response::builder().status(code).body(body);
    response.map_err(std::io::Error::other)
}
