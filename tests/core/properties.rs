//! What holds of every run, whatever is observed and in whatever order.

use crate::kstatus::{self, Kstatus};
use crate::support::{accepted, at, created, digest, empty_world, inspection, started, starting, terms};
use jiff::{SignedDuration, Timestamp};
use k6_operator::aggregate::report::Totals;
use k6_operator::api::Progress;
use k6_operator::api::{Cleanup, Status};
use k6_operator::k6::Version;
use k6_operator::machine::{
    Effect, End, Event, Fact, HISTORY_LIMIT, Initializer, Initializing, Inspect, Inspection, InspectionError,
    Left, Metrics, Observed, ObservedPod, Part, PodRefusal, Program, ProgramSource, Reason, Record, Refusal,
    Retention, Run, RunResult, Runner, Setup, Start, State, Step, Stop, Terms, Test, Thresholds, append,
    classify, diagram, effects, replay, step, waiting_for, wake_at,
};
use k6_operator::protocol::outcome::{Crossed, Outcome};
use k6_operator::protocol::report::{Failure, Report};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// More text than an event has room for, some of which takes more bytes in JSON than it has characters.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        20 => "[ -~]{0,20}",
        1 => Just("\u{1}".repeat(2500)),
        1 => Just("漢".repeat(2500)),
        1 => Just("\"\\\n".repeat(1500)),
    ]
}

fn fact<T: Clone + std::fmt::Debug + 'static>(
    known: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = Fact<T>> {
    prop_oneof![
        6 => known.prop_map(Fact::Known),
        2 => Just(Fact::Absent),
        1 => Just(Fact::Unknown),
    ]
}

fn end() -> impl Strategy<Value = End> {
    let code = prop_oneof![
        3 => Just(Some(0)),
        1 => Just(Some(99)),
        1 => Just(Some(103)),
        1 => Just(Some(137)),
        1 => Just(None),
    ];
    (code, option::of(text()), text()).prop_map(|(code, reason, message)| End {
        code,
        reason,
        message,
    })
}

/// Pods have one of two UIDs, so that one is often replaced and as often the same.
fn runner() -> impl Strategy<Value = Runner> {
    let pod = (
        prop_oneof![4 => Just("a"), 1 => Just("b")],
        prop::bool::weighted(0.9),
        prop::bool::weighted(0.9),
    );
    let pod = pod.prop_map(|(uid, ip, ready)| ObservedPod {
        uid: uid.to_owned(),
        ip: ip.then(|| "10.0.0.1".to_owned()),
        ready,
        waiting: (!ready).then(|| "ContainerCreating".to_owned()),
    });
    let parts = (
        option::weighted(0.95, pod),
        option::weighted(0.15, end()),
        prop::bool::weighted(0.3),
    );
    parts.prop_map(|(pod, end, leftover)| Runner {
        pod,
        leftover: leftover && end.is_some(),
        end,
        settles: None,
    })
}

