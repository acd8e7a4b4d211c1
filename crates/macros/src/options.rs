//! What stands in the parentheses of `#[task(..)]`.

use proc_macro2::Span;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Error, Expr, Ident, LitInt, LitStr, Path, Result, Token, parenthesized};

/// Every option, for the message about one that is none.
const NAMES: [&str; 26] = [
    "kind",
    "name",
    "queue",
    "priority",
    "max_attempts",
    "backoff",
    "timeout",
    "cancel_grace",
    "snoozes_max",
    "at_most_once",
    "on_shutdown",
    "weight",
    "unique",
    "unique_active",
    "aliases",
    "version",
    "upgrade",
    "schedule",
    "blocking",
    "process",
    "max_rss",
    "max_cpu_time",
    "nice",
    "ionice",
    "derive",
    "crate",
];

/// What was said.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) kind: Option<LitStr>,
    pub(crate) name: Option<Ident>,
    pub(crate) queue: Option<LitStr>,
    pub(crate) priority: Option<Expr>,
    pub(crate) max_attempts: Option<Expr>,
    pub(crate) backoff: Option<Expr>,
    pub(crate) timeout: Option<Expr>,
    pub(crate) cancel_grace: Option<Expr>,
    pub(crate) snoozes_max: Option<Expr>,
    pub(crate) at_most_once: Option<Span>,
    pub(crate) on_shutdown: Option<Expr>,
    pub(crate) weight: Option<Expr>,
    pub(crate) unique: Option<Unique>,
    pub(crate) aliases: Vec<LitStr>,
    pub(crate) version: Option<LitInt>,
    pub(crate) upgrade: Option<Path>,
    pub(crate) schedules: Vec<ScheduleOptions>,
    pub(crate) blocking: Option<Span>,
    pub(crate) process: Option<Span>,
    pub(crate) limits: Limits,
    pub(crate) derive: Vec<Path>,
    pub(crate) taskwright: Option<Path>,
}

/// What the process of an attempt may use.
#[derive(Default)]
pub(crate) struct Limits {
    pub(crate) max_rss: Option<Expr>,
    pub(crate) max_cpu_time: Option<Expr>,
    pub(crate) nice: Option<Expr>,
    pub(crate) ionice: Option<Expr>,
}

impl Limits {
    /// The first that was said, by its name and what it is.
    pub(crate) fn first(&self) -> Option<(&'static str, &Expr)> {
        let all = [
            ("max_rss", &self.max_rss),
            ("max_cpu_time", &self.max_cpu_time),
            ("nice", &self.nice),
            ("ionice", &self.ionice),
        ];
        all.into_iter().find_map(|(name, said)| Some((name, said.as_ref()?)))
    }
}

/// Which jobs count as the same.
pub(crate) struct Unique {
    /// The arguments that make the key; `None` is all.
    pub(crate) fields: Option<Vec<Ident>>,
    /// Until the job is over, and not only while it waits.
    pub(crate) active: bool,
    pub(crate) span: Span,
}

/// One `schedule(..)`.
pub(crate) struct ScheduleOptions {
    pub(crate) name: Option<LitStr>,
    /// `cron` or `every`, and what it says.
    pub(crate) trigger: (Ident, LitStr),
    pub(crate) timezone: Option<LitStr>,
    pub(crate) args: Option<LitStr>,
    pub(crate) span: Span,
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut options = Self::default();
        let mut said: Vec<Ident> = Vec::new();
        if input.peek(LitStr) {
            options.kind = Some(input.parse()?);
            comma(input)?;
        }
        while !input.is_empty() {
            let name = input.call(<Ident as syn::ext::IdentExt>::parse_any)?;
            let may_repeat = name == "schedule" || name == "aliases" || name == "derive";
            if said.contains(&name) && !may_repeat || (name == "kind" && options.kind.is_some()) {
                return Err(Error::new(name.span(), format!("`{name}` is said twice")));
            }
            options.read(&name, input)?;
            said.push(name);
            comma(input)?;
        }
        Ok(options)
    }
}

