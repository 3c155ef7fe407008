//! What k6 1.1.0 prints, captured in `inspections/`, and whatever else an image may print instead.

use jiff::SignedDuration;
use k6_operator::machine::Inspection;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// The tags that k6 gives by default, without those that nothing needs.
fn reduced() -> Vec<String> {
    let tags = "check error_code expected_response group scenario";
    tags.split(' ').map(str::to_owned).collect()
}

fn parsed(text: &str) -> Inspection {
    Inspection::parse(text).unwrap()
}

#[test]
fn the_stages_of_the_article_need_200_users_for_a_minute_and_its_graceful_end() {
    let expected = Inspection {
        max_vus: 200,
        total_duration: "1m30s".to_owned(),
        longest: SignedDuration::from_secs(90),
        setup_timeout: SignedDuration::from_secs(60),
        teardown_timeout: SignedDuration::from_secs(60),
        left_out: false,
        tags: BTreeMap::new(),
        rps: None,
        system_tags: Some(reduced()),
        script_metrics: std::collections::BTreeSet::new(),
        thresholds: 0,
        threshold_error: None,
        version: None,
        names_no_own_tag: false,
        spare_scenario: true,
        spare_group: true,
        options: r#"{"summaryTimeUnit":null,"summaryTrendStats":["avg","min","med","max","p(90)","p(95)"],"thresholds":null}"#
            .to_owned(),
    };
    assert_eq!(parsed(include_str!("inspections/stages.json")), expected);
}

#[test]
fn thresholds_written_as_text_and_as_objects_are_counted_and_timeouts_rounded_up() {
    let expected = Inspection {
        max_vus: 16,
        total_duration: "50s".to_owned(),
        longest: SignedDuration::from_secs(50),
        setup_timeout: SignedDuration::from_secs(90),
        teardown_timeout: SignedDuration::from_secs(1),
        left_out: false,
        tags: BTreeMap::new(),
        rps: None,
        system_tags: Some([reduced(), vec!["status".to_owned()]].concat()),
        script_metrics: std::collections::BTreeSet::new(),
        thresholds: 3,
        threshold_error: None,
        version: None,
        names_no_own_tag: false,
        spare_scenario: false,
        spare_group: true,
        options: concat!(
            r#"{"summaryTimeUnit":null,"summaryTrendStats":["avg","min","med","max","p(90)","p(95)"],"thresholds":"#,
            r#"{"http_req_duration":["p(95)<500",{"abortOnFail":true,"delayAbortEval":"10s","threshold":"p(99)<2000"}],"#,
            r#""http_req_duration{status:200}":["med<100"]}}"#,
        )
        .to_owned(),
    };
    assert_eq!(parsed(include_str!("inspections/thresholds.json")), expected);
}

#[test]
fn a_script_without_options_needs_one_user() {
    let found = parsed(include_str!("inspections/plain.json"));
    assert_eq!((found.max_vus, found.longest.as_secs()), (1, 630));
}

#[test]
fn the_tags_of_the_options_are_read_and_those_that_are_no_texts_passed_over() {
    let with = |tags: &str| {
        let plain = include_str!("inspections/plain.json");
        let text = plain.replace(r#""tags": null"#, &format!(r#""tags": {tags}"#));
        parsed(&text).tags
    };
    let team = BTreeMap::from([("team".to_owned(), "x y".to_owned())]);
    assert_eq!(with(r#"{"team": "x y"}"#), team);
    assert_eq!(with("null"), BTreeMap::new());
    assert_eq!(with(r#"{"team": 7}"#), BTreeMap::new());
}

#[test]
fn arguments_reach_the_inspection_through_the_archive() {
    let found = parsed(include_str!("inspections/arguments.json"));
    assert_eq!((found.max_vus, found.total_duration.as_str()), (7, "2m0s"));
}

#[test]
fn a_test_that_ends_only_when_it_is_told_lasts_zero_seconds() {
    let found = parsed(include_str!("inspections/endless.json"));
    assert_eq!((found.max_vus, found.longest.as_secs()), (4, 0));
}

#[test]
fn what_is_logged_around_the_output_is_passed_over() {
    let text = include_str!("inspections/plain.json");
    assert_eq!(
        parsed(&format!("time=\"now\" level=warning msg=\"old\"\n{text}\nbye")),
        parsed(text)
    );
}

#[test]
fn anything_else_is_an_error_that_says_why() {
    let why = |text: &str| Inspection::parse(text).unwrap_err().to_string();
    let prefix = "the output of k6 inspect could not be read: ";
    assert_eq!(why(""), format!("{prefix}it is empty"));
    assert_eq!(
        why("{}"),
        format!("{prefix}missing field `maxVUs` at line 1 column 2")
    );
    let text = r#"{"maxVUs": 1, "totalDuration": "soon"}"#;
    assert_eq!(why(text), format!("{prefix}\"soon\" is no duration"));
    assert!(why(r#"{"maxVUs": -1, "totalDuration": "1s"}"#).starts_with(prefix));
}

proptest! {
    #[test]
    fn no_output_panics(text in any::<String>()) {
        let _ = Inspection::parse(&text);
    }

    #[test]
    fn no_output_of_the_right_shape_panics_or_forgets_the_users(
        max_vus in any::<u64>(), total in "[0-9]{1,20}(h|m|s|ms|µs)", setup in "[-0-9.hms]{0,12}",
    ) {
        let text = serde_json::json!({"maxVUs": max_vus, "totalDuration": total, "setupTimeout": setup});
        if let Ok(found) = Inspection::parse(&text.to_string()) {
            prop_assert_eq!(found.max_vus, max_vus);
            prop_assert_eq!(found.total_duration, total);
        }
    }
}
