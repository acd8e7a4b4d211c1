//! The audit: who did what to what, in a chain in which nothing can be changed, left out or put between without a trace.
//!
//! Each entry is a [`Link`]: its text, and a hash over that text, its position and the hash of the link before it. Whoever changes a
//! row has to make every later link anew; a [`Verifier`] says at which link a chain is broken. That does not hold off somebody who
//! may write the whole store and makes all of them anew: for that, keep a [`Place`] somewhere else, and verify against it.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::id::TokenId;
use crate::limit::{NAME_BYTES_MAX, TEXT_BYTES_MAX};
use crate::name::{Actor, Namespace, clipped, shown};
use crate::permission::{Principal, PrincipalKind};
use crate::time::Timestamp;

/// On whose behalf something is written, and what it is: all that an entry says but how it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behalf {
    /// When it was asked for.
    pub at: Timestamp,
    /// Who.
    pub who: Actor,
    /// What sort of principal that is.
    pub kind: PrincipalKind,
    /// With which token, if with one.
    pub token: Option<TokenId>,
    /// From where: an address, or `None` for the machine itself.
    pub from: Option<String>,
    /// By which request of a server, if by one: what its log and its answer call it.
    pub request: Option<String>,
    /// What: a noun and a verb, such as `jobs.cancel`.
    pub action: String,
    /// On what: a name or an id, or more of them in words.
    pub object: String,
    /// Where; `None` for what belongs to no namespace.
    pub namespace: Option<Namespace>,
}

impl Behalf {
    /// A principal does this to that.
    pub fn of(principal: &Principal, at: Timestamp, action: &str, object: &str) -> Self {
        Self {
            at,
            who: principal.name.clone(),
            kind: principal.kind,
            token: None,
            from: None,
            request: None,
            action: clipped(action, NAME_BYTES_MAX),
            object: clipped(object, TEXT_BYTES_MAX),
            namespace: None,
        }
    }

    /// In this namespace.
    #[must_use]
    pub fn within(self, namespace: Namespace) -> Self {
        Self { namespace: Some(namespace), ..self }
    }

    /// From this address.
    #[must_use]
    pub fn from(self, address: &str) -> Self {
        Self { from: Some(clipped(address, NAME_BYTES_MAX)), ..self }
    }

    /// With this token.
    #[must_use]
    pub fn with_token(self, token: Option<TokenId>) -> Self {
        Self { token, ..self }
    }

    /// By this request.
    #[must_use]
    pub fn by_request(self, request: &str) -> Self {
        Self { request: Some(clipped(request, NAME_BYTES_MAX)), ..self }
    }

    /// The entry, once it is known how it went.
    pub fn entry(&self, outcome: impl Into<String>) -> Entry {
        let Self { at, who, kind, token, from, request, action, object, namespace } = self.clone();
        let outcome = outcome.into();
        let (before, after) = (None, None);
        Entry { at, who, kind, token, from, request, action, object, namespace, outcome, before, after }
    }
}

/// One mutation.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Entry {
    /// When it was asked for.
    pub at: Timestamp,
    /// Who.
    pub who: Actor,
    /// What sort of principal that is.
    pub kind: PrincipalKind,
    /// With which token, if with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenId>,
    /// From where; `None` for the machine itself.
    #[serde(default)]
    pub from: Option<String>,
    /// By which request of a server, if by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// What: a noun and a verb.
    pub action: String,
    /// On what.
    pub object: String,
    /// Where; `None` for what belongs to no namespace.
    #[serde(default)]
    pub namespace: Option<Namespace>,
    /// How it went.
    pub outcome: String,
    /// What it was on, before: a hash over what people decide about it. `None` where there was nothing, or nothing of that changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub before: Option<StateHash>,
    /// The same since: what stands there now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub after: Option<StateHash>,
}

impl Entry {
    /// The same, with what it changed.
    #[must_use]
    pub fn changing(self, (before, after): (Option<StateHash>, Option<StateHash>)) -> Self {
        Self { before, after, ..self }
    }

