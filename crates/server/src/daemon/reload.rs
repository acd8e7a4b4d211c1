//! HUP: reads the config file again, puts into effect what can be while everything runs, and says what cannot.

use std::cell::RefCell;
use std::path::Path;

use serde_json::Value;
use taskwright::store::SharedStore;

use super::log::Logging;
use super::{GRACE_DEFAULT, serve};
use crate::cli::Context;
use crate::command;
use crate::config::{Config, DEFAULT_FILE};
use crate::error::Error;
use crate::http::Running;

/// What goes by the config file in this process.
pub(super) struct Reloader<'a> {
    pub(super) context: &'a Context,
    pub(super) logging: &'a Logging,
    pub(super) store: SharedStore,
    pub(super) server: Option<&'a Running>,
    /// The file as it was read last.
    pub(super) current: RefCell<Config>,
}

/// What is different between two config files.
pub(super) struct Difference {
    /// Sections whose news can be put into effect.
    pub(super) sections: Vec<&'static str>,
    /// Keys whose news need a restart, with what holds until then.
    pub(super) fixed: Vec<(&'static str, String)>,
}

impl Reloader<'_> {
    /// Reads the file, and checks everything in it that the start would.
    ///
    /// # Errors
    ///
    /// When something is wrong with it. Nothing has changed then.
    pub(super) fn read(&self, does_duties: bool) -> Result<(Config, Difference), Error> {
        let context = self.context;
        let config = match &self.current.borrow().file {
            Some(file) => Config::load(file)?,
            None if Path::new(DEFAULT_FILE).exists() => Config::load(Path::new(DEFAULT_FILE))?,
            None => Config::default(),
        };
        if does_duties {
            super::duties(context, &config, &self.store, true)?;
            let registry = context.app.registry().clone();
            command::register(registry, &config, &self.store, &context.env, GRACE_DEFAULT)?;
        }
        let difference = Difference::between(&self.current.borrow(), &config);
        Ok((config, difference))
    }

    /// Puts into effect what every daemon has: what is logged, and how much the server takes, its certificate included.
    pub(super) fn apply_server(&self, config: &Config, difference: &Difference) {
        let out = &self.context.output;
        if difference.has("log") && !self.logging.obey(config.log_level) {
            out.note("  log.level: RUST_LOG, --verbose or --quiet comes first");
        }
        let Some(server) = self.server else { return };
        match server.reload(config.clone(), serve::limits(config)) {
            Ok(true) => out.note("  the TLS certificate was read again"),
            Ok(false) => {}
            Err(error) => {
                out.error(&error);
                out.note("  the TLS certificate stays as it was");
            }
        }
    }

    /// Says what came of it.
    pub(super) fn tell(&self, config: &Config, difference: &Difference) {
        let out = &self.context.output;
        let file = config.file.as_deref().unwrap_or(Path::new("no config file")).display();
        out.note(match difference.sections[..] {
            [] if difference.fixed.is_empty() => format!("reloaded {file}: it says what it said before"),
            [] => format!("reloaded {file}:"),
            _ => format!("reloaded {file}: {}", difference.sections.join(", ")),
        });
        for (key, before) in &difference.fixed {
            out.note(format!("  {key} stays {before} until a restart"));
        }
    }

    /// Says what is wrong with the file.
    pub(super) fn refuse(&self, error: &Error) {
        self.context.output.error(error);
        self.context.output.note("nothing was reloaded: the config stays as it was");
    }
}

