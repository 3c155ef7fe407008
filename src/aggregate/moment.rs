//! Times with their unit: by the aggregator's own clock, and by the clocks of runners. Pure.

use std::ops::Add;
use std::time::Duration;

/// A time of the aggregator's clock, in whole milliseconds where the aggregator reads it. Nobody sets that clock, so a
/// difference is a duration. The default is its origin, before which there is no time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// The time that is this long after the origin of the clock.
    pub const fn after_origin(after: Duration) -> Self {
        Self(after)
    }

    /// The time that has passed since an earlier time. Zero if that time is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// The time that is this long before. At the earliest the origin of the clock.
    pub fn saturating_sub(self, ago: Duration) -> Self {
        Self(self.0.saturating_sub(ago))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    /// The time that is this long after. At the latest the last time that can be expressed.
    fn add(self, later: Duration) -> Self {
        Self(self.0.saturating_add(later))
    }
}

/// Cuts a duration to whole milliseconds, the precision of [`Moment`]: heartbeats report times no finer.
pub fn whole_millis(duration: Duration) -> Duration {
    Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// Converts the whole milliseconds of a duration to seconds. It rounds once. `Duration::as_secs_f64` rounds twice, so its
/// last digit can differ.
pub(super) fn seconds(duration: Duration) -> f64 {
    duration.as_millis() as f64 / 1e3
}

/// A time of a runner's clock as OTLP has it, in ns since 1970. That clock can be set back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixNanos(pub u64);

impl UnixNanos {
    /// Stands for no time, as in a point without one: 0 is the default of protobuf.
    pub const NONE: Self = Self(0);

    /// The time that has passed since an earlier time. Zero if that time is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::{Moment, UnixNanos, seconds, whole_millis};
    use std::time::Duration;

    const fn at(millis: u64) -> Moment {
        Moment::after_origin(Duration::from_millis(millis))
    }

    #[test]
    fn differences_are_never_negative() {
        assert_eq!(at(1_500).since(at(500)), Duration::from_secs(1));
        assert_eq!(at(500).since(at(1_500)), Duration::ZERO);
        assert_eq!(at(500).saturating_sub(Duration::from_secs(1)), Moment::default());
        assert_eq!(at(500) + Duration::from_secs(1), at(1_500));
        assert_eq!(at(1) + Duration::MAX, Moment::after_origin(Duration::MAX));
        assert_eq!(UnixNanos(7).since(UnixNanos(2)), Duration::from_nanos(5));
        assert_eq!(UnixNanos(2).since(UnixNanos(7)), Duration::ZERO);
        assert_eq!(
            UnixNanos(u64::MAX).since(UnixNanos::NONE),
            Duration::from_nanos(u64::MAX)
        );
    }

    #[test]
    fn milliseconds_are_cut_and_seconds_rounded_once() {
        assert_eq!(
            whole_millis(Duration::from_micros(1_999)),
            Duration::from_millis(1)
        );
        assert_eq!(whole_millis(Duration::MAX), Duration::from_millis(u64::MAX));
        for millis in [0, 1, 3_700, 1_099_511_627_777, u64::MAX] {
            let expected = millis as f64 / 1e3;
            assert_eq!(
                seconds(Duration::from_millis(millis)).to_bits(),
                expected.to_bits()
            );
        }
    }
}
