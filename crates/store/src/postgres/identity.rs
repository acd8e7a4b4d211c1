//! Principals. Whoever makes the first one, or takes rights from one, locks the one row of `principals`: so nobody else does it
//! meanwhile.

use std::collections::BTreeMap;

use taskwright_core::token::SecretHash;
use taskwright_core::{
    Actor, CancelPolicy, Grants, Namespace, Role, Scopes, Timestamp, TokenId, TokenName, UserName,
};
use tokio_postgres::Row;

use super::session::{Session, Uuid, code, code_if_any, get, name, sql_code, vanished};
use crate::error::Error;
use crate::identity::{
    Kept, NewSession, NewToken, NewUser, Rank, SessionView, StoredSession, StoredToken, StoredUser,
    UserWrite, gives_up,
};

pub(super) async fn bootstrap(
    session: &mut Session<'_>,
    now: Timestamp,
    token: &NewToken,
) -> Result<bool, Error> {
    session.first(LOCK, &[]).await?;
    let are_some = session.first(ARE_SOME, &[]).await?.map_or(Ok(true), |row| get(&row, 0))?;
    if are_some { Ok(false) } else { add_token(session, now, token).await }
}

pub(super) async fn add_token(
    session: &mut Session<'_>,
    now: Timestamp,
    new: &NewToken,
) -> Result<bool, Error> {
    let namespace = new.rank.namespace().map_or("", Namespace::as_str);
    let role = new.rank.role().map(|role| sql_code(role.code()));
    let stored = session
        .execute(
            INSERT_TOKEN,
            &[
                &Uuid::from(new.id),
                &new.hash.as_bytes().as_slice(),
                &new.hint,
                &new.name.as_str(),
                &namespace,
                &role,
                &new.scopes.to_text(),
                &new.created_by.as_str(),
                &now.as_micros(),
                &new.expires_at.map(Timestamp::as_micros),
            ],
        )
        .await?;
    Ok(stored > 0)
}

pub(super) async fn revoke_token(
    session: &mut Session<'_>,
    now: Timestamp,
    token: TokenId,
) -> Result<Kept, Error> {
    session.first(LOCK, &[]).await?;
    let id = Uuid::from(token);
    let Some(row) = session.first(&by_id(), &[&id]).await? else { return Ok(Kept::Unknown) };
    let stored = read_token(&row)?;
    if stored.revoked_at.is_some() {
        return Ok(Kept::Already);
    }
    let counts = stored.token.rank == Rank::Superuser && stored.is_good(now);
    if counts && is_last_superuser(session, now).await? {
        return Ok(Kept::LastSuperuser);
    }
    session.execute(REVOKE, &[&id, &now.as_micros()]).await?;
    Ok(Kept::Done)
}

pub(super) async fn touch_token(
    session: &mut Session<'_>,
    now: Timestamp,
    token: TokenId,
) -> Result<(), Error> {
    session.execute(TOUCH_TOKEN, &[&Uuid::from(token), &now.as_micros()]).await.map(drop)
}

pub(super) async fn add_user(
    session: &mut Session<'_>,
    now: Timestamp,
    user: &NewUser,
) -> Result<bool, Error> {
    let NewUser { name, password, grants, created_by } = user;
    let (at, roles) = (now.as_micros(), roles_text(grants));
    let stored = session
        .execute(
            INSERT_USER,
            &[&name.as_str(), password, &grants.superuser, &roles, &created_by.as_str(), &at],
        )
        .await?;
    Ok(stored > 0)
}

pub(super) async fn write_user(
    session: &mut Session<'_>,
    now: Timestamp,
    name: &UserName,
    write: UserWrite,
) -> Result<Kept, Error> {
    session.first(LOCK, &[]).await?;
    let find = format!("{} FOR UPDATE", by_name());
    let Some(row) = session.first(&find, &[&name.as_str()]).await? else { return Ok(Kept::Unknown) };
    let mut stored = read_user(&row, 0)?;
    if gives_up(&stored, &write) && is_last_superuser(session, now).await? {
        return Ok(Kept::LastSuperuser);
    }
    if write.ends_sessions() {
        session.execute(END_SESSIONS, &[&name.as_str()]).await?;
    }
    write.apply(&mut stored, now);
    let NewUser { password, grants, .. } = &stored.user;
    let (at, roles) = (now.as_micros(), roles_text(grants));
    session
        .execute(WRITE_USER, &[&name.as_str(), password, &grants.superuser, &roles, &stored.disabled, &at])
        .await?;
    Ok(Kept::Done)
}

pub(super) async fn remove_user(
    session: &mut Session<'_>,
    now: Timestamp,
    name: &UserName,
) -> Result<Kept, Error> {
    session.first(LOCK, &[]).await?;
    let find = format!("{} FOR UPDATE", by_name());
    let Some(row) = session.first(&find, &[&name.as_str()]).await? else { return Ok(Kept::Unknown) };
    let disable = UserWrite { disabled: Some(true), ..UserWrite::default() };
    if gives_up(&read_user(&row, 0)?, &disable) && is_last_superuser(session, now).await? {
        return Ok(Kept::LastSuperuser);
    }
    session.execute(END_SESSIONS, &[&name.as_str()]).await?;
    session.execute(REMOVE_USER, &[&name.as_str()]).await?;
    Ok(Kept::Done)
}

