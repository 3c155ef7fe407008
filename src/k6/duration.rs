//! Durations as k6 and Go write them (`1m30s`, `500ms`), read and written.

use jiff::SignedDuration;

/// Seconds of a duration, rounded up. None if it can't be read or is negative.
pub fn seconds(text: &str) -> Option<u64> {
    let duration: SignedDuration = text.trim().parse().ok()?;
    let up = u64::from(duration.subsec_nanos() > 0);
    u64::try_from(duration.as_secs())
        .ok()?
        .checked_add(up)
        .filter(|_| !duration.is_negative())
}

/// A duration to the second, as k6 writes it: `1m30s`.
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
