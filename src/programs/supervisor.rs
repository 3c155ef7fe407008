//! The dialogue of a runner with the aggregator: heartbeats about its k6, and the directives that come back.

use super::http::{RequestError, ask};
use super::k6_client::{Client, Status};
use super::linger::LingerArgs;
use super::process::{log_error, tell};
use super::setup::{Failed, data_at, failure_of};
use super::summing::Plan;
use crate::aggregate::handle_summary::{Handled, Task};
use crate::aggregate::k6_metrics::rates;
use crate::aggregate::session::LAST_EXPORT;
use crate::k6::execution::{ENDED, INTERRUPTED, PAUSED_BEFORE_RUN};
use crate::k6::exit_code::{
    MARKED_AS_FAILED, SCRIPT_ABORTED, SCRIPT_EXCEPTION, TEARDOWN_TIMEOUT, THRESHOLDS_CROSSED,
};
use crate::k6::metrics::MetricKind;
use crate::protocol::heartbeat::{Answer, Directive, Heartbeat, K6Metrics, Phase};
use crate::protocol::tokens::Token;
use hyper::body::Bytes;
use hyper::header::AUTHORIZATION;
use hyper::{Method, StatusCode};
use rustix::process::{Pid, Signal};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;
use thiserror::Error;
use tokio::time::{Instant, sleep};

/// How often k6 is asked for its status.
const LOOK: Duration = Duration::from_millis(250);
/// How often the aggregator gets a heartbeat while nothing changes. There can be a thousand runners.
const WORD: Duration = Duration::from_secs(1);
/// How long an answer of k6 or the aggregator may take.
const ANSWER: Duration = Duration::from_secs(4);
/// How long the aggregator may take to publish the result once it has everything.
const CLOSED_WITHIN: Duration = Duration::from_secs(90);
/// How long it may take to fetch the merged data, which can be many megabytes, or to bring the result of
/// handleSummary().
const FETCH: Duration = Duration::from_secs(30);
/// The time that k6 may take to end for each series that it sums up, added to [`LingerArgs::grace`]. A k6 1.1 with
/// 16,000 different checks took 30 s on a loaded machine.
const GRACE_EACH: Duration = Duration::from_millis(5);
/// The longest time that k6 may take to end.
const LONGEST_GRACE: Duration = Duration::from_secs(600);

/// Reads the numbers of metrics from k6's REST API, without those of submetrics.
fn numbers_of(metrics: &[Value]) -> K6Metrics {
    let numbers = |metric: &Value| {
        let name = metric.get("id")?.as_str().filter(|name| !name.contains('{'))?;
        let sample = metric.get("attributes")?.get("sample")?.as_object()?;
        let numbers = sample
            .iter()
            .filter_map(|(label, number)| Some((label.clone(), number.as_f64()?)));
        Some((name.to_owned(), numbers.collect()))
    };
    metrics.iter().filter_map(numbers).collect()
}

/// Why a request to the aggregator failed.
#[derive(Debug, Error)]
enum DialogueError {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("{0}: {1}")]
    Refused(StatusCode, String),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// Watches k6, reports to the aggregator, and carries out its directives.
pub(super) struct Supervisor<'a> {
    args: &'a LingerArgs,
    plan: &'a Plan,
    /// The text of the header `authorization`.
    bearer: Option<String>,
    path: String,
    client: Option<Client>,
    started: Option<Instant>,
    ended: Option<Instant>,
    own: Option<K6Metrics>,
    /// The types of the script's own metrics that have thresholds, as k6 tells them.
    kinds: BTreeMap<String, MetricKind>,
    /// Whether the aggregator needs k6's own rates while this part of the test runs.
    wants_rates: bool,
    stopped: bool,
    /// Whether the test was aborted here, and not by a directive or a signal.
    aborted: bool,
    /// Whether the test was ended here because another runner aborted it.
    abort_ordered: bool,
    /// Whether k6 was signalled, as when the pod is deleted. That ends this runner and not the test.
    signalled: &'a Cell<bool>,
    let_go: bool,
    /// Whether k6 did not end in time and was killed.
    killed: bool,
    torn_down: Option<Result<(), Failed>>,
    /// The thresholds that were crossed over all runners, if this runner reports them by its exit code.
    crossed: Option<String>,
    /// The merged data for handleSummary(), once this runner has it.
    pub task: Option<Task>,
    /// What setup() returned, as JSON, if handleSummary() is called here.
    setup_data: Option<Bytes>,
}