impl Difference {
    fn between(old: &Config, new: &Config) -> Self {
        // Everything in a config can be written: it is shown so by `config show`.
        let (before, after) =
            (serde_json::to_value(old).unwrap_or_default(), serde_json::to_value(new).unwrap_or_default());
        let differs = |key: &str| before.get(key) != after.get(key);
        let mut sections: Vec<&'static str> = Vec::new();
        let live = [
            ("log_level", "log"),
            ("workers", "workers"),
            ("tasks", "tasks"),
            ("sources", "sources"),
            ("generators", "generators"),
            ("schedules", "schedules"),
            ("retention", "retention"),
        ];
        sections.extend(live.iter().filter(|(key, _)| differs(key)).map(|(_, section)| *section));
        if old.webhooks != new.webhooks {
            sections.push("webhooks");
        }
        let of_server = |config: &Value| {
            let mut server = config.get("server").cloned().unwrap_or_default();
            if let Some(server) = server.as_object_mut() {
                server.retain(|key, _| {
                    !matches!(key.as_str(), "listen" | "threads" | "tls" | "allow_clear_text")
                });
            }
            server.as_object().filter(|server| !server.is_empty()).cloned()
        };
        if of_server(&before) != of_server(&after) {
            sections.push("server");
        }
        let mut fixed = Vec::new();
        let shown = |value: Option<String>| value.unwrap_or_else(|| "the default".to_owned());
        if old.store_url != new.store_url {
            fixed.push(("store.url", shown(old.store_url.as_ref().map(ToString::to_string))));
        }
        if old.run_dir != new.run_dir {
            fixed.push(("store.run_dir", shown(old.run_dir.as_ref().map(|path| path.display().to_string()))));
        }
        if old.server.listen != new.server.listen {
            fixed.push(("server.listen", shown(old.server.listen.map(|listen| listen.to_string()))));
        }
        if old.server.threads != new.server.threads {
            fixed.push(("server.threads", shown(old.server.threads.map(|threads| threads.to_string()))));
        }
        if old.server.tls != new.server.tls {
            let files = old.server.tls.as_ref().map(|files| files.cert.display().to_string());
            fixed.push(("server.tls_cert", files.unwrap_or_else(|| "unset".to_owned())));
        }
        if old.server.allow_clear_text != new.server.allow_clear_text {
            fixed.push(("server.allow_clear_text", old.server.allow_clear_text.to_string()));
        }
        Self { sections, fixed }
    }

    /// Whether something in this section is new.
    pub(super) fn has(&self, section: &str) -> bool {
        self.sections.contains(&section)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::parse("taskwright.toml", text).unwrap()
    }

    #[test]
    fn what_is_new_is_told_by_section_and_what_needs_a_restart_by_key() {
        let old = config("[store]\nurl = \"sqlite:a.db\"\n[server]\nlisten = \"none\"\nstreams_max = 3\n");
        let same = Difference::between(&old, &old);
        assert!(same.sections.is_empty() && same.fixed.is_empty());
        let new = config(
            "[store]\nurl = \"sqlite:b.db\"\nrun_dir = \"r\"\n[server]\nlisten = \"127.0.0.1:1\"\nstreams_max = 4\n\
             tls_cert = \"c\"\ntls_key = \"k\"\nallow_clear_text = true\n[log]\nlevel = \"info\"\n[workers]\ngrace = 3\n[retention]\nfailed = \"1d\"\n\
             [tasks.a]\ncommand = \"true\"\n[schedules.a]\ntask = \"a\"\nevery = \"1h\"\n",
        );
        let found = Difference::between(&old, &new);
        assert_eq!(found.sections, ["log", "workers", "tasks", "schedules", "retention", "server"]);
        let fixed: Vec<String> = found.fixed.iter().map(|(key, before)| format!("{key}={before}")).collect();
        assert_eq!(
            fixed,
            [
                "store.url=sqlite:a.db",
                "store.run_dir=the default",
                "server.listen=none",
                "server.tls_cert=unset",
                "server.allow_clear_text=false"
            ]
        );
    }

    #[test]
    fn listening_elsewhere_alone_is_no_news_of_the_server_section() {
        let old = config("");
        let new = config("[server]\nlisten = \"127.0.0.1:1\"\n");
        let found = Difference::between(&old, &new);
        assert!(found.sections.is_empty(), "{:?}", found.sections);
        assert_eq!(found.fixed, [("server.listen", "the default".to_owned())]);
    }
}
