//! What is found in an observed world, and what is then wanted of it. Each test asserts the event and all
//! effects: an effect that is not named must not be asked for.

use crate::support::*;
use jiff::SignedDuration;
use k6_operator::api::Cleanup;
use k6_operator::machine::{
    Accepted, Effect, Event, FORMER_AT_MOST, Fact, Former, HISTORY_LIMIT, Initializer, Initializing, Inspect,
    Inspection, InspectionError, LEFTOVER_GRACE, Left, Observed, ObservedPod, Program, Reason, Record,
    Refusal, Retention, Run, RunResult, Runner, RunnerFailure, SCRIPT_GRACE, STOP_GRACE, Start, State,
    StateName, Step, Terms, append, classify, effects, effects_unwritten, expiry, expiry_of_jobs, replay,
    step, waiting_for, wake_at,
};
use k6_operator::protocol::report::{Failure, Report};
use std::collections::BTreeMap;

fn rejected(reason: Reason, message: &str) -> Option<Event> {
    Some(Event::ScriptRejected {
        reason,
        message: message.to_owned(),
    })
}

fn start_failed(released: Option<u32>, message: &str) -> Option<Event> {
    Some(Event::StartFailed {
        released,
        aborted: false,
        message: message.to_owned(),
    })
}

fn deadline(waiting_for: &str) -> Option<Event> {
    Some(Event::DeadlinePassed {
        waiting_for: waiting_for.to_owned(),
    })
}

fn lost(runner: u32, exit_code: Option<i32>, reason: Option<&str>, message: &str) -> Option<Event> {
    Some(Event::RunnerLost {
        failure: RunnerFailure {
            runner,
            exit_code,
            reason: reason.map(str::to_owned),
            message: message.to_owned(),
        },
    })
}

const MISSING: &str = "ConfigMap default/crocodile does not exist";

mod initializing_a_run {
    use super::*;

    #[test]
    fn a_new_resource_is_accepted_on_its_terms_and_the_initializer_is_made() {
        let found = outcome(&State::default(), &empty_world(4), at(0));
        assert_eq!(found, (Some(accepted(4)), vec![Effect::CreateInitializer]));
    }

    #[test]
    fn a_spec_that_cannot_be_carried_out_ends_the_run_and_makes_nothing() {
        let seen = Observed {
            terms: Err("spec.parallelism is 0".to_owned()),
            ..empty_world(4)
        };
        let message = "spec.parallelism is 0".to_owned();
        let found = outcome(&State::default(), &seen, at(0));
        assert_eq!(
            found,
            (Some(Event::SpecRejected { rerun: None, message }), vec![])
        );
    }

    #[test]
    fn a_missing_config_map_is_told_after_the_grace() {
        let seen = Observed {
            script: Fact::Known(Err(MISSING.to_owned())),
            ..empty_world(4)
        };
        let state = initializing(4);
        let over = SCRIPT_GRACE.as_secs();
        assert_eq!(outcome(&state, &seen, at(over - 1)), (None, vec![]));
        assert_eq!(waiting_for(&state, &seen).as_deref(), Some(MISSING));
        assert_eq!(wake_at(&state, &seen), Some(at(over)));
        let found = outcome(&state, &seen, at(over));
        assert_eq!(found, (rejected(Reason::ScriptNotFound, MISSING), vec![]));
    }

    #[test]
    fn a_config_map_that_comes_within_the_grace_is_inspected() {
        let found = outcome(&initializing(4), &empty_world(4), at(9));
        assert_eq!(found, (None, vec![Effect::CreateInitializer]));
    }

    #[test]
    fn a_config_map_deleted_while_it_is_inspected_does_no_harm() {
        let seen = Observed {
            script: Fact::Known(Err(MISSING.to_owned())),
            initializer: Fact::Known(Initializer::Running(None)),
            ..empty_world(4)
        };
        assert_eq!(outcome(&initializing(4), &seen, at(100)), (None, vec![]));
    }

    #[test]
    fn an_inspected_script_orders_all_runners_and_its_initializer_stays() {
        let seen = Observed {
            initializer: inspected(200),
            ..empty_world(4)
        };
        let (event, wanted) = outcome(&initializing(4), &seen, at(1));
        let Some(Event::ScriptInspected { plan }) = event else {
            panic!("{event:?}");
        };
        assert_eq!(
            (plan.parallelism, plan.max_vus, plan.thresholds),
            (4, Some(200), Some(1))
        );
        assert_eq!(plan.deadline_seconds, Some(90 + 120 + 300));
        assert_eq!(plan.warning, None);
        let runners = (1..=4).map(|runner| Effect::CreateRunner { runner, of: 4 });
        assert_eq!(wanted, runners.collect::<Vec<_>>());
    }

    #[test]
    fn an_initializer_that_ended_well_stays_in_every_state() {
        let over = record(9, Event::RunnersStopped { forced: 0 });
        let Step::Next(finished) = step(&stopping(2), &over) else {
            panic!("not finished");
        };
        for initializer in [inspected(20), Fact::Known(Initializer::Done)] {
            for state in [created(2), starting(2), started(2), stopping(2), finished.clone()] {
                let seen = Observed {
                    initializer: initializer.clone(),
                    ..empty_world(2)
                };
                let wanted = effects(&state, &seen, at(1));
                assert!(
                    !wanted.contains(&Effect::DeleteInitializer),
                    "{state:?}: {wanted:?}"
                );
            }
        }
    }

    #[test]
    fn users_that_cannot_be_shared_evenly_are_warned_of() {
        let seen = Observed {
            initializer: inspected(10),
            ..empty_world(4)
        };
        let event = classify(&initializing(4), &seen, at(1));
        let Some(Event::ScriptInspected { plan }) = event else {
            panic!("{event:?}");
        };
        let warning = "10 virtual users are not divisible by 4 runners: shares differ by one";
        assert_eq!(plan.warning.as_deref(), Some(warning));
    }

    #[test]
    fn the_tags_of_a_script_are_in_the_plan_and_those_that_k6_cannot_be_given_are_warned_of() {
        let tags = [
            ("team", "x"),
            ("empty", ""),
            ("a=b", "c"),
            ("long", &*"y".repeat(3000)),
        ];
        let tags = tags.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let found = Inspection {
            tags: tags.into(),
            ..inspection(200)
        };
        let seen = Observed {
            initializer: Fact::Known(Initializer::Succeeded(Ok(found))),
            ..empty_world(4)
        };
        let event = classify(&initializing(4), &seen, at(1));
        let Some(Event::ScriptInspected { plan }) = event else {
            panic!("{event:?}");
        };
        assert_eq!(plan.tags, BTreeMap::from([("team".to_owned(), "x".to_owned())]));
        let warning = plan.warning.unwrap();
        assert!(
            warning.ends_with("and does without: a=b, empty, long"),
            "{warning}"
        );
    }

    #[test]
    fn more_runners_than_requests_per_second_are_refused_with_both_numbers() {
        let event = |script: Option<u64>, spec: Option<u64>| {
            let found = Inspection {
                rps: script,
                ..inspection(200)
            };
            let seen = Observed {
                initializer: Fact::Known(Initializer::Succeeded(Ok(found))),
                ..empty_world(4)
            };
            let state = State::Initializing(Initializing::Accepted(Accepted {
                at: at(0),
                generation: 1,
                terms: Terms {
                    rps: spec,
                    ..terms(4)
                },
            }));
            classify(&state, &seen, at(1))
        };
        let message = "spec.parallelism is 4, but the test is limited to 3 requests per second (rps): each runner needs \
                       a share of at least 1; set parallelism to 3 or less, or rps to 4 or more";
        assert_eq!(
            event(Some(3), None),
            rejected(Reason::ParallelismTooHigh, message)
        );
        for (script, spec, planned) in [
            (None, None, None),
            (Some(10), None, Some(10)),
            (Some(3), Some(20), Some(20)),
            (Some(3), Some(0), None),
        ] {
            let Some(Event::ScriptInspected { plan }) = event(script, spec) else {
                panic!("{script:?} {spec:?}");
            };
            assert_eq!(plan.rps, planned, "{script:?} {spec:?}");
        }
    }

    #[test]
    fn more_runners_than_users_are_refused_with_the_number_to_set() {
        let seen = Observed {
            initializer: inspected(3),
            ..empty_world(4)
        };
        let message = "spec.parallelism is 4, but the script has at most 3 virtual users: some runners would \
                       have none; set parallelism to 3 or less";
        let found = outcome(&initializing(4), &seen, at(1));
        assert_eq!(found, (rejected(Reason::ParallelismTooHigh, message), vec![]));
    }

