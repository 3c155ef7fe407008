//! The dialogue of a runner with the aggregator: heartbeats about its k6, and the directives that come back.

use super::http::ask;
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
use serde_json::Value;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;
use tokio::time::{Instant, sleep};
/// How often k6 is asked how it is.
const LOOK: Duration = Duration::from_millis(250);
/// How often the aggregator is told, and asked, while nothing changes: there can be a thousand runners.
const WORD: Duration = Duration::from_secs(1);
/// How long k6 and the aggregator may take to answer.
const ANSWER: Duration = Duration::from_secs(4);
/// How long the aggregator may take to tell the result once it has all.
const CLOSED_WITHIN: Duration = Duration::from_secs(90);
/// How long the merged data, which can be many megabytes, and what came of it may take.
const FETCH: Duration = Duration::from_secs(30);
/// How much longer than [`LingerArgs::grace`] k6 may take to end for each thing that it has to sum up: a k6 1.1 with
/// 16,000 different checks took 30 s on a loaded machine.
const GRACE_EACH: Duration = Duration::from_millis(5);
/// And no longer than this.
const LONGEST_GRACE: Duration = Duration::from_secs(600);

/// The numbers of metrics as k6's REST API lists them, but for those of submetrics.
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

/// Watches k6, reports to the aggregator, and carries out its directives.
pub(super) struct Supervisor<'a> {
    args: &'a LingerArgs,
    plan: &'a Plan,
    /// What the header `authorization` has.
    authorization: Option<String>,
    path: String,
    client: Option<Client>,
    started: Option<Instant>,
    ended: Option<Instant>,
    own: Option<K6Metrics>,
    /// What k6 says of the script's own metrics that have thresholds.
    kinds: BTreeMap<String, MetricKind>,
    /// Whether the aggregator wants k6's own rates while its part runs.
    wants_rates: bool,
    stopped: bool,
    /// Whether the test was aborted here, and not by an order or a signal.
    aborted: bool,
    /// Whether another runner's abort has ended it here.
    abort_ordered: bool,
    /// Whether k6 was signalled, as when the pod is deleted: that ends this runner, and not the test.
    signalled: &'a Cell<bool>,
    let_go: bool,
    /// Whether k6 did not end in its time, and was killed here.
    killed: bool,
    torn_down: Option<Result<(), Failed>>,
    /// The thresholds that were crossed over all runners, if this runner is to tell.
    crossed: Option<String>,
    /// The merged data, once this runner has it, of which handleSummary() is to be called here.
    pub task: Option<Task>,
    /// What setup() returned, as JSON, if handleSummary() is to be called here.
    setup_data: Option<Bytes>,
}