    /// The text that is hashed and stored: JSON. What is verified is this text, byte for byte, so that it matters to nobody how
    /// another program would have written it.
    pub fn body(&self) -> String {
        // Text, numbers and moments: nothing in them cannot be written.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads the text.
    ///
    /// # Errors
    ///
    /// When it is none of an entry.
    pub fn read(body: &str) -> Result<Self, Error> {
        serde_json::from_str(body).map_err(|error| {
            Error::invalid(
                "an entry of the audit",
                format!("it cannot be read: {error}"),
                "run `taskwright audit verify`",
            )
        })
    }
}

/// A hash over what something is, so that two entries can be compared and nobody reads it: SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateHash(pub [u8; 32]);

impl StateHash {
    /// Over texts, in their order: a word that tells what it is of, and of each text its length as eight bytes, the highest first, and
    /// the text. `None` of none.
    pub fn of<'t>(texts: impl IntoIterator<Item = &'t str>) -> Option<Self> {
        let mut digest = None;
        for text in texts {
            let digest: &mut Sha256 =
                digest.get_or_insert_with(|| Sha256::new_with_prefix("taskwright state 1\n"));
            digest.update((text.len() as u64).to_be_bytes());
            digest.update(text);
        }
        digest.map(|digest| Self(digest.finalize().into()))
    }
}

impl fmt::Display for StateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        ChainHash(self.0).fmt(f)
    }
}

impl FromStr for StateHash {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        digits(text).map(Self).ok_or_else(|| {
            Error::invalid(
                format!("the hash {:?}", shown(text)),
                "it is not 64 hexadecimal digits",
                "copy the whole of what the audit says",
            )
        })
    }
}

impl serde::Serialize for StateHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for StateHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <String as serde::Deserialize>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Reads a hash that is written in hexadecimal digits.
fn digits(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if text.len() != 2 * hash.len() || !text.is_ascii() {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(hash)
}

/// A hash of the chain: SHA-256.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChainHash(pub [u8; 32]);

impl fmt::Display for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A place in the chain: so many entries there have been, and the hash of the last of them. The beginning is 0 with zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The position of an entry, from 1; 0 is before the first.
    pub position: u64,
    /// Its hash.
    pub hash: ChainHash,
}

impl Place {
    /// The link that an entry makes behind this place.
    pub fn link(&self, body: String) -> Link {
        let position = self.position + 1;
        Link { position, hash: hash(&self.hash, position, &body), body }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.position, self.hash)
    }
}

impl FromStr for Place {
    type Err = Error;

    /// Reads `POSITION:HASH`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let read = || {
            let (position, digits) = text.split_once(':')?;
            Some(Self { position: position.parse().ok()?, hash: ChainHash(self::digits(digits)?) })
        };
        read().ok_or_else(|| {
            Error::invalid(
                format!("the place {:?} in the audit", shown(text)),
                "it is not a position, a colon and 64 hexadecimal digits",
                "copy the whole of what `taskwright audit verify` printed",
            )
        })
    }
}

/// An entry in the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its position, from 1.
    pub position: u64,
    /// Its text: an [`Entry`].
    pub body: String,
    /// The hash over all that, and over the hash of the link before.
    pub hash: ChainHash,
}

impl Link {
    /// Its place.
    pub fn place(&self) -> Place {
        Place { position: self.position, hash: self.hash }
    }
}

/// SHA-256 of: a word that tells what it is of, the hash before, the position and the length of the text as eight bytes each, the
/// highest first, and the text.
fn hash(before: &ChainHash, position: u64, body: &str) -> ChainHash {
    let mut digest = Sha256::new();
    digest.update(b"taskwright audit 1\n");
    digest.update(before.0);
    digest.update(position.to_be_bytes());
    digest.update((body.len() as u64).to_be_bytes());
    digest.update(body);
    ChainHash(digest.finalize().into())
}