    #[test]
    fn a_test_without_an_end_of_its_own_has_no_deadline() {
        let endless = k6_operator::machine::Inspection {
            longest: SignedDuration::ZERO,
            ..inspection(4)
        };
        let seen = Observed {
            initializer: Fact::Known(Initializer::Succeeded(Ok(endless))),
            ..empty_world(4)
        };
        let event = classify(&initializing(4), &seen, at(1));
        let Some(Event::ScriptInspected { plan }) = event else {
            panic!("{event:?}");
        };
        assert_eq!(plan.deadline_seconds, None);
    }

    #[test]
    fn script_that_aborts_the_test_while_it_is_loaded_aborts_the_run() {
        let seen = Observed {
            initializer: Fact::Known(Initializer::Aborted("test aborted: in init".to_owned())),
            ..empty_world(4)
        };
        let message = "The script aborted the test while k6 loaded it: test aborted: in init";
        let event = classify(&initializing(4), &seen, at(1));
        assert_eq!(event, rejected(Reason::TestAborted, message));
        let Step::Next(State::Finished(end)) = step(&initializing(4), &record(1, event.unwrap())) else {
            panic!("not finished");
        };
        let verdict = (
            end.verdict.result,
            end.verdict.reason,
            end.verdict.message.as_str(),
        );
        assert_eq!(verdict, (RunResult::Aborted, Reason::TestAborted, message));
    }

    #[test]
    fn a_refused_script_is_told_in_the_words_of_k6_and_its_initializer_is_kept() {
        let seen = Observed {
            initializer: Fact::Known(Initializer::Failed("ReferenceError: x is not defined".to_owned())),
            ..empty_world(4)
        };
        let found = outcome(&initializing(4), &seen, at(1));
        let event = rejected(Reason::ScriptError, "ReferenceError: x is not defined");
        assert_eq!(found, (event, vec![]));
    }

    #[test]
    fn an_output_that_cannot_be_read_is_told_with_what_the_image_needs() {
        let error = InspectionError("it is empty".to_owned());
        let seen = Observed {
            initializer: Fact::Known(Initializer::Succeeded(Err(error))),
            ..empty_world(4)
        };
        let message = "the output of k6 inspect could not be read: it is empty; the runner image must have a \
                       k6 that knows `inspect --execution-requirements`";
        let found = outcome(&initializing(4), &seen, at(1));
        assert_eq!(found, (rejected(Reason::ScriptError, message), vec![]));
    }

    #[test]
    fn an_initializer_that_hangs_ends_the_run_at_its_deadline_saying_what_it_waited_for() {
        let seen = Observed {
            initializer: Fact::Known(Initializer::Running(Some("ImagePullBackOff".to_owned()))),
            ..empty_world(4)
        };
        let state = initializing(4);
        assert_eq!(outcome(&state, &seen, at(299)), (None, vec![]));
        let waited = deadline("the initializer to inspect the script (ImagePullBackOff)");
        assert_eq!(outcome(&state, &seen, at(300)), (waited, vec![]));
    }
}

mod making_the_runners {
    use super::*;

    #[test]
    fn all_runners_ready_orders_the_start_of_exactly_these_pods() {
        let seen = Observed {
            runners: runners((1..=4).map(ready)),
            ..empty_world(4)
        };
        let pods = digest(4);
        let targets = (1..=4).map(target).collect();
        let found = outcome(&created(4), &seen, at(5));
        let event = Event::StartOrdered { runners: 4, pods };
        assert_eq!(found, (Some(event), vec![Effect::CreateStarter(targets)]));
    }

    #[test]
    fn another_pod_makes_another_digest() {
        let mut pods = [ready(1), ready(2)];
        let order = |pods: &[Runner]| {
            let seen = Observed {
                runners: runners(pods.to_vec()),
                ..empty_world(2)
            };
            classify(&created(2), &seen, at(5)).unwrap()
        };
        let first = order(&pods);
        pods[1].pod.as_mut().unwrap().uid = "another".to_owned();
        assert_ne!(order(&pods), first);
    }

    #[test]
    fn one_runner_that_is_not_ready_holds_all_and_is_named() {
        let seen = Observed {
            runners: runners([ready(1), ready(2), waiting(3, "ImagePullBackOff"), ready(4)]),
            ..empty_world(4)
        };
        assert_eq!(outcome(&created(4), &seen, at(5)), (None, vec![]));
        let waits = "all runners to be ready: 3 of 4 are, not runner 3 (ImagePullBackOff)";
        assert_eq!(waiting_for(&created(4), &seen).as_deref(), Some(waits));
    }

    #[test]
    fn runner_that_says_why_it_is_not_ready_is_named_rather_than_one_that_does_not() {
        let seen = Observed {
            runners: runners([Runner::default(), waiting(2, "ImagePullBackOff")]),
            ..empty_world(2)
        };
        let waits = "all runners to be ready: 0 of 2 are, not runner 2 (ImagePullBackOff)";
        assert_eq!(waiting_for(&created(2), &seen).as_deref(), Some(waits));
    }

    #[test]
    fn a_runner_that_answers_but_has_no_address_is_waited_for() {
        let mut second = ready(2);
        second.pod.as_mut().unwrap().ip = None;
        let seen = Observed {
            runners: runners([ready(1), second]),
            ..empty_world(2)
        };
        assert_eq!(outcome(&created(2), &seen, at(5)), (None, vec![]));
    }

    #[test]
    fn a_runner_job_deleted_before_the_start_is_made_again() {
        let mut seen = empty_world(4);
        seen.runners = Fact::Known([1, 2, 4].map(|i| (i, ready(i))).into());
        let wanted = vec![Effect::CreateRunner { runner: 3, of: 4 }];
        assert_eq!(outcome(&created(4), &seen, at(5)), (None, wanted));
    }

    #[test]
    fn a_runner_with_a_number_that_is_not_of_this_run_does_not_count() {
        let mut seen = empty_world(2);
        seen.runners = Fact::Known([1, 3].map(|i| (i, ready(i))).into());
        let wanted = vec![Effect::CreateRunner { runner: 2, of: 2 }];
        assert_eq!(outcome(&created(2), &seen, at(5)), (None, wanted));
    }

    #[test]
    fn a_runner_that_ends_before_the_start_ends_the_run_and_those_that_wait() {
        let seen = Observed {
            runners: runners([ready(1), ended(2, 107), waiting(3, "ContainerCreating")]),
            ..empty_world(3)
        };
        let event = lost(2, Some(107), None, "ReferenceError: x is not defined");
        let wanted = [1, 3].map(|runner| Effect::DeleteRunner { runner }).to_vec();
        assert_eq!(outcome(&created(3), &seen, at(5)), (event, wanted));
    }

    #[test]
    fn start_deadline_ends_with_nobody_released_and_deletes_the_live_runner_jobs() {
        let seen = Observed {
            runners: runners([ready(1), waiting(2, "Unschedulable")]),
            ..empty_world(2)
        };
        assert_eq!(outcome(&created(2), &seen, at(300)), (None, vec![]));
        let waited = deadline("all runners to be ready: 1 of 2 are, not runner 2 (Unschedulable)");
        let wanted = [1, 2].map(|runner| Effect::DeleteRunner { runner }).to_vec();
        assert_eq!(outcome(&created(2), &seen, at(301)), (waited, wanted));
    }

    #[test]
    fn a_name_that_is_taken_ends_the_run_and_what_it_had_made() {
        let message = "Job k6-sample-2 is not this run's".to_owned();
        let seen = Observed {
            runners: runners([ready(1)]),
            refused: Some(Refusal::Foreign(message.clone())),
            ..empty_world(2)
        };
        let reason = Reason::NameConflict;
        let wanted = vec![Effect::DeleteRunner { runner: 1 }];
        let found = outcome(&created(2), &seen, at(5));
        assert_eq!(found, (Some(Event::ObjectRefused { reason, message }), wanted));
    }

    #[test]
    fn an_object_refused_for_good_ends_the_run_while_nobody_runs() {
        let message = "Job k6-sample-1 is invalid".to_owned();
        let seen = Observed {
            refused: Some(Refusal::Invalid(message.clone())),
            ..empty_world(2)
        };
        let reason = Reason::ObjectRefused;
        let found = outcome(&initializing(2), &seen, at(5));
        assert_eq!(found, (Some(Event::ObjectRefused { reason, message }), vec![]));
    }

    #[test]
    fn a_quota_is_waited_for_and_told_and_ends_the_run_only_at_the_deadline() {
        let seen = Observed {
            runners: runners([ready(1)]),
            refused: Some(Refusal::ForNow("exceeded quota: pods".to_owned())),
            ..empty_world(2)
        };
        let again = vec![Effect::CreateRunner { runner: 2, of: 2 }];
        assert_eq!(outcome(&created(2), &seen, at(5)), (None, again));
        let waits = "all runners to be ready: 1 of 2 are; exceeded quota: pods";
        let wanted = vec![Effect::DeleteRunner { runner: 1 }];
        assert_eq!(outcome(&created(2), &seen, at(301)), (deadline(waits), wanted));
    }
}

