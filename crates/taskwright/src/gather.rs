//! Jobs that many ask for one by one, stored together.
//!
//! A lone caller stores its job by itself and waits for nobody. While [`TURNS_MAX`] calls of the store are under way, those who come wait;
//! whoever's call ends hands its turn to the first of them, who stores the jobs of all that have gathered by then with one call. So
//! the more there is to do, the less each job costs, and no timer is in it.
//!
//! Nobody does anything for others that outlives it: a caller that is dropped while it has the turn drops those of others with it,
//! and they ask again, with the same ids, which makes no second job.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use taskwright_core::NewJob;
use taskwright_core::audit::Behalf;
use taskwright_store::{Enqueued, Error as StoreError};
use tokio::sync::oneshot;

use crate::attempt::lock;
use crate::error::Error;

/// Calls of the store that are under way at a time: while one is made durable, the next gathers and is sent.
const TURNS_MAX: usize = 2;
/// Jobs of one call.
const JOBS_MAX: usize = 64;
/// Bytes of arguments at which a call takes no more jobs.
const ARGS_BYTES_MAX: usize = 1 << 20;

/// A job, and on whose behalf it is stored.
pub(crate) type Asked = (NewJob, Option<Arc<Behalf>>);

/// Those who ask, in the order in which they came.
#[derive(Default)]
pub(crate) struct Gather(Mutex<Line>);

#[derive(Default)]
struct Line {
    turns: usize,
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    asked: Arc<Asked>,
    word: oneshot::Sender<Word>,
}

/// What somebody who waits is told.
enum Word {
    /// It has the turn, and whoever waits behind it is in its care.
    Go(Turn),
    /// How it went.
    Done(Result<Enqueued, StoreError>),
    /// Somebody's job was refused: each is to be stored by itself, so that everybody is told what is wrong with its own.
    Alone,
}

/// One of the calls that may be under way. Dropped, it goes to the first who waits.
struct Turn(Option<Arc<Gather>>);

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(gather) = self.0.take() else { return };
        loop {
            let first = {
                let mut line = lock(&gather.0);
                let first = line.waiting.pop_front();
                if first.is_none() {
                    line.turns -= 1;
                }
                first
            };
            let Some(first) = first else { return };
            match first.word.send(Word::Go(Self(Some(Arc::clone(&gather))))) {
                Ok(()) => return,
                // It has gone away, and the turn comes back: it is given to the next one here.
                Err(Word::Go(mut turn)) => turn.0 = None,
                Err(_) => return,
            }
        }
    }
}

impl Gather {
    /// Stores a job with `send`, together with those of others. `send` stores all that it is given or none, also when it
    /// gets the same once more.
    pub(crate) async fn store<F>(
        self: &Arc<Self>,
        job: NewJob,
        behalf: Option<Arc<Behalf>>,
        send: impl Fn(Vec<Arc<Asked>>) -> F,
    ) -> Result<Enqueued, Error>
    where
        F: Future<Output = Result<Vec<Enqueued>, Error>>,
    {
        let asked = Arc::new((job, behalf));
        loop {
            let turn = match self.ask(&asked) {
                Ok(turn) => turn,
                Err(word) => match word.await {
                    Ok(Word::Go(turn)) => turn,
                    Ok(Word::Done(answer)) => return Ok(answer?),
                    Ok(Word::Alone) => return one(send(vec![asked]).await?),
                    // Whoever had the turn is gone.
                    Err(_) => continue,
                },
            };
            return self.lead(turn, asked, send).await;
        }
    }

    /// A turn, if there is one, or where to hear of it.
    fn ask(self: &Arc<Self>, asked: &Arc<Asked>) -> Result<Turn, oneshot::Receiver<Word>> {
        let mut line = lock(&self.0);
        if line.turns < TURNS_MAX {
            line.turns += 1;
            return Ok(Turn(Some(Arc::clone(self))));
        }
        let (word, heard) = oneshot::channel();
        line.waiting.push_back(Waiting { asked: Arc::clone(asked), word });
        Err(heard)
    }

