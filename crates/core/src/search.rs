//! A search in the arguments of jobs: what has to stand at a path.
//!
//! Each condition is a text, `customer.id=42`: the way through the arguments, and what has to be at its end. Nothing is indexed for it;
//! whoever searches reads the arguments of one job after the other, and bounds how many
//! ([`SEARCH_JOBS_MAX`](crate::limit::SEARCH_JOBS_MAX), [`SEARCH_BYTES_MAX`](crate::limit::SEARCH_BYTES_MAX)).

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::error::Error;
use crate::limit::{SEARCH_CONDITIONS_MAX, SEARCH_STEPS_MAX, TEXT_BYTES_MAX};
use crate::pattern::Pattern;

/// One condition: what stands at a path.
///
/// A step of the path is the name of a member, the number of an element from 0 on, or `*` for any of either; a backslash takes the
/// meaning from the `.`, `=`, `*` or backslash behind it. What is compared is a text, in letters of either case and with `*` for
/// anything; a number by its value; `true`, `false` and `null` by their names. `PATH=*` is true of whatever is there.
///
/// # Example
///
/// ```
/// use taskwright_core::{Args, ArgsMatch, ArgsSearch};
///
/// let conditions: Vec<ArgsMatch> = vec!["customer.id=42".parse()?, "items.*.name=Blue*".parse()?];
/// let search = ArgsSearch::new(conditions)?;
/// let args = r#"{"customer": {"id": 42}, "items": [{"name": "red hat"}, {"name": "blue shoe"}]}"#;
/// assert!(search.matches(&Args::from_json(args)?));
/// # Ok::<(), taskwright_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ArgsMatch {
    text: String,
    path: Vec<Step>,
    value: Wanted,
}

/// One step into the arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// The member of this name, or the element of this number.
    Named(String),
    /// Any member, any element.
    Any,
}

/// What has to stand at the end of a path.
#[derive(Clone, Debug, PartialEq)]
struct Wanted {
    pattern: Pattern,
    /// The text as a whole number,
    integer: Option<i128>,
    /// and as any number.
    number: Option<f64>,
}

impl Wanted {
    fn new(text: &str) -> Self {
        Self { pattern: Pattern::new(text), integer: text.parse().ok(), number: text.parse().ok() }
    }

    fn is_anything(&self) -> bool {
        self.pattern.as_str() == "*"
    }

    fn is_integer(&self, found: i128) -> bool {
        match (self.integer, self.number) {
            (Some(wanted), _) => wanted == found,
            // Written as 42.0 or 4.2e1.
            #[expect(
                clippy::cast_precision_loss,
                reason = "whoever writes a fraction compares as fractions do"
            )]
            (None, Some(wanted)) => wanted == found as f64,
            (None, None) => self.is_anything(),
        }
    }

    fn is_fraction(&self, found: f64) -> bool {
        self.number == Some(found) || self.is_anything()
    }
}

impl ArgsMatch {
    /// The condition, as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for ArgsMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for ArgsMatch {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refused = |why: String| {
            let what = format!("the condition {:?} on the arguments", crate::name::shown(text));
            Error::invalid(what, why, "write PATH=VALUE, like customer.id=42 or items.*.name=blue*")
        };
        if text.len() > TEXT_BYTES_MAX {
            return Err(refused(format!("it has {} bytes, {TEXT_BYTES_MAX} are allowed", text.len())));
        }
        let Some((path, value)) = split(text) else {
            return Err(refused("it has no = between the path and the value".to_owned()));
        };
        if path.len() > SEARCH_STEPS_MAX {
            return Err(refused(format!(
                "its path has {} steps, {SEARCH_STEPS_MAX} are allowed",
                path.len()
            )));
        }
        if path.contains(&Step::Named(String::new())) {
            return Err(refused("a step of its path is empty".to_owned()));
        }
        Ok(Self { text: text.to_owned(), path, value: Wanted::new(value) })
    }
}

/// The steps before the first `=`, and what is behind it.
fn split(text: &str) -> Option<(Vec<Step>, &str)> {
    let (mut path, mut step, mut is_plain) = (Vec::new(), String::new(), true);
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '\\' => {
                step.push(chars.next().map_or('\\', |(_, char)| char));
                is_plain = false;
            }
            '.' | '=' => {
                let name = std::mem::take(&mut step);
                path.push(if is_plain && name == "*" { Step::Any } else { Step::Named(name) });
                is_plain = true;
                if char == '=' {
                    return Some((path, &text[at + 1..]));
                }
            }
            _ => step.push(char),
        }
    }
    None
}