mod releasing_the_runners {
    use super::*;

    fn world(starter: Fact<Program>) -> Observed {
        Observed {
            runners: runners((1..=3).map(ready)),
            starter,
            ..empty_world(3)
        }
    }

    #[test]
    fn all_released_is_the_start_and_wants_nothing_more() {
        let confirmed = Event::StartConfirmed {
            runners: 3,
            spread_micros: 1500,
        };
        let found = outcome(&starting(3), &world(reported(3, 3)), at(5));
        assert_eq!(found, (Some(confirmed), vec![]));
    }

    #[test]
    fn a_starter_at_work_is_not_made_twice() {
        let seen = world(Fact::Known(Program::Running(None)));
        assert_eq!(outcome(&starting(3), &seen, at(5)), (None, vec![]));
    }

    #[test]
    fn a_starter_that_was_never_made_is_made_after_a_restart() {
        let wanted = vec![Effect::CreateStarter((1..=3).map(target).collect())];
        assert_eq!(outcome(&starting(3), &world(Fact::Absent), at(5)), (None, wanted));
    }

    #[test]
    fn a_partial_start_stops_those_that_were_released() {
        let failures = vec![Failure {
            runner: 2,
            message: "connection refused".to_owned(),
        }];
        let report = Report {
            total: 3,
            ordered: 3,
            confirmed: 2,
            spread_micros: 0,
            failures,
            aborted: false,
        };
        let mut seen = world(Fact::Known(Program::Reported(report)));
        seen.runners = runners([ready(1), ended(2, 137), ready(3)]);
        let event = start_failed(
            Some(2),
            "2 of 3 runners confirmed their release: runner 2: connection refused",
        );
        let wanted = vec![Effect::CreateStopper(vec![target(1), target(3)])];
        assert_eq!(outcome(&starting(3), &seen, at(5)), (event, wanted));
    }

    #[test]
    fn a_start_that_nobody_confirmed_stops_those_that_it_may_have_released() {
        let report = Report {
            total: 3,
            ordered: 3,
            confirmed: 0,
            spread_micros: 0,
            failures: Vec::new(),
            aborted: false,
        };
        let event = start_failed(None, "0 of 3 runners confirmed their release");
        let wanted = vec![Effect::CreateStopper([1, 2, 3].map(target).to_vec())];
        let seen = world(Fact::Known(Program::Reported(report)));
        assert_eq!(outcome(&starting(3), &seen, at(5)), (event, wanted));
    }

    #[test]
    fn setup_that_aborts_the_test_aborts_the_run_and_deletes_all() {
        let failure = Failure {
            runner: 1,
            message: "the script aborted the test in setup(): no target".to_owned(),
        };
        let report = Report::aborted(3, failure);
        let seen = world(Fact::Known(Program::Reported(report)));
        let (event, wanted) = outcome(&starting(3), &seen, at(5));
        let all = [1, 2, 3].map(|runner| Effect::DeleteRunner { runner }).to_vec();
        assert_eq!(wanted, all);
        let Step::Next(State::Finished(end)) = step(&starting(3), &record(5, event.unwrap())) else {
            panic!("not finished");
        };
        assert_eq!(
            (end.verdict.result, end.verdict.reason),
            (RunResult::Aborted, Reason::TestAborted)
        );
        assert_eq!(
            end.verdict.message,
            "The script aborted the test in setup(): no target"
        );
    }

    #[test]
    fn a_start_that_released_nobody_ends_the_run_and_deletes_all() {
        let event = start_failed(Some(0), "0 of 3 runners were released");
        let wanted = [1, 2, 3].map(|runner| Effect::DeleteRunner { runner }).to_vec();
        assert_eq!(
            outcome(&starting(3), &world(reported(0, 3)), at(5)),
            (event, wanted)
        );
    }

    #[test]
    fn a_starter_that_was_given_fewer_runners_has_not_started_the_test() {
        let event = start_failed(Some(2), "2 of 3 runners were released");
        let wanted = vec![Effect::CreateStopper((1..=3).map(target).collect())];
        assert_eq!(
            outcome(&starting(3), &world(reported(2, 2)), at(5)),
            (event, wanted)
        );
    }

    #[test]
    fn a_starter_without_a_report_stops_all_for_anyone_may_run() {
        let seen = world(Fact::Known(Program::Failed("Evicted".to_owned())));
        let event = start_failed(None, "The starter ended without a report: Evicted");
        let wanted = vec![Effect::CreateStopper((1..=3).map(target).collect())];
        assert_eq!(outcome(&starting(3), &seen, at(5)), (event, wanted));
    }

    #[test]
    fn a_pod_replaced_after_the_order_is_never_released() {
        let mut seen = world(Fact::Absent);
        let mut second = ready(2);
        second.pod.as_mut().unwrap().uid = "pod-4".to_owned();
        seen.runners = runners([ready(1), second, ready(3)]);
        assert_eq!(effects(&starting(3), &seen, at(5)), vec![]);
        let message = "The runner pods are not those that the order to start names: at least one was deleted \
                       or replaced";
        let wanted = vec![Effect::CreateStopper((1..=3).map(target).collect())];
        assert_eq!(
            outcome(&starting(3), &seen, at(5)),
            (start_failed(None, message), wanted)
        );
    }

    #[test]
    fn a_runner_that_ends_between_the_order_and_its_release_fails_the_start() {
        let mut seen = world(Fact::Absent);
        seen.runners = runners([ready(1), ready(2), ended(3, 137)]);
        assert_eq!(effects(&starting(3), &seen, at(5)), vec![]);
        let message = "Before it was released, runner 3 (exit code 137, OOMKilled): the container was killed";
        let wanted = vec![Effect::CreateStopper(vec![target(1), target(2)])];
        assert_eq!(
            outcome(&starting(3), &seen, at(5)),
            (start_failed(None, message), wanted)
        );
    }

    #[test]
    fn a_starter_that_hangs_past_the_deadline_stops_all() {
        let seen = world(Fact::Known(Program::Running(Some("ImagePullBackOff".to_owned()))));
        let event = deadline("the starter to release the runners (ImagePullBackOff)");
        let stopper = Effect::CreateStopper((1..=3).map(target).collect());
        assert_eq!(
            outcome(&starting(3), &seen, at(302)),
            (event, vec![Effect::DeleteStarter, stopper])
        );
    }

    #[test]
    fn a_stop_waits_for_the_starter_to_go_for_it_could_still_release_a_runner() {
        let ends = [ended(1, 103), ended(2, 103), ended(3, 103)];
        let seen = |starter| Observed {
            runners: runners(ends.clone()),
            ..world(starter)
        };
        let running = seen(Fact::Known(Program::Running(None)));
        assert_eq!(
            outcome(&stopping(3), &running, at(10)),
            (None, vec![Effect::DeleteStarter])
        );
        assert_eq!(
            outcome(&stopping(3), &seen(Fact::Unknown), at(10)),
            (None, vec![])
        );
        let stopped = Some(Event::RunnersStopped { forced: 0 });
        assert_eq!(
            outcome(&stopping(3), &seen(Fact::Absent), at(10)),
            (stopped.clone(), vec![])
        );
        assert_eq!(
            outcome(&stopping(3), &seen(reported(2, 3)), at(10)),
            (stopped, vec![])
        );
        // But not for ever: then it is deleted, if it was not.
        let overdue = outcome(&stopping(3), &running, at(64));
        assert_eq!(
            overdue,
            (
                Some(Event::RunnersStopped { forced: 0 }),
                vec![Effect::DeleteStarter]
            )
        );
    }

    #[test]
    fn a_starter_that_is_left_behind_at_the_end_is_removed() {
        let Step::Next(end) = step(&stopping(3), &record(9, Event::RunnersStopped { forced: 0 })) else {
            panic!("not finished");
        };
        let seen = world(Fact::Known(Program::Running(None)));
        let alive = (1..=3).map(|runner| Effect::DeleteRunner { runner });
        let wanted: Vec<Effect> = alive.chain([Effect::DeleteStarter]).collect();
        assert_eq!(outcome(&end, &seen, at(10)), (None, wanted));
    }
}

mod running_the_test {
    use super::*;

    fn world(all: impl IntoIterator<Item = Runner>) -> Observed {
        Observed {
            runners: runners(all),
            starter: reported(3, 3),
            ..empty_world(3)
        }
    }

    #[test]
    fn runners_at_work_are_left_alone() {
        let seen = world((1..=3).map(ready));
        assert_eq!(outcome(&started(3), &seen, at(60)), (None, vec![]));
        let waits = "the runners to end: 0 of 3 have";
        assert_eq!(waiting_for(&started(3), &seen).as_deref(), Some(waits));
    }

