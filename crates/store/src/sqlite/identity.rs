//! Principals.

use std::collections::BTreeMap;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use taskwright_core::token::SecretHash;
use taskwright_core::{
    Actor, CancelPolicy, Grants, Namespace, Role, Scopes, Timestamp, TokenId, TokenName, UserName,
};

use super::SqliteStore;
use super::error::read_error;
use super::schedule::{page, rows};
use super::session::{Session, name};
use crate::Reply;
use crate::error::Error;
use crate::identity::{
    IdentityStore, Kept, NewSession, NewToken, NewUser, Rank, SessionView, StoredSession, StoredToken,
    StoredUser, UserWrite, gives_up,
};
use crate::subject::Subject;

impl IdentityStore for SqliteStore {
    fn has_principals(&self) -> Reply<'_, bool> {
        self.readers.look(|conn| {
            conn.prepare_cached(ARE_SOME)
                .and_then(|mut find| find.query_row([], |row| row.get(0)))
                .map_err(read_error)
        })
    }

    fn bootstrap(&self, now: Timestamp, token: NewToken) -> Reply<'_, bool> {
        let about = self.writer.about(|| Subject::Token(token.id));
        self.writer.write_about(about, move |session| {
            let are_some = session.first(ARE_SOME, [], |row| row.get(0))?.unwrap_or(true);
            if are_some { Ok(false) } else { add_token(session, now, &token) }
        })
    }

    fn add_token(&self, now: Timestamp, token: NewToken) -> Reply<'_, bool> {
        let about = self.writer.about(|| Subject::Token(token.id));
        self.writer.write_about(about, move |session| add_token(session, now, &token))
    }

    fn token(&self, hash: SecretHash) -> Reply<'_, Option<StoredToken>> {
        self.readers.look(move |conn| first(conn, &by_hash(), [hash.as_bytes()], read_token))
    }

    fn token_named(&self, namespace: Option<Namespace>, name: TokenName) -> Reply<'_, Option<StoredToken>> {
        self.readers.look(move |conn| {
            let namespace = namespace.as_ref().map_or("", Namespace::as_str);
            first(conn, &named(), [namespace, name.as_str()], read_token)
        })
    }

    fn tokens(&self, before: Option<TokenId>, limit: usize) -> Reply<'_, Vec<StoredToken>> {
        self.readers.read(move |conn| {
            let before = before.map_or([0xff; 16], |before| *before.as_bytes());
            rows(conn, &newest_tokens(), (before, page(limit)), read_token)
        })
    }

    fn revoke_token(&self, now: Timestamp, token: TokenId) -> Reply<'_, Kept> {
        let about = self.writer.about(|| Subject::Token(token));
        self.writer.write_about(about, move |session| {
            let Some(stored) = session.first(&by_id(), [token.as_bytes()], read_token)? else {
                return Ok(Kept::Unknown);
            };
            if stored.revoked_at.is_some() {
                return Ok(Kept::Already);
            }
            let counts = stored.token.rank == Rank::Superuser && stored.is_good(now);
            if counts && is_last_superuser(session, now)? {
                return Ok(Kept::LastSuperuser);
            }
            session.execute(REVOKE, (token.as_bytes(), now.as_micros()))?;
            Ok(Kept::Done)
        })
    }

    fn touch_token(&self, now: Timestamp, token: TokenId) -> Reply<'_, ()> {
        self.writer.without_behalf().write(move |session| {
            session.execute(TOUCH_TOKEN, (token.as_bytes(), now.as_micros()))?;
            Ok(())
        })
    }

    fn add_user(&self, now: Timestamp, user: NewUser) -> Reply<'_, bool> {
        let about = self.writer.about(|| Subject::User(user.name.clone()));
        self.writer.write_about(about, move |session| {
            let NewUser { name, password, grants, created_by } = &user;
            let (at, roles) = (now.as_micros(), roles_text(grants));
            let values = params![name.as_str(), password, grants.superuser, roles, created_by.as_str(), at];
            Ok(session.execute(INSERT_USER, values)? > 0)
        })
    }

    fn user(&self, name: UserName) -> Reply<'_, Option<StoredUser>> {
        self.readers.look(move |conn| first(conn, &by_name(), [name.as_str()], |row| read_user(row, 0)))
    }

    fn users(&self, after: Option<UserName>, limit: usize) -> Reply<'_, Vec<StoredUser>> {
        self.readers.read(move |conn| {
            let after = after.as_ref().map_or("", UserName::as_str);
            rows(conn, &users_after(), (after, page(limit)), |row| read_user(row, 0))
        })
    }

    fn write_user(&self, now: Timestamp, name: UserName, write: UserWrite) -> Reply<'_, Kept> {
        let about = self.writer.about(|| Subject::User(name.clone()));
        self.writer.write_about(about, move |session| write_user(session, now, &name, write))
    }

    fn remove_user(&self, now: Timestamp, name: UserName) -> Reply<'_, Kept> {
        let about = self.writer.about(|| Subject::User(name.clone()));
        self.writer.write_about(about, move |session| {
            let found = session.first(&by_name(), [name.as_str()], |row| read_user(row, 0))?;
            let Some(stored) = found else { return Ok(Kept::Unknown) };
            let disable = UserWrite { disabled: Some(true), ..UserWrite::default() };
            if gives_up(&stored, &disable) && is_last_superuser(session, now)? {
                return Ok(Kept::LastSuperuser);
            }
            session.execute(REMOVE_USER, [name.as_str()])?;
            session.execute(END_SESSIONS, [name.as_str()])?;
            Ok(Kept::Done)
        })
    }

    fn open_session(&self, now: Timestamp, new: NewSession) -> Reply<'_, bool> {
        self.writer.write(move |session| {
            let NewSession { hash, user, password, expires_at } = &new;
            session.execute(REMOVE_SESSIONS, [now.as_micros()])?;
            let values =
                params![hash.as_bytes(), user.as_str(), now.as_micros(), expires_at.as_micros(), password];
            Ok(session.execute(OPEN_SESSION, values)? > 0)
        })
    }

    fn session(&self, hash: SecretHash) -> Reply<'_, Option<StoredSession>> {
        self.readers.look(move |conn| first(conn, &session_by_hash(), [hash.as_bytes()], read_session))
    }

    fn sessions(&self, user: UserName) -> Reply<'_, Vec<SessionView>> {
        self.readers.read(move |conn| rows(conn, SESSIONS_OF, [user.as_str()], read_session_view))
    }

    fn touch_session(&self, now: Timestamp, hash: SecretHash) -> Reply<'_, ()> {
        self.writer.without_behalf().write(move |session| {
            session.execute(TOUCH_SESSION, (hash.as_bytes(), now.as_micros()))?;
            Ok(())
        })
    }

    fn end_session(&self, hash: SecretHash) -> Reply<'_, bool> {
        self.writer.write(move |session| Ok(session.execute(END_SESSION, [hash.as_bytes()])? > 0))
    }

    fn cancel_policy(&self, namespace: Namespace) -> Reply<'_, CancelPolicy> {
        self.readers.look(move |conn| {
            let code = first(conn, POLICY, [namespace.as_str()], |row| row.get::<_, u8>(0))?;
            Ok(code.map_or_else(CancelPolicy::default, CancelPolicy::from_code))
        })
    }

    fn set_cancel_policy(&self, _: Timestamp, namespace: Namespace, policy: CancelPolicy) -> Reply<'_, bool> {
        let about = self.writer.about(|| Subject::Policy(namespace.clone()));
        self.writer.write_about(about, move |session| {
            let before = session.first(POLICY, [namespace.as_str()], |row| row.get::<_, u8>(0))?;
            session.execute(SET_POLICY, (namespace.as_str(), policy.code()))?;
            Ok(before.map_or_else(CancelPolicy::default, CancelPolicy::from_code) != policy)
        })
    }
}

