//! Runs the k6 of a runner whose metrics are aggregated, as the first process of its container.
//!
//! k6 exports the last of what it measured only while it still runs: so it lingers (`--linger`) when its part of the
//! test has ended, the aggregator is told what k6 itself has counted, and when that has arrived, or will not, k6 is
//! ended. Its exit code is this program's.
//!
//! k6 is the leader of a process group, and all of the group is signalled: since 1.2 a k6 whose script imports an
//! extension that it has not runs another k6 as its child, and passes no signal on to it.
//! <https://grafana.com/docs/k6/latest/extensions/explanations/extensions-resolution/>

use super::http::ask;
use super::k6_client::{Client, Status};
use super::listening::{Keys, Listening, api_at, take_orders};
use super::relay::Relay;
use super::setup::{Failed, data_at, failure_of};
use super::summing::Plan;
use crate::aggregate::handle_summary::{Handled, Task};
use crate::aggregate::k6_metrics::rates;
use crate::aggregate::session::{Answer, Directive, Heartbeat, K6Metrics, LAST_EXPORT, Phase};
use crate::k6::Version;
use crate::k6::execution::{ENDED, INTERRUPTED, PAUSED_BEFORE_RUN};
use crate::k6::exit_code::{
    MARKED_AS_FAILED, SCRIPT_ABORTED, SCRIPT_EXCEPTION, TEARDOWN_TIMEOUT, THRESHOLDS_CROSSED,
};
use crate::k6::export::{
    ENDPOINT, OUTPUTS_VARIABLE, SERIES, SERIES_LIMIT, corrections, outputs_beside, outputs_left_out, tagging,
};
use crate::k6::metrics::MetricKind;
use crate::k6::system_tags::has_urls;
use crate::protocol::tokens::Token;
use hyper::body::Bytes;
use hyper::header::AUTHORIZATION;
use hyper::{Method, StatusCode};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use serde_json::Value;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal as Received, SignalKind, signal};
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

