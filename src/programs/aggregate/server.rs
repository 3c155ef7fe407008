//! What the aggregator listens to: the exports of k6's OpenTelemetry output, and the words of the runners.

use super::admission::{ARRIVAL, Bodies, LARGEST_HANDLED, kibibytes, length_of, over_grpc, whole};
use super::serving;
use crate::aggregate::closing::{Claim, Closing, Turn};
use crate::aggregate::documents::Documents;
use crate::aggregate::export::export as exported;
use crate::aggregate::handle_summary::{Handled, Task};
use crate::aggregate::prometheus;
use crate::aggregate::report::{Report, RunInfo};
use crate::aggregate::session::Session;
use crate::aggregate::store::{ExportError, Sender};
use crate::aggregate::summary::{self, Options};
use crate::clock::Clock;
use crate::exposition;
use crate::limits::LARGEST_WORD;
use crate::protocol::heartbeat::{Answer, Directive, Heartbeat, Phase};
use crate::protocol::outcome::Outcome;
use crate::protocol::tokens::TokenHash;
use crate::protocol::verdict::{Reason, RunResult};
use crate::protocol::{PROCESS_HEADER, RUNNER_HEADER};
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderValue,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{
    Json, Router,
    body::{Body, Bytes},
};
use flate2::read::MultiGzDecoder;
use jiff::{SignedDuration, Timestamp};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer, SERVICE_NAME,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use prost::Message;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path as FilePath, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, interval};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::IntervalStream;

/// Where the summary is that a k6 with `--new-machine-readable-summary` makes.
pub const MACHINE_READABLE: &str = "/machine-readable.json";

pub use crate::limits::LARGEST_EXPORT;

/// As many bytes of exports are read at the same time, of all runners: others wait.
const IN_FLIGHT: usize = 2 * LARGEST_EXPORT;
/// For each mebibyte of an export the answer waits so long, since a k6 begins the next as soon as it has it: to export
/// many megabytes each second leaves no CPU for the load.
const PAUSE: Duration = Duration::from_millis(200);
/// It waits no longer than this: k6 gives up after 10 s.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// What the clock says when this begins, in ms: a test may have begun long before.
const BEGAN: u64 = 30 * 24 * 60 * 60 * 1_000;

/// As many steps are in a line of the stream: the last may still grow, and one line may get lost.
const TICK_STEPS: usize = 3;

/// Where it is written down who has called handleSummary(), and what came of it.
const CLOSING: &str = ".closing.json";

/// How many processes a runner may have had. Its Job makes one pod, or two where Kubernetes lost the first.
const MOST_PROCESSES: usize = 8;

/// What an aggregator tells of the end.
#[derive(Debug)]
pub enum Telling<'a> {
    /// What came of the test, and its documents as they are printed.
    Result(&'a Outcome, &'a str),
    /// A runner that counted as lost goes on.
    Withdrawn,
}

