//! What holds of every run, whatever is observed and in whatever order.

use crate::support::{accepted, at, created, digest, empty_world, inspection, started, starting, terms};
use jiff::SignedDuration;
use k6_operator::api::Status;
use k6_operator::machine::{
    Effect, End, Event, Fact, HISTORY_LIMIT, Initializer, Inspection, InspectionError, Observed, PodSeen,
    Program, Progress, Reason, Record, Refusal, Run, Runner, State, Step, classify, diagram, effects, replay,
    step,
};
use k6_operator::runners::report::{Failure, Report};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

/// More text than an event has room for, some of which takes more bytes in JSON than it has characters.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,20}",
        Just("\u{1}".repeat(2500)),
        Just("漢".repeat(2500)),
        Just("\"\\\n".repeat(1500)),
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
    let pod = pod.prop_map(|(uid, ip, ready)| PodSeen {
        uid: uid.to_owned(),
        ip: ip.then(|| "10.0.0.1".to_owned()),
        ready,
        waiting: (!ready).then(|| "ContainerCreating".to_owned()),
    });
    (option::weighted(0.95, pod), option::weighted(0.15, end())).prop_map(|(pod, end)| Runner { pod, end })
}

fn program() -> impl Strategy<Value = Program> {
    let failures = vec((1..4u32, text()), 0..3);
    let report = (0..4u32, prop::bool::weighted(0.7), failures).prop_map(|(total, all, failures)| Report {
        total,
        confirmed: if all { total } else { total / 2 },
        spread_micros: 7,
        failures: failures
            .into_iter()
            .map(|(runner, message)| Failure { runner, message })
            .collect(),
    });
    prop_oneof![
        1 => option::of(text()).prop_map(Program::Running),
        3 => report.prop_map(Program::Reported),
        1 => text().prop_map(Program::Failed),
    ]
}

fn initializer() -> impl Strategy<Value = Initializer> {
    let found = (0..6u64, 0..100u64).prop_map(|(max_vus, total_seconds)| Inspection {
        total_seconds,
        ..inspection(max_vus)
    });
    prop_oneof![
        1 => option::of(text()).prop_map(Initializer::Running),
        6 => found.prop_map(|found| Initializer::Succeeded(Ok(found))),
        1 => text().prop_map(|why| Initializer::Succeeded(Err(InspectionError(why)))),
        1 => text().prop_map(Initializer::Failed),
    ]
}

fn refusal() -> impl Strategy<Value = Refusal> {
    prop_oneof![
        1 => text().prop_map(Refusal::Foreign),
        1 => text().prop_map(Refusal::Invalid),
        8 => text().prop_map(Refusal::ForNow),
    ]
}

/// Any world of a run of `n` runners.
fn world(n: u32) -> impl Strategy<Value = Observed> {
    let terms = prop_oneof![9 => Just(Ok(terms(n))), 1 => text().prop_map(Err)];
    let script = fact(prop_oneof![4 => Just(Ok(())), 1 => text().prop_map(Err)]);
    // Most of the time all runners are there.
    let all = vec(runner(), usize::try_from(n).unwrap()).prop_map(|all| (1..).zip(all).collect());
    let runners = fact(prop_oneof![4 => all, 1 => btree_map(0..=n + 1, runner(), 0..4)]);
    let rest = (
        option::weighted(0.1, refusal()),
        option::of(text()),
        prop::bool::weighted(0.03),
    );
    let parts = (
        terms,
        script,
        fact(initializer()),
        runners,
        fact(program()),
        fact(program()),
        rest,
    );
    parts.prop_map(
        |(terms, script, initializer, runners, starter, stopper, (refused, hint, deleting))| Observed {
            generation: 1,
            deleting,
            terms,
            script,
            initializer,
            runners,
            starter,
            stopper,
            refused,
            hint,
        },
    )
}

/// Worlds, and the seconds between them.
fn walk() -> impl Strategy<Value = Vec<(u32, Observed)>> {
    (1..4u32).prop_flat_map(|n| {
        let pause = prop_oneof![8 => 0..20u32, 1 => 0..400u32];
        vec((pause, world(n)), 1..24)
    })
}

