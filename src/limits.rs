//! Limits that several layers use.

/// The maximum number of runners of a run. Each Job and each pod contains the sequence of all segments, so the data in
/// etcd grows with the square of this number: 2,000 runners take about 80 MB, and 10,000 more than the 2 GiB that etcd
/// holds by default.
/// <https://etcd.io/docs/v3.5/dev-guide/limit/>
pub const PARALLELISM: u32 = 2_000;

/// The maximum size of an export of a runner, in bytes. A series takes about 300 bytes and its tags.
pub const LARGEST_EXPORT: usize = 64 * 1024 * 1024;

/// The maximum size of a heartbeat of a runner, in bytes: it carries k6's own numbers of some thousands of metrics.
pub const LARGEST_HEARTBEAT: usize = 1024 * 1024;