/// Walks a chain.
#[derive(Clone, Copy, Debug)]
pub struct Verifier {
    at: Place,
    expected: Option<Place>,
    met: bool,
}

/// Where a chain is broken, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The position of the first entry that is not as it was written.
    pub position: u64,
    /// What is wrong with it.
    pub why: String,
}

impl Verifier {
    /// Begins behind this place: what was removed because it was old enough ends there. `expected` is a place that somebody has
    /// kept: the chain has to lead through it, if it lies in what is walked.
    pub fn after(anchor: Place, expected: Option<Place>) -> Self {
        Self { at: anchor, expected, met: expected == Some(anchor) }
    }

    /// Where it has come to.
    pub fn place(&self) -> Place {
        self.at
    }

    /// The next link.
    ///
    /// # Errors
    ///
    /// When it is not what it was, or what was behind the last one is missing.
    pub fn step(&mut self, link: &Link) -> Result<(), Broken> {
        let next = self.at.position + 1;
        let broken = |position, why: String| Err(Broken { position, why });
        if link.position != next {
            return broken(next, format!("it is missing: the next one that is there is {}", link.position));
        }
        if hash(&self.at.hash, next, &link.body) != link.hash {
            return broken(next, "it is not what was written, or one before it was changed".to_owned());
        }
        if let Err(error) = Entry::read(&link.body) {
            return broken(next, error.why().to_owned());
        }
        self.at = link.place();
        self.expect()
    }

    /// The end: where the store says that the chain ends.
    ///
    /// # Errors
    ///
    /// When it does not end there, or does not lead through the place that was expected.
    pub fn end(mut self, head: Place) -> Result<Place, Broken> {
        if self.at.position < head.position {
            let why = format!("it is missing, and all behind it up to {}", head.position);
            return Err(Broken { position: self.at.position + 1, why });
        }
        if self.at != head {
            if self.at.position > head.position {
                let why = "the store does not know that it wrote it".to_owned();
                return Err(Broken { position: head.position + 1, why });
            }
            let why = "it is not the one that the store was at when it wrote it".to_owned();
            return Err(Broken { position: self.at.position, why });
        }
        self.expect()?;
        match self.expected {
            Some(expected) if expected.position > head.position => Err(Broken {
                position: head.position + 1,
                why: "it was there once, and is missing".to_owned(),
            }),
            Some(expected) if !self.met => Err(Broken {
                position: expected.position,
                why: "it was removed because it was old enough: verify against a later place".to_owned(),
            }),
            _ => Ok(self.at),
        }
    }