fn program() -> impl Strategy<Value = Program> {
    let failures = vec((1..4u32, text()), 0..3);
    let parts = (
        0..4u32,
        0..4u32,
        prop::bool::weighted(0.7),
        failures,
        prop::bool::weighted(0.1),
    );
    let report = parts.prop_map(|(total, ordered, all, failures, aborted)| Report {
        total,
        ordered,
        confirmed: if all { total } else { total / 2 },
        spread_micros: 7,
        failures: failures
            .into_iter()
            .map(|(runner, message)| Failure { runner, message })
            .collect(),
        aborted,
    });
    prop_oneof![
        1 => option::of(text()).prop_map(Program::Running),
        3 => report.prop_map(Program::Reported),
        1 => text().prop_map(Program::Failed),
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let failed = (
        text(),
        text(),
        any::<f64>().prop_filter("JSON has no others", |value| value.is_finite()),
    );
    let failed = failed.prop_map(|(metric, threshold, value)| Crossed {
        metric,
        threshold,
        value,
        uncertain: false,
        aborted: false,
    });
    (
        0..9u32,
        vec(failed, 0..4),
        vec(text(), 0..4),
        option::of(0.0..1e6),
    )
        .prop_map(|(more, failed, incomplete, p95)| Outcome {
            thresholds: more + u32::try_from(failed.len()).unwrap(),
            crossed: u32::try_from(failed.len()).unwrap(),
            failed,
            unknown: 0,
            incomplete,
            totals: Totals {
                p95,
                ..Totals::default()
            },
            silent: 0,
            duration_ms: 1.5,
        })
}

fn initializer() -> impl Strategy<Value = Initializer> {
    let version = option::weighted(
        0.8,
        prop_oneof![
            Just(Version::new(0, 40, 0)),
            Just(Version::new(1, 1, 0)),
            Just(Version::new(2, 0, 0))
        ],
    );
    let wrong = option::weighted(0.1, text());
    let found =
        (0..6u64, 0..100i64, version, wrong).prop_map(|(max_vus, seconds, version, threshold_error)| {
            Inspection {
                longest: SignedDuration::from_secs(seconds),
                version,
                threshold_error,
                ..inspection(max_vus)
            }
        });
    prop_oneof![
        1 => option::of(text()).prop_map(Initializer::Running),
        6 => found.prop_map(|found| Initializer::Succeeded(Ok(found))),
        1 => text().prop_map(|why| Initializer::Succeeded(Err(InspectionError(why)))),
        1 => text().prop_map(Initializer::Failed),
        1 => text().prop_map(Initializer::Aborted),
        1 => Just(Initializer::Outdated),
        1 => text().prop_map(Initializer::Lost),
        1 => Just(Initializer::Done),
    ]
}

fn refusal() -> impl Strategy<Value = Refusal> {
    prop_oneof![
        1 => text().prop_map(Refusal::Foreign),
        1 => text().prop_map(Refusal::Invalid),
        8 => text().prop_map(Refusal::ForNow),
        4 => text().prop_map(Refusal::Failed),
    ]
}

/// A pod that Kubernetes refuses, for a rule that may change by waiting or not.
fn pod_refusal() -> impl Strategy<Value = PodRefusal> {
    let part = prop_oneof![
        Just(Part::Initializer),
        (1..4u32).prop_map(Part::Runner),
        Just(Part::Starter),
        Just(Part::Stopper),
        Just(Part::Aggregator),
    ];
    let rule = prop_oneof![
        Just("memory max limit to request ratio per Container is 5, but provided ratio is 16.000000"),
        Just("exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2"),
        Just("violates PodSecurity \"restricted:latest\": hostPath volumes"),
    ];
    (part, rule, text(), 0..20i64).prop_map(|(part, rule, text, seconds)| {
        let message = format!("Error creating: pods \"a\" is forbidden: {rule} {text}");
        PodRefusal::from_event(part, &message, SignedDuration::from_secs(seconds))
    })
}

fn some_terms(n: u32) -> impl Strategy<Value = Terms> {
    let flags = (
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.2),
        option::weighted(0.3, 1..600i64),
        option::weighted(0.3, "[ -~]{0,80}"),
    );
    let merging = (
        option::weighted(0.2, "[ -~]{0,80}"),
        any::<bool>(),
        prop::bool::weighted(0.1),
        option::weighted(0.2, 0..9u64),
    );
    (flags, merging).prop_map(move |(flags, (apart, per_runner, ignored, rps))| {
        let (suspended, immediate, skip, seconds, unsupported) = flags;
        Terms {
            suspended,
            start: Start::from(immediate),
            inspect: Inspect::from(skip),
            run_timeout: seconds.map(SignedDuration::from_secs),
            unsupported,
            metrics: Metrics::from(apart),
            setup: Setup::from(per_runner),
            thresholds: Thresholds::from(ignored),
            rps,
            ..terms(n)
        }
    })
}

fn spec(n: u32) -> impl Strategy<Value = Result<Terms, String>> {
    prop_oneof![9 => some_terms(n).prop_map(Ok), 1 => text().prop_map(Err)]
}

fn retention() -> impl Strategy<Value = Retention> {
    let cleanup = prop_oneof![Just(Cleanup::Post), Just(Cleanup::OnSuccess)];
    (
        option::weighted(0.1, cleanup),
        option::weighted(0.2, prop_oneof![Just(i64::MIN), -5..100i64, Just(i64::MAX)]),
    )
        .prop_map(|(cleanup, seconds)| Retention {
            cleanup,
            ttl: seconds.map(SignedDuration::from_secs),
        })
}

fn left() -> impl Strategy<Value = Left> {
    (option::weighted(0.3, 0..100i64), vec("[a-c]-[1-9]", 0..3)).prop_map(|(seconds, jobs)| Left {
        keep: seconds.map(SignedDuration::from_secs),
        jobs,
    })
}

