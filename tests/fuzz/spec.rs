//! A resource as somebody applied it: read, checked, and built into the objects of its run.

use crate::mutate;
use crate::support::at;
use k6_operator::api::LoadTest;
use k6_operator::machine::{Observed, ProgramSource, Run, Target};
use k6_operator::objects::{
    self, Common, Defaults, Owner, ValidatedRun, child_name, runner_name, starter_name, stem, stopper_name,
    validate,
};
use k8s_openapi::api::batch::v1::Job;
use proptest::prelude::*;

fn defaults() -> Defaults {
    Defaults {
        runner_image: "k6".to_owned(),
        starter_image: "operator".to_owned(),
        common: Common::default(),
    }
}

/// What a resource may have as its name: the API server sees to it.
fn is_name(name: &str) -> bool {
    let label = |label: &str| {
        let inner = label
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        inner && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

fn bounded(input: &[u8], job: &Job) -> Result<(), TestCaseError> {
    let name = job.metadata.name.as_deref().unwrap_or_default();
    prop_assert!(name.len() <= 63 && is_name(name), "{name:?}");
    for (key, value) in job.metadata.labels.iter().flatten() {
        // Those of users are the API server's to check.
        let own = key.starts_with("k6.io/") || key == "k6_cr";
        prop_assert!(!own || value.len() <= 63, "{key}: {value}");
    }
    // The pod template of all parts and the settings of one, and each `$` of an argument is two.
    let size = serde_json::to_vec(job).unwrap().len();
    prop_assert!(
        size <= 200_000 + 8 * input.len(),
        "{size} bytes of {}",
        input.len()
    );
    Ok(())
}

/// Whether it is one that can be carried out.
fn tried(input: &[u8]) -> Result<bool, TestCaseError> {
    let Ok(test) = serde_json::from_slice::<LoadTest>(input) else {
        return Ok(false);
    };
    let again: LoadTest = serde_json::from_value(serde_json::to_value(&test).unwrap()).unwrap();
    prop_assert_eq!(&again, &test);
    let checked = validate(&test.spec, &defaults());
    let terms = match &checked {
        Ok(checked) => Ok(checked.terms.clone()),
        Err(error) => Err(error.to_string()),
    };
    let run = Run::default();
    if let Some(event) = run.next(&Observed::unknown(1, terms), at(0)) {
        let size = serde_json::to_vec(&event).unwrap().len();
        prop_assert!(size <= 4096, "an event of {size} bytes");
    }
    let Ok(checked) = checked else {
        return Ok(false);
    };
    let n = checked.terms.parallelism;
    prop_assert!((1..=2_000).contains(&n));
    prop_assert_eq!(i64::from(n), test.spec.parallelism);
    let name = test.metadata.name.as_deref().unwrap_or_default();
    let name = if is_name(name) { name } else { "fuzz" };
    for attempt in [1, u32::MAX] {
        let owner = Owner {
            kind: test.kind,
            name: name.to_owned(),
            namespace: "default".to_owned(),
            uid: "5f2a".to_owned(),
            generation: test.metadata.generation.unwrap_or_default(),
            attempt,
        };
        let targets = [("10.0.0.1", 1), ("fd00::2", n)].map(|(ip, runner)| Target {
            runner,
            ip: ip.to_owned(),
        });
        let run = ValidatedRun {
            owner,
            spec: checked.clone(),
            plan: None,
        };
        bounded(input, &objects::initializer(&run, ProgramSource::Copied))?;
        for i in [1, n / 2 + 1, n] {
            let job = objects::runner(&run, (i, n), None);
            prop_assert_eq!(&job, &objects::runner(&run, (i, n), None));
            bounded(input, &job)?;
        }
        bounded(input, &objects::starter(&run, &targets))?;
        bounded(input, &objects::stopper(&run, &targets))?;
        if let Some(script) = objects::script(&run) {
            prop_assert!(script.metadata.name.unwrap().len() <= 63);
        }
    }
    Ok(true)
}

#[test]
fn every_spec_of_the_corpus_is_built_or_refused() {
    let mut built = Vec::new();
    for (name, input) in mutate::corpus("spec") {
        match tried(&input) {
            Ok(true) => built.push(name),
            Ok(false) => {}
            Err(error) => panic!("{name}: {error}"),
        }
    }
    let valid = [
        "args.json",
        "arguments-long.json",
        "dollars.json",
        "full.json",
        "inline.json",
        // The later wins, as it does in the API server.
        "key-twice.json",
        "least.json",
        "local-file.json",
        "name-dots.json",
        "name-long.json",
        "name-none.json",
        "parallelism-most.json",
        "port-max.json",
        "quantity.json",
        "testrun.json",
        "timeout-nothing.json",
        "ttl-max.json",
        "ttl-min.json",
    ];
    assert_eq!(built, valid);
}

#[test]
fn no_two_objects_of_a_run_have_the_same_name_however_long_the_name_of_the_resource() {
    for length in 1..=253 {
        let name = "a".repeat(length);
        for stem in [stem(&name, 1), stem(&name, u32::MAX)] {
            let mut names: Vec<String> = (1..=12).map(|i| runner_name(&stem, i)).collect();
            names.extend([
                starter_name(&stem),
                stopper_name(&stem),
                child_name(&stem, "10000"),
            ]);
            names.sort();
            let all = names.len();
            names.dedup();
            assert_eq!(names.len(), all);
            assert!(names.iter().all(|name| name.len() <= 63 && is_name(name)));
        }
    }
}

proptest! {
    #![proptest_config(mutate::config(400))]

    #[test]
    fn a_mutated_spec_is_built_or_refused(input in mutate::mutated("spec")) {
        tried(&input)?;
    }

    #[test]
    fn a_spec_with_other_values_is_built_or_refused(value in mutate::mutated_json("spec", "full.json")) {
        tried(&serde_json::to_vec(&value).unwrap())?;
    }
}