fn allowed(state: &State, seen: &Observed, wanted: &[Effect]) -> Result<(), TestCaseError> {
    for effect in wanted {
        prop_assert!(!seen.deleting, "{effect:?} of a resource that is being deleted");
        let ok = match effect {
            Effect::CreateInitializer => matches!(state, State::Initializing(_)),
            Effect::DeleteInitializer => matches!(state, State::Created(_) | State::Finished(_)),
            Effect::CreateRunner { .. } => matches!(state, State::Created(_)),
            Effect::DeleteRunner { .. } => matches!(state, State::Finished(_)),
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
                let order = Event::StartOrdered {
                    runners: n,
                    pods: starting.pods.clone(),
                };
                let numbers: Vec<u32> = targets.iter().map(|target| target.runner).collect();
                numbers == (1..=n).collect::<Vec<u32>>()
                    && classify(&created(n), &ready, at(3)) == Some(order)
            }
            Effect::CreateStopper(targets) => matches!(state, State::Stopping(_)) && !targets.is_empty(),
        };
        prop_assert!(ok, "{effect:?} in {state:?}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn a_run_through_any_worlds_moves_on_each_event_and_its_status_is_its_history(worlds in walk()) {
        let mut run = Run::default();
        let mut history: Vec<Record> = Vec::new();
        let mut now = at(0);
        for (pause, seen) in worlds {
            now = now.checked_add(SignedDuration::from_secs(pause.into())).unwrap();
            // One world and one moment have an end: no event leads to itself again.
            let mut moves = 0;
            while let Some(event) = classify(&run.state, &seen, now) {
                let json = serde_json::to_string(&event).unwrap();
                prop_assert!(json.len() < 4096, "{} bytes: {json}", json.len());
                let record = Record { time: now, event };
                let moved = matches!(step(&run.state, &record), Step::Next(_));
                prop_assert!(moved, "{record:?} does not move {:?}", run.state);
                run = run.after(&record).unwrap();
                history.push(record);
                moves += 1;
                prop_assert!(moves <= 7, "it does not come to rest: {history:?}");
                allowed(&run.state, &seen, &effects(&run.state, &seen))?;
            }
            allowed(&run.state, &seen, &effects(&run.state, &seen))?;
            prop_assert!(history.len() <= HISTORY_LIMIT);

            let progress = Progress::of(&run.state, &seen);
            let status = run.status(history.clone(), &progress);
            let json = serde_json::to_string(&status).unwrap();
            let read: Status = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(&read, &status);
            let replayed = replay(&read.history).unwrap();
            prop_assert_eq!(&replayed, &run);
            prop_assert_eq!(replayed.status(read.history, &progress), status);
        }
    }

    #[test]
    fn any_sequence_of_events_replays_to_the_fold_or_names_the_first_that_is_refused(
        picks in vec(any::<prop::sample::Index>(), 0..12), usual in 0..5usize,
    ) {
        // Begin as a run usually does, so that all states are reached.
        let events: Vec<Event> = diagram::events().into_iter().map(|event| event.value).collect();
        let usual = [0, 2, 4, 5, 9].into_iter().take(usual).map(|i| events[i].clone());
        let picked = picks.iter().map(|pick| pick.get(&events).clone());
        let records: Vec<Record> = (0..).zip(usual.chain(picked)).map(|(i, event)| Record { time: at(i), event }).collect();
        let mut run = Run::default();
        let mut accepted: Vec<Record> = Vec::new();
        for record in records {
            match run.after(&record) {
                Some(next) => {
                    prop_assert!(!matches!(run.state, State::Finished(_)), "Finished took {record:?}");
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
        for effect in effects(&state, &seen) {
            let removes = matches!(effect, Effect::DeleteRunner { .. } | Effect::DeleteInitializer);
            prop_assert!(removes, "{effect:?}");
        }
    }

    #[test]
    fn a_starter_is_made_only_while_starting_and_for_the_ordered_pods(uid in "[a-c]{1,3}", which in 1..=3u32) {
        let mut seen = empty_world(3);
        let mut all: std::collections::BTreeMap<u32, Runner> = (1..=3).map(|i| (i, crate::support::ready(i))).collect();
        seen.runners = Fact::Known(all.clone());
        prop_assert_eq!(effects(&starting(3), &seen).len(), 1);
        all.get_mut(&which).unwrap().pod.as_mut().unwrap().uid = uid;
        seen.runners = Fact::Known(all);
        prop_assert_eq!(effects(&starting(3), &seen), vec![]);
    }
}

#[test]
fn an_event_of_ten_thousand_failures_takes_less_than_four_kilobytes() {
    for words in [
        "x".repeat(4096),
        "漢".repeat(4096),
        "\u{1}".repeat(4096),
        "\"".repeat(4096),
    ] {
        let all = (1..=10_000).map(|i| {
            let end = End {
                code: Some(-2_000_000_000),
                reason: Some(words.clone()),
                message: words.clone(),
            };
            (
                i,
                Runner {
                    pod: None,
                    end: Some(end),
                },
            )
        });
        let mut seen = empty_world(10_000);
        seen.runners = Fact::Known(all.collect());
        for state in [started(10_000), created(10_000)] {
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
