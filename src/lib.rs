//! convscope
#![forbid(unsafe_code)]

pub mod checkpoint;
pub mod gpu;
pub mod kernel;
pub mod layout;
pub mod model;
pub mod ops;
pub mod reference;
pub mod spec;