fn first<T>(
    conn: &Connection,
    sql: &str,
    values: impl rusqlite::Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, Error> {
    conn.prepare_cached(sql).and_then(|mut find| find.query_row(values, read).optional()).map_err(read_error)
}

fn add_token(session: &mut Session<'_>, now: Timestamp, new: &NewToken) -> Result<bool, Error> {
    let (namespace, role) = rank_columns(&new.rank);
    let values = params![
        new.id.as_bytes(),
        new.hash.as_bytes(),
        new.hint,
        new.name.as_str(),
        namespace,
        role,
        new.scopes.to_text(),
        new.created_by.as_str(),
        now.as_micros(),
        new.expires_at.map(Timestamp::as_micros),
    ];
    Ok(session.execute(INSERT_TOKEN, values)? > 0)
}

fn write_user(
    session: &mut Session<'_>,
    now: Timestamp,
    name: &UserName,
    write: UserWrite,
) -> Result<Kept, Error> {
    let found = session.first(&by_name(), [name.as_str()], |row| read_user(row, 0))?;
    let Some(mut stored) = found else { return Ok(Kept::Unknown) };
    if gives_up(&stored, &write) && is_last_superuser(session, now)? {
        return Ok(Kept::LastSuperuser);
    }
    if write.ends_sessions() {
        session.execute(END_SESSIONS, [name.as_str()])?;
    }
    write.apply(&mut stored, now);
    let NewUser { password, grants, .. } = &stored.user;
    let (at, roles) = (now.as_micros(), roles_text(grants));
    session.execute(
        WRITE_USER,
        params![name.as_str(), password, grants.superuser, roles, stored.disabled, at],
    )?;
    Ok(Kept::Done)
}

/// Whether there is no more than one active superuser.
fn is_last_superuser(session: &mut Session<'_>, now: Timestamp) -> Result<bool, Error> {
    let superusers: i64 = session.first(SUPERUSERS, [now.as_micros()], |row| row.get(0))?.unwrap_or(0);
    Ok(superusers <= 1)
}

/// The columns that say what a token is.
fn rank_columns(rank: &Rank) -> (&str, Option<u8>) {
    (rank.namespace().map_or("", Namespace::as_str), rank.role().map(Role::code))
}

fn roles_text(grants: &Grants) -> String {
    // Names: nothing in them cannot be written.
    serde_json::to_string(&grants.roles).unwrap_or_default()
}

/// The error for a column that does not hold what was written there.
fn strange(column: usize, what: &str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, what.into())
}

