//! Services of processes, as a store shows them: written by who has them, for people to see elsewhere.
//!
//! Nothing depends on these rows. A process [tells](ServiceStore::tell_services) of its services when something changes and now and
//! then; one that is not [heard of](taskwright_core::service::is_heard) any more has died, or cannot reach the store.

use std::collections::HashSet;

use taskwright_core::limit::{SERVICE_ERROR_BYTES_MAX, SERVICES_MAX, TEXT_BYTES_MAX};
use taskwright_core::name::clipped;
use taskwright_core::service::is_heard;
use taskwright_core::{Error as Refused, ProcessId, ServiceName, ServiceState, Timestamp};

use crate::Reply;
use crate::error::Error;

/// What a store does to show services. Part of [`Store`](crate::Store).
///
/// # Errors
///
/// As for every call of a [`Store`](crate::Store).
pub trait ServiceStore: Send + Sync + 'static {
    /// Keeps how the services of a process are, in place of what was kept of it before; and forgets up to 100 services of other
    /// processes that were not heard of for [a day](taskwright_core::limit::SERVICE_KEPT).
    ///
    /// At most [`SERVICES_MAX`], each of another name.
    fn tell_services(
        &self,
        now: Timestamp,
        process: ProcessPlace,
        services: Vec<ServiceRecord>,
    ) -> Reply<'_, ()>;

    /// Forgets the services of a process that ends in good order.
    fn forget_services(&self, process: ProcessId) -> Reply<'_, ()>;

    /// The services of all processes that were heard of within [a day](taskwright_core::limit::SERVICE_KEPT), the
    /// [1,000](taskwright_core::limit::SERVICES_LISTED_MAX) that were last, by name, host and process.
    fn services(&self, now: Timestamp) -> Reply<'_, Vec<ServiceView>>;
}

/// A run of a program that has services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessPlace {
    /// This run.
    pub id: ProcessId,
    /// The machine's name, for people.
    pub host: String,
    /// The process.
    pub pid: u32,
}

/// How a service is, as its process says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRecord {
    /// Its name.
    pub name: ServiceName,
    /// Where it is in its life.
    pub state: ServiceState,
    /// Since when.
    pub since: Timestamp,
    /// How often it was started again by its policy.
    pub restarts: u64,
    /// When it is started again, while it waits for that.
    pub restart_at: Option<Timestamp>,
    /// What went wrong last.
    pub error: Option<String>,
    /// When.
    pub error_at: Option<Timestamp>,
}

/// A service as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Service"))]
pub struct ServiceView {
    /// Its name.
    pub name: ServiceName,
    /// Where it is in its life, as its process said last.
    pub state: ServiceState,
    /// Since when.
    pub since: Timestamp,
    /// How often it was started again by its policy.
    pub restarts: u64,
    /// When it is started again, while it waits for that.
    pub restart_at: Option<Timestamp>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// When.
    pub last_error_at: Option<Timestamp>,
    /// The run of the program that it is part of.
    pub process: ProcessId,
    /// The machine.
    pub host: String,
    /// The process there.
    pub pid: u32,
    /// When that was heard of last.
    pub seen_at: Timestamp,
    /// Whether that is not too long ago. If it is, the process has died, or cannot reach the store.
    pub heard: bool,
}

impl ServiceView {
    pub(crate) fn of(
        now: Timestamp,
        process: &ProcessPlace,
        seen_at: Timestamp,
        record: ServiceRecord,
    ) -> Self {
        let ServiceRecord { name, state, since, restarts, restart_at, error, error_at } = record;
        Self {
            name,
            state,
            since,
            restarts,
            restart_at,
            last_error: error,
            last_error_at: error_at,
            process: process.id,
            host: process.host.clone(),
            pid: process.pid,
            seen_at,
            heard: is_heard(seen_at, now),
        }
    }
}

/// Puts what a store found into the order of a listing.
pub(crate) fn arranged(mut services: Vec<ServiceView>) -> Vec<ServiceView> {
    let place = |one: &ServiceView| (one.name.clone(), one.host.clone(), one.pid, one.process);
    services.sort_by_cached_key(place);
    services
}

/// Refuses what no process has, and cuts texts to what is kept.
pub(crate) fn checked(
    process: ProcessPlace,
    services: Vec<ServiceRecord>,
) -> Result<(ProcessPlace, Vec<ServiceRecord>), Error> {
    let mut names = HashSet::new();
    if services.len() > SERVICES_MAX || !services.iter().all(|service| names.insert(&service.name)) {
        return Err(Refused::too_large(
            format!("{} services of a process", services.len()),
            format!("there are at most {SERVICES_MAX}, each of another name"),
            "let one service do the work of several",
        )
        .into());
    }
    // PostgreSQL has no text with NUL.
    let kept = |text: &str, most| clipped(&text.replace('\0', "\u{fffd}"), most);
    let process = ProcessPlace { host: kept(&process.host, TEXT_BYTES_MAX), ..process };
    let services = services.into_iter().map(|service| ServiceRecord {
        error: service.error.as_deref().map(|error| kept(error, SERVICE_ERROR_BYTES_MAX)),
        ..service
    });
    let services = services.collect();
    Ok((process, services))
}
