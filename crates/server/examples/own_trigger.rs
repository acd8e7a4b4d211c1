//! A program that is its own daemon, with a trigger rule of its own: `up` fires by it, and `schedules next NAME` knows when. Schedules with
//! such a trigger are registered by the library (`Trigger::Custom`).
//!
//! `cargo run -p taskwright-server --example own_trigger -- up`

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use taskwright_core::trigger::{TriggerRule, TriggerState};
use taskwright_core::{Error, Timestamp};
use taskwright_server::App;

/// After a while, twice that, four times that and so on, counted from the registration.
struct Doubling {
    first: Duration,
}

impl TriggerRule for Doubling {
    fn next(&self, state: &TriggerState, _now: Timestamp) -> Result<Option<Timestamp>, Error> {
        Ok(Some(match state.last_due {
            None => state.registered_at.plus(self.first),
            Some(last) => last.plus(last.since(state.registered_at)),
        }))
    }
}

fn main() -> ExitCode {
    // What a trigger says is milliseconds: {"name": "doubling", "spec": 500}.
    let doubling = |spec: &serde_json::Value| {
        let millis = spec.as_u64().filter(|millis| *millis > 0);
        let millis = millis.ok_or_else(|| {
            Error::invalid(
                "the spec of a doubling trigger",
                format!("{spec} is no number of milliseconds above 0"),
                "say how long it waits first, in milliseconds: 500",
            )
        })?;
        Ok(Arc::new(Doubling { first: Duration::from_millis(millis) }) as Arc<dyn TriggerRule>)
    };
    match "doubling".parse() {
        Ok(name) => taskwright_server::main(App::new().with_trigger(name, doubling)),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