    /// Holds the place that was expected against the one where it is.
    fn expect(&mut self) -> Result<(), Broken> {
        match self.expected {
            Some(expected) if expected.position == self.at.position => {
                self.met = true;
                if expected.hash == self.at.hash {
                    return Ok(());
                }
                let why = "it is another one than the one that was expected".to_owned();
                Err(Broken { position: expected.position, why })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn body(n: u64) -> String {
        let principal = Principal::local(Actor::new("root").unwrap());
        let at = Timestamp::from_micros(i64::try_from(n).unwrap());
        Behalf::of(&principal, at, "jobs.cancel", &format!("job {n}")).entry("1 done").body()
    }

    fn chain(count: u64) -> Vec<Link> {
        let mut at = Place::default();
        let mut links = Vec::new();
        for n in 0..count {
            let link = at.link(body(n));
            at = link.place();
            links.push(link);
        }
        links
    }

    fn verify(links: &[Link], anchor: Place, head: Place, expected: Option<Place>) -> Result<Place, Broken> {
        let mut verifier = Verifier::after(anchor, expected);
        links.iter().try_for_each(|link| verifier.step(link))?;
        verifier.end(head)
    }

    #[test]
    fn an_entry_is_read_back_and_a_place_too() {
        let entry = Entry::read(&body(7)).unwrap();
        assert_eq!((entry.who.as_str(), entry.object.as_str()), ("root", "job 7"));
        assert_eq!(entry.body(), body(7));
        let place = chain(3)[2].place();
        assert_eq!(place.to_string().parse(), Ok(place));
        for bad in ["", "3", "3:ab", "x:00", &place.to_string()[1..], "3:zz"] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_it_changed_is_part_of_an_entry_and_one_of_before_is_read_without() {
        let old = body(7);
        assert!(!old.contains("before"), "{old}");
        let entry = Entry::read(&old).unwrap().changing((StateHash::of(["a"]), StateHash::of(["b"])));
        assert_eq!(Entry::read(&entry.body()), Ok(entry.clone()));
        assert!(entry.before.is_some() && entry.before != entry.after);
        // From another implementation: printf 'taskwright state 1\n' + 8 bytes of 1 + 'a' | sha256sum
        assert_eq!(entry.before.unwrap().to_string(), HASH_OF_A);
    }

    #[test]
    fn the_form_that_is_hashed_stays_what_it_is() {
        // From another implementation: anybody can check a chain.
        //   printf 'taskwright audit 1\n' + 32 zeros + 8 bytes of 1 + 8 bytes of 2 + '{}' | sha256sum
        let link = Place::default().link("{}".to_owned());
        assert_eq!(link.hash.to_string(), HASH_OF_BRACES);
    }
    const HASH_OF_A: &str = "ce53a9a1363a720dc58d6c1a6ee42df13f392bfe5ac2364832edd8233f1d73db";
    const HASH_OF_BRACES: &str = "42225f3e8205672d52ecf5ea7561edfa6fc0dafe7472486b129a1b29f626bc19";

    #[test]
    fn what_is_cut_off_at_either_end_is_noticed() {
        let links = chain(5);
        let head = links[4].place();
        assert_eq!(verify(&links, Place::default(), head, None), Ok(head));
        assert_eq!(verify(&links[..3], Place::default(), head, None).unwrap_err().position, 4);
        assert_eq!(verify(&links[1..], Place::default(), head, None).unwrap_err().position, 1);
        assert_eq!(
            verify(&links[2..], links[1].place(), head, None),
            Ok(head),
            "what was old enough is gone"
        );
        assert!(verify(&[], Place::default(), Place::default(), None).is_ok());
    }

    #[test]
    fn a_chain_that_was_made_anew_does_not_lead_through_a_place_that_somebody_kept() {
        let kept = chain(5)[3].place();
        let links = chain(6);
        assert!(verify(&links, Place::default(), links[5].place(), Some(kept)).is_ok());
        let mut anew = vec![Place::default().link(body(99))];
        for n in 1..6 {
            let at = anew.last().unwrap().place();
            anew.push(at.link(body(n)));
        }
        let broken = verify(&anew, Place::default(), anew[5].place(), Some(kept)).unwrap_err();
        assert_eq!(broken.position, 4);
        let shorter = verify(&links[..3], Place::default(), links[2].place(), Some(kept)).unwrap_err();
        assert_eq!(shorter.position, 4);
        // What lies before the anchor cannot be checked any more, and is not passed over in silence.
        assert!(verify(&links[5..], links[4].place(), links[5].place(), Some(kept)).is_err());
        assert!(verify(&links[4..], kept, links[5].place(), Some(kept)).is_ok());
    }

    proptest! {
        #[test]
        fn whatever_is_done_to_one_link_the_chain_is_broken_there(
            count in 2..20_u64, at in any::<prop::sample::Index>(), how in 0..5_u8,
        ) {
            let mut links = chain(count);
            let head = links.last().unwrap().place();
            let place = at.index(links.len());
            match how {
                0 => links[place].body = body(1_000),
                1 => links[place].hash.0[7] ^= 1,
                2 => drop(links.remove(place)),
                3 => { let twice = links[place].clone(); links.insert(place, twice); }
                _ => links[place].position += 1,
            }
            let broken = verify(&links, Place::default(), head, None).unwrap_err();
            let expected = place as u64 + if how == 3 { 2 } else { 1 };
            prop_assert_eq!(broken.position, expected);
        }
    }
}