    #[test]
    fn a_runner_that_passes_early_is_no_loss() {
        let seen = world([ended(1, 0), ready(2), ended(3, 99)]);
        assert_eq!(outcome(&started(3), &seen, at(60)), (None, vec![]));
    }

    #[test]
    fn a_runner_lost_while_others_run_is_told_once_and_the_others_go_on() {
        let seen = world([ready(1), ended(2, 137), ended(3, 107)]);
        let event = lost(2, Some(137), Some("OOMKilled"), "the container was killed");
        assert_eq!(outcome(&started(3), &seen, at(60)), (event.clone(), vec![]));
        let Step::Next(state) = step(&started(3), &record(60, event.unwrap())) else {
            panic!("not told");
        };
        assert_eq!(outcome(&state, &seen, at(61)), (None, vec![]));
    }

    #[test]
    fn a_runner_job_deleted_after_the_start_is_reported_never_recreated() {
        let mut seen = world([]);
        seen.runners = Fact::Known([1, 3].map(|i| (i, ready(i))).into());
        let event = lost(2, None, None, "its Job was deleted during the test");
        assert_eq!(outcome(&started(3), &seen, at(60)), (event, vec![]));
    }

    #[test]
    fn runner_jobs_that_are_all_deleted_end_the_run_in_an_error() {
        for gone in [Fact::Known([].into()), Fact::Absent] {
            let seen = Observed {
                runners: gone,
                ..world([])
            };
            let (event, wanted) = outcome(&started(3), &seen, at(60));
            let Some(Event::RunnersEnded { tally }) = event else {
                panic!("{event:?}");
            };
            assert_eq!((tally.failed, tally.failures.len(), wanted), (3, 3, vec![]));
        }
    }

    #[test]
    fn the_last_runner_to_end_ends_the_run_with_all_counted() {
        let seen = world([ended(1, 0), ended(2, 99), ended(3, 108)]);
        let (event, wanted) = outcome(&started(3), &seen, at(60));
        let Some(Event::RunnersEnded { tally }) = event else {
            panic!("{event:?}");
        };
        assert_eq!(
            (tally.passed, tally.crossed, tally.aborted, tally.failed),
            (1, 1, 1, 0)
        );
        let named: Vec<u32> = tally.failures.iter().map(|failure| failure.runner).collect();
        assert_eq!((named, wanted), (vec![3, 2], vec![]));
    }

    #[test]
    fn a_test_that_does_not_end_in_its_time_is_stopped() {
        let seen = world([ended(1, 0), ready(2), ready(3)]);
        let end = 3 + 90 + 120 + 300;
        assert_eq!(wake_at(&started(3), &seen), Some(at(end)));
        assert_eq!(outcome(&started(3), &seen, at(end - 1)), (None, vec![]));
        let event = deadline("the runners to end: 1 of 3 have");
        let wanted = vec![Effect::CreateStopper(vec![target(2), target(3)])];
        assert_eq!(outcome(&started(3), &seen, at(end)), (event, wanted));
    }
}

mod stopping_and_after {
    use super::*;

    fn world(all: impl IntoIterator<Item = Runner>, stopper: Fact<Program>) -> Observed {
        Observed {
            runners: runners(all),
            stopper,
            ..empty_world(2)
        }
    }

    #[test]
    fn a_run_whose_runners_have_all_ended_is_stopped() {
        let seen = world([ended(1, 103), ended(2, 105)], Fact::Absent);
        let stopped = Some(Event::RunnersStopped { forced: 0 });
        assert_eq!(outcome(&stopping(2), &seen, at(10)), (stopped, vec![]));
    }

    #[test]
    fn a_run_without_runners_is_stopped() {
        let mut seen = world([], Fact::Absent);
        seen.runners = Fact::Absent;
        let stopped = Some(Event::RunnersStopped { forced: 2 });
        assert_eq!(outcome(&stopping(2), &seen, at(10)), (stopped, vec![]));
    }

    #[test]
    fn a_stopper_at_work_is_not_made_twice() {
        let seen = world([ready(1), ready(2)], Fact::Known(Program::Running(None)));
        assert_eq!(outcome(&stopping(2), &seen, at(10)), (None, vec![]));
    }

    #[test]
    fn runners_without_an_address_are_left_to_the_end_of_the_grace() {
        let seen = world([waiting(1, "Pending")], Fact::Absent);
        assert_eq!(outcome(&stopping(2), &seen, at(10)), (None, vec![]));
    }

    #[test]
    fn runners_that_do_not_stop_in_the_grace_are_deleted_and_counted() {
        let seen = world([ended(1, 103), ready(2)], reported(1, 2));
        let over = 4 + STOP_GRACE.as_secs();
        assert_eq!(outcome(&stopping(2), &seen, at(over - 1)), (None, vec![]));
        // The end is told when they are gone, not before.
        let wanted = vec![Effect::DeleteRunner { runner: 2 }];
        assert_eq!(outcome(&stopping(2), &seen, at(over)), (None, wanted));
        let seen = world([ended(1, 103)], reported(1, 2));
        let stopped = Some(Event::RunnersStopped { forced: 1 });
        assert_eq!(outcome(&stopping(2), &seen, at(over)), (stopped, vec![]));
    }

    #[test]
    fn a_teardown_that_may_take_long_has_its_time_before_its_runner_is_deleted() {
        let found = Inspection {
            teardown_timeout: SignedDuration::from_secs(180),
            ..inspection(2)
        };
        let seen = Observed {
            initializer: Fact::Known(Initializer::Succeeded(Ok(found))),
            ..empty_world(2)
        };
        let event = classify(&initializing(2), &seen, at(1)).unwrap();
        let Event::ScriptInspected { plan } = &event else {
            panic!("{event:?}");
        };
        assert_eq!(plan.stop_seconds, Some(180 + 30));
        let stop = Event::StopOrdered {};
        let state = after([accepted(2), event, ordered(2), confirmed(2), stop]);
        let seen = world([ended(1, 103), ready(2)], reported(1, 2));
        let State::Stopping(stopping) = &state else {
            panic!("{state:?}");
        };
        let deadline = |seconds| {
            stopping
                .at
                .checked_add(SignedDuration::from_secs(seconds))
                .unwrap()
        };
        assert_eq!(outcome(&state, &seen, deadline(209)), (None, vec![]));
        let wanted = vec![Effect::DeleteRunner { runner: 2 }];
        assert_eq!(outcome(&state, &seen, deadline(210)), (None, wanted));
    }

    #[test]
    fn a_starter_that_never_goes_is_not_waited_for_once_the_runners_are_gone() {
        let mut seen = world([ready(1), ended(2, 103)], Fact::Absent);
        seen.starter = Fact::Known(Program::Running(None));
        let over = at(4 + STOP_GRACE.as_secs());
        let wanted = vec![Effect::DeleteRunner { runner: 1 }, Effect::DeleteStarter];
        assert_eq!(outcome(&stopping(2), &seen, over), (None, wanted));
        seen.runners = runners([]);
        let stopped = Some(Event::RunnersStopped { forced: 2 });
        assert_eq!(
            outcome(&stopping(2), &seen, over),
            (stopped, vec![Effect::DeleteStarter])
        );
    }

    #[test]
    fn runners_are_deleted_at_once_when_the_stopper_could_not_do_its_work() {
        let failed = Program::Failed("exit code 128 (StartError)".to_owned());
        let seen = world([ready(1), ended(2, 103)], Fact::Known(failed));
        let wanted = vec![Effect::DeleteRunner { runner: 1 }];
        assert_eq!(outcome(&stopping(2), &seen, at(5)), (None, wanted));
    }

    #[test]
    fn runners_that_cannot_be_seen_are_not_said_to_have_stopped() {
        let mut seen = world([], Fact::Unknown);
        seen.runners = Fact::Unknown;
        assert_eq!(outcome(&stopping(2), &seen, at(10_000)), (None, vec![]));
    }

    #[test]
    fn a_finished_run_deletes_the_runner_that_a_crash_left_alive() {
        let Step::Next(state) = step(&stopping(2), &record(64, Event::RunnersStopped { forced: 1 })) else {
            panic!("not stopped");
        };
        let seen = world([ended(1, 103), ready(2)], reported(1, 2));
        let wanted = vec![Effect::DeleteRunner { runner: 2 }];
        assert_eq!(outcome(&state, &seen, at(100)), (None, wanted));
        assert_eq!(wake_at(&state, &seen), None);
    }

    #[test]
    fn runner_whose_pod_goes_on_after_k6_goes_a_minute_after_the_end_of_its_run() {
        let Step::Next(state) = step(&stopping(2), &record(64, Event::RunnersStopped { forced: 0 })) else {
            panic!("not stopped");
        };
        let left = Runner {
            leftover: true,
            ..ended(2, 103)
        };
        let seen = world([ended(1, 103), left], reported(2, 2));
        let over = at(64) + LEFTOVER_GRACE;
        assert_eq!(wake_at(&state, &seen), Some(over));
        let early = over - SignedDuration::from_millis(1);
        assert_eq!(outcome(&state, &seen, early), (None, vec![]));
        let wanted = vec![Effect::DeleteRunner { runner: 2 }];
        assert_eq!(outcome(&state, &seen, over), (None, wanted));
        // Until then, it has ended as any other.
        let stopped = Some(Event::RunnersStopped { forced: 0 });
        assert_eq!(outcome(&stopping(2), &seen, at(10)), (stopped, vec![]));
    }

