//! diagram

/// The files of `state-diagrams/`.
pub fn files() -> Vec<(&'static str, String)> {
    Vec::new()
}
