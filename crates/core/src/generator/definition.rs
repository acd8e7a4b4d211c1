//! What a program says about a generator.

use std::time::Duration;

use crate::error::Error;
use crate::limit::{GENERATOR_ERRORS_MAX, GENERATOR_WINDOW_MAX, IDLE_MAX};
use crate::name::{GeneratorName, Namespace};
use crate::priority::Priority;
use crate::trigger::TopicPattern;

/// What a program says about a generator: how much of it may be outstanding, and how often it is asked.
///
/// # Example
///
/// ```
/// use taskwright_core::generator::Definition;
///
/// let definition = Definition::new("webhooks".parse()?).checked()?;
/// assert_eq!(definition.window, 100);
/// assert!(Definition { window: 0, ..definition }.checked().is_err());
/// # Ok::<(), taskwright_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Definition {
    /// The tenant that its items belong to.
    pub namespace: Namespace,
    /// Its name.
    pub name: GeneratorName,
    /// The best priority that its items may have.
    pub best: Priority,
    /// The worst priority that its items may have, and that of items that say nothing.
    pub worst: Priority,
    /// How many items may be outstanding. Default 100; 1 to 10,000.
    pub window: u32,
    /// How long it is left alone after it had nothing, the first time. Default 1 s; 100 ms or more.
    pub idle_min: Duration,
    /// How long it is left alone at most when it has nothing time after time, which doubles the time. Default 5 min; at most a
    /// day.
    pub idle_max: Duration,
    /// After how many errors in a row it is paused. Default 10; 1 to 1,000.
    pub errors_max: u32,
    /// What it makes its items of, in words for people. Whoever changes it has it asked at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// Events of these topics notify it; at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<TopicPattern>,
}

/// The shortest time that a generator is left alone for after it had nothing: 100 ms.
const IDLE_MIN: Duration = Duration::from_millis(100);

/// The most topics that notify one generator.
const TOPICS_MAX: usize = 16;

impl Definition {
    /// A generator with every default.
    pub fn new(name: GeneratorName) -> Self {
        Self {
            namespace: Namespace::default(),
            name,
            best: Priority::BULK,
            worst: Priority::BULK,
            window: 100,
            idle_min: Duration::from_secs(1),
            idle_max: Duration::from_secs(300),
            errors_max: 10,
            about: None,
            topics: Vec::new(),
        }
    }

    /// The same, if it makes sense.
    ///
    /// # Errors
    ///
    /// When a value is out of its range.
    pub fn checked(self) -> Result<Self, Error> {
        let wrong = |what: &str, why: String, fix: &str| {
            Err(Error::invalid(format!("the {what} of the generator {}", self.name), why, fix))
        };
        if self.window == 0 || self.window > GENERATOR_WINDOW_MAX {
            let why = format!("it is {}, and 1 to {GENERATOR_WINDOW_MAX} is allowed", self.window);
            return wrong("window", why, "say how many items may be made and not over at a time");
        }
        if self.best > self.worst {
            let why = format!("the best, {}, is worse than the worst, {}", self.best, self.worst);
            return wrong("priorities", why, "lower numbers are better: give the lower one as the best");
        }
        if self.idle_min < IDLE_MIN || self.idle_min > self.idle_max || self.idle_max > IDLE_MAX {
            let why = format!("{:?} to {:?} is not within 100ms and 1 day", self.idle_min, self.idle_max);
            return wrong("idle back-off", why, "give the shortest time first, of 100 ms or more");
        }
        if self.errors_max == 0 || self.errors_max > GENERATOR_ERRORS_MAX {
            let why = format!("it is {}, and 1 to {GENERATOR_ERRORS_MAX} is allowed", self.errors_max);
            return wrong("limit on errors", why, "say after how many errors in a row it is to be paused");
        }
        if self.topics.len() > TOPICS_MAX {
            let why = format!("there are {}, {TOPICS_MAX} are allowed", self.topics.len());
            return wrong("topics", why, "use a pattern like \"order.*\" for several of them");
        }
        Ok(self)
    }

    /// Checks the priority of one of its items.
    ///
    /// # Errors
    ///
    /// When the priority does not lie within the range of the generator.
    pub fn check_priority(&self, priority: Priority) -> Result<(), Error> {
        if (self.best..=self.worst).contains(&priority) {
            return Ok(());
        }
        Err(Error::invalid(
            format!("the priority {priority} of an item"),
            format!("the generator {} has said {} to {}", self.name, self.best, self.worst),
            "give the item a priority in that range, or widen the range of the generator",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_refused_with_the_name_of_the_generator() {
        let good = Definition::new("feed".parse().unwrap());
        let ms = Duration::from_millis;
        for bad in [
            Definition { window: 0, ..good.clone() },
            Definition { window: 10_001, ..good.clone() },
            Definition { best: Priority::IDLE, ..good.clone() },
            Definition { idle_min: ms(99), ..good.clone() },
            Definition { idle_min: ms(2_000), idle_max: ms(1_999), ..good.clone() },
            Definition { idle_max: ms(86_400_001), ..good.clone() },
            Definition { errors_max: 0, ..good.clone() },
        ] {
            let error = bad.clone().checked().unwrap_err();
            assert!(error.is_invalid() && error.what().contains("feed"), "{bad:?}: {error}");
        }
        assert_eq!(good.clone().checked(), Ok(good));
    }

    #[test]
    fn an_item_outside_the_range_of_priorities_is_refused() {
        let range = Definition { best: Priority::HIGH, ..Definition::new("feed".parse().unwrap()) };
        for priority in [Priority::HIGH, Priority::DEFAULT, Priority::BULK] {
            range.check_priority(priority).unwrap();
        }
        for priority in [Priority::REALTIME, Priority(3_001)] {
            assert!(range.check_priority(priority).unwrap_err().why().contains("high to bulk"));
        }
    }
}
