//! k6's execution status, as its REST API tells it. <https://github.com/grafana/k6/blob/v2.2.0/lib/execution.go>

use std::ops::RangeInclusive;

/// The test is set up and waits for its release. With lower values it is not set up yet.
pub const PAUSED_BEFORE_RUN: u32 = 4;
/// The values of a test that has begun and has not ended.
pub const BEGUN: RangeInclusive<u32> = 5..=8;
/// The test has ended. Higher values say how.
pub const ENDED: u32 = 9;
/// The test was ended before its time: by the script, through the REST API, or by a signal.
pub const INTERRUPTED: u32 = 10;
