//! What runs in the pods: k6, waiting and running, and the programs that release and stop it.

use super::cluster::{End, Pod, Stage, Step, Work};
use super::faults::{OnPod, Part};
use super::scenario::{Ending, Inspected, NAMESPACE};
use super::store::{Key, Table, label, text};
use super::world::{Reply, World};
use k6_operator::aggregate::documents::Documents;
use k6_operator::aggregate::handle_summary::Content;
use k6_operator::protocol::outcome::{Crossed, Outcome};
use k6_operator::protocol::report::{Failure, Report};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// As the starter has it: until all are found ready, and until all are released.
const CONNECT: u64 = 20_000;
const RELEASE: u64 = 10_000;
const GONE_AFTER: u64 = 1_000;
/// As the stopper has it.
const STOP: u64 = 15_000;
const REFUSED_FOR: u64 = 3_000;
/// How long a handleSummary() takes that takes long, of a runner that is lost while it calls it.
const LATE: u64 = 60_000;
/// Between two attempts of starter or stopper.
const PAUSE: u64 = 320;

/// What answers at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answers {
    Paused(String),
    Released(String),
    Stopped,
    Refuses,
    Not,
}

impl World {
    /// What a container does from its beginning.
    pub fn process_begins(&mut self, id: &str) {
        let Some(pod) = self.pods.get(id).cloned() else {
            return;
        };
        let what = format!("process {}", pod.key.name);
        let test = pod.test.and_then(|test| self.scenario.tests.get(test)).cloned();
        match pod.part {
            Part::Initializer => {
                let delay = self.draw(&what, 100, 1_500);
                let report = if test.as_ref().is_some_and(|test| test.aggregated) {
                    r#"{"version":"1.1.0"}"#
                } else {
                    "{}"
                };
                match test.map_or(Inspected::Well, |test| test.inspected) {
                    Inspected::Well => {
                        let message = report.to_owned();
                        self.fate(
                            id,
                            delay,
                            End {
                                message,
                                ..End::code(0)
                            },
                        );
                    }
                    Inspected::Badly => self.fate(id, delay, End::code(107)),
                    Inspected::Hangs => {}
                }
            }
            Part::Runner(i) => {
                let ending = test.and_then(|test| test.endings.get(i.saturating_sub(1) as usize).copied());
                if let Some((_, Ending::Early(code))) = ending {
                    let delay = self.draw(&what, 50, 500);
                    return self.fate(id, delay, End::code(code));
                }
                let delay = self.draw(&what, 50, 2_500);
                self.later(delay, Step::Listen(id.to_owned()));
            }
            Part::Starter => {
                let targets = targets(&pod).len();
                self.begin_work(id, targets);
                self.later(20, Step::Start(id.to_owned()));
            }
            Part::Stopper => {
                let targets = targets(&pod).len();
                self.begin_work(id, targets);
                self.later(20, Step::Stop(id.to_owned()));
            }
            Part::Aggregator => {
                self.recorder.judged(&pod, None);
                let delay = self.draw(&what, 50, 1_500);
                self.later(delay, Step::Listen(id.to_owned()));
            }
            Part::Service | Part::Script => {}
        }
    }

    fn begin_work(&mut self, id: &str, targets: usize) {
        let now = self.now;
        if let Some(pod) = self.pods.get_mut(id) {
            pod.work = Work {
                since: now,
                refused: vec![None; targets],
                done: vec![false; targets],
                ..Work::default()
            };
        }
    }

    /// Whether requests to this runner's k6 go wrong: refused, or without a useful answer.
    fn port(&self, pod: &Pod) -> Option<Answers> {
        let refuses = self.suffers(
            pod,
            |what| matches!(what, OnPod::Refuses(until) if self.lasts(until)),
        );
        let broken = self.suffers(
            pod,
            |what| matches!(what, OnPod::Hangs(until) | OnPod::Broken(until) if self.lasts(until)),
        );
        match (refuses, broken) {
            (true, _) => Some(Answers::Refuses),
            (false, true) => Some(Answers::Not),
            (false, false) => None,
        }
    }

