//! How much one principal may ask, so that nobody takes it all: requests, streams, and tries to log in. Counted in this process, and
//! in bounded room.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use taskwright_core::Actor;
use taskwright_core::throttle::{Bucket, Failures, Pace};

use super::caller::Caller;
use super::problem::{Problem, Sort};
use super::state::Limits;

/// Names and addresses that are remembered at a time. Beyond, those are forgotten that need not be remembered, and then all.
const REMEMBERED_MAX: usize = 20_000;
/// Tries of one address at one name that cost nothing.
const FREE_BY_NAME: u32 = 10;
/// Tries of one address at any name that cost nothing.
const FREE_BY_ADDRESS: u32 = 30;

/// Bytes of bodies that are read or worked on: of all, and of each principal.
#[derive(Default)]
struct Bodies {
    all: u64,
    each: HashMap<Actor, u64>,
}

/// What is counted.
#[derive(Default)]
pub(crate) struct Paces {
    requests: Mutex<HashMap<Actor, Bucket>>,
    strangers: Mutex<HashMap<IpAddr, Bucket>>,
    streams: Arc<Mutex<HashMap<Actor, u32>>>,
    bodies: Arc<Mutex<Bodies>>,
    by_name: Mutex<HashMap<(Option<IpAddr>, String), Failures>>,
    by_address: Mutex<HashMap<Option<IpAddr>, Failures>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is counted of an address: of IPv6, where one machine has as many as it likes, the first 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address => address,
    }
}

/// Makes room in a map that is full.
fn bound<K: Eq + Hash, V>(map: &mut HashMap<K, V>, is_needed: impl Fn(&V) -> bool) {
    if map.len() >= REMEMBERED_MAX {
        map.retain(|_, value| is_needed(value));
    }
    if map.len() >= REMEMBERED_MAX {
        map.clear();
    }
}

/// Whole seconds, at least one.
fn seconds(wait: Duration) -> u32 {
    let whole = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    u32::try_from(whole).unwrap_or(u32::MAX).max(1)
}

impl Paces {
    /// One request more of a caller. The local user has no limit: nobody else could be kept waiting.
    ///
    /// # Errors
    ///
    /// When there were too many.
    pub(crate) fn request(&self, caller: &Caller, limits: &Limits, now_us: u64) -> Result<(), Problem> {
        if caller.owner().is_none() {
            return Ok(());
        }
        let mut requests = lock(&self.requests);
        bound(&mut requests, |bucket| !bucket.is_full(now_us));
        let bucket = requests.entry(caller.actor().clone()).or_insert(Bucket::FULL);
        bucket.take(limits.pace, now_us).map_err(|wait| {
            let Pace { per_second, burst } = limits.pace;
            let why = format!("you may send {per_second} requests a second, and {burst} at once");
            Problem::new(Sort::TooMany, "the request", why, "send fewer; many jobs go into one request")
                .retry_after(seconds(wait))
        })
    }

    /// One request more from an address whose credentials are good for nothing.
    ///
    /// # Errors
    ///
    /// When there were too many.
    pub(crate) fn stranger(&self, from: Option<IpAddr>, limits: &Limits, now_us: u64) -> Result<(), Problem> {
        let Some(from) = from.map(network) else { return Ok(()) };
        let mut strangers = lock(&self.strangers);
        bound(&mut strangers, |bucket| !bucket.is_full(now_us));
        let bucket = strangers.entry(from).or_insert(Bucket::FULL);
        bucket.take(limits.strangers, now_us).map_err(|wait| {
            let why = "too many came from your address with credentials that are good for nothing";
            Problem::new(Sort::TooMany, "the request", why, "send a token that is good")
                .retry_after(seconds(wait))
        })
    }

    /// One stream more of a caller, until what this gives is dropped.
    ///
    /// # Errors
    ///
    /// When there are as many as may be.
    pub(crate) fn stream(&self, caller: &Caller, limits: &Limits) -> Result<Held, Problem> {
        const AGAIN_S: u32 = 10;
        let most = limits.streams_each_max;
        let mut streams = lock(&self.streams);
        let count = streams.entry(caller.actor().clone()).or_insert(0);
        if *count >= most && caller.owner().is_some() {
            let why = format!("you have {most} streams and long polls already, as many as may be");
            let fix = "close those that nobody reads, or ask now and then instead";
            return Err(Problem::new(Sort::TooMany, "the stream", why, fix).retry_after(AGAIN_S));
        }
        *count += 1;
        Ok(Held { streams: Arc::clone(&self.streams), who: caller.actor().clone() })
    }

