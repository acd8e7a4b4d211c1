//! Looks at the store that many want at the same time, each for the same thing: who has a token, or a session.
//!
//! Whoever asks gets what a look says that began *after* it asked, so that a token that was revoked before is never taken for good.
//! While one is under way, those who come wait for the next, which then is for all of them: a thousand requests with one token cost the
//! store a look after the other, not a thousand at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Looks by what they are for. What nobody asks for at the moment is not kept.
pub(crate) struct Looks<T>(Mutex<HashMap<Box<str>, Arc<Look<T>>>>);

struct Look<T> {
    /// How many have asked.
    asked: AtomicU64,
    /// One looks at a time; the others wait here, in their order.
    last: tokio::sync::Mutex<Last<T>>,
}

/// The last look that ended.
struct Last<T> {
    /// It began when so many had asked.
    covers: u64,
    said: Option<T>,
}

impl<T> Default for Looks<T> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<T: Clone> Looks<T> {
    /// What `look` says, or said to somebody else in a look that began after this call.
    pub(crate) async fn at<E>(&self, key: &str, look: impl AsyncFnOnce() -> Result<T, E>) -> Result<T, E> {
        let one = self.enter(key);
        let _leave = Leave { looks: self, key };
        let number = one.asked.fetch_add(1, Ordering::Relaxed) + 1;
        let mut last = one.last.lock().await;
        if last.covers >= number
            && let Some(said) = &last.said
        {
            return Ok(said.clone());
        }
        let covers = one.asked.load(Ordering::Relaxed);
        let said = look().await?;
        *last = Last { covers, said: Some(said.clone()) };
        Ok(said)
    }

    fn enter(&self, key: &str) -> Arc<Look<T>> {
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

/// Forgets a look once nobody is there.
struct Leave<'a, T> {
    looks: &'a Looks<T>,
    key: &'a str,
}

impl<T> Drop for Leave<'_, T> {
    fn drop(&mut self) {
        let mut looks = self.looks.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The map has it, and whoever is dropped here.
        if looks.get(self.key).is_some_and(|one| Arc::strong_count(one) <= 2) {
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
