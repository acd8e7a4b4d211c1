//! Single requests of one tenant, alone and while another floods the server: stores jobs over so many connections as fast as it is
//! answered, and goes on when it is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use taskwright::Env;
use taskwright::env::Spawned;

use super::connection::Connection;
use super::load::{Took, requests};
use super::server::ServerProcess;
use super::submission;
use crate::bench::scene::Scene;
use crate::bench::workers::died;
use crate::cli::bench::Bench;
use crate::error::Error;

/// What came of it.
pub(super) struct Flood {
    /// With nobody else there.
    pub(super) alone: Took,
    /// Beside who floods.
    pub(super) beside: Took,
    /// Requests of theirs that were answered, and that were refused, and how long that was, in microseconds.
    pub(super) answered: u64,
    pub(super) refused: u64,
    pub(super) took_us: u64,
}

/// What those who flood have been told so far.
#[derive(Default)]
struct Told {
    answered: AtomicU64,
    refused: AtomicU64,
    is_over: AtomicBool,
}

pub(super) async fn measure(scene: &Scene, verb: &Bench) -> Result<Flood, Error> {
    let env = &scene.env;
    let store = scene.open(verb).await?;
    let server = ServerProcess::start(scene, verb).await?;
    let [tenant, greedy] = server.tenants();
    let mut asking = Connection::open_as(&server, tenant).await?;
    requests(env, verb, &mut asking).await?;
    let alone = requests(env, verb, &mut asking).await?;

    let told = Arc::new(Told::default());
    let mut flooding = Vec::new();
    for number in 0..verb.flood {
        let connection = Connection::open_as(&server, greedy).await?;
        flooding.push(flood(env, connection, u64::from(number), verb.payload, Arc::clone(&told)));
    }
    let began_us = env.monotonic_us();
    let beside = requests(env, verb, &mut asking).await?;
    let took_us = env.monotonic_us() - began_us;
    told.is_over.store(true, Ordering::Relaxed);
    for one in flooding {
        one.await.map_err(died)??;
    }
    drop(asking);
    server.stop().await?;
    store.close().await?;
    scene.clear().await?;
    let (answered, refused) = (told.answered.load(Ordering::Relaxed), told.refused.load(Ordering::Relaxed));
    Ok(Flood { alone, beside, answered, refused, took_us })
}

fn flood(
    env: &Env,
    mut connection: Connection,
    first: u64,
    payload: u32,
    told: Arc<Told>,
) -> Spawned<Result<(), Error>> {
    env.spawn("bench-flood", async move {
        let mut number = first << 32;
        while !told.is_over.load(Ordering::Relaxed) {
            number += 1;
            let answer = connection.ask("POST", "/api/v1/jobs", &submission(number, payload)).await?;
            if answer.is_refused() {
                told.refused.fetch_add(1, Ordering::Relaxed);
            } else {
                answer.is(201)?;
                told.answered.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    })
}
