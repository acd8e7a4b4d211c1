//! Reads TOML by hand, so that each mistake is told with its place and reading goes on behind it.
//!
//! [`Document`] owns the mistakes; a [`Section`] hands out the values of one table and remembers which keys it was
//! asked for: what is left over at [`finish`](Section::finish) is not known.

mod item;

use std::cell::RefCell;
use std::ops::Range;
use std::time::Duration;

use taskwright_core::Garbage;
use taskwright_core::size::parse_size;
use taskwright_core::time::{parse_duration, parse_time_limit};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use self::item::json_of;
use crate::error::{Error, Place, Report, nearest};

/// The least memory that anything can be limited to.
const MEMORY_MIN: u64 = 1 << 20;
/// The most CPUs, in thousandths: 10,000 of them.
const CPU_MILLI_MAX: f64 = 1e7;

const DURATION_FORM: &str = "a duration like \"30s\", or a number of seconds";

/// One file: its text, its tree, and what is wrong with it.
pub(super) struct Document<'i> {
    name: &'i str,
    text: &'i str,
    tree: Option<Spanned<DeTable<'i>>>,
    reports: RefCell<Vec<Report>>,
}

/// One table of the file.
pub(super) struct Section<'d> {
    document: &'d Document<'d>,
    path: String,
    span: Range<usize>,
    table: &'d DeTable<'d>,
    known: RefCell<Vec<&'static str>>,
    /// Known keys that this version cannot serve; they are told when they are there, and never suggested.
    refused: RefCell<Vec<&'static str>>,
}

impl<'i> Document<'i> {
    /// Takes the text of a file apart.
    pub(super) fn new(name: &'i str, text: &'i str) -> Self {
        let (tree, errors) = DeTable::parse_recoverable(text);
        let tree = errors.is_empty().then_some(tree);
        let document = Self { name, text, tree, reports: RefCell::default() };
        // One slip derails the parser for a few lines: what it says after that is noise.
        for error in errors.iter().take(1) {
            let span = error.span().unwrap_or(0..0);
            document.tell(
                span,
                "this is not TOML".to_owned(),
                error.message().replace('\n', "; "),
                "see https://toml.io for the form of such files",
            );
        }
        document
    }

