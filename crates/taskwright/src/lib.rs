//! Background work that must not get lost.
