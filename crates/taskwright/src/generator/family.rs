//! Generators that come and go at run time, as rows of the store: a program knows their family, and not each of them.

use std::fmt;
use std::sync::Arc;

use taskwright_core::generator::Definition;
use taskwright_core::{Error, GeneratorName};

use super::{Boxed, Generator, Known, PollError};

/// Turns of a family that one node has under way at a time, unless the family says otherwise.
const TURNS_DEFAULT: usize = 16;

/// Generators whose names begin alike, which somebody registers and removes while programs run: whatever is stored with such a
/// name is asked by every node that knows the family.
///
/// # Example
///
/// ```
/// use taskwright::core::generator::Definition;
/// use taskwright::generator::{Family, Generator, GeneratorSet, Item, Next, Poll, PollError, Polled};
///
/// /// `greet:NAME` greets NAME once.
/// struct Greetings;
///
/// struct Greeting(Definition);
///
/// impl Family for Greetings {
///     type Member = Greeting;
///
///     fn prefix(&self) -> &str {
///         "greet:"
///     }
///
///     fn make(&self, definition: &Definition) -> Result<Greeting, PollError> {
///         Ok(Greeting(definition.clone()))
///     }
/// }
///
/// impl Generator for Greeting {
///     fn name(&self) -> &str {
///         self.0.name.as_str()
///     }
///
///     async fn poll(&self, poll: Poll) -> Result<Polled, PollError> {
///         let whom = self.name().trim_start_matches("greet:");
///         Ok(Polled::new(vec![Item::new("greet").args(&whom)?], true, Next::Notified))
///     }
/// }
///
/// let generators = GeneratorSet::new().with_family(Greetings)?;
/// # let _ = generators;
/// # Ok::<(), taskwright::core::Error>(())
/// ```
pub trait Family: Send + Sync + 'static {
    /// What one of the family is made as.
    type Member: Generator;

    /// What the names of the family, and no others, begin with; for instance `webhook:`.
    fn prefix(&self) -> &str;

    /// The generator that was registered like this. It is made for a single turn: what turns have in common, such as connections,
    /// it takes from the family. Its own [options](Generator::options) say nothing; what was registered does.
    ///
    /// # Errors
    ///
    /// As an error of a [poll](Generator::poll).
    fn make(&self, definition: &Definition) -> Result<Self::Member, PollError>;

    /// How many of the family one node asks at a time, beside all others. Default 16; more for those that mostly wait for somebody.
    fn turns_max(&self) -> usize {
        TURNS_DEFAULT
    }
}

/// A family that this program knows.
pub(crate) struct KnownFamily {
    pub(crate) prefix: String,
    pub(crate) turns_max: usize,
    run: Box<dyn AnyFamily>,
}

impl KnownFamily {
    /// # Errors
    ///
    /// When the prefix begins no name.
    pub(super) fn new(family: impl Family) -> Result<Self, Error> {
        let (prefix, turns_max) = (family.prefix().to_owned(), family.turns_max().max(1));
        GeneratorName::new(&prefix)?;
        Ok(Self { prefix, turns_max, run: Box::new(family) })
    }

    /// A family that Taskwright brings itself.
    ///
    /// # Errors
    ///
    /// When the prefix begins no name.
    pub(super) fn built_in(prefix: String, family: impl AnyFamily) -> Result<Self, Error> {
        GeneratorName::new(&prefix)?;
        Ok(Self { prefix, turns_max: TURNS_DEFAULT, run: Box::new(family) })
    }

    /// Whether a generator of this name is one of the family.
    pub(crate) fn has(&self, name: &str) -> bool {
        name.starts_with(&self.prefix)
    }

    /// One of the family.
    pub(crate) fn make(&self, definition: Definition) -> Result<Known, PollError> {
        self.run.make(definition)
    }
}

impl fmt::Debug for KnownFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}*", self.prefix)
    }
}

/// Any family.
pub(crate) trait AnyFamily: Send + Sync + 'static {
    fn make(&self, definition: Definition) -> Result<Known, PollError>;
}

impl<F: Family> AnyFamily for F {
    fn make(&self, definition: Definition) -> Result<Known, PollError> {
        let member = Family::make(self, &definition)?;
        Ok(Known { definition, run: Box::new(Boxed(member)) })
    }
}

impl Known {
    /// One of a family that could not be made: each poll of it fails.
    pub(crate) fn broken(definition: Definition, error: PollError) -> Self {
        let name = definition.name.to_string();
        Self { definition, run: Box::new(Boxed(Broken { name, error: error.to_string() })) }
    }
}

/// A generator of which there is nothing but an error.
struct Broken {
    name: String,
    error: String,
}

impl Generator for Broken {
    fn name(&self) -> &str {
        &self.name
    }

    fn settle(&self, _: serde_json::Value, _: &[super::Settled]) -> Result<serde_json::Value, PollError> {
        Err(self.error.clone().into())
    }

    async fn poll(&self, _: super::Poll) -> Result<super::Polled, PollError> {
        Err(self.error.clone().into())
    }
}

/// Families, to be shared by what asks them.
pub(super) type Families = Vec<Arc<KnownFamily>>;