    /// k6 answers, and the kubelet finds out.
    pub fn listen(&mut self, id: &str) {
        let Some(pod) = self.pods.get(id).cloned() else {
            return;
        };
        if pod.stage != Stage::Running || pod.lost {
            return;
        }
        if !pod.listens {
            if let Some(pod) = self.pods.get_mut(id) {
                pod.listens = true;
            }
            if pod.part == Part::Aggregator {
                self.note(&format!("{} listens", pod.key.name));
                self.judge(&pod);
            } else if pod.paused {
                self.note(&format!("{} waits", pod.key.name));
                self.recorder.ready(&pod, id);
            } else {
                self.release(id);
            }
        }
        if self.port(&pod).is_some() {
            return self.later(1_000, Step::Listen(id.to_owned()));
        }
        self.set_ready(id);
    }

    /// The test of a runner begins.
    fn release(&mut self, id: &str) {
        let Some(pod) = self.pods.get_mut(id) else {
            return;
        };
        if pod.released {
            return;
        }
        pod.released = true;
        let pod = pod.clone();
        self.note(&format!("{} is released", pod.key.name));
        self.recorder.released(&pod, id);
        let Part::Runner(i) = pod.part else { return };
        let test = pod.test.and_then(|test| self.scenario.tests.get(test));
        let ending = test.and_then(|test| test.endings.get(i.saturating_sub(1) as usize).copied());
        let (ms, ending) = ending.unwrap_or((10_000, Ending::Code(0)));
        let end = match ending {
            Ending::Code(code) | Ending::Early(code) => End::code(code),
            Ending::OutOfMemory => End {
                reason: "OOMKilled",
                ..End::code(137)
            },
            Ending::Hangs => return,
        };
        self.fate(id, ms, end);
    }

    fn at(&self, address: &str) -> Answers {
        let found = self
            .addresses
            .get(address)
            .and_then(|id| Some((id, self.pods.get(id)?)));
        // Of a stranger's pod at an address that was a runner's, nobody knows its port.
        let is_runner = |pod: &Pod| matches!(pod.part, Part::Runner(_)) && self.recorder.is_test(&pod.run);
        let answers = |pod: &Pod| pod.listens && pod.stage == Stage::Running && is_runner(pod);
        let Some((id, pod)) = found.filter(|(_, pod)| answers(pod)) else {
            return Answers::Refuses;
        };
        match self.port(pod) {
            Some(answers) => answers,
            None if pod.stopped => Answers::Stopped,
            None if pod.paused && !pod.released => Answers::Paused(id.clone()),
            None => Answers::Released(id.clone()),
        }
    }

    fn is_unheard(&self, pod: &Pod) -> bool {
        self.pod_faults(pod).any(|what| what == OnPod::Unheard)
    }

    fn killed_after(&self, pod: &Pod) -> Option<u32> {
        self.pod_faults(pod).find_map(|what| {
            if let OnPod::KilledAfter(count) = what {
                Some(count)
            } else {
                None
            }
        })
    }

    /// One look of a starter: all are to be found ready first, then they are released one after the other.
    pub fn start_runners(&mut self, id: &str) {
        let Some(mut pod) = self.pods.get(id).cloned() else {
            return;
        };
        if pod.stage != Stage::Running {
            return;
        }
        let targets = targets(&pod);
        let since = pod.work.since;
        if !pod.work.all_found {
            let found: Vec<Answers> = targets.iter().map(|(_, address)| self.at(address)).collect();
            let ready = |answers: &Answers| matches!(answers, Answers::Paused(_) | Answers::Released(_));
            if !found.iter().all(ready) {
                let gone = found.iter().any(|answers| matches!(answers, Answers::Stopped));
                if !gone && self.now < since + CONNECT {
                    return self.later(PAUSE, Step::Start(id.to_owned()));
                }
                for ((runner, address), answers) in targets.iter().zip(&found) {
                    match answers {
                        Answers::Released(_) => pod.work.confirmed += 1,
                        Answers::Paused(_) => {}
                        Answers::Stopped | Answers::Refuses | Answers::Not => {
                            pod.work
                                .failures
                                .push(failure(*runner, address, "not ready within 20 s"));
                        }
                    }
                }
                return self.report(id, &pod, targets.len());
            }
            pod.work.all_found = true;
            pod.work.since = self.now;
            self.set_work(id, &pod.work);
            return self.later(1, Step::Start(id.to_owned()));
        }
        if self.killed_after(&pod) == Some(pod.work.released) {
            self.covered(Some(crate::table::Fault::StarterKilledHalfway), pod.test);
            return self.end_pod(id, End::code(137));
        }
        let Some((runner_number, address)) = targets.get(pod.work.next) else {
            return self.report(id, &pod, targets.len());
        };
        match self.at(address) {
            Answers::Paused(runner) => {
                self.release(&runner);
                pod.work.released += 1;
                if self.is_unheard(&pod) {
                    self.covered(Some(crate::table::Fault::NetworkCut), pod.test);
                    pod.work
                        .failures
                        .push(failure(*runner_number, address, "no confirmation within 10 s"));
                } else {
                    pod.work.confirmed += 1;
                }
                pod.work.next += 1;
            }
            Answers::Released(_) => {
                pod.work.confirmed += 1;
                pod.work.next += 1;
            }
            answers @ (Answers::Stopped | Answers::Refuses | Answers::Not) => {
                let refuses =
                    matches!(answers, Answers::Refuses).then(|| pod.work.refuses.unwrap_or(self.now));
                pod.work.refuses = refuses;
                let gone = matches!(answers, Answers::Stopped)
                    || refuses.is_some_and(|since| self.now >= since + GONE_AFTER);
                if !gone && self.now < since + RELEASE {
                    self.set_work(id, &pod.work);
                    return self.later(PAUSE, Step::Start(id.to_owned()));
                }
                pod.work.refuses = None;
                pod.work
                    .failures
                    .push(failure(*runner_number, address, "no confirmation within 10 s"));
                pod.work.next += 1;
            }
        }
        self.set_work(id, &pod.work);
        self.later(1, Step::Start(id.to_owned()));
    }

