//! k6's execution status, as its REST API tells it. <https://github.com/grafana/k6/blob/v2.2.0/lib/execution.go>

use std::ops::RangeInclusive;

/// All is set, and the test waits for its release. Lower: not ready yet.
pub const PAUSED_BEFORE_RUN: u32 = 4;
/// The test has begun, and has not ended.
pub const BEGUN: RangeInclusive<u32> = 5..=8;
/// The test has ended; the statuses above say how.
pub const ENDED: u32 = 9;
/// The test was ended before its time: by the script, through the REST API, or by a signal.
pub const INTERRUPTED: u32 = 10;
