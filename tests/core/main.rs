//! The pure core: what can happen to a run, what follows from it, and the objects that carry it out.

mod generated;
mod support;