/// To whom the end is told.
pub struct Teller(Box<dyn Fn(Telling<'_>) + Send + Sync>);

impl Teller {
    /// To this one.
    pub fn new(tell: impl Fn(Telling<'_>) + Send + Sync + 'static) -> Self {
        Self(Box::new(tell))
    }
}

impl std::fmt::Debug for Teller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Teller")
    }
}

/// The aggregator of one run.
#[derive(Debug)]
pub struct Aggregator {
    /// By which the runners are known.
    token: TokenHash,
    /// How many runners there are.
    runners: u32,
    /// The processes that have said that they are of a runner.
    processes: Mutex<BTreeMap<u32, BTreeSet<String>>>,
    /// Whether it has been told that somebody else came.
    has_warned: AtomicBool,
    options: Options,
    session: Mutex<Session>,
    about: Mutex<RunInfo>,
    closing: Mutex<Closing>,
    /// What was told, as it was printed, and how often what was told before was taken back.
    told: Mutex<Option<(u32, Outcome, String)>>,
    teller: Teller,
    began: Instant,
    began_at: Timestamp,
    keep: Option<PathBuf>,
    /// A permit for each kibibyte that may be read.
    in_flight: Arc<Semaphore>,
}

/// What a run is called, how its runners are known, and what its script says of summaries.
#[derive(Clone, Debug)]
pub struct Names {
    /// The hash of the token that the runners have.
    pub token: TokenHash,
    /// What the report is headed with.
    pub about: RunInfo,
    /// What of the script's options concerns the summary.
    pub options: Options,
}

impl Aggregator {
    /// Nothing has come yet, or what an earlier process has kept.
    pub fn new(names: Names, mut session: Session, keep: Option<PathBuf>, clock: &Clock) -> Self {
        session.began = BEGAN;
        let aggregator = Self {
            token: names.token,
            runners: session.expected,
            processes: Mutex::default(),
            has_warned: AtomicBool::new(false),
            options: names.options,
            session: Mutex::new(session),
            about: Mutex::new(names.about),
            closing: Mutex::default(),
            told: Mutex::default(),
            teller: Teller::new(|_| {}),
            began: Instant::now(),
            began_at: clock.now(),
            keep,
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT / 1024)),
        };
        aggregator.remember();
        aggregator
    }

    /// The same, that tells the end to this one.
    pub fn telling(self, teller: Teller) -> Self {
        Self { teller, ..self }
    }

    fn closing(&self) -> MutexGuard<'_, Closing> {
        self.closing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known now.
    pub fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, to be read while runners are answered.
    pub fn snapshot(&self) -> Session {
        self.session().snapshot()
    }

    /// The time, in ms of a clock that this began.
    pub fn now(&self) -> u64 {
        let elapsed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        BEGAN.saturating_add(elapsed)
    }

    /// When a file was written, by that clock.
    fn written(&self, path: &std::path::Path) -> u64 {
        let modified = std::fs::metadata(path).and_then(|file| file.modified());
        let modified = modified.ok().and_then(|time| Timestamp::try_from(time).ok());
        let ago = modified.map_or(SignedDuration::ZERO, |time| self.began_at.duration_since(time));
        BEGAN.saturating_sub(u64::try_from(ago.as_millis()).unwrap_or_default())
    }

    /// What other clocks say at a time of that one.
    fn wall(&self, time: u64) -> Option<Timestamp> {
        let since = i64::try_from(i128::from(time) - i128::from(BEGAN)).ok()?;
        self.began_at.checked_add(SignedDuration::from_millis(since)).ok()
    }

    /// The report of what is known now.
    pub fn report(&self) -> Report {
        let now = self.now();
        let about = self.about.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let session = self.snapshot();
        let started = session.started().and_then(|time| self.wall(time));
        Report::of(about, &session, &self.options, started, now)
    }

    /// The summary in k6's form, and as a text.
    pub fn summary(&self) -> (Value, String) {
        let now = self.now();
        let session = self.snapshot();
        let data = summary::data(&session, &self.options, now);
        (data, summary::text(&session, &self.options, now))
    }

    /// The same for a k6 that makes machine-readable summaries.
    pub fn machine_readable(&self) -> Value {
        let now = self.now();
        summary::machine_readable(&self.snapshot(), &self.options, now)
    }

    /// Judges for the last time, and says what came of the test.
    fn conclude(&self, session: &mut Session, now: u64) -> Outcome {
        session.conclude(now);
        let outcome = Outcome::of(session, now);
        let mut about = self.about.lock().unwrap_or_else(PoisonError::into_inner);
        // What else there is to say of the end, the operator knows.
        *about = outcome.judging(RunInfo {
            result: Some(RunResult::Passed.as_str().to_owned()),
            reason: Some(Reason::AllRunnersPassed.as_str().to_owned()),
            message: Some("All runners have ended".to_owned()),
            ..about.clone()
        });
        outcome
    }

    /// Tells the result, once all that will come is there.
    pub fn close(&self) {
        let now = self.now();
        // Held to the end: who comes second finds it told. It is taken before all other locks.
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let withdrawn = {
            let mut session = self.session();
            let mut closing = self.closing();
            if !closing.tick(&session, now) || !closing.is_due(now) {
                return;
            }
            let handled = closing.outcome().cloned().unwrap_or_default();
            let withdrawn = closing.withdrawn();
            drop(closing);
            if told.as_ref().is_none_or(|(of, _, _)| *of != withdrawn) {
                let (outcome, printed) = self.result(&mut session, handled, now);
                *told = Some((withdrawn, outcome, printed));
            }
            withdrawn
        };
        if let Some((_, outcome, printed)) = told.as_ref() {
            (self.teller.0)(Telling::Result(outcome, printed));
        }
        let mut closing = self.closing();
        if closing.withdrawn() == withdrawn {
            closing.tell(now);
        } else {
            (self.teller.0)(Telling::Withdrawn);
        }
    }

    fn result(&self, session: &mut Session, handled: Handled, now: u64) -> (Outcome, String) {
        let outcome = self.conclude(session, now);
        let data = summary::data(session, &self.options, now);
        let text = summary::text(session, &self.options, now);
        let about = self.about.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let started = session.started().and_then(|time| self.wall(time));
        let report = json!(Report::of(about, session, &self.options, started, now));
        (outcome, Documents::of(data, text, report, handled).printed())
    }

    /// Goes on, if a runner that counted as lost has something to say.
    fn reopen(&self, session: &mut Session, sender: &Sender) {
        if !session.is_concluded() || session.is_over() || session.has_ended(sender) {
            return;
        }
        session.reopen();
        let mut closing = self.closing();
        let was_told = closing.is_told();
        closing.reopen();
        drop(closing);
        let mut about = self.about.lock().unwrap_or_else(PoisonError::into_inner);
        (about.result, about.reason, about.message) = (None, None, None);
        drop(about);
        if was_told {
            (self.teller.0)(Telling::Withdrawn);
        }
    }

    /// What a runner is told, of which all is there and which would end.
    fn turn(&self, session: &Session, sender: &Sender, now: u64) -> Directive {
        match self.closing().turn(sender, session, now) {
            Turn::Wait => Directive::Continue {},
            Turn::Sum => Directive::Summarize {},
            Turn::End => Directive::End { crossed: None },
            Turn::EndLast => Directive::End {
                crossed: session.crossed(),
            },
        }
    }

    /// The merged data, for the one runner that calls handleSummary().
    fn hand_out(&self, sender: &Sender) -> Option<Task> {
        let now = self.now();
        let session = {
            let mut session = self.session();
            if !self.closing().claim(sender, now) {
                return None;
            }
            // What it is given is what is kept.
            self.conclude(&mut session, now);
            session.snapshot()
        };
        self.write_closing();
        let data = summary::data(&session, &self.options, now);
        Some(Task {
            export: exported(&data).to_string(),
            data: data.to_string(),
            machine_readable: summary::machine_readable(&session, &self.options, now).to_string(),
            text: summary::text(&session, &self.options, now),
        })
    }

    /// It survives this process: handleSummary() is called once.
    fn write_closing(&self) {
        let (Some(folder), Some(claim)) = (&self.keep, self.closing().claim_taken()) else {
            return;
        };
        let partial = folder.join(format!("{CLOSING}.part"));
        let written = std::fs::write(&partial, serde_json::to_vec(&claim).unwrap_or_default())
            .and_then(|()| std::fs::rename(&partial, folder.join(CLOSING)));
        if let Err(error) = written {
            tracing::warn!(%error, folder = %folder.display(), "who calls handleSummary() could not be written down");
        }
    }

    /// Judges the thresholds, and tells the end, for as long as it is polled: on a snapshot and a thread of its own, so
    /// that no runner waits for it.
    pub async fn judge(self: Arc<Self>) {
        let mut tick = tokio::time::interval(Duration::from_millis(500));
        loop {
            tick.tick().await;
            let now = self.now();
            let snapshot = {
                let session = self.session();
                session.is_due(now).then(|| session.snapshot())
            };
            if let Some(snapshot) = snapshot {
                match tokio::task::spawn_blocking(move || snapshot.look(now)).await {
                    Ok(looked) => self.session().take_in(looked, now),
                    Err(error) => tracing::error!(%error, "the thresholds could not be judged"),
                }
            }
            let closing = Arc::clone(&self);
            if let Err(error) = tokio::task::spawn_blocking(move || closing.close()).await {
                tracing::error!(%error, "the result could not be told");
            }
        }
    }

    /// Answers on a socket, for as long as it is polled.
    pub async fn serve(self: Arc<Self>, socket: TcpListener) -> std::io::Result<()> {
        serving::serve(socket, self.routes()).await
    }

    /// What is answered, over HTTP/1.1 and, for gRPC, HTTP/2.
    pub fn routes(self: Arc<Self>) -> Router {
        let grpc =
            MetricsServiceServer::new(Grpc(Arc::clone(&self))).max_decoding_message_size(LARGEST_EXPORT);
        let words = Bodies::up_to(LARGEST_WORD);
        let answers = Bodies::up_to(LARGEST_HANDLED);
        let grpc = Router::new()
            .route_service(&format!("/{SERVICE_NAME}/{{*method}}"), grpc)
            .route_layer(from_fn_with_state(Arc::clone(&self), over_grpc));
        let of_runners = Router::new()
            .merge(grpc)
            .route("/v1/metrics", post(export))
            .route(
                "/runners/{runner}/{process}",
                post(word).layer(from_fn_with_state(words.clone(), whole)),
            )
            .route(
                "/runners/{runner}/{process}/task",
                post(task).layer(from_fn_with_state(words, whole)),
            )
            .route(
                "/runners/{runner}/{process}/handled",
                post(handled)
                    .layer(DefaultBodyLimit::max(LARGEST_HANDLED))
                    .layer(from_fn_with_state(answers, whole)),
            )
            // The outermost: nothing else is read of whom it refuses.
            .route_layer(from_fn_with_state(Arc::clone(&self), only_runners));
        Router::new()
            .route("/", get(page))
            .route("/healthz", get(async || "ok"))
            .route("/metrics", get(metrics))
            .route("/report.json", get(report))
            .route("/stream", get(stream))
            .route(
                "/summary.json",
                get(async |State(it): State<Arc<Self>>| Json(it.summary().0)),
            )
            .route(
                MACHINE_READABLE,
                get(async |State(it): State<Arc<Self>>| Json(it.machine_readable())),
            )
            .route(
                "/summary.txt",
                get(async |State(it): State<Arc<Self>>| it.summary().1),
            )
            .merge(of_runners)
            .layer(from_fn(known_host))
            .with_state(self)
    }

    /// An export, as it came. One that is refused is held against its sender until another is taken.
    pub fn take(&self, sender: &Sender, body: &[u8]) -> Result<(), ExportError> {
        let export = match ExportMetricsServiceRequest::decode(body) {
            Ok(export) => export,
            Err(error) => return Err(self.refuse(sender, ExportError::Unreadable(error.to_string()))),
        };
        let taken = self.take_export(sender, &export, self.now());
        if is_taken(&taken) {
            self.write_down(sender, Kept::Export, body);
        }
        taken
    }

    /// Room for an export, once there is.
    pub(super) async fn room(&self, kibibytes: u32) -> Option<OwnedSemaphorePermit> {
        let room = Arc::clone(&self.in_flight);
        room.acquire_many_owned(kibibytes).await.ok()
    }

    pub(super) fn refuse(&self, sender: &Sender, error: ExportError) -> ExportError {
        self.session().refuse(sender, error.clone());
        error
    }

    fn take_export(
        &self,
        sender: &Sender,
        export: &ExportMetricsServiceRequest,
        now: u64,
    ) -> Result<(), ExportError> {
        let mut session = self.session();
        self.reopen(&mut session, sender);
        session.export(sender, export, now)
    }

    /// The last export and the last word of each process survive this one.
    fn write_down(&self, sender: &Sender, what: Kept, body: &[u8]) {
        let Some(folder) = &self.keep else {
            return;
        };
        let name = format!("{}-{}.{}", sender.runner, sender.process, what.suffix());
        let partial = folder.join(format!(".{name}"));
        let written =
            std::fs::write(&partial, body).and_then(|()| std::fs::rename(&partial, folder.join(name)));
        if let Err(error) = written {
            tracing::warn!(%error, folder = %folder.display(), "what came could not be written down");
        }
    }

    fn remember(&self) {
        let Some(folder) = &self.keep else {
            return;
        };
        set_aside_unfinished(folder);
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .filter_map(|file| Some(file.ok()?.path()))
            .collect();
        // Exports before words, which are held against them.
        files.sort_by_key(|path| path.extension() != Some(OsStr::new(Kept::Export.suffix())));
        for path in files {
            // Of what ends this process, the next one knows by that.
            begin_reading(folder, &path);
            if let Err(error) = self.remember_one(&path) {
                tracing::warn!(%error, path = %path.display(), "what was written down could not be read, and is set aside");
                set_aside(folder, &path);
            }
        }
        end_reading(folder);
        let claim = std::fs::read(folder.join(CLOSING)).ok();
        let claim = claim.and_then(|claim| serde_json::from_slice::<Claim>(&claim).ok());
        if let Some(claim) = claim {
            *self.closing() = Closing::restored(claim, self.now());
        }
    }

    fn named(&self, runner: &str, process: &str) -> Result<Sender, String> {
        let runner = runner
            .parse()
            .map_err(|error| format!("{runner:?} is not a runner's number: {error}"))?;
        if !(1..=self.runners).contains(&runner) {
            return Err(format!(
                "there are {} runners, and no runner {runner}",
                self.runners
            ));
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if process.is_empty() || process.len() > 100 || !process.chars().all(is_name) {
            return Err(format!("{process:?} does not name a process"));
        }
        let mut processes = self.processes.lock().unwrap_or_else(PoisonError::into_inner);
        let known = processes.entry(runner).or_default();
        if !known.contains(process) {
            if known.len() >= MOST_PROCESSES {
                return Err(format!(
                    "runner {runner} has had {MOST_PROCESSES} processes already"
                ));
            }
            known.insert(process.to_owned());
        }
        Ok(Sender {
            runner,
            process: process.to_owned(),
        })
    }

    fn remember_one(&self, path: &std::path::Path) -> Result<(), String> {
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let Some((name, suffix)) = name.split_once('.').filter(|(name, _)| !name.is_empty()) else {
            return Ok(());
        };
        let (runner, process) = name.split_once('-').ok_or("its name names no process")?;
        let sender = self.named(runner, process)?;
        let body = std::fs::read(path).map_err(|error| error.to_string())?;
        if suffix == Kept::Export.suffix() {
            let read = ExportMetricsServiceRequest::decode(body.as_slice());
            let export = read.map_err(|error| {
                let error = ExportError::Unreadable(error.to_string());
                self.refuse(&sender, error).to_string()
            })?;
            let taken = self.take_export(&sender, &export, self.written(path));
            return if is_taken(&taken) {
                Ok(())
            } else {
                taken.map_err(|error| error.to_string())
            };
        }
        let word = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        self.session().hear(&sender, word, self.written(path));
        Ok(())
    }
}

