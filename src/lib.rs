//! The k6 operator.

pub mod runners;