impl<'a> Supervisor<'a> {
    pub fn new(
        args: &'a LingerArgs,
        plan: &'a Plan,
        signalled: &'a Cell<bool>,
        token: Option<&Token>,
    ) -> Self {
        Self {
            args,
            plan,
            bearer: token.map(Token::bearer),
            path: format!("/runners/{}/{}", args.runner, args.process),
            client: None,
            started: None,
            ended: None,
            own: None,
            kinds: BTreeMap::new(),
            wants_rates: false,
            stopped: false,
            aborted: false,
            abort_ordered: false,
            signalled,
            let_go: false,
            killed: false,
            torn_down: None,
            crossed: None,
            task: None,
            setup_data: None,
        }
    }

    /// The exit code of this program, given the exit code of k6 and whether its log marks the test as failed. The order
    /// of precedence is k6's: <https://github.com/grafana/k6/blob/v2.2.0/internal/cmd/run.go>
    pub fn code(&self, code: u8, is_marked: bool) -> u8 {
        if self.stopped && self.ended.is_some() {
            return THRESHOLDS_CROSSED;
        }
        // A kill is no verdict on the test: its result was known before.
        let code = if self.killed { 0 } else { code };
        let code = if code == 0 && is_marked {
            MARKED_AS_FAILED
        } else {
            code
        };
        if code != 0 && code != MARKED_AS_FAILED {
            return code;
        }
        match (&self.torn_down, &self.crossed) {
            (Some(Err(failed)), _) => {
                log_error(&failed.to_string());
                match failed {
                    Failed::Aborted(_) => SCRIPT_ABORTED,
                    Failed::TooLong(_) => TEARDOWN_TIMEOUT,
                    Failed::Threw(_) | Failed::Unanswered(_) => SCRIPT_EXCEPTION,
                }
            }
            (None | Some(Ok(())), Some(_) | None) if code == MARKED_AS_FAILED => code,
            (None | Some(Ok(())), Some(crossed)) => {
                log_error(&format!("thresholds were crossed over all runners: {crossed}"));
                THRESHOLDS_CROSSED
            }
            (None | Some(Ok(())), None) => code,
        }
    }

    /// Watches k6 until the aggregator no longer needs it, then ends it. Never returns, since the caller waits for the
    /// end of k6.
    pub async fn attend(&mut self, pid: Pid) -> Infallible {
        let series = self.until_let_go().await;
        self.let_go = true;
        tell(pid, Signal::TERM);
        let grace = self.args.grace.0 + GRACE_EACH.saturating_mul(series);
        let grace = grace.min(LONGEST_GRACE);
        let until = Instant::now() + grace;
        // Heartbeats go on: a runner without them counts as lost.
        while Instant::now() < until {
            sleep(WORD.min(until.saturating_duration_since(Instant::now()))).await;
            if self.task.is_some() {
                let _ = self.say(Phase::Ended, None, ANSWER).await;
            }
        }
        self.killed = true;
        eprintln!(
            "k6-operator: k6 did not end in {} s and is killed: its own summary is lost, the result of the test is not",
            grace.as_secs()
        );
        tell(pid, Signal::KILL);
        std::future::pending().await
    }

    /// Sends heartbeats and obeys the answers until k6 may end. Returns the number of series that k6 has to sum up.
    async fn until_let_go(&mut self) -> u32 {
        let mut said: Option<(Phase, Instant)> = None;
        let mut answered = Instant::now();
        loop {
            sleep(LOOK).await;
            let Some(status) = self.status().await else {
                continue;
            };
            let phase = self.phase(&status);
            let same = said.filter(|(before, _)| *before == phase);
            let ending = self.ended.is_some_and(|ended| ended.elapsed() < LAST_EXPORT);
            if !ending && same.is_some_and(|(_, when)| when.elapsed() < WORD) {
                continue;
            }
            said = Some((phase, Instant::now()));
            if phase == Phase::Ended {
                let measured = self.measured().await;
                self.own = measured.as_deref().map(numbers_of);
                let kinds = measured.as_deref().map(|measured| self.kinds_of(measured));
                self.kinds = kinds.unwrap_or_default();
            }
            match self.say(phase, None, ANSWER).await {
                Ok(answer) => {
                    answered = Instant::now();
                    self.wants_rates = answer.rates;
                    let series = answer.series;
                    if self.obey(answer.order).await {
                        return series;
                    }
                }
                // The next heartbeat repeats everything, once the aggregator is back.
                Err(error) => {
                    let silent = self.ended.map(|ended| ended.max(answered).elapsed());
                    if silent.is_some_and(|silent| silent >= self.args.patience.0) {
                        eprintln!("k6-operator: the last export may be lost: {error}");
                        return 0;
                    }
                }
            }
        }
    }

