//! The k6 operator.

pub mod api;
pub mod build;
pub mod machine;
pub mod operator;
pub mod runners;
