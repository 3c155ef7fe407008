//! Every state and every event: what follows, or that it is refused, in text tables beside this file.

use crate::support::{at, empty_world, ended, golden, record, runners, started};
use k6_operator::machine::{
    Accepted, AfterStop, Created, Finished, Initializing, Inspect, Metrics, Plan, Setup, Start, Started,
    Starting, State, Step, Stop, Stopping, Terms, Test, Thresholds, Verdict, classify, diagram, step,
};
use std::fmt::Write;

const REMEDY: &str = "if the change is meant, run `UPDATE=1 cargo test --test core` and read the difference";

fn terms(accepted: &Accepted) -> String {
    let Accepted {
        at,
        generation,
        terms,
    } = accepted;
    let Terms {
        parallelism,
        initialization_timeout,
        start_timeout,
        run_timeout,
        suspended,
        start,
        inspect,
        unsupported,
        unlike_runners,
        metrics,
        setup,
        thresholds,
        rps,
    } = terms;
    let mut text = format!(
        "{parallelism} runners, accepted {at} as generation {generation}, timeouts \
         {} s and {} s",
        initialization_timeout.as_secs(),
        start_timeout.as_secs()
    );
    if let Some(timeout) = run_timeout {
        write!(text, " and {} s", timeout.as_secs()).unwrap();
    }
    if let Some(rps) = rps {
        write!(text, ", {rps} requests per second").unwrap();
    }
    for (set, word) in [
        (*suspended, "suspended"),
        (*start == Start::Immediate, "unpaused"),
        (*inspect == Inspect::Skip, "uninspected"),
        (*setup == Setup::PerRunner, "setup per runner"),
        (*thresholds == Thresholds::Ignore, "unjudged"),
    ] {
        if set {
            write!(text, ", {word}").unwrap();
        }
    }
    let unmerged = match metrics {
        Metrics::Merge => None,
        Metrics::PerRunner { why } => Some(why),
    };
    for what in unsupported.iter().chain(unlike_runners).chain(unmerged) {
        write!(text, ", {what}").unwrap();
    }
    text
}

fn users(plan: &Plan) -> String {
    let users = plan
        .max_vus
        .map_or_else(|| "not inspected".to_owned(), |users| format!("{users} VUs"));
    let merged = if plan.aggregation.is_some() {
        ", aggregated"
    } else {
        ""
    };
    format!("{users}{merged}")
}

fn verdict(verdict: &Verdict) -> String {
    let Verdict {
        result,
        reason,
        message,
    } = verdict;
    format!("{} {}: {message}", result.as_str(), reason.as_str())
}

fn describe(state: &State) -> String {
    match state {
        State::Initializing(Initializing::New) => "Initializing, not accepted".to_owned(),
        State::Initializing(Initializing::Accepted(a)) => format!("Initializing, {}", terms(a)),
        State::Created(Created { at, accepted, plan }) => {
            format!("Created at {at}, {}, {}", terms(accepted), users(plan))
        }
        State::Starting(Starting {
            at,
            accepted,
            plan,
            pods,
        }) => {
            format!(
                "Starting at {at}, {}, {}, pods {pods}",
                terms(accepted),
                users(plan)
            )
        }
        State::Started(Started { at, plan, phase }) => {
            let phase = match phase {
                Test::Running => "lost false".to_owned(),
                Test::OneLost => "lost true".to_owned(),
                Test::Collecting(ended) => {
                    format!("lost false, all ended at {}: {:?}", ended.at, ended.tally)
                }
            };
            format!("Started at {at}, {}, {phase}", users(plan))
        }
        State::Stopping(Stopping {
            at,
            runners: _,
            grace: _,
            why,
            phase,
        }) => {
            let phase = match phase {
                Stop::Ending(AfterStop::Finish) => "merged false".to_owned(),
                Stop::Ending(AfterStop::Collect) => "merged true".to_owned(),
                Stop::Collecting { since } => format!("merged true, all stopped at {since}"),
            };
            format!("Stopping at {at}, {phase}, {}", verdict(why))
        }
        State::Finished(Finished {
            at,
            verdict: why,
            completed,
        }) => format!("Finished at {at}, completed {completed}, {}", verdict(why)),
    }
}

#[test]
fn every_event_is_decided_or_refused_in_every_state() {
    for state in diagram::states() {
        let mut text = format!("state: {}\n", describe(&state.value));
        for event in diagram::events() {
            let json = serde_json::to_string(&event.value).unwrap();
            let answer = match step(&state.value, &record(60, event.value)) {
                Step::Next(next) => describe(&next),
                Step::Unchanged => "unchanged".to_owned(),
                Step::Refused => "refused".to_owned(),
            };
            write!(text, "\n{json}\n  -> {answer}\n").unwrap();
        }
        let name = state.value.name().as_str().to_lowercase();
        let note = if state.note.is_empty() { "" } else { "-" };
        let file = format!("{name}{note}{}.txt", state.note.replace(' ', "-"));
        golden(&format!("tests/core/transitions/{file}"), &text, REMEDY);
    }
}

#[test]
fn exit_codes_decide_the_verdict_in_the_order_of_k6() {
    let cases: [&[i32]; 22] = [
        &[0],
        &[0, 0, 0, 0],
        &[99],
        &[0, 99, 0, 99],
        &[103],
        &[105, 105],
        &[0, 108],
        &[107],
        &[137],
        &[0, 0, 137, 0],
        &[0, 108, 107],
        &[99, 107],
        &[99, 137, 108, 0],
        &[0, 99, 103],
        &[103, 105, 108],
        &[104, 110, 255],
        &[0, 99, 108],
        &[110, 110, 107],
        &[110, 108, 103],
        &[99, 101],
        &[107; 12],
        &[0, 0, 107, 99, 108, 107, 107, 107, 107, 107, 107, 107, 107, 107],
    ];
    let mut text = String::from("The exit codes of all runners, and the verdict.\n");
    for codes in cases {
        let n = u32::try_from(codes.len()).unwrap();
        let mut seen = empty_world(n);
        seen.runners = runners((1..).zip(codes).map(|(i, code)| ended(i, *code)));
        let event = classify(&started(n), &seen, at(60)).unwrap();
        let Step::Next(State::Finished(end)) = step(&started(n), &record(60, event)) else {
            panic!("{codes:?} does not finish the run");
        };
        let completed = end.completed;
        write!(
            text,
            "\n{codes:?}\n  -> completed {completed}, {}\n",
            verdict(&end.verdict)
        )
        .unwrap();
    }
    golden("tests/core/transitions/verdicts.txt", &text, REMEDY);
}