    /// Carries out a directive. True if k6 may end now.
    async fn obey(&mut self, directive: Directive) -> bool {
        match directive {
            Directive::Continue {} => false,
            Directive::Stop { why } => {
                if !self.stopped {
                    eprintln!(
                        "k6-operator: the test ends, since a threshold was crossed over all runners: {why}"
                    );
                }
                self.stopped |= self.stop().await;
                false
            }
            Directive::Abort { runner } => {
                if !self.abort_ordered {
                    eprintln!("k6-operator: the test ends, since it was aborted on runner {runner}");
                }
                self.abort_ordered |= self.stop().await;
                false
            }
            Directive::TearDown {} => {
                self.tear_down().await;
                false
            }
            Directive::Summarize {} => self.take_task().await,
            Directive::End { crossed } => {
                self.crossed = crossed;
                true
            }
        }
    }

    /// Fetches the merged data if this runner uses it. True if k6 may end now.
    async fn take_task(&mut self) -> bool {
        if self.plan.needs_data() {
            match self.fetch().await {
                Ok(task) => {
                    self.task = Some(task);
                    self.setup_data = self.returned_by_setup().await;
                    return true;
                }
                // The aggregator asks this runner again, or another one.
                Err(error) => eprintln!("k6-operator: the merged data could not be fetched: {error}"),
            }
            return false;
        }
        match self.bring(&Handled::default()).await {
            Ok(directive) => {
                if let Directive::End { crossed } = directive {
                    self.crossed = crossed;
                    return true;
                }
            }
            Err(error) => eprintln!("k6-operator: {error}"),
        }
        false
    }

    async fn tear_down(&mut self) {
        if self.torn_down.is_some() {
            return;
        }
        let address = self.args.api.to_string();
        let limit = self.args.teardown_timeout.0 + ANSWER;
        let done = ask(&address, Method::POST, "/v1/teardown", &[], Vec::new(), limit);
        let mut done = std::pin::pin!(done);
        let done = loop {
            tokio::select! {
                done = &mut done => break done,
                () = sleep(WORD) => {}
            }
            // A runner that sends nothing counts as lost.
            let _ = self.say(Phase::Ended, None, ANSWER).await;
        };
        self.torn_down = Some(match done {
            Ok((StatusCode::OK, _)) => Ok(()),
            Ok((status, answer)) => Err(failure_of("teardown()", status, &answer)),
            Err(error) => Err(Failed::Unanswered(format!("teardown(): {error}"))),
        });
    }

    /// Fetches the merged data. From then on, no other runner is given it.
    async fn fetch(&self) -> Result<Task, DialogueError> {
        self.post("/task", Vec::new(), FETCH).await
    }

    /// Sends the result of handleSummary().
    async fn bring(&self, handled: &Handled) -> Result<Directive, DialogueError> {
        let body = serde_json::to_vec(handled)?;
        let answer: Answer = self.post("/handled", body, FETCH).await?;
        Ok(answer.order)
    }

