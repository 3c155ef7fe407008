//! The log of an initializer: what k6 says of the script, and what else stands there.

use crate::mutate;
use crate::support::{at, empty_world, initializing};
use jiff::SignedDuration;
use k6_operator::machine::{Event, Fact, Initializer, Inspection, Observed, classify};
use k6_operator::objects::whole_seconds;
use proptest::prelude::*;
use serde_json::Value;
use std::path::Path;

/// Lines that come before the answer, in the same log.
const NOISE: [&str; 5] = [
    "",
    "time=\"2026-11-24T18:15:03Z\" level=info msg=\"{\\\"users\\\":3}\" source=console\n",
    "{\"level\":\"info\",\"msg\":\"{\\\"maxVUs\\\":3}\",\"source\":\"console\",\"time\":\"2026-11-24T18:15:03Z\"}\n",
    "{\n  {\n",
    "\u{feff}level=warning msg=\"{}}{\"\r\n",
];

/// What it says, if k6 could have said it.
fn meant(value: &Value) -> Option<(u64, &str, SignedDuration)> {
    let users = value.get("maxVUs")?.as_u64()?;
    let text = value.get("totalDuration")?.as_str()?;
    for timeout in ["setupTimeout", "teardownTimeout"] {
        match value.get(timeout) {
            None | Some(Value::Null) => {}
            Some(text) => {
                whole_seconds(text.as_str()?)?;
            }
        }
    }
    match value.get("thresholds") {
        None | Some(Value::Null) => {}
        Some(all) => {
            let mut all = all.as_object()?.values();
            all.try_for_each(|list| list.as_array().map(|_| ()))?;
        }
    }
    Some((users, text, whole_seconds(text)?))
}

fn tried(input: &[u8]) -> Result<Result<Inspection, String>, TestCaseError> {
    let text = String::from_utf8_lossy(input);
    let parsed = Inspection::parse(&text);
    let seen = Observed {
        initializer: Fact::Known(Initializer::Succeeded(parsed.clone())),
        ..empty_world(4)
    };
    let event = classify(&initializing(4), &seen, at(9)).unwrap();
    let size = serde_json::to_vec(&event).unwrap().len();
    prop_assert!(size <= 4096, "an event of {size} bytes");
    if let (Event::ScriptInspected { plan }, Ok(found)) = (&event, &parsed) {
        prop_assert_eq!(plan.max_vus, Some(found.max_vus));
        let own = plan
            .deadline_seconds
            .map(|seconds| SignedDuration::from_secs(seconds.into()));
        prop_assert!(own.is_none_or(|deadline| deadline > found.longest));
    }
    Ok(parsed.map_err(|error| error.to_string()))
}

#[test]
fn every_output_of_the_corpus_is_read_or_refused() {
    let captured = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/core/inspections");
    let captured = std::fs::read_dir(captured).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        (path.display().to_string(), std::fs::read(path).unwrap())
    });
    for (name, input) in mutate::corpus("inspect").into_iter().chain(captured) {
        let tried = tried(&input);
        assert!(tried.is_ok(), "{name}: {tried:?}");
    }
}

#[test]
fn what_a_script_logs_with_braces_is_not_taken_for_the_answer() {
    for name in ["braces-in-the-log.txt", "json-log.txt"] {
        let found = tried(&mutate::file("inspect", name)).unwrap();
        assert_eq!(
            found.map(|found| (found.max_vus, found.thresholds)),
            Ok((3, 1)),
            "{name}"
        );
    }
}

proptest! {
    #![proptest_config(mutate::config(400))]

    #[test]
    fn a_mutated_output_is_read_or_refused(input in mutate::mutated("inspect")) {
        tried(&input)?.ok();
    }

    #[test]
    fn an_answer_with_other_values_is_read_for_what_it_says_after_whatever_was_logged(
        value in mutate::mutated_json("inspect", "one-line.txt"), noise in 0..NOISE.len(), pretty in any::<bool>(),
    ) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
        let text = text.unwrap();
        let found = tried(text.as_bytes())?;
        let expected = meant(&value);
        let said = found.as_ref().ok().map(|found| {
            (found.max_vus, found.total_duration.as_str(), found.longest)
        });
        prop_assert_eq!(said, expected, "{:?}", found);
        let logged = tried(format!("{}{text}\nbye {{}}\n", NOISE[noise]).as_bytes())?;
        prop_assert_eq!(logged.is_ok(), found.is_ok());
        if found.is_ok() {
            prop_assert_eq!(logged, found);
        }
    }
}
