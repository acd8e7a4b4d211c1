//! Reclaiming: a look at all workers, and a transaction for each that is gone.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use taskwright_core::Timestamp;
use taskwright_core::sight::Sight;

use super::super::error::{is_about_rows, is_conflict};
use super::super::session::Session;
use super::super::sweep::{self, Found, Observer};
use super::super::tether;
use super::{PostgresStore, TRIES_MAX};
use crate::error::Error;
use crate::sweep::Reclaimed;

/// How soon to look again at a lost worker whose claim is just under way, since its server session may not have noticed yet,
/// or of whose jobs some are left.
const SOON: Duration = Duration::from_millis(250);

impl PostgresStore {
    /// See [`Store::reclaim`](crate::Store::reclaim).
    pub(super) async fn reclaim_lost(
        &self,
        now: Timestamp,
        monotonic_us: u64,
        sight: Sight,
    ) -> Result<Reclaimed, Error> {
        let observer = Observer {
            presence: &self.presence,
            boot: &self.boot,
            absences: &self.absences,
            lock_class: tether::lock_class(self.connections.settings().schema()),
            monotonic_us,
            sight: Mutex::new(sight),
            takes_writes: AtomicBool::new(false),
        };
        let look = sweep::look(self, &observer).await?;
        let mut reclaimed = Reclaimed { look_again_in: look.again_in, ..Reclaimed::default() };
        for number in look.gone.into_iter().filter(|number| self.stuck.is_due(*number, monotonic_us)) {
            let found = transact!(self, session => sweep::reclaim(session, &observer, now, number));
            match found {
                Ok(found) => {
                    self.stuck.forget(number);
                    if let Found::Lost { now_db_us, .. } = found {
                        // Many of them take their time.
                        observer.saw(now_db_us);
                    }
                    self.note(found, &mut reclaimed);
                }
                Err(error) if is_about_rows(&error) => {
                    let pause = self.stuck.note(number, monotonic_us);
                    tracing::warn!(
                        worker = number, %error, ?pause,
                        "the jobs of a lost worker cannot go on; it is tried again, and others go on meanwhile"
                    );
                }
                // Those that were found are told of: they will not be found again.
                Err(error) if !reclaimed.workers.is_empty() => {
                    tracing::warn!(%error, "the rest of the lost workers wait for the next look");
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        reclaimed.sight = observer.sight().clone();
        Ok(reclaimed)
    }

    /// Whether the database takes a write, which is about workers that live.
    pub(in super::super) async fn takes_a_write(&self, workers: &[i64]) -> bool {
        let touched: Result<bool, Error> = transact!(self, session => sweep::touch(session, workers));
        touched.unwrap_or_else(|error| {
            tracing::debug!(%error, "whether workers can renew their leases is not known");
            false
        })
    }

    fn note(&self, found: Found, reclaimed: &mut Reclaimed) {
        match found {
            Found::Lost { worker, left, .. } => {
                self.leave(worker.id);
                if left {
                    // Its marks tell of what is left, too.
                    reclaimed.look_again_in = Some(SOON);
                } else {
                    self.presence.forget(worker.id);
                }
                reclaimed.workers.push(worker);
            }
            Found::Claims => reclaimed.look_again_in = Some(SOON),
            Found::Before { worker, left: false } => self.presence.forget(worker),
            Found::Before { .. } | Found::Nothing => {}
        }
    }
}