    fn set_work(&mut self, id: &str, work: &Work) {
        if let Some(pod) = self.pods.get_mut(id) {
            pod.work = work.clone();
        }
    }

    fn report(&mut self, id: &str, pod: &Pod, targets: usize) {
        let report = Report::new(
            targets,
            pod.work.confirmed as usize,
            Duration::from_micros(u64::from(pod.work.released) * 100),
            pod.work.failures.clone(),
        )
        .ordering(if pod.work.all_found { targets } else { 0 });
        let end = End {
            message: report.to_message(),
            ..End::code(if report.complete() { 0 } else { 1 })
        };
        self.end_pod(id, end);
    }

    /// One look of a stopper.
    pub fn stop_runners(&mut self, id: &str) {
        let Some(mut pod) = self.pods.get(id).cloned() else {
            return;
        };
        if pod.stage != Stage::Running {
            return;
        }
        let targets = targets(&pod);
        let over = self.now >= pod.work.since + STOP;
        for (index, (runner, address)) in targets.iter().enumerate() {
            if pod.work.done.get(index).copied().unwrap_or(true) {
                continue;
            }
            let answers = self.at(address);
            let refused = pod.work.refused.get(index).copied().flatten();
            let done = match &answers {
                Answers::Paused(target) | Answers::Released(target) => {
                    let target = target.clone();
                    self.stop(&target, &pod.run);
                    true
                }
                Answers::Stopped => true,
                Answers::Refuses => {
                    let since = refused.unwrap_or(self.now);
                    if let Some(refused) = pod.work.refused.get_mut(index) {
                        *refused = Some(since);
                    }
                    self.now >= since + REFUSED_FOR
                }
                Answers::Not => false,
            };
            if done {
                pod.work.confirmed += 1;
            } else if over {
                pod.work
                    .failures
                    .push(failure(*runner, address, "not stopped within 15 s"));
            }
            if let Some(flag) = pod.work.done.get_mut(index) {
                *flag = done || over;
            }
        }
        self.set_work(id, &pod.work);
        if pod.work.done.iter().all(|done| *done) {
            self.report(id, &pod, targets.len());
        } else {
            self.later(PAUSE, Step::Stop(id.to_owned()));
        }
    }

    fn stop(&mut self, id: &str, by: &str) {
        let Some(pod) = self.pods.get_mut(id) else {
            return;
        };
        pod.stopped = true;
        let pod = pod.clone();
        self.note(&format!("{} is told to stop", pod.key.name));
        self.recorder.stopped(&pod, by, self.now);
        let stubborn = pod
            .test
            .and_then(|test| self.scenario.tests.get(test))
            .is_some_and(|test| test.stubborn);
        let (low, high) = if stubborn { (70_000, 90_000) } else { (20, 2_000) };
        let delay = self.draw(&format!("stop {}", pod.key.name), low, high);
        self.fate(id, delay, End::code(103));
    }

