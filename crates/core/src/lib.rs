//! The domain of Taskwright.