    #[test]
    fn run_that_is_to_end_and_whose_status_cannot_be_written_has_its_runners_deleted() {
        let seen = world([ready(1), ended(2, 0)], Fact::Absent);
        let seen = Observed {
            starter: Fact::Known(Program::Running(None)),
            ..seen
        };
        let wanted = vec![Effect::DeleteRunner { runner: 1 }, Effect::DeleteStarter];
        for state in [created(2), starting(2), started(2)] {
            assert_eq!(effects_unwritten(&state, &stopping(2), &seen), wanted);
            // What it goes on to do has to be written first.
            assert_eq!(effects_unwritten(&state, &started(2), &seen), vec![]);
        }
        let deleting = Observed {
            deleting: true,
            ..seen
        };
        assert_eq!(effects_unwritten(&started(2), &stopping(2), &deleting), vec![]);
    }

    #[test]
    fn order_to_stop_that_was_carried_out_before_it_could_be_written_is_recorded_as_such() {
        let seen = Observed {
            stop: true,
            ..world([], Fact::Absent)
        };
        let ordered = Some(Event::StopOrdered {});
        assert_eq!(outcome(&started(2), &seen, at(10)), (ordered, vec![]));
        // Whose runners have all ended by themselves, is not stopped.
        let seen = Observed {
            runners: runners([ended(1, 0), ended(2, 0)]),
            ..seen
        };
        let (event, _) = outcome(&started(2), &seen, at(10));
        assert!(matches!(event, Some(Event::RunnersEnded { .. })), "{event:?}");
    }

    #[test]
    fn end_that_is_not_certain_is_looked_at_again_when_it_is() {
        let unsure = Runner {
            settles: Some(at(42)),
            ..ready(1)
        };
        let seen = world([unsure, ended(2, 0)], Fact::Absent);
        assert_eq!(outcome(&started(2), &seen, at(10)), (None, vec![]));
        assert_eq!(wake_at(&started(2), &seen), Some(at(42)));
    }
}

mod whatever_the_state {
    use super::*;

    fn all_states() -> [State; 6] {
        [
            State::default(),
            initializing(2),
            created(2),
            starting(2),
            started(2),
            stopping(2),
        ]
    }

    #[test]
    fn unknown_facts_decide_nothing() {
        for state in all_states().into_iter().skip(1) {
            let seen = Observed::unknown(1, Ok(terms(2)));
            assert_eq!(outcome(&state, &seen, at(5)), (None, vec![]), "{state:?}");
        }
    }

    #[test]
    fn a_deleting_resource_makes_nothing() {
        for state in all_states() {
            let seen = Observed {
                deleting: true,
                ..empty_world(2)
            };
            assert_eq!(outcome(&state, &seen, at(10_000)), (None, vec![]), "{state:?}");
        }
    }

    #[test]
    fn a_pod_that_a_crashed_operator_left_is_taken_up_where_it_was() {
        let mut first = ready(1);
        first.pod = Some(ObservedPod {
            ready: false,
            ..first.pod.unwrap()
        });
        let seen = Observed {
            runners: runners([first]),
            ..empty_world(2)
        };
        let wanted = vec![Effect::CreateRunner { runner: 2, of: 2 }];
        assert_eq!(outcome(&created(2), &seen, at(5)), (None, wanted));
    }
}

/// A resource, looked at as the operator looks: everything that has happened is recorded, and then the world
/// may change.
struct Resource {
    run: Run,
    history: Vec<Record>,
}

impl Resource {
    fn new() -> Self {
        Self {
            run: Run::default(),
            history: Vec::new(),
        }
    }

    /// In a state that these events have led to; the k-th happened at second k.
    fn after(events: impl IntoIterator<Item = Event>) -> Self {
        let mut resource = Self::new();
        for (second, event) in (0..).zip(events) {
            resource.record(record(second, event));
        }
        resource
    }

    fn record(&mut self, record: Record) {
        self.run = self
            .run
            .after(&record)
            .unwrap_or_else(|| panic!("{record:?} is refused in {:?}", self.run.state));
        append(&mut self.history, record);
        assert_eq!(replay(&self.history).as_ref(), Ok(&self.run));
    }

    /// The names of the events of one look, and what is wanted after them.
    fn look(&mut self, seconds: i64, seen: &Observed) -> (Vec<&'static str>, Vec<Effect>) {
        let now = at(seconds);
        let mut names = Vec::new();
        while let Some(event) = self.run.next(seen, now) {
            names.push(event.name());
            let attempt = self.run.attempt;
            self.record(Record { time: now, event });
            if attempt != self.run.attempt {
                break;
            }
            assert!(names.len() < 8, "{names:?}");
        }
        (names, effects(&self.run.state, seen, now))
    }

    fn name(&self) -> StateName {
        self.run.state.name()
    }

    fn verdict(&self) -> (RunResult, Reason) {
        let State::Finished(end) = &self.run.state else {
            panic!("{:?}", self.run.state);
        };
        (end.verdict.result, end.verdict.reason)
    }
}

fn on(terms: Terms) -> Observed {
    Observed {
        terms: Ok(terms),
        ..empty_world(2)
    }
}

fn edited(generation: i64, seen: Observed) -> Observed {
    Observed { generation, ..seen }
}

fn held() -> Terms {
    Terms {
        suspended: true,
        ..terms(2)
    }
}

mod holding_a_run {
    use super::*;

    #[test]
    fn a_run_that_is_held_from_the_outset_is_accepted_and_makes_nothing_however_long_it_takes() {
        let mut resource = Resource::new();
        assert_eq!(resource.look(0, &on(held())), (vec!["Accepted"], vec![]));
        assert_eq!(resource.look(1_000_000, &on(held())), (vec![], vec![]));
        assert_eq!(wake_at(&resource.run.state, &on(held())), None);
        let waits = waiting_for(&resource.run.state, &on(held()));
        assert_eq!(waits.as_deref(), Some("spec.suspend to be set to false"));
        let go_on = edited(2, on(terms(2)));
        let found = resource.look(1_000_001, &go_on);
        assert_eq!(found, (vec!["Accepted"], vec![Effect::CreateInitializer]));
        // The deadline counts from there.
        assert_eq!(wake_at(&resource.run.state, &go_on), Some(at(1_000_301)));
    }

    #[test]
    fn a_run_that_is_held_while_its_script_is_inspected_loses_its_initializer_and_gets_another() {
        let mut resource = Resource::after([accepted(2)]);
        let running = Fact::Known(Initializer::Running(None));
        let seen = Observed {
            initializer: running.clone(),
            ..edited(2, on(held()))
        };
        assert_eq!(
            resource.look(5, &seen),
            (vec!["Accepted"], vec![Effect::DeleteInitializer])
        );
        // One that has ended meanwhile is not read.
        let ended = Observed {
            initializer: inspected(20),
            ..seen.clone()
        };
        assert_eq!(
            resource.look(6, &ended),
            (vec![], vec![Effect::DeleteInitializer])
        );
        assert_eq!(resource.look(7, &edited(2, on(held()))), (vec![], vec![]));
        let found = resource.look(8, &edited(3, on(terms(2))));
        assert_eq!(found, (vec!["Accepted"], vec![Effect::CreateInitializer]));
        assert_eq!(resource.history.len(), 1);
    }

    #[test]
    fn a_run_that_is_held_can_be_stopped() {
        let mut resource = Resource::new();
        resource.look(0, &on(held()));
        let seen = Observed {
            stop: true,
            ..edited(2, on(held()))
        };
        assert_eq!(resource.look(5, &seen), (vec!["StopOrdered"], vec![]));
        assert_eq!(resource.verdict(), (RunResult::Aborted, Reason::StopRequested));
    }
}

mod editing_a_run {
    use super::*;

    #[test]
    fn an_edit_before_the_runners_exist_is_accepted_anew_and_inspected_anew_in_its_own_time() {
        let mut resource = Resource::after([accepted(2)]);
        let outdated = |initializer| Observed {
            initializer: Fact::Known(initializer),
            ..edited(2, on(terms(3)))
        };
        let found = resource.look(200, &outdated(Initializer::Outdated));
        assert_eq!(found, (vec!["Accepted"], vec![Effect::DeleteInitializer]));
        let found = resource.look(201, &edited(2, on(terms(3))));
        assert_eq!(found, (vec![], vec![Effect::CreateInitializer]));
        let running = outdated(Initializer::Running(None));
        assert_eq!(resource.look(499, &running), (vec![], vec![]));
        assert_eq!(resource.look(500, &running).0, ["DeadlinePassed"]);
    }