    /// The outermost table; `None` when the text is no TOML.
    pub(super) fn root(&'i self) -> Option<Section<'i>> {
        let tree = self.tree.as_ref()?;
        Some(Section {
            document: self,
            path: String::new(),
            span: tree.span(),
            table: tree.get_ref(),
            known: RefCell::default(),
            refused: RefCell::default(),
        })
    }

    /// What is wrong, in the order of the file.
    pub(super) fn into_reports(self) -> Vec<Report> {
        let mut reports = self.reports.into_inner();
        reports.sort_by_key(|report| report.place.as_ref().map(|place| (place.line, place.column)));
        reports
    }

    fn tell(&self, span: Range<usize>, what: String, why: impl Into<String>, fix: impl Into<String>) {
        let report = Report { place: Some(self.place(span)), ..Report::new(what, why, fix) };
        self.reports.borrow_mut().push(report);
    }

    fn place(&self, span: Range<usize>) -> Place {
        const TEXT_CHARS_MAX: usize = 200;
        let start = self.text.floor_char_boundary(span.start.min(self.text.len()));
        let before = &self.text[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let whole_line = self.text[line_start..].lines().next().unwrap_or_default();
        let column = before[line_start..].chars().count() + 1;
        let left = whole_line.chars().count().saturating_sub(column - 1).max(1);
        let end = self.text.floor_char_boundary(span.end.min(self.text.len())).max(start);
        let shown = crate::text::without_secrets(whole_line);
        // What was taken out need not be pointed at.
        let hidden = whole_line.chars().count().saturating_sub(shown.chars().count());
        let left = left.saturating_sub(hidden).max(1);
        Place {
            file: self.name.to_owned(),
            line: before.matches('\n').count() + 1,
            column,
            width: self.text[start..end].chars().count().clamp(1, left),
            offset: 0,
            text: shown.replace('\t', " ").chars().take(TEXT_CHARS_MAX).collect(),
        }
    }
}

impl<'d> Section<'d> {
    /// Where the section's own name stands.
    pub(super) fn tell_here(&self, what: String, why: &str, fix: &str) {
        self.document.tell(self.span.clone(), what, why, fix);
    }

    /// Where a key stands, or the section's own name if it is not there.
    pub(super) fn tell_at(&self, key: &str, what: String, why: &str, fix: &str) {
        let span = self.entry(key).map_or(self.span.clone(), |(name, _)| name.span());
        self.document.tell(span, what, why, fix);
    }

    /// A table of anything, as JSON.
    pub(super) fn table_as_json(
        &self,
        key: &'static str,
    ) -> Option<serde_json::Map<String, serde_json::Value>> {
        let value = self.get(key)?;
        match json_of(value.get_ref()) {
            serde_json::Value::Object(fields) => Some(fields),
            _ => self.expected(key, value, "a table"),
        }
    }

    /// Whether the key is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    /// A text that is read further; `form` says what it must look like.
    pub(super) fn parsed<T>(
        &self,
        key: &'static str,
        form: &str,
        parse: impl Fn(&str) -> Result<T, Error>,
    ) -> Option<T> {
        let value = self.get(key)?;
        let text = value.get_ref().as_str().or_else(|| self.expected(key, value, form))?;
        self.accept(key, value.span(), text, parse)
    }

    /// A text or a whole number, read as text.
    pub(super) fn parsed_or_number<T>(
        &self,
        key: &'static str,
        form: &str,
        parse: impl Fn(&str) -> Result<T, Error>,
    ) -> Option<T> {
        let value = self.get(key)?;
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(_) => whole(value)?.to_string(),
            _ => return self.expected(key, value, form),
        };
        self.accept(key, value.span(), &text, parse)
    }

    /// A duration: text like `"30s"`, or whole seconds.
    pub(super) fn duration(&self, key: &'static str) -> Option<Duration> {
        self.parsed_or_number(key, DURATION_FORM, |text| Ok(parse_duration(text)?))
    }

    /// How long something may take: a duration above 0.
    pub(super) fn time_limit(&self, key: &'static str) -> Option<Duration> {
        self.parsed_or_number(key, DURATION_FORM, |text| Ok(parse_time_limit(text)?))
    }

    /// A duration between two bounds, both included.
    pub(super) fn span(&self, key: &'static str, least: Duration, most: Duration) -> Option<Duration> {
        self.parsed_or_number(key, DURATION_FORM, |text| {
            let span = parse_duration(text)?;
            if (least..=most).contains(&span) {
                return Ok(span);
            }
            let (least, most) = (crate::text::duration(least), crate::text::duration(most));
            Err(Error::usage(
                key,
                format!("it must be from {least} to {most}"),
                "choose one within these bounds",
            ))
        })
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, key: &'static str) -> Option<bool> {
        let value = self.get(key)?;
        value.get_ref().as_bool().or_else(|| self.expected(key, value, "true or false"))
    }

    /// A text, or a list of texts, each read further.
    pub(super) fn text_or_list<T>(
        &self,
        key: &'static str,
        form: &str,
        parse: impl Fn(&str) -> Result<T, Error>,
    ) -> Option<Vec<T>> {
        let is_text = self.entry(key).is_some_and(|(_, value)| value.get_ref().as_str().is_some());
        if is_text { self.parsed(key, form, parse).map(|one| vec![one]) } else { self.list(key, form, parse) }
    }

    /// How long a sort of garbage is kept: a duration, or `"forever"`, which is `None`.
    pub(super) fn retention(&self, garbage: Garbage) -> Option<Option<Duration>> {
        self.parsed_or_number(garbage.as_str(), "a duration like \"7d\", or \"forever\"", |text| match text {
            "forever" => Ok(None),
            text => {
                let error =
                    |error| Error::from(error).with_fix("write it like \"12h\", \"7d\" or \"forever\"");
                let keep = parse_duration(text).map_err(error)?;
                garbage.check(Some(keep))?;
                Ok(Some(keep))
            }
        })
    }

    /// A whole number between two bounds, both included.
    pub(super) fn whole(&self, key: &'static str, least: u32, most: u32) -> Option<u32> {
        let value = self.get(key)?;
        let DeValue::Integer(_) = value.get_ref() else {
            return self.expected(key, value, &format!("a whole number from {least} to {most}"));
        };
        self.in_range(key, value, least, most)
    }

    /// An amount of memory.
    pub(super) fn memory(&self, key: &'static str) -> Option<u64> {
        self.parsed(key, "a size like \"512MiB\"", |text| {
            let bytes = parse_size(text)?;
            if bytes < MEMORY_MIN {
                return Err(Error::usage(
                    "the size",
                    "no program does with less than 1 MiB",
                    "give more, like 64MiB or 4GiB; a number without a unit is bytes",
                ));
            }
            Ok(bytes)
        })
    }

    /// A number of CPUs, also a fraction, in thousandths of one.
    pub(super) fn cpus(&self, key: &'static str) -> Option<u32> {
        const FORM: &str = "a number of CPUs from 0.001 to 10000, like 2 or 0.5";
        let value = self.get(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(_) => whole(value).map(|number| number.to_string()),
            DeValue::Float(number) => Some(number.as_str().replace('_', "")),
            _ => return self.expected(key, value, FORM),
        };
        let cpus = number.and_then(|number| number.parse::<f64>().ok());
        match cpus.map(|cpus| (cpus * 1_000.0).round()) {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is within these bounds"
            )]
            Some(milli) if (1.0..=CPU_MILLI_MAX).contains(&milli) => Some(milli as u32),
            _ => {
                let what = format!("{} is no such number", self.titled(key));
                self.document.tell(value.span(), what, format!("it must be {FORM}"), "choose another number");
                None
            }
        }
    }

    /// A list of whole numbers between two bounds.
    pub(super) fn wholes(&self, key: &'static str, least: u32, most: u32) -> Option<Vec<u32>> {
        let form = format!("a list of whole numbers from {least} to {most}");
        let items = self.items(key, &form)?;
        let numbers = items.iter().map(|item| match item.get_ref() {
            DeValue::Integer(_) => self.in_range(key, item, least, most),
            _ => self.expected(key, item, &form),
        });
        // Every item is looked at, so that every mistake is told.
        numbers.collect::<Vec<_>>().into_iter().collect()
    }

    /// A list of texts, each read further.
    pub(super) fn list<T>(
        &self,
        key: &'static str,
        form: &str,
        parse: impl Fn(&str) -> Result<T, Error>,
    ) -> Option<Vec<T>> {
        let items = self.items(key, form)?;
        let values = items.iter().map(|item| {
            let text = item.get_ref().as_str().or_else(|| self.expected(key, item, form))?;
            self.accept(key, item.span(), text, &parse)
        });
        values.collect::<Vec<_>>().into_iter().collect()
    }

    /// A table of texts, in the order of their keys, each name and each text read further.
    pub(super) fn texts(
        &self,
        key: &'static str,
        parse_name: impl Fn(&str) -> Result<String, Error>,
        parse_text: impl Fn(&str) -> Result<String, Error>,
    ) -> Option<Vec<(String, String)>> {
        let value = self.get(key)?;
        let Some(table) = value.get_ref().as_table() else {
            return self.expected(key, value, "a table of strings, for instance { LANG = \"C\" }");
        };
        let texts = table.iter().map(|(name, value)| {
            let text =
                value.get_ref().as_str().or_else(|| self.expected(key, value, "a table of strings"))?;
            let name = self.accept(key, name.span(), name.get_ref(), &parse_name);
            let text = self.accept(key, value.span(), text, &parse_text);
            name.zip(text)
        });
        texts.collect::<Vec<_>>().into_iter().collect()
    }

    /// A table inside this one.
    pub(super) fn section(&self, key: &'static str) -> Option<Self> {
        self.get(key)?;
        let (name, value) = self.entry(key)?;
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        self.open(path, name.span(), value)
    }

    /// The tables of a table of tables, each with its name.
    pub(super) fn named_sections(&self, key: &'static str) -> Vec<(&'d str, Self)> {
        let Some(outer) = self.section(key) else { return Vec::new() };
        let inner = outer.table.iter().filter_map(|(name, value)| {
            let path = format!("{key}.{}", name.get_ref());
            Some((&**name.get_ref(), self.open(path, name.span(), value)?))
        });
        inner.collect()
    }

    /// A key that the documentation knows and this version does not.
    pub(super) fn not_supported(&self, key: &'static str, what: &str) {
        self.refused.borrow_mut().push(key);
        if let Some((name, value)) = self.entry(key) {
            let title = match value.get_ref() {
                DeValue::Table(_) if self.path.is_empty() => format!("[{key}]"),
                _ => self.titled(key),
            };
            let why = format!("this version does not have {what} yet");
            self.document.tell(name.span(), title, why, "remove it, or use a later version");
        }
    }

    /// Tells about every key that nobody asked for.
    pub(super) fn finish(&self) {
        let (known, refused) = (self.known.borrow(), self.refused.borrow());
        let is_known = |name: &str| known.contains(&name) || refused.contains(&name);
        for (name, _) in self.table.iter().filter(|(name, _)| !is_known(name.get_ref())) {
            let key = taskwright_core::name::shown(name.get_ref());
            let what = match self.path.as_str() {
                "" => format!("unknown section `{key}`"),
                path => format!("unknown key `{key}` in [{path}]"),
            };
            let all = known.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
            let why =
                if all.is_empty() { "no key is known here".to_owned() } else { format!("known here: {all}") };
            let fix = match nearest(key, known.iter().copied()) {
                Some(meant) => format!("write `{meant}`, if that is what you meant"),
                None if all.is_empty() => "remove it".to_owned(),
                None => "remove it, or choose one of those".to_owned(),
            };
            self.document.tell(name.span(), what, why, fix);
        }
    }

    fn open(&self, path: String, span: Range<usize>, value: &'d Spanned<DeValue<'d>>) -> Option<Self> {
        let Some(table) = value.get_ref().as_table() else {
            let what = format!("`{path}` is {}", kind_of(value.get_ref()));
            let fix = format!("write it as a section: [{path}]");
            self.document.tell(value.span(), what, "it must be a table", fix);
            return None;
        };
        Some(Self {
            document: self.document,
            path,
            span,
            table,
            known: RefCell::default(),
            refused: RefCell::default(),
        })
    }

    fn get(&self, key: &'static str) -> Option<&'d Spanned<DeValue<'d>>> {
        self.known.borrow_mut().push(key);
        self.entry(key).map(|(_, value)| value)
    }

    fn entry(&self, key: &str) -> Option<(&'d Spanned<toml::de::DeString<'d>>, &'d Spanned<DeValue<'d>>)> {
        self.table.iter().find(|(name, _)| &**name.get_ref() == key)
    }

    fn items(&self, key: &'static str, form: &str) -> Option<&'d [Spanned<DeValue<'d>>]> {
        let value = self.get(key)?;
        match value.get_ref().as_array() {
            Some(items) => Some(items),
            None => self.expected(key, value, form),
        }
    }

    fn in_range(&self, key: &str, value: &Spanned<DeValue<'_>>, least: u32, most: u32) -> Option<u32> {
        let number = whole(value);
        let fitting = number.and_then(|number| u32::try_from(number).ok());
        let fitting = fitting.filter(|number| (least..=most).contains(number));
        if fitting.is_none() {
            let shown = number.map_or("too large".to_owned(), |number| number.to_string());
            let what = format!("{} is {shown}", self.titled(key));
            let why = format!("it must be from {least} to {most}");
            self.document.tell(value.span(), what, why, "choose a number within these bounds");
        }
        fitting
    }

    fn accept<T>(
        &self,
        key: &str,
        span: Range<usize>,
        text: &str,
        parse: impl Fn(&str) -> Result<T, Error>,
    ) -> Option<T> {
        let error = match parse(text) {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        self.refuse(key, span, text, &error);
        None
    }

    fn refuse(&self, key: &str, span: Range<usize>, text: &str, error: &Error) {
        let shown = crate::text::without_secrets(text);
        let what = format!("{} is {:?}", self.titled(key), taskwright_core::name::shown(&shown));
        let report = super::report(self.document.place(span), what, error);
        self.document.reports.borrow_mut().push(report);
    }

    fn expected<T>(&self, key: &str, value: &Spanned<DeValue<'_>>, form: &str) -> Option<T> {
        let what = format!("{} is {}", self.titled(key), kind_of(value.get_ref()));
        self.document.tell(value.span(), what, format!("it must be {form}"), "write it in that form");
        None
    }

    fn titled(&self, key: &str) -> String {
        if self.path.is_empty() { format!("`{key}`") } else { format!("`{key}` in [{}]", self.path) }
    }
}

fn whole(value: &Spanned<DeValue<'_>>) -> Option<i64> {
    let integer = value.get_ref().as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