    /// The pod that listens behind the Service with this address, for this run.
    fn aggregator_at(&self, address: &str, secret: &str) -> Option<String> {
        let (ip, _) = address.rsplit_once(':')?;
        let (_, service) = self
            .store
            .all(Table::Services)
            .find(|(_, service)| text(service, "/spec/clusterIP") == ip)?;
        let selector = service.pointer("/spec/selector").and_then(Value::as_object)?;
        let selected = |pod: &Value| {
            selector
                .iter()
                .all(|(name, value)| label(pod, name) == value.as_str())
        };
        let answers = |pod: &Pod| {
            pod.listens
                && pod.stage == Stage::Running
                && !pod.lost
                && self.port(pod).is_none()
                && self.tokens_of(pod).as_deref() == Some(secret)
                && self.store.get(&pod.key).is_some_and(|pod| selected(pod))
        };
        let mut behind = self.pods.iter().filter(|(_, pod)| answers(pod));
        behind.next().map(|(id, _)| id.clone())
    }

    /// The Secret that a pod waits for.
    pub fn missing_secret(&self, pod: &Pod) -> Option<String> {
        let name = self.tokens_of(pod)?;
        let key = Key::new(Table::Secrets, NAMESPACE, &name);
        self.store.get(&key).is_none().then_some(name)
    }

    /// The Secret with the tokens that a pod has, which tells the runs apart.
    fn tokens_of(&self, pod: &Pod) -> Option<String> {
        let object = self.store.get(&pod.key)?;
        let volumes = object.pointer("/spec/volumes")?.as_array()?;
        let mut secrets = volumes.iter().map(|volume| text(volume, "/secret/secretName"));
        secrets.find(|name| !name.is_empty()).map(str::to_owned)
    }

    /// To whom a pod speaks that is given an aggregator.
    fn asked_by(&self, pod: &Pod) -> Option<String> {
        self.aggregator_at(word(pod, "--aggregator=")?, &self.tokens_of(pod)?)
    }

    /// A runner's k6 exports for the last time.
    pub fn export(&mut self, pod: &Pod) {
        if let (Part::Runner(i), Some(aggregator)) = (pod.part, self.asked_by(pod)) {
            self.heard.entry(aggregator).or_default().insert(i);
        }
    }

    /// A runner's k6 exports for the last time. The last to do so is told whether thresholds were crossed over all, and
    /// then exits as k6 does.
    pub fn with_verdict(&mut self, pod: &Pod, end: End) -> End {
        self.export(pod);
        let told = self.asked_by(pod).map(|aggregator| self.merged(&aggregator));
        let crossed = told.is_some_and(|told| told.silent == 0 && told.crossed > 0);
        match (pod.part, end.code) {
            (Part::Runner(_), Some(0)) if crossed => End::code(99),
            (_, _) => end,
        }
    }

    /// What an aggregator makes of what it has heard.
    fn merged(&self, aggregator: &str) -> Outcome {
        let none = BTreeSet::new();
        let heard = self.heard.get(aggregator).unwrap_or(&none);
        let test = self.pods.get(aggregator).and_then(|pod| pod.test);
        let Some(test) = test.and_then(|test| self.scenario.tests.get(test)) else {
            return Outcome::default();
        };
        // One that ends in its init code has nothing to export.
        let measured = heard.iter().any(|i| {
            let ending = test.endings.get(i.saturating_sub(1) as usize);
            !matches!(ending, Some((_, Ending::Early(_))))
        });
        let crossed = if measured { test.crossed } else { 0 };
        let failed = (0..crossed).map(|_| Crossed {
            metric: "http_req_duration".to_owned(),
            threshold: "p(95)<500".to_owned(),
            value: 612.3,
            uncertain: false,
            aborted: false,
        });
        let missing = (1..=test.runners).filter(|i| !heard.contains(i));
        let silent = u32::try_from(missing.clone().count()).unwrap_or(u32::MAX);
        Outcome {
            thresholds: test.thresholds,
            crossed,
            failed: failed.collect(),
            silent,
            incomplete: missing
                .map(|i| format!("nothing was heard of runner {i}"))
                .collect(),
            ..Outcome::default()
        }
    }

