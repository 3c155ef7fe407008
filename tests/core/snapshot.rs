//! Snapshots that are the same for each architecture.

/// The architecture of the nodes on which the operator's program runs.
pub const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") {
    "arm64"
} else {
    "amd64"
};

/// As the macro of insta. The snapshots are those of amd64.
macro_rules! assert_yaml_snapshot {
    ($told:expr) => {
        let label = |architecture| format!("kubernetes.io/arch: {architecture}");
        let (own, shown) = (label(crate::snapshot::ARCHITECTURE), label("amd64"));
        insta::with_settings!({ filters => [(own.as_str(), shown.as_str())] }, {
            insta::assert_yaml_snapshot!($told);
        });
    };
}
pub(crate) use assert_yaml_snapshot;