/// Runs k6 until all that it measured has arrived at the aggregator
#[derive(Clone, Debug, clap::Args)]
pub struct LingerArgs {
    /// The address of the aggregator
    #[arg(long, value_name = "HOST:PORT")]
    pub aggregator: String,
    /// A folder with the tokens of the run, which are read and removed before k6 is started
    #[arg(long, value_name = "PATH")]
    pub tokens: Option<PathBuf>,
    /// Where to take orders from who has the run's token
    #[arg(long, value_name = "IP:PORT", requires = "tokens")]
    pub listen: Option<SocketAddr>,
    /// The runner's number
    #[arg(long, value_name = "N")]
    pub runner: u32,
    /// What tells the processes of the runner apart
    #[arg(long, value_name = "UID")]
    pub process: String,
    /// How long teardown() may take, if this runner runs it for all, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub teardown_timeout: u64,
    /// How long an aggregator that does not answer is waited for when the test has ended, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 2 * LAST_EXPORT / 1000)]
    pub patience: u64,
    /// The system tags that k6 is given, unless its user says which
    #[arg(long, value_name = "TAGS")]
    pub system_tags: Option<String>,
    /// The script's own metrics that have thresholds
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub script_metrics: Vec<String>,
    /// How long k6 may take to end when its part of the test is over, in seconds, beside what its summary takes
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub grace: u64,
    /// Where k6's REST API is to be
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:16565")]
    pub api: SocketAddr,
    /// The script, of which k6 is to call handleSummary() with the merged data
    #[arg(long, value_name = "PATH", requires = "k6_version")]
    pub script: Option<PathBuf>,
    /// The version of k6
    #[arg(long, value_name = "VERSION")]
    pub k6_version: Option<Version>,
    /// k6, and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// The largest script whose text is looked at.
const LARGEST_SCRIPT: u64 = 16 * 1024 * 1024;

impl LingerArgs {
    fn plan(&self) -> Plan {
        let source = self.script.as_ref().and_then(|script| {
            let size = std::fs::metadata(script).ok()?.len();
            std::fs::read(script).ok().filter(|_| size <= LARGEST_SCRIPT)
        });
        let variable = |name: &str| std::env::var(name).ok();
        let (script, version) = (self.script.as_deref(), self.k6_version);
        let metrics = &self.script_metrics;
        Plan::of(
            &self.command,
            script,
            version,
            source.as_deref(),
            metrics,
            variable,
        )
    }
}

/// The program `linger`: k6's exit code, or what it would have been for what k6 was not told to do by itself: the
/// thresholds, which the aggregator judges, and teardown(), which runs when all runners have ended.
pub async fn run_linger(args: LingerArgs) -> ExitCode {
    let signals =
        signal(SignalKind::terminate()).and_then(|term| Ok((term, signal(SignalKind::interrupt())?)));
    let (mut terminated, mut interrupted) = match signals {
        Ok(signals) => signals,
        Err(error) => return failed(&format!("signals can't be received: {error}")),
    };
    let api = match api_at(args.api) {
        Ok(api) => api,
        Err(error) => return failed(&format!("{} can't be listened to: {error}", args.api)),
    };
    let args = LingerArgs { api, ..args };
    let Some(program) = args.command.first() else {
        return failed("there is no command");
    };
    let outputs = std::env::var(OUTPUTS_VARIABLE).unwrap_or_default();
    for output in outputs_left_out(&outputs) {
        eprintln!(
            "k6-operator: {OUTPUTS_VARIABLE} names {output}, of which k6 can have only one, which the operator uses: send the \
             metrics elsewhere by another output"
        );
    }
    let keys = match args.tokens.as_deref().map(Keys::take).transpose() {
        Ok(keys) => keys,
        Err(error) => return failed(&error),
    };
    let token = keys.as_ref().map(|keys| &keys.aggregator);
    let listening = Listening::open(&args, token).await;
    let Listening {
        orders,
        exports,
        exports_at,
    } = match listening {
        Ok(listening) => listening,
        Err(error) => return failed(&error),
    };
    let plan = args.plan();
    let tags = args.system_tags.as_deref();
    let own = args.command.get(1..).unwrap_or_default();
    let tags = tags.and_then(|tags| tagging(tags, own, |name| std::env::var(name).ok()));
    let has_urls = tags.as_deref().is_none_or(has_urls);
    // Of a flag that is given twice k6 takes the last.
    let address = format!("--address={}", args.api);
    let arguments = plan.command.iter().skip(1).cloned().chain(tags).chain([address]);
    let mut command = Command::new(program);
    command
        .args(arguments.chain(outputs_beside(&outputs)))
        .kill_on_drop(true)
        .process_group(0);
    // Its log says whether teardown() marked the test as failed, and nothing else does.
    command.stderr(Stdio::piped());
    correct(&mut command);
    if !has_urls {
        command.env(SERIES_LIMIT, SERIES.to_string());
    }
    command.envs(plan.variables.iter().map(|(name, value)| (*name, value)));
    command.env(ENDPOINT, exports_at.to_string());
    let mut k6 = match command.spawn() {
        Ok(k6) => k6,
        Err(error) => return failed(&format!("{program} can't be started: {error}")),
    };
    let Some(pid) = pid_of(&k6) else {
        return failed("k6 has no process number");
    };
    let mut relay = k6.stderr.take().map(|log| Relay::start(log, tokio::io::stderr()));
    let signalled = Cell::new(false);
    let mut attendant = Supervisor::new(&args, &plan, &signalled, token);
    let ended = {
        let attend = attendant.attend(pid);
        tokio::select! {
            ended = until_end(&mut k6, pid, &mut terminated, &mut interrupted, &signalled) => ended,
            never = attend => match never {},
            never = take_orders(orders, args.api, keys.as_ref()) => match never {},
            served = exports.serve() => served.and_then(|()| Err(std::io::Error::other("its exports have no way"))),
        }
    };
    // One that ended without its child leaves it behind.
    tell(pid, Signal::KILL);
    if let Some(relay) = &mut relay {
        relay.end().await;
    }
    let is_marked = relay.is_some_and(|relay| relay.is_marked());
    let status = match ended {
        Ok(status) => status,
        Err(error) => return failed(&format!("k6 can't be awaited: {error}")),
    };
    if let Some(task) = attendant.task.take() {
        let second = Cell::new(None);
        let sum = attendant.sum(&task, &second);
        let mut sum = std::pin::pin!(sum);
        loop {
            let told = tokio::select! {
                () = &mut sum => break,
                _ = terminated.recv() => Signal::TERM,
                _ = interrupted.recv() => Signal::INT,
            };
            if let Some(pid) = second.get() {
                tell(pid, told);
            }
        }
    }
    let code = attendant.code(code_of(status), is_marked);
    attendant.say_exited(code).await;
    ExitCode::from(code)
}

/// Takes from k6's environment what would keep it from exporting to the aggregator.
fn correct(command: &mut Command) {
    let variables = std::env::vars_os();
    let variables = variables
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())));
    for (name, value) in corrections(&variables.collect()) {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
}

fn failed(why: &str) -> ExitCode {
    eprintln!("k6-operator: {why}");
    ExitCode::FAILURE
}

pub(super) fn pid_of(k6: &Child) -> Option<Pid> {
    Pid::from_raw(i32::try_from(k6.id()?).ok()?)
}

