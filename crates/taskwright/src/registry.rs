//! What a worker can run: the tasks by kind, and the state they share.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use taskwright_core::limit::SNOOZES_MAX;
use taskwright_core::{
    Args, Backoff, Delivery, Error, Kind, Limits, MaxAttempts, OnShutdown, Priority, QueueName, UniqueKey,
    Weight,
};

use crate::arguments;
use crate::child::ChildHandler;
use crate::context::Context;
use crate::handler::{FnHandler, Handler, TaskHandler};
use crate::middleware::{Middleware, wrapped};
use crate::task::{Task, TaskError};

/// The tasks that a worker can run, by kind, and the state that they share.
///
/// Nothing is registered behind the back of the program: what is not named here is not run, and its jobs wait.
///
/// # Example
///
/// ```
/// use taskwright::{Context, Registry, TaskError};
///
/// struct Greeting(&'static str);
///
/// let registry = Registry::new().state(Greeting("Hello")).handler("greet", |ctx: Context| async move {
///     let name: String = ctx.args()?;
///     let greeting = ctx.state::<Greeting>()?.0;
///     Ok::<_, TaskError>(format!("{greeting}, {name}"))
/// })?;
/// assert!(registry.handler("greet", |_| async { Ok(()) }).is_err(), "one kind has one handler");
/// # Ok::<(), taskwright::core::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Registry {
    entries: HashMap<Kind, Entry>,
    states: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
    /// What stands around every handler, the outermost first.
    around: Vec<Arc<dyn Middleware>>,
}

/// What is known about one kind.
#[derive(Clone)]
pub(crate) struct Entry {
    /// With what stands around it.
    pub(crate) handler: Arc<dyn Handler>,
    /// Without.
    bare: Arc<dyn Handler>,
    /// What the child process of an attempt calls.
    in_child: Option<Arc<dyn Handler>>,
    pub(crate) options: TaskOptions,
    /// What its type says, if it has one.
    pub(crate) form: Option<Form>,
}

/// What the type of a task says about its jobs, for those who enqueue them without the type: the command line, the API.
#[derive(Clone, Debug)]
pub struct Form {
    /// The queue of a job that says nothing.
    pub queue: QueueName,
    /// The priority of a job that says nothing.
    pub priority: Priority,
    /// How many executions a job gets that says nothing.
    pub max_attempts: MaxAttempts,
    /// What happens to a job whose worker is lost, if it says nothing.
    pub delivery: Delivery,
    unique: fn(&Args) -> Result<Option<UniqueKey>, Error>,
}

impl Form {
    fn of<T: Task>() -> Result<Self, Error> {
        Ok(Self {
            queue: T::QUEUE.parse()?,
            priority: T::PRIORITY,
            max_attempts: T::max_attempts(),
            delivery: T::DELIVERY,
            unique: |args| arguments::examine::<T>(args)?.unique(),
        })
    }

    /// The unique key of a job with these arguments, if the task has one.
    ///
    /// # Errors
    ///
    /// When the task could not run with them.
    pub fn unique(&self, args: &Args) -> Result<Option<UniqueKey>, Error> {
        (self.unique)(args)
    }
}

/// How the jobs of one kind are run, where they do not say so themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskOptions {
    /// How long one attempt may take; `None` is as long as it takes.
    pub timeout: Option<Duration>,
    /// How long a job waits after a failure.
    pub backoff: Backoff,
    /// How long a handler may go on after it was asked to stop. Default 30 s.
    pub cancel_grace: Duration,
    /// What the child processes of one attempt may use. Only for handlers that
    /// [run child processes](Handler::runs_child_processes): every other one shares the memory and the CPU time of the
    /// worker's process, where `timeout` is the only limit that can be kept. Default: nothing is limited.
    pub limits: Limits,
    /// What one job counts in the [budget](crate::worker::Builder::budget) of a worker. Default: nothing.
    pub weight: Weight,
    /// How often a job may be [snoozed](TaskError::snooze); the next time it fails. Default 1,000.
    pub snoozes_max: u32,
    /// What becomes of a job that a shutdown finds running, and that does not end within the grace; `None` leaves it to the
    /// [worker](crate::worker::Builder::on_shutdown).
    pub on_shutdown: Option<OnShutdown>,
}

impl TaskOptions {
    /// How long a handler may go on after it was asked to stop, unless its task says otherwise.
    pub const CANCEL_GRACE: Duration = Duration::from_secs(30);

    /// What a task says about itself.
    pub fn of<T: Task>() -> Self {
        Self {
            timeout: T::TIMEOUT,
            backoff: T::backoff(),
            cancel_grace: T::CANCEL_GRACE,
            limits: T::LIMITS,
            weight: T::WEIGHT,
            snoozes_max: T::SNOOZES_MAX,
            on_shutdown: T::ON_SHUTDOWN,
        }
    }
}

impl Default for TaskOptions {
    fn default() -> Self {
        Self {
            timeout: None,
            backoff: Backoff::default(),
            cancel_grace: Self::CANCEL_GRACE,
            limits: Limits::default(),
            weight: Weight::NONE,
            snoozes_max: SNOOZES_MAX,
            on_shutdown: None,
        }
    }
}

