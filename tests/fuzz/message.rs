//! Termination messages: the report of a starter, and the last words of k6.

use crate::mutate;
use crate::support::{at, empty_world, ended, ready, runners, started, starting};
use k6_operator::k6::log::last_words;
use k6_operator::machine::{Event, Fact, Observed, Program, classify};
use k6_operator::protocol::report::{MESSAGE_AT_MOST, Report};
use proptest::prelude::*;

const N: u32 = 4;

fn small(event: &Event) -> Result<(), TestCaseError> {
    let size = serde_json::to_vec(event).unwrap().len();
    prop_assert!(size <= 4096, "an event of {size} bytes");
    Ok(())
}

fn tried(input: &[u8]) -> Result<(), TestCaseError> {
    // As Kubernetes gives it: at most 4096 bytes, in which what is no UTF-8 is replaced.
    let text = String::from_utf8_lossy(input);
    let words = last_words(&text);
    prop_assert!(words.chars().count() <= 500 && !words.contains('\n'), "{words:?}");
    prop_assert_eq!(last_words(&format!("\n\n{text}\n\n")), words.clone());

    let mut lost = ended(2, 137);
    lost.end.as_mut().unwrap().message = words;
    let seen = Observed {
        runners: runners([ready(1), lost, ready(3), ready(4)]),
        ..empty_world(N)
    };
    small(&classify(&started(N), &seen, at(9)).unwrap())?;

    let Ok(report) = Report::from_message(&text) else {
        return Ok(());
    };
    let message = report.to_message();
    prop_assert!(message.len() <= MESSAGE_AT_MOST);
    let again = Report::from_message(&message).unwrap();
    prop_assert_eq!((again.total, again.confirmed), (report.total, report.confirmed));
    let all = report.confirmed == N && report.total == N;
    let confirmed = report.confirmed;
    let seen = Observed {
        runners: runners((1..=N).map(ready)),
        starter: Fact::Known(Program::Reported(report)),
        ..empty_world(N)
    };
    let event = classify(&starting(N), &seen, at(9)).unwrap();
    small(&event)?;
    if let Event::StartConfirmed { runners, .. } = event {
        prop_assert!(all && runners == N);
    } else if let Event::StartFailed { released, .. } = event {
        prop_assert!(!all && released == Some(confirmed));
    } else {
        prop_assert!(false, "{event:?}");
    }
    Ok(())
}

#[test]
fn every_message_of_the_corpus_is_read_or_quoted() {
    for (name, input) in mutate::corpus("message") {
        tried(&input).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn the_words_of_k6_are_told() {
    let words = |name: &str| last_words(&String::from_utf8(mutate::file("message", name)).unwrap());
    let told = [
        (
            "k6-error.txt",
            "GoError: file:///test/bad.js: Line 2:1 Unexpected end of input (and 2 more errors)",
        ),
        ("k6-stopped.txt", "test run stopped from REST API"),
        ("k6-two-errors.txt", "second \"quoted\" \\ end"),
        ("k6-message-open.txt", "never closed"),
        ("k6-no-message.txt", "level=error hint=x"),
        ("panic.txt", "exit status 2"),
    ];
    for (name, expected) in told {
        assert_eq!(words(name), expected, "{name}");
    }
}

proptest! {
    #![proptest_config(mutate::config(400))]

    #[test]
    fn a_mutated_message_is_read_or_quoted(input in mutate::mutated("message")) {
        tried(&input)?;
    }

    #[test]
    fn the_last_error_is_told_whatever_stands_before_it(before in mutate::mutated("message"), words in "[ -~&&[^\"\\\\]]{1,80}") {
        let before = String::from_utf8_lossy(&before);
        let log = format!("{before}\ntime=\"x\" level=error msg=\"{words}\"\n");
        let expected = words.split_whitespace().collect::<Vec<_>>().join(" ");
        prop_assert_eq!(last_words(&log), expected);
    }
}
