//! A shop. An order and the job that confirms it are stored in one transaction; the job sends a mail and has the invoice made, in a process
//! of its own; a report is mailed each night. README.md goes through it.

mod invoice;
mod mail;
mod orders;
pub mod tasks;
mod web;

pub use self::mail::Outbox;
pub use self::orders::{Line, NewOrder, Order, Shop};
pub use self::tasks::{Confirm, Invoice, Report};
pub use self::web::router;

use std::path::Path;

use taskwright::service::ServiceOptions;
use taskwright::{App, Client};

/// Everything that the program brings. `address` is where it serves while `up` runs.
pub fn app(shop: Shop, address: &str) -> App {
    let (served, address) = (shop.clone(), address.to_owned());
    App::new()
        .store(format!("sqlite:{}", shop.database().display()))
        .state(Outbox::in_directory(&shop.directory().join("outbox")))
        .state(shop)
        .task::<Confirm>()
        .task::<Invoice>()
        .task::<Report>()
        .service_on_store("web", ServiceOptions::new(), move |store, env| {
            let client = Client::new(store.clone(), env.clone());
            web::Server { router: router(served.clone(), client), address: address.clone() }
        })
}

/// Writes a file whole or not at all: whoever sees it sees all of it, and who writes it again replaces it.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let part = path.with_extension("part");
    std::fs::write(&part, bytes)?;
    std::fs::rename(part, path)
}
