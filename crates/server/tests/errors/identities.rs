//! Cases about tokens, users, comments and the audit.

use super::cases::Case;

/// All that need nothing but a directory.
pub(crate) fn cases() -> Vec<Case> {
    let create = |name, args: &str| Case::new(name, 2, format!("tokens create {args}"));
    let with = |name, exit, args: &str| Case::new(name, exit, args).after("tokens create root --superuser");
    vec![
        create("token without a role", "ci"),
        create("token with an unknown role", "ci --role boss"),
        create("token with a bad name", "a:b --role member"),
        create("token with an unknown scope", "ci --role member --scope jobs.fly"),
        create("superuser's token in a namespace", "ci --superuser --namespace shop"),
        with("token that is there already", 1, "tokens create root --superuser"),
        with("unknown token, revoked", 1, "tokens revoke nobody"),
        with("last superuser, revoked", 1, "tokens revoke root --superuser"),
        Case::new("user with a short password", 2, "users add alice").input("hunter2\n"),
        Case::new("user with a bad name", 2, "users add token:ci").input("a few words\n"),
        with("unknown user, removed", 1, "users remove nobody"),
        with("unknown user, given a role", 1, "users grant nobody --role viewer"),
        with("user given nothing", 2, "users grant nobody"),
        with("audit verified against no place", 2, "audit verify --expect 7:abc"),
        with("comment on an unknown job", 1, "jobs comment 01890000-0000-7000-8000-000000000000 hello"),
        with("comment with nothing in it", 2, "jobs comment 01890000-0000-7000-8000-000000000000 -"),
        Case::new("retention of the audit that is too short", 2, "config check")
            .config("[retention]\naudit = \"7d\"\n"),
    ]
}