    /// Room for a body of so many bytes, until what this gives is dropped.
    ///
    /// # Errors
    ///
    /// When there is none, for this caller or at all.
    pub(crate) fn body(&self, caller: &Caller, limits: &Limits, bytes: u64) -> Result<Room, Problem> {
        let mut bodies = lock(&self.bodies);
        let mine = bodies.each.get(caller.actor()).copied().unwrap_or_default();
        let is_mine_full = caller.owner().is_some() && mine + bytes > limits.bodies_each_bytes_max;
        if is_mine_full || bodies.all + bytes > limits.bodies_bytes_max {
            let most = if is_mine_full { limits.bodies_each_bytes_max } else { limits.bodies_bytes_max };
            let whose = if is_mine_full { "your" } else { "all" };
            let why =
                format!("{whose} bodies that are being worked on would have more than {most} bytes together");
            let fix = "wait for the answers of those before, or send less at a time";
            return Err(Problem::new(Sort::TooMany, "the body", why, fix).retry_after(1));
        }
        bodies.all += bytes;
        if bytes > 0 {
            *bodies.each.entry(caller.actor().clone()).or_insert(0) += bytes;
        }
        Ok(Room { bodies: Arc::clone(&self.bodies), who: caller.actor().clone(), bytes })
    }

    /// Whether a try to log in is looked at.
    ///
    /// # Errors
    ///
    /// When there were too many that failed, from this address at this name or at all.
    fn may_try(&self, from: Option<IpAddr>, name: &str, now_us: u64) -> Result<(), Problem> {
        let by_name = lock(&self.by_name).get(&(from, name.to_owned())).and_then(|one| one.wait(now_us));
        let by_address = lock(&self.by_address).get(&from).and_then(|one| one.wait(now_us));
        match by_name.max(by_address) {
            None => Ok(()),
            Some(wait) => Err(Problem::new(
                Sort::TooMany,
                "the login",
                "too many have failed, from your address, so that this one was not looked at",
                "wait; whoever has lost a password asks an operator for `taskwright users password`",
            )
            .retry_after(seconds(wait))),
        }
    }

    /// A try to log in, which counts as one that failed until it is known to be right: many at once are not looked at for one.
    ///
    /// # Errors
    ///
    /// As for [`may_try`](Self::may_try).
    pub(crate) fn begin(&self, from: Option<IpAddr>, name: &str, now_us: u64) -> Result<Try<'_>, Problem> {
        let from = from.map(network);
        self.may_try(from, name, now_us)?;
        let (mut by_name, mut by_address) = (lock(&self.by_name), lock(&self.by_address));
        bound(&mut by_name, |one| !one.is_past(now_us));
        bound(&mut by_address, |one| !one.is_past(now_us));
        let key = (from, name.to_owned());
        by_name.entry(key.clone()).or_default().add(FREE_BY_NAME, now_us);
        let of_address = by_address.entry(from).or_default();
        let before = *of_address;
        of_address.add(FREE_BY_ADDRESS, now_us);
        Ok(Try { paces: self, key, before, after: *of_address })
    }
}

/// A try to log in that is under way.
#[must_use = "it counts as one that failed until it is right"]
pub(crate) struct Try<'a> {
    paces: &'a Paces,
    key: (Option<IpAddr>, String),
    before: Failures,
    after: Failures,
}

impl Try<'_> {
    /// It was right: it counts for nothing, and the failures at this name are forgotten. Those of the address at other names are
    /// not, or whoever knows one password could try others for ever.
    pub(crate) fn forgive(self) {
        if let Some(failures) = lock(&self.paces.by_address).get_mut(&self.key.0) {
            failures.take_back(self.before, self.after);
        }
        lock(&self.paces.by_name).remove(&self.key);
    }
}

/// Room that a body has.
pub(crate) struct Room {
    bodies: Arc<Mutex<Bodies>>,
    who: Actor,
    bytes: u64,
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut bodies = lock(&self.bodies);
        bodies.all = bodies.all.saturating_sub(self.bytes);
        if let Some(mine) = bodies.each.get_mut(&self.who) {
            *mine = mine.saturating_sub(self.bytes);
            if *mine == 0 {
                bodies.each.remove(&self.who);
            }
        }
    }
}

/// A stream that counts.
pub(crate) struct Held {
    streams: Arc<Mutex<HashMap<Actor, u32>>>,
    who: Actor,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut streams = lock(&self.streams);
        if let Some(count) = streams.get_mut(&self.who) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                streams.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_ipv6_network_count_as_one() {
        let paces = Paces::default();
        let try_from = |text: &str| paces.begin(Some(text.parse().unwrap()), "alice", 0).is_ok();
        let tries = (0..FREE_BY_NAME + 10).filter(|n| try_from(&format!("2001:db8::{n:x}"))).count();
        assert!((1..=FREE_BY_NAME as usize + 1).contains(&tries), "{tries}");
        assert!(!try_from("2001:db8::ffff:ffff:ffff:ffff"));
        assert!(try_from("2001:db8:0:1::1"));
        assert!(try_from("192.0.2.1"));
        assert_eq!(network("::ffff:192.0.2.1".parse().unwrap()), network("192.0.2.1".parse().unwrap()));
    }
}