    #[test]
    fn an_inspection_that_ends_as_the_spec_is_edited_does_not_count_for_the_edit() {
        let failed = Fact::Known(Initializer::Failed("ReferenceError".to_owned()));
        for initializer in [inspected(20), failed] {
            let mut resource = Resource::after([accepted(2)]);
            let seen = Observed {
                initializer,
                ..edited(2, on(terms(3)))
            };
            assert_eq!(resource.look(5, &seen).0, ["Accepted"]);
            assert_eq!(resource.name(), StateName::Initializing);
        }
    }

    #[test]
    fn refusal_of_an_object_of_the_spec_before_does_not_end_an_edited_run() {
        for refusal in [
            Refusal::Invalid("Job a-initializer is invalid".to_owned()),
            Refusal::Foreign("Job a-initializer exists".to_owned()),
        ] {
            let mut resource = Resource::after([accepted(2)]);
            let seen = Observed {
                refused: Some(refusal),
                ..edited(2, on(terms(3)))
            };
            assert_eq!(
                resource.look(5, &seen),
                (vec!["Accepted"], vec![Effect::CreateInitializer])
            );
            // What is refused then is of the edited spec.
            assert_eq!(resource.look(6, &seen).0, ["ObjectRefused"]);
        }
    }

    #[test]
    fn an_edit_that_makes_the_spec_invalid_ends_the_run() {
        let mut resource = Resource::after([accepted(2)]);
        let seen = Observed {
            terms: Err("spec.parallelism is 0".to_owned()),
            initializer: Fact::Known(Initializer::Running(None)),
            ..edited(2, empty_world(2))
        };
        let end = (vec!["SpecRejected"], vec![Effect::DeleteInitializer]);
        assert_eq!(resource.look(5, &seen), end);
        assert_eq!(resource.verdict(), (RunResult::Error, Reason::InvalidSpec));
        assert_eq!(resource.history.len(), 1);
    }

    #[test]
    fn an_edit_after_the_runners_exist_changes_nothing() {
        for state in [created(2), starting(2), started(2), stopping(2)] {
            let seen = Observed {
                runners: runners([ready(1), waiting(2, "Pending")]),
                starter: Fact::Known(Program::Running(None)),
                stopper: Fact::Known(Program::Running(None)),
                ..edited(9, on(terms(7)))
            };
            let stops = matches!(state, State::Stopping(_));
            let wanted: Vec<Effect> = stops.then_some(Effect::DeleteStarter).into_iter().collect();
            assert_eq!(outcome(&state, &seen, at(6)), (None, wanted), "{state:?}");
        }
    }

    #[test]
    fn a_history_of_many_edits_has_the_last_only() {
        let mut resource = Resource::new();
        for generation in 1..100 {
            assert_eq!(
                resource.look(generation, &edited(generation, on(terms(2)))).0,
                ["Accepted"]
            );
        }
        assert_eq!(resource.history, [record(99, accepted_on(99, terms(2)))]);
    }
}

mod stopping_by_order {
    use super::*;

    fn stop(seen: Observed) -> Observed {
        Observed { stop: true, ..seen }
    }

    const ORDER: Option<Event> = Some(Event::StopOrdered {});

    #[test]
    fn before_the_start_a_stop_ends_the_run_at_once_and_deletes_what_waits() {
        assert_eq!(
            outcome(&initializing(2), &stop(empty_world(2)), at(5)),
            (ORDER, vec![])
        );
        let seen = Observed {
            runners: runners([ready(1), waiting(2, "Pending")]),
            ..empty_world(2)
        };
        let wanted = [1, 2].map(|runner| Effect::DeleteRunner { runner }).to_vec();
        assert_eq!(outcome(&created(2), &stop(seen), at(5)), (ORDER, wanted));
    }

    #[test]
    fn after_the_order_to_start_a_stop_stops_those_that_may_run_and_the_run_is_aborted() {
        for state in [starting(2), started(2)] {
            let mut seen = stop(Observed {
                runners: runners((1..=2).map(ready)),
                ..empty_world(2)
            });
            let stopper = Effect::CreateStopper((1..=2).map(target).collect());
            assert_eq!(outcome(&state, &seen, at(5)), (ORDER, vec![stopper]), "{state:?}");
            let Step::Next(state) = step(&state, &record(5, Event::StopOrdered {})) else {
                panic!("not stopping");
            };
            seen.runners = runners([ended(1, 103), ended(2, 0)]);
            let (event, wanted) = outcome(&state, &seen, at(9));
            assert_eq!(
                (event.clone(), wanted),
                (Some(Event::RunnersStopped { forced: 0 }), vec![])
            );
            let Step::Next(State::Finished(end)) = step(&state, &record(9, event.unwrap())) else {
                panic!("not finished");
            };
            assert_eq!(
                (end.verdict.result, end.verdict.reason),
                (RunResult::Aborted, Reason::StopRequested)
            );
        }
    }

    #[test]
    fn a_stop_of_a_run_that_is_stopping_or_has_ended_says_nothing_new() {
        let seen = stop(Observed {
            runners: runners((1..=2).map(ready)),
            stopper: Fact::Known(Program::Running(None)),
            ..empty_world(2)
        });
        assert_eq!(outcome(&stopping(2), &seen, at(5)), (None, vec![]));
        let Step::Next(state) = step(&stopping(2), &record(5, Event::RunnersStopped { forced: 0 })) else {
            panic!("not finished");
        };
        assert_eq!(classify(&state, &seen, at(6)), None);
    }

    #[test]
    fn runners_that_all_ended_by_themselves_win_over_a_stop_that_comes_at_the_same_look() {
        let all = || runners([ended(1, 0), ended(2, 0)]);
        let confirmed = |seen| Observed {
            starter: reported(2, 2),
            ..seen
        };
        let over = stop(Observed {
            runners: all(),
            ..empty_world(2)
        });
        let at_start = |events: Vec<Event>| Resource::after(events);
        let inspected = Event::InspectionSkipped { plan: plan(2) };
        let order = Event::StartOrdered {
            runners: 2,
            pods: digest(2),
        };
        let start = Event::StartConfirmed {
            runners: 2,
            spread_micros: 1,
        };
        let unpaused = accepted_on(
            1,
            Terms {
                start: Start::Immediate,
                ..terms(2)
            },
        );
        let cases = [
            (
                at_start(vec![accepted(2), inspected.clone(), order.clone(), start]),
                over.clone(),
            ),
            (
                at_start(vec![accepted(2), inspected.clone(), order]),
                confirmed(over.clone()),
            ),
            (at_start(vec![unpaused, inspected]), over),
        ];
        for (mut resource, seen) in cases {
            let from = resource.name();
            let (names, wanted) = resource.look(60, &seen);
            assert_eq!(names.last(), Some(&"RunnersEnded"), "from {from:?}");
            assert_eq!(
                (resource.verdict().0, wanted),
                (RunResult::Passed, vec![]),
                "from {from:?}"
            );
        }
    }

    #[test]
    fn a_stop_from_the_outset_aborts_a_run_before_anything_is_made() {
        let mut resource = Resource::new();
        let found = resource.look(0, &stop(empty_world(2)));
        assert_eq!(found, (vec!["Accepted", "StopOrdered"], vec![]));
        assert_eq!(resource.verdict(), (RunResult::Aborted, Reason::StopRequested));
    }

    #[test]
    fn a_spec_that_is_invalid_is_rejected_even_if_it_is_to_be_stopped() {
        let mut resource = Resource::new();
        let seen = stop(Observed {
            terms: Err("spec.parallelism is 0".to_owned()),
            ..empty_world(2)
        });
        assert_eq!(resource.look(0, &seen), (vec!["SpecRejected"], vec![]));
    }
}

mod running_again {
    use super::*;

    fn asked(rerun: &str, seen: Observed) -> Observed {
        Observed {
            rerun: Some(rerun.to_owned()),
            ..seen
        }
    }

    fn passed() -> Resource {
        let start = Event::StartConfirmed {
            runners: 2,
            spread_micros: 1,
        };
        let order = Event::StartOrdered {
            runners: 2,
            pods: digest(2),
        };
        let mut resource = Resource::after([
            accepted(2),
            Event::InspectionSkipped { plan: plan(2) },
            order,
            start,
        ]);
        let seen = Observed {
            runners: runners([ended(1, 0), ended(2, 0)]),
            ..empty_world(2)
        };
        assert_eq!(resource.look(63, &seen).0, ["RunnersEnded"]);
        resource
    }