    /// Stores a job and those that have gathered.
    async fn lead<F>(
        &self,
        turn: Turn,
        asked: Arc<Asked>,
        send: impl Fn(Vec<Arc<Asked>>) -> F,
    ) -> Result<Enqueued, Error>
    where
        F: Future<Output = Result<Vec<Enqueued>, Error>>,
    {
        let others = self.take(&asked);
        let all = std::iter::once(&asked).chain(others.iter().map(|one| &one.asked));
        let answer = send(all.map(Arc::clone).collect()).await;
        drop(turn);
        match answer {
            Ok(stored) => {
                let mut stored = stored.into_iter();
                let own = stored.next();
                for (other, stored) in others.into_iter().zip(stored) {
                    // It may have gone away; its job is stored.
                    let _ = other.word.send(Word::Done(Ok(stored)));
                }
                own.ok_or_else(no_answer)
            }
            Err(error) if others.is_empty() => Err(error),
            Err(error) if error.is_transient() => {
                for other in others {
                    let why = StoreError::unavailable("the enqueue", error.to_string());
                    let _ = other.word.send(Word::Done(Err(why)));
                }
                Err(error)
            }
            Err(_) => {
                for other in others {
                    let _ = other.word.send(Word::Alone);
                }
                one(send(vec![asked]).await?)
            }
        }
    }

    /// Those who wait, as far as one call takes them: all on behalf of somebody, or of nobody, as the first one is.
    fn take(&self, first: &Asked) -> Vec<Waiting> {
        let mut taken = Vec::new();
        let mut line = lock(&self.0);
        let mut bytes = first.0.args.as_str().len();
        while let Some(next) = line.waiting.front() {
            bytes += next.asked.0.args.as_str().len();
            let is_alike = next.asked.1.is_some() == first.1.is_some();
            if !is_alike || taken.len() + 1 >= JOBS_MAX || bytes > ARGS_BYTES_MAX {
                break;
            }
            // One that has gone away wants nothing stored.
            taken.extend(line.waiting.pop_front().filter(|next| !next.word.is_closed()));
        }
        taken
    }
}

fn one(stored: Vec<Enqueued>) -> Result<Enqueued, Error> {
    stored.first().copied().ok_or_else(no_answer)
}