/// Where it is written down which file is being read.
const READING: &str = ".reading";

fn begin_reading(folder: &FilePath, path: &FilePath) {
    let name = path.file_name().unwrap_or_default();
    if let Err(error) = std::fs::write(folder.join(READING), name.as_encoded_bytes()) {
        tracing::warn!(%error, folder = %folder.display(), "it could not be written down what is read");
    }
}

fn end_reading(folder: &FilePath) {
    let _ = std::fs::remove_file(folder.join(READING));
}

/// Sets aside what an earlier process began to read, and did not come to the end of: to be read again and again, it
/// would end each process.
fn set_aside_unfinished(folder: &FilePath) {
    let Ok(name) = std::fs::read_to_string(folder.join(READING)) else {
        return;
    };
    end_reading(folder);
    let is_name = !name.is_empty() && !name.starts_with('.') && !name.contains('/');
    if is_name && folder.join(&name).exists() {
        tracing::warn!(%name, "an earlier process ended while it read this, which is set aside");
        set_aside(folder, &folder.join(name));
    }
}

/// A file that is not read again. The next export or word of its process takes its place.
fn set_aside(folder: &FilePath, path: &FilePath) {
    let mut name = OsString::from(".aside-");
    name.push(path.file_name().unwrap_or_default());
    if let Err(error) = std::fs::rename(path, folder.join(name)) {
        tracing::warn!(%error, path = %path.display(), "it could not be set aside");
    }
}