impl serde::Serialize for ArgsMatch {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> serde::Deserialize<'de> for ArgsMatch {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Conditions on the arguments of jobs: of each path that they name, one has to be true. None is true of everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ArgsSearch(Vec<ArgsMatch>);

impl ArgsSearch {
    /// Takes the conditions.
    ///
    /// # Errors
    ///
    /// When there are more than [`SEARCH_CONDITIONS_MAX`].
    pub fn new(conditions: Vec<ArgsMatch>) -> Result<Self, Error> {
        if conditions.len() > SEARCH_CONDITIONS_MAX {
            return Err(Error::invalid(
                "the search in the arguments",
                format!("it has {} conditions, {SEARCH_CONDITIONS_MAX} are allowed", conditions.len()),
                "search by those that leave the fewest jobs, and look through what is found",
            ));
        }
        Ok(Self(conditions))
    }

    /// Whether there is no condition.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The conditions, in their order.
    pub fn conditions(&self) -> &[ArgsMatch] {
        &self.0
    }

    /// Whether they are true of these arguments. Each path is followed once, through the text: what is beside it is passed over.
    pub fn matches(&self, args: &crate::job::Args) -> bool {
        self.0.iter().enumerate().all(|(at, one)| {
            // The first condition on a path looks for all of them.
            let is_first = self.0[..at].iter().all(|before| before.path != one.path);
            !is_first || self.is_met(&one.path, args.as_bytes())
        })
    }

    fn is_met(&self, path: &[Step], json: &[u8]) -> bool {
        let wanted: Vec<&Wanted> =
            self.0.iter().filter(|one| one.path == *path).map(|one| &one.value).collect();
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        // What is stored is JSON; of what is not, nothing is true.
        At { path, wanted: &wanted }.deserialize(&mut deserializer).unwrap_or(false)
    }
}

/// A place on the way: the steps that are left, and what may stand at their end.
#[derive(Clone, Copy)]
struct At<'a> {
    path: &'a [Step],
    wanted: &'a [&'a Wanted],
}

impl At<'_> {
    /// Whether this is the end of the way, and one of them is what stands there.
    fn is(&self, test: impl Fn(&Wanted) -> bool) -> bool {
        self.path.is_empty() && self.wanted.iter().any(|wanted| test(wanted))
    }

    fn word(&self, word: &str) -> bool {
        self.is(|wanted| wanted.pattern.matches(word))
    }
}

