//! The type of bulk `count`: items with the numbers from 0 on.

use serde_json::Value;
use taskwright_core::bulk::fill;

use super::{BulkPoll, BulkType, Made, Prepared};
use crate::env::Env;
use crate::generator::{Item, PollError};

/// Makes `size` items of a kind, whose arguments are a template: `{"kind": .., "size": .., "args": .., "max_attempts": ..}`. In
/// the arguments `{index}` is the number of the item.
pub(super) struct Count;

/// What items are made of.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    kind: String,
    size: u64,
    #[serde(default)]
    args: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_attempts: Option<u32>,
}

impl BulkType for Count {
    fn name(&self) -> &str {
        "count"
    }

    async fn prepare(&self, params: Value, env: &Env) -> Result<Prepared, PollError> {
        let params: Params = serde_json::from_value(params)?;
        // What is wrong with one item is wrong with all.
        item(&params.kind, &params.args, params.max_attempts, &[("index", 0.into())])?.checked(env)?;
        Ok(Prepared { size: Some(params.size), params: serde_json::to_value(params)? })
    }

    async fn items(&self, poll: BulkPoll) -> Result<Made, PollError> {
        let Params { kind, size, args, max_attempts } = serde_json::from_value(poll.params)?;
        let end = size.min(poll.made + poll.room as u64);
        let items =
            (poll.made..end).map(|index| item(&kind, &args, max_attempts, &[("index", index.into())]));
        Ok(Made::new(items.collect::<Result<_, _>>()?, end == size))
    }
}

/// An item with the arguments that a template gives.
pub(super) fn item(
    kind: &str,
    args: &Value,
    max_attempts: Option<u32>,
    words: &[(&str, Value)],
) -> Result<Item, taskwright_core::Error> {
    let item = Item::new(kind).args(&fill(args, words))?;
    match max_attempts {
        Some(most) => Ok(item.max_attempts(taskwright_core::MaxAttempts::limited(most)?)),
        None => Ok(item),
    }
}