pub(super) async fn open_session(
    session: &mut Session<'_>,
    now: Timestamp,
    new: &NewSession,
) -> Result<bool, Error> {
    let NewSession { hash, user, password, expires_at } = new;
    session.execute(REMOVE_SESSIONS, &[&now.as_micros()]).await?;
    // Whoever changes the password waits until this session is there to be ended.
    if session.first(LOCK_USER, &[&user.as_str(), password]).await?.is_none() {
        return Ok(false);
    }
    let opened = session
        .execute(
            OPEN_SESSION,
            &[&hash.as_bytes().as_slice(), &user.as_str(), &now.as_micros(), &expires_at.as_micros()],
        )
        .await?;
    Ok(opened > 0)
}

pub(super) async fn touch_session(
    session: &mut Session<'_>,
    now: Timestamp,
    hash: SecretHash,
) -> Result<(), Error> {
    session.execute(TOUCH_SESSION, &[&hash.as_bytes().as_slice(), &now.as_micros()]).await.map(drop)
}

pub(super) async fn end_session(session: &mut Session<'_>, hash: SecretHash) -> Result<bool, Error> {
    Ok(session.execute(END_SESSION, &[&hash.as_bytes().as_slice()]).await? > 0)
}

pub(super) async fn set_cancel_policy(
    session: &mut Session<'_>,
    namespace: &Namespace,
    policy: CancelPolicy,
) -> Result<bool, Error> {
    session.first(LOCK, &[]).await?;
    let before = session.first(POLICY, &[&namespace.as_str()]).await?;
    let before = read_policy(before.as_ref())?;
    session.execute(SET_POLICY, &[&namespace.as_str(), &sql_code(policy.code())]).await?;
    Ok(before != policy)
}

/// Whether there is no more than one active superuser.
async fn is_last_superuser(session: &mut Session<'_>, now: Timestamp) -> Result<bool, Error> {
    let row = session.first(SUPERUSERS, &[&now.as_micros()]).await?;
    Ok(row.map_or(Ok(0), |row| get::<i64>(&row, 0))? <= 1)
}

fn roles_text(grants: &Grants) -> String {
    // Names: nothing in them cannot be written.
    serde_json::to_string(&grants.roles).unwrap_or_default()
}

fn read_hash(row: &Row, column: usize) -> Result<SecretHash, Error> {
    let bytes: &[u8] = get(row, column)?;
    bytes.try_into().map(SecretHash::from_bytes).map_err(|_| vanished("a hash of a secret"))
}

fn time_if_any(row: &Row, column: usize) -> Result<Option<Timestamp>, Error> {
    Ok(get::<Option<i64>>(row, column)?.map(Timestamp::from_micros))
}

pub(super) fn read_policy(row: Option<&Row>) -> Result<CancelPolicy, Error> {
    row.map_or(Ok(CancelPolicy::default()), |row| code(row, 0).map(CancelPolicy::from_code))
}

/// Reads a row of the [`TOKEN_COLUMNS`].
pub(super) fn read_token(row: &Row) -> Result<StoredToken, Error> {
    let rank = match code_if_any(row, 5)? {
        None => Rank::Superuser,
        Some(code) => {
            let role = Role::from_code(code).ok_or_else(|| vanished("a known role"))?;
            Rank::In(name(row, 4, Namespace::new)?, role)
        }
    };
    let token = NewToken {
        id: get::<Uuid>(row, 0)?.into(),
        hash: read_hash(row, 1)?,
        hint: get(row, 2)?,
        name: name(row, 3, TokenName::new)?,
        rank,
        scopes: Scopes::from_text(get(row, 6)?),
        created_by: name(row, 7, Actor::new)?,
        expires_at: time_if_any(row, 9)?,
    };
    Ok(StoredToken {
        token,
        created_at: Timestamp::from_micros(get(row, 8)?),
        used_at: time_if_any(row, 10)?,
        revoked_at: time_if_any(row, 11)?,
    })
}

/// Reads the [`USER_COLUMNS`], of which the first is this one.
pub(super) fn read_user(row: &Row, first: usize) -> Result<StoredUser, Error> {
    let roles: BTreeMap<Namespace, Role> =
        serde_json::from_str(get(row, first + 3)?).map_err(|_| vanished("the roles of a user"))?;
    let user = NewUser {
        name: name(row, first, UserName::new)?,
        password: get(row, first + 1)?,
        grants: Grants { superuser: get(row, first + 2)?, roles },
        created_by: name(row, first + 5, Actor::new)?,
    };
    Ok(StoredUser {
        user,
        disabled: get(row, first + 4)?,
        created_at: Timestamp::from_micros(get(row, first + 6)?),
        changed_at: Timestamp::from_micros(get(row, first + 7)?),
    })
}

