//! The parts of the store that keep principals, the audit, and what submitters leave on their jobs.

use std::sync::atomic::Ordering;

use taskwright_core::audit::{Entry, Link};
use taskwright_core::token::SecretHash;
use taskwright_core::{
    Actor, CancelPolicy, JobId, Namespace, NewJob, Owner, Timestamp, TokenId, TokenName, UserName,
};
use tokio_postgres::types::{ToSql, Type};

use super::super::schedule::page;
use super::super::session::{Session, Uuid, get};
use super::super::{audit, identity, subject, submitter};
use super::{PostgresStore, TRIES_MAX, is_conflict};
use crate::Reply;
use crate::audit::{AuditEnds, AuditFilter, AuditPage, AuditStore, Filling};
use crate::identity::{
    IdentityStore, Kept, NewSession, NewToken, NewUser, SessionView, StoredSession, StoredToken, StoredUser,
    UserWrite,
};
use crate::subject::Subject;
use crate::submitter::{RequestKey, Requested, SubmitterStore, Whose};

impl IdentityStore for PostgresStore {
    fn has_principals(&self) -> Reply<'_, bool> {
        Box::pin(async move {
            let rows = self.look(identity::ARE_SOME, &[]).await?;
            rows.first().map_or(Ok(false), |row| get(row, 0))
        })
    }

    fn bootstrap(&self, now: Timestamp, token: NewToken) -> Reply<'_, bool> {
        Box::pin(async move {
            transact!(self, about Subject::Token(token.id), session => identity::bootstrap(session, now, &token))
        })
    }

    fn add_token(&self, now: Timestamp, token: NewToken) -> Reply<'_, bool> {
        Box::pin(async move {
            transact!(self, about Subject::Token(token.id), session => identity::add_token(session, now, &token))
        })
    }

    fn token(&self, hash: SecretHash) -> Reply<'_, Option<StoredToken>> {
        Box::pin(async move {
            let hash = hash.as_bytes().as_slice();
            let rows = self.look(&identity::by_hash(), &[(&hash, Type::BYTEA)]).await?;
            rows.first().map(identity::read_token).transpose()
        })
    }

    fn token_named(&self, namespace: Option<Namespace>, name: TokenName) -> Reply<'_, Option<StoredToken>> {
        Box::pin(async move {
            let namespace = namespace.as_ref().map_or("", Namespace::as_str);
            let values: [(&(dyn ToSql + Sync), Type); 2] =
                [(&namespace, Type::TEXT), (&name.as_str(), Type::TEXT)];
            self.look(&identity::named(), &values).await?.first().map(identity::read_token).transpose()
        })
    }

    fn tokens(&self, before: Option<TokenId>, limit: usize) -> Reply<'_, Vec<StoredToken>> {
        Box::pin(async move {
            let before = before.map_or(Uuid([0xff; 16]), Uuid::from);
            let most = page(limit);
            let values: [(&(dyn ToSql + Sync), Type); 2] = [(&before, Type::UUID), (&most, Type::INT8)];
            self.look(&identity::newest_tokens(), &values).await?.iter().map(identity::read_token).collect()
        })
    }

    fn revoke_token(&self, now: Timestamp, token: TokenId) -> Reply<'_, Kept> {
        Box::pin(async move {
            transact!(self, about Subject::Token(token), session => identity::revoke_token(session, now, token))
        })
    }

    fn touch_token(&self, now: Timestamp, token: TokenId) -> Reply<'_, ()> {
        Box::pin(async move {
            let store = &self.without_behalf();
            transact!(store, session => identity::touch_token(session, now, token))
        })
    }

    fn add_user(&self, now: Timestamp, user: NewUser) -> Reply<'_, bool> {
        Box::pin(async move {
            transact!(self, about Subject::User(user.name.clone()), session => identity::add_user(session, now, &user))
        })
    }

    fn user(&self, name: UserName) -> Reply<'_, Option<StoredUser>> {
        Box::pin(async move {
            let rows = self.look(&identity::by_name(), &[(&name.as_str(), Type::TEXT)]).await?;
            rows.first().map(|row| identity::read_user(row, 0)).transpose()
        })
    }

    fn users(&self, after: Option<UserName>, limit: usize) -> Reply<'_, Vec<StoredUser>> {
        Box::pin(async move {
            let after = after.as_ref().map_or("", UserName::as_str);
            let most = page(limit);
            let values: [(&(dyn ToSql + Sync), Type); 2] = [(&after, Type::TEXT), (&most, Type::INT8)];
            let rows = self.look(&identity::users_after(), &values).await?;
            rows.iter().map(|row| identity::read_user(row, 0)).collect()
        })
    }

    fn write_user(&self, now: Timestamp, name: UserName, write: UserWrite) -> Reply<'_, Kept> {
        Box::pin(async move {
            transact!(self, about Subject::User(name.clone()), session => identity::write_user(session, now, &name, write.clone()))
        })
    }

    fn remove_user(&self, now: Timestamp, name: UserName) -> Reply<'_, Kept> {
        Box::pin(async move {
            transact!(self, about Subject::User(name.clone()), session => identity::remove_user(session, now, &name))
        })
    }

    fn open_session(&self, now: Timestamp, new: NewSession) -> Reply<'_, bool> {
        Box::pin(async move { transact!(self, session => identity::open_session(session, now, &new)) })
    }

    fn session(&self, hash: SecretHash) -> Reply<'_, Option<StoredSession>> {
        Box::pin(async move {
            let hash = hash.as_bytes().as_slice();
            let rows = self.look(&identity::session_by_hash(), &[(&hash, Type::BYTEA)]).await?;
            rows.first().map(identity::read_session).transpose()
        })
    }

    fn sessions(&self, user: UserName) -> Reply<'_, Vec<SessionView>> {
        Box::pin(async move {
            let rows = self.look(identity::SESSIONS_OF, &[(&user.as_str(), Type::TEXT)]).await?;
            rows.iter().map(identity::read_session_view).collect()
        })
    }

    fn touch_session(&self, now: Timestamp, hash: SecretHash) -> Reply<'_, ()> {
        Box::pin(async move {
            let store = &self.without_behalf();
            transact!(store, session => identity::touch_session(session, now, hash))
        })
    }

    fn end_session(&self, hash: SecretHash) -> Reply<'_, bool> {
        Box::pin(async move { transact!(self, session => identity::end_session(session, hash)) })
    }

    fn cancel_policy(&self, namespace: Namespace) -> Reply<'_, CancelPolicy> {
        Box::pin(async move {
            let rows = self.look(identity::POLICY, &[(&namespace.as_str(), Type::TEXT)]).await?;
            identity::read_policy(rows.first())
        })
    }

    fn set_cancel_policy(&self, _: Timestamp, namespace: Namespace, policy: CancelPolicy) -> Reply<'_, bool> {
        Box::pin(async move {
            transact!(self, about Subject::Policy(namespace.clone()), session => identity::set_cancel_policy(session, &namespace, policy))
        })
    }
}

