//! Services: loops that live as long as their owner wants, in this process, with a life cycle that can be seen.
//!
//! A [job](crate::Job) is work that ends, is stored, and runs wherever there is a worker. A service is the opposite: a watchdog, a
//! sampler, a listener; nothing of it is stored but [how it is](Services::shown_in), and it goes with its process.
//!
//! A program writes a [`Service`], or a closure, and adds it to its [`Services`]. Each gets a [`Container`], which starts and stops
//! it, starts it again after a failure ([`Restart`]), and says how it is ([`Status`]). A failure is [reported](crate::report) when it
//! happens, and kept as the service's last error.
//!
//! ```text
//!            start               go              stop               end
//!   idle ──────────> starting ────────> running ──────> stopping ────────> stopped
//!    ^                │    │             │    │                               │
//!    └── declines ────┘    └──> failed <─┘    └──> finished                   └──> start again
//! ```
//!
//! The whole table is [`taskwright_core::service::MOVES`].
//!
//! A service runs as a task on the tokio runtime of who starts it: one that blocks its thread cannot be dropped when it does not
//! stop. Start services after the program has forked or become a daemon.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use taskwright::report::{LogReporter, Reports};
//! use taskwright::service::{Service, ServiceContext, ServiceError, Services};
//! use taskwright::Env;
//!
//! struct Poller;
//! impl Service for Poller {
//!     async fn run(&self, ctx: ServiceContext) -> Result<(), ServiceError> {
//!         // Sleeps until then, or until it is told to stop.
//!         while ctx.sleep(Duration::from_secs(60)).await {
//!             println!("looking");
//!         }
//!         Ok(())
//!     }
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let env = Env::system();
//! let services = Services::new(&env, Reports::new(&env).to(LogReporter)).add("poller", Poller)?;
//! services.start().await;
//! // ...
//! services.stop().await;
//! # Ok::<(), taskwright::Error>(()) })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | file | the part it plays |
//! |---|---|
//! | `container.rs` | one service with its life cycle |
//! | `keeper.rs` | the task that sees a service through its life |
//! | `context.rs` | what a service is given while it runs |
//! | `status.rs` | how a service is |
//! | `services.rs` | the services of a process |
//! | `teller.rs` | shows them in a store |
//! | `memory.rs`, `sampler.rs`, `health.rs` | services that are ready to use |

mod container;
mod context;
mod health;
mod keeper;
mod memory;
mod sampler;
mod services;
mod status;
mod teller;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

pub use taskwright_core::service::{Restart, ServiceState};

pub use self::container::{Container, Stopped};
pub use self::context::ServiceContext;
pub use self::health::{Health, HealthSampler};
pub use self::memory::MemoryWatchdog;
pub use self::sampler::{MetricsSampler, Sample};
pub use self::services::Services;
pub use self::status::{LastError, Status};

/// What a service can return: any error.
pub type ServiceError = Box<dyn std::error::Error + Send + Sync>;

/// A long-lived loop. See the [module](self).
///
/// It is also what a closure is that takes a [`ServiceContext`] and gives a future.
pub trait Service: Send + Sync + 'static {
    /// Called before each run: the place to open what the run needs, or to decline. Starts unless it is written. One that does not end
    /// [in time](ServiceOptions::start_within) is dropped at its next await, and has failed.
    fn start(&self) -> impl Future<Output = Result<Start, ServiceError>> + Send {
        std::future::ready(Ok(Start::Go))
    }

    /// Runs until there is nothing more to do, or [the context](ServiceContext::stopped) says stop.
    fn run(&self, ctx: ServiceContext) -> impl Future<Output = Result<(), ServiceError>> + Send;

    /// Called when the service is told to stop, while it may still run: the place to tell whoever does not listen to the context.
    /// Does nothing unless it is written.
    fn stop(&self) -> impl Future<Output = Result<(), ServiceError>> + Send {
        std::future::ready(Ok(()))
    }
}

impl<F, R> Service for F
where
    F: Fn(ServiceContext) -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), ServiceError>> + Send,
{
    fn run(&self, ctx: ServiceContext) -> impl Future<Output = Result<(), ServiceError>> + Send {
        self(ctx)
    }
}

/// A service that several containers can have, one after the other.
pub(crate) struct Shared<S>(Arc<S>);

impl<S> Shared<S> {
    pub(crate) fn new(service: S) -> Self {
        Self(Arc::new(service))
    }
}

impl<S> Clone for Shared<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Service> Service for Shared<S> {
    fn start(&self) -> impl Future<Output = Result<Start, ServiceError>> + Send {
        self.0.start()
    }

    fn run(&self, ctx: ServiceContext) -> impl Future<Output = Result<(), ServiceError>> + Send {
        self.0.run(ctx)
    }

    fn stop(&self) -> impl Future<Output = Result<(), ServiceError>> + Send {
        self.0.stop()
    }
}

/// What a service says when it is to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// It is ready to run.
    Go,
    /// There is nothing for it to do here: it stays idle, which is no error.
    Decline,
}

/// How a service is treated. The default: started again when it fails, given 30 s to start and 10 s to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceOptions {
    pub(crate) restart: Restart,
    pub(crate) start_within: Duration,
    pub(crate) stop_within: Duration,
    pub(crate) synchronous: bool,
}

impl ServiceOptions {
    /// How long a service may take to start unless somebody says otherwise: 30 s.
    pub const START_WITHIN: Duration = Duration::from_secs(30);
    /// How long a service may take to stop unless somebody says otherwise: 10 s.
    pub const STOP_WITHIN: Duration = Duration::from_secs(10);

    /// The default.
    pub fn new() -> Self {
        let (start_within, stop_within) = (Self::START_WITHIN, Self::STOP_WITHIN);
        Self { restart: Restart::default(), start_within, stop_within, synchronous: false }
    }

    /// Whether it is started again when it has ended by itself.
    #[must_use]
    pub fn restart(mut self, policy: Restart) -> Self {
        self.restart = policy;
        self
    }

    /// How long its [start](Service::start) may take, each time, before it is dropped at its next await and counts as failed. Who
    /// starts several waits for no longer, either.
    #[must_use]
    pub fn start_within(mut self, limit: Duration) -> Self {
        self.start_within = limit;
        self
    }

    /// How long it may take to stop, before it is dropped at its next await.
    #[must_use]
    pub fn stop_within(mut self, limit: Duration) -> Self {
        self.stop_within = limit;
        self
    }

    /// Lets [`Container::start`] wait until it has ended: for what is to be done before anything else runs. Others can stop it
    /// meanwhile.
    #[must_use]
    pub fn synchronous(mut self) -> Self {
        self.synchronous = true;
        self
    }
}

impl Default for ServiceOptions {
    fn default() -> Self {
        Self::new()
    }
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = Result<T, ServiceError>> + Send + 'a>>;

/// A [`Service`] of whatever type.
trait AnyService: Send + Sync {
    fn start(&self) -> Boxed<'_, Start>;
    fn run(&self, ctx: ServiceContext) -> Boxed<'_, ()>;
    fn stop(&self) -> Boxed<'_, ()>;
}

/// Makes a service one of whatever type.
struct Erased<S>(S);

impl<S: Service> AnyService for Erased<S> {
    fn start(&self) -> Boxed<'_, Start> {
        Box::pin(self.0.start())
    }

    fn run(&self, ctx: ServiceContext) -> Boxed<'_, ()> {
        Box::pin(self.0.run(ctx))
    }

    fn stop(&self) -> Boxed<'_, ()> {
        Box::pin(self.0.stop())
    }
}