/// What is written down of a process.
#[derive(Clone, Copy)]
enum Kept {
    /// Its last export, as it came.
    Export,
    /// Its last word, once its part of the test has ended.
    Heartbeat,
}

impl Kept {
    fn suffix(self) -> &'static str {
        match self {
            Self::Export => "otlp",
            Self::Heartbeat => "json",
        }
    }
}

fn is_taken(taken: &Result<(), ExportError>) -> bool {
    taken.as_ref().err().is_none_or(ExportError::is_taken)
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, String> {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.ok_or_else(|| format!("the header {name} is missing"))
}

/// Lets the runners of this run through, before anything else is read of what they send. Others are told nothing.
async fn only_runners(State(aggregator): State<Arc<Aggregator>>, request: Request, next: Next) -> Response {
    if aggregator.token.admits(request.headers()) {
        return next.run(request).await;
    }
    // Once: a stranger is not to fill the log.
    if !aggregator.has_warned.swap(true, Ordering::Relaxed) {
        tracing::warn!("a request without the token of this run was refused, and more may be");
    }
    (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer")]).into_response()
}

/// What a browser may do with an answer: what the page of the report says of itself, and no other page may frame it.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src \
                              'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Refuses a page that a browser asks for by a name which only stands for the address of another: so a web page could
/// read a report that is reached by `kubectl port-forward`.
/// <https://en.wikipedia.org/wiki/DNS_rebinding>
async fn known_host(request: Request, next: Next) -> Response {
    let header = request
        .headers()
        .get(HOST)
        .map(|host| host.to_str().unwrap_or("?"));
    let host = header.or_else(|| request.uri().authority().map(Authority::as_str));
    if host.is_none_or(is_known_host) {
        let is_read = request.method() == Method::GET;
        let mut answer = next.run(request).await;
        if is_read {
            let headers = answer.headers_mut();
            headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_POLICY));
            headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        }
        return answer;
    }
    let why = "ask for it by its address, as localhost, or by the name of the Service that ends with .svc";
    (StatusCode::FORBIDDEN, why).into_response()
}