impl<'a> Supervisor<'a> {
    pub fn new(
        args: &'a LingerArgs,
        plan: &'a Plan,
        signalled: &'a Cell<bool>,
        token: Option<&Token>,
    ) -> Self {
        let authorization = token.map(Token::authorization);
        Self {
            args,
            plan,
            authorization: authorization.and_then(|value| Some(value.to_str().ok()?.to_owned())),
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

    /// The exit code, of a k6 that ended with this one, and whose log says or not that the test is marked as failed. In
    /// which order they count is k6's: <https://github.com/grafana/k6/blob/v2.2.0/internal/cmd/run.go>
    pub fn code(&self, code: u8, is_marked: bool) -> u8 {
        if self.stopped && self.ended.is_some() {
            return THRESHOLDS_CROSSED;
        }
        // That it had to be killed is no verdict on the test, whose result was there before.
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

    /// Watches k6 until the aggregator needs it no more, and ends it then. Returns never: the end of k6 is awaited
    /// elsewhere.
    pub async fn attend(&mut self, pid: Pid) -> Infallible {
        let series = self.until_let_go().await;
        self.let_go = true;
        tell(pid, Signal::TERM);
        let grace = Duration::from_secs(self.args.grace) + GRACE_EACH.saturating_mul(series);
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
            "k6-operator: k6 has not ended in {} s, and is killed: its own summary is lost, the result of the test is not",
            grace.as_secs()
        );
        tell(pid, Signal::KILL);
        std::future::pending().await
    }

    /// Sends heartbeats and obeys the answers until k6 may end. Returns the number of series that k6 has to sum up.
    async fn until_let_go(&mut self) -> u32 {
        let patience = Duration::from_secs(self.args.patience);
        let mut said: Option<(Phase, Instant)> = None;
        let mut answered = Instant::now();
        loop {
            sleep(LOOK).await;
            let Some(status) = self.status().await else {
                continue;
            };
            let phase = self.phase(&status);
            let same = said.filter(|(before, _)| *before == phase);
            let ending = self
                .ended
                .is_some_and(|ended| ended.elapsed() < Duration::from_millis(LAST_EXPORT));
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
                // The next heartbeat has all of it, when the aggregator is there again.
                Err(error) => {
                    let silent = self.ended.map(|ended| ended.max(answered).elapsed());
                    if silent.is_some_and(|silent| silent >= patience) {
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
                        "k6-operator: the test is ended, as a threshold was crossed over all runners: {why}"
                    );
                }
                self.stopped |= self.stop().await;
                false
            }
            Directive::Abort { runner } => {
                if !self.abort_ordered {
                    eprintln!("k6-operator: the test is ended, as it was aborted on runner {runner}");
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

    /// Fetches the merged data, if this runner has a use for it. True if k6 may end now.
    async fn take_task(&mut self) -> bool {
        if self.plan.needs_data() {
            match self.fetch().await {
                Ok(task) => {
                    self.task = Some(task);
                    self.setup_data = self.returned_by_setup().await;
                    return true;
                }
                // The aggregator asks this runner again, or another.
                Err(error) => eprintln!("k6-operator: the merged data did not come: {error}"),
            }
            return false;
        }
        match self.bring(&Handled::default()).await {
            Ok(Directive::End { crossed }) => {
                self.crossed = crossed;
                return true;
            }
            Ok(
                Directive::Continue {}
                | Directive::Stop { .. }
                | Directive::Abort { .. }
                | Directive::TearDown {}
                | Directive::Summarize {},
            ) => {}
            Err(error) => eprintln!("k6-operator: {error}"),
        }
        false
    }

    async fn tear_down(&mut self) {
        if self.torn_down.is_some() {
            return;
        }
        let address = self.args.api.to_string();
        let limit = Duration::from_secs(self.args.teardown_timeout) + ANSWER;
        let done = ask(&address, Method::POST, "/v1/teardown", &[], Vec::new(), limit);
        let mut done = std::pin::pin!(done);
        let done = loop {
            tokio::select! {
                done = &mut done => break done,
                () = sleep(WORD) => {}
            }
            // One that says nothing counts as lost.
            let _ = self.say(Phase::Ended, None, ANSWER).await;
        };
        self.torn_down = Some(match done {
            Ok((StatusCode::OK, _)) => Ok(()),
            Ok((status, answer)) => Err(failure_of("teardown()", status, &answer)),
            Err(error) => Err(Failed::Unanswered(format!("teardown(): {error}"))),
        });
    }

    /// Takes the merged data. No other runner is given it from then on.
    async fn fetch(&self) -> Result<Task, String> {
        let body = self.post("/task", Vec::new(), FETCH).await?;
        serde_json::from_slice(&body).map_err(|error| error.to_string())
    }

    /// Tells what came of handleSummary().
    async fn bring(&self, handled: &Handled) -> Result<Directive, String> {
        let body = serde_json::to_vec(handled).map_err(|error| error.to_string())?;
        let body = self.post("/handled", body, FETCH).await?;
        let answer: Answer = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        Ok(answer.order)
    }

    /// Does what is to be done with the merged data, and waits until the aggregator has told the result, if it answers.
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
                Ok(Directive::End { crossed }) => {
                    self.crossed = crossed;
                    return;
                }
                Ok(
                    Directive::Continue {}
                    | Directive::Stop { .. }
                    | Directive::Abort { .. }
                    | Directive::TearDown {}
                    | Directive::Summarize {},
                ) => {
                    (answered, brought) = (Instant::now(), true);
                }
                Err(error) if answered.elapsed() >= Duration::from_secs(self.args.patience) => {
                    eprintln!("k6-operator: what came of handleSummary() may be lost: {error}");
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

    /// What setup() returned, which k6 knows as long as it runs.
    async fn returned_by_setup(&self) -> Option<Bytes> {
        if !self.plan.handles() {
            return None;
        }
        match data_at(self.args.api).await {
            Ok(data) => data,
            Err(error) => {
                eprintln!("k6-operator: handleSummary() is not given setup_data: {error}");
                None
            }
        }
    }

    /// The metrics that k6 itself has, if it can say.
    async fn measured(&self) -> Option<Vec<Value>> {
        let address = self.args.api.to_string();
        let asked = ask(&address, Method::GET, "/v1/metrics", &[], Vec::new(), ANSWER).await;
        let metrics: Value = match asked {
            Ok((StatusCode::OK, body)) => serde_json::from_slice(&body).ok()?,
            Ok(_) | Err(_) => return None,
        };
        Some(metrics.get("data")?.as_array()?.clone())
    }

    /// What k6 says of the script's own metrics that have thresholds.
    fn kinds_of(&self, metrics: &[Value]) -> BTreeMap<String, MetricKind> {
        let kind = |metric: &Value| {
            let name = metric.get("id")?.as_str()?;
            let kind = MetricKind::deserialize(metric.get("attributes")?).ok()?;
            let is_asked = self.args.script_metrics.iter().any(|asked| asked == name);
            is_asked.then(|| (name.to_owned(), kind))
        };
        metrics.iter().filter_map(kind).collect()
    }

    /// Whether k6 has taken the order to stop.
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

    async fn say(&self, phase: Phase, exit_code: Option<i32>, limit: Duration) -> Result<Answer, String> {
        let ago = |then: Option<Instant>| {
            then.map(|then| u64::try_from(then.elapsed().as_millis()).unwrap_or(u64::MAX))
        };
        let rates = if self.wants_rates && phase == Phase::Running {
            let measured = self.measured().await;
            measured.map(|measured| rates(&numbers_of(&measured)))
        } else {
            None
        };
        let word = Heartbeat {
            phase,
            rates,
            started_ago: ago(self.started),
            ended_ago: ago(self.ended),
            own: self.own.clone(),
            kinds: self.kinds.clone(),
            let_go: self.let_go,
            torn_down: self.torn_down.as_ref().map(|done| match done {
                Ok(()) => String::new(),
                Err(failed) => failed.detail().to_owned(),
            }),
            exit_code,
            aborted: self.aborted,
            handles: self.plan.handles(),
        };
        let body = serde_json::to_vec(&word).map_err(|error| error.to_string())?;
        let body = self.post("", body, limit).await?;
        serde_json::from_slice(&body).map_err(|error| error.to_string())
    }

    async fn post(&self, what: &str, body: Vec<u8>, limit: Duration) -> Result<Bytes, String> {
        let shown = self.authorization.as_deref();
        let headers: Vec<_> = shown
            .map(|shown| (AUTHORIZATION.as_str(), shown))
            .into_iter()
            .collect();
        let path = format!("{}{what}", self.path);
        let address = &self.args.aggregator;
        match ask(address, Method::POST, &path, &headers, body, limit).await? {
            (StatusCode::OK, body) => Ok(body),
            (status, body) => Err(format!("{status}: {}", String::from_utf8_lossy(&body))),
        }
    }

    /// That k6 has ended is known to Kubernetes too: this is not insisted on.
    pub async fn say_exited(&self, code: u8) {
        let _ = self
            .say(Phase::Exited, Some(i32::from(code)), Duration::from_secs(2))
            .await;
    }
}
