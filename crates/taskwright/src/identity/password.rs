//! Hashes of passwords: argon2id, with as much effort as OWASP asks for at least.

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use tokio::sync::Semaphore;

use crate::env::Env;
use crate::error::Error;

/// Passwords that are hashed at a time in this process: 2. Each takes 19 MiB and tens of milliseconds of a processor, so that more of
/// them, asked for by strangers, would take the machine.
pub const HASHES_AT_ONCE_MAX: usize = 2;

/// 19 MiB, twice over, in one lane (OWASP Password Storage Cheat Sheet, argon2id).
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const SALT_BYTES: usize = 16;

static AT_ONCE: Semaphore = Semaphore::const_new(HASHES_AT_ONCE_MAX);

/// What is kept of a password: the result, with all that is needed to come to it again, in the PHC string format.
pub(super) async fn hash(env: &Env, password: &str) -> Result<String, Error> {
    let mut salt = [0; SALT_BYTES];
    env.fill(&mut salt);
    let password = password.to_owned();
    let hashed = one_of_few(env, move || effort().hash_password_with_salt(password.as_bytes(), &salt)).await;
    hashed.map(|hash| hash.to_string()).map_err(|error| {
        taskwright_core::Error::invalid(
            "the password",
            format!("it cannot be hashed: {error}"),
            "look at how much memory this process may use: it takes 19 MiB",
        )
        .into()
    })
}

/// Whether it is the password that was hashed. Where there is none to compare with, as much effort is spent and the answer is no.
pub(super) async fn verify(env: &Env, password: &str, hash: Option<String>) -> Result<bool, Error> {
    let Some(stored) = hash else {
        self::hash(env, password).await?;
        return Ok(false);
    };
    let password = password.to_owned();
    Ok(one_of_few(env, move || effort().verify_password(password.as_bytes(), stored.as_str()).is_ok()).await)
}

/// Whether a hash was made with less effort than is asked for now.
pub(super) fn is_weak(hash: &str) -> bool {
    let params = PasswordHash::new(hash).ok().and_then(|hash| Params::try_from(&hash).ok());
    params.is_none_or(|params| params.m_cost() < MEMORY_KIB || params.t_cost() < PASSES)
}

fn effort() -> Argon2<'static> {
    let params =
        Params::new(MEMORY_KIB, PASSES, LANES, None).expect("the figures are within argon2's bounds");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

async fn one_of_few<T: Send + 'static>(env: &Env, work: impl FnOnce() -> T + Send + 'static) -> T {
    let turn = AT_ONCE.acquire().await.expect("nobody closes it");
    let done = env.blocking(work).await;
    drop(turn);
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_recognised_and_another_is_not() {
        let env = Env::system();
        let hashed = hash(&env, "correct horse").await.unwrap();
        assert!(hashed.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hashed}");
        assert!(verify(&env, "correct horse", Some(hashed.clone())).await.unwrap());
        assert!(!verify(&env, "correct  horse", Some(hashed.clone())).await.unwrap());
        assert!(!verify(&env, "correct horse", None).await.unwrap());
        assert!(!verify(&env, "correct horse", Some("damaged".to_owned())).await.unwrap());
        assert_ne!(hash(&env, "correct horse").await.unwrap(), hashed, "each has a salt of its own");
    }

    #[tokio::test]
    async fn a_hash_of_less_effort_is_weak() {
        let hashed = hash(&Env::system(), "correct horse").await.unwrap();
        assert!(!is_weak(&hashed));
        assert!(is_weak(&hashed.replace("m=19456", "m=9216")) && is_weak(&hashed.replace("t=2", "t=1")));
        assert!(is_weak("damaged"));
    }
}
