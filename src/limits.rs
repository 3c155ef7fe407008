//! Limits that several layers hold to.

/// The most runners of one run. Each Job and each pod has the sequence of all segments, so that what etcd has to hold
/// grows with the square: with 2,000 some 80 MB, with 10,000 more than the 2 GiB that it holds by default.
/// <https://etcd.io/docs/v3.5/dev-guide/limit/>
pub const PARALLELISM: u32 = 2_000;

/// The largest export of a runner, in bytes: one series takes some 300 bytes, and its tags.
pub const LARGEST_EXPORT: usize = 64 * 1024 * 1024;

/// The largest word of a runner to its aggregator, in bytes: k6's own numbers of some thousands of metrics.
pub const LARGEST_WORD: usize = 1024 * 1024;