/// Any world of a run of `n` runners.
fn world(n: u32) -> impl Strategy<Value = Observed> {
    let script = fact(prop_oneof![4 => Just(Ok(())), 1 => text().prop_map(Err)]);
    // Most of the time all runners are there.
    let all = vec(runner(), usize::try_from(n).unwrap()).prop_map(|all| (1..).zip(all).collect());
    let runners = fact(prop_oneof![4 => all, 1 => btree_map(0..=n + 1, runner(), 0..4)]);
    let merging = (
        fact(runner()),
        fact(Just("10.9.0.1:4318".to_owned())),
        fact(outcome().prop_map(Box::new).boxed()),
        fact(Just(())),
        option::of(outcome()),
    )
        .boxed();
    let rest = (
        merging,
        (
            option::weighted(0.1, refusal()),
            option::weighted(0.1, pod_refusal()),
        )
            .boxed(),
        option::of(text()),
        prop::bool::weighted(0.03),
        retention(),
        (vec("[a-c]-r[1-9]", 0..2), left()).boxed(),
    )
        .boxed();
    let parts = (
        spec(n),
        script,
        fact(initializer()),
        runners,
        fact(program()),
        fact(program()),
        rest,
    );
    parts.prop_map(|(terms, script, initializer, runners, starter, stopper, rest)| {
        let (merging, (refused, pod_refused), hint, deleting, retention, (former, left)) = rest;
        let (aggregator, address, result, summary, live) = merging;
        // It changes between two looks, as when nodes are added.
        let program = match former.is_empty() {
            true => ProgramSource::Copied,
            false => ProgramSource::Mounted,
        };
        Observed {
            generation: 1,
            deleting,
            program,
            terms,
            rerun: None,
            stop: false,
            retention,
            former,
            left,
            script,
            initializer,
            runners,
            starter,
            stopper,
            aggregator,
            address,
            result,
            summary,
            live,
            refused,
            pod_refused,
            hint,
        }
    })
}

/// What a person does to the spec between two looks.
#[derive(Clone, Debug)]
enum Edit {
    Nothing,
    Spec(Result<Terms, String>),
    Suspend(bool),
    Stop(bool),
    Rerun(Option<String>),
}

fn edit(n: u32) -> impl Strategy<Value = Edit> {
    let id = prop_oneof![4 => "[a-c]", 1 => Just("\u{1}".repeat(253)), 1 => Just("漢".repeat(253))];
    prop_oneof![
        12 => Just(Edit::Nothing),
        1 => spec(n).prop_map(Edit::Spec),
        1 => any::<bool>().prop_map(Edit::Suspend),
        1 => prop::bool::weighted(0.3).prop_map(Edit::Stop),
        3 => option::weighted(0.9, id).prop_map(Edit::Rerun),
    ]
}

/// Seconds since the look before, what was done to the spec, and what is seen.
type Look = (u32, Edit, Observed);

fn walk() -> impl Strategy<Value = Vec<Look>> {
    (1..4u32).prop_flat_map(|n| {
        let pause = prop_oneof![8 => 0..20u32, 1 => 0..400u32];
        vec((pause, edit(n), world(n)), 1..40)
    })
}

/// The spec as it stands, whatever each world says of itself.
struct Spec {
    generation: i64,
    terms: Result<Terms, String>,
    rerun: Option<String>,
    stop: bool,
}

impl Spec {
    fn edited(&mut self, edit: Edit) {
        match edit {
            Edit::Nothing => return,
            Edit::Spec(terms) => self.terms = terms,
            Edit::Suspend(suspended) => {
                if let Ok(terms) = &mut self.terms {
                    terms.suspended = suspended;
                }
            }
            Edit::Stop(stop) => self.stop = stop,
            Edit::Rerun(rerun) => self.rerun = rerun,
        }
        self.generation += 1;
    }

    fn shown(&self, seen: Observed) -> Observed {
        Observed {
            generation: self.generation,
            terms: self.terms.clone(),
            rerun: self.rerun.clone(),
            stop: self.stop,
            ..seen
        }
    }
}

/// One run after the other of one resource, driven as the operator drives it.
struct Driven {
    run: Run,
    history: Vec<Record>,
    now: Timestamp,
    /// How often the terms were accepted or rejected: an edit begins the run again.
    acceptances: usize,
    /// status.observedGeneration, as it was written last.
    observed: Option<i64>,
}

impl Driven {
    fn new() -> Self {
        Self {
            run: Run::default(),
            history: Vec::new(),
            now: at(0),
            acceptances: 0,
            observed: None,
        }
    }