    /// The aggregator of a run judges what it has heard, once no runner is left.
    pub fn judge(&mut self, of: &Pod) {
        let same = |pod: &Pod| pod.run == of.run && pod.attempt == of.attempt;
        let mut aggregators = self.pods.iter().filter(|(_, pod)| {
            let there = pod.stage == Stage::Running && pod.listens;
            pod.part == Part::Aggregator && same(pod) && there
        });
        let Some((id, pod)) = aggregators.next_back() else {
            return;
        };
        let (id, pod) = (id.clone(), pod.clone());
        if self.all_ended_at(&pod).is_none() {
            return;
        }
        let outcome = self.merged(&id);
        // What is not heard may cross it, and can't take back what has crossed.
        let known = outcome.silent == 0 || outcome.crossed > 0;
        self.recorder.judged(&pod, known.then_some(outcome.crossed));
    }

    /// When the last runner of an aggregator ended.
    fn all_ended_at(&self, aggregator: &Pod) -> Option<u64> {
        let runners = self.pods.values().filter(|pod| {
            let same = pod.run == aggregator.run && pod.attempt == aggregator.attempt;
            same && matches!(pod.part, Part::Runner(_))
        });
        let runners: Vec<&Pod> = runners.collect();
        if runners.iter().any(|pod| pod.stage != Stage::Ended) {
            return None;
        }
        runners.iter().map(|pod| pod.work.since).max()
    }

    /// When an aggregator tells the result: the last runner ends when it has, unless that one was lost.
    fn told_at(&self, aggregator: &Pod) -> Option<u64> {
        let last = self.all_ended_at(aggregator)?;
        let test = aggregator.test.and_then(|test| self.scenario.tests.get(test));
        if test.is_some_and(|test| test.waits_to_be_asked) {
            return None;
        }
        let late = test.is_some_and(|test| test.summary_hangs);
        Some(if late { last + LATE } else { last })
    }

    /// What a container has printed.
    pub fn log_of(&self, name: &str, lines: u64) -> Reply {
        let pods = self.pods.iter().filter(|(_, pod)| pod.key.name == name);
        let mut there = pods.filter(|(_, pod)| self.store.get(&pod.key).is_some());
        let there = there.next_back();
        match there {
            Some((id, pod)) if pod.part == Part::Aggregator => {
                let outcome = self.merged(id);
                let told = self.told_at(pod).is_some_and(|at| self.now >= at);
                let listens = pod.listens && self.port(pod).is_none();
                Reply::Text(
                    200,
                    match (told && listens, lines) {
                        (false, _) if pod.listens => outcome.to_message() + "\n",
                        (false, _) => String::new(),
                        // Its documents are longer than what came of it.
                        (true, 0..100) => outcome.line() + "\n",
                        (true, _) => {
                            let documents = Documents {
                                data: "{}".to_owned(),
                                text: "merged".to_owned(),
                                outputs: [("stdout".to_owned(), Content::Text("own".to_owned()))].into(),
                                ..Documents::default()
                            };
                            format!("{}{}\n", documents.printed(), outcome.line())
                        }
                    },
                )
            }
            Some((_, pod)) => {
                let test = pod.test.and_then(|test| self.scenario.tests.get(test));
                let vus = test.map_or(1, |test| test.runners * 5);
                let expressions = vec!["p(95)<500"; test.map_or(1, |test| test.thresholds as usize)];
                let text = json!({
                    "maxVUs": vus.max(20), "totalDuration": "50s", "setupTimeout": "0s", "teardownTimeout": "0s",
                    "thresholds": {"http_req_duration": expressions}
                });
                Reply::Text(200, text.to_string())
            }
            None => {
                let key = super::store::Key::new(super::store::Table::Pods, "", name);
                let refused = super::store::Refused::not_found(&key);
                Reply::Answer(404, Arc::new(refused.status()))
            }
        }
    }
}

fn failure(runner: u32, address: &str, what: &str) -> Failure {
    Failure {
        runner,
        message: format!("{what}: {address}:6565"),
    }
}

/// What follows this in the arguments of a pod.
fn word<'a>(pod: &'a Pod, prefix: &str) -> Option<&'a str> {
    pod.arguments.iter().find_map(|word| word.strip_prefix(prefix))
}

/// The runners that a starter or stopper is to reach, as its arguments have them: `--runner=3=10.0.0.3:6565`.
fn targets(pod: &Pod) -> Vec<(u32, String)> {
    let given = pod
        .arguments
        .iter()
        .filter_map(|word| word.strip_prefix("--runner="));
    let target = |text: &str| {
        let (runner, address) = text.split_once('=')?;
        let (address, _) = address.rsplit_once(':')?;
        Some((runner.parse().ok()?, address.to_owned()))
    };
    given.filter_map(target).collect()
}
