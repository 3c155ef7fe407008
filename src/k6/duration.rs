//! Durations as k6 and Go write them (`1m30s`, `500ms`), read and written.

use jiff::SignedDuration;

/// Reads a duration, rounded up to a whole second. None if it can't be read or is negative.
pub fn whole_seconds(text: &str) -> Option<SignedDuration> {
    let duration: SignedDuration = text.trim().parse().ok()?;
    let up = i64::from(duration.subsec_nanos() > 0);
    let seconds = duration.as_secs().checked_add(up)?;
    (!duration.is_negative()).then(|| SignedDuration::from_secs(seconds))
}

/// Writes a duration to the second, as k6 does: `1m30s`.
pub fn duration_text(duration: SignedDuration) -> String {
    let total = u64::try_from(duration.as_millis().max(0))
        .unwrap_or(u64::MAX)
        .saturating_add(500)
        / 1000;
    let (hours, minutes, seconds) = (total / 3600, total / 60 % 60, total % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        (_, _) => format!("{hours}h{minutes}m{seconds}s"),
    }
}
