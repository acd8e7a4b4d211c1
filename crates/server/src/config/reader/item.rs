//! Values that may be one or several, and values of any form.

use std::ops::Range;

use serde_json::Value;
use toml::Spanned;
use toml::de::DeValue;

use super::{Section, whole};
use crate::error::Error;

/// One value behind a key that may have several.
pub(in crate::config) struct Item<'s, 'd> {
    section: &'s Section<'d>,
    key: &'static str,
    value: &'d Spanned<DeValue<'d>>,
}

impl<'d> Section<'d> {
    /// The values behind a key: the one, or those of a list; none when the key is not there.
    pub(in crate::config) fn one_or_more(&self, key: &'static str) -> Vec<Item<'_, 'd>> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let item = |value| Item { section: self, key, value };
        match value.get_ref().as_array() {
            Some(values) => values.iter().map(item).collect(),
            None => vec![item(value)],
        }
    }

    /// Whether something holds: `true` or `false`.
    pub(in crate::config) fn boolean(&self, key: &'static str) -> Option<bool> {
        let value = self.get(key)?;
        value.get_ref().as_bool().or_else(|| self.expected(key, value, "true or false"))
    }

    /// JSON: any value, or a text that holds JSON.
    pub(in crate::config) fn json(&self, key: &'static str) -> Option<String> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::String(text) => self.accept(key, value.span(), text, |text| {
                let json = taskwright_core::Args::from_json(text).map_err(|error| {
                    Error::from(error).with_fix("write a table like { day = \"{due}\" }, or JSON in quotes")
                })?;
                Ok(json.as_str().to_owned())
            }),
            other => Some(json_of(other).to_string()),
        }
    }

    /// A moment or a text, read further by a rule of the domain.
    pub(in crate::config) fn moment<T>(
        &self,
        key: &'static str,
        form: &str,
        parse: impl Fn(&str) -> Result<T, taskwright_core::Error>,
    ) -> Option<T> {
        let value = self.get(key)?;
        Item { section: self, key, value }.read(form, parse)
    }
}

impl<'d> Item<'_, 'd> {
    /// A table of its own.
    pub(in crate::config) fn table(&self) -> Option<Section<'d>> {
        self.value.get_ref().as_table()?;
        let path = match self.section.path.as_str() {
            "" => self.key.to_owned(),
            path => format!("{path}.{}", self.key),
        };
        self.section.open(path, self.value.span(), self.value)
    }

    /// A text, a whole number or a date, read further by a rule of the domain. Where that names a column, it is the place
    /// that is told.
    pub(in crate::config) fn read<T>(
        &self,
        form: &str,
        parse: impl Fn(&str) -> Result<T, taskwright_core::Error>,
    ) -> Option<T> {
        let text = match self.value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(_) => whole(self.value)?.to_string(),
            DeValue::Datetime(date) => date.to_string(),
            _ => return self.section.expected(self.key, self.value, form),
        };
        let error = match parse(&text) {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        let place = error.column().and_then(|column| self.place_of(&text, column));
        self.section.refuse(self.key, place.unwrap_or_else(|| self.value.span()), &text, &error.into());
        None
    }

    /// Where in the file a column of the text is: nowhere, when the text is not written there as it is.
    fn place_of(&self, text: &str, column: usize) -> Option<Range<usize>> {
        let span = self.value.span();
        let written = self.section.document.text.get(span.start + 1..span.end.checked_sub(1)?)?;
        if written != text {
            return None;
        }
        let at = column - 1;
        let rest = text.get(at..)?;
        let word = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
        let start = span.start + 1 + at;
        Some(start..start + word.max(1))
    }
}

/// A value of the file as JSON; a date as its text.
pub(in crate::config) fn json_of(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_or(Value::Null, Value::from)
        }
        DeValue::Float(number) => number.as_str().parse::<f64>().map_or(Value::Null, Value::from),
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Datetime(date) => Value::String(date.to_string()),
        DeValue::Array(values) => values.iter().map(|value| json_of(value.get_ref())).collect(),
        DeValue::Table(table) => {
            table.iter().map(|(key, value)| (key.get_ref().to_string(), json_of(value.get_ref()))).collect()
        }
    }
}