/// A store answers each job of a batch.
fn no_answer() -> Error {
    StoreError::unavailable("the enqueue", "the store did not answer it").into()
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use taskwright_core::{Args, JobId, Kind};

    use super::*;

    fn polled<T>(future: &mut Pin<Box<dyn Future<Output = T> + '_>>) -> Option<T> {
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    type Storing<'a> = Pin<Box<dyn Future<Output = Result<Enqueued, Error>> + 'a>>;

    /// A store that answers when it is let, and keeps what each call stored.
    struct Store {
        calls: Mutex<Vec<Vec<u8>>>,
        may_answer: tokio::sync::Semaphore,
        gather: Arc<Gather>,
    }

    impl Store {
        fn new() -> Self {
            let may_answer = tokio::sync::Semaphore::new(0);
            Self { calls: Mutex::default(), may_answer, gather: Arc::default() }
        }

        /// The calls that were answered, each by the numbers of its jobs.
        fn calls(&self) -> Vec<Vec<u8>> {
            lock(&self.calls).clone()
        }

        /// Stores a job; 13 is refused.
        fn store(&self, n: u8) -> Storing<'_> {
            let job = NewJob::new(id(n), Kind::new("mail").unwrap(), Args::default());
            Box::pin(self.gather.store(job, None, |asked| self.send(asked)))
        }

        async fn send(&self, asked: Vec<Arc<Asked>>) -> Result<Vec<Enqueued>, Error> {
            self.may_answer.acquire().await.unwrap().forget();
            let numbers: Vec<u8> = asked.iter().map(|asked| asked.0.id.as_bytes()[15]).collect();
            if numbers.contains(&13) {
                return Err(taskwright_core::Error::invalid("the job", "it is 13", "choose another").into());
            }
            lock(&self.calls).push(numbers);
            Ok(asked.iter().map(|asked| Enqueued { id: asked.0.id, existing: false }).collect())
        }
    }

    fn id(n: u8) -> JobId {
        JobId::from_parts(1, [n; 10])
    }

    /// All of them, until each is answered.
    async fn answers(all: Vec<Storing<'_>>) -> Vec<Result<Enqueued, Error>> {
        let mut answers = Vec::new();
        for one in all {
            answers.push(one.await);
        }
        answers
    }

    #[tokio::test]
    async fn who_comes_while_others_are_stored_is_stored_with_who_came_too() {
        let store = Store::new();
        let mut all: Vec<Storing<'_>> = (1..=6).map(|n| store.store(n)).collect();
        assert!(all.iter_mut().all(|one| polled(one).is_none()));
        store.may_answer.add_permits(4);
        let ids: Vec<JobId> = answers(all).await.into_iter().map(|answer| answer.unwrap().id).collect();
        assert_eq!(ids, (1..=6).map(id).collect::<Vec<_>>());
        assert_eq!(store.calls(), [vec![1], vec![2], vec![3, 5, 6], vec![4]]);
        // Nobody is there any more, and nobody waits.
        store.may_answer.add_permits(1);
        store.store(7).await.unwrap();
        assert_eq!(store.calls().last(), Some(&vec![7]));
        assert_eq!(lock(&store.gather.0).turns, 0);
    }

    #[tokio::test]
    async fn a_job_that_is_refused_is_told_to_its_own_caller_only() {
        let store = Store::new();
        let mut all: Vec<Storing<'_>> = [1, 2, 3, 4, 13].map(|n| store.store(n)).into();
        assert!(all.iter_mut().all(|one| polled(one).is_none()));
        store.may_answer.add_permits(100);
        let refused: Vec<bool> = answers(all).await.iter().map(Result::is_err).collect();
        assert_eq!(refused, [false, false, false, false, true]);
        assert_eq!(store.calls(), [vec![1], vec![2], vec![3], vec![4]]);
    }

    #[tokio::test]
    async fn who_goes_away_takes_nobodys_job_along() {
        let store = Store::new();
        let mut all: Vec<Storing<'_>> = (1..=6).map(|n| store.store(n)).collect();
        assert!(all.iter_mut().all(|one| polled(one).is_none()));
        // The third one is the next to have the turn; the fourth has gone away while it waits.
        drop(all.remove(3));
        store.may_answer.add_permits(1);
        assert!(polled(&mut all[0]).is_some());
        let mut leader = all.remove(2);
        assert!(polled(&mut leader).is_none(), "it stores what the others asked for");
        drop(leader);
        store.may_answer.add_permits(100);
        for n in [5, 6, 2] {
            let at = if n == 2 { 1 } else { 2 };
            assert_eq!(all.remove(at).await.unwrap().id, id(n));
        }
        let mut stored: Vec<u8> = store.calls().concat();
        stored.sort_unstable();
        assert_eq!(stored, [1, 2, 5, 6]);
        drop(all);
        assert_eq!(lock(&store.gather.0).turns, 0);
    }

    #[tokio::test]
    async fn a_turn_that_nobody_takes_up_goes_on() {
        let store = Store::new();
        let mut all: Vec<Storing<'_>> = (1..=4).map(|n| store.store(n)).collect();
        assert!(all.iter_mut().all(|one| polled(one).is_none()));
        store.may_answer.add_permits(1);
        assert!(polled(&mut all[0]).is_some());
        // The third one has been given the turn, and never looks.
        drop(all.remove(2));
        store.may_answer.add_permits(100);
        assert_eq!(all.remove(2).await.unwrap().id, id(4));
    }
}