/// Whether nobody outside the cluster can have a name like this one: an address, localhost, the name of a Service.
fn is_known_host(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => name,
        Some(_) | None => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    bare.parse::<IpAddr>().is_ok()
        || !name.contains('.')
        || [".svc", ".svc.cluster.local", ".localhost"]
            .iter()
            .any(|end| name.ends_with(end))
}

/// Who sends, if it is one of this run's.
pub(super) fn sender(aggregator: &Aggregator, headers: &HeaderMap) -> Result<Sender, String> {
    aggregator.named(header(headers, RUNNER_HEADER)?, header(headers, PROCESS_HEADER)?)
}

/// OTLP over gRPC: <https://opentelemetry.io/docs/specs/otlp/#otlpgrpc>.
struct Grpc(Arc<Aggregator>);

#[tonic::async_trait]
impl MetricsService for Grpc {
    async fn export(
        &self,
        request: tonic::Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, tonic::Status> {
        let (metadata, _, export) = request.into_parts();
        let taken = sender(&self.0, &metadata.into_headers()).and_then(|sender| {
            let taken = self.0.take_export(&sender, &export, self.0.now());
            if self.0.keep.is_some() && is_taken(&taken) {
                self.0.write_down(&sender, Kept::Export, &export.encode_to_vec());
            }
            taken.map_err(|error| error.to_string())
        });
        match taken {
            Ok(()) => Ok(tonic::Response::new(ExportMetricsServiceResponse::default())),
            Err(why) => {
                tracing::warn!(%why, "an export was refused");
                Err(tonic::Status::invalid_argument(why))
            }
        }
    }
}

/// OTLP over HTTP: <https://opentelemetry.io/docs/specs/otlp/#otlphttp>.
async fn export(State(aggregator): State<Arc<Aggregator>>, headers: HeaderMap, body: Body) -> Response {
    let sender = match sender(&aggregator, &headers) {
        Ok(sender) => sender,
        Err(why) => {
            tracing::warn!(%why, "an export was refused");
            return (StatusCode::BAD_REQUEST, why).into_response();
        }
    };
    let (bytes, taken) = match read(&aggregator, &headers, body).await {
        Ok((body, _room)) => {
            let (aggregator, sender) = (Arc::clone(&aggregator), sender.clone());
            let bytes = body.len();
            let taken = tokio::task::spawn_blocking(move || aggregator.take(&sender, &body)).await;
            // It was aborted.
            (
                bytes,
                taken
                    .unwrap_or(Ok(()))
                    .map_err(|error| (StatusCode::BAD_REQUEST, error)),
            )
        }
        // It has not come, and nothing says that it ever will: its sender will try again.
        Err(Unread::Lost) => return StatusCode::REQUEST_TIMEOUT.into_response(),
        Err(Unread::Refused(status, error)) => (0, Err((status, aggregator.refuse(&sender, error)))),
    };
    match taken {
        Ok(()) => {
            pause(&aggregator, &sender, bytes).await;
            ([(CONTENT_TYPE, "application/x-protobuf")], Bytes::new()).into_response()
        }
        Err((status, why)) => {
            tracing::warn!(%why, runner = sender.runner, "an export was refused");
            (status, why.to_string()).into_response()
        }
    }
}

/// Waits after a large export, unless the part of its sender has ended: then each is awaited.
async fn pause(aggregator: &Aggregator, sender: &Sender, bytes: usize) {
    let mebibytes = u32::try_from(bytes / (1024 * 1024)).unwrap_or(u32::MAX);
    let until = Instant::now() + PAUSE.saturating_mul(mebibytes).min(LONGEST_PAUSE);
    while Instant::now() < until && !aggregator.session().has_ended(sender) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Why an export was not read.
enum Unread {
    /// It did not come.
    Lost,
    /// It can't be read.
    Refused(StatusCode, ExportError),
}

/// Reads an export, if it is no larger than one may be, and when there is room for it.
async fn read(
    aggregator: &Aggregator,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Bytes, OwnedSemaphorePermit), Unread> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let is_gzip = match text(CONTENT_ENCODING) {
        None => !headers.contains_key(CONTENT_ENCODING),
        Some(encoding) => encoding == "identity" || encoding == "gzip",
    };
    if text(CONTENT_TYPE) != Some("application/x-protobuf") || !is_gzip {
        let why = "application/x-protobuf is read, plain or as gzip, and nothing else".to_owned();
        return Err(Unread::Refused(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ExportError::Unreadable(why),
        ));
    }
    let too_large = || {
        let error = ExportError::TooLarge(LARGEST_EXPORT);
        Unread::Refused(StatusCode::PAYLOAD_TOO_LARGE, error)
    };
    let length = length_of(headers);
    let most = length.unwrap_or(LARGEST_EXPORT);
    if most > LARGEST_EXPORT {
        return Err(too_large());
    }
    let reading = async {
        let room = aggregator.room(kibibytes(most)).await.ok_or(Unread::Lost)?;
        let mut whole = Vec::with_capacity(length.unwrap_or_default());
        let mut body = body.into_data_stream();
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|_| Unread::Lost)?;
            if whole.len() + piece.len() > most {
                return Err(too_large());
            }
            whole.extend_from_slice(&piece);
        }
        Ok((whole, room))
    };
    let read = tokio::time::timeout(ARRIVAL, reading).await;
    let (mut whole, room) = read.map_err(|_| Unread::Lost)??;
    if text(CONTENT_ENCODING) == Some("gzip") {
        whole = expanded(&whole)?;
    }
    Ok((Bytes::from(whole), room))
}