/// Reads a row of [`session_by_hash`].
pub(super) fn read_session(row: &Row) -> Result<StoredSession, Error> {
    Ok(StoredSession {
        user: read_user(row, 3)?,
        created_at: Timestamp::from_micros(get(row, 0)?),
        seen_at: Timestamp::from_micros(get(row, 1)?),
        expires_at: Timestamp::from_micros(get(row, 2)?),
    })
}

/// Reads a row of [`SESSIONS_OF`].
pub(super) fn read_session_view(row: &Row) -> Result<SessionView, Error> {
    Ok(SessionView {
        hash: read_hash(row, 0)?,
        created_at: Timestamp::from_micros(get(row, 1)?),
        seen_at: Timestamp::from_micros(get(row, 2)?),
        expires_at: Timestamp::from_micros(get(row, 3)?),
    })
}

pub(super) fn by_id() -> String {
    format!("SELECT {TOKEN_COLUMNS} FROM token WHERE id = $1")
}

pub(super) fn by_hash() -> String {
    format!("SELECT {TOKEN_COLUMNS} FROM token WHERE hash = $1")
}

pub(super) fn named() -> String {
    format!("SELECT {TOKEN_COLUMNS} FROM token WHERE namespace = $1 AND name = $2 AND revoked_at IS NULL")
}

pub(super) fn newest_tokens() -> String {
    format!("SELECT {TOKEN_COLUMNS} FROM token WHERE id < $1 ORDER BY id DESC LIMIT $2")
}

pub(super) fn by_name() -> String {
    format!("SELECT {USER_COLUMNS} FROM account u WHERE u.name = $1")
}

pub(super) fn users_after() -> String {
    format!("SELECT {USER_COLUMNS} FROM account u WHERE u.name > $1 ORDER BY u.name LIMIT $2")
}

pub(super) fn session_by_hash() -> String {
    format!(
        "SELECT s.created_at, s.seen_at, s.expires_at, {USER_COLUMNS}
         FROM session s CROSS JOIN LATERAL (SELECT * FROM account a WHERE a.name = s.name LIMIT 1) u WHERE s.hash = $1"
    )
}

// The statements of principals.
const TOKEN_COLUMNS: &str = "id, hash, hint, name, namespace, role, scopes, created_by, created_at, expires_at, \
                             used_at, revoked_at";
const USER_COLUMNS: &str =
    "u.name, u.password, u.superuser, u.roles, u.disabled, u.created_by, u.created_at, u.changed_at";
pub(super) const LOCK: &str = "SELECT FROM principals WHERE single FOR UPDATE";
pub(super) const ARE_SOME: &str =
    "SELECT EXISTS (SELECT FROM token LIMIT 1) OR EXISTS (SELECT FROM account LIMIT 1)";
const INSERT_TOKEN: &str = "INSERT INTO token
        (id, hash, hint, name, namespace, role, scopes, created_by, created_at, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING";
const REVOKE: &str = "UPDATE token SET revoked_at = $2 WHERE id = $1";
const TOUCH_TOKEN: &str = "UPDATE token SET used_at = $2 WHERE id = $1 AND (used_at IS NULL OR used_at < $2)";
/// Active ones. Principals are few, and this is asked when one is to go.
const SUPERUSERS: &str = "SELECT
        (SELECT count(*) FROM token
         WHERE role IS NULL AND revoked_at IS NULL AND coalesce(expires_at > $1::bigint, true))
        + (SELECT count(*) FROM account WHERE superuser AND NOT disabled)";
const INSERT_USER: &str = "INSERT INTO account
        (name, password, superuser, roles, disabled, created_by, created_at, changed_at)
    VALUES ($1, $2, $3, $4, false, $5, $6, $6) ON CONFLICT DO NOTHING";
const WRITE_USER: &str = "UPDATE account
    SET password = $2, superuser = $3, roles = $4, disabled = $5, changed_at = $6 WHERE name = $1";
const REMOVE_USER: &str = "DELETE FROM account WHERE name = $1";
const LOCK_USER: &str = "SELECT FROM account WHERE name = $1 AND password = $2 AND NOT disabled FOR SHARE";
pub(super) const SESSIONS_OF: &str = "SELECT hash, created_at, seen_at, expires_at FROM session
    WHERE name = $1 ORDER BY created_at DESC, hash";
const END_SESSIONS: &str = "DELETE FROM session WHERE name = $1";
const REMOVE_SESSIONS: &str = "DELETE FROM session WHERE expires_at <= $1";
const OPEN_SESSION: &str =
    "INSERT INTO session (hash, name, created_at, seen_at, expires_at) VALUES ($1, $2, $3, $3, $4)";
const TOUCH_SESSION: &str = "UPDATE session SET seen_at = $2 WHERE hash = $1 AND seen_at < $2";
const END_SESSION: &str = "DELETE FROM session WHERE hash = $1";
pub(super) const POLICY: &str = "SELECT policy FROM cancel_policy WHERE namespace = $1";
const SET_POLICY: &str = "INSERT INTO cancel_policy (namespace, policy) VALUES ($1, $2)
    ON CONFLICT (namespace) DO UPDATE SET policy = excluded.policy";
