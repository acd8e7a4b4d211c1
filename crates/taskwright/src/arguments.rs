//! From a task to the arguments that are stored, and back: with their version, where a task has one.

use std::time::Duration;

use serde_json::Value;
use taskwright_core::{Args, Error};

use crate::context::Context;
use crate::task::{Task, TaskError};

/// The field that says the version.
const VERSION_FIELD: &str = "$version";

/// How long a job waits for a program that knows the version of its arguments: 30 s. Deployments take minutes.
const NEWER_WAITS: Duration = Duration::from_secs(30);

/// The arguments as they are stored. A task that never had a second version has them as serde writes them.
pub(crate) fn write<T: Task>(task: &T) -> Result<Args, Error> {
    let refused = |why: String| {
        let fix = "let the arguments be a struct with named fields, none of them called `$version`";
        Error::invalid(format!("the arguments of {}", T::KIND), why, fix)
    };
    if T::VERSION <= 1 {
        let args = Args::of(task)?;
        if may_say_version(&args) && args.parse::<Value>()?.get(VERSION_FIELD).is_some() {
            return Err(refused("a field has the name under which a version is stored".to_owned()));
        }
        return Ok(args);
    }
    let value =
        serde_json::to_value(task).map_err(|error| refused(format!("they cannot be written: {error}")))?;
    let Value::Object(mut fields) = value else {
        return Err(refused("they have a version and no fields to put it beside".to_owned()));
    };
    if fields.insert(VERSION_FIELD.to_owned(), T::VERSION.into()).is_some() {
        return Err(refused("a field has the name under which the version is stored".to_owned()));
    }
    Args::of(&Value::Object(fields))
}

/// The task that an attempt is to run.
pub(crate) fn read<T: Task>(ctx: &Context) -> Result<T, TaskError> {
    if T::VERSION <= 1 && !may_say_version(ctx.raw_args()) {
        // The same bytes will not fit the next time either.
        return ctx.args().map_err(TaskError::permanent);
    }
    upgraded(ctx.raw_args(), |version| {
        ctx.log(format!(
            "the arguments are of version {version}, and this program knows versions up to {}: waiting for a newer one",
            T::VERSION
        ));
        TaskError::snooze(NEWER_WAITS)
    })
}

/// The task that these arguments are for, whoever looks at them before they are stored.
///
/// # Errors
///
/// When the task could not run with them.
pub(crate) fn examine<T: Task>(args: &Args) -> Result<T, Error> {
    if T::VERSION <= 1 && !may_say_version(args) {
        return args.parse();
    }
    upgraded(args, |version| {
        TaskError::permanent(format!(
            "they are of version {version}, and this program knows versions up to {}",
            T::VERSION
        ))
    })
    .map_err(|error| {
        let fix = "enqueue the job with arguments of the form that the task documents";
        Error::invalid(format!("the arguments of {}", T::KIND), error.message(), fix)
    })
}

/// Whether the arguments are worth a closer look for a version. Few have a dollar sign at all, and nothing is allocated to see that.
fn may_say_version(args: &Args) -> bool {
    args.as_bytes().contains(&b'$') && args.as_str().contains(VERSION_FIELD)
}

/// The task of arguments that may say their version; `newer` says what becomes of those of a version that is not known.
fn upgraded<T: Task>(args: &Args, newer: impl FnOnce(u32) -> TaskError) -> Result<T, TaskError> {
    let mut args: Value = args.parse().map_err(TaskError::permanent)?;
    let stored = args.as_object_mut().and_then(|fields| fields.remove(VERSION_FIELD));
    let version = match stored {
        None => 1,
        Some(stored) => match stored.as_u64().and_then(|version| u32::try_from(version).ok()) {
            Some(version) if version > 0 => version,
            _ => {
                let why = format!("the arguments say {stored} where their version stands");
                return Err(TaskError::permanent(why));
            }
        },
    };
    if version > T::VERSION {
        return Err(newer(version));
    }
    for from in version..T::VERSION {
        args = T::upgrade(from, args)?;
    }
    serde_json::from_value(args).map_err(|error| {
        let upgraded = match version < T::VERSION {
            true => format!(", upgraded from version {version} to {},", T::VERSION),
            false => String::new(),
        };
        TaskError::permanent(format!("the arguments{upgraded} do not fit the task: {error}"))
    })
}
