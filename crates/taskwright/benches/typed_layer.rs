//! What the typed layer costs: reading arguments, extractors and outputs of a task, above a handler that does nothing, in the same
//! worker on a store that only counts.
//!
//! `cargo bench -p taskwright --bench typed_layer` prints the time and the allocations of running [`JOBS`] jobs; divided by that, and
//! less those of `raw`, they are what a job of the form costs.

#[path = "../examples/noop_rate/counting.rs"]
mod counting;

use std::sync::Arc;

use divan::Bencher;
use taskwright::core::{Kind, Outcome};
use taskwright::{
    Args, Context, Env, Handler, HandlerFuture, Registry, TaskError, TaskOptions, Worker, task,
};
use tokio::runtime::Runtime;

use crate::counting::CountingStore;

const JOBS: u64 = 10_000;

#[global_allocator]
static ALLOCATOR: divan::AllocProfiler = divan::AllocProfiler::system();

fn main() {
    divan::main();
}

/// The raw loop: no arguments are read, no output is written, and the future is boxed because every handler's is.
struct Raw;

impl Handler for Raw {
    fn call(&self, _: Context) -> HandlerFuture {
        Box::pin(std::future::ready(Outcome::Completed { result: None }))
    }
}

struct Mailer;

#[task("noop", name = Bare)]
async fn bare() {}

#[task("noop", name = Numbered)]
async fn numbered(id: u64) {
    divan::black_box(id);
}

#[task("noop", name = Stateful)]
async fn stateful(id: u64, ctx: &Context, #[state] mailer: &Mailer) -> Result<(), TaskError> {
    divan::black_box((id, ctx, mailer));
    Ok(())
}

#[divan::bench]
fn raw(bencher: Bencher<'_, '_>) {
    let kind = Kind::new("noop").unwrap();
    run(bencher, Registry::new().add(kind, TaskOptions::default(), Raw).unwrap(), "null");
}

#[divan::bench]
fn closure(bencher: Bencher<'_, '_>) {
    run(bencher, Registry::new().handler("noop", |_| async { Ok(()) }).unwrap(), "null");
}

#[divan::bench]
fn task_without_arguments(bencher: Bencher<'_, '_>) {
    run(bencher, Registry::new().register::<Bare>().unwrap(), "null");
}

#[divan::bench]
fn task_with_a_number(bencher: Bencher<'_, '_>) {
    run(bencher, Registry::new().register::<Numbered>().unwrap(), r#"{"id":7}"#);
}

#[divan::bench]
fn task_with_a_number_context_and_state(bencher: Bencher<'_, '_>) {
    run(bencher, Registry::new().state(Mailer).register::<Stateful>().unwrap(), r#"{"id":7}"#);
}

fn run(bencher: Bencher<'_, '_>, registry: Registry, args: &str) {
    let args = Args::from_json(args).unwrap();
    let runtime: Runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    bencher
        .counter(divan::counter::ItemsCount::new(JOBS))
        .with_inputs(|| CountingStore::new(JOBS).args(args.clone()))
        .bench_local_values(|store| {
            let worker = Worker::builder(Arc::new(store), registry.clone(), Env::system());
            let worker = worker.concurrency(16).until_empty();
            let summary = runtime.block_on(worker.run(std::future::pending())).unwrap();
            assert_eq!(summary.completed, JOBS);
        });
}
