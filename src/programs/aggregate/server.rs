//! The state of one run's aggregator: what the runners have sent, how the test ends, and what is published.

use super::kept::{Kept, KeptFile, KeptFiles, RestoreError};
use super::otlp::is_taken;
use super::serving;
use crate::aggregate::closing::{Closing, Turn};
use crate::aggregate::documents::Documents;
use crate::aggregate::export::export as exported;
use crate::aggregate::handle_summary::{Handled, Task};
use crate::aggregate::moment::{Moment, whole_millis};
use crate::aggregate::report::{Report, RunInfo};
use crate::aggregate::session::Session;
use crate::aggregate::store::{Export, Sender};
use crate::aggregate::summary::{self, Options};
use crate::clock::Clock;
use crate::protocol::heartbeat::Directive;
use crate::protocol::outcome::Outcome;
use crate::protocol::tokens::TokenHash;
use crate::protocol::verdict::{Reason, RunResult};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::num::ParseIntError;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::Instant;

pub use crate::limits::LARGEST_EXPORT;

/// The most bytes of exports that are read at the same time, over all runners. Others wait.
const IN_FLIGHT: usize = 2 * LARGEST_EXPORT;

/// What this clock shows when the aggregator starts, 30 days. It is not 0, as a test may have begun long before.
const BEGAN: Moment = Moment::after_origin(Duration::from_secs(30 * 24 * 60 * 60));

/// The most processes of a runner. Its Job makes one pod, or two where Kubernetes lost the first.
const MOST_PROCESSES: usize = 8;

/// Why a request is of no process of this run.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SenderError {
    /// A header that names the sender is missing.
    #[error("the header {0} is missing")]
    Header(&'static str),
    /// The runner is no number.
    #[error("{runner:?} is not a runner's number: {error}")]
    Number {
        /// The text in place of the number.
        runner: String,
        /// Why it is none.
        error: ParseIntError,
    },
    /// The run has fewer runners.
    #[error("there are {runners} runners, and no runner {runner}")]
    Runner {
        /// How many runners there are.
        runners: u32,
        /// The number that was given.
        runner: u32,
    },
    /// The process has a name that no process has.
    #[error("{0:?} does not name a process")]
    Process(String),
    /// The runner has had as many processes as it may have.
    #[error("runner {0} has had {MOST_PROCESSES} processes already")]
    Processes(u32),
}

impl IntoResponse for SenderError {
    fn into_response(self) -> Response {
        (StatusCode::BAD_REQUEST, self.to_string()).into_response()
    }
}

/// What an aggregator publishes at the end.
#[derive(Debug)]
pub enum Publication<'a> {
    /// The outcome, and the documents as they are printed.
    Result(&'a Outcome, &'a str),
    /// The result is withdrawn: a runner that counted as lost goes on.
    Withdrawn,
}

