//! How long to wait after each failure in a row. Pure.

use std::time::Duration;

/// Returns a pause from `first`, doubled with each failure up to `most`, and up to a quarter longer, depending on the
/// salt: runs that failed together do not retry together.
pub fn backoff(first: Duration, most: Duration, failures: u32, salt: &str) -> Duration {
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let base = doubled.min(most);
    let seed = salt.bytes().map(u64::from).sum::<u64>();
    let mixed = u64::from(failures).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed;
    base + base.mul_f64((mixed % 256) as f64 / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::backoff;
    use std::time::Duration;

    #[test]
    fn waits_grow_to_their_limit_and_differ() {
        let (first, most) = (Duration::from_millis(200), Duration::from_secs(60));
        let waits: Vec<Duration> = (1..100).map(|n| backoff(first, most, n, "a")).collect();
        assert!(waits[0] >= first && waits[0] <= first * 5 / 4);
        assert!(waits[..8].windows(2).all(|pair| pair[0] < pair[1]), "{waits:?}");
        assert!(
            waits[20..]
                .iter()
                .all(|wait| *wait >= most && *wait <= most * 5 / 4)
        );
        assert_ne!(backoff(first, most, 3, "a"), backoff(first, most, 3, "b"));
        assert!(backoff(first, most, u32::MAX, "a") >= most);
    }
}
