//! What `up` and `worker` do: put the store, the duties, the supervisor and the worker together, and listen to signals.

mod handover;
mod lock;
mod log;
mod principals;
mod reload;
mod schedules;
mod serve;
mod services;
mod signals;
mod up;
mod watchdog;
mod webhooks;
mod worker;

pub(crate) use self::log::start as start_log;
pub(crate) use self::serve::serve;
pub(crate) use self::up::up;
pub(crate) use self::worker::worker;

use std::sync::Arc;
use std::time::Duration;

use taskwright::store::SharedStore;
use taskwright::webhook::WebhookFamily;
use taskwright::{Duties, DutyConfig, Env};

use crate::cli::Context;
use crate::config::Config;
use crate::courier::HttpCourier;
use crate::error::Error;

/// Jobs that one worker process runs at once, unless somebody says otherwise.
pub(crate) const CONCURRENCY_DEFAULT: u32 = 8;

/// How long a shutdown waits for what runs, unless somebody says otherwise.
pub(crate) const GRACE_DEFAULT: Duration = Duration::from_secs(25);

/// How long the end may take to let another node do the duties: the 2 s in which what was asked of generators may still be
/// answered, and some for writing so.
const RESIGN_TIME: Duration = Duration::from_secs(4);

/// What the duties of this process are, with or without delivering to webhooks.
fn duties(
    context: &Context,
    config: &Config,
    store: &SharedStore,
    delivers: bool,
) -> Result<DutyConfig, Error> {
    let sources = crate::source::sources(config, &context.store_url)?;
    let generators = crate::generator::generators(config, store, &context.env)?;
    let generators = context.app.add_generators(generators, store, &context.env)?;
    let mut generators = generators.with_bulks(context.app.bulks())?;
    if delivers {
        let webhooks = WebhookFamily::new(Arc::clone(store), context.env.clone(), HttpCourier::new()?);
        generators = generators.with_family(webhooks)?;
    }
    Ok(DutyConfig {
        retention: config.retention,
        triggers: Arc::new(context.app.triggers().clone()),
        sources,
        generators,
        ..DutyConfig::default()
    })
}

/// Is ready once another process has taken over; never where none can.
async fn taken(offer: Option<&handover::Offer>) {
    match offer {
        Some(offer) => offer.taken().await,
        None => std::future::pending().await,
    }
}

/// Ends the duties, so that another node can do them at once.
async fn end(duties: Duties, env: &Env) {
    if env.timeout(RESIGN_TIME, duties.stop()).await.is_none() {
        tracing::debug!("another node does the duties when the lease of this one has run out");
    }
}