impl AuditStore for PostgresStore {
    fn note_audit(&self, entry: Entry) -> Reply<'_, ()> {
        Box::pin(async move {
            let store = &self.without_behalf();
            transact!(store, session => audit::note(session, &entry))
        })
    }

    fn seal_audit(&self, limit: usize) -> Reply<'_, usize> {
        Box::pin(async move {
            let store = &self.without_behalf();
            transact!(store, session => audit::seal(session, limit))
        })
    }

    fn audit_ends(&self) -> Reply<'_, AuditEnds> {
        Box::pin(async move { snapshot!(self, session => audit::ends(session)) })
    }

    fn audit_links(&self, after: u64, limit: usize) -> Reply<'_, Vec<Link>> {
        Box::pin(async move { snapshot!(self, session => audit::links(session, after, page(limit))) })
    }

    fn audit_page(&self, filter: AuditFilter, before: Option<u64>, limit: usize) -> Reply<'_, AuditPage> {
        Box::pin(async move {
            let filling = Filling::new(filter, limit);
            snapshot!(self, session => audit::page(session, filling, before))
        })
    }
}

impl SubmitterStore for PostgresStore {
    fn comment(&self, now: Timestamp, job: JobId, actor: Actor, text: String) -> Reply<'_, bool> {
        Box::pin(
            async move { transact!(self, session => submitter::comment(session, now, job, &actor, &text)) },
        )
    }

    fn consume(&self, now: Timestamp, jobs: Vec<JobId>, owner: Owner) -> Reply<'_, Vec<bool>> {
        Box::pin(async move { transact!(self, session => submitter::consume(session, now, &jobs, &owner)) })
    }

    fn enqueue_once(&self, now: Timestamp, request: RequestKey, jobs: Vec<NewJob>) -> Reply<'_, Requested> {
        Box::pin(
            async move { transact!(self, session => submitter::enqueue_once(session, now, &request, &jobs)) },
        )
    }

    fn whose(&self, job: JobId) -> Reply<'_, Option<Whose>> {
        Box::pin(async move { snapshot!(self, session => submitter::whose(session, job)) })
    }
}