    /// What is recorded at one look; whether the run came to rest, and not to a new one.
    fn look(&mut self, seen: &Observed) -> Result<(Vec<Event>, bool), TestCaseError> {
        let mut events = Vec::new();
        // One world and one moment have an end: no event leads to itself again.
        while let Some(event) = self.run.next(seen, self.now) {
            let json = serde_json::to_string(&event).unwrap();
            prop_assert!(json.len() < 4096, "{} bytes: {json}", json.len());
            let record = Record {
                time: self.now,
                event,
            };
            let moved = matches!(step(&self.run.state, &record), Step::Next(_));
            prop_assert!(moved, "{record:?} does not move {:?}", self.run.state);
            let from_finished = matches!(self.run.state, State::Finished(_));
            let is_rerun = matches!(record.event, Event::RerunOrdered { .. });
            prop_assert_eq!(from_finished, is_rerun, "only a new run leaves Finished");
            let after = self.run.after(&record).unwrap();
            append(&mut self.history, record.clone());
            if matches!(record.event, Event::Accepted { .. } | Event::SpecRejected { .. }) {
                self.acceptances += 1;
            }
            let next_attempt = after.attempt != self.run.attempt;
            prop_assert_eq!(after.attempt, self.run.attempt + u32::from(is_rerun));
            self.run = after;
            events.push(record.event);
            prop_assert!(events.len() <= 8, "it does not come to rest: {:?}", self.history);
            allowed(&self.run.state, seen, &effects(&self.run.state, seen, self.now))?;
            if next_attempt {
                return Ok((events, false));
            }
        }
        allowed(&self.run.state, seen, &effects(&self.run.state, seen, self.now))?;
        Ok((events, true))
    }

    fn status(&self, seen: &Observed) -> Status {
        let told = Status {
            observed_generation: self.observed,
            ..Status::default()
        };
        let progress = Progress::of(&self.run, seen, &["--vus=1".to_owned()]).after(&self.run, Some(&told));
        self.run.status(self.history.clone(), &progress)
    }
}

/// Looks again and again, and hands each look to a check.
fn driven(
    looks: Vec<Look>,
    mut check: impl FnMut(&Driven, &Observed, &[Event], bool) -> Result<(), TestCaseError>,
) -> Result<(), TestCaseError> {
    let mut spec = Spec {
        generation: 1,
        terms: looks
            .first()
            .map_or(Ok(terms(1)), |(_, _, seen)| seen.terms.clone()),
        rerun: None,
        stop: false,
    };
    let mut driven = Driven::new();
    for (pause, edit, seen) in looks {
        driven.now = driven
            .now
            .checked_add(SignedDuration::from_secs(pause.into()))
            .unwrap();
        spec.edited(edit);
        let seen = spec.shown(seen);
        let (events, at_rest) = driven.look(&seen)?;
        check(&driven, &seen, &events, at_rest)?;
        driven.observed = driven.status(&seen).observed_generation;
    }
    Ok(())
}