/// What was compressed by gzip, if it is no larger than an export may be.
fn expanded(body: &[u8]) -> Result<Vec<u8>, Unread> {
    let mut whole = Vec::new();
    let read = MultiGzDecoder::new(body)
        .take(LARGEST_EXPORT as u64 + 1)
        .read_to_end(&mut whole)
        .map_err(|error| {
            let error = ExportError::Unreadable(format!("it is not gzip: {error}"));
            Unread::Refused(StatusCode::BAD_REQUEST, error)
        })?;
    if read > LARGEST_EXPORT {
        let error = ExportError::TooLarge(LARGEST_EXPORT);
        return Err(Unread::Refused(StatusCode::PAYLOAD_TOO_LARGE, error));
    }
    Ok(whole)
}

async fn page(State(aggregator): State<Arc<Aggregator>>) -> Html<String> {
    Html(aggregator.report().page())
}

async fn metrics(State(aggregator): State<Arc<Aggregator>>, headers: HeaderMap) -> Response {
    let text = prometheus::text(&aggregator.snapshot());
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    match text.map(|text| exposition::answer(text, accept)) {
        Ok((kind, text)) => ([(CONTENT_TYPE, kind)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn report(State(aggregator): State<Arc<Aggregator>>) -> Json<Report> {
    Json(aggregator.report())
}

/// The report as it becomes, a line of JSON each second: whole at first, then what is new.
async fn stream(State(aggregator): State<Arc<Aggregator>>) -> Response {
    let seconds = IntervalStream::new(interval(Duration::from_secs(1)));
    let mut known = None;
    let mut over = false;
    let lines = seconds.map(move |_| {
        if over {
            return None;
        }
        let report = aggregator.report();
        over = !report.is_live();
        let steps = report.steps();
        // Neighbours have been joined when there are fewer.
        let whole = over || known.is_none_or(|known| steps < known);
        known = Some(steps);
        let line = if whole {
            json!(report)
        } else {
            report.tick(TICK_STEPS)
        };
        Some(Ok::<_, Infallible>(format!("{line}\n")))
    });
    let lines = lines.take_while(Option::is_some).filter_map(|line| line);
    let kind = [
        (CONTENT_TYPE, "application/x-ndjson"),
        (CACHE_CONTROL, "no-store"),
    ];
    (kind, Body::from_stream(lines)).into_response()
}

async fn word(
    State(aggregator): State<Arc<Aggregator>>,
    Path((runner, process)): Path<(String, String)>,
    Json(word): Json<Heartbeat>,
) -> Result<Json<Answer>, (StatusCode, String)> {
    let refused = |why| (StatusCode::BAD_REQUEST, why);
    let sender = aggregator.named(&runner, &process).map_err(refused)?;
    if word.phase >= Phase::Ended {
        let written = serde_json::to_vec(&word).unwrap_or_default();
        aggregator.write_down(&sender, Kept::Heartbeat, &written);
    }
    let now = aggregator.now();
    let mut session = aggregator.session();
    aggregator.reopen(&mut session, &sender);
    let lingers = word.phase == Phase::Ended;
    let order = match session.hear(&sender, word, now) {
        Directive::End { .. } if lingers => aggregator.turn(&session, &sender, now),
        order @ (Directive::Continue {}
        | Directive::Stop { .. }
        | Directive::Abort { .. }
        | Directive::TearDown {}
        | Directive::Summarize {}
        | Directive::End { .. }) => order,
    };
    let ends = lingers && matches!(order, Directive::End { .. } | Directive::Summarize {});
    let sent = session.store.senders().get(&sender).filter(|_| ends);
    let series = sent.map_or(0, |sent| sent.kept());
    let series = u32::try_from(series).unwrap_or(u32::MAX);
    let rates = session.wants_rates(&sender);
    Ok(Json(Answer { order, series, rates }))
}

/// The merged data, for the runner that was asked to call handleSummary().
async fn task(
    State(aggregator): State<Arc<Aggregator>>,
    Path((runner, process)): Path<(String, String)>,
) -> Result<Json<Task>, (StatusCode, String)> {
    let refused = |why| (StatusCode::BAD_REQUEST, why);
    let sender = aggregator.named(&runner, &process).map_err(refused)?;
    let task = aggregator.hand_out(&sender);
    let why = || {
        (
            StatusCode::CONFLICT,
            "another runner calls handleSummary()".to_owned(),
        )
    };
    task.map(Json).ok_or_else(why)
}

/// What came of handleSummary(). The result is told then, and the runner may end.
async fn handled(
    State(aggregator): State<Arc<Aggregator>>,
    Path((runner, process)): Path<(String, String)>,
    Json(handled): Json<Handled>,
) -> Result<Json<Answer>, (StatusCode, String)> {
    let refused = |why| (StatusCode::BAD_REQUEST, why);
    let sender = aggregator.named(&runner, &process).map_err(refused)?;
    if aggregator.closing().handled(&sender, handled) {
        aggregator.write_closing();
    }
    aggregator.close();
    let now = aggregator.now();
    let session = aggregator.session();
    let order = aggregator.turn(&session, &sender, now);
    Ok(Json(Answer {
        order,
        series: 0,
        rates: false,
    }))
}