/// Receives what an aggregator publishes at the end.
pub struct Publisher(Box<dyn Fn(Publication<'_>) + Send + Sync>);

impl Publisher {
    /// A publisher that calls this function.
    pub fn new(publish: impl Fn(Publication<'_>) + Send + Sync + 'static) -> Self {
        Self(Box::new(publish))
    }
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Publisher")
    }
}

/// The aggregator of one run.
#[derive(Debug)]
pub struct Aggregator {
    /// The hash of the token that runners present.
    pub(super) token: TokenHash,
    /// How many runners there are.
    runners: u32,
    /// The processes that were heard of, by runner.
    processes: Mutex<BTreeMap<u32, BTreeSet<String>>>,
    /// Whether a request without the token has been logged.
    pub(super) has_warned: AtomicBool,
    options: Options,
    session: Mutex<Session>,
    about: Mutex<RunInfo>,
    closing: Mutex<Closing>,
    /// The published outcome and its documents, and how many results had been withdrawn before.
    published: Mutex<Option<(u32, Outcome, String)>>,
    publisher: Publisher,
    began: Instant,
    began_at: Timestamp,
    pub(super) kept: KeptFiles,
    /// A permit for each kibibyte that may be read.
    pub(super) in_flight: Arc<Semaphore>,
}

/// The name of a run, the hash of its token, and the options of its script that concern summaries.
#[derive(Clone, Debug)]
pub struct Names {
    /// The hash of the token that the runners have.
    pub token: TokenHash,
    /// The head of the report.
    pub about: RunInfo,
    /// The script's options that concern summaries.
    pub options: Options,
}

impl Aggregator {
    /// An aggregator that starts with what an earlier process kept in the folder `keep`, if there is one.
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
            published: Mutex::default(),
            publisher: Publisher::new(|_| {}),
            began: Instant::now(),
            began_at: clock.now(),
            kept: KeptFiles(keep),
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT / 1024)),
        };
        aggregator.restore();
        aggregator
    }

    /// Sets who receives what the aggregator publishes.
    pub fn publishing_to(self, publisher: Publisher) -> Self {
        Self { publisher, ..self }
    }

    pub(super) fn closing(&self) -> MutexGuard<'_, Closing> {
        self.closing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session, locked.
    pub fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A snapshot of the session, to be read while runners are answered.
    pub fn snapshot(&self) -> Session {
        self.session().snapshot()
    }

    /// The time of the aggregator's own clock.
    pub fn now(&self) -> Moment {
        BEGAN + whole_millis(self.began.elapsed())
    }

    /// The same clock at a time of the wall clock. A time in the future is now.
    fn at(&self, time: Timestamp) -> Moment {
        let ago = Duration::try_from(self.began_at.duration_since(time)).unwrap_or_default();
        BEGAN.saturating_sub(whole_millis(ago))
    }

    /// The wall clock at a time of this clock.
    fn wall(&self, time: Moment) -> Option<Timestamp> {
        // One of the two differences is zero.
        let after = self.began_at.checked_add(time.since(BEGAN)).ok()?;
        after.checked_sub(BEGAN.since(time)).ok()
    }

    /// The report of the test so far.
    pub fn report(&self) -> Report {
        let now = self.now();
        let about = self.about.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let session = self.snapshot();
        let started = session.started().and_then(|time| self.wall(time));
        Report::of(about, &session, &self.options, started, now)
    }

    /// The data of the summary in the form of k6, and the summary as a text.
    pub fn summary(&self) -> (Value, String) {
        let now = self.now();
        let session = self.snapshot();
        let data = summary::data(&session, &self.options, now);
        (data, summary::text(&session, &self.options, now))
    }

    /// The data of the summary in the form of `--new-machine-readable-summary`.
    pub fn machine_readable(&self) -> Value {
        let now = self.now();
        summary::machine_readable(&self.snapshot(), &self.options, now)
    }

    /// Judges for the last time and returns the outcome of the test.
    fn conclude(&self, session: &mut Session, now: Moment) -> Outcome {
        session.conclude(now);
        let outcome = Outcome::of(session, now);
        let mut about = self.about.lock().unwrap_or_else(PoisonError::into_inner);
        // The operator knows of other ways in which a run ends.
        *about = outcome.judging(RunInfo {
            result: Some(RunResult::Passed.as_str().to_owned()),
            reason: Some(Reason::AllRunnersPassed.as_str().to_owned()),
            message: Some("All runners have ended".to_owned()),
            ..about.clone()
        });
        outcome
    }

    /// Publishes the result, once everything that will arrive has arrived.
    pub fn close(&self) {
        let now = self.now();
        // Held to the end, so that a second caller finds the result published. This lock is taken before all others.
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        let withdrawn = {
            let mut session = self.session();
            let mut closing = self.closing();
            if !closing.tick(&session, now) || !closing.is_due(now) {
                return;
            }
            let handled = closing.outcome().cloned().unwrap_or_default();
            let withdrawn = closing.withdrawn();
            drop(closing);
            if published.as_ref().is_none_or(|(of, _, _)| *of != withdrawn) {
                let (outcome, printed) = self.result(&mut session, handled, now);
                *published = Some((withdrawn, outcome, printed));
            }
            withdrawn
        };
        if let Some((_, outcome, printed)) = published.as_ref() {
            (self.publisher.0)(Publication::Result(outcome, printed));
        }
        let mut closing = self.closing();
        if closing.withdrawn() == withdrawn {
            closing.tell(now);
        } else {
            (self.publisher.0)(Publication::Withdrawn);
        }
    }

    fn result(&self, session: &mut Session, handled: Handled, now: Moment) -> (Outcome, String) {
        let outcome = self.conclude(session, now);
        let data = summary::data(session, &self.options, now);
        let text = summary::text(session, &self.options, now);
        let about = self.about.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let started = session.started().and_then(|time| self.wall(time));
        let report = json!(Report::of(about, session, &self.options, started, now));
        (outcome, Documents::of(data, text, report, handled).printed())
    }

    /// Reopens a concluded session if a runner that counted as lost sends something.
    pub(super) fn reopen(&self, session: &mut Session, sender: &Sender) {
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
            (self.publisher.0)(Publication::Withdrawn);
        }
    }

    /// What a runner does next, once everything of it has arrived.
    pub(super) fn turn(&self, session: &Session, sender: &Sender, now: Moment) -> Directive {
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
    pub(super) fn hand_out(&self, sender: &Sender) -> Option<Task> {
        let now = self.now();
        let session = {
            let mut session = self.session();
            if !self.closing().claim(sender, now) {
                return None;
            }
            // The result that is kept is computed from the same data.
            self.conclude(&mut session, now);
            session.snapshot()
        };
        self.keep_claim();
        let data = summary::data(&session, &self.options, now);
        Some(Task {
            export: exported(&data).to_string(),
            data: data.to_string(),
            machine_readable: summary::machine_readable(&session, &self.options, now).to_string(),
            text: summary::text(&session, &self.options, now),
        })
    }

    /// Keeps which runner calls handleSummary(), and the result of the call.
    pub(super) fn keep_claim(&self) {
        if let Some(claim) = self.closing().claim_taken() {
            self.kept.keep_claim(&claim);
        }
    }

    /// Judges the thresholds and publishes the end, for as long as it is polled. It works on a snapshot and on a thread
    /// of its own, so that no runner waits for it.
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
                tracing::error!(%error, "the result could not be published");
            }
        }
    }

    /// Serves the routes on a socket, for as long as it is polled.
    pub async fn serve(self: Arc<Self>, socket: TcpListener) -> std::io::Result<()> {
        serving::serve(socket, self.routes()).await
    }

    /// Goes on with what an earlier process of the aggregator kept.
    fn restore(&self) {
        self.kept.read(|file| self.restore_one(file));
        if let Some(claim) = self.kept.claim() {
            *self.closing() = Closing::restored(claim, self.now());
        }
    }

    fn restore_one(&self, file: &KeptFile) -> Result<(), RestoreError> {
        let sender = self.named(&file.runner, &file.process)?;
        let content = file.content()?;
        let written = file.written_at().map_or(BEGAN, |time| self.at(time));
        match file.what {
            Kept::Export => {
                let export = Export::decode(&content).map_err(|error| self.refuse(&sender, error.into()))?;
                let taken = self.take_export(&sender, &export, written);
                if !is_taken(&taken) {
                    taken?;
                }
            }
            Kept::Heartbeat => {
                let heartbeat = serde_json::from_slice(&content)?;
                self.session().hear(&sender, heartbeat, written);
            }
        }
        Ok(())
    }

    /// The process of this name of this runner, as a sender of this run.
    pub(super) fn named(&self, runner: &str, process: &str) -> Result<Sender, SenderError> {
        let runner = runner.parse().map_err(|error| SenderError::Number {
            runner: runner.to_owned(),
            error,
        })?;
        if !(1..=self.runners).contains(&runner) {
            return Err(SenderError::Runner {
                runners: self.runners,
                runner,
            });
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if process.is_empty() || process.len() > 100 || !process.chars().all(is_name) {
            return Err(SenderError::Process(process.to_owned()));
        }
        let mut processes = self.processes.lock().unwrap_or_else(PoisonError::into_inner);
        let known = processes.entry(runner).or_default();
        if !known.contains(process) {
            if known.len() >= MOST_PROCESSES {
                return Err(SenderError::Processes(runner));
            }
            known.insert(process.to_owned());
        }
        Ok(Sender {
            runner,
            process: process.to_owned(),
        })
    }
}
