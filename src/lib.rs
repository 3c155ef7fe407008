//! The k6 operator.