impl Registry {
    /// A registry that knows nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a task, under its kind and its [aliases](Task::ALIASES).
    ///
    /// # Errors
    ///
    /// When a kind or the queue is no valid name, a kind is registered already, or it has [limits](Task::LIMITS) and no process of its own.
    pub fn register<T: Task>(mut self) -> Result<Self, Error> {
        let form = Form::of::<T>()?;
        let of_task: Arc<dyn Handler> = Arc::new(TaskHandler::<T>::new());
        let (handler, in_child): (Arc<dyn Handler>, _) = match T::IN_CHILD {
            true => (Arc::new(ChildHandler { grace: T::CANCEL_GRACE }), Some(of_task)),
            false => (of_task, None),
        };
        for kind in [T::KIND].iter().chain(T::ALIASES) {
            let (options, form) = (TaskOptions::of::<T>(), Some(form.clone()));
            let kind = Kind::new(kind)?;
            self = self.insert(kind.clone(), options, Arc::clone(&handler), form)?;
            if let Some(entry) = self.entries.get_mut(&kind) {
                entry.in_child.clone_from(&in_child);
            }
        }
        Ok(self)
    }

    /// Adds a closure as the handler of a kind, with the default options.
    ///
    /// # Errors
    ///
    /// When the kind is no valid name, or is registered already.
    pub fn handler<F, R, O>(self, kind: &str, run: F) -> Result<Self, Error>
    where
        F: Fn(Context) -> R + Send + Sync + 'static,
        R: Future<Output = Result<O, TaskError>> + Send + 'static,
        O: Serialize + 'static,
    {
        self.handler_with(kind, TaskOptions::default(), run)
    }

    /// Adds a closure as the handler of a kind.
    ///
    /// # Errors
    ///
    /// When the kind is no valid name, or is registered already, or has [limits](TaskOptions::limits), which no closure can
    /// keep.
    pub fn handler_with<F, R, O>(self, kind: &str, options: TaskOptions, run: F) -> Result<Self, Error>
    where
        F: Fn(Context) -> R + Send + Sync + 'static,
        R: Future<Output = Result<O, TaskError>> + Send + 'static,
        O: Serialize + 'static,
    {
        self.add(Kind::new(kind)?, options, FnHandler(run))
    }

    /// Adds any handler.
    ///
    /// # Errors
    ///
    /// When the kind is registered already, or has limits that its handler cannot keep.
    pub fn add(self, kind: Kind, options: TaskOptions, handler: impl Handler) -> Result<Self, Error> {
        self.insert(kind, options, Arc::new(handler), None)
    }

    fn insert(
        mut self,
        kind: Kind,
        options: TaskOptions,
        bare: Arc<dyn Handler>,
        form: Option<Form>,
    ) -> Result<Self, Error> {
        if self.entries.contains_key(&kind) {
            return Err(Error::invalid(
                format!("the task {kind}"),
                "it is registered twice",
                "register each kind once, or give one of the two another name",
            ));
        }
        if !options.limits.is_none() && !bare.runs_child_processes() {
            return Err(Error::invalid(
                format!("the limits of the task {kind}"),
                "its handler runs in the worker's own process, which shares memory and CPU time with all others there",
                "limit it by `timeout`, or do the work in a child process, as tasks with `process` and those of the config file do",
            ));
        }
        let handler = wrapped(&self.around, &bare);
        self.entries.insert(kind, Entry { handler, bare, in_child: None, options, form });
        Ok(self)
    }

    /// Shares a value with every handler, which finds it by its type; a second value of a type replaces the first.
    #[must_use]
    pub fn state<S: Send + Sync + 'static>(mut self, state: S) -> Self {
        self.states.insert(TypeId::of::<S>(), Arc::new(state));
        self
    }

    /// Puts something around every handler, those that are added later included. What is put first is outermost.
    #[must_use]
    pub fn wrap(mut self, middleware: impl Middleware) -> Self {
        self.around.push(Arc::new(middleware));
        for entry in self.entries.values_mut() {
            entry.handler = wrapped(&self.around, &entry.bare);
        }
        self
    }

    /// Whether there is a handler for the kind.
    pub fn knows(&self, kind: &Kind) -> bool {
        self.entries.contains_key(kind)
    }

    /// Every kind there is a handler for, sorted.
    pub fn kinds(&self) -> Vec<Kind> {
        let mut kinds: Vec<Kind> = self.entries.keys().cloned().collect();
        kinds.sort();
        kinds
    }

    /// What the type of a kind's task says; `None` for handlers without one, and where there is none.
    pub fn form(&self, kind: &Kind) -> Option<&Form> {
        self.entry(kind)?.form.as_ref()
    }

    /// What a job of the kind counts in a worker's budget.
    pub(crate) fn weight(&self, kind: &Kind) -> Weight {
        self.entry(kind).map_or(Weight::NONE, |entry| entry.options.weight)
    }

    /// The same, with the tasks that have a process for each attempt as if they had none.
    pub(crate) fn in_one_process(mut self) -> Self {
        for entry in self.entries.values_mut() {
            if let Some(handler) = entry.in_child.take() {
                entry.handler = wrapped(&self.around, &handler);
                entry.bare = handler;
            }
        }
        self
    }

    /// What the child process of an attempt calls.
    pub(crate) fn in_child(&self, kind: &Kind) -> Option<Arc<dyn Handler>> {
        self.entry(kind)?.in_child.clone()
    }

    pub(crate) fn entry(&self, kind: &Kind) -> Option<&Entry> {
        self.entries.get(kind)
    }

    pub(crate) fn shared<S: 'static>(&self) -> Option<&S> {
        self.states.get(&TypeId::of::<S>())?.downcast_ref()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("kinds", &self.kinds()).field("states", &self.states.len()).finish()
    }
}