pub(super) fn read_token(row: &Row<'_>) -> rusqlite::Result<StoredToken> {
    let rank = match row.get::<_, Option<u8>>(5)? {
        None => Rank::Superuser,
        Some(code) => {
            let role = Role::from_code(code).ok_or_else(|| strange(5, "it is no role"))?;
            Rank::In(name(row, 4, Namespace::new)?, role)
        }
    };
    let time = |column: usize| -> rusqlite::Result<Option<Timestamp>> {
        Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_micros))
    };
    let token = NewToken {
        id: TokenId::from_bytes(row.get(0)?),
        hash: SecretHash::from_bytes(row.get(1)?),
        hint: row.get(2)?,
        name: name(row, 3, TokenName::new)?,
        rank,
        scopes: Scopes::from_text(row.get::<_, Option<String>>(6)?.as_deref()),
        created_by: name(row, 7, Actor::new)?,
        expires_at: time(9)?,
    };
    Ok(StoredToken {
        token,
        created_at: Timestamp::from_micros(row.get(8)?),
        used_at: time(10)?,
        revoked_at: time(11)?,
    })
}

/// Reads the [`USER_COLUMNS`], of which the first is this one.
pub(super) fn read_user(row: &Row<'_>, first: usize) -> rusqlite::Result<StoredUser> {
    let roles: BTreeMap<Namespace, Role> = serde_json::from_str(row.get_ref(first + 3)?.as_str()?)
        .map_err(|error| strange(first + 3, &error.to_string()))?;
    let user = NewUser {
        name: name(row, first, UserName::new)?,
        password: row.get(first + 1)?,
        grants: Grants { superuser: row.get(first + 2)?, roles },
        created_by: name(row, first + 5, Actor::new)?,
    };
    Ok(StoredUser {
        user,
        disabled: row.get(first + 4)?,
        created_at: Timestamp::from_micros(row.get(first + 6)?),
        changed_at: Timestamp::from_micros(row.get(first + 7)?),
    })
}

fn read_session(row: &Row<'_>) -> rusqlite::Result<StoredSession> {
    Ok(StoredSession {
        user: read_user(row, 3)?,
        created_at: Timestamp::from_micros(row.get(0)?),
        seen_at: Timestamp::from_micros(row.get(1)?),
        expires_at: Timestamp::from_micros(row.get(2)?),
    })
}

fn read_session_view(row: &Row<'_>) -> rusqlite::Result<SessionView> {
    Ok(SessionView {
        hash: SecretHash::from_bytes(row.get(0)?),
        created_at: Timestamp::from_micros(row.get(1)?),
        seen_at: Timestamp::from_micros(row.get(2)?),
        expires_at: Timestamp::from_micros(row.get(3)?),
    })
}

pub(super) fn by_id() -> String {
    format!("SELECT {TOKEN_COLUMNS} FROM taskwright_token WHERE id = ?1")
}

