//! Whatever is done to them, in whatever order, a store answers as the reference model does.
//!
//! Random steps go to a [`MemoryStore`](taskwright_store::memory::MemoryStore) and to the store under test; after each,
//! the answers, every job, every worker and every queue are compared. A store that is wrong on purpose shows that the
//! comparison would notice.

mod broken;
mod plan;
#[cfg(feature = "postgres")]
mod postgres;
mod twins;

use std::sync::Arc;

use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use taskwright_store::SharedStore;
use taskwright_store::memory::MemoryStore;
use taskwright_store::sqlite::{Options, SqliteStore};

use crate::broken::{Broken, Fault};
use crate::plan::Plan;
#[cfg(feature = "postgres")]
use crate::postgres::Postgres;
use crate::twins::{Subject, Twins};

struct Memory(MemoryStore);

impl Subject for Memory {
    fn fresh() -> Self {
        Self(MemoryStore::new())
    }

    async fn open(&self) -> SharedStore {
        Arc::new(self.0.handle())
    }
}

struct Sqlite(tempfile::TempDir);

impl Subject for Sqlite {
    fn fresh() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    async fn open(&self) -> SharedStore {
        let path = self.0.path().join("taskwright.db");
        Arc::new(SqliteStore::open(&path, Options::default()).unwrap())
    }
}

/// A model whose claims come in the wrong order, and so on.
struct Wrong<const FAULT: u8>(MemoryStore);

impl<const FAULT: u8> Subject for Wrong<FAULT> {
    fn fresh() -> Self {
        Self(MemoryStore::new())
    }

    async fn open(&self) -> SharedStore {
        Arc::new(Broken::new(self.0.handle(), Fault::ALL[usize::from(FAULT)]))
    }
}

fn config(cases: u32) -> Config {
    Config {
        cases,
        max_shrink_iters: 1_000,
        max_shrink_time: 30_000,
        failure_persistence: None,
        ..Config::default()
    }
}

prop_state_machine! {
    #![proptest_config(config(60))]

    #[test]
    fn the_model_answers_as_itself(sequential 30..120 => Twins<Memory>);
}

prop_state_machine! {
    #![proptest_config(config(24))]

    #[test]
    fn the_sqlite_store_answers_as_the_model(sequential 30..100 => Twins<Sqlite>);
}

#[cfg(feature = "postgres")]
prop_state_machine! {
    #![proptest_config(config(8))]

    #[test]
    fn the_postgres_store_answers_as_the_model(sequential 30..100 => Twins<Postgres>);
}

/// Whether the comparison notices the fault.
fn is_noticed<const FAULT: u8>() -> bool {
    let config = Config { max_shrink_iters: 4, ..config(100) };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config.clone(), rng);
    let found = runner.run(&Plan::sequential_strategy(30..120), |(plan, steps, seen)| {
        Twins::<Wrong<FAULT>>::test_sequential(config.clone(), plan, steps, seen);
        Ok(())
    });
    matches!(found, Err(TestError::Fail(..)))
}

#[test]
fn a_store_that_claims_in_another_order_is_noticed() {
    assert!(is_noticed::<{ Fault::ClaimsBackwards as u8 }>());
}

#[test]
fn a_store_that_believes_zombies_is_noticed() {
    assert!(is_noticed::<{ Fault::BelievesZombies as u8 }>());
}

#[test]
fn a_store_that_forgets_a_new_priority_is_noticed() {
    assert!(is_noticed::<{ Fault::ForgetsPriorities as u8 }>());
}

#[test]
fn a_store_that_loses_start_marks_is_noticed() {
    assert!(is_noticed::<{ Fault::LosesMarks as u8 }>());
}
