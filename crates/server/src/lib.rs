//! The taskwright server.
