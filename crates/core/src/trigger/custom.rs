//! Rules that a program brings itself.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::{Trigger, TriggerRule, TriggerState};
use crate::error::Error;
use crate::name::RuleName;
use crate::time::Timestamp;

/// A trigger whose rule the program brings: the rule's name, and what it is told.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Custom {
    /// The name under which the program registered the rule.
    pub name: RuleName,
    /// What the rule is told, as the program understands it.
    #[serde(default)]
    pub spec: Value,
}

type Maker = Arc<dyn Fn(&Value) -> Result<Arc<dyn TriggerRule>, Error> + Send + Sync>;

/// The rules that a program brings, by name.
///
/// # Example
///
/// ```
/// use std::sync::Arc;
/// use taskwright_core::trigger::{CustomTriggers, TriggerRule, TriggerState};
/// use taskwright_core::{Error, Timestamp};
///
/// struct Never;
/// impl TriggerRule for Never {
///     fn next(&self, _: &TriggerState, _: Timestamp) -> Result<Option<Timestamp>, Error> {
///         Ok(None)
///     }
/// }
///
/// let mut rules = CustomTriggers::default();
/// rules.register("never".parse()?, |_spec| Ok(Arc::new(Never)));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Default)]
pub struct CustomTriggers {
    makers: BTreeMap<RuleName, Maker>,
}

impl CustomTriggers {
    /// Brings a rule: `make` reads a trigger's `spec` and refuses what it does not understand. A rule of the same name is
    /// replaced.
    pub fn register(
        &mut self,
        name: RuleName,
        make: impl Fn(&Value) -> Result<Arc<dyn TriggerRule>, Error> + Send + Sync + 'static,
    ) {
        self.makers.insert(name, Arc::new(make));
    }

    /// The rule of a trigger, built in or not: what [`next_n`](super::next_n) is asked with.
    ///
    /// # Errors
    ///
    /// When this program does not have it ([`is_unknown`](Error::is_unknown)), or its maker refuses the `spec`.
    pub fn rule<'a>(&self, trigger: &'a Trigger) -> Result<Rule<'a>, Error> {
        let Trigger::Custom(custom) = trigger else { return Ok(Rule(Inner::BuiltIn(trigger))) };
        let maker = self.makers.get(&custom.name).ok_or_else(|| unknown(custom))?;
        Ok(Rule(Inner::Custom(maker(&custom.spec)?)))
    }
}

impl fmt::Debug for CustomTriggers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.makers.keys()).finish()
    }
}

/// The rule of one trigger.
#[derive(Clone)]
pub struct Rule<'a>(Inner<'a>);

#[derive(Clone)]
enum Inner<'a> {
    BuiltIn(&'a Trigger),
    Custom(Arc<dyn TriggerRule>),
}

impl TriggerRule for Rule<'_> {
    fn next(&self, state: &TriggerState, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        match &self.0 {
            Inner::BuiltIn(trigger) => trigger.next(state, now),
            Inner::Custom(rule) => rule.next(state, now),
        }
    }
}

/// The built-in rules. An event trigger has no due time; a custom one has to be looked up with [`CustomTriggers::rule`].
impl TriggerRule for Trigger {
    fn next(&self, state: &TriggerState, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        match self {
            Self::Every(rule) => rule.next(state, now),
            Self::Cron(rule) => rule.next(state, now),
            Self::At(rule) => rule.next(state, now),
            Self::After(rule) => rule.next(state, now),
            Self::Daily(rule) => rule.next(state, now),
            Self::Monthly(rule) => rule.next(state, now),
            Self::Event(_) => Ok(None),
            Self::Custom(custom) => Err(unknown(custom)),
        }
    }
}

fn unknown(custom: &Custom) -> Error {
    Error::unknown(
        format!("the trigger rule {:?}", custom.name.as_str()),
        "this program does not have it",
        "run the program that registers it, or correct the name",
    )
}