    #[test]
    fn another_text_in_rerun_begins_a_new_run_and_the_former_keeps_one_line_and_loses_its_jobs() {
        let mut resource = passed();
        let seen = asked("a", edited(2, empty_world(2)));
        assert_eq!(resource.look(100, &seen), (vec!["RerunOrdered"], vec![]));
        let former = Former {
            result: RunResult::Passed,
            reason: Reason::AllRunnersPassed,
            end_time: at(63),
            duration: Some("1m0s".to_owned()),
            message: "2 of 2 runners passed".to_owned(),
        };
        let order = Event::RerunOrdered { attempt: 2, former };
        assert_eq!(resource.history, [record(100, order)]);
        let jobs = ["k6-sample-1", "k6-sample-2", "k6-sample-starter"].map(str::to_owned);
        let seen = Observed {
            former: jobs.to_vec(),
            ..seen
        };
        let deleted = jobs.map(Effect::DeleteFormer);
        let wanted: Vec<Effect> = [Effect::CreateInitializer].into_iter().chain(deleted).collect();
        assert_eq!(resource.look(101, &seen), (vec!["Accepted"], wanted));
        assert_eq!(
            (resource.run.attempt, resource.run.rerun.as_deref()),
            (2, Some("a"))
        );
    }

    #[test]
    fn the_same_text_in_rerun_does_not_run_again_whatever_the_result_was() {
        let ends: [(Observed, &str); 3] = [
            (
                Observed {
                    terms: Err("spec.parallelism is 0".to_owned()),
                    ..empty_world(2)
                },
                "SpecRejected",
            ),
            (
                Observed {
                    stop: true,
                    ..empty_world(2)
                },
                "StopOrdered",
            ),
            (
                Observed {
                    refused: Some(Refusal::Foreign("Job x is not this run's".to_owned())),
                    ..empty_world(2)
                },
                "ObjectRefused",
            ),
        ];
        for (seen, last) in ends {
            let mut resource = passed();
            let seen = asked("a", edited(2, seen));
            assert_eq!(resource.look(100, &seen).0, ["RerunOrdered"]);
            // What is refused at the look at which the spec is accepted, is an object of the run before.
            let found = [resource.look(101, &seen).0, resource.look(102, &seen).0].concat();
            assert_eq!(found.last(), Some(&last));
            for second in 103..110 {
                assert_eq!(resource.look(second, &seen), (vec![], vec![]), "after {last}");
            }
            assert_eq!(resource.run.attempt, 2);
            // Another text does.
            assert_eq!(resource.look(110, &asked("b", seen)).0, ["RerunOrdered"]);
        }
    }

    #[test]
    fn a_text_that_is_taken_away_asks_for_nothing() {
        let mut resource = passed();
        resource.look(100, &asked("a", edited(2, empty_world(2))));
        resource.look(
            101,
            &asked(
                "a",
                edited(
                    2,
                    Observed {
                        stop: true,
                        ..empty_world(2)
                    },
                ),
            ),
        );
        assert_eq!(resource.name(), StateName::Finished);
        assert_eq!(resource.look(102, &edited(3, empty_world(2))), (vec![], vec![]));
    }

    #[test]
    fn a_text_that_changes_during_a_run_is_answered_after_it() {
        let mut resource = Resource::after([accepted(2), Event::InspectionSkipped { plan: plan(2) }]);
        let mut seen = asked("a", edited(2, empty_world(2)));
        seen.runners = runners((1..=2).map(ready));
        assert_eq!(resource.look(5, &seen).0, ["StartOrdered"]);
        seen.starter = reported(2, 2);
        assert_eq!(resource.look(6, &seen).0, ["StartConfirmed"]);
        seen.runners = runners([ended(1, 0), ended(2, 99)]);
        assert_eq!(resource.look(7, &seen).0, ["RunnersEnded", "RerunOrdered"]);
        assert_eq!(resource.run.attempt, 2);
    }

    #[test]
    fn a_hundred_runs_are_counted_and_the_last_few_keep_their_line() {
        let mut resource = passed();
        for i in 2..=100 {
            let seen = asked(
                &i.to_string(),
                Observed {
                    stop: true,
                    ..empty_world(2)
                },
            );
            assert_eq!(resource.look(100 + 2 * i, &seen).0, ["RerunOrdered"]);
            assert_eq!(resource.look(101 + 2 * i, &seen).0, ["Accepted", "StopOrdered"]);
            assert!(resource.history.len() <= HISTORY_LIMIT);
        }
        assert_eq!(resource.run.attempt, 100);
        let kept: Vec<u32> = resource
            .history
            .iter()
            .filter_map(|record| {
                let Event::RerunOrdered { attempt, .. } = &record.event else {
                    return None;
                };
                Some(*attempt)
            })
            .collect();
        assert_eq!(kept, (93..=100).collect::<Vec<u32>>());
        assert_eq!(kept.len(), FORMER_AT_MOST);
    }
}

mod the_end_of_a_resource {
    use super::*;

    fn finished(code: i32) -> State {
        let mut seen = empty_world(2);
        seen.runners = runners([ended(1, code), ended(2, code)]);
        let event = classify(&started(2), &seen, at(100)).unwrap();
        let Step::Next(state) = step(&started(2), &record(100, event)) else {
            panic!("not finished");
        };
        state
    }

    #[test]
    fn it_is_deleted_when_its_spec_says_so_and_then_nothing_else_is_wanted() {
        use Cleanup::{OnSuccess, Post};
        let results = [
            (0, RunResult::Passed),
            (99, RunResult::Failed),
            (108, RunResult::Aborted),
            (107, RunResult::Error),
        ];
        for (code, result) in results {
            let passed = (result == RunResult::Passed).then_some(100);
            let table = [
                (None, None, None),
                (Some(Post), None, Some(100)),
                (Some(OnSuccess), None, passed),
                (None, Some(0), Some(100)),
                (None, Some(50), Some(150)),
                (None, Some(-7), Some(100)),
                (None, Some(i64::MAX), None),
                (Some(Post), Some(50), Some(100)),
                (Some(OnSuccess), Some(50), passed.or(Some(150))),
            ];
            for (cleanup, seconds, when) in table {
                let state = finished(code);
                let ttl = seconds.map(SignedDuration::from_secs);
                let retention = Retention { cleanup, ttl };
                let expected = when.map(at);
                assert_eq!(expiry(&state, retention), expected, "{result:?}, {retention:?}");
                let seen = Observed {
                    retention,
                    former: vec!["k6-sample-r2-1".to_owned()],
                    runners: runners([ended(1, code), ready(2)]),
                    ..empty_world(2)
                };
                assert_eq!(wake_at(&state, &seen), expected, "{result:?}, {retention:?}");
                let kept = vec![
                    Effect::DeleteRunner { runner: 2 },
                    Effect::DeleteFormer("k6-sample-r2-1".to_owned()),
                ];
                let before = expected.map_or(at(1_000_000), |when| {
                    when.checked_sub(SignedDuration::from_millis(1)).unwrap()
                });
                assert_eq!(effects(&state, &seen, before), kept, "{result:?}, {retention:?}");
                if let Some(when) = expected {
                    assert_eq!(effects(&state, &seen, when), [Effect::DeleteResource]);
                }
            }
        }
    }

    #[test]
    fn jobs_of_a_finished_run_are_deleted_when_their_time_is_over_and_never_before_the_summary_is_kept() {
        let state = finished(0);
        let jobs = [
            "k6-sample-initializer",
            "k6-sample-1",
            "k6-sample-2",
            "k6-sample-starter",
        ];
        let left = |seconds: Option<i64>, jobs: &[&str]| Left {
            keep: seconds.map(SignedDuration::from_secs),
            jobs: jobs.iter().map(|name| (*name).to_owned()).collect(),
        };
        let seen = |left: Left| Observed {
            left,
            runners: runners([ended(1, 0), ready(2)]),
            ..empty_world(2)
        };
        // For ever, and none left: nothing is waited for.
        for left in [left(None, &jobs), left(Some(50), &[])] {
            assert_eq!(expiry_of_jobs(&state, &left), None);
            let seen = seen(left);
            assert_eq!(wake_at(&state, &seen), None);
            assert_eq!(
                effects(&state, &seen, at(1_000_000)),
                [Effect::DeleteRunner { runner: 2 }]
            );
        }
        let kept = left(Some(50), &jobs);
        assert_eq!(expiry_of_jobs(&state, &kept), Some(at(150)));
        let world = seen(kept);
        assert_eq!(wake_at(&state, &world), Some(at(150)));
        assert_eq!(
            effects(&state, &world, at(149)),
            [Effect::DeleteRunner { runner: 2 }]
        );
        let all: Vec<_> = jobs.map(|name| Effect::DeleteLeft(name.to_owned())).into();
        assert_eq!(effects(&state, &world, at(150)), all);
        // The aggregator goes by a rule of its own.
        let merged = Observed {
            aggregator: Fact::Known(ready(1)),
            ..seen(left(Some(0), &["k6-sample-1"]))
        };
        let both = [
            Effect::DeleteLeft("k6-sample-1".to_owned()),
            Effect::DeleteAggregator,
        ];
        assert_eq!(effects(&state, &merged, at(100)), both);
        // The resource takes all with it.
        let expired = Observed {
            retention: Retention {
                cleanup: Some(Cleanup::Post),
                ttl: None,
            },
            ..world
        };
        assert_eq!(effects(&state, &expired, at(150)), [Effect::DeleteResource]);
    }