    /// Uses the merged data and waits until the aggregator has published the result, as long as it answers.
    pub async fn sum(&mut self, task: &Task, second: &Cell<Option<Pid>>) {
        let plan = self.plan;
        let setup_data = self.setup_data.take();
        let setup_data = setup_data
            .as_deref()
            .and_then(|json| std::str::from_utf8(json).ok());
        let began = |pid: Option<u32>| {
            second.set(pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)));
        };
        let handled = {
            let done = plan.carry_out(task, setup_data, began);
            let mut done = std::pin::pin!(done);
            loop {
                tokio::select! {
                    handled = &mut done => break handled,
                    () = sleep(WORD) => {}
                }
                let _ = self.say(Phase::Ended, None, ANSWER).await;
            }
        };
        let mut answered = Instant::now();
        let mut brought = false;
        let until = Instant::now() + CLOSED_WITHIN;
        while Instant::now() < until {
            let answer = if brought {
                self.say(Phase::Ended, None, ANSWER)
                    .await
                    .map(|answer| answer.order)
            } else {
                self.bring(&handled).await
            };
            match answer {
                Ok(directive) => {
                    if let Directive::End { crossed } = directive {
                        self.crossed = crossed;
                        return;
                    }
                    (answered, brought) = (Instant::now(), true);
                }
                Err(error) if answered.elapsed() >= self.args.patience.0 => {
                    eprintln!("k6-operator: the result of handleSummary() may be lost: {error}");
                    return;
                }
                Err(_) => {}
            }
            sleep(LOOK).await;
        }
    }

    async fn status(&mut self) -> Option<Status> {
        let deadline = Instant::now() + ANSWER;
        let mut client = match self.client.take() {
            Some(client) => client,
            None => Client::connect(self.args.api, deadline).await.ok()?,
        };
        let status = client.status(deadline).await.ok()?;
        self.client = Some(client);
        Some(status)
    }

    fn phase(&mut self, status: &Status) -> Phase {
        if status.status >= ENDED {
            self.started.get_or_insert_with(Instant::now);
            self.ended.get_or_insert_with(Instant::now);
            let ordered = self.stopped || self.abort_ordered || self.signalled.get();
            self.aborted |= status.status == INTERRUPTED && !ordered;
            Phase::Ended
        } else if status.status > PAUSED_BEFORE_RUN && !status.paused {
            self.started.get_or_insert_with(Instant::now);
            Phase::Running
        } else {
            Phase::Waiting
        }
    }

    /// What setup() returned. k6 knows it as long as it runs.
    async fn returned_by_setup(&self) -> Option<Bytes> {
        if !self.plan.handles() {
            return None;
        }
        match data_at(self.args.api).await {
            Ok(data) => data,
            Err(error) => {
                eprintln!("k6-operator: handleSummary() gets no setup_data: {error}");
                None
            }
        }
    }

    /// The metrics of k6, if it answers.
    async fn measured(&self) -> Option<Vec<Value>> {
        let address = self.args.api.to_string();
        let asked = ask(&address, Method::GET, "/v1/metrics", &[], Vec::new(), ANSWER).await;
        let metrics: Value = match asked {
            Ok((StatusCode::OK, body)) => serde_json::from_slice(&body).ok()?,
            Ok(_) | Err(_) => return None,
        };
        Some(metrics.get("data")?.as_array()?.clone())
    }

    /// The types of the script's own metrics that have thresholds, as k6 tells them.
    fn kinds_of(&self, metrics: &[Value]) -> BTreeMap<String, MetricKind> {
        let kind = |metric: &Value| {
            let name = metric.get("id")?.as_str()?;
            let kind = MetricKind::deserialize(metric.get("attributes")?).ok()?;
            let is_asked = self.args.script_metrics.iter().any(|asked| asked == name);
            is_asked.then(|| (name.to_owned(), kind))
        };
        metrics.iter().filter_map(kind).collect()
    }

    /// Tells k6 to stop. True if it confirms.
    async fn stop(&self) -> bool {
        let deadline = Instant::now() + ANSWER;
        let stopped = match Client::connect(self.args.api, deadline).await {
            Ok(mut client) => client.stop(deadline).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &stopped {
            eprintln!("k6-operator: {error}");
        }
        stopped.is_ok()
    }

    /// Sends a heartbeat.
    async fn say(
        &self,
        phase: Phase,
        exit_code: Option<i32>,
        limit: Duration,
    ) -> Result<Answer, DialogueError> {
        let ago = |then: Option<Instant>| then.map(|then| then.elapsed());
        let rates = if self.wants_rates && phase == Phase::Running {
            let measured = self.measured().await;
            measured.map(|measured| rates(&numbers_of(&measured)))
        } else {
            None
        };
        let heartbeat = Heartbeat {
            phase,
            rates,
            started_ago: ago(self.started),
            ended_ago: ago(self.ended),
            own: self.own.clone(),
            kinds: self.kinds.clone(),
            let_go: self.let_go,
            torn_down: self.torn_down.as_ref().map(|done| match done {
                Ok(()) => String::new(),
                Err(failed) => failed.to_string(),
            }),
            exit_code,
            aborted: self.aborted,
            handles: self.plan.handles(),
        };
        self.post("", serde_json::to_vec(&heartbeat)?, limit).await
    }

    /// Posts to the aggregator and parses its answer.
    async fn post<T: DeserializeOwned>(
        &self,
        what: &str,
        body: Vec<u8>,
        limit: Duration,
    ) -> Result<T, DialogueError> {
        let bearer = self.bearer.as_deref();
        let headers: Vec<_> = bearer
            .map(|bearer| (AUTHORIZATION.as_str(), bearer))
            .into_iter()
            .collect();
        let path = format!("{}{what}", self.path);
        let address = &self.args.aggregator;
        match ask(address, Method::POST, &path, &headers, body, limit).await? {
            (StatusCode::OK, body) => Ok(serde_json::from_slice(&body)?),
            (status, body) => {
                let why = String::from_utf8_lossy(&body).into_owned();
                Err(DialogueError::Refused(status, why))
            }
        }
    }

    /// Reports that k6 has ended, in one attempt: Kubernetes reports it as well.
    pub async fn say_exited(&self, code: u8) {
        let _ = self
            .say(Phase::Exited, Some(i32::from(code)), Duration::from_secs(2))
            .await;
    }
}
