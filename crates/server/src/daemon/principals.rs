//! Who may reach a server: nobody without a credential, unless only this machine does.

use std::net::SocketAddr;

use taskwright::Client;

use crate::cli::Context;
use crate::error::Error;

/// Sees to it that somebody is known before others than this machine can reach the server: where nobody is, a first token is made, a
/// superuser's, and printed this once. Says so when nobody is known and only this machine reaches it.
///
/// # Errors
///
/// When the first token cannot be made: nothing is listened at then.
pub(super) async fn see_to(context: &Context, address: SocketAddr) -> Result<(), Error> {
    let client = Client::new(context.store_or_new().await?.clone(), context.env.clone());
    let identities = client.identities();
    let out = &context.output;
    if identities.are_some().await? {
        return Ok(());
    }
    if crate::config::is_here(address.ip()) {
        out.note("there are no tokens and no users yet: whoever reaches this address of the machine may do everything");
        return Ok(());
    }
    let made = identities.bootstrap().await.map_err(|error| {
        Error::operational(
            format!("listening at {address}"),
            format!("others than this machine reach it, nobody is known, and a first token could not be made: {error}"),
            "make one with `taskwright tokens create NAME --superuser`, or listen at 127.0.0.1",
        )
    })?;
    // Of several nodes that start together one makes it, and tells.
    if let Some(made) = made {
        out.note("the first token, a superuser's; it is shown this once:");
        out.line(made.secret.reveal())?;
        out.flush()?;
    }
    Ok(())
}