impl<'de> DeserializeSeed<'de> for At<'_> {
    type Value = bool;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for At<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, found: bool) -> Result<bool, E> {
        Ok(self.word(if found { "true" } else { "false" }))
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(self.word("null"))
    }

    fn visit_i64<E>(self, found: i64) -> Result<bool, E> {
        Ok(self.is(|wanted| wanted.is_integer(found.into())))
    }

    fn visit_u64<E>(self, found: u64) -> Result<bool, E> {
        Ok(self.is(|wanted| wanted.is_integer(found.into())))
    }

    fn visit_f64<E>(self, found: f64) -> Result<bool, E> {
        Ok(self.is(|wanted| wanted.is_fraction(found)))
    }

    fn visit_str<E>(self, found: &str) -> Result<bool, E> {
        Ok(self.word(found))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<bool, A::Error> {
        let mut met = self.is(Wanted::is_anything);
        let index = match self.path.first() {
            Some(Step::Named(name)) => name.parse::<usize>().ok(),
            _ => None,
        };
        for at in 0.. {
            let is_on_the_way = index == Some(at) || self.path.first() == Some(&Step::Any);
            let found = match is_on_the_way {
                true => elements.next_element_seed(self.behind())?,
                false => elements.next_element::<IgnoredAny>()?.map(|_| false),
            };
            match found {
                Some(found) => met |= found,
                None => break,
            }
        }
        Ok(met)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<bool, A::Error> {
        let mut met = self.is(Wanted::is_anything);
        while let Some(name) = members.next_key::<Cow<'de, str>>()? {
            match self.path.first() {
                // Of members with one name the last one counts, as it does for who reads the arguments.
                Some(Step::Named(wanted)) if *wanted == name => {
                    met = members.next_value_seed(self.behind())?;
                }
                Some(Step::Any) => met |= members.next_value_seed(self.behind())?,
                _ => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        Ok(met)
    }
}

impl<'a> At<'a> {
    /// One step further.
    fn behind(&self) -> Self {
        Self { path: self.path.get(1..).unwrap_or_default(), wanted: self.wanted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Args;

    const ARGS: &str = r#"{
        "customer": { "id": 42, "Name": "Ann Lee", "vip": true, "note": null, "score": 4.5 },
        "items": [ { "sku": "A-1", "n": 2 }, { "sku": "b-2", "n": 10 } ],
        "a.b": { "=": "x*y" }, "*": "star", "big": 9007199254740993, "twice": 1, "twice": 2, "empty": ""
    }"#;

    fn is_met(conditions: &[&str]) -> bool {
        let conditions = conditions.iter().map(|text| text.parse().unwrap()).collect();
        ArgsSearch::new(conditions).unwrap().matches(&Args::from_json(ARGS).unwrap())
    }

    #[test]
    fn what_stands_at_a_path_is_found_and_nothing_else() {
        for found in [
            "customer.id=42",
            "customer.id=42.0",
            "customer.id=4.2e1",
            "customer.Name=ann lee",
            "customer.Name=*LEE",
            "customer.vip=true",
            "customer.note=null",
            "customer.score=4.50",
            "items.0.sku=a-1",
            "items.*.sku=B*",
            "items.*.n=10",
            "customer.*=42",
            r"a\.b.\==x*",
            r"\*=star",
            "*=star",
            "big=9007199254740993",
            "twice=2",
            "empty=",
            "customer=*",
            "items=*",
            "customer.note=*",
            "customer.id=*",
        ] {
            assert!(is_met(&[found]), "{found}");
        }
        for missing in [
            "customer.id=4*",
            "customer.id=4",
            "customer.name=ann lee",
            "customer.Name=ann",
            "id=42",
            "customer=42",
            "items.2.sku=*",
            "items.sku=A-1",
            "items.0=A-1",
            "big=9007199254740992",
            "twice=1",
            "nothing=*",
            "customer.id.deeper=*",
            "customer.note=",
            // A star in a value is anything, and a backslash there is a backslash.
            r"a\.b.\==x\*y",
        ] {
            assert!(!is_met(&[missing]), "{missing}");
        }
    }

    #[test]
    fn conditions_on_one_path_widen_and_those_on_others_narrow() {
        assert!(is_met(&["customer.id=41", "customer.id=42"]));
        assert!(is_met(&["customer.id=41", "customer.id=42", "items.0.n=2"]));
        assert!(!is_met(&["customer.id=42", "items.0.n=3"]));
        assert!(!is_met(&["items.0.n=3", "customer.id=42"]));
        assert!(is_met(&[]));
    }

    #[test]
    fn arguments_that_are_no_object_have_no_members() {
        let search = ArgsSearch::new(vec!["0=a".parse().unwrap()]).unwrap();
        assert!(search.matches(&Args::from_json(r#"["A", "b"]"#).unwrap()));
        for args in [r#""a""#, "0", "null", r#"["b", "a"]"#] {
            assert!(!search.matches(&Args::from_json(args).unwrap()), "{args}");
        }
    }

    #[test]
    fn what_is_no_condition_is_refused_with_advice() {
        let long = format!("a={}", "x".repeat(TEXT_BYTES_MAX));
        let deep = format!("{}a=1", "a.".repeat(SEARCH_STEPS_MAX));
        for (text, why) in [
            ("customer", "no ="),
            ("=1", "empty"),
            ("a..b=1", "empty"),
            (r"a\=1", "no ="),
            (&long, "bytes"),
            (&deep, "steps"),
        ] {
            let error = text.parse::<ArgsMatch>().unwrap_err();
            assert!(error.is_invalid() && error.why().contains(why), "{text}: {error}");
            assert!(error.fix().contains("customer.id=42"), "{error}");
        }
        let one: ArgsMatch = "a=1".parse().unwrap();
        assert!(ArgsSearch::new(vec![one.clone(); SEARCH_CONDITIONS_MAX]).is_ok());
        assert!(ArgsSearch::new(vec![one; SEARCH_CONDITIONS_MAX + 1]).is_err());
    }
}