fn allowed(state: &State, seen: &Observed, wanted: &[Effect]) -> Result<(), TestCaseError> {
    let accepted = match state {
        State::Initializing(Initializing::Accepted(accepted)) => Some(&accepted.terms),
        State::Initializing(Initializing::New)
        | State::Created(_)
        | State::Starting(_)
        | State::Started(_)
        | State::Stopping(_)
        | State::Finished(_) => None,
    };
    let aggregated = matches!(state, State::Created(state) if state.plan.aggregation.is_some());
    let collects = match state {
        State::Started(started) => matches!(started.phase, Test::Collecting(_)),
        State::Stopping(stopping) => matches!(stopping.phase, Stop::Collecting { .. }),
        State::Initializing(_) | State::Created(_) | State::Starting(_) | State::Finished(_) => false,
    };
    for effect in wanted {
        prop_assert!(!seen.deleting, "{effect:?} of a resource that is being deleted");
        let ok = match effect {
            Effect::CreateScript => {
                accepted.is_some_and(|terms| !terms.suspended) && seen.script == Fact::Absent
            }
            Effect::CreateInitializer => {
                let again = aggregated && seen.aggregator == Fact::Absent && seen.initializer == Fact::Absent;
                let asked = accepted
                    .is_some_and(|terms| !terms.suspended && terms.inspect == Inspect::Script)
                    && seen.script == Fact::Known(Ok(()));
                asked || again
            }
            Effect::CreateAggregator { .. } => aggregated && seen.aggregator == Fact::Absent,
            Effect::CreateService => aggregated && seen.address == Fact::Absent,
            Effect::KeepSummary => {
                collects && matches!(seen.result, Fact::Known(_)) && seen.summary == Fact::Absent
            }
            Effect::DeleteAggregator => matches!(state, State::Finished(_)),
            Effect::DeleteInitializer => {
                // One that has ended well stays: users' tools wait for it.
                let lost = matches!(seen.initializer, Fact::Known(Initializer::Lost(_)));
                let outdated = seen.initializer == Fact::Known(Initializer::Outdated);
                let running = matches!(seen.initializer, Fact::Known(Initializer::Running(_)));
                matches!(state, State::Created(_)) && lost
                    || matches!(state, State::Finished(_)) && running
                    || accepted.is_some_and(|terms| terms.suspended || outdated || lost)
            }
            Effect::DeleteFormer(name) => seen.former.contains(name),
            Effect::DeleteLeft(name) => {
                let left = &seen.left;
                matches!(state, State::Finished(_)) && left.keep.is_some() && left.jobs.contains(name)
            }
            Effect::DeleteResource => {
                matches!(state, State::Finished(_))
                    && wanted.len() == 1
                    && seen.retention != Retention::default()
            }
            Effect::CreateRunner { .. } => {
                let told = !aggregated || matches!(seen.address, Fact::Known(_));
                matches!(state, State::Created(_)) && told
            }
            Effect::DeleteRunner { .. } => matches!(state, State::Stopping(_) | State::Finished(_)),
            Effect::CreateStarter(targets) => {
                // The machine itself would order these very pods.
                let State::Starting(starting) = state else {
                    return Err(TestCaseError::fail(format!("{effect:?} in {state:?}")));
                };
                let n = starting.plan.parallelism;
                let mut ready = seen.clone();
                if let Fact::Known(runners) = &mut ready.runners {
                    for pod in runners.values_mut().filter_map(|runner| runner.pod.as_mut()) {
                        pod.ready = true;
                    }
                }
                ready.refused = None;
                ready.pod_refused = None;
                let order = Event::StartOrdered {
                    runners: n,
                    pods: starting.pods.clone(),
                };
                let numbers: Vec<u32> = targets.iter().map(|target| target.runner).collect();
                numbers == (1..=n).collect::<Vec<u32>>()
                    && classify(&created(n), &ready, at(3)) == Some(order)
            }
            Effect::DeleteStarter => {
                matches!(state, State::Stopping(_) | State::Finished(_))
                    && matches!(seen.starter, Fact::Known(Program::Running(_)))
            }
            Effect::CreateStopper(targets) => matches!(state, State::Stopping(_)) && !targets.is_empty(),
        };
        prop_assert!(ok, "{effect:?} in {state:?}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_run_through_any_worlds_and_edits_moves_on_each_event_and_its_status_is_its_history(looks in walk()) {
        driven(looks, |driven, seen, _, _| {
            prop_assert!(driven.history.len() <= HISTORY_LIMIT, "{:?}", driven.history);
            let status = driven.status(seen);
            let json = serde_json::to_string(&status).unwrap();
            let read: Status = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(&read, &status);
            let replayed = replay(&read.history).unwrap();
            prop_assert_eq!(&replayed, &driven.run);
            let progress = Progress::of(&replayed, seen, &status.argv).after(&replayed, Some(&status));
            prop_assert_eq!(replayed.status(read.history, &progress), status);
            Ok(())
        })?;
    }

    #[test]
    fn a_live_run_that_is_not_held_looks_again_by_itself(looks in walk()) {
        driven(looks, |driven, seen, _, at_rest| {
            let state = &driven.run.state;
            let endless = matches!(state, State::Started(started) if started.plan.deadline_seconds.is_none());
            let live = !matches!(state, State::Finished(_)) && !driven.run.suspended();
            if at_rest && live && !endless && !seen.deleting {
                let wake = wake_at(state, seen);
                prop_assert!(wake.is_some(), "nothing wakes {state:?}");
                // What has passed has been answered; only what can't be seen, and runners that are being deleted, are
                // waited for without end.
                let passed = wake.is_some_and(|wake| wake <= driven.now);
                let gone = match &seen.runners {
                    Fact::Known(runners) => runners.values().all(|runner| runner.end.is_some()),
                    Fact::Absent => true,
                    Fact::Unknown => false,
                };
                let blind = !gone && matches!(state, State::Stopping(_));
                prop_assert!(!passed || blind, "{state:?} sleeps through {wake:?} at {}", driven.now);
            }
            Ok(())
        })?;
    }

    #[test]
    fn a_pod_that_is_refused_is_told_for_as_long_as_it_is_waited_for(seen in world(2), refusal in pod_refusal()) {
        let clause = refusal.clause();
        let seen = Observed { pod_refused: Some(refusal), ..seen };
        for state in [created(2), starting(2), started(2), crate::support::stopping(2)] {
            let told = waiting_for(&state, &seen).unwrap_or_default();
            prop_assert!(told.contains(&clause), "{state:?}: {told}");
        }
    }

    #[test]
    fn conditions_say_what_the_state_says_to_tools_that_know_no_states(looks in walk()) {
        let mut since: BTreeMap<String, (String, Timestamp)> = BTreeMap::new();
        let mut acceptance = (0, 0);
        driven(looks, |driven, seen, _, _| {
            let status = driven.status(seen);
            if status.history.is_empty() {
                prop_assert_eq!(status.conditions, vec![]);
                return Ok(());
            }
            let is = |type_: &str, value: &str| {
                status.conditions.iter().any(|c| c.type_ == type_ && c.status == value)
            };
            prop_assert!(!(is("Ready", "True") && is("Reconciling", "True")));
            let finished = matches!(driven.run.state, State::Finished(_));
            let passed = status.result == Some(RunResult::Passed);
            prop_assert_eq!(is("Stalled", "True"), finished && !passed);
            prop_assert_eq!(is("Ready", "True"), passed);
            prop_assert_eq!(is("Reconciling", "True"), !finished && !driven.run.suspended());
            prop_assert_eq!(is("Succeeded", "Unknown"), !finished);
            prop_assert_eq!(is("Unsupported", "True"), driven.run.unsupported.is_some());
            let tried_again = matches!(seen.refused, Some(Refusal::ForNow(_) | Refusal::Failed(_)));
            let told = matches!(seen.refused, Some(Refusal::Foreign(_) | Refusal::Invalid(_)));
            let tried_again = tried_again || seen.pod_refused.is_some() && !told;
            prop_assert_eq!(is("Retrying", "True"), tried_again && !finished);

            let answered = seen.rerun.is_none() || seen.rerun == driven.run.rerun;
            let expected = match status.result.filter(|_| answered) {
                None => Kstatus::InProgress,
                Some(RunResult::Passed) => Kstatus::Current,
                Some(RunResult::Failed | RunResult::Aborted | RunResult::Error) => Kstatus::Failed,
            };
            let json = serde_json::to_value(&status).unwrap();
            prop_assert_eq!(kstatus::compute(seen.generation, &json), expected);
            // Of an edit that was not looked at yet nothing is said.
            prop_assert_eq!(kstatus::compute(seen.generation + 1, &json), Kstatus::InProgress);

            // An edit of the spec begins the run again, and so does another attempt.
            let now = (driven.run.attempt, driven.acceptances);
            if std::mem::replace(&mut acceptance, now) != now {
                since.clear();
            }
            for condition in &status.conditions {
                let time = condition.last_transition_time.0;
                let new = (condition.status.clone(), time);
                let old = since.insert(condition.type_.clone(), new);
                if let Some((value, before)) = old {
                    prop_assert!(before <= time, "{} goes back", condition.type_);
                    let stays = value == condition.status;
                    prop_assert!(!stays || before == time, "{} moved at no change", condition.type_);
                }
            }
            Ok(())
        })?;
    }

    #[test]
    fn status_is_of_a_generation_that_its_run_answers(looks in walk()) {
        let mut asked: BTreeMap<i64, Option<String>> = BTreeMap::new();
        let mut before = None;
        driven(looks, |driven, seen, _, _| {
            asked.insert(seen.generation, seen.rerun.clone());
            let status = driven.status(seen);
            if status.history.is_empty() {
                return Ok(());
            }
            let generation = status.observed_generation.unwrap();
            prop_assert!(status.conditions.iter().all(|c| c.observed_generation == Some(generation)));
            prop_assert!(before <= Some(generation), "{before:?} is followed by {generation}");
            before = Some(generation);
            // A run that is ordered and not accepted yet shows the generation of the one before.
            let waits = matches!(driven.run.state, State::Initializing(Initializing::New));
            if let (false, Some(Some(rerun))) = (waits, asked.get(&generation)) {
                let of = driven.run.rerun.as_ref();
                prop_assert_eq!(of, Some(rerun), "{:?} at generation {}", status.state, generation);
            }
            Ok(())
        })?;
    }

    #[test]
    fn after_an_order_to_stop_no_runner_is_made_before_the_next_run(looks in walk()) {
        let mut stopped = None;
        driven(looks, |driven, seen, events, _| {
            // A stop and the next run can be ordered at one look.
            let of_this_run = events.iter().rev().take_while(|event| !matches!(event, Event::RerunOrdered { .. }));
            if of_this_run.into_iter().any(|event| *event == Event::StopOrdered {}) {
                stopped = Some(driven.run.attempt);
            }
            if stopped == Some(driven.run.attempt) {
                let made = effects(&driven.run.state, seen, driven.now).into_iter().find(|effect| {
                    matches!(effect, Effect::CreateRunner { .. } | Effect::CreateStarter(_) | Effect::CreateInitializer)
                });
                prop_assert_eq!(made, None);
                let done = matches!(driven.run.state, State::Stopping(_) | State::Finished(_));
                prop_assert!(done, "{:?} after an order to stop", driven.run.state);
            }
            Ok(())
        })?;
    }

    #[test]
    fn a_finished_run_is_left_only_for_another_text_in_rerun(looks in walk()) {
        let mut answered: Option<(u32, Option<String>)> = None;
        driven(looks, |driven, seen, events, _| {
            let reruns = events.iter().filter(|event| matches!(event, Event::RerunOrdered { .. })).count();
            prop_assert!(reruns <= 1);
            if let Some((attempt, rerun)) = &answered {
                let asked = seen.rerun.is_some() && seen.rerun != *rerun && !seen.deleting;
                prop_assert!(asked || reruns == 0);
                prop_assert_eq!(reruns == 1, asked);
                prop_assert_eq!(driven.run.attempt as usize, *attempt as usize + reruns);
            }
            let finished = matches!(driven.run.state, State::Finished(_));
            answered = finished.then(|| (driven.run.attempt, driven.run.rerun.clone()));
            Ok(())
        })?;
    }

    #[test]
    fn any_sequence_of_events_replays_to_the_fold_or_names_the_first_that_is_refused(
        picks in vec(any::<prop::sample::Index>(), 0..12), usual in 0..6usize,
    ) {
        // Begin as a run usually does, so that all states are reached.
        let events: Vec<Event> = diagram::events().into_iter().map(|event| event.value).collect();
        let named = |name: &str| events.iter().find(|event| event.name() == name).unwrap().clone();
        let all = ["Accepted", "ScriptInspected", "StartOrdered", "StartConfirmed", "RunnersEnded"];
        let usual = all.into_iter().take(usual).map(named);
        let picked = picks.iter().map(|pick| pick.get(&events).clone());
        let records: Vec<Record> = (0..).zip(usual.chain(picked)).map(|(i, event)| Record { time: at(i), event }).collect();
        let mut run = Run::default();
        let mut accepted: Vec<Record> = Vec::new();
        for record in records {
            match run.after(&record) {
                Some(next) => {
                    let is_rerun = matches!(record.event, Event::RerunOrdered { .. });
                    prop_assert!(is_rerun || !matches!(run.state, State::Finished(_)), "Finished took {record:?}");
                    run = next;
                    accepted.push(record);
                }
                None => {
                    let refused = [accepted.as_slice(), std::slice::from_ref(&record)].concat();
                    let error = replay(&refused).unwrap_err();
                    prop_assert_eq!(error.index, accepted.len());
                    prop_assert_eq!(error.event, record.event.name());
                    prop_assert_eq!(error.state, run.state.name());
                }
            }
            prop_assert_eq!(&replay(&accepted), &Ok(run.clone()));
        }
    }

    #[test]
    fn a_finished_run_wants_no_event_and_makes_nothing(seen in world(3), seconds in 0..100_000i64) {
        let ended = Event::RunnersStopped { forced: 0 };
        let state = crate::support::stopping(3);
        let Step::Next(state) = step(&state, &Record { time: at(5), event: ended }) else {
            panic!("not finished");
        };
        prop_assert_eq!(classify(&state, &seen, at(seconds)), None);
        for effect in effects(&state, &seen, at(seconds)) {
            let removes = matches!(
                effect,
                Effect::DeleteRunner { .. }
                    | Effect::DeleteInitializer
                    | Effect::DeleteStarter
                    | Effect::DeleteAggregator
                    | Effect::DeleteFormer(_)
                    | Effect::DeleteLeft(_)
                    | Effect::DeleteResource
            );
            prop_assert!(removes, "{effect:?}");
        }
    }

    #[test]
    fn a_starter_is_made_only_while_starting_and_for_the_ordered_pods(uid in "[a-c]{1,3}", which in 1..=3u32) {
        let mut seen = empty_world(3);
        let mut all: std::collections::BTreeMap<u32, Runner> = (1..=3).map(|i| (i, crate::support::ready(i))).collect();
        seen.runners = Fact::Known(all.clone());
        prop_assert_eq!(effects(&starting(3), &seen, at(5)).len(), 1);
        all.get_mut(&which).unwrap().pod.as_mut().unwrap().uid = uid;
        seen.runners = Fact::Known(all);
        prop_assert_eq!(effects(&starting(3), &seen, at(5)), vec![]);
    }
}

#[test]
fn status_stays_small_whatever_kubernetes_and_the_spec_have_to_say() {
    let long = "\u{1}\"漢".repeat(50_000);
    let stuck = Runner {
        pod: Some(ObservedPod {
            waiting: Some(long.clone()),
            ..ObservedPod::default()
        }),
        ..Runner::default()
    };
    let seen = Observed {
        runners: Fact::Known([(1, stuck)].into()),
        hint: Some(long.clone()),
        refused: Some(Refusal::ForNow(long.clone())),
        ..empty_world(2)
    };
    let argv = [&["--tag=a=b".to_owned()][..], &vec![long.clone(); 256]].concat();
    for state in [created(2), starting(2), started(2), crate::support::stopping(2)] {
        let run = Run {
            state,
            ..Run::default()
        };
        let progress = Progress::of(&run, &seen, &argv);
        let json = serde_json::to_string(&run.status(Vec::new(), &progress)).unwrap();
        assert!(json.len() < 32_768, "{} bytes", json.len());
        assert_eq!(progress.argv, ["--tag=a=b", "... and 256 more"]);
    }
    let words = vec!["--vus=1".to_owned(); 100];
    assert_eq!(Progress::of(&Run::default(), &seen, &words).argv, words);
}

#[test]
fn an_event_of_two_thousand_failures_takes_less_than_four_kilobytes() {
    for words in [
        "x".repeat(4096),
        "漢".repeat(4096),
        "\u{1}".repeat(4096),
        "\"".repeat(4096),
    ] {
        let all = (1..=2_000).map(|i| {
            let end = End {
                code: Some(-2_000_000_000),
                reason: Some(words.clone()),
                message: words.clone(),
            };
            (
                i,
                Runner {
                    end: Some(end),
                    ..Runner::default()
                },
            )
        });
        let mut seen = empty_world(2_000);
        seen.runners = Fact::Known(all.collect());
        for state in [started(2_000), created(2_000)] {
            let event = classify(&state, &seen, at(60)).unwrap();
            let json = serde_json::to_string(&event).unwrap();
            assert!(json.len() < 4096, "{} bytes", json.len());
        }
    }
}

#[test]
fn a_history_edited_by_hand_is_told_where_it_goes_wrong() {
    let records =
        [accepted(2), Event::RunnersStopped { forced: 0 }].map(|event| Record { time: at(0), event });
    let error = replay(&records).unwrap_err().to_string();
    assert_eq!(
        error,
        "event 1 of status.history, RunnersStopped, can't happen in state Initializing"
    );
}

#[test]
fn sums_of_a_history_edited_by_hand_do_not_overflow() {
    let most = u32::MAX;
    let tally = k6_operator::machine::Tally {
        passed: most,
        crossed: most,
        aborted: most,
        marked: 0,
        failed: most,
        failures: Vec::new(),
    };
    let record = Record {
        time: at(9),
        event: Event::RunnersEnded { tally },
    };
    let Step::Next(State::Finished(end)) = step(&started(2), &record) else {
        panic!("not finished");
    };
    assert_eq!(
        (end.completed, end.verdict.reason),
        (most, Reason::ThresholdsCrossed)
    );
}

#[test]
fn the_digest_of_an_order_is_bounded_whatever_the_parallelism() {
    assert_eq!(digest(1).len(), digest(200).len());
}