pub(super) fn by_hash() -> String {
    format!("SELECT {TOKEN_COLUMNS} FROM taskwright_token WHERE hash = ?1")
}

pub(super) fn named() -> String {
    format!(
        "SELECT {TOKEN_COLUMNS} FROM taskwright_token WHERE namespace = ?1 AND name = ?2 AND revoked_at IS NULL"
    )
}

pub(super) fn newest_tokens() -> String {
    format!("SELECT {TOKEN_COLUMNS} FROM taskwright_token WHERE id < ?1 ORDER BY id DESC LIMIT ?2")
}

pub(super) fn by_name() -> String {
    format!("SELECT {USER_COLUMNS} FROM taskwright_user u WHERE u.name = ?1")
}

pub(super) fn users_after() -> String {
    format!("SELECT {USER_COLUMNS} FROM taskwright_user u WHERE u.name > ?1 ORDER BY u.name LIMIT ?2")
}

pub(super) fn session_by_hash() -> String {
    format!(
        "SELECT s.created_at, s.seen_at, s.expires_at, {USER_COLUMNS}
         FROM taskwright_session s CROSS JOIN taskwright_user u ON u.name = s.name WHERE s.hash = ?1"
    )
}

// The statements of principals; plans.rs holds those that are asked often to an index.
const TOKEN_COLUMNS: &str = "id, hash, hint, name, namespace, role, scopes, created_by, created_at, expires_at, \
                             used_at, revoked_at";
const USER_COLUMNS: &str =
    "u.name, u.password, u.superuser, u.roles, u.disabled, u.created_by, u.created_at, u.changed_at";
pub(super) const ARE_SOME: &str = "SELECT EXISTS (SELECT 1 FROM taskwright_token WHERE id > x'' LIMIT 1)
     OR EXISTS (SELECT 1 FROM taskwright_user WHERE name > '' LIMIT 1)";
const INSERT_TOKEN: &str = "INSERT INTO taskwright_token
        (id, hash, hint, name, namespace, role, scopes, created_by, created_at, expires_at)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO NOTHING";
const REVOKE: &str = "UPDATE taskwright_token SET revoked_at = ?2 WHERE id = ?1";
const TOUCH_TOKEN: &str =
    "UPDATE taskwright_token SET used_at = ?2 WHERE id = ?1 AND (used_at IS NULL OR used_at < ?2)";
/// Active ones. Principals are few, and this is asked when one is to go.
const SUPERUSERS: &str = "SELECT
        (SELECT count(*) FROM taskwright_token
         WHERE role IS NULL AND revoked_at IS NULL AND coalesce(expires_at > ?1, 1))
        + (SELECT count(*) FROM taskwright_user WHERE superuser AND NOT disabled)";
const INSERT_USER: &str = "INSERT INTO taskwright_user
        (name, password, superuser, roles, disabled, created_by, created_at, changed_at)
     VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6, ?6) ON CONFLICT DO NOTHING";
const WRITE_USER: &str = "UPDATE taskwright_user
     SET password = ?2, superuser = ?3, roles = ?4, disabled = ?5, changed_at = ?6 WHERE name = ?1";
const REMOVE_USER: &str = "DELETE FROM taskwright_user WHERE name = ?1";
pub(super) const SESSIONS_OF: &str = "SELECT hash, created_at, seen_at, expires_at FROM taskwright_session
     WHERE name = ?1 ORDER BY created_at DESC, hash";
const END_SESSIONS: &str = "DELETE FROM taskwright_session WHERE name = ?1";
pub(super) const REMOVE_SESSIONS: &str = "DELETE FROM taskwright_session WHERE expires_at <= ?1";
const OPEN_SESSION: &str = "INSERT INTO taskwright_session (hash, name, created_at, seen_at, expires_at)
     SELECT ?1, name, ?3, ?3, ?4 FROM taskwright_user WHERE name = ?2 AND password = ?5 AND NOT disabled";
const TOUCH_SESSION: &str = "UPDATE taskwright_session SET seen_at = ?2 WHERE hash = ?1 AND seen_at < ?2";
const END_SESSION: &str = "DELETE FROM taskwright_session WHERE hash = ?1";
pub(super) const POLICY: &str = "SELECT policy FROM taskwright_cancel_policy WHERE namespace = ?1";
const SET_POLICY: &str = "INSERT INTO taskwright_cancel_policy (namespace, policy) VALUES (?1, ?2)
     ON CONFLICT (namespace) DO UPDATE SET policy = excluded.policy";
