//! The program: `shop up` serves and works; every other verb of `taskwright` is there, too. See README.md.

use std::process::ExitCode;

use shop::{Shop, app};

fn main() -> ExitCode {
    match Shop::open(".") {
        Ok(shop) => {
            let address = std::env::var("SHOP_ADDRESS").unwrap_or_else(|_| "127.0.0.1:8080".to_owned());
            taskwright_server::main(app(shop, &address))
        }
        Err(error) => {
            eprintln!("the shop cannot be opened: {error}");
            ExitCode::FAILURE
        }
    }
}
