//! Background work that must not get lost.

#![deny(unsafe_code)]

pub mod process;