    #[test]
    fn jobs_of_a_live_run_are_kept_for_any_time() {
        let left = Left {
            keep: Some(SignedDuration::ZERO),
            jobs: vec!["k6-sample-1".to_owned()],
        };
        for state in [
            State::default(),
            initializing(2),
            created(2),
            starting(2),
            started(2),
            stopping(2),
        ] {
            assert_eq!(expiry_of_jobs(&state, &left), None);
            let seen = Observed {
                left: left.clone(),
                ..empty_world(2)
            };
            let wanted = effects(&state, &seen, at(1_000_000));
            let deletes = wanted
                .iter()
                .any(|effect| matches!(effect, Effect::DeleteLeft(_)));
            assert!(!deletes, "{state:?}: {wanted:?}");
        }
    }

    #[test]
    fn a_live_run_is_never_deleted() {
        let retention = Retention {
            cleanup: Some(Cleanup::Post),
            ttl: Some(SignedDuration::ZERO),
        };
        for state in [
            State::default(),
            initializing(2),
            created(2),
            starting(2),
            started(2),
            stopping(2),
        ] {
            let seen = Observed {
                retention,
                ..empty_world(2)
            };
            assert_eq!(expiry(&state, retention), None);
            let wanted = effects(&state, &seen, at(1_000_000));
            assert!(!wanted.contains(&Effect::DeleteResource), "{state:?}");
        }
    }

    #[test]
    fn a_new_run_that_is_asked_for_comes_before_the_end_of_the_resource() {
        let mut resource = Resource::new();
        resource.look(
            0,
            &Observed {
                stop: true,
                ..empty_world(2)
            },
        );
        let seen = Observed {
            retention: Retention {
                cleanup: Some(Cleanup::Post),
                ttl: None,
            },
            rerun: Some("a".to_owned()),
            ..edited(2, empty_world(2))
        };
        assert_eq!(resource.look(9, &seen), (vec!["RerunOrdered"], vec![]));
    }
}

mod runs_that_are_not_held_until_all_are_ready {
    use super::*;

    fn unpaused() -> Resource {
        let terms = Terms {
            start: Start::Immediate,
            ..terms(2)
        };
        Resource::after([accepted_on(1, terms), Event::InspectionSkipped { plan: plan(2) }])
    }

    fn world(all: impl IntoIterator<Item = Runner>) -> Observed {
        Observed {
            runners: runners(all),
            ..empty_world(2)
        }
    }

    #[test]
    fn all_runners_that_answer_are_the_start_and_no_starter_is_made() {
        let mut resource = unpaused();
        assert_eq!(
            resource.look(5, &world([ready(1), waiting(2, "Pending")])),
            (vec![], vec![])
        );
        assert_eq!(
            resource.look(6, &world([ready(1), ready(2)])),
            (vec!["RunnersStarted"], vec![])
        );
        assert_eq!(resource.run.started, Some(at(6)));
    }

    #[test]
    fn runners_that_end_before_they_were_seen_to_answer_have_started_and_have_their_verdict() {
        let mut resource = unpaused();
        let found = resource.look(5, &world([ended(1, 0), ended(2, 99)]));
        assert_eq!(found, (vec!["RunnersStarted", "RunnersEnded"], vec![]));
        assert_eq!(resource.verdict(), (RunResult::Failed, Reason::ThresholdsCrossed));
    }

    #[test]
    fn a_deadline_or_a_stop_while_some_run_already_stops_them() {
        let some = world([ready(1), waiting(2, "Unschedulable")]);
        let stop = Observed {
            stop: true,
            ..some.clone()
        };
        for (second, seen, name, result) in [
            (301, some, "DeadlinePassed", RunResult::Error),
            (5, stop, "StopOrdered", RunResult::Aborted),
        ] {
            let mut resource = unpaused();
            let wanted = vec![Effect::CreateStopper(vec![target(1)])];
            assert_eq!(resource.look(second, &seen), (vec![name], wanted));
            assert_eq!(resource.name(), StateName::Stopping);
            let gone = world([ended(1, 103)]);
            assert_eq!(resource.look(second + 1, &gone), (vec!["RunnersStopped"], vec![]));
            assert_eq!(resource.verdict().0, result);
        }
    }
}

mod runs_that_are_not_inspected {
    use super::*;

    fn uninspected() -> Terms {
        Terms {
            inspect: Inspect::Skip,
            ..terms(2)
        }
    }

    #[test]
    fn the_runners_are_made_at_once_for_a_day_or_as_long_as_the_spec_says() {
        for (seconds, deadline) in [(None, 86_400), (Some(90), 90)] {
            let terms = Terms {
                run_timeout: seconds.map(SignedDuration::from_secs),
                ..uninspected()
            };
            let mut resource = Resource::new();
            let wanted = [1, 2]
                .map(|runner| Effect::CreateRunner { runner, of: 2 })
                .to_vec();
            let found = resource.look(0, &on(terms));
            assert_eq!(found, (vec!["Accepted", "InspectionSkipped"], wanted));
            let plan = resource.run.plan.unwrap();
            assert_eq!(plan.deadline_seconds, Some(deadline));
            assert_eq!(
                (plan.max_vus, plan.total_duration, plan.thresholds),
                (None, None, None)
            );
        }
    }

    #[test]
    fn a_script_that_is_not_there_is_missed_nevertheless() {
        let mut resource = Resource::new();
        let seen = Observed {
            script: Fact::Known(Err(MISSING.to_owned())),
            ..on(uninspected())
        };
        assert_eq!(resource.look(0, &seen), (vec!["Accepted"], vec![]));
        assert_eq!(resource.look(10, &seen), (vec!["ScriptRejected"], vec![]));
    }

    #[test]
    fn the_timeout_of_the_spec_wins_over_what_k6_says() {
        for longest in [0, 90].map(SignedDuration::from_secs) {
            let limited = Terms {
                run_timeout: Some(SignedDuration::from_secs(77)),
                ..terms(2)
            };
            let mut resource = Resource::after([accepted_on(1, limited.clone())]);
            let found = k6_operator::machine::Inspection {
                longest,
                ..inspection(2)
            };
            let seen = Observed {
                initializer: Fact::Known(Initializer::Succeeded(Ok(found))),
                ..on(limited)
            };
            assert_eq!(resource.look(5, &seen).0, ["ScriptInspected"]);
            assert_eq!(resource.run.plan.unwrap().deadline_seconds, Some(77));
        }
    }
}

mod a_script_in_the_spec {
    use super::*;

    #[test]
    fn its_config_map_is_made_before_the_initializer() {
        let mut resource = Resource::new();
        let seen = Observed {
            script: Fact::Absent,
            ..empty_world(2)
        };
        assert_eq!(
            resource.look(0, &seen),
            (vec!["Accepted"], vec![Effect::CreateScript])
        );
        let found = resource.look(0, &empty_world(2));
        assert_eq!(found, (vec![], vec![Effect::CreateInitializer]));
    }

    #[test]
    fn its_config_map_is_made_before_the_runners_where_nothing_is_inspected() {
        let terms = Terms {
            inspect: Inspect::Skip,
            ..terms(2)
        };
        let mut resource = Resource::new();
        let seen = Observed {
            script: Fact::Absent,
            ..on(terms.clone())
        };
        assert_eq!(
            resource.look(0, &seen),
            (vec!["Accepted"], vec![Effect::CreateScript])
        );
        assert_eq!(resource.look(0, &on(terms)).0, ["InspectionSkipped"]);
    }
}

#[test]
fn what_is_not_supported_is_told_in_a_condition_to_the_end() {
    let what = "spec.token has no effect: remove it";
    let terms = Terms {
        unsupported: Some(what.to_owned()),
        ..terms(2)
    };
    let mut resource = Resource::new();
    for seen in [
        on(terms.clone()),
        Observed {
            stop: true,
            ..on(terms)
        },
    ] {
        resource.look(0, &seen);
        let progress = k6_operator::api::Progress::of(&resource.run, &seen, &[]);
        let status = resource.run.status(resource.history.clone(), &progress);
        let told = status
            .conditions
            .iter()
            .find(|c| c.type_ == "Unsupported")
            .unwrap();
        assert_eq!((told.status.as_str(), told.message.as_str()), ("True", what));
    }
    assert_eq!(resource.name(), StateName::Finished);
}
