//! A status that was edited by hand: replayed, told, and gone on with.

use crate::mutate;
use crate::support::{at, empty_world, ended, ready, reported, runners};
use k6_operator::api::LoadTest;
use k6_operator::api::status::Status;
use k6_operator::api::{Progress, replay_report};
use k6_operator::machine::{Event, HISTORY_LIMIT, Record};
use k6_operator::machine::{Observed, Refusal, append, effects, replay, wake_at};
use proptest::prelude::*;

/// What may be seen next.
fn worlds() -> Vec<Observed> {
    let all = |each: fn(u32) -> k6_operator::machine::Runner| runners((1..=2).map(each));
    vec![
        empty_world(2),
        Observed::unknown(1, Err("no".to_owned())),
        Observed {
            runners: all(ready),
            starter: reported(2, 2),
            rerun: Some("again".to_owned()),
            ..empty_world(2)
        },
        Observed {
            runners: all(|i| ended(i, 99)),
            stop: true,
            refused: Some(Refusal::ForNow("quota".to_owned())),
            ..empty_world(2)
        },
        Observed {
            generation: i64::MAX,
            ..empty_world(10_000)
        },
    ]
}

/// The status that the operator makes of a history, however it came to be, is the one that `replay` expects.
fn gone_on_with(test: &LoadTest, status: &Status) -> Result<(), TestCaseError> {
    let Ok(run) = replay(&status.history) else {
        return Ok(());
    };
    // The API server takes no other times.
    if status
        .history
        .iter()
        .any(|record| record.time < at(-62_167_219_200))
    {
        return Ok(());
    }
    let last = status.history.last().map_or_else(|| at(0), |record| record.time);
    for seen in worlds() {
        for now in [last, at(0), jiff::Timestamp::MAX] {
            let (mut run, mut history) = (run.clone(), status.history.clone());
            for _ in 0..HISTORY_LIMIT {
                let Some(event) = run.next(&seen, now) else { break };
                let record = Record { time: now, event };
                let Some(after) = run.after(&record).filter(|after| *after != run) else {
                    break;
                };
                let rerun = matches!(record.event, Event::RerunOrdered { .. });
                append(&mut history, record);
                run = after;
                if rerun {
                    break;
                }
            }
            wake_at(&run.state, &seen);
            let wanted = effects(&run.state, &seen, now);
            prop_assert!(wanted.len() <= 10_002, "{} effects", wanted.len());
            let progress = Progress::of(&run, &seen, &[]);
            let mut written = test.clone();
            written.status = Some(run.status(history, &progress));
            let text = serde_json::to_string(&written).unwrap();
            let report = replay_report(&text).map_err(|error| error.to_string());
            prop_assert!(report.is_ok(), "{report:?}: {text}");
        }
    }
    Ok(())
}

/// Whether the status is what its history says.
fn tried(input: &[u8]) -> Result<bool, TestCaseError> {
    let text = String::from_utf8_lossy(input);
    let told = replay_report(&text);
    if let Ok(test) = serde_json::from_str::<LoadTest>(&text) {
        let status = test.status.clone().unwrap_or_default();
        if let Ok(told) = &told {
            prop_assert!(told.len() <= 100 * (status.history.len() + 1));
            prop_assert!(replay(&status.history).is_ok());
        }
        gone_on_with(&test, &status)?;
    }
    Ok(told.is_ok())
}

#[test]
fn every_status_of_the_corpus_is_replayed_or_refused() {
    let mut good = Vec::new();
    for (name, input) in mutate::corpus("status") {
        match tried(&input) {
            Ok(true) => good.push(name),
            Ok(false) => {}
            Err(error) => panic!("{name}: {error}"),
        }
    }
    let valid = [
        "aborted.json",
        "error.json",
        "failed.json",
        "healthy.json",
        "progressing.json",
        "stale-generation.json",
        "suspended.json",
        "testrun-healthy.json",
        "timeout-max.json",
    ];
    assert_eq!(good, valid);
}

#[test]
fn a_history_with_another_number_of_runners_than_was_accepted_is_refused() {
    for (name, event) in [
        ("plan-max.json", "event 1"),
        ("plan-zero.json", "event 1"),
        ("parallelism-max.json", "event 0"),
    ] {
        let text = String::from_utf8(mutate::file("status", name)).unwrap();
        let error = replay_report(&text).unwrap_err().to_string();
        assert!(error.starts_with(event), "{name}: {error}");
    }
}

proptest! {
    #![proptest_config(mutate::config(200))]

    #[test]
    fn a_mutated_status_is_replayed_or_refused(input in mutate::mutated("status")) {
        tried(&input)?;
    }

    #[test]
    fn a_status_with_other_values_is_right_only_where_it_says_the_same(value in mutate::mutated_json("status", "failed.json")) {
        let text = serde_json::to_vec(&value).unwrap();
        let right = tried(&text)?;
        let read = serde_json::from_slice::<LoadTest>(&text).ok();
        let status = read.and_then(|test| test.status);
        let before = serde_json::from_slice::<LoadTest>(&mutate::file("status", "failed.json")).unwrap().status;
        prop_assert!(right || status != before, "the status is as it was, and is refused");
        // The same history says the same, but for the live view.
        if let (true, Some(status), Some(before)) = (right, status, before)
            && status.history == before.history
        {
            prop_assert_eq!((status.state, status.result, status.reason), (before.state, before.result, before.reason));
        }
    }
}
