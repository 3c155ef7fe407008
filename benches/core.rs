//! What the pure core costs.
fn main() {}
