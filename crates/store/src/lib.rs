//! Where jobs live.
