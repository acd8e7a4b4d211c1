//! Looks at the store that many want at the same time, each for the same thing: who has a token, or a session.
//!
//! Whoever asks gets what a look says that began *after* it asked, so that a token that was revoked before is never taken for good.
//! While one is under way, those who come wait for the next, which then is for all of them, also when it fails: a thousand requests with
//! one token cost the store a look after the other, not a thousand at once, and none of them waits for more than two.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Looks by what they are for. What nobody asks for at the moment is not kept.
pub(crate) struct Looks<T, E>(Mutex<ByKey<T, E>>);

type ByKey<T, E> = HashMap<Box<str>, Arc<Look<T, E>>>;

struct Look<T, E> {
    /// How many have asked.
    asked: AtomicU64,
    /// One looks at a time; the others wait here, in their order.
    last: tokio::sync::Mutex<Last<T, E>>,
}

/// The last look that ended.
struct Last<T, E> {
    /// It began when so many had asked.
    covers: u64,
    said: Option<Result<T, E>>,
}

impl<T, E> Default for Looks<T, E> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<T: Clone, E: Clone> Looks<T, E> {
    /// What `look` says, or said to somebody else in a look that began after this call.
    pub(crate) async fn at(&self, key: &str, look: impl AsyncFnOnce() -> Result<T, E>) -> Result<T, E> {
        let here = Here { looks: self, key, one: Some(self.enter(key)) };
        let Some(one) = &here.one else { return look().await };
        let number = one.asked.fetch_add(1, Ordering::Relaxed) + 1;
        let mut last = one.last.lock().await;
        if last.covers >= number
            && let Some(said) = &last.said
        {
            return said.clone();
        }
        let covers = one.asked.load(Ordering::Relaxed);
        let said = look().await;
        *last = Last { covers, said: Some(said.clone()) };
        said
    }

    fn enter(&self, key: &str) -> Arc<Look<T, E>> {
        let mut looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(one) = looks.get(key) {
            return Arc::clone(one);
        }
        let last = tokio::sync::Mutex::new(Last { covers: 0, said: None });
        let one = Arc::new(Look { asked: AtomicU64::new(0), last });
        looks.insert(key.into(), Arc::clone(&one));
        one
    }
}

/// Somebody who asks. The look is forgotten once nobody is there.
struct Here<'a, T, E> {
    looks: &'a Looks<T, E>,
    key: &'a str,
    one: Option<Arc<Look<T, E>>>,
}

impl<T, E> Drop for Here<'_, T, E> {
    fn drop(&mut self) {
        let mut looks = self.looks.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Who leaves lets go of it under the lock, so that the last one sees that it is.
        drop(self.one.take());
        if looks.get(self.key).is_some_and(|one| Arc::strong_count(one) == 1) {
            looks.remove(self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::pin;

    use futures_util::FutureExt;
    use tokio::sync::Semaphore;

    use super::*;

    /// A look that says how many there were when it began, and ends when it is let.
    struct Store {
        began: AtomicU64,
        may_end: Semaphore,
    }

    impl Store {
        fn new() -> Self {
            Self { began: AtomicU64::new(0), may_end: Semaphore::new(0) }
        }

        async fn look(&self) -> Result<u64, Infallible> {
            let number = self.began.fetch_add(1, Ordering::Relaxed) + 1;
            self.may_end.acquire().await.unwrap().forget();
            Ok(number)
        }
    }

    #[tokio::test]
    async fn who_comes_while_one_looks_hears_of_the_next_look_and_all_of_the_same() {
        let (looks, store) = (Looks::default(), Store::new());
        let mut first = pin!(looks.at("a", async || store.look().await));
        assert!(first.as_mut().now_or_never().is_none());
        let mut others: Vec<_> =
            (0..5).map(|_| Box::pin(looks.at("a", async || store.look().await))).collect();
        for other in &mut others {
            assert!(other.now_or_never().is_none());
        }
        store.may_end.add_permits(2);
        assert_eq!(first.await, Ok(1));
        for other in others {
            assert_eq!(other.await, Ok(2), "it asked before the second look, and after the first had begun");
        }
        assert!(looks.0.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_look_that_fails_has_failed_for_all_who_waited_for_it() {
        let (looks, store) = (Looks::default(), Store::new());
        let fails = async || Err::<u64, _>(store.look().await.unwrap());
        let mut all: Vec<_> = (0..6).map(|_| Box::pin(looks.at("a", fails))).collect();
        assert!(all.iter_mut().all(|one| one.now_or_never().is_none()));
        store.may_end.add_permits(2);
        let mut failed = Vec::new();
        for one in all {
            failed.push(one.await.unwrap_err());
        }
        assert_eq!(failed, [1, 2, 2, 2, 2, 2]);
        assert!(looks.0.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn who_goes_away_while_it_looks_holds_up_nobody() {
        let (looks, store) = (Looks::default(), Store::new());
        let mut first = Box::pin(looks.at("a", async || store.look().await));
        assert!((&mut first).now_or_never().is_none());
        let mut second = Box::pin(looks.at("a", async || store.look().await));
        assert!((&mut second).now_or_never().is_none());
        drop(first);
        store.may_end.add_permits(1);
        assert_eq!(second.await, Ok(2));
        assert!(looks.0.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn who_looks_for_something_else_waits_for_nobody() {
        let (looks, store) = (Looks::default(), Store::new());
        let mut first = pin!(looks.at("a", async || store.look().await));
        assert!(first.as_mut().now_or_never().is_none());
        assert_eq!(looks.at("b", async || Ok::<_, Infallible>(7)).await, Ok(7));
        store.may_end.add_permits(1);
        assert_eq!(first.await, Ok(1));
    }
}