impl Options {
    fn read(&mut self, name: &Ident, input: ParseStream<'_>) -> Result<()> {
        match name.to_string().as_str() {
            "kind" => self.kind = Some(value(name, input, "\"email.welcome\"")?),
            "name" => self.name = Some(value(name, input, "SendWelcome")?),
            "queue" => self.queue = Some(value(name, input, "\"mail\"")?),
            "priority" => self.priority = Some(value(name, input, "high")?),
            "max_attempts" => self.max_attempts = Some(value(name, input, "3")?),
            "backoff" => {
                let form = "Backoff::Fixed { delay: Duration::from_secs(60) }";
                self.backoff = Some(value(name, input, form)?);
            }
            "timeout" => self.timeout = Some(value(name, input, "\"30s\"")?),
            "cancel_grace" => self.cancel_grace = Some(value(name, input, "\"10s\"")?),
            "snoozes_max" => self.snoozes_max = Some(value(name, input, "10")?),
            "on_shutdown" => self.on_shutdown = Some(value(name, input, "OnShutdown::Drop")?),
            "weight" => {
                self.weight = Some(value(name, input, "Weight { cpu_milli: 500, memory_bytes: 0 }")?);
            }
            "version" => self.version = Some(value(name, input, "2")?),
            "upgrade" => self.upgrade = Some(value(name, input, "upgrade_welcome")?),
            "crate" => self.taskwright = Some(value(name, input, "some::path")?),
            "at_most_once" => self.at_most_once = Some(flag(name, input)?),
            "blocking" => self.blocking = Some(flag(name, input)?),
            "process" => self.process = Some(flag(name, input)?),
            "max_rss" => self.limits.max_rss = Some(value(name, input, "\"512MiB\"")?),
            "max_cpu_time" => self.limits.max_cpu_time = Some(value(name, input, "\"10m\"")?),
            "nice" => self.limits.nice = Some(value(name, input, "10")?),
            "ionice" => self.limits.ionice = Some(value(name, input, "IoNice::Idle")?),
            "unique" | "unique_active" => {
                if self.unique.is_some() {
                    return Err(Error::new(
                        name.span(),
                        "a job has one unique key: say `unique` or `unique_active` once",
                    ));
                }
                let fields = input.peek(syn::token::Paren).then(|| list::<Ident>(input)).transpose()?;
                self.unique = Some(Unique { fields, active: name == "unique_active", span: name.span() });
            }
            "aliases" => self.aliases.extend(list::<LitStr>(input)?),
            "derive" => self.derive.extend(list::<Path>(input)?),
            "schedule" => self.schedules.push(ScheduleOptions::read(name, input)?),
            other => return Err(Error::new(name.span(), unknown(other, &NAMES))),
        }
        Ok(())
    }
}

impl ScheduleOptions {
    fn read(name: &Ident, input: ParseStream<'_>) -> Result<Self> {
        let content;
        parenthesized!(content in input);
        let (mut called, mut trigger, mut timezone, mut args) = (None, None, None, None);
        while !content.is_empty() {
            let key: Ident = content.parse()?;
            let text = |form| value::<LitStr>(&key, &content, form);
            match key.to_string().as_str() {
                "name" => called = Some(text("\"reports.daily\"")?),
                "cron" | "every" if trigger.is_some() => {
                    return Err(Error::new(
                        key.span(),
                        "one `cron` or `every` to a schedule: write another `schedule(..)`",
                    ));
                }
                "cron" => trigger = Some((key.clone(), text("\"0 8 * * 1-5\"")?)),
                "every" => trigger = Some((key.clone(), text("\"1h\"")?)),
                "timezone" => timezone = Some(text("\"Europe/Berlin\"")?),
                "args" => args = Some(text("r#\"{\"until\": \"{due}\"}\"#")?),
                other => {
                    return Err(Error::new(
                        key.span(),
                        unknown(other, &["name", "cron", "every", "timezone", "args"]),
                    ));
                }
            }
            comma(&content)?;
        }
        let missing =
            || Error::new(name.span(), "a schedule fires by `cron = \"0 8 * * *\"` or `every = \"1h\"`");
        Ok(Self { name: called, trigger: trigger.ok_or_else(missing)?, timezone, args, span: name.span() })
    }
}

/// `= VALUE`.
fn value<T: Parse>(name: &Ident, input: ParseStream<'_>, form: &str) -> Result<T> {
    let wanted = |span| Error::new(span, format!("`{name}` is written `{name} = {form}`"));
    if !input.peek(Token![=]) {
        return Err(wanted(name.span()));
    }
    input.parse::<Token![=]>()?;
    let span = input.span();
    input.parse().map_err(|_| wanted(span))
}

/// An option that is only said.
fn flag(name: &Ident, input: ParseStream<'_>) -> Result<Span> {
    if !input.is_empty() && !input.peek(Token![,]) {
        return Err(Error::new(name.span(), format!("`{name}` takes no value: it is said, or not")));
    }
    Ok(name.span())
}

/// `(A, B, ..)`.
fn list<T: Parse>(input: ParseStream<'_>) -> Result<Vec<T>> {
    let content;
    parenthesized!(content in input);
    Ok(Punctuated::<T, Token![,]>::parse_terminated(&content)?.into_iter().collect())
}

fn comma(input: ParseStream<'_>) -> Result<()> {
    if !input.is_empty() {
        input.parse::<Token![,]>()?;
    }
    Ok(())
}

fn unknown(name: &str, known: &[&str]) -> String {
    let near = |other: &&&str| strsim::damerau_levenshtein(name, other) <= 2;
    let nearest = known.iter().filter(near).min_by_key(|other| strsim::damerau_levenshtein(name, other));
    match nearest {
        Some(meant) => format!("there is no option `{name}`; is `{meant}` meant?"),
        None => format!("there is no option `{name}`; there are: {}", known.join(", ")),
    }
}
