//! The part of the store that tells of moves.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::moves;
use super::super::session::Session;
use super::{PostgresStore, TRIES_MAX, is_conflict};
use crate::Reply;
use crate::moves::{MovePlace, MoveStore, Moves};

impl MoveStore for PostgresStore {
    fn listen(&self, lease: Duration) -> Reply<'_, MovePlace> {
        Box::pin(async move { transact!(self, session => moves::listen(session, lease)) })
    }

    fn moves(&self, after: MovePlace, limit: usize) -> Reply<'_, Moves> {
        Box::pin(async move { snapshot!(self, session => moves::moves(session, &after, limit)) })
    }
}
