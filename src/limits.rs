//! Limits that several layers hold to.

/// The most runners of one run. Each Job and each pod has the sequence of all segments, so that what etcd has to hold
/// grows with the square: with 2,000 some 80 MB, with 10,000 more than the 2 GiB that it holds by default.
/// <https://etcd.io/docs/v3.5/dev-guide/limit/>
pub const PARALLELISM: u32 = 2_000;
