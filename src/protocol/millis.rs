//! Reads and writes durations as whole milliseconds, for serde. Pure.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::time::Duration;

/// Writes whole milliseconds. What is finer is cut off.
pub(super) fn serialize<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let millis = duration.map(|duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    millis.serialize(serializer)
}

/// Reads whole milliseconds.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let millis = Option::<u64>::deserialize(deserializer)?;
    Ok(millis.map(Duration::from_millis))
}

#[cfg(test)]
mod tests {
    use crate::protocol::heartbeat::{Heartbeat, Phase};
    use serde_json::json;
    use std::time::Duration;

    fn of(ago: Duration) -> Heartbeat {
        Heartbeat {
            phase: Phase::Running,
            started_ago: Some(ago),
            ended_ago: None,
            own: None,
            kinds: std::collections::BTreeMap::new(),
            rates: None,
            let_go: false,
            torn_down: None,
            exit_code: None,
            aborted: false,
            handles: false,
        }
    }

    #[test]
    fn times_of_a_heartbeat_are_written_as_whole_milliseconds_and_left_out_if_there_are_none() {
        for (ago, millis) in [
            (Duration::ZERO, 0),
            (Duration::from_micros(2_999), 2),
            (Duration::from_secs(300), 300_000),
            (Duration::MAX, u64::MAX),
        ] {
            let written = json!({"phase": "running", "startedAgo": millis});
            assert_eq!(json!(of(ago)), written);
            let read: Heartbeat = serde_json::from_value(written).unwrap();
            assert_eq!(read, of(Duration::from_millis(millis)));
        }
    }

    #[test]
    fn times_that_are_no_whole_milliseconds_are_refused() {
        for ago in [json!(-1), json!(0.5), json!("1s")] {
            let word = json!({"phase": "running", "startedAgo": ago});
            assert!(serde_json::from_value::<Heartbeat>(word).is_err(), "{ago}");
        }
        let word = json!({"phase": "running", "startedAgo": null});
        let read: Heartbeat = serde_json::from_value(word).unwrap();
        assert_eq!(read.started_ago, None);
    }
}