/// Awaits k6's end. What this process is told by signal, k6 is told, and noted.
async fn until_end(
    k6: &mut Child,
    pid: Pid,
    terminated: &mut Received,
    interrupted: &mut Received,
    signalled: &Cell<bool>,
) -> std::io::Result<ExitStatus> {
    loop {
        let told = tokio::select! {
            ended = k6.wait() => return ended,
            _ = terminated.recv() => Signal::TERM,
            _ = interrupted.recv() => Signal::INT,
        };
        signalled.set(true);
        tell(pid, told);
    }
}

/// Signals k6 and its children.
pub(super) fn tell(leader: Pid, signal: Signal) {
    match kill_process_group(leader, signal) {
        // None is left.
        Ok(()) | Err(Errno::SRCH) => {}
        Err(error) => eprintln!("k6-operator: k6 can't be signalled: {error}"),
    }
}

/// Logs an error as k6 does: whoever looks for the last one in a runner's log finds this one too.
pub(super) fn log_error(message: &str) {
    let text: String = message.chars().flat_map(char::escape_debug).collect();
    eprintln!("level=error msg=\"{text}\" source=k6-operator");
}

/// As a shell has it: 128 and the signal.
fn code_of(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| Some(128 + status.signal()?));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

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

/// Watches k6, and talks to the aggregator.
struct Supervisor<'a> {
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
    task: Option<Task>,
    /// What setup() returned, as JSON, if handleSummary() is to be called here.
    setup_data: Option<Bytes>,
}

impl<'a> Supervisor<'a> {
    fn new(args: &'a LingerArgs, plan: &'a Plan, signalled: &'a Cell<bool>, token: Option<&Token>) -> Self {
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
    fn code(&self, code: u8, is_marked: bool) -> u8 {
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

    /// Until k6 ends, which this brings about when its time has come.
    async fn attend(&mut self, pid: Pid) -> Infallible {
        let patience = Duration::from_secs(self.args.patience);
        let mut said: Option<(Phase, Instant)> = None;
        let mut answered = Instant::now();
        let series = loop {
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
                    match answer.order {
                        Directive::Continue {} => {}
                        Directive::Stop { why } => {
                            if !self.stopped {
                                eprintln!(
                                    "k6-operator: the test is ended, as a threshold was crossed over all runners: {why}"
                                );
                            }
                            self.stopped |= self.stop().await;
                        }
                        Directive::Abort { runner } => {
                            if !self.abort_ordered {
                                eprintln!(
                                    "k6-operator: the test is ended, as it was aborted on runner {runner}"
                                );
                            }
                            self.abort_ordered |= self.stop().await;
                        }
                        Directive::TearDown {} => self.tear_down().await,
                        Directive::Summarize {} if self.plan.needs_data() => match self.fetch().await {
                            Ok(task) => {
                                self.task = Some(task);
                                self.setup_data = self.returned_by_setup().await;
                                break answer.series;
                            }
                            // It is asked again, or another is.
                            Err(error) => eprintln!("k6-operator: the merged data did not come: {error}"),
                        },
                        Directive::Summarize {} => match self.bring(&Handled::default()).await {
                            Ok(Directive::End { crossed }) => {
                                self.crossed = crossed;
                                break answer.series;
                            }
                            Ok(
                                Directive::Continue {}
                                | Directive::Stop { .. }
                                | Directive::Abort { .. }
                                | Directive::TearDown {}
                                | Directive::Summarize {},
                            ) => {}
                            Err(error) => eprintln!("k6-operator: {error}"),
                        },
                        Directive::End { crossed } => {
                            self.crossed = crossed;
                            break answer.series;
                        }
                    }
                }
                // It brings all when the aggregator is there again.
                Err(error) => {
                    let silent = self.ended.map(|ended| ended.max(answered).elapsed());
                    if silent.is_some_and(|silent| silent >= patience) {
                        eprintln!("k6-operator: the last export may be lost: {error}");
                        break 0;
                    }
                }
            }
        };
        self.let_go = true;
        tell(pid, Signal::TERM);
        let grace = Duration::from_secs(self.args.grace) + GRACE_EACH.saturating_mul(series);
        let grace = grace.min(LONGEST_GRACE);
        let until = Instant::now() + grace;
        // It is waited for: one that says nothing counts as lost.
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
    async fn sum(&mut self, task: &Task, second: &Cell<Option<Pid>>) {
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
    async fn say_exited(&self, code: u8) {
        let _ = self
            .say(Phase::Exited, Some(i32::from(code)), Duration::from_secs(2))
            .await;
    }
}
