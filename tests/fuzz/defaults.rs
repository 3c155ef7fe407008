//! The administrator's file of defaults.

use crate::mutate;
use k6_operator::objects::Common;
use k6_operator::operator::defaults::{DefaultsError, read};
use proptest::prelude::*;

fn tried(input: &[u8]) -> Result<Result<Common, DefaultsError>, TestCaseError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), input).unwrap();
    let found = read(Some(file.path()));
    if let Err(error) = &found {
        let text = error.to_string();
        prop_assert!(text.contains(&file.path().display().to_string()), "{text}");
        prop_assert!(text.len() <= 4000 + 8 * input.len(), "{} bytes", text.len());
    }
    Ok(found)
}

#[test]
fn every_file_of_the_corpus_is_read_or_refused_by_its_name() {
    let mut good = Vec::new();
    for (name, input) in mutate::corpus("defaults") {
        match tried(&input) {
            Ok(Ok(_)) => good.push(name),
            Ok(Err(_)) => {}
            Err(error) => panic!("{name}: {error}"),
        }
    }
    let valid = [
        "bom.yaml",
        "comment.yaml",
        "crlf.yaml",
        "empty.yaml",
        "escape.yaml",
        "full.yaml",
        "json.json",
        "labels.yaml",
        "null.yaml",
        "runner-null.yaml",
        "tag.yaml",
        "tilde.yaml",
    ];
    assert_eq!(good, valid);
}

proptest! {
    #![proptest_config(mutate::config(24))]

    #[test]
    fn a_mutated_file_is_read_or_refused_by_its_name(input in mutate::mutated("defaults")) {
        tried(&input)?.ok();
    }

    #[test]
    fn other_values_are_read_or_refused_by_its_name(value in mutate::mutated_json("defaults", "json.json")) {
        let found = tried(&serde_json::to_vec(&value).unwrap())?;
        if let Ok(common) = found {
            let image = value.get("runner").and_then(|runner| runner.get("image")).and_then(|image| image.as_str());
            // What is empty is unset.
            prop_assert_eq!(common.runner.image.as_deref(), image.filter(|image| !image.is_empty()));
        }
    }
}
